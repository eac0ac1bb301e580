package rules

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// frame is one level of a Python traceback.
type frame struct {
	File   string
	Line   int
	Source string // the statement, where the traceback shows it
}

// origin is whose code a frame's file is.
type origin uint8

const (
	own        origin = iota // the repository's
	dependency               // an installed package's
	stdlib                   // Python's
	foreign                  // an action's, a runner's
)

var (
	plainFrame  = re(`File "([^"]+)", line (\d+)(?:, in |$)`)
	pytestFrame = re(`^(\S+?\.pyx?|\S+?\.pyi|<\w+>):(\d+): ?(?:in \S+|[\w.]*)$`)
)

const tracebackHead = "Traceback (most recent call last)"

// plainFrameOf reads a frame of a plain traceback.
func plainFrameOf(text string) []string {
	if !strings.Contains(text, `File "`) {
		return nil
	}
	return plainFrame.FindStringSubmatch(text)
}

// pytestFrameOf reads a frame of pytest's report.
func pytestFrameOf(text string) []string {
	if text == "" || text[0] == ' ' {
		return nil
	}
	// Most lines have no place, and the pattern is dear: file, colon, digit.
	_, rest, ok := strings.Cut(text, ".py")
	if text[0] == '<' {
		_, rest, ok = strings.Cut(text, ">")
	}
	rest = strings.TrimLeft(rest, "xi")
	if !ok || len(rest) < 2 || rest[0] != ':' || rest[1] < '0' || rest[1] > '9' {
		return nil
	}
	return pytestFrame.FindStringSubmatch(text)
}

// traceback returns the frames of the Python exception that the match's line
// reports, outermost first: those above it, and pytest's location below it.
func (w *Window) traceback() []frame {
	var up []frame
	sec, _ := w.Section()
	pytest := sec == failing || sec == setup || sec == collect
	source := ""
	for i := -1; i >= -before; i-- {
		text, ok := w.Text(i)
		if !ok {
			break
		}
		if strings.Contains(text, tracebackHead) {
			break
		}
		if pytest && strings.HasPrefix(text, "__") && strings.Trim(text, "_ ") != "" {
			break
		}
		if m := plainFrameOf(text); m != nil {
			up = append(up, frame{m[1], atoi(m[2]), source})
			source = ""
			continue
		}
		if m := pytestFrameOf(text); m != nil {
			f := frame{m[1], atoi(m[2]), source}
			if next, ok := w.Text(i + 1); ok && strings.HasPrefix(next, "    ") && strings.HasSuffix(text, "in "+lastField(text)) {
				f.Source = strings.TrimSpace(next)
			}
			up = append(up, f)
			source = ""
			continue
		}
		t := strings.TrimSpace(text)
		if strings.HasPrefix(text, ">  ") {
			source = strings.TrimSpace(text[1:])
		} else if !pytest && t != "" && strings.Trim(t, "^~ ") != "" {
			source = t
		}
	}
	slices.Reverse(up)
	if pytest {
		src := ""
		for i := -1; i >= -after; i-- {
			text, ok := w.Text(i)
			if !ok || strings.HasPrefix(text, "__") {
				break
			}
			if strings.HasPrefix(text, ">  ") {
				src = strings.TrimSpace(text[1:])
				break
			}
		}
		for i := 1; i <= after; i++ {
			text, ok := w.Text(i)
			if !ok || strings.HasPrefix(text, "__") || strings.HasPrefix(text, "==") {
				break
			}
			if m := pytestFrameOf(text); m != nil {
				up = append(up, frame{m[1], atoi(m[2]), src})
				break
			}
			if text != "" && !strings.HasPrefix(text, "E ") && !strings.HasPrefix(text, ">") {
				break
			}
		}
	}
	return up
}

// reported tells whether the line is an exception's message that lazy imports of
// Hugging Face's libraries repeat under their own exception.
func (w *Window) reported() bool {
	t, _ := w.Text(-1)
	return strings.HasSuffix(t, "because of the following error (look up to see its traceback):")
}

// handled tells whether another exception was raised while this one was being
// handled: the code had an answer to it, so it may not be what matters.
func (w *Window) handled() bool {
	for i := 1; i <= 16; i++ {
		t, ok := w.Text(i)
		if !ok || strings.HasPrefix(t, "__") || strings.HasPrefix(t, "==") || strings.Contains(t, tracebackHead) {
			return false
		}
		if strings.HasPrefix(t, "During handling of the above exception") {
			return true
		}
	}
	return false
}

// caused tells whether the same exception is raised anew as the next link of the
// chain, where the log shows it.
func (w *Window) caused() bool {
	t, ok := w.Text(0)
	if !ok {
		return false
	}
	chain := false
	for i := 1; i <= after; i++ {
		next, ok := w.Text(i)
		switch {
		case !ok:
			return false
		case strings.HasPrefix(next, "The above exception was the direct cause"):
			chain = true
		case chain && next == t:
			return true
		case !chain && (i > 4 || strings.Contains(next, tracebackHead)):
			return false
		}
	}
	return false
}

func lastField(s string) string {
	f := strings.Fields(s)
	if len(f) == 0 {
		return ""
	}
	return f[len(f)-1]
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// innermost is where the exception was raised.
func innermost(frames []frame) (frame, bool) {
	if len(frames) == 0 {
		return frame{}, false
	}
	return frames[len(frames)-1], true
}

// innermostOwn is the last frame in the repository's code.
func innermostOwn(frames []frame) (frame, bool) {
	for _, f := range slices.Backward(frames) {
		if o, _ := whose(f.File); o == own {
			return f, true
		}
	}
	return frame{}, false
}

// whose tells whose code a file is, and the package's directory for a
// dependency.
func whose(file string) (origin, string) {
	f := strings.ReplaceAll(file, `\`, "/")
	for _, dir := range [...]string{"/site-packages/", "/dist-packages/"} {
		if _, rest, ok := strings.Cut(f, dir); ok {
			pkg, _, _ := strings.Cut(rest, "/")
			return dependency, strings.TrimSuffix(pkg, ".py")
		}
	}
	switch {
	case strings.HasPrefix(f, "<frozen "), strings.HasPrefix(f, "<__array_function__"):
		return stdlib, ""
	case strings.Contains(f, "/_actions/"), strings.Contains(f, "/externals/node"):
		return foreign, ""
	case strings.Contains(f, "/node_modules/"):
		return dependency, ""
	case stdlibPath.MatchString(f):
		return stdlib, ""
	}
	return own, ""
}

var (
	stdlibPath = re(`(?i)(?:/lib/python3?\.?\d*(?:\.\d+)?t?/|/hostedtoolcache/windows/python/[^/]+/x\d+/lib/|/python\d{2,3}/lib/)`)
	// workspace is where runners and containers check a repository out.
	workspace = re(`^(?:(?:/[^/]+)*/(?:_?work|__w)/[^/]+/[^/]+/|[A-Za-z]:/a/[^/]+/[^/]+/|/github/workspace/|/(?:workspace|workspaces)/[^/]+/)`)
)

// relative makes a frame's file a path of the repository where it can: files
// outside of a known checkout are kept as they are.
func relative(file string) string {
	f := strings.ReplaceAll(file, `\`, "/")
	if loc := workspace.FindStringIndex(f); loc != nil {
		f = f[loc[1]:]
	}
	return strings.TrimPrefix(path.Clean(f), "./")
}

// place adds the last frame of the repository's own code as file and line.
func place(m *Match, frames []frame) bool {
	f, ok := innermostOwn(frames)
	if !ok || strings.HasPrefix(f.File, "<") {
		return false
	}
	m.Facts["file"], m.Facts["line"] = relative(f.File), strconv.Itoa(f.Line)
	return true
}

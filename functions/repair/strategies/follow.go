package strategies

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// follower visits the commands that a step runs: its own, and those of the
// scripts, make targets and local actions of the repository that it calls. It
// runs nothing.
type follower struct {
	readFile readFunc
	w        *workflow
	j        *job
	// visit gets a simple command with the file it stands in, the directory that it
	// runs in and the variables set before it ("A=b").
	visit func(words []word, file string, raw []byte, dir string, env []string)

	depth int
	seen  map[string]bool
	err   error // the first error of the tree other than a missing file
}

// follow visits the commands of one step. It returns false for a script in a form
// that can't be read.
func (fo *follower) follow(s *step) bool {
	if s.run != nil {
		lines, err := fo.w.y.TextLines(s.run)
		if err != nil {
			return false
		}
		fo.script(lines, fo.w.path, fo.w.raw, s.dir)
		return true
	}
	if strings.HasPrefix(s.uses, "./") {
		fo.action(path.Clean(s.uses))
	}
	return true
}

// action reads a local composite action.
func (fo *follower) action(dir string) {
	if fo.seen["uses "+dir] {
		return
	}
	fo.seen["uses "+dir] = true
	for _, name := range []string{"action.yml", "action.yaml"} {
		p := path.Join(dir, name)
		b, ok := fo.read(p)
		if !ok || fo.depth > 1 {
			continue
		}
		y, err := edit.ParseYAML(b)
		if err != nil {
			return
		}
		steps := edit.Get(y.Root, "runs", "steps")
		if steps == nil {
			return
		}
		fo.depth++
		for _, n := range steps.Content {
			s := readStep(n, "")
			if s.run == nil {
				continue
			}
			if lines, err := y.TextLines(s.run); err == nil {
				fo.script(lines, p, b, s.dir)
			}
		}
		fo.depth--
	}
}

// readFunc reads a file of the tree, with the context of the call that plans.
type readFunc func(path string) ([]byte, error)

func reading(ctx context.Context, tree Tree) readFunc {
	return func(p string) ([]byte, error) {
		if domain.CheckPath(p) != nil {
			return nil, &fs.PathError{Op: "read", Path: p, Err: fs.ErrNotExist}
		}
		return tree.ReadFile(ctx, p)
	}
}

func (fo *follower) read(p string) ([]byte, bool) {
	if fo.err != nil {
		return nil, false
	}
	b, err := fo.readFile(p)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			fo.err = err
		}
		return nil, false
	}
	return b, true
}

var assignment = regexp.MustCompile(`\A[A-Za-z_][A-Za-z0-9_]*=`)

// shellWords stand before commands.
var shellWords = []string{"sudo", "time", "exec", "command", "if", "then", "else", "elif", "while", "do", "!", "{", "-E", "call", "export", "env"}

func (fo *follower) script(lines []edit.Line, file string, raw []byte, dir string) {
	for _, words := range commands(lines) {
		var env []string
		for len(words) > 0 && (assignment.MatchString(words[0].text) || slices.Contains(shellWords, words[0].text)) {
			if strings.Contains(words[0].text, "=") {
				env = append(env, words[0].text)
			}
			words = words[1:]
		}
		if len(words) == 0 {
			continue
		}
		words[0].text = strings.TrimLeft(words[0].text, "@-") // a make recipe's prefixes
		fo.one(words, file, raw, &dir, env)
	}
}

func (fo *follower) one(words []word, file string, raw []byte, dir *string, env []string) {
	first, second := words[0].text, ""
	if len(words) > 1 {
		second = words[1].text
	}
	switch {
	case first == "cd" && len(words) == 2:
		*dir = join(*dir, second)
	case first == "make":
		fo.make(words[1:], *dir)
	case strings.HasSuffix(first, ".sh"):
		fo.shell(join(*dir, first), *dir)
	case slices.Contains([]string{"bash", "sh", "source", "."}, first) && second != "" && !strings.HasPrefix(second, "-"):
		fo.shell(join(*dir, second), *dir)
	}
	fo.visit(words, file, raw, *dir, env)
}

// join is a path within the repository; what would leave it ends at its root.
func join(dir, name string) string {
	return strings.TrimPrefix(path.Join("/", dir, name), "/")
}

func (fo *follower) shell(p, dir string) {
	if fo.depth > 1 || fo.seen[p] {
		return
	}
	fo.seen[p] = true
	if b, ok := fo.read(p); ok {
		fo.depth++
		fo.script(edit.Lines(b), p, b, dir)
		fo.depth--
	}
}

var makeRule = regexp.MustCompile(`\A([A-Za-z0-9_.-]+(?:\s+[A-Za-z0-9_.-]+)*)\s*::?([^=]|\z)`)

// make follows targets of a Makefile, and their prerequisites.
func (fo *follower) make(args []word, dir string) {
	var targets []string
	for k := 0; k < len(args); k++ {
		if args[k].text == "-C" && k+1 < len(args) {
			dir = join(dir, args[k+1].text)
			k++
			continue
		}
		values, _ := fo.w.values(fo.j, args[k].text)
		for _, v := range values {
			if !strings.HasPrefix(v, "-") && !strings.Contains(v, "=") {
				targets = append(targets, v)
			}
		}
	}
	file := path.Join(dir, "Makefile")
	b, ok := fo.read(file)
	if !ok {
		return
	}
	lines := edit.Lines(b)
	if len(targets) == 0 { // the first target
		for _, l := range lines {
			if m := makeRule.FindStringSubmatch(l.Text); m != nil && !strings.HasPrefix(m[1], ".") {
				targets = strings.Fields(m[1])[:1]
				break
			}
		}
	}
	for k := 0; k < len(targets) && k < 20; k++ {
		mark := "make " + file + " " + targets[k]
		if fo.seen[mark] || fo.depth > 2 {
			continue
		}
		fo.seen[mark] = true
		inside := false
		var recipe []edit.Line
		for _, l := range lines {
			if m := makeRule.FindStringSubmatch(l.Text); m != nil {
				if inside = slices.Contains(strings.Fields(m[1]), targets[k]); inside {
					_, needs, _ := strings.Cut(l.Text, ":")
					needs, _, _ = strings.Cut(needs, "#")
					targets = append(targets, strings.Fields(strings.TrimPrefix(needs, ":"))...)
				}
				continue
			}
			if inside && strings.HasPrefix(l.Text, "\t") {
				recipe = append(recipe, edit.Line{Number: l.Number, Start: l.Start + 1, End: l.End, Text: l.Text[1:]})
			}
		}
		fo.depth++
		fo.script(recipe, file, b, dir)
		fo.depth--
	}
}

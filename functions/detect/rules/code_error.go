package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func codeError() *Rule {
	return &Rule{
		ID: "code-error", Category: "code-error",
		Title:    "The repository's own code is wrong",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankCode,
		FactNames: []string{"file", "line", "exception"},
		Patterns: patterns(
			exc+`(?:ModuleNotFoundError|ImportError): No module named '?(?P<module>[\w.]+)'?`,
			exc+`(?P<exception>ImportError): (?:attempted relative import|cannot import name '\w+' from (?:partially initialized module )?'(?P<module>[\w.]+)')`,
			exc+`(?P<exception>NameError|UnboundLocalError|AttributeError|TypeError|IndexError|ZeroDivisionError|RecursionError|NotImplementedError): .+`,
			exc+`(?P<shape>RuntimeError|ValueError|InvalidArgumentError): .*(?:shapes cannot be multiplied|Expected all tensors to be on the same device|size of tensor a \(\d+\) must match the size of tensor b|expected scalar type \w+ but found|could not be broadcast together|Given groups=\d+, weight of size|mat1 and mat2 must have the same dtype)`,
			exc+`(?P<exception>ValueError|KeyError|RuntimeError|AssertionError)\b.*`,
			`^(?:Uncaught )?(?P<exception>(?:Reference|Type|Range|Syntax)Error)(?: \[\w+\])?: .+`,
			`^(?:Error|Error \[ERR_MODULE_NOT_FOUND\]): Cannot find (?:module|package) '(?P<module>\.[^']+|/[^']+)'`,
			`\bSyntaxError: Cannot use (?:import statement|'import\.meta') outside a module`,
			`Error \[ERR_REQUIRE_ESM\]`,
		),
		Keys: []string{"exception", "file"},
		Last: true,
		Refine: func(w *Window, m *Match) bool {
			defer delete(m.Facts, "module")
			t := m.textOf(w)
			sec, _ := w.Section()
			frames := w.traceback()
			raised, ok := innermost(frames)
			where, _ := whose(raised.File)
			name := m.Facts["module"]
			python := tracebackNear(w) || sec == collect
			if _, rest, found := strings.Cut(t, "Error: "); m.Facts["exception"] == "" && found && rest != "" {
				m.Facts["exception"] = lastField(strings.TrimSpace(t[:strings.Index(t, "Error: ")])) + "Error"
			}
			switch {
			case strings.Contains(t, "No module named"):
				m.Facts["exception"] = "ModuleNotFoundError"
				top := topLevel(name)
				switch {
				case removedModules[top] != "", addedModules[name] != "", top == "pkg_resources", top == "distutils":
					return false
				case strings.Contains(name, "."):
					if in(thirdParty, top) && !ownModule(name, frames) {
						return false
					}
					if !ownModule(name, frames) && !in(localNames, top) && len(frames) == 0 {
						return false
					}
				case thirdPartyModule(name, frames):
					return false
				}
				if where == dependency {
					return false
				}
				place(m, frames)
				return true
			case name != "" && strings.Contains(t, "cannot import name"):
				top := topLevel(name)
				if in(thirdParty, top) && !ownModule(name, frames) || in(standard, top) || strings.Contains(t, "site-packages") {
					return false
				}
				place(m, frames)
				return true
			case strings.Contains(t, "outside a module"), strings.Contains(t, "ERR_REQUIRE_ESM"), strings.Contains(t, "Cannot find module"), strings.Contains(t, "Cannot find package"), strings.Contains(t, "in ES module scope"):
				return sec != jest || strings.Contains(t, "outside a module")
			case !python && sec == plain && javaScript(w, m):
				return true
			case m.Facts["exception"] == "ReferenceError":
				return sec == plain
			}
			// An exception that ended a program. Within a test's report it is the
			// test that failed.
			if sec == failing || sec == setup || sec == unit || sec == jest || sec == summary || !python {
				return false
			}
			if !ok || where == foreign {
				return false
			}
			if m.Facts["shape"] != "" {
				m.Facts["exception"] = m.Facts["shape"]
				delete(m.Facts, "shape")
				return place(m, frames)
			}
			switch m.Facts["exception"] {
			case "NameError", "UnboundLocalError":
				if where == dependency {
					return false
				}
			case "ValueError", "KeyError", "RuntimeError", "AssertionError":
				// Data and arguments raise these too: only where the repository's own
				// code does.
				if where != own || sec == collect {
					return false
				}
			}
			return place(m, frames) || where == dependency && strings.Contains(t, "'NoneType' object") || strings.HasPrefix(raised.File, "<st")
		},
	}
}

// tracebackNear tells whether a Python traceback leads to the match.
func tracebackNear(w *Window) bool {
	for i := -1; i >= -before; i-- {
		t, ok := w.Text(i)
		if !ok {
			return false
		}
		if strings.Contains(t, tracebackHead) {
			return true
		}
		if t == "" || t[0] != ' ' && plainFrameOf(t) == nil && i < -60 {
			return false
		}
	}
	return false
}

// javaScript tells whether an exception of JavaScript ended a program in the
// repository's own code: the first frame that isn't Node's is not a package's.
func javaScript(w *Window, m *Match) bool {
	if up, ok := w.Text(-1); ok && strings.Contains(up, tracebackHead) {
		return false
	}
	if strings.Contains(m.textOf(w), "The requested module '") {
		// The place stands above: the file, the statement and a mark under it.
		module := requestedModule.FindStringSubmatch(m.textOf(w))
		place, _ := w.Text(-3)
		p := nodePlace.FindStringSubmatch(place)
		if module == nil || p == nil {
			return false
		}
		m.Facts["file"], m.Facts["line"] = relative(p[1]), p[2]
		return true
	}
	for i := 1; i <= 12; i++ {
		t, ok := w.Text(i)
		if !ok || !strings.HasPrefix(strings.TrimSpace(t), "at ") {
			return false
		}
		f := nodeFrame.FindStringSubmatch(t)
		if f == nil || strings.HasPrefix(f[1], "node:") {
			continue
		}
		if o, _ := whose(f[1]); o != own {
			return false
		}
		m.Facts["file"], m.Facts["line"] = relative(f[1]), f[2]
		return true
	}
	return false
}

var (
	requestedModule = re(`The requested module '\.{1,2}/`)
	nodePlace       = re(`^(?:file://)?(/\S+\.[cm]?[jt]sx?):(\d+)$`)
	nodeFrame       = re(`^\s+at (?:.+ \()?(?:file://)?([^()\s]+\.[cm]?[jt]sx?):(\d+):\d+\)?$`)
)

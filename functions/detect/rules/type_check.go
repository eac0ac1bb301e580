package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func typeCheck() *Rule {
	return &Rule{
		ID: "type-check", Category: "type-check",
		Title:    "The type checker found errors",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankCode + 3,
		FactNames: []string{"tool", "file", "line"},
		Patterns: patterns(
			`^(?P<file>[\w./\\@ -]+\.pyi?):(?P<line>\d+)(?::\d+)?: error: .+\[[a-z][a-z-]+\]\s*$`,
			`^(?P<file>[\w./\\@ -]+\.pyi?):(?P<line>\d+)(?::\d+)?: error: (?:Module|Name|Incompatible|Argument|Item|Function|Cannot find implementation|Unsupported|Value of type|Missing|Too |Call to|Class|Returning|Unexpected|Need type|Library stubs|Skipping analyzing|Invalid|"|Unused|Type|Dict entry|List item|No overload|Property|Signature|Untyped|Statement)`,
			`^(?P<file>[\w./\\@\[\]() -]+\.[cm]?[tj]sx?)[(:](?P<line>\d+)[,:]\d+\)?(?: -|:) error TS\d+: `,
			`^\s*(?P<file>(?:[A-Za-z]:)?[\w./\\@ -]+\.pyi?):(?P<line>\d+):\d+ - error: .*\((?:report\w+)\)`,
			`^ERROR (?P<file>\S+\.pyi?):(?P<line>\d+):\d+(?:-\d+(?::\d+)?)?: .+\[(?:[a-z]+-)+[a-z]+\]$`,
			`^error\[(?:unresolved-(?:import|attribute|reference)|invalid-[a-z-]+|possibly-[a-z-]+|missing-argument|unknown-argument|too-many-positional-arguments|call-non-callable|not-iterable|unsupported-operator|no-matching-overload|non-subscriptable)\]: `,
			`^(?P<file>\S+\.pyi?):(?P<line>\d+):\d+ [A-Z][\w ]+ \[\d+\]: `,
			`^(?P<file>[\w./\\@-]+\.vue)[(:](?P<line>\d+)[,:]\d+\)?(?: -|:) error TS\d+: `,
		),
		Keys: []string{"tool", "file"},
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			switch {
			case strings.Contains(t, "error TS"):
				m.Facts["tool"] = "tsc"
			case strings.Contains(t, "(report"):
				m.Facts["tool"] = "pyright"
			case pyre.MatchString(t):
				m.Facts["tool"] = "pyre"
			case strings.HasPrefix(t, "ERROR "):
				m.Facts["tool"] = "pyrefly"
			case strings.HasPrefix(t, "error["):
				m.Facts["tool"] = "ty"
				if next, ok := w.Text(1); ok {
					if p := arrowPlace.FindStringSubmatch(next); p != nil {
						m.Facts["file"], m.Facts["line"] = p[1], p[2]
					}
				}
			default:
				m.Facts["tool"] = "mypy"
				if strings.Contains(t, "[syntax]") {
					return false
				}
			}
			if m.Facts["file"] != "" {
				m.Facts["file"] = relative(m.Facts["file"])
			}
			return true
		},
	}
}

// arrowPlace is how Rust's diagnostics, and tools that print like them, name a
// place.
var arrowPlace = re(`^\s*--> (\S+?):(\d+):\d+$`)

var pyre = re(`:\d+:\d+ [A-Z][\w ]+ \[\d+\]: `)

package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func tooling() *Rule {
	return &Rule{
		ID: "tooling", Category: "tooling",
		Title:    "A development tool failed for its own reasons",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankSetup - 6,
		FactNames: []string{"tool"},
		Patterns: patterns(
			`^(?P<file>\S+: )?error: INTERNAL ERROR`,
			`^An unexpected error has occurred: (?:CalledProcessError|InvalidManifestError|AssertionError|\w+Error)`,
			`^INTERNALERROR> \S*(?:Error|Exception)\b`,
			`^(?P<tool>[\w.-]+(?: \w+)?): error: (?:unrecognized arguments|the following arguments are required)`,
			`^(?:error|Error): (?:unexpected argument|[Nn]o such option|unknown (?:flag|option))`,
			`^no such option: \S+`,
			`^Error: No such command '\S+'`,
			`^unknown (?:shorthand )?flag: `,
			`^error: unrecognized subcommand `,
			`^(?:docker: )?'\w+' is not a docker command`,
			`internal compiler error:`,
			`^Codecov: Failed to properly|There was an error running the (?P<tool>uploader):`,
		),
		Keys: []string{"tool"},
		Refine: func(w *Window, m *Match) bool {
			delete(m.Facts, "file")
			t := m.textOf(w)
			switch {
			case strings.Contains(t, "INTERNAL ERROR"):
				m.Facts["tool"] = "mypy"
			case strings.HasPrefix(t, "An unexpected error"):
				m.Facts["tool"] = "pre-commit"
			case strings.HasPrefix(t, "INTERNALERROR"):
				m.Facts["tool"] = "pytest"
			case strings.HasPrefix(t, "Codecov"), m.Facts["tool"] == "uploader":
				m.Facts["tool"] = "codecov"
			case strings.HasPrefix(t, "no such option"):
				m.Facts["tool"] = "pip"
			}
			return !w.InTest()
		},
	}
}

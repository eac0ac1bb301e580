package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// formatter are tools and hooks that only change the form of files.
var formatter = re(`(?i)\b(?:black|isort|ruff[ -]format|ruff-format|prettier|yapf|autopep8|clang-format|gofmt|goimports|nbstripout|docformatter|biome format|dart format|shfmt|yamlfmt|rustfmt|cargo fmt|pyproject-fmt|trim trailing whitespace|trailing-whitespace|fix end of files|end-of-file-fixer|mixed line ending|add-trailing-comma|sort simple yaml|fix requirements|pretty format json|stylua)\b`)

func format() *Rule {
	return &Rule{
		ID: "format", Category: "format",
		Title:    "Files are not formatted",
		Severity: Low, Remedy: domain.RemedyHuman, Rank: RankStyle,
		FactNames: []string{"tool", "files"},
		Patterns: patterns(
			`^(?:\x{1f4a5} .*|Oh no! .*)?(?P<files>\d+) files? would be reformatted`,
			`^would reformat (?P<files>\S+)`,
			`^Would reformat: (?P<files>\S+)`,
			`^(?P<tool>\S[^.]{1,60}|ruff format \([^)]*\))\.{4,}Failed$`,
			`ERROR: (?P<files>\S+) Imports are incorrectly sorted`,
			`^(?:\[warn\] )?Code style issues (?:were )?found in`,
			`Formatter would have printed the following content`,
			`^(?P<files>\d+) files? needs? formatting`,
			`File is not .gofm|File is not .goimports`,
			`^Diff in (?P<files>\S+\.rs)(?: at line |:)\d+:?$`,
			`^Formatted \d+ files? \([1-9]\d* changed\) in `,
			`(?:^> |: )The following files had format violations:$`,
			`^error: Found \d+ not formatted files? in \d+ files?`,
			`^(?:\S+ )?Error \S+ - Was not formatted\.$`,
			`^ERROR taplo:format_files: the file is not properly formatted`,
			`(?P<files>[^\s:]+):\d+:\d+: error: code should be clang-formatted \[-Wclang-format-violations\]`,
			`^Error: File "(?P<files>[^"]+)" is not formatted\.$`,
			`^Some files are not formatted|^The following files are not (?:properly )?formatted`,
			`^error: Unformatted files? found|^Unformatted: (?P<files>\S+)`,
			`^(?:error: )?[1-9]\d* files? (?:is|are) not formatted`,
		),
		Keys: []string{"tool", domain.KeyPlace},
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			switch {
			case strings.HasSuffix(t, "..Failed"):
				return formatter.MatchString(m.Facts["tool"])
			case strings.Contains(strings.ToLower(t), "reformat"):
				m.Facts["tool"] = "black"
				if strings.Contains(t, "Would reformat:") || strings.Contains(t, "already formatted") {
					m.Facts["tool"] = "ruff format"
				}
			case strings.Contains(t, "sorted"):
				m.Facts["tool"] = "isort"
			case strings.Contains(t, "Code style issues"):
				m.Facts["tool"] = "prettier"
			case strings.Contains(t, "Formatter would"):
				m.Facts["tool"] = "biome"
			case strings.HasPrefix(t, "Diff in "):
				m.Facts["tool"] = "rustfmt"
			case strings.HasPrefix(t, "Formatted "):
				m.Facts["tool"] = "dart format"
			case strings.Contains(t, "clang-format"):
				m.Facts["tool"] = "clang-format"
			case strings.Contains(t, "The following files had"):
				m.Facts["tool"] = "spotless"
			}
			if f := m.Facts["files"]; strings.ContainsAny(f, `/\`) {
				m.Facts["files"] = relative(f)
			}
			return true
		},
	}
}

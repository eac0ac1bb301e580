package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func lint() *Rule {
	return &Rule{
		ID: "lint", Category: "lint",
		Title:    "A linter found something",
		Severity: Low, Remedy: domain.RemedyHuman, Rank: RankStyle + 2, Confidence: 0.9,
		Keywords: []string{
			".py:", " --> ", "] ", "problems (", "  error  ", "error • ", ".....Failed", "Found ", "rated at ", "(golangci-lint)", " E", " W", " F", " C", "lint/", "✖ ",
		},
		Patterns: patterns(
			`^(?P<file>[\w./\\-]+\.(?:py|pyi|ipynb)):(?:cell \d+:)?(?P<line>\d+):\d+: (?P<code>[A-Z]{1,4}\d{3,4})\b`,
			`^(?P<code>[A-Z]{1,4}\d{3,4}) (?:\[\*\] )?[A-Z\x60].*`,
			`^(?P<file>[\w./\\-]+\.py):(?P<line>\d+):\d+: (?P<code>[CREWF]\d{4}): .+\(`,
			`^\s*(?P<line>\d+):\d+ +error +\S.* {2,}(?P<code>[@\w/-]+)\s*$`,
			`^✖ \d+ problems? \([1-9]\d* errors?`,
			`^\s*error • .+ • (?P<file>[\w./-]+):(?P<line>\d+):\d+ • (?P<code>\w+)`,
			`^(?P<tool>(?:ruff|flake8|pylint|eslint|bandit|codespell|yamllint|markdownlint|shellcheck|hadolint|pydocstyle|vulture|check [\w -]+|detect [\w -]+|interrogate|pyupgrade|[Mm]arkdownlint[\w-]*)\b[^.]{0,30})\.{5,}Failed$`,
			`^(?P<file>[\w./-]+\.(?:[cm]?[jt]sx?|vue|json|css)):(?P<line>\d+):\d+ (?P<code>lint/[\w/]+)`,
			`^Found [1-9]\d* errors?\.?(?: \([1-9]\d* fixed, [1-9]\d* remaining\))?\.?$`,
			`^(?P<file>[\w./-]+\.go):(?P<line>\d+):\d+: .+ \((?P<code>errcheck|govet|staticcheck|unused|ineffassign|gosimple|revive|gocritic|gosec|misspell|typecheck|stylecheck|lll)\)$`,
			`^(?P<file>[\w./-]+\.ya?ml): *(?P<line>\d+):\d+ +error `,
		),
		Keys: []string{"tool", "code", "file"},
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			code := m.Facts["code"]
			switch {
			case strings.HasPrefix(t, "Found "):
				// ruff, biome and others; mypy says the same with "in N files".
				m.Weak = true
			case code != "" && m.Facts["file"] == "" && strings.HasPrefix(t, code):
				// ruff's full form: the place stands on the next line.
				next, ok := w.Text(1)
				if !ok {
					return false
				}
				p := ruffPlace.FindStringSubmatch(next)
				if p == nil {
					return false
				}
				m.Facts["file"], m.Facts["line"] = p[1], p[2]
			case strings.Contains(t, ".....Failed"):
				m.Facts["tool"] = strings.TrimSpace(m.Facts["tool"])
				if formatter.MatchString(m.Facts["tool"]) {
					return false
				}
			case strings.HasPrefix(code, "lint/"):
				// biome shows warnings in the same form, with another mark.
				m.Facts["tool"] = "biome"
				next, ok := w.Text(2)
				return ok && strings.HasPrefix(strings.TrimSpace(next), "×")
			case m.Facts["file"] == "" && m.Facts["line"] != "":
				// eslint prints the file above its findings.
				for i := -1; i >= -before; i-- {
					up, ok := w.Text(i)
					if !ok || up == "" {
						break
					}
					if strings.HasPrefix(up, "/") || eslintFile.MatchString(up) {
						m.Facts["file"] = relative(strings.TrimSpace(up))
						break
					}
				}
				m.Facts["tool"] = "eslint"
			}
			if strings.HasPrefix(code, "I00") && !strings.Contains(t, "Failed") {
				m.Facts["tool"] = "ruff"
			}
			if m.Facts["file"] != "" {
				m.Facts["file"] = relative(m.Facts["file"])
			}
			return true
		},
	}
}

var (
	ruffPlace  = re(`^\s*--> (\S+?):(\d+):\d+$`)
	eslintFile = re(`^(?:[A-Za-z]:)?[\w./\\@-]+\.[cm]?[jt]sx?$`)
)

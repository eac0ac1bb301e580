package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func lint() *Rule {
	return &Rule{
		ID: "lint", Category: "lint",
		Title:    "A linter found something",
		Severity: Low, Remedy: domain.RemedyHuman, Rank: RankStyle + 2,
		FactNames: []string{"tool", "file", "line", "code"},
		Patterns: patterns(
			`^(?P<file>[\w./\\-]+\.pyi?):(?P<line>\d+):\d+: (?P<code>[A-Z]{1,4}\d{3,4})\b`,
			`^(?P<file>[\w./\\-]+\.ipynb):cell (?P<line>\d+):\d+:\d+: (?P<code>[A-Z]{1,4}\d{3,4})\b`,
			`^\s*--> (?P<file>\S+?):(?P<line>\d+):\d+$`,
			`^\s*(?P<line>\d+):\d+ +error +\S.* {2,}(?P<code>[@\w/-]+)\s*$`,
			`^✖ \d+ problems? \([1-9]\d* errors?`,
			`^\s*error • .+ • (?P<file>[\w./-]+):(?P<line>\d+):\d+ • (?P<code>\w+)`,
			`^(?P<tool>(?:ruff|flake8|pylint|eslint|bandit|codespell|yamllint|markdownlint|shellcheck|hadolint|pydocstyle|vulture|check [\w -]+|detect [\w -]+|interrogate|pyupgrade|[Mm]arkdownlint[\w-]*)\b[^.]{0,30})\.{5,}Failed$`,
			`^(?P<file>[\w./-]+\.(?:[cm]?[jt]sx?|vue|json|css)):(?P<line>\d+):\d+ (?P<code>lint/[\w/]+)`,
			`^Found [1-9]\d* errors?\.?(?: \([1-9]\d* fixed, [1-9]\d* remaining\))?\.?$`,
			`^(?P<file>[\w./-]+\.go):(?P<line>\d+):\d+: .+ \((?P<code>errcheck|govet|staticcheck|unused|ineffassign|gosimple|revive|gocritic|gosec|misspell|typecheck|stylecheck|lll)\)$`,
			`^(?P<file>[\w./-]+\.ya?ml): *(?P<line>\d+):\d+ +error `,
			`^(?P<file>[\w./-]+\.ya?ml):(?P<line>\d+):\d+: \[error\] .+ \((?P<code>[a-z-]+)\)$`,
		),
		Keys: []string{"tool", "code", "file"},
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			code := m.Facts["code"]
			switch {
			case strings.HasPrefix(t, "Found "), strings.HasPrefix(t, "✖ "):
				// ruff, biome and others; mypy says the same with "in N files".
				m.Weak = true
			case strings.HasPrefix(strings.TrimSpace(t), "--> "):
				// ruff's full form: the finding stands on the line above its place.
				up, ok := w.Text(-1)
				if !ok {
					return false
				}
				p := ruffFinding.FindStringSubmatch(up)
				if p == nil {
					return false
				}
				m.Facts["code"], m.Facts["tool"] = p[1], "ruff"
				w.Move(m, -1)
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
			if m.Facts["file"] != "" {
				m.Facts["file"] = relative(m.Facts["file"])
			}
			return true
		},
	}
}

var (
	ruffFinding = re(`^([A-Z]{1,4}\d{3,4}) (?:\[\*\] )?\S`)
	eslintFile  = re(`^(?:[A-Za-z]:)?[\w./\\@-]+\.[cm]?[jt]sx?$`)
)

package rules

import (
	"regexp"
	"slices"
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// linters are the tools that lintReport knows, by how their findings look. The
// named groups are facts.
var linters = []struct{ tool, pattern string }{
	{"clippy", `^\s+= (?:note|help): (?:requested on the command line with )?.-D (?P<code>(?:clippy::)?[\w:-]+)`},
	{"clippy", `^\s+= help: for further information visit \S+/index\.html#(?P<code>\w+)$`},
	{"shellcheck", `^In (?P<file>\S+) line (?P<line>\d+):$`},
	{"shellcheck", `^(?P<file>\S+):(?P<line>\d+):\d+: (?:error|warning|note|style): .+ \[(?P<code>SC\d{4})\]$`},
	{"hadolint", `^(?P<file>\S+):(?P<line>\d+) (?P<code>(?:DL|SC)\d{4}) (?:.\[\d*m)?(?:error|warning|info|style)`},
	{"markdownlint", `^(?P<file>\S+\.mdx?):(?P<line>\d+)(?::\d+)? (?:error )?(?P<code>MD\d{3})/`},
	{"yamllint", `^\s+(?P<line>\d+):\d+ +error +.+ +\((?P<code>[a-z-]+)\)$`},
	{"codespell", `^(?:\./)?(?P<file>[\w./-]+):(?P<line>\d+): (?P<code>[\w'-]+) ==> [\w', -]+$`},
	{"cspell", `^(?P<file>\S+):(?P<line>\d+):\d+ - Unknown word \((?P<code>[^)]+)\)`},
	{"typos", "^error: `(?P<code>[^`]+)` should be `"},
	{"bandit", `^>> Issue: \[(?P<code>B\d{3}):`},
	{"rubocop", `^(?P<file>\S+\.rb):(?P<line>\d+):\d+: [CWEF]: (?:\[Correctable\] )?(?P<code>[A-Z]\w+/\w+): `},
	{"stylelint", `^\s+(?P<line>\d+):\d+ +✖ +.+ +(?P<code>[a-z][a-z/-]+)$`},
	{"actionlint", `^(?P<file>\.github/workflows/\S+):(?P<line>\d+):\d+: .+ \[(?P<code>[a-z-]+)\]$`},
	{"checkstyle", `^\[(?:ERROR|WARN)\] (?P<file>\S+\.java):(?P<line>\d+)(?::\d+)?: .+ \[(?P<code>\w+)\]$`},
	{"ktlint", `^(?P<file>\S+\.kts?):(?P<line>\d+):\d+: .+ \((?P<code>[a-z]+:[\w-]+)\)$`},
	{"detekt", `^(?P<file>\S+\.kt):(?P<line>\d+):\d+: .+ \[(?P<code>[A-Z]\w+)\]$`},
	{"swiftlint", `^(?P<file>\S+\.swift):(?P<line>\d+):\d+: error: .+ \((?P<code>[a-z_]+)\)$`},
	{"deptry", `^(?P<file>\S+):(?:(?P<line>\d+):\d+:)? (?P<code>DEP\d{3}) `},
	{"pydoclint", `^\s+(?P<line>\d+): (?P<code>DOC\d{3}): `},
	{"helm lint", `^\[ERROR\] (?P<file>templates/\S*|Chart\.yaml|values\.yaml|\S+/templates/\S*): `},
	{"cpplint", `^(?P<file>\S+):(?P<line>\d+): +.+ +\[(?P<code>[a-z]+/[a-z_+]+)\] \[\d\]$`},
	{"clang-tidy", `^(?P<file>\S+\.(?:c|cc|cpp|cxx|cu|h|hpp)):(?P<line>\d+):\d+: (?:error|warning): .+ \[(?P<code>(?:bugprone|cert|clang-analyzer|cppcoreguidelines|google|misc|modernize|performance|readability)-[\w.,-]+)\]$`},
	{"tflint", `^Error: .+ \((?P<code>(?:terraform|aws|google|azurerm)_\w+)\)$`},
	{"import-linter", `^Contracts: \d+ kept, [1-9]\d* broken\.$`},
	{"interrogate", `^RESULT: FAILED \(minimum: [\d.]+%, actual: [\d.]+%\)`},
	{"oxlint", `^Found \d+ warnings? and [1-9]\d* errors?\.$`},
}

// lintReport knows the findings of linters besides ruff, flake8, pylint, eslint
// and others in lint.
func lintReport() *Rule {
	r := &Rule{
		ID: "lint-report", Category: "lint",
		Title:    "A linter found something",
		Severity: Low, Remedy: domain.RemedyHuman, Rank: RankStyle + 1,
		FactNames: []string{"tool", "file", "line", "code"},
		Keys:      []string{"tool", "code", "file"},
	}
	for _, l := range linters {
		r.Patterns = append(r.Patterns, re(l.pattern))
	}
	r.Refine = func(w *Window, m *Match) bool {
		t := m.textOf(w)
		i := slices.IndexFunc(r.Patterns, func(p *regexp.Regexp) bool { return p.MatchString(t) })
		if i < 0 {
			return false
		}
		m.Facts["tool"] = linters[i].tool
		if m.Facts["tool"] == "clippy" && !clippyHead(w, m) {
			return false
		}
		for i := -1; i >= -60 && m.Facts["file"] == "" && (m.Facts["tool"] == "yamllint" || m.Facts["tool"] == "stylelint"); i-- {
			up, ok := w.Text(i)
			if !ok || up == "" {
				break
			}
			if headed.MatchString(up) {
				m.Facts["file"] = up // above its findings
			}
		}
		if m.Facts["file"] != "" {
			m.Facts["file"] = relative(m.Facts["file"])
		}
		return true
	}
	return r
}

// clippyHead moves the match from a note, which names the lint, to the
// diagnostic's head, and tells whether that is an error.
func clippyHead(w *Window, m *Match) bool {
	for i := -1; i >= -30; i-- {
		t, ok := w.Text(i)
		if !ok {
			return true
		}
		if p := arrowPlace.FindStringSubmatch(t); p != nil {
			m.Facts["file"], m.Facts["line"] = p[1], p[2]
		}
		if strings.HasPrefix(t, "error: ") || strings.HasPrefix(t, "warning: ") {
			w.Move(m, i)
			return t[0] == 'e'
		}
	}
	return true
}

// headed are the headings under which yamllint and stylelint list findings.
var headed = re(`^\S+\.(?:ya?ml|s?css|less|vue)$`)

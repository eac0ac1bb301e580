package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// exc is what may stand before an exception's name: pytest's mark, a rank, a
// build step's number, a container's name, Slurm's task, a summary line of pytest.
const exc = `^(?:E {1,40}|\[?(?:rank|default)\d+\]?: ?|\([\w ]+pid=\d+[^)]{0,80}\) ?|#\d+ +\d+\.\d+ +|[\w.-]+-\d+ +\| |\d{1,4}: |(?:FAILED|ERROR) \S+(?: - |$)|\*\*|\s+)*`

func missingModule() *Rule {
	return &Rule{
		ID: "missing-module", Category: "missing-module",
		Title:    "A Python package is not installed",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankSetup,
		FactNames: []string{"module"},
		Patterns: patterns(
			exc+`(?:ModuleNotFoundError|ImportError): No module named '?(?P<module>[A-Za-z_][\w.]*)'?`,
			`^(?:\S*/)?(?:python|pypy)[\d.]*(?:\.exe)?: No module named '?(?P<module>[A-Za-z_]\w*)'?(?:$|[\s;])`,
			`\\python(?:\.exe)?: No module named '?(?P<module>[A-Za-z_]\w*)'?$`,
			`^No module named '(?P<module>[A-Za-z_][\w.]*)'$`,
			exc+`ImportError: Missing optional dependency '(?P<module>[\w.-]+)'`,
			exc+`ImportError: Unable to find a usable engine; tried using: '(?P<module>[\w.-]+)'`,
			`^\w+ requires the (?P<library>[\w.-]+) library but it was not found in your environment`,
		),
		Keys: []string{"module"},
		Refine: func(w *Window, m *Match) bool {
			if strings.HasPrefix(m.textOf(w), "No module named") && !w.reported() {
				return false
			}
			if library := m.Facts["library"]; library != "" {
				delete(m.Facts, "library")
				m.Facts["module"] = strings.ToLower(strings.ReplaceAll(library, "-", "_"))
				if library == "PyTorch" {
					m.Facts["module"] = "torch"
				}
				return true
			}
			name := m.Facts["module"]
			top := topLevel(name)
			if top == "pkg_resources" || top == "distutils" || removedModules[top] != "" || addedModules[name] != "" {
				return false // a matter of Python's or setuptools' version
			}
			frames := w.traceback()
			if strings.Contains(name, ".") {
				// The parent was found, so the package is there and lacks a part,
				// unless the parent is a namespace that many packages share.
				parts := strings.SplitN(name, ".", 3)
				switch parts[0] {
				case "google", "azure", "ruamel", "sphinxcontrib", "jaraco", "zope", "backports", "opentelemetry":
					m.Facts["module"] = parts[0] + "." + parts[1]
				default:
					return false
				}
			}
			// try: import a … except ImportError: import b
			m.Weak = w.handled() || w.answered()
			return thirdPartyModule(name, frames)
		},
	}
}

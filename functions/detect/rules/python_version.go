package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func pythonVersionRule() *Rule {
	return &Rule{
		ID: "python-version", Category: "python-version",
		Title:    "The job's Python version does not fit",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankSetup + 2,
		FactNames: []string{"version", "required", "module", "symbol", "package"},
		Patterns: patterns(
			`Package '?(?P<package>[\w.-]+)'? requires a different Python: (?P<version>\d[\w.]*) not in '(?P<required>[^']+)'`,
			`[Tt]he version '(?P<version>[^']+)' with architecture '[^']+' was not found`,
			`\bVersion (?P<version>\d[\w.*-]*) with arch \S+ not found`,
			`currently activated Python version (?P<version>\d[\w.]*) is not supported by the project \((?P<required>[^)]+)\)`,
			`Current Python version \((?P<version>\d[\w.]*)\) is not allowed by the project \((?P<required>[^)]+)\)`,
			`[Cc]urrent project's Python requirement \((?P<required>[^)]+)\) is not compatible with some of the required packages`,
			`supported Python range \((?P<required>[^)]+)\) is not compatible with some of the required packages`,
			`resolved to Python (?P<version>\d[\w.]*), which is incompatible with the project's Python requirement: .?(?P<required>[<>=!~^][^`+"`"+`\s]*)`,
			`current Python version \((?P<version>\d[\w.]*)\) does not satisfy Python(?P<required>[<>=!~][\d.,<>=!~*]*)`,
			`No interpreter found for Python (?P<version>\d[\w.]*)`,
			`^(?:ERROR|error): \S+ requires Python '?(?P<required>[<>=!~][^']*)'? but the running Python is (?P<version>\d[\w.]*)`,
			exc+`ModuleNotFoundError: No module named '(?P<module>[\w.]+)'`,
			exc+`TypeError: unsupported operand type\(s\) for \|: '(?:type|NoneType|_GenericAlias|ABCMeta|EnumMeta|builtin_function_or_method)' and '`,
			exc+`TypeError: 'type' object is not subscriptable`,
			exc+`ImportError: cannot import name '(?P<symbol>Self|Literal|Protocol|TypedDict|Annotated|ParamSpec|TypeAlias|Never|NotRequired|Required|Unpack|override|assert_never|reveal_type|Concatenate|TypeGuard|Final|runtime_checkable|LiteralString|TypeVarTuple)' from 'typing'`,
		),
		Keys: []string{"version", "required", "module", "symbol"},
		Refine: func(w *Window, m *Match) bool {
			if strings.Contains(m.textOf(w), "currently activated Python version") {
				// Poetry looks for another one then.
				for i := 1; i <= 4; i++ {
					if t, ok := w.Text(i); ok && strings.HasPrefix(t, "Using ") {
						return false
					}
				}
			}
			if name := m.Facts["module"]; name != "" {
				var required string
				if v := removedModules[topLevel(name)]; v != "" {
					required = "<" + v
				} else if v := addedModules[name]; v != "" {
					required = ">=" + v
				} else {
					return false
				}
				m.Facts["required"] = required
				m.Weak = w.handled()
			}
			if m.Facts["required"] != "" || m.Facts["version"] == "" {
				// Legs differ in the version that they run, not in what is asked for.
				m.Keys = []string{"required", "module", "symbol"}
			}
			if m.Facts["version"] == "" && w.Python != "" {
				m.Facts["version"] = w.Python
			}
			return true
		},
	}
}

package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func apiChange() *Rule {
	return &Rule{
		ID: "api-change", Category: "api-change",
		Title:    "The code and a dependency's API do not fit",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankFit,
		Last:      true,
		FactNames: []string{"package", "symbol", "file", "line"},
		Patterns: patterns(
			exc+`ImportError: cannot import name '(?P<symbol>\w+)' from (?P<partial>partially initialized module )?'(?P<module>[\w.]+)'(?: \((?P<path>[^)]*)\))?`,
			`^cannot import name '(?P<symbol>\w+)' from '(?P<module>[\w.]+)'(?: \((?P<path>[^)]*)\))?$`,
			exc+`AttributeError: (?:partially initialized )?module '?(?P<module>[A-Za-z_][\w.]*)'? has no attribute '?(?P<symbol>\w+)'?`,
			exc+`AttributeError: (?:type object )?'(?P<class>[\w.]+)' (?:object )?has no attribute '(?P<symbol>\w+)'`,
			exc+`TypeError: (?P<symbol>[\w.<>]+)\(\) (?:got an unexpected keyword argument '(?P<argument>\w+)'|got multiple values for|takes (?:from )?\d+|missing \d+ required)`,
			exc+`(?P<exception>TypeError): (?P<reason>.*(?:not allowed|no longer|removed|deprecated|unexpected|[Ee]xpected \S+ to be|not supported|does not support|invalid keyword|must be (?:real|str|a|an) ).*)`,
			exc+`(?:\w+\.)*(?:\w*Error|\w*Exception|\w*Warning): .*(?:has been removed|have been removed|was removed in|is no longer supported|has been moved to)`,
			"^`(?P<symbol>\\w+)` has been removed from (?P<class>scikit-learn) since version",
			exc+`(?P<exception>ValueError): Argument\(s\) not recognized: \{'(?P<argument>\w+)'`,
			exc+`ModuleNotFoundError: No module named '(?P<module>\w+\.[\w.]+)'`,
			exc+`(?P<class>openai)\.(?:lib\._old_api\.)?APIRemovedInV1: `,
			exc+`(?P<class>pydantic\.errors)\.Pydantic(?:User|Import)Error: `,
			exc+`(?P<class>sklearn\.utils\._param_validation)\.InvalidParameterError: The '(?P<argument>\w+)' parameter of (?P<symbol>\w+) must be`,
		),
		Keys: []string{"package", "symbol", "file"},
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			f := m.Facts
			defer func() {
				for _, k := range [...]string{"module", "path", "class", "partial", "reason", "exception"} {
					delete(f, k)
				}
			}()
			if strings.HasPrefix(t, "cannot import name") && !w.reported() {
				return false
			}
			frames := w.traceback()
			raised, _ := innermost(frames)
			where, dep := whose(raised.File)
			if len(frames) == 0 {
				where = own
			}
			pkg := ""
			switch {
			case strings.Contains(t, "cannot import name"):
				if f["partial"] != "" {
					return false // a circular import
				}
				top := topLevel(f["module"])
				switch {
				case f["path"] != "" && f["path"] != "unknown location":
					if o, _ := whose(f["path"]); o != dependency && o != stdlib {
						return false
					}
				case ownModule(f["module"], frames), in(localNames, top):
					return false
				case !in(thirdParty, top) && !in(standard, top):
					return false
				}
				pkg = top
			case strings.Contains(t, "No module named"):
				top := topLevel(f["module"])
				if ownModule(f["module"], frames) || !in(thirdParty, top) || top == "google" || top == "azure" || addedModules[f["module"]] != "" {
					return false
				}
				pkg, f["symbol"] = top, f["module"]
			case f["module"] != "":
				top := topLevel(f["module"])
				switch {
				case ownModule(f["module"], frames), f["module"] == "numpy" && in(removedNumPy, f["symbol"]):
					return false
				case in(thirdParty, top), in(standard, top), where == dependency:
				default:
					return false
				}
				pkg = top
			case f["class"] == "NoneType", f["class"] == "Mock", f["class"] == "MagicMock":
				return false
			case f["class"] == "super" && f["symbol"] == "__sklearn_tags__":
				pkg = "sklearn"
			case strings.HasPrefix(f["class"], "pydantic"):
				pkg = "pydantic"
			case f["class"] == "openai":
				pkg = "openai"
			case f["class"] == "scikit-learn", strings.HasPrefix(f["class"], "sklearn"):
				pkg = "sklearn"
			case f["class"] != "":
				pkg = classes[f["class"]]
				if pkg == "" && where == dependency && !builtinType(f["class"]) {
					pkg = dep
				}
			case strings.Contains(t, "has been removed"), strings.Contains(t, "have been removed"), strings.Contains(t, "was removed in"), strings.Contains(t, "no longer supported"), strings.Contains(t, "has been moved to"):
				if where == dependency {
					pkg = dep
				} else if p, ok := calledPackage(raised.Source); ok {
					pkg = p
				}
			default:
				// TypeErrors: the symbol belongs to the dependency that raised it, or
				// to the one that the failing statement calls.
				switch where {
				case dependency:
					pkg = dep
				case foreign:
				case stdlib:
					if f["argument"] != "" || strings.Contains(t, "xpected") {
						pkg = "python"
					}
				case own:
					if f["argument"] != "" || strings.Contains(t, "missing ") || strings.Contains(t, "takes ") {
						if p, ok := calledPackage(raised.Source); ok && !ownCall(f["symbol"], frames) {
							pkg = p
						}
					}
				}
			}
			if pkg == "" || pkg == "pytest" || pkg == "_pytest" || pkg == "pluggy" {
				return false
			}
			f["package"] = pkg
			if f["symbol"] == "" {
				f["symbol"] = calledSymbol(frames)
				if f["symbol"] == "" {
					delete(f, "symbol")
				}
			}
			if f["argument"] != "" {
				f["symbol"] = f["argument"]
				delete(f, "argument")
			}
			place(m, frames)
			return true
		},
	}
}

func builtinType(class string) bool {
	switch class {
	case "str", "list", "dict", "int", "float", "tuple", "set", "bytes", "bool", "function", "generator", "coroutine", "method", "module", "type", "property", "object":
		return true
	}
	return false
}

// ownCall tells whether the symbol is a class's or function's of the
// repository, as far as frames show it.
func ownCall(symbol string, frames []frame) bool {
	class, _, _ := strings.Cut(symbol, ".")
	for _, f := range frames {
		if strings.Contains(f.Source, "class "+class) || strings.Contains(f.Source, "def "+class) {
			return true
		}
	}
	return false
}

// calledSymbol names what the last statement of the repository calls.
func calledSymbol(frames []frame) string {
	f, ok := innermostOwn(frames)
	if !ok {
		return ""
	}
	all := lastCall.FindAllStringSubmatch(f.Source, 4)
	if len(all) == 0 {
		return ""
	}
	return all[0][1]
}

var lastCall = re(`(?:\.|\b)([A-Za-z_]\w*)\(`)

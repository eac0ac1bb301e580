package rules

import (
	"slices"
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func configMissing() *Rule {
	return &Rule{
		ID: "config-missing", Category: "config-missing",
		Title:    "A configuration is not there",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankFit - 2,
		Last:      true,
		FactNames: []string{"key", "file"},
		Patterns: patterns(
			exc+`FileNotFoundError: (?:\[Errno 2\] )?(?:No such file or directory: |.*?[:\s])['"]?(?P<file>[^'"\s]+)['"]?`,
			`(?:Keystore|Key store) file '(?P<file>[^']+)' not found for signing`,
			`MissingConfigException: (?:Cannot find primary config '(?P<file>[^']+)'|In '(?P<file>[^']+)')`,
			exc+`omegaconf\.errors\.(?:MissingMandatoryValue|ConfigAttributeError|ConfigKeyError): (?:.*?: |Key ')(?P<key>[\w.]+)`,
			exc+`(?:decouple\.)?UndefinedValueError: (?P<key>\w+) not found`,
			exc+`(?:django\.core\.exceptions\.)?ImproperlyConfigured: .*?(?P<key>[A-Z][A-Z_0-9]+)`,
			exc+`(?:pydantic_core\._pydantic_core\.|pydantic\.error_wrappers\.|pydantic\.)?ValidationError: \d+ validation errors? for (?P<class>\w+)`,
			exc+`KeyError: '(?P<key>[A-Z][A-Z0-9]*_[A-Z0-9_]+)'`,
			`^ERROR: you are not inside of a DVC repository`,
			`^no configuration file provided: not found`,
			`^\s*Could not find profile named '(?P<key>[^']+)'`,
			`^env file (?P<file>\S+) not found`,
			exc+`hydra\.errors\.ConfigCompositionException`,
			`^In '[^']+': Could not find '(?P<file>[^']+)'$`,
			`^Could not override '(?P<key>[^']+)'\.$`,
			`(?i)^(?:\S*error|fatal|exception)\b:? .*\b(?:missing|required|undefined) (?:required )?environment variables?\b:? ?['"\x60]?(?P<key>[A-Z][A-Z0-9_]+)?`,
			`(?i)^(?:\S*error|fatal|exception)\b:? .*\benvironment variable ['"\x60]?(?P<key>[A-Z][A-Z0-9_]+)['"\x60]? (?:is |was |must be )?(?:not set|required|missing|undefined|set\b)`,
			`^(?i:error|fatal)\b.*[Cc]onfig(?:uration)? file (?:not found|does not exist):? ?(?P<file>\S*)`,
		),
		Keys: []string{"key", "file"},
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			if class := m.Facts["class"]; class != "" {
				delete(m.Facts, "class")
				if key, ok := w.Text(1); ok {
					m.Facts["key"] = strings.TrimSpace(key)
				}
				return settingsClass.MatchString(class)
			}
			if strings.Contains(t, "FileNotFoundError") && !configFile.MatchString(m.Facts["file"]) {
				return false
			}
			if strings.Contains(t, "KeyError") {
				if credential.MatchString(m.Facts["key"]) {
					return false
				}
				return slices.ContainsFunc(w.traceback(), func(f frame) bool { return strings.Contains(f.Source, "environ") })
			}
			if m.Facts["file"] != "" {
				m.Facts["file"] = relative(m.Facts["file"])
			}
			m.Weak = w.handled()
			return true
		},
	}
}

var credential = re(`^` + sensitiveName + `$`)

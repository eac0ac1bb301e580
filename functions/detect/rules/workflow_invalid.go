package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func workflowInvalid() *Rule {
	return &Rule{
		ID: "workflow-invalid", Category: "workflow-invalid",
		Title:    "The workflow refers to something that does not exist or does not parse",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankRunner + 3,
		FactNames: []string{"file", "line", "action", "input"},
		Patterns: patterns(
			`Invalid workflow file: (?P<file>\S+?)(?:#L(?P<line>\d+))?$`,
			"Unable to resolve action `?(?P<action>[^`,\\s]+)`?",
			`Can't find 'action\.yml', 'action\.yaml' or 'Dockerfile' under '(?P<file>[^']+)'`,
			`The workflow is not valid\. (?P<file>\S+) \(Line: (?P<line>\d+)`,
			`The template is not valid\. (?P<file>\S+) \(Line: (?P<line>\d+)`,
			`(?P<file>\S+) \(Line: (?P<line>\d+), Col: \d+\): (?:Unexpected value|Unrecognized named-value)`,
			`Input required and not supplied: (?P<input>[\w-]+)`,
			`error parsing called workflow`,
		),
		Keys: []string{"file", "action", "input"},
		Refine: func(w *Window, m *Match) bool {
			if in := strings.ToLower(m.Facts["input"]); in != "" {
				for _, s := range [...]string{"token", "key", "secret", "password", "username", "credential"} {
					if strings.Contains(in, s) {
						return false // an empty secret
					}
				}
			}
			if f := m.Facts["file"]; f != "" {
				m.Facts["file"] = relative(strings.TrimSuffix(f, ":"))
			}
			return true
		},
	}
}

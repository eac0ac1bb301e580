package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func deprecatedAction() *Rule {
	return &Rule{
		ID: "deprecated-action", Category: "deprecated-action",
		Title:    "GitHub refuses an action's version or a workflow command",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankRunner + 5,
		FactNames: []string{"action", "version"},
		Patterns: patterns(
			"uses a deprecated version of `?(?P<action>[\\w.-]+/[\\w./-]+): ?(?P<version>v?[\\w.]+)",
			"The `(?P<action>set-output|save-state|set-env|add-path)` command is (?:deprecated and will be disabled|disabled)",
			`Cache service responded with 422: This legacy service is shutting down`,
			`Missing download info for (?P<action>actions/(?:cache|upload-artifact|download-artifact))@(?P<version>v?[\w.]+)`,
		),
		Keys: []string{"action", "version"},
		Refine: func(w *Window, m *Match) bool {
			if m.Facts["action"] == "" {
				for i := -1; i >= -60; i-- {
					t, ok := w.Text(i)
					if !ok {
						break
					}
					if s := cacheStep.FindStringSubmatch(t); s != nil {
						m.Facts["action"], m.Facts["version"] = s[1], s[2]
						break
					}
				}
			}
			m.Facts["version"] = strings.TrimRight(m.Facts["version"], ".")
			if m.Facts["version"] == "" {
				delete(m.Facts, "version")
			}
			// GitHub has announced the end of set-output for years: a warning.
			m.Weak = strings.Contains(m.textOf(w), "will be disabled")
			return true
		},
	}
}

// cacheStep is the heading of a step that uses the cache service.
var cacheStep = re(`^Run (actions/(?:cache|setup-[\w-]+))(?:/[\w-]+)?@(\S+)$`)

package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func runnerImageRemoved() *Rule {
	return &Rule{
		ID: "runner-image-removed", Category: "runner-image-removed",
		Title:    "The runner image was retired",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankRunner + 5,
		FactNames: []string{"image"},
		Patterns: patterns(
			`This is a scheduled (?P<image>(?i:ubuntu|macos|windows(?: server)?)[ -][\w.]+)(?: LTS)?(?: runner)? brownout`,
			`The (?P<image>(?i:ubuntu|macos|windows)[ -][\w.]+)(?: based)? runner images? (?:are now retired|(?:has been|is now|is) (?:removed|retired|unsupported|no longer))`,
			`The configuration '(?P<image>(?:ubuntu|macos|windows)-[\w.]+?)-us-default' is not supported`,
			`^No runner matching the specified labels(?: was found)?:? ?(?P<image>[\w.-]*)`,
		),
		Keys: []string{"image"},
		Refine: func(_ *Window, m *Match) bool {
			if image := m.Facts["image"]; image != "" {
				m.Facts["image"] = strings.Replace(strings.ToLower(strings.ReplaceAll(image, " ", "-")), "windows-server-", "windows-", 1)
			}
			return true
		},
	}
}

package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func gitPushRejected() *Rule {
	return &Rule{
		ID: "git-push-rejected", Category: "git-push-rejected",
		Title:    "A push was refused",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankSetup - 2,
		FactNames: []string{"ref"},
		Patterns: patterns(
			`^ *! \[(?:remote )?rejected\] +(?P<ref>\S+) `,
			`error: failed to push some refs to`,
		),
		Keys: []string{"ref"},
		Refine: func(w *Window, _ *Match) bool {
			for i := -1; i >= -40; i-- {
				t, ok := w.Text(i)
				if !ok || strings.HasPrefix(t, "To ") {
					break
				}
				if strings.HasPrefix(t, "From ") {
					return false // a fetch
				}
			}
			return true
		},
	}
}

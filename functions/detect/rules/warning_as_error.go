package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func warningAsError() *Rule {
	return &Rule{
		ID: "warning-as-error", Category: "warning-as-error",
		Title:    "A warning was turned into an error",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankFit - 4,
		FactNames: []string{"warning"},
		Patterns: patterns(
			`^E {2,}(?P<warning>(?:[\w]+\.)*\w*Warning)(?:: |$)`,
			`[Ww]arning, treated as error`,
			`warnings? (?:being |are )?treated as errors?`,
			`^pytest\.PytestUnraisableExceptionWarning: `,
			`^Aborted with \d+ warnings? in strict mode!`,
		),
		Keys: []string{"warning"},
		Refine: func(w *Window, _ *Match) bool {
			sec, _ := w.Section()
			return sec != warnings
		},
	}
}

package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/functions/detect/logs"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func cancelledRun() *Rule {
	return &Rule{
		ID: "cancelled", Category: "cancelled",
		Title:    "The job was cancelled",
		Severity: Low, Remedy: domain.RemedyNone, Rank: RankAftermath,
		Patterns: patterns(
			`^The operation was canceled\.`,
			`Canceling since a higher priority waiting request for`,
			`The run was canceled by @\S+`,
		),
		Refine: func(w *Window, m *Match) bool {
			return w.Level(0) == logs.Error || strings.Contains(m.textOf(w), "Canceling since") || strings.Contains(m.textOf(w), "run was")
		},
	}
}

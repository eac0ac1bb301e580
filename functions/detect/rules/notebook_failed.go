package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func notebookFailed() *Rule {
	return &Rule{
		ID: "notebook-failed", Category: "notebook-failed",
		Title:    "A notebook stopped at a cell",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankTest + 3,
		FactNames: []string{"cell", "exception"},
		Patterns: patterns(
			`Exception encountered at "In \[(?P<cell>\d+)\]"`,
			exc+`(?:papermill\.exceptions\.)?PapermillExecutionError`,
			exc+`(?:nbclient\.exceptions\.|nbconvert\.\S*)?CellExecutionError: `,
		),
		Keys: []string{"exception", domain.KeyPlace, domain.KeyText},
		Refine: func(w *Window, m *Match) bool {
			for i := after; i > 0; i-- {
				if t, ok := w.Text(i); ok {
					if s := anyException.FindStringSubmatch(t); s != nil && !strings.Contains(s[1], "Papermill") && !strings.Contains(s[1], "CellExecution") {
						m.Facts["exception"] = s[1]
						w.Move(m, i)
						break
					}
				}
			}
			return true
		},
	}
}

var anyException = re(`^([A-Za-z_][\w.]*(?:Error|Exception)): `)

package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func cancelledBySibling() *Rule {
	return &Rule{
		ID: "cancelled-by-sibling", Category: "cancelled-by-sibling",
		Title:    "The job was cancelled because another one failed",
		Severity: Low, Remedy: domain.RemedyNone, Rank: RankAftermath + 1,
		FactNames: []string{"job"},
		Patterns:  patterns(`The (?:job|strategy configuration) was canceled because "(?P<job>[^"]+)" failed`),
		Keys:      []string{"job"},
	}
}

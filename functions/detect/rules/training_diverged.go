package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func trainingDiverged() *Rule {
	return &Rule{
		ID: "training-diverged", Category: "training-diverged",
		Title:    "Training diverged",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankFit - 1,
		FactNames: []string{"metric"},
		Patterns: patterns(
			`^Divergence threshold reached: (?P<metric>\S+) = `,
			exc+`(?:\w+\.)*\w*(?:Error|Exception|Exit)\b.*(?:(?i:training|model|(?P<metric>\w*loss))(?: has)? (?:diverged|exploded)|[Ll]oss explosion)`,
			`^(?i:error|fatal|critical)\b.*(?i:training|model|(?P<metric>\w*loss))(?: has)? (?:diverged|exploded)`,
		),
		Keys: []string{"metric", domain.KeyPlace},
	}
}

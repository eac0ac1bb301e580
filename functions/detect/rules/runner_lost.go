package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func runnerLost() *Rule {
	return &Rule{
		ID: "runner-lost", Category: "runner-lost",
		Title:    "The runner stopped answering",
		Severity: Medium, Remedy: domain.RemedyRetry, Rank: RankResource - 1,
		Patterns: patterns(
			`The runner has received a shutdown signal`,
			`(?:runner|Runner).{0,80}lost communication with the server`,
			`The hosted runner encountered an error while running your job`,
			`The job was not acquired by Runner of type`,
		),
	}
}

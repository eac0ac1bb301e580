package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func containerPermission() *Rule {
	return &Rule{
		ID: "container-permission", Category: "container-permission",
		Title:    "The container engine refuses access",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankSetup + 1,
		Patterns: patterns(
			`permission denied while trying to connect to the (?:Docker daemon socket|docker API)`,
			`docker\.sock: connect: permission denied`,
		),
	}
}

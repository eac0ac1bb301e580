package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func gitConflict() *Rule {
	return &Rule{
		ID: "git-conflict", Category: "git-conflict",
		Title:    "A merge, rebase or cherry-pick conflicted",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankSetup - 1,
		Patterns: patterns(
			`^CONFLICT \([\w/ ]+\): Merge conflict in \S+`,
			`^Automatic merge failed; fix conflicts`,
			`^error: could not apply [0-9a-f]{7,}`,
		),
		Keys: []string{domain.KeyPlace},
	}
}

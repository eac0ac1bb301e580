package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func dirtyCheckout() *Rule {
	return &Rule{
		ID: "dirty-checkout", Category: "dirty-checkout",
		Title:    "The working tree had changes",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankSetup - 3,
		Patterns: patterns(
			`^error: \d+ files in the working directory contain changes that were not yet committed`,
			`^error: (?:Your local changes to the following files|The following untracked working tree files) would be overwritten by`,
			`^error: cannot (?:pull with rebase|rebase): You have unstaged changes`,
			`^(?:error|fatal|Error): .*(?:[Uu]ncommitted changes|commit your changes or stash them)`,
		),
		Keys: []string{domain.KeyPlace},
	}
}

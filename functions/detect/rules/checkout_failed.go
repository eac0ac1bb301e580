package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func checkoutFailed() *Rule {
	return &Rule{
		ID: "checkout-failed", Category: "checkout-failed",
		Title:    "The checkout's ref, submodule or LFS object can't be had",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankSetup + 3,
		FactNames: []string{"ref"},
		Patterns: patterns(
			`fatal: couldn't find remote ref (?P<ref>\S+)`,
			`fatal: (?:reference|remote error).*(?:is not a tree|not our ref):? ?(?P<ref>\S*)`,
			`fatal: unable to read tree \(?(?P<ref>[0-9a-f]+)`,
			`^(?:##\[error\])?fatal: repository '(?P<ref>[^']+)' not found`,
			`fatal: No url found for submodule path '(?P<ref>[^']+)' in \.gitmodules`,
			`fatal: Remote branch (?P<ref>\S+) not found in upstream`,
			`A branch or tag with the name '(?P<ref>[^']+)' could not be found`,
			`smudge filter lfs failed|This repository (?:is over|exceeded) its (?:LFS )?(?:data quota|budget)`,
			`fatal: clone of '(?P<ref>[^']+)' into submodule path`,
			`error: pathspec '(?P<ref>[^']+)' did not match any file\(s\) known to git`,
			`Fetched in submodule path '(?P<ref>[^']+)', but it did not contain`,
		),
		Keys: []string{"ref"},
	}
}

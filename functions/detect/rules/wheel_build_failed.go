package rules

import "github.com/mlops-bot/mlops-bot/shared/domain"

func wheelBuildFailed() *Rule {
	return &Rule{
		ID: "wheel-build-failed", Category: "wheel-build-failed",
		Title:    "A package could not be built from its source",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankSetup - 8,
		FactNames: []string{"package"},
		Patterns: patterns(
			`ERROR: Failed building wheel for (?P<package>[\w.-]+)`,
			`ERROR: (?:Could not build wheels for|Failed to build installable wheels for some pyproject\.toml based projects \(?)\s?(?P<package>[\w.-]+)`,
			"(?:×|error:) Failed to (?:download and )?build `(?P<package>[A-Za-z0-9][\\w.-]*?)(?:==[^`]*|@[^`]*| @ [^`]*)?`",
		),
		Keys: []string{"package"},
	}
}

package rules

import "github.com/mlops-bot/mlops-bot/shared/domain"

func deprecatedPackage() *Rule {
	return &Rule{
		ID: "deprecated-package", Category: "deprecated-package",
		Title:    "The index refuses a deprecated package name",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankSetup + 3,
		FactNames: []string{"package", "replacement"},
		Patterns:  patterns(`The '(?P<package>[\w.-]+)' PyPI package is deprecated, use '(?P<replacement>[\w.-]+)'`),
		Keys:      []string{"package"},
	}
}

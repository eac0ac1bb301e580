package rules

import "github.com/mlops-bot/mlops-bot/shared/domain"

func coverageThreshold() *Rule {
	return &Rule{
		ID: "coverage-threshold", Category: "coverage-threshold",
		Title:    "Test coverage is below its limit",
		Severity: Low, Remedy: domain.RemedyHuman, Rank: RankStyle + 5,
		FactNames: []string{"got", "want"},
		Patterns: patterns(
			`Coverage failure: total of (?P<got>[\d.]+) is less than fail-under=(?P<want>[\d.]+)`,
			`Required test coverage of (?P<want>[\d.]+)% not reached\. Total coverage: (?P<got>[\d.]+)%`,
			`coverage threshold for \w+ \((?P<want>[\d.]+)%\) not met: (?P<got>[\d.]+)%`,
			`Coverage for \w+ \((?P<got>[\d.]+)%\) does not meet (?:global |\S+ )?threshold \((?P<want>[\d.]+)%\)`,
		),
		Keys:       []string{"want"},
		Everywhere: true,
	}
}

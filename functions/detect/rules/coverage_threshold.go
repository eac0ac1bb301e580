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
			`Coverage is below the failure threshold (?P<got>[\d.]+)% < (?P<want>[\d.]+)%`,
			`(?:Line|Branch|Method) coverage \((?P<got>[\d.]+)%\) is below the expected minimum coverage \((?P<want>[\d.]+)%\)`,
			`Expected coverage >= (?P<want>[\d.]+)% but actual is (?P<got>[\d.]+)%`,
			`covered ratio is (?P<got>[\d.]+), but expected minimum is (?P<want>[\d.]+)`,
			`The total (?:line|branch|method) coverage is below the specified (?P<want>[\d.]+)`,
			`(?i)^(?:##\[error\]|error:? |fail(?:ed|ure)?:? |❌ ?)?(?:total |test |code |overall )*coverage:? (?:of |is )?\(?(?P<got>[\d.]+)%\)? (?:is )?(?:below|less than|under|lower than|<) (?:the )?(?:required |minimum |threshold |limit |target )*(?:of |is )?\(?(?P<want>[\d.]+)%`,
			`Required test coverage of (?P<want>[\d.]+)% not reached\. Total coverage: (?P<got>[\d.]+)%`,
			`coverage threshold for \w+ \((?P<want>[\d.]+)%\) not met: (?P<got>[\d.]+)%`,
			`Coverage for \w+ \((?P<got>[\d.]+)%\) does not meet (?:global |\S+ )?threshold \((?P<want>[\d.]+)%\)`,
		),
		Keys:       []string{"want", domain.KeyPlace},
		Everywhere: true,
	}
}

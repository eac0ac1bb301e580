package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func benchmarkRegression() *Rule {
	return &Rule{
		ID: "benchmark-regression", Category: "benchmark-regression",
		Title:    "A benchmark is worse than its limit",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankTest + 3,
		FactNames: []string{"benchmark"},
		Patterns: patterns(
			`ERROR: Performance has regressed|Performance has regressed:`,
			`Performance alert! Previous value was `,
			`^(?:# )?:warning: \*\*Performance Alert\*\*`,
			`^PERFORMANCE DECREASED\.$`,
			`(?i)\b(?:performance|benchmarks?|latency|throughput|runtime|slower)\b.{0,60}\bregress(?:ed|ions?)\b.{0,60}\b(?:exceeds?|above|over|more than)\b.{0,30}(?:threshold|limit|\d ?%)`,
			`^(?i:error|fail\w*)\b.*[Pp]erformance regression`,
		),
		Refine: func(w *Window, m *Match) bool {
			for i := 0; i <= 4; i++ {
				if t, ok := w.Text(i); ok {
					if s := benchmarkName.FindStringSubmatch(t); s != nil {
						m.Facts["benchmark"] = s[1]
						break
					}
				}
			}
			return true
		},
		Keys: []string{"benchmark"},
	}
}

var benchmarkName = re(`\b((?:test|bench)_\w+)`)

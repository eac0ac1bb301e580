package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func nanLoss() *Rule {
	return &Rule{
		ID: "nan-loss", Category: "nan-loss",
		Title:    "The loss became NaN or infinite",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankFit,
		FactNames: []string{"epoch", "step"},
		Patterns: patterns(
			exc+`(?:\w+\.)*\w*(?:Error|Exception|Exit)\b.*(?i:\b(?:loss|gradients?|grad_?norm|metric|weights?|logits)\b.{0,40}\b(?:nan|inf|infinite|infinity|non-finite)\b|\b(?:nan|infinite|inf) .{0,20}\b(?:loss|gradients?|metric)\b)`,
			`Function '\w+Backward\d*' returned nan values`,
			`FloatingPointError: .*(?i:nan|infinite)`,
			`\b[Ll]oss is (?:nan|NaN|NAN|inf|Inf|infinite|not finite)\b`,
			`[Ll]oss(?:=|: |:| = |'?: |": )(?:nan|NaN|inf|-inf)\b`,
		),
		Keys: []string{domain.KeyPlace},
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			if s := first(epochNumber, t); s != "" {
				m.Facts["epoch"] = s
			}
			if s := first(stepNumber, t); s != "" {
				m.Facts["step"] = s
			}
			// A line of progress alone does not end a program.
			m.Weak = !excLine.MatchString(t) && !stopsOnNaN.MatchString(t)
			return true
		},
	}
}

var (
	epochNumber = re(`(?i)\b(?:epoch|ep)\b[\s=:\[#]*(\d+)`)
	stepNumber  = re(`(?i)\b(?:step|iter(?:ation)?|global_step|batch)\b[\s=:\[#]*(\d+)`)
	excLine     = re(`(?:Error|Exception|Exit)\b.*:|returned nan`)
	stopsOnNaN  = re(`(?i)loss is (?:nan|inf).*(?:stop|abort|exit|terminat)`)
)

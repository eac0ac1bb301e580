package rules

import (
	"strconv"
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func numericTolerance() *Rule {
	return &Rule{
		ID: "numeric-tolerance", Category: "numeric-tolerance",
		Title:    "A numeric comparison missed its tolerance",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankTest + 2,
		FactNames: []string{"tests", "got", "want"},
		Patterns: patterns(
			`^(?:E +)?(?:AssertionError: )?Not equal to tolerance (?P<want>rtol=\S+, atol=\S+)`,
			`^(?:E +)?AssertionError: (?:Tensor-likes|Scalars) are not close!`,
			`^E +\+ +where False = <(?:built-in (?:method|function)|function) (?:allclose|isclose)\b`,
			`^(?:E +)?(?:AssertionError: )?Arrays are not almost equal to (?P<want>\d+ decimals)`,
			`^E +assert (?P<got>-?[\d.]+(?:e[+-]?\d+)?) == (?P<want>-?[\d.]+(?:e[+-]?\d+)? ± \S+)`,
		),
		Keys: []string{"tests"},
		Refine: func(w *Window, m *Match) bool {
			sec, test := w.Section()
			if sec != failing && sec != unit && sec != plain {
				return false
			}
			if test != "" {
				m.Facts["tests"] = test
			}
			if strings.Contains(m.textOf(w), " where False = ") {
				// pytest takes the assertion apart below it.
				for i := -1; i >= -4; i-- {
					if t, ok := w.Text(i); ok && strings.HasPrefix(t, "E ") && strings.Contains(t, "assert ") {
						w.Move(m, i)
						break
					}
				}
				return true
			}
			for i := 0; i <= 12; i++ {
				t, ok := w.Text(i)
				if !ok {
					break
				}
				// Other shapes and NaNs in other places are not a matter of tolerance.
				if strings.Contains(t, "mismatch)") || strings.Contains(t, "location mismatch") {
					return false
				}
				if s := relativeDifference.FindStringSubmatch(t); s != nil {
					d, err := strconv.ParseFloat(strings.TrimRight(s[1], "."), 64)
					if err == nil {
						m.Facts["got"] = "relative difference " + s[1]
						return d <= 2
					}
				}
			}
			if got, err := strconv.ParseFloat(m.Facts["got"], 64); err == nil {
				first, _, _ := strings.Cut(m.Facts["want"], " ")
				if want, err := strconv.ParseFloat(first, 64); err == nil && want != 0 {
					if r := got / want; r < 0.3 || r > 3 {
						return false
					}
				}
			}
			return true
		},
	}
}

var relativeDifference = re(`(?:Max|Greatest) relative difference(?: among violations)?: ([\d.]+(?:e[+-]?\d+)?)`)

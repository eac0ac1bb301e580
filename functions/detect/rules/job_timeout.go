package rules

import (
	"strconv"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func jobTimeout() *Rule {
	return &Rule{
		ID: "job-timeout", Category: "job-timeout",
		Title:    "GitHub ended the job at its time limit",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankRunner,
		FactNames: []string{"minutes"},
		Patterns: patterns(
			`has exceeded the maximum execution time of (?:(?P<minutes>\d+) ?min|(?P<hours>\d+)h(?:(?P<rest>\d+)m)?|(?P<rest>\d+)m)`,
			`The action '[^']*' has timed out after (?P<minutes>\d+) minutes`,
		),
		Keys: []string{domain.KeyPlace},
		Refine: func(_ *Window, m *Match) bool {
			if m.Facts["minutes"] == "" {
				m.Facts["minutes"] = strconv.Itoa(60*atoi(m.Facts["hours"]) + atoi(m.Facts["rest"]))
			}
			delete(m.Facts, "hours")
			delete(m.Facts, "rest")
			return true
		},
	}
}

// TimedOut is the verdict on a job whose times show that GitHub ended it at its
// limit after so many minutes; place and text are the caller's to fill.
func TimedOut(minutes int) Verdict {
	r := jobTimeout()
	return Verdict{
		Match:    Match{Rule: r, Segment: -1, Count: 1, Facts: map[string]string{"minutes": strconv.Itoa(minutes)}},
		Standing: Primary, Confidence: Certain(r.ID), Why: "the job was ended at its limit, as its times show",
	}
}

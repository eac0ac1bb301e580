package rules

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/mlops-bot/mlops-bot/functions/detect/logs"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Context is what Choose knows about a log besides the matches.
type Context struct {
	// Segments are the log's, from logs.Reader.Segments.
	Segments []logs.Segment
	// Green tells that the job is known to have succeeded.
	Green bool
}

// Reason says about one match why it stands where it stands.
type Reason struct {
	Rule string `json:"rule"`
	Line int    `json:"line"`
	// Why is a clause for people.
	Why string `json:"why"`
}

// Choose orders matches, the primary one first, and says why. It is pure. What
// cannot have caused the failure (it stands in a step that succeeded) is left
// out of the order but not out of the reasons.
//
// In this order it compares: whether the step failed; whether the evidence shows
// a failure at all; the rule's rank; the job and step that failed first; the
// position (for rules that ask for it the last match, which is nearest to the
// exit, else the first); and how many facts the match has.
func Choose(matches []Match, c Context) ([]Match, []Reason) {
	if len(matches) == 0 {
		return nil, nil
	}
	if c.Green {
		return nil, []Reason{{Why: "the job succeeded, so nothing in its log is a failure"}}
	}
	anyFailed := false
	for _, s := range c.Segments {
		anyFailed = anyFailed || s.State == logs.Failed
	}
	state := func(m Match) logs.State {
		if m.Segment < 0 || m.Segment >= len(c.Segments) {
			return logs.Unclear
		}
		return c.Segments[m.Segment].State
	}
	var kept []Match
	var reasons []Reason
	for _, m := range matches {
		if state(m) == logs.Green {
			reasons = append(reasons, Reason{m.Rule.ID, m.Line, "its step succeeded"})
			continue
		}
		kept = append(kept, m)
	}
	tier := func(m Match) int {
		switch state(m) {
		case logs.Failed:
			return 0
		case logs.Unclear:
			return 1
		case logs.Stopped:
			return 2
		default:
			return 3
		}
	}
	over := overcome(kept, c)
	weak := func(m Match) int {
		switch {
		case named(m, c):
			return 0
		case m.Weak || survived(m, c) || over(m):
			return 2
		}
		return 1
	}
	slices.SortStableFunc(kept, func(a, b Match) int {
		return cmp.Or(
			cmp.Compare(tier(a), tier(b)),
			cmp.Compare(weak(a), weak(b)),
			cmp.Compare(b.Rule.Rank, a.Rule.Rank),
			cmp.Compare(a.Segment, b.Segment),
			position(a, b),
			cmp.Compare(len(b.Facts), len(a.Facts)),
		)
	})
	out := make([]Reason, 0, len(matches))
	for i, m := range kept {
		if i == 0 {
			out = append(out, Reason{m.Rule.ID, m.Line, whyFirst(m, c, anyFailed)})
			continue
		}
		out = append(out, Reason{m.Rule.ID, m.Line, whyNot(kept[0], m, tier, weak)})
	}
	return kept, append(out, reasons...)
}

// farFromExit is how many lines may lie between an exception that ends a script
// and the exit code: a program may still tidy up and report.
const farFromExit = 60

// survived tells of an exception outside of a test's report after which the
// script went on for long: it was caught and logged.
func survived(m Match, c Context) bool {
	if !m.Rule.Last || m.Tested || m.Segment < 0 || m.Segment >= len(c.Segments) {
		return false
	}
	s := c.Segments[m.Segment]
	return s.State == logs.Failed && s.ExitLine > 0 && s.ExitLine-m.LastLine > farFromExit
}

// passedOn is the text of an exception with which a program only says that
// something it had started failed.
var passedOn = re(`(?i): .*(?:\bfail|\bexit(?:ed| code| status)|non-?zero|returned)`)

// named tells of the one finding that a script's exit code speaks of: a shell
// ends with 127 where the last command was not there.
func named(m Match, c Context) bool {
	if m.Weak || m.Rule.Category != "missing-executable" || m.Segment < 0 || m.Segment >= len(c.Segments) {
		return false
	}
	s := c.Segments[m.Segment]
	return s.State == logs.Failed && s.ExitCode == 127 && s.ExitLine-m.LastLine <= 3
}

// overcome returns what tells of a match that the program got over, since it
// went on to fail in another way: an exception that was logged before another
// one was raised, and a check or an outage before a test report. Memory, disk
// and the runner are never got over: what fails behind those fails because of
// them.
func overcome(matches []Match, c Context) func(Match) bool {
	type last struct{ exception, raised, report int }
	ends := map[int]last{}
	for _, m := range matches {
		if m.Weak || survived(m, c) {
			continue
		}
		l := ends[m.Segment]
		if !m.Tested {
			if m.Exception > 0 && !passedOn.MatchString(m.Text) {
				l.exception = max(l.exception, m.Exception)
				l.raised = max(l.raised, m.LastLine)
			}
		} else if m.Rule.Category == "test-failure" {
			l.report = max(l.report, m.Line)
		}
		ends[m.Segment] = l
	}
	return func(m Match) bool {
		if m.Tested || m.Rule.Rank >= RankResource {
			return false
		}
		l := ends[m.Segment]
		if m.Exception > 0 {
			return l.exception > m.Exception
		}
		switch m.Rule.Category {
		case "type-check", "lint", "format":
			return l.report > m.LastLine
		case "file-permission":
			return l.raised > m.LastLine
		}
		if m.Rule.Remedy != domain.RemedyRetry {
			return false
		}
		// What is said about the network right behind the exception that ended the
		// program is its tidying up.
		return l.report > m.LastLine || l.raised > 0 && m.Line > l.raised && m.Line-l.raised <= farFromExit
	}
}

// position orders matches of one segment and rank.
func position(a, b Match) int {
	if a.Rule.Last && b.Rule.Last && !a.Tested && !b.Tested {
		return cmp.Compare(b.LastLine, a.LastLine)
	}
	return cmp.Compare(a.Line, b.Line)
}

func whyFirst(m Match, c Context, anyFailed bool) string {
	where := "the log does not show which step failed"
	if anyFailed && m.Segment < len(c.Segments) {
		s := c.Segments[m.Segment]
		switch s.State {
		case logs.Failed:
			where = fmt.Sprintf("it stands in the failed step %q", s.Step)
		default:
			where = fmt.Sprintf("nothing was recognised in the failed step, and it stands in %q", s.Step)
		}
	}
	return fmt.Sprintf("%s, and no match of a higher rank than %d does", where, m.Rule.Rank)
}

func whyNot(first, m Match, tier, weak func(Match) int) string {
	switch {
	case tier(m) > tier(first):
		return "its step is not the one that failed first"
	case weak(m) > weak(first):
		if weak(first) == 0 {
			return "the exit code speaks of another"
		}
		return "it alone does not show a failure, or the program got over it"
	case m.Rule.Rank < first.Rule.Rank:
		return fmt.Sprintf("its rank %d is below %d: %s explains it rather than the reverse", m.Rule.Rank, first.Rule.Rank, first.Rule.ID)
	case m.Segment > first.Segment:
		return "another job or step failed before"
	default:
		return "its position is further from the cause"
	}
}

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

// Standing is what became of a match when the cause was chosen.
type Standing string

// The standings.
const (
	// Primary is the cause.
	Primary Standing = "primary"
	// Secondary stands below the primary: it follows from it, or is less likely.
	Secondary Standing = "secondary"
	// Doubtful is the likeliest cause, and yet more likely wrong than right: the
	// answer is "unknown".
	Doubtful Standing = "doubtful"
	// Excluded cannot be the cause.
	Excluded Standing = "excluded"
)

// MinConfidence is the confidence below which nothing is said to be the cause:
// a finding that is wrong more often than right is worse than none.
const MinConfidence = 0.5

// Verdict is a match and what was made of it.
type Verdict struct {
	Match
	Standing Standing
	// Confidence is how likely the match is the cause, 0 to 1.
	Confidence float64
	// Why is a clause for people: why this one and not another.
	Why string
	// Evidence is what the confidence was computed from.
	Evidence Evidence
}

// Finding makes the value that the rest of the bot speaks of.
func (v Verdict) Finding() domain.Finding {
	f := v.Match.Finding()
	f.Confidence = v.Confidence
	return f
}

// tier is where a match stands: smaller is nearer to the failure.
type tier int

const (
	inFailedStep tier = iota
	inUnclearStep
	inStoppedStep
	behindFailure
)

// force is what a match says of a failure: smaller says more.
type force int

const (
	exitSpeaksOfIt force = iota
	plainFailure
	notAFailure // alone it doesn't show that anything failed, or the program got over it
)

// ranked is a match with what it is compared by.
type ranked struct {
	Match
	tier  tier
	force force
}

// Choose orders matches, the primary one first and what cannot be the cause
// last, and says why. It is pure. Where the likeliest is not likely enough, it
// is Doubtful and nothing is primary.
//
// In this order it compares: whether the step failed; whether the evidence shows
// a failure at all (a line that also stands in the logs of green runs doesn't);
// the rule's rank; the job and step that failed first; the position (for rules
// that ask for it the last match, which is nearest to the exit, else the first);
// and how many facts the match has.
func Choose(matches []Match, c Context) []Verdict {
	var kept []ranked
	var excluded []Verdict
	for _, m := range matches {
		switch {
		case c.Green:
			excluded = append(excluded, Verdict{Match: m, Standing: Excluded, Why: "the job succeeded, so nothing in its log is a failure"})
		case stateOf(m, c) == logs.Green:
			excluded = append(excluded, Verdict{Match: m, Standing: Excluded, Why: "its step succeeded"})
		default:
			kept = append(kept, ranked{Match: m, tier: tierOf(m, c)})
		}
	}
	over := overcome(kept, c)
	for i := range kept {
		kept[i].force = forceOf(kept[i].Match, c, over)
	}
	slices.SortStableFunc(kept, func(a, b ranked) int {
		return cmp.Or(
			cmp.Compare(a.tier, b.tier),
			cmp.Compare(a.force, b.force),
			cmp.Compare(b.Rule.Rank, a.Rule.Rank),
			cmp.Compare(a.Segment, b.Segment),
			position(a.Match, b.Match),
			cmp.Compare(len(b.Facts), len(a.Facts)),
			cmp.Compare(a.Rule.ID, b.Rule.ID),
		)
	})
	out := make([]Verdict, 0, len(matches))
	left := 1.0 // a log has one cause: what the likeliest leaves is for the others
	for i, m := range kept {
		v := Verdict{Match: m.Match, Standing: Secondary, Evidence: weigh(kept, i, c)}
		v.Confidence = left * v.Evidence.Confidence(m.Rule.ID)
		if i == 0 {
			left -= v.Confidence
			v.Standing, v.Why = Primary, whyFirst(kept, c)
			if v.Confidence < MinConfidence {
				v.Standing = Doubtful
				v.Why += fmt.Sprintf("; yet findings like it are right in %.0f of 100 cases only, so the cause is unknown", 100*v.Confidence)
			}
		} else {
			v.Why = whyNot(kept[0], m)
		}
		out = append(out, v)
	}
	return append(out, excluded...)
}

func segmentOf(m Match, c Context) (logs.Segment, bool) {
	if m.Segment < 0 || m.Segment >= len(c.Segments) {
		return logs.Segment{}, false
	}
	return c.Segments[m.Segment], true
}

func stateOf(m Match, c Context) logs.State {
	s, _ := segmentOf(m, c)
	return s.State
}

func tierOf(m Match, c Context) tier {
	switch stateOf(m, c) {
	case logs.Failed:
		return inFailedStep
	case logs.Unclear:
		return inUnclearStep
	case logs.Stopped:
		return inStoppedStep
	default:
		return behindFailure
	}
}

func forceOf(m Match, c Context, over func(Match) bool) force {
	switch {
	case named(m, c):
		return exitSpeaksOfIt
	case m.Weak || m.Familiar > 0 || survived(m, c) || over(m):
		return notAFailure
	}
	return plainFailure
}

// farFromExit is how many lines may lie between an exception that ends a script
// and the exit code: a program may still tidy up and report.
const farFromExit = 60

// survived tells of an exception outside of a test's report after which the
// script went on for long: it was caught and logged.
func survived(m Match, c Context) bool {
	s, ok := segmentOf(m, c)
	return ok && m.Rule.Last && !m.Tested && s.State == logs.Failed && s.ExitLine > 0 && s.ExitLine-m.LastLine > farFromExit
}

// passedOn is the text of an exception with which a program only says that
// something it had started failed.
var passedOn = re(`(?i): .*(?:\bfail|\bexit(?:ed| code| status)|non-?zero|returned)`)

// named tells of the one finding that a script's exit code speaks of: a shell
// ends with 127 where the last command was not there.
func named(m Match, c Context) bool {
	s, ok := segmentOf(m, c)
	return ok && !m.Weak && m.Rule.Category == "missing-executable" && s.State == logs.Failed && s.ExitCode == 127 && s.ExitLine-m.LastLine <= 3
}

// overcome returns what tells of a match that the program got over, since it
// went on to fail in another way: an exception that was logged before another
// one was raised, and a check or an outage before a test report. Memory, disk
// and the runner are never got over: what fails behind those fails because of
// them.
func overcome(matches []ranked, c Context) func(Match) bool {
	type last struct{ exception, raised, report int }
	ends := map[int]last{}
	for _, r := range matches {
		m := r.Match
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

func whyFirst(kept []ranked, c Context) string {
	first := kept[0]
	s, _ := segmentOf(first.Match, c)
	var where string
	switch first.tier {
	case inFailedStep:
		where = fmt.Sprintf("it stands in the step that failed, %q", Mask(s.Step))
		if s.Step == "" {
			where = "it stands in the step that failed"
		}
	case inUnclearStep:
		where = "the log does not show which step failed"
	case inStoppedStep:
		where = "nothing was recognised in a failed step, and it stands in one that was cancelled"
	default:
		where = "nothing was recognised in the failed step, and it stands behind it"
	}
	switch {
	case first.force == exitSpeaksOfIt:
		return where + ", and the exit code speaks of it"
	case first.force == notAFailure:
		return where + ", and nothing else was found, though it alone does not show a failure"
	case len(kept) == 1:
		return where + ", and nothing else was found"
	case kept[1].tier > first.tier:
		return where + ", and nothing else was found there"
	case kept[1].force > first.force:
		return where + ", and nothing else there shows a failure"
	case kept[1].Rule.Rank < first.Rule.Rank:
		return where + ", and it explains what else was found"
	case kept[1].Rule == first.Rule:
		return where + ", before others of its kind"
	default:
		return where + ", and is nearest to the failure"
	}
}

func whyNot(first, m ranked) string {
	switch {
	case m.tier > first.tier:
		return "its step is not the one that failed first"
	case m.force > first.force && first.force == exitSpeaksOfIt:
		return "the exit code speaks of another"
	case m.force > first.force && m.Familiar > 0:
		return fmt.Sprintf("the line also stands in the logs of %d green runs", m.Familiar)
	case m.force > first.force:
		return "it alone does not show a failure, or the program got over it"
	case m.Rule.Rank < first.Rule.Rank:
		return fmt.Sprintf("%s explains it rather than the reverse (rank %d over %d)", first.Rule.ID, first.Rule.Rank, m.Rule.Rank)
	case m.Segment > first.Segment:
		return "another job or step failed before"
	default:
		return "its position is further from the cause"
	}
}

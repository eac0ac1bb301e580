// Package rules is the catalogue of failures: one Rule a file, a scanner that
// runs all of them over a stream of lines in one pass, and Choose, which picks
// the primary finding and can say why. All of it is pure: no I/O, no clock.
//
// A new rule is a file with a function that returns the Rule, a line in All and
// a fixture in testdata. It must be tuned to a kind of failure, never to a
// project or to one log.
package rules

import (
	"regexp"
	"slices"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Severity says how much a failure of this kind weighs, for people.
type Severity string

// The severities.
const (
	Low    Severity = "low"    // style, nothing is broken
	Medium Severity = "medium" // something is broken
	High   Severity = "high"   // nothing can run
)

// Rank orders rules by how close to the cause their findings are. Choose
// prefers the higher one; neighbours may be used for exceptions.
type Rank int

// The ranks. What explains other findings of the same log stands above them: a
// full disk above the build that it broke, a missing module above the tests that
// could not be collected.
const (
	RankAftermath Rank = 10 // what is left when nothing else is said: cancelled, artifact not found
	RankStyle     Rank = 20 // coverage, format, lint
	RankTest      Rank = 30 // a test failed and no more specific reason is shown
	RankCode      Rank = 40 // the code, its types, its syntax
	RankFit       Rank = 50 // code, data, models and dependencies that do not fit
	RankSetup     Rank = 60 // what a job needs before it can do anything
	RankResource  Rank = 70 // memory, disk, GPU, time
	RankRunner    Rank = 80 // GitHub did not run the job as asked
)

// Rule is one kind of failure.
type Rule struct {
	// ID is stable; it is the category's name where one rule covers it.
	ID       string
	Title    string
	Category string
	Severity Severity
	Remedy   domain.Remedy
	Rank     Rank
	// Patterns are tried in order on the line's text. Named groups are facts.
	// Each must require a literal of at least minLiteral bytes: a line without
	// any is never looked at.
	Patterns []*regexp.Regexp
	// FactNames are the facts that findings may have, the taxonomy's first; what
	// else a pattern names is for Refine only.
	FactNames []string
	// Keys are the facts that enter the fingerprint: nothing that differs
	// between runs or legs.
	Keys []string
	// Last prefers the finding that is nearest to the failure's exit over the
	// first one: for output in which earlier ones may have been survived.
	Last bool
	// Everywhere lets the rule see lines in which test output is repeated or
	// warnings are listed (pytest's summaries), which others don't.
	Everywhere bool
	// Refine, where set, looks at the lines around a match. It may add facts and
	// reject the match by returning false. It is pure.
	Refine func(w *Window, m *Match) bool
}

// Facts are the names of the facts that findings of the rule may have.
func (r *Rule) Facts() []string { return r.FactNames }

// minLiteral is the length of the shortest keyword.
const minLiteral = 3

// Keywords are the literals of which a line must hold one to be looked at,
// derived from the patterns.
func (r *Rule) Keywords() []string {
	var words []string
	for _, p := range r.Patterns {
		words = append(words, cut(literals(p))...)
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// Match is a rule's match on one line, before a choice is made.
type Match struct {
	Rule *Rule
	// Line and EndLine are line numbers of the log.
	Line, EndLine int
	// Text and Facts are as they stood in the log: unmasked. See Finding.
	Text    string
	Facts   map[string]string
	Segment int
	// Keys, where set, replaces the rule's.
	Keys []string
	// Weak marks evidence that alone does not show that anything failed.
	Weak bool
	// Tested tells that the line stands in a test runner's report.
	Tested bool
	// Count is how many lines of the segment matched with the same key facts.
	Count int
	// LastLine is the line of the last of them.
	LastLine int
	// Familiar is in how many logs of green runs the line occurs as well.
	Familiar int
	// Exception counts the plain tracebacks of the log that are not links of one
	// chain: the one that the last of the lines ends, 0 where it ends none.
	Exception int
}

// maxFact is the length of a fact in bytes.
const maxFact = 300

// Finding makes the value that the rest of the bot speaks of, with secrets
// masked.
func (m Match) Finding() domain.Finding {
	facts := make(map[string]string, len(m.Facts))
	for _, k := range m.Rule.FactNames {
		if v := Mask(m.Facts[k]); v != "" {
			facts[k] = cutText(v, maxFact)
		}
	}
	keys := m.Rule.Keys
	if m.Keys != nil {
		keys = m.Keys
	}
	if slices.Contains(keys, "file") && facts["file"] == "" || slices.Contains(keys, "packages") && facts["packages"] == "" {
		// What is left (an exception's class, a tool, a resolver) is shared by
		// failures that have nothing to do with each other.
		keys = append(slices.Clone(keys), domain.KeyPlace, domain.KeyText)
	}
	return domain.Finding{
		Category: m.Rule.Category, Rule: m.Rule.ID, Title: m.Rule.Title, Remedy: m.Rule.Remedy,
		Line: m.Line, EndLine: m.EndLine, Text: Mask(m.Text),
		Facts: facts, Keys: keys,
	}
}

func patterns(list ...string) []*regexp.Regexp {
	out := make([]*regexp.Regexp, len(list))
	for i, p := range list {
		out[i] = regexp.MustCompile(p)
	}
	return out
}

// textOf is the text of the line that matched.
func (m *Match) textOf(w *Window) string {
	t, _ := w.Text(0)
	return t
}

func re(pattern string) *regexp.Regexp { return regexp.MustCompile(pattern) }

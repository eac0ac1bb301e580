package rules

import (
	"errors"
	"io"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"

	"github.com/mlops-bot/mlops-bot/functions/detect/logs"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/policy"
)

const (
	// MaxInstalled is how many rules of one's own an installation may have for all
	// of its repositories. A repository may add policy.MaxRules.
	MaxInstalled = 200
	// maxTable bounds the entries of the prefilter's table that own rules may take:
	// a keyword of three bytes takes 256, since any byte may follow it.
	maxTable = 1 << 16
)

// ranks are the ranks by the names that files have for them.
var ranks = map[string]Rank{
	"aftermath": RankAftermath, "style": RankStyle, "test": RankTest, "code": RankCode,
	"fit": RankFit, "setup": RankSetup, "resource": RankResource, "runner": RankRunner,
}

// builtIn tells of each category of the catalogue whether the bot can repair it.
var builtIn = sync.OnceValue(func() map[string]bool {
	out := map[string]bool{}
	for _, r := range All() {
		out[r.Category] = out[r.Category] || r.Remedy == domain.RemedyFix
	}
	return out
})

// IsBuiltIn reports whether a category is one of the built-in catalogue's, so
// that there are few of them; what people name themselves is without number.
func IsBuiltIn(category string) bool {
	_, ok := builtIn()[category]
	return ok
}

// Own makes a catalogue of rules of one's own, the rules of another such
// catalogue before them (it may be nil). It is for a Scanner beside the built-in
// one's, so that own rules can't change what those see.
//
// It checks what the form of a file doesn't show: that category and remedy go
// together, that each pattern requires a literal, that no id is taken, and that
// every rule matches each of its examples and none of its counter-examples. The
// error is Invalid and tells the problems with their lines, and what to do.
// Without any rule the catalogue is nil.
func Own(specs []policy.Rule, beside *Catalogue) (*Catalogue, error) {
	if len(specs) == 0 {
		return beside, nil
	}
	const op = "check the rules"
	var all []*Rule
	if beside != nil {
		all = slices.Clone(beside.rules)
	}
	if n := len(all) + len(specs); n > MaxInstalled+policy.MaxRules {
		return nil, domain.Errorf(domain.Invalid, op, "there are %d rules with those of the other files, more than %d", n, MaxInstalled+policy.MaxRules)
	}
	entries := 0
	for _, r := range all {
		entries += tableEntries(r)
	}
	var problems policy.Problems
	for _, spec := range specs {
		if slices.ContainsFunc(all, func(r *Rule) bool { return r.ID == spec.ID }) {
			problems.Add(spec.Line, "%s is the id of another file's rule: give this one another", spec.ID)
			continue
		}
		r, ok := ownRule(spec, &problems)
		if !ok {
			continue
		}
		all = append(all, r)
		if entries += tableEntries(r); entries > maxTable {
			problems.Add(spec.Line, "%s and the rules before it need too many short words: write words of four letters or more in its patterns, without (?i) at their beginning", spec.ID)
			break
		}
	}
	if err := problems.Err(op); err != nil {
		return nil, err
	}
	return newOwnCatalogue(all)
}

// newOwnCatalogue prepares own rules. What their patterns cost is counted in the
// steps that a search may take: a built-in pattern is known to be quick, but one
// of a thousand instructions could take minutes for the bytes that one rule may be
// tried on.
func newOwnCatalogue(list []*Rule) (*Catalogue, error) {
	c, err := NewCatalogue(list)
	if err != nil {
		return nil, err
	}
	for i, p := range c.patterns {
		tree, err := syntax.Parse(p.re.String(), syntax.Perl)
		if err != nil {
			return nil, domain.Errorf(domain.Bug, "prepare the rules", "%w", err)
		}
		c.patterns[i].cost = policy.Instructions(tree)
	}
	return c, nil
}

// ownRule makes a rule of what stands in a file and tries it on its examples.
func ownRule(spec policy.Rule, problems *policy.Problems) (*Rule, bool) {
	rank, ok := ranks[spec.Rank]
	if !ok {
		problems.Add(spec.Line, "%s has no rank", spec.ID)
		return nil, false
	}
	if fixable := builtIn()[spec.Category]; spec.Remedy == domain.RemedyFix && !fixable {
		problems.Add(spec.Line, "%s: the bot has no repair for the category %s, so its remedy is retry, human or none", spec.ID, spec.Category)
		return nil, false
	}
	r := &Rule{
		ID: spec.ID, Title: spec.Title, Category: spec.Category, Severity: Severity(spec.Severity), Remedy: spec.Remedy,
		Rank: rank, FactNames: spec.Facts, Keys: spec.Keys,
	}
	if len(r.Keys) == 0 {
		r.Keys = []string{domain.KeyPlace, domain.KeyText}
	}
	for _, p := range spec.Patterns {
		re, err := regexp.Compile(p.Value)
		if err != nil {
			problems.Add(p.Line, "a pattern of %s does not compile", spec.ID)
			return nil, false
		}
		if words, _ := requirements(re); shortest(cut(words)) < minLiteral {
			problems.Add(p.Line, "a pattern of %s can match a line that holds none of a few fixed words, so that it would have to be tried on every line: write a word of at least %d bytes that a match always has, outside of (…)? and […], and in each branch of an alternation", spec.ID, minLiteral)
			return nil, false
		}
		r.Patterns = append(r.Patterns, re)
	}
	alone, err := newOwnCatalogue([]*Rule{r})
	if err != nil {
		problems.Add(spec.Line, "%s can't be used: %v", spec.ID, err)
		return nil, false
	}
	good := true
	for _, e := range spec.Match {
		if len(tryExample(alone, e.Value)) == 0 {
			problems.Add(e.Line, "%s does not match this example: mend its patterns or the example (mlops-bot rules test shows what matches; a line that only quotes, echoes or warns does not)", spec.ID)
			good = false
		}
	}
	for _, e := range spec.NoMatch {
		if m := tryExample(alone, e.Value); len(m) > 0 {
			problems.Add(e.Line, "%s matches line %d of this counter-example: make its patterns say more", spec.ID, m[0].Line)
			good = false
		}
	}
	return r, good
}

// tryExample returns the matches of a catalogue in an example.
func tryExample(c *Catalogue, log string) []Match {
	r, err := logs.NewReader(strings.NewReader(log), logs.Options{})
	if err != nil {
		return nil // a string can always be read
	}
	s := c.NewScanner()
	for {
		l, err := r.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				return nil
			}
			return s.Finish()
		}
		s.Add(l)
	}
}

// tableEntries is how much of the prefilter's table a rule's keywords take.
func tableEntries(r *Rule) int {
	n := 0
	for _, w := range r.Keywords() {
		if len(w) < gram {
			n += 1 << (8 * (gram - len(w)))
		} else {
			n++
		}
	}
	return n
}

// Spans are the places in a finding's evidence that the rule's patterns match, in
// bytes: those of the first of its patterns that matches at all. There are none
// where the rule took its evidence from another line than the one it matched, and
// where what it matched is masked or cut off.
func (r *Rule) Spans(evidence string) [][]int {
	text := said([]byte(evidence[len(markerAt.FindString(evidence)):]))
	before := len(evidence) - len(text)
	for _, p := range r.Patterns {
		if at := p.FindAllIndex(text, maxSpans); at != nil {
			for _, span := range at {
				span[0], span[1] = span[0]+before, span[1]+before
			}
			return at
		}
	}
	return nil
}

const maxSpans = 10

// markerAt is the runner's marker or workflow command, which patterns don't see.
var markerAt = re(`^(?:##\[[a-z-]+\]|::[a-z-]+(?: [^:]*)?::)`)

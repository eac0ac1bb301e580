package rules

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/mlops-bot/mlops-bot/functions/detect/logs"
)

// Bounds of a scan.
const (
	maxMatches   = 2000     // that are kept in all
	maxPerRule   = 64       // that are kept of one rule in one segment
	maxEvaluated = 16 << 20 // bytes on which one rule's patterns are tried
	maxRefined   = 4000     // matches of one rule whose neighbourhood is looked at
)

// Catalogue is a set of rules that is ready to scan. It is safe for concurrent
// use; each scan has a Scanner of its own.
type Catalogue struct {
	rules    []*Rule
	patterns []pattern
	filter   *prefilter
}

// pattern is one pattern of a rule.
type pattern struct {
	rule int
	// cost is what a byte that the pattern is tried on counts, see maxEvaluated.
	cost  int
	re    *regexp.Regexp
	names []string // of its groups
	// also are sets of strings in lower case: a match holds one of each.
	also [][][]byte
}

// NewCatalogue prepares rules. It fails where a pattern requires no literal,
// since such a pattern would have to be tried on every line.
func NewCatalogue(rules []*Rule) (*Catalogue, error) {
	c := &Catalogue{rules: rules}
	var words [][]string
	for i, r := range rules {
		for _, p := range r.Patterns {
			w, also := requirements(p)
			w = cut(w)
			if shortest(w) < minLiteral {
				return nil, fmt.Errorf("prepare rule %s: pattern %q requires no literal of %d bytes", r.ID, p, minLiteral)
			}
			c.patterns = append(c.patterns, pattern{rule: i, cost: 1, re: p, names: p.SubexpNames(), also: inBytes(also)})
			words = append(words, w)
		}
	}
	c.filter = newPrefilter(append(words, pythonWords))
	return c, nil
}

func inBytes(sets [][]string) [][][]byte {
	out := make([][][]byte, len(sets))
	for i, set := range sets {
		for _, w := range set {
			out[i] = append(out[i], []byte(w))
		}
	}
	return out
}

// Rules returns the catalogue's rules.
func (c *Catalogue) Rules() []*Rule { return c.rules }

// Scanner runs a catalogue over the lines of one log. It keeps a bounded window
// of lines and evaluates a match when the lines behind it have been seen.
type Scanner struct {
	c       *Catalogue
	ring    []entry
	count   int // lines seen
	done    int // lines evaluated
	hits    []bool
	list    []int
	lower   []byte // the line that is evaluated, once it was asked for
	section section
	test    string
	segment int
	raised  raised
	python  map[string]string // by job
	tried   []int             // by rule
	refined []int             // by rule
	matches []Match
	index   map[matchKey]int
	perRule map[ruleKey]int
}

type matchKey struct {
	rule    *Rule
	segment int
	facts   string
}

type ruleKey struct {
	rule    *Rule
	segment int
}

// NewScanner returns a Scanner for one log.
func (c *Catalogue) NewScanner() *Scanner {
	return &Scanner{
		c: c, ring: make([]entry, before+after+1), segment: -1,
		hits: make([]bool, len(c.patterns)+1), tried: make([]int, len(c.rules)), refined: make([]int, len(c.rules)),
		python: map[string]string{}, index: map[matchKey]int{}, perRule: map[ruleKey]int{},
	}
}

// Add takes the next line. It copies what it keeps.
func (s *Scanner) Add(l logs.Line) {
	if l.Segment != s.segment {
		s.segment, s.section, s.test = l.Segment, plain, ""
		s.raised.end()
	}
	e := &s.ring[s.count%len(s.ring)]
	e.text = append(e.text[:0], limit(l.Text)...)
	e.read = ""
	e.number, e.segment, e.job, e.level, e.marker, e.echo = l.Number, l.Segment, l.Job, l.Level, l.Marker, l.Echo
	e.patterns = e.patterns[:0]
	if len(l.Text) > 0 {
		if !l.Echo {
			s.enter(l.Text)
		}
		s.list = s.c.filter.scan(e.text, s.hits, s.list[:0])
		muted := s.section == warnings || s.section == captured || s.section == coverage
		for _, i := range s.list {
			s.hits[i] = false
			switch {
			case i == len(s.c.patterns):
				s.seePython(l)
			case l.Echo, muted && !s.c.rules[s.c.patterns[i].rule].Everywhere:
			default:
				e.patterns = append(e.patterns, i)
			}
		}
	}
	e.section, e.test = s.section, s.test
	e.source, e.exception = s.raised.next(l.Text)
	s.count++
	if s.count-s.done > after {
		s.evaluate(s.done)
		s.done++
	}
}

// Finish evaluates the last lines and returns all matches in the log's order.
func (s *Scanner) Finish() []Match {
	for ; s.done < s.count; s.done++ {
		s.evaluate(s.done)
	}
	return s.matches
}

// Python is the version that a job was seen to run, "" where the log doesn't
// show it.
func (s *Scanner) Python(job string) string { return s.python[job] }

// pythonWords come before a version of Python in logs.
var pythonWords = []string{"hostedtoolcache/Python/", `hostedtoolcache\windows\Python\`, "-- Python 3", "python-version: ", "Successfully set up CPython ("}

var pythonVersion = re(`(?:hostedtoolcache/Python/|hostedtoolcache\\windows\\Python\\|-- Python |python-version: ['"]?|Successfully set up CPython \()(3\.\d{1,2}(?:\.\d{1,3})?)\b`)

// seePython notes a version; a more precise one replaces the first.
func (s *Scanner) seePython(l logs.Line) {
	old := s.python[l.Job]
	if strings.Count(old, ".") == 2 || len(s.python) > 1000 {
		return
	}
	if m := pythonVersion.FindSubmatch(limit(l.Text)); m != nil {
		if v := string(m[1]); len(v) > len(old) {
			s.python[l.Job] = v
		}
	}
}

func limit(b []byte) []byte { return b[:min(len(b), maxMatched)] }

// evaluate tries the patterns whose keywords a line holds; the first one of
// each rule that matches counts.
func (s *Scanner) evaluate(seq int) {
	e := &s.ring[seq%len(s.ring)]
	if len(e.patterns) == 0 {
		return
	}
	slices.Sort(e.patterns)
	text := said(e.text)
	level := spokenLevel(text)
	if level == remark || e.source || reported(e.section) && (text[0] == '>' || text[0] == ' ') {
		return // the program goes on, or the line is code that names an error
	}
	var w *Window
	matched := -1
	s.lower = s.lower[:0]
	for _, i := range e.patterns {
		p := &s.c.patterns[i]
		if p.rule == matched || s.tried[p.rule] >= maxEvaluated {
			continue
		}
		s.tried[p.rule] += len(text) * p.cost
		if len(p.also) > 0 {
			if len(s.lower) == 0 {
				s.lower = lower(s.lower, text)
			}
			if !p.possible(s.lower) {
				continue
			}
		}
		at := p.re.FindSubmatchIndex(text)
		if at == nil || e.level != logs.Error && quoted(text, at[0]) {
			continue
		}
		if w == nil && e.level != logs.Error && answeredAt.Match(text) {
			return // the program says in the same line what it does about it
		}
		r := s.c.rules[p.rule]
		m := Match{Rule: r, Line: e.number, EndLine: e.number, Segment: e.segment, Count: 1, Tested: e.section != plain, Exception: e.exception, Facts: map[string]string{}}
		for g, name := range p.names {
			if name != "" && at[2*g] >= 0 && at[2*g+1] > at[2*g] && m.Facts[name] == "" {
				m.Facts[name] = string(text[at[2*g]:at[2*g+1]])
			}
		}
		if s.refined[p.rule]++; s.refined[p.rule] > maxRefined {
			continue
		}
		if w == nil {
			w = &Window{s: s, at: seq, Python: s.python[e.job]}
			if w.passed() {
				return
			}
		}
		if r.Refine != nil && !r.Refine(w, &m) {
			continue
		}
		m.Weak = m.Weak || level == warning || e.level == logs.Warning
		s.keep(m, e)
		matched = p.rule
	}
}

// possible tells whether a line in lower case holds what else the pattern
// requires besides a keyword.
func (p *pattern) possible(line []byte) bool {
	for _, set := range p.also {
		if !slices.ContainsFunc(set, func(w []byte) bool { return bytes.Contains(line, w) }) {
			return false
		}
	}
	return true
}

// keep adds a match, or counts it where its segment has shown the same before:
// eight ranks that print one traceback are one match, at its first line.
func (s *Scanner) keep(m Match, e *entry) {
	if m.Text == "" {
		m.Text = evidence(e)
	}
	m.LastLine = m.Line
	var b strings.Builder
	for _, k := range m.Rule.Keys {
		b.WriteString(m.Facts[k])
		b.WriteByte(0)
	}
	key := matchKey{m.Rule, m.Segment, b.String()}
	if i, ok := s.index[key]; ok && s.matches[i].Weak == m.Weak {
		if old := &s.matches[i]; m.Rule.Last && m.Exception > 0 && m.Exception == old.Exception {
			// The next link of a chain: what was raised to the top counts.
			m.Count = old.Count + 1
			*old = m
			return
		}
		s.matches[i].Count++
		s.matches[i].LastLine, s.matches[i].Exception = m.Line, m.Exception
		return
	}
	group := ruleKey{m.Rule, m.Segment}
	if len(s.matches) >= maxMatches {
		return
	}
	if s.perRule[group] >= maxPerRule {
		if !m.Rule.Last {
			return
		}
		// The newest one replaces the one before it.
		for i := len(s.matches) - 1; i >= 0; i-- {
			if s.matches[i].Rule == m.Rule && s.matches[i].Segment == m.Segment {
				s.matches[i] = m
				return
			}
		}
	}
	s.perRule[group]++
	s.index[key] = len(s.matches)
	s.matches = append(s.matches, m)
}

func evidence(e *entry) string {
	text := e.text
	if len(text) > 4*MaxText {
		text = text[:4*MaxText]
	}
	return e.marker + string(text)
}

var (
	capturedLine = []byte("- Captured ")
	failLine     = []byte("FAIL: ")
	errorLine    = []byte("ERROR: ")
	ranLine      = []byte("Ran ")
	suitesLine   = []byte("Test Suites:")
	bullet       = []byte("● ")
	unitHeader   = re(`^(?:FAIL|ERROR): (\w+) \([\w.<>]+\)`)
)

// enter follows the reports of test runners from line to line.
func (s *Scanner) enter(text []byte) {
	switch text[0] {
	case '_':
		if s.section == plain || len(text) < 5 || text[len(text)-1] != '_' {
			return
		}
		name := bytes.Trim(text, "_ ")
		if len(name) == 0 {
			return
		}
		title := string(name)
		switch {
		case strings.HasPrefix(title, "ERROR collecting "):
			s.section, s.test = collect, strings.TrimPrefix(title, "ERROR collecting ")
		case strings.HasPrefix(title, "ERROR at "):
			_, test, _ := strings.Cut(title, " of ")
			s.section, s.test = setup, test
		default:
			s.section, s.test = failing, title
		}
	case '=':
		if len(text) < 10 || text[1] != '=' || text[len(text)-1] != '=' {
			return
		}
		title := bytes.Trim(text, "= ")
		switch {
		case len(title) == 0:
			// unittest's and others' rulers
		case string(title) == "FAILURES":
			s.section, s.test = failing, ""
		case string(title) == "ERRORS":
			s.section, s.test = setup, ""
		case bytes.HasPrefix(title, []byte("warnings summary")):
			s.section, s.test = warnings, ""
		case bytes.HasPrefix(title, []byte("short test summary")):
			s.section, s.test = summary, ""
		case bytes.HasSuffix(title, []byte("coverage")):
			s.section, s.test = coverage, ""
		default:
			s.section, s.test = plain, ""
		}
	case '-':
		if s.section == plain || s.section == warnings || text[len(text)-1] != '-' {
			return
		}
		if bytes.Contains(text, capturedLine) {
			s.section = captured
		} else if bytes.Contains(text, []byte(" coverage: ")) {
			s.section = coverage
		}
	case 'F', 'E':
		if bytes.HasPrefix(text, failLine) || bytes.HasPrefix(text, errorLine) {
			if m := unitHeader.FindSubmatch(limit(text)); m != nil {
				s.section, s.test = unit, string(m[1])
			}
		} else if s.section == jest && bytes.HasPrefix(text, []byte("FAIL ")) {
			s.section = plain
		}
	case 'R':
		if s.section == unit && bytes.HasPrefix(text, ranLine) {
			s.section, s.test = plain, ""
		}
	case 'P', 'T':
		if s.section == jest && (bytes.HasPrefix(text, suitesLine) || bytes.HasPrefix(text, []byte("PASS "))) {
			s.section, s.test = plain, ""
		}
	case ' ':
		if t := bytes.TrimLeft(text, " "); bytes.HasPrefix(t, bullet) && len(text)-len(t) <= 4 {
			s.section, s.test = jest, string(limit(t[len(bullet):]))
		}
	}
}

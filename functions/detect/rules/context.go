package rules

import (
	"bytes"
	"slices"
	"strings"
)

// What a line is worth depends on who says it: a traceback quotes statements
// that name errors, programs quote messages of others, and what is logged as a
// warning did not end anything.

// raised follows plain Python tracebacks from line to line.
type raised struct {
	count   int  // tracebacks seen, a chain counting once
	inside  bool // between a traceback's head and its exception
	chained bool // the next head belongs to the chain before it
	quotes  bool // the next line may be a frame's statement
	talked  bool // something was printed since the last exception
	ignored bool // the traceback that follows is of an exception that Python only reports
}

var (
	headLine   = []byte(tracebackHead)
	duringLine = []byte("During handling of the above exception")
	causeLine  = []byte("The above exception was the direct cause")
	frameLine  = []byte(`  File "`)
	inFrame    = []byte(", in ")
	// ignoredLines come before tracebacks of what fails while objects are deleted,
	// a program ends or an exception is reported: none of them ended anything.
	ignoredLines = [][]byte{[]byte("Exception ignored "), []byte("Error in atexit."), []byte("Error in sys.excepthook:")}
)

// end forgets a traceback that a step's end cut off.
func (r *raised) end() { *r = raised{count: r.count, talked: true} }

// next takes a line and tells whether it is a statement that a frame quotes, and
// the number of the traceback whose exception it names, 0 if none.
func (r *raised) next(text []byte) (source bool, exception int) {
	if len(text) > 0 && text[0] == 'E' && slices.ContainsFunc(ignoredLines, func(l []byte) bool { return bytes.HasPrefix(text, l) }) {
		r.ignored, r.inside = true, false
		return true, 0
	}
	if r.ignored {
		head := bytes.HasPrefix(text, headLine)
		if r.inside || head {
			r.inside = head || len(text) == 0 || text[0] == ' '
			r.ignored = r.inside
			return true, 0
		}
		r.ignored = false
	}
	quotes := r.quotes
	r.quotes = false
	switch {
	case bytes.HasPrefix(text, headLine):
		if !r.chained && (r.talked || r.count == 0) {
			r.count++
		}
		r.inside, r.chained, r.talked = true, false, false
	case bytes.HasPrefix(text, duringLine), bytes.HasPrefix(text, causeLine):
		r.chained = true
	case len(text) == 0:
	case bytes.HasPrefix(text, frameLine):
		r.quotes = bytes.Contains(text, inFrame)
	case quotes && bytes.HasPrefix(text, []byte("    ")):
		return true, 0
	case r.inside && text[0] != ' ':
		r.inside = false
		return false, r.count
	case !r.inside && text[0] != ' ':
		r.talked = true
	}
	return false, 0
}

// reported tells the sections in which pytest shows code, indented, and marks
// what was raised with an E.
func reported(s section) bool { return s == failing || s == collect }

// spoken is the level at which a program logged a line.
type spoken uint8

const (
	unspoken spoken = iota
	warning
	remark // information, debugging
)

var spokenAt = re(`^(?:\[?\d{4}-\d\d-\d\d[T ][\d:.,]+(?:Z|[+-]\d\d:?\d\d)?\]?[ -]*)?\[?(INFO|DEBUG|WARN(?:ING)?)\b(?:\]|:| )`)

// spokenLevel reads a level that stands at a line's start, behind a time at most.
func spokenLevel(text []byte) spoken {
	head := text[:min(len(text), 64)]
	if !bytes.Contains(head, []byte("WARN")) && !bytes.Contains(head, []byte("INFO")) && !bytes.Contains(head, []byte("DEBUG")) {
		return unspoken
	}
	switch m := spokenAt.FindSubmatch(head); {
	case m == nil:
		return unspoken
	case m[1][0] == 'W':
		return warning
	default:
		return remark
	}
}

// quoted tells whether what stands at an offset is somebody else's message that
// the line cites. Records of structured logging and exceptions that repeat a
// service's answer are no citations; assertions are.
func quoted(text []byte, at int) bool {
	if at == 0 || text[0] == '{' {
		return false
	}
	for _, mark := range []byte{'"', '`'} {
		if bytes.Count(text[:at], []byte{mark})%2 == 1 {
			at = bytes.LastIndexByte(text[:at], mark) + 1
		}
	}
	for at > 0 && (text[at-1] == '.' || text[at-1] == '_' || 'a' <= text[at-1] && text[at-1] <= 'z' || 'A' <= text[at-1] && text[at-1] <= 'Z') {
		at--
	}
	if at == 0 || text[at-1] != '"' && text[at-1] != '\'' && text[at-1] != '`' {
		return false
	}
	said := text[:at-1]
	return !raisedAt.Match(said) && !recordAt.Match(said) || bytes.Contains(said, []byte("ssert")) || bytes.Contains(said, []byte("DID NOT RAISE"))
}

var raisedAt = re(`^(?:E {1,40}|FAILED \S+ - |\s*)(?:\w+\.)*\w*(?:Error|Exception): `)

// recordAt is what stands before the message of a record in logfmt.
var recordAt = re(`\b(?:msg|message|err|error)=$`)

// said is what a program printed in a line: BuildKit puts a step's number and the
// seconds since its start in front of it, "#8 0.201 ", and only the seconds where
// it repeats a failed step's end.
func said(text []byte) []byte {
	rest := text
	if len(rest) > 1 && rest[0] == '#' {
		if i := digits(rest[1:]); i > 0 && 1+i < len(rest) && rest[1+i] == ' ' {
			rest = rest[i+2:]
		}
	}
	i := digits(rest)
	if i == 0 || i >= len(rest) || rest[i] != '.' {
		return text
	}
	j := digits(rest[i+1:])
	if end := i + 1 + j; j > 0 && end < len(rest) && rest[end] == ' ' {
		return rest[end+1:]
	}
	return text
}

func digits(b []byte) int {
	n := 0
	for n < len(b) && n < 8 && b[n]-'0' <= 9 {
		n++
	}
	return n
}

// passed tells of a line that a build step or a test printed which ended well:
// BuildKit numbers the lines of its steps and says "#8 DONE", and pytest -v -s
// prints what a test says between the test's name and its PASSED.
func (w *Window) passed() bool {
	t, _ := w.Text(0)
	if step := first(buildStep, t); step != "" {
		for i := 1; i <= after; i++ {
			next, ok := w.Text(i)
			if !ok || !strings.HasPrefix(next, step) {
				continue
			}
			if rest := next[len(step):]; strings.HasPrefix(rest, "DONE") || strings.HasPrefix(rest, "ERROR") {
				return rest[0] == 'D'
			}
		}
		return false
	}
	if sec, _ := w.Section(); sec != plain {
		return false
	}
	named := false
	for i := 0; i >= -40 && !named; i-- {
		up, ok := w.Text(i)
		if !ok || i < 0 && verdictOf(up) != "" {
			return false
		}
		named = namesTest(up)
	}
	for i := 0; named && i <= after; i++ {
		next, ok := w.Text(i)
		if !ok || i > 0 && namesTest(next) {
			return false
		}
		if v := verdictOf(next); v != "" {
			return v == "PASSED" || v == "XFAIL" || v == "SKIPPED"
		}
	}
	return false
}

// namesTest tells whether a line begins with the name of a test.
func namesTest(text string) bool {
	return strings.Contains(text, ".py::") && testName.MatchString(text)
}

// verdictOf is what pytest says of a test at a line's end, with or without the
// share of the tests that are through ("PASSED [ 41%]"), "" where it doesn't.
func verdictOf(text string) string {
	const blank = "\t\n\f\r "
	t := strings.TrimRight(text, blank)
	if share, ok := strings.CutSuffix(t, "%]"); ok {
		head := strings.TrimRight(share, "0123456789")
		before, ok := strings.CutSuffix(strings.TrimRight(head, " "), "[")
		if t = strings.TrimRight(before, blank); !ok || head == share || t == before {
			return ""
		}
	}
	for _, v := range verdicts {
		if before, ok := strings.CutSuffix(t, v); ok && (before == "" || strings.TrimRight(before, blank) != before) {
			return v
		}
	}
	return ""
}

var verdicts = [...]string{"PASSED", "FAILED", "ERROR", "XFAIL", "SKIPPED", "XPASS", "RERUN"}

var (
	buildStep = re(`^(#\d+ )\d+\.\d+ `)
	testName  = re(`^\S+\.py::\S+ `)
)

// answeredAt is what a program says behind a failure, in the same line, when it
// goes on.
var answeredAt = re(`(?i)[,;:.(] ?(?:will retry|re-?try(?:ing)? (?:with|in|after)|next (?:try|attempt) in|trying again|falling back to|skipped|ignored|caught)\b[^:]{0,60}$`)

// answered tells whether one of the next lines says what the program does about
// what it reported: a trainer that meets a full GPU halves the batch and goes on.
func (w *Window) answered() bool {
	for i := 1; i <= 3; i++ {
		t, ok := w.Text(i)
		if !ok || strings.Contains(t, tracebackHead) {
			return false
		}
		if answer.MatchString(t) {
			return true
		}
	}
	return false
}

var answer = re(`(?i)\b(?:retrying|trying again|will retry|falling back|fall back to|(?:reducing|lowering|halving|decreasing) (?:the )?(?:micro.?)?batch|skipping (?:this |the )?batch|continuing with(?:out)?)\b`)

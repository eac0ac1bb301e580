package rules

import (
	"github.com/mlops-bot/mlops-bot/functions/detect/logs"
)

// The lines around a match that a rule may look at.
const (
	before = 200
	after  = 60
)

// maxMatched is how many bytes of a line patterns see.
const maxMatched = 4096

// section is where in the output of a test runner a line stands.
type section uint8

const (
	plain    section = iota // not in a test report
	failing                 // pytest's report of one failing test
	setup                   // … of a fixture or a teardown
	collect                 // … of a module that could not be collected
	captured                // what a failing test printed
	warnings                // pytest's list of warnings
	summary                 // pytest's short summary
	coverage                // a coverage table
	unit                    // unittest's report of a failing test
	jest                    // a JavaScript runner's report
)

// entry is one line as the scanner keeps it.
type entry struct {
	text      []byte // at most maxMatched of it
	read      string // text as a string, once a window was asked for it
	number    int
	segment   int
	job       string
	level     logs.Level
	marker    string
	echo      bool
	section   section
	test      string // the failing test that the section reports
	source    bool   // a statement that a traceback quotes
	exception int    // of a plain traceback that ends here, see raised
	patterns  []int  // with a keyword in the line
}

// Window is a match's line and its neighbours, of the same segment or of other
// ones of the same job.
type Window struct {
	s  *Scanner
	at int // sequence number of the match's line
	// Python is the version that the job was last seen to run.
	Python string
}

func (w *Window) entry(offset int) *entry {
	if offset < -before || offset > after {
		return nil
	}
	seq := w.at + offset
	if seq < 0 || seq >= w.s.count || seq <= w.s.count-len(w.s.ring)-1 {
		return nil
	}
	e := &w.s.ring[seq%len(w.s.ring)]
	if e.job != w.s.ring[w.at%len(w.s.ring)].job {
		return nil
	}
	return e
}

// Text is the text of the line at an offset from the match, at most 4 KiB of
// it; ok is false outside of the window and of the job.
func (w *Window) Text(offset int) (text string, ok bool) {
	e := w.entry(offset)
	if e == nil {
		return "", false
	}
	if e.read == "" {
		e.read = string(e.text)
	}
	return e.read, true
}

// Number is the line number at an offset, 0 outside of the window.
func (w *Window) Number(offset int) int {
	if e := w.entry(offset); e != nil {
		return e.number
	}
	return 0
}

// Level is the runner's level of the line at an offset.
func (w *Window) Level(offset int) logs.Level {
	if e := w.entry(offset); e != nil {
		return e.level
	}
	return logs.Plain
}

// Section is the part of a test report that the match stands in, and the name
// of the failing test.
func (w *Window) Section() (section, string) {
	e := w.entry(0)
	return e.section, e.test
}

// InTest reports whether the match stands in the report of a failing test.
func (w *Window) InTest() bool {
	s, _ := w.Section()
	return s == failing || s == unit || s == jest
}

// Move makes another line of the window the match's line.
func (w *Window) Move(m *Match, offset int) {
	if e := w.entry(offset); e != nil {
		m.Line, m.EndLine = e.number, e.number
		m.Text = evidence(e)
	}
}

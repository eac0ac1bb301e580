package standin

import (
	"bytes"
	"strings"
	"sync"
	"time"
)

const (
	maxLog  = 64 << 20 // bytes of one job's log
	maxLine = 1 << 20
)

// jobLog writes a job's log as GitHub keeps it: a timestamp before every line.
type jobLog struct {
	now func() time.Time

	mu   sync.Mutex
	b    bytes.Buffer
	line []byte // not yet ended
	full bool
}

func newJobLog(now func() time.Time) *jobLog {
	l := &jobLog{now: now}
	l.b.WriteString("\ufeff")
	return l
}

// say writes lines of the runner's own.
func (l *jobLog) say(lines ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range lines {
		for one := range strings.SplitSeq(line, "\n") {
			l.put(one)
		}
	}
}

func (l *jobLog) put(line string) {
	if l.full {
		return
	}
	if l.b.Len()+len(line) > maxLog {
		l.full = true
		line = "##[warning]The log is longer than its limit; the rest is not kept."
	}
	l.b.WriteString(l.now().UTC().Format(stampLayout) + " " + line + "\n")
}

// Write takes the output of a step.
func (l *jobLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		part, rest, ended := bytes.Cut(b, []byte("\n"))
		l.line = append(l.line, part...)
		b = rest
		if ended || len(l.line) > maxLine {
			l.flush()
		}
	}
	return n, nil
}

func (l *jobLog) flush() {
	l.put(command(strings.TrimSuffix(string(l.line), "\r")))
	l.line = l.line[:0]
}

// endOutput ends a last line without a newline.
func (l *jobLog) endOutput() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.line) > 0 {
		l.flush()
	}
}

// command turns a workflow command (::error::text) into what the log shows of it.
func command(line string) string {
	rest, is := strings.CutPrefix(strings.TrimLeft(line, " \t"), "::")
	if !is {
		return line
	}
	head, text, closed := strings.Cut(rest, "::")
	name, _, _ := strings.Cut(head, " ")
	if !closed {
		return line
	}
	switch name {
	case "error", "warning", "notice", "group", "debug":
		return "##[" + name + "]" + text
	case "endgroup":
		return "##[endgroup]"
	}
	return line
}

func (l *jobLog) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}

package domain

import (
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// FlakyWindow is how far back a failure's history is looked at.
const FlakyWindow = 7 * 24 * time.Hour

// MaxFlips is how many flips a Flakiness holds.
const MaxFlips = 10

// Flakiness is the evidence that a failure comes and goes without anybody
// changing anything: the same job of the same commit red with it and then green,
// on several commits of several people. It is a statement about the stored
// history of one workflow, and never about what a log says.
type Flakiness struct {
	Fingerprint string `json:"fingerprint"`
	// Since is the begin of the time that was looked at, Until its end.
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Seen counts all flips, Commits and Authors what they are spread over. Two
	// authors are two people as far as names, addresses and logins can tell.
	Seen    int `json:"seen"`
	Commits int `json:"commits"`
	Authors int `json:"authors"`
	// Flips are at most MaxFlips of them, the latest first; those that decided are
	// among them.
	Flips []Flip `json:"flips"`
}

// Flip is one job that failed on a commit and passed on the same commit.
type Flip struct {
	Commit string `json:"commit"`
	Branch string `json:"branch"`
	Event  string `json:"event"`
	// Author is the commit's author, or who brought it where that isn't known.
	Author string `json:"author"`
	Job    string `json:"job"`
	// Red is the first attempt that showed the failure, Green the first one after
	// it in which the job passed: a later attempt of the same run, or another run.
	Red   AttemptRef `json:"red"`
	Green AttemptRef `json:"green"`
}

// AttemptRef points at one attempt of a workflow run.
type AttemptRef struct {
	RunID     int64     `json:"run_id"`
	Attempt   int       `json:"attempt"` // from 1
	HTMLURL   string    `json:"html_url,omitempty"`
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at"`
}

// Sentence says for people what the evidence comes to. Nothing in it is a
// stranger's text.
func (f Flakiness) Sentence() string {
	return fmt.Sprintf("This failure comes and goes without a change: in the %d days before %s it was red and then green on the same commit %s, on %d commits of %d authors.",
		int(f.Until.Sub(f.Since).Round(time.Hour)/(24*time.Hour)), f.Until.UTC().Format("2 January 2006, 15:04 MST"), times(f.Seen), f.Commits, f.Authors)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// Lines are the flips for people, one line each, bounded and without characters
// that can't be seen. They hold strangers' text that is not escaped for any
// format: that is up to the channel.
func (f Flakiness) Lines() []string {
	lines := make([]string, 0, len(f.Flips))
	for _, flip := range f.Flips {
		lines = append(lines, flip.line(visible, func(label, _ string) string { return label }))
	}
	return lines
}

// Markdown is the sentence and the list for GitHub. Strangers' text stands in
// code spans, in which it can't form Markdown, HTML or mentions.
func (f Flakiness) Markdown() string {
	var b strings.Builder
	b.WriteString(f.Sentence() + "\n\n")
	for _, flip := range f.Flips {
		b.WriteString("- " + flip.line(codeSpan, markdownLink) + "\n")
	}
	if more := f.Seen - len(f.Flips); more > 0 {
		fmt.Fprintf(&b, "- and %d more\n", more)
	}
	return b.String()
}

func (f Flip) line(quote func(string) string, link func(label, u string) string) string {
	red := link(fmt.Sprintf("attempt %d of run %d", f.Red.Attempt, f.Red.RunID), f.Red.page())
	green := link(fmt.Sprintf("attempt %d", f.Green.Attempt), f.Green.page())
	if f.Green.RunID != f.Red.RunID {
		green = link(fmt.Sprintf("attempt %d of run %d", f.Green.Attempt, f.Green.RunID), f.Green.page())
	}
	return fmt.Sprintf("%s by %s: %s failed in %s (%s) and passed in %s (%s)",
		quote(f.Commit[:min(len(f.Commit), 7)]), quote(f.Author), quote(f.Job), red, clock(f.Red.EndedAt), green, clock(f.Green.EndedAt))
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// page is the attempt's own page.
func (a AttemptRef) page() string {
	if a.HTMLURL == "" {
		return ""
	}
	return fmt.Sprintf("%s/attempts/%d", strings.TrimSuffix(a.HTMLURL, "/"), a.Attempt)
}

// markdownLink links a label that is ours; without a web address it is the label.
func markdownLink(label, u string) string {
	p, err := url.Parse(u)
	if err != nil || p.Scheme != "https" && p.Scheme != "http" || p.Host == "" || p.User != nil || len(u) > 1000 || strings.ContainsAny(u, "()<>[] \n`") {
		return label
	}
	return "[" + label + "](" + p.String() + ")"
}

// maxVisible is how many bytes of a name are shown.
const maxVisible = 120

// visible returns a name in one line, without characters that can't be seen or
// that turn the reading direction.
func visible(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s[:min(len(s), 4*maxVisible)], "\uFFFD"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxVisible {
		s = strings.ToValidUTF8(s[:maxVisible], "") + "…"
	}
	if s == "" {
		return "–"
	}
	return s
}

// codeSpan is visible text with a fence longer than any run of backticks in it.
func codeSpan(s string) string {
	s = visible(s)
	longest, run := 0, 0
	for _, r := range s {
		if r != '`' {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	if longest == 0 {
		return "`" + s + "`"
	}
	fence := strings.Repeat("`", longest+1)
	return fence + " " + s + " " + fence
}

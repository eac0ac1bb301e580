package domain

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func history(changes ...func(*Flip)) Flakiness {
	until := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	ref := func(run int64, attempt int, d time.Duration) AttemptRef {
		return AttemptRef{RunID: run, Attempt: attempt, HTMLURL: "https://github.test/o/r/actions/runs/1", StartedAt: until.Add(d), EndedAt: until.Add(d + 10*time.Minute)}
	}
	f := Flakiness{
		Since: until.Add(-FlakyWindow), Until: until, Seen: 3, Commits: 3, Authors: 2,
		Flips: []Flip{
			{Commit: "cccccccccc", Author: "Ada", Job: "test (3.11)", Red: ref(1, 1, -10*time.Hour), Green: ref(1, 2, -9*time.Hour)},
			{Commit: "bbbbbbbbbb", Author: "Bob", Job: "test (3.11)", Red: ref(1, 1, -30*time.Hour), Green: ref(2, 1, -29*time.Hour)},
		},
	}
	for _, change := range changes {
		change(&f.Flips[0])
	}
	return f
}

func TestFlakinessForPeople(t *testing.T) {
	t.Parallel()
	want := "This failure comes and goes without a change: in the 7 days before 22 November 2026, 12:00 UTC it was red and then green on the same commit 3 times, on 3 commits of 2 authors.\n\n" +
		"- `ccccccc` by `Ada`: `test (3.11)` failed in [attempt 1 of run 1](https://github.test/o/r/actions/runs/1/attempts/1) (2026-11-22 02:10 UTC) and passed in [attempt 2](https://github.test/o/r/actions/runs/1/attempts/2) (2026-11-22 03:10 UTC)\n" +
		"- `bbbbbbb` by `Bob`: `test (3.11)` failed in [attempt 1 of run 1](https://github.test/o/r/actions/runs/1/attempts/1) (2026-11-21 06:10 UTC) and passed in [attempt 1 of run 2](https://github.test/o/r/actions/runs/1/attempts/1) (2026-11-21 07:10 UTC)\n" +
		"- and 1 more\n"
	if diff := cmp.Diff(want, history().Markdown()); diff != "" {
		t.Errorf("Markdown (-want +got):\n%s", diff)
	}
	lines := []string{
		"ccccccc by Ada: test (3.11) failed in attempt 1 of run 1 (2026-11-22 02:10 UTC) and passed in attempt 2 (2026-11-22 03:10 UTC)",
		"bbbbbbb by Bob: test (3.11) failed in attempt 1 of run 1 (2026-11-21 06:10 UTC) and passed in attempt 1 of run 2 (2026-11-21 07:10 UTC)",
	}
	if diff := cmp.Diff(lines, history().Lines()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	once := Flakiness{Seen: 1}
	if s := once.Sentence(); !strings.Contains(s, "same commit once,") {
		t.Error(s)
	}
}

// TestFlakinessOfStrangers: what strangers name can't form anything in the text.
func TestFlakinessOfStrangers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change     func(*Flip)
		line, mark string // what must be there
	}{
		"backticks":      {func(f *Flip) { f.Author = "a`b``c" }, "by a`b``c:", "by ``` a`b``c ```:"},
		"a mention":      {func(f *Flip) { f.Author = "@everyone" }, "by @everyone:", "by `@everyone`:"},
		"lines":          {func(f *Flip) { f.Job = "x\n# Title\r\n- [a](b)" }, ": x # Title - [a](b) failed", ": `x # Title - [a](b)` failed"},
		"a terminal":     {func(f *Flip) { f.Job = "a\x1b[2Jb\u202ec\u200bd" }, ": a [2Jb c d failed", ": `a [2Jb c d` failed"},
		"broken UTF-8":   {func(f *Flip) { f.Author = "a\xffb" }, "by a\uFFFDb:", "by `a\uFFFDb`:"},
		"nothing":        {func(f *Flip) { f.Author, f.Commit = "", "" }, "– by –:", "`–` by `–`:"},
		"length":         {func(f *Flip) { f.Job = strings.Repeat("ä", 5000) }, strings.Repeat("ä", 60) + "… failed", strings.Repeat("ä", 60) + "…` failed"},
		"a script link":  {func(f *Flip) { f.Red.HTMLURL = "javascript:alert(1)" }, "failed in attempt 1 of run 1 (", "failed in attempt 1 of run 1 ("},
		"a broken link":  {func(f *Flip) { f.Red.HTMLURL = "https://a.test/x) [y](https://b.test" }, "failed in attempt 1 of run 1 (", "failed in attempt 1 of run 1 ("},
		"a link's login": {func(f *Flip) { f.Red.HTMLURL = "https://a:b@a.test/x" }, "failed in attempt 1 of run 1 (", "failed in attempt 1 of run 1 ("},
		"no link":        {func(f *Flip) { f.Red.HTMLURL = "" }, "failed in attempt 1 of run 1 (", "failed in attempt 1 of run 1 ("},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := history(tc.change)
			if got := f.Lines()[0]; !strings.Contains(got, tc.line) {
				t.Errorf("line %q lacks %q", got, tc.line)
			}
			list := strings.Split(f.Markdown(), "\n")
			if len(list) != 6 || !strings.Contains(list[2], tc.mark) {
				t.Errorf("Markdown of %d lines %q lacks %q", len(list), list[2], tc.mark)
			}
		})
	}
}

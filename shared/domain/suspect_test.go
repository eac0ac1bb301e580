package domain

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhatChangedForPeople(t *testing.T) {
	t.Parallel()
	base := Change{
		Green:    AttemptRef{RunID: 7, Attempt: 1, HTMLURL: "https://github.test/o/r/actions/runs/7", EndedAt: time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)},
		GreenSHA: "0123456789abcdef", GreenBranch: "main", HeadSHA: "fedcba", Branch: "main", Event: "push", Status: "ahead", Commits: 2, Files: 3,
		Suspects: []Suspect{{SHA: "a", Reasons: []Reason{{Does: "changes", Name: "x"}}}},
	}
	const green = "the last green run (run 7, 2026-11-22 09:30 UTC, commit 0123456)"
	for name, tt := range map[string]struct {
		change func(*Change)
		want   string
		same   bool // Unchanged
	}{
		"ahead":       {func(*Change) {}, "2 commits came since " + green + ", and 3 files differ.", false},
		"one":         {func(c *Change) { c.Commits, c.Files = 1, 1 }, "1 commit came since " + green + ", and 1 file differs.", false},
		"no files":    {func(c *Change) { c.Files = 0 }, "2 commits came since " + green + ", and no file differs.", false},
		"no suspects": {func(c *Change) { c.Suspects = nil }, "2 commits came since " + green + ", and 3 files differ. None of them is known to touch what the failure names.", false},
		"truncated":   {func(c *Change) { c.Truncated, c.Commits, c.Files = true, 500, 300 }, "500 commits came since " + green + ", and they are too many to be all looked at (300 files listed).", false},
		"unchanged": {func(c *Change) { c.Status, c.Commits, c.Files = "identical", 0, 0 },
			"Nothing in the repository changed since " + green + ": look outside of it, at what the run gets from elsewhere (a dependency's release, the runner's image, a service).", true},
		"unchanged, started by hand": {func(c *Change) { c.Status, c.Event = "identical", "workflow_dispatch" },
			"Nothing in the repository changed since " + green + ": look outside of it, at what the run gets from elsewhere (a dependency's release, the runner's image, a service, other inputs).", true},
		"a pull request's same commit": {func(c *Change) { c.Status, c.Event = "identical", "pull_request" },
			"The commit is that of " + green + ". What changed is its base, which the run merges, or lies outside of the repository (a dependency's release, the runner's image, a service).", false},
		"a pull request's commits": {func(c *Change) { c.Status, c.Event, c.Branch = "diverged", "pull_request", "topic" },
			"2 commits came since " + strings.Replace(green, "run (", "run on main (", 1) + ", and 3 files differ. What came to the base meanwhile is not among them.", false},
		"rewritten": {func(c *Change) { c.Status = "diverged" },
			"2 commits came since " + green + ", and 3 files differ. The branch was rewritten meanwhile, so commits may be missing that are gone.", false},
		"older":    {func(c *Change) { c.Status = "behind" }, "The commit is older than that of " + green + ": something was taken back, or an old commit was run again.", false},
		"unknown":  {func(c *Change) { c.Status = "" }, "It could not be found out what changed since " + green + ".", false},
		"no green": {func(c *Change) { *c = Change{Branch: "main"} }, "No green run of this workflow was found on main before this one, so there is nothing to compare with.", false},
		"new job": {func(c *Change) { c.WithoutJob = true },
			"2 commits came since " + green + ", and 3 files differ. The failed job didn't pass in any green run that was looked at: it may be new.", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := base
			tt.change(&c)
			if diff := cmp.Diff(tt.want, c.Sentence()); diff != "" {
				t.Error(diff)
			}
			if c.Unchanged() != tt.same {
				t.Errorf("unchanged is %v", c.Unchanged())
			}
		})
	}
}

func TestSuspectsForPeople(t *testing.T) {
	t.Parallel()
	c := Change{
		Green: AttemptRef{RunID: 7, HTMLURL: "https://github.test/o/r/actions/runs/7"}, GreenSHA: "0123456789", GreenBranch: "a`b", Branch: "topic", Status: "ahead", Commits: 2, Files: 1,
		Suspects: []Suspect{
			{SHA: "abcdef0123", Author: "ada", Subject: "Fix <img src=x> @all `x`\x1b[31m #1", HTMLURL: "https://github.test/o/r/commit/abcdef0123", Pull: 12, Reasons: []Reason{
				{Does: "changes the requirement", Name: "numpy", In: "requirements.txt"}, {Does: "is the only commit since then"},
			}},
			{SHA: "12345678", HTMLURL: "javascript:alert(1)", Reasons: []Reason{{Does: "changes", Name: "a|b\n.py"}}},
			{Reasons: []Reason{{Does: "changes", Name: "c.py"}}},
		},
	}
	lines := []string{
		"abcdef0 by ada (#12) Fix <img src=x> @all `x` [31m #1: changes the requirement numpy in requirements.txt; is the only commit since then",
		"1234567: changes a|b .py",
		"a commit whose files were not read changes c.py",
	}
	if diff := cmp.Diff(lines, c.Lines()); diff != "" {
		t.Error(diff)
	}
	markdown := "2 commits came since the last green run on `` a`b `` ([run 7](https://github.test/o/r/actions/runs/7), 0001-01-01 00:00 UTC, commit 0123456), and 1 file differs.\n\n" +
		"- [abcdef0](https://github.test/o/r/commit/abcdef0123) by `ada` (#12) `` Fix <img src=x> @all `x` [31m #1 ``: changes the requirement `numpy` in `requirements.txt`; is the only commit since then\n" +
		"- 1234567: changes `a|b .py`\n" +
		"- a commit whose files were not read changes `c.py`\n"
	if diff := cmp.Diff(markdown, c.Markdown()); diff != "" {
		t.Error(diff)
	}
}

// Rows that were stored before there was a Change are read as before, and stay
// as they are.
func TestIncidentsWithoutAChange(t *testing.T) {
	t.Parallel()
	var inc Incident
	if err := json.Unmarshal([]byte(`{"id":"inc-1","state":"open","branch":"main"}`), &inc); err != nil || inc.Change != nil {
		t.Fatalf("%+v, %v", inc, err)
	}
	b, err := json.Marshal(inc)
	if err != nil || strings.Contains(string(b), `"change"`) {
		t.Errorf("%s, %v", b, err)
	}
	inc.Change = &Change{Status: "identical", Suspects: []Suspect{{SHA: "a", Score: 3, Reasons: []Reason{{Does: "changes", Name: "x"}}}}}
	if b, err = json.Marshal(inc); err != nil {
		t.Fatal(err)
	}
	var again Incident
	if err := json.Unmarshal(b, &again); err != nil || !cmp.Equal(inc, again) {
		t.Errorf("%s becomes %+v, %v", b, again, err)
	}
}

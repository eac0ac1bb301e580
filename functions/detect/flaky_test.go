package detect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

const (
	flakyRepo     = 2
	flakyWorkflow = ".github/workflows/ci.yml"
	flakyLeg      = "test (3.11)"
)

// attempts is a history that is told attempt by attempt; each lasts ten minutes.
type attempts []domain.RunReport

// ago adds an attempt that began so long ago, with one job of a conclusion; a
// failed one shows the fingerprint.
func (a *attempts) ago(d time.Duration, run int64, attempt int, commit, author string, c domain.Conclusion, changes ...func(*domain.RunReport)) {
	r := domain.RunReport{
		Repo: domain.Repo{ID: flakyRepo, FullName: "o/r"},
		Run: domain.Run{
			ID: run, Attempt: attempt, WorkflowPath: flakyWorkflow, Event: "pull_request", Status: "completed", Conclusion: c, HeadSHA: commit,
			HeadBranch: "topic-" + commit, HeadRepoID: flakyRepo, Actor: author, Author: author, AuthorMark: "mark-" + author,
			HTMLURL:   fmt.Sprintf("https://github.test/o/r/actions/runs/%d", run),
			StartedAt: now.Add(-d), UpdatedAt: now.Add(-d + 10*time.Minute),
		},
		Legs: []domain.LegReport{{JobID: run*100 + int64(attempt), Job: flakyLeg, Conclusion: c}},
	}
	if c == domain.Failure {
		r.Legs[0].Fingerprint, r.Legs[0].Category = flakyPrint, "test-failure"
	}
	for _, change := range changes {
		change(&r)
	}
	*a = append(*a, r)
}

const (
	flakyPrint = "00112233445566aa"
	otherPrint = "00112233445566bb"
	hour       = time.Hour
)

// cameAndWent is three commits of two people, each red and then green on a rerun.
func cameAndWent(changes ...func(*domain.RunReport)) attempts {
	var a attempts
	a.ago(50*hour, 1, 1, "aaaaaaaa", "Ada", domain.Failure, changes...)
	a.ago(49*hour, 1, 2, "aaaaaaaa", "Ada", domain.Success, changes...)
	a.ago(30*hour, 2, 1, "bbbbbbbb", "Bob", domain.Failure, changes...)
	a.ago(29*hour, 2, 2, "bbbbbbbb", "Bob", domain.Success, changes...)
	a.ago(10*hour, 3, 1, "cccccccc", "Ada", domain.Failure, changes...)
	a.ago(9*hour, 3, 2, "cccccccc", "Ada", domain.Success, changes...)
	return a
}

func TestFlakyShowsItsEvidence(t *testing.T) {
	t.Parallel()
	ref := func(run int64, attempt int, ago time.Duration) domain.AttemptRef {
		return domain.AttemptRef{
			RunID: run, Attempt: attempt, HTMLURL: fmt.Sprintf("https://github.test/o/r/actions/runs/%d", run),
			StartedAt: now.Add(-ago), EndedAt: now.Add(-ago + 10*time.Minute),
		}
	}
	flip := func(commit, author string, run int64, red, green time.Duration) domain.Flip {
		return domain.Flip{Commit: commit, Branch: "topic-" + commit, Event: "pull_request", Author: author, Job: flakyLeg, Red: ref(run, 1, red), Green: ref(run, 2, green)}
	}
	want := &domain.Flakiness{
		Fingerprint: flakyPrint, Since: now.Add(-7 * 24 * hour), Until: now, Seen: 3, Commits: 3, Authors: 2,
		Flips: []domain.Flip{
			flip("cccccccc", "Ada", 3, 10*hour, 9*hour), flip("bbbbbbbb", "Bob", 2, 30*hour, 29*hour), flip("aaaaaaaa", "Ada", 1, 50*hour, 49*hour),
		},
	}
	reports := cameAndWent()
	for range 20 { // whatever order the store has
		got := Flaky(flakyRepo, flakyWorkflow, flakyPrint, reports, now)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("evidence (-want +got):\n%s", diff)
		}
		reports = append(reports[1:len(reports):len(reports)], reports[0])
	}
	slices.Reverse(reports)
	got := Flaky(flakyRepo, flakyWorkflow, flakyPrint, append(reports, reports...), now)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("evidence of reports that come twice (-want +got):\n%s", diff)
	}
	b, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var back domain.Flakiness
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*want, back); diff != "" {
		t.Errorf("after JSON (-want +got):\n%s", diff)
	}
}

func TestFlaky(t *testing.T) {
	t.Parallel()
	push := func(r *domain.RunReport) { r.Run.Event, r.Run.HeadBranch = "push", "main" }
	event := func(name string) func(*domain.RunReport) {
		return func(r *domain.RunReport) { r.Run.Event, r.Run.HeadBranch = name, "main" }
	}
	only := func(commits ...string) attempts {
		return slices.DeleteFunc(cameAndWent(), func(r domain.RunReport) bool { return !slices.Contains(commits, r.Run.HeadSHA) })
	}
	// second tells the history of Bob's commit beside Ada's first one, which flips.
	second := func(tell func(a *attempts)) attempts {
		a := only("aaaaaaaa")
		tell(&a)
		return a
	}
	green := func(change func(*domain.RunReport)) func(*domain.RunReport) {
		return func(r *domain.RunReport) {
			if r.Run.Conclusion == domain.Success {
				change(r)
			}
		}
	}
	otherRuns := func(change func(*domain.RunReport)) attempts {
		a := cameAndWent(change)
		for i := range a { // the second attempts become runs of their own
			if a[i].Run.Attempt == 2 {
				a[i].Run.ID, a[i].Run.Attempt = a[i].Run.ID+10, 1
			}
		}
		return a
	}
	for name, tc := range map[string]struct {
		reports attempts
		want    int // flips
	}{
		"nothing":            {nil, 0},
		"three commits":      {cameAndWent(), 3},
		"two of two people":  {only("bbbbbbbb", "cccccccc"), 2},
		"one commit only":    {only("bbbbbbbb"), 0},
		"one person only":    {only("aaaaaaaa", "cccccccc"), 0},
		"another repository": {cameAndWent(func(r *domain.RunReport) { r.Repo.ID, r.Run.HeadRepoID = 9, 9 }), 0},
		"another repository's runs on our branches": {cameAndWent(func(r *domain.RunReport) { r.Repo.ID = 9 }), 0},
		"ends before they begin":                    {cameAndWent(func(r *domain.RunReport) { r.Run.UpdatedAt = r.Run.StartedAt.Add(-time.Second) }), 0},
		"attempts that go back in time": {second(func(a *attempts) {
			a.ago(30*hour, 2, 2, "bbbbbbbb", "Bob", domain.Failure)
			a.ago(29*hour, 2, 1, "bbbbbbbb", "Bob", domain.Success)
		}), 0},
		"green twice": {second(func(a *attempts) {
			a.ago(30*hour, 2, 1, "bbbbbbbb", "Bob", domain.Failure)
			a.ago(29*hour, 2, 2, "bbbbbbbb", "Bob", domain.Success)
			a.ago(28*hour, 2, 3, "bbbbbbbb", "Bob", domain.Success)
		}), 2},
		"one commit that two people push": {func() (a attempts) {
			nameless := func(branch string) func(*domain.RunReport) {
				return func(r *domain.RunReport) {
					r.Run.Event, r.Run.HeadBranch, r.Run.Author, r.Run.AuthorMark = "push", branch, "", ""
				}
			}
			a.ago(50*hour, 1, 1, "aaaaaaaa", "Ada", domain.Failure, nameless("main"))
			a.ago(49*hour, 1, 2, "aaaaaaaa", "Ada", domain.Success, nameless("main"))
			a.ago(40*hour, 2, 1, "aaaaaaaa", "Bob", domain.Failure, nameless("release"))
			a.ago(39*hour, 2, 2, "aaaaaaaa", "Bob", domain.Success, nameless("release"))
			a.ago(30*hour, 3, 1, "bbbbbbbb", "Ada", domain.Failure, nameless("main"))
			a.ago(29*hour, 3, 2, "bbbbbbbb", "Ada", domain.Success, nameless("main"))
			return a
		}(), 0},
		"another workflow":    {cameAndWent(func(r *domain.RunReport) { r.Run.WorkflowPath = "x.yml" }), 0},
		"of forks":            {cameAndWent(func(r *domain.RunReport) { r.Run.HeadRepoID = 77 }), 0},
		"of deleted forks":    {cameAndWent(func(r *domain.RunReport) { r.Run.HeadRepoID = 0 }), 0},
		"on our own branches": {cameAndWent(func(r *domain.RunReport) { r.Run.HeadBranch = domain.BranchName("inc-1", 1) }), 0},
		"unknown causes":      {cameAndWent(func(r *domain.RunReport) { r.Legs[0].Category = domain.Unknown }), 0},
		"other fingerprints": {cameAndWent(func(r *domain.RunReport) {
			if r.Run.ID != 2 && r.Legs[0].Fingerprint != "" {
				r.Legs[0].Fingerprint = otherPrint
			}
		}), 0},
		"a log that says flaky": {cameAndWent(green(func(r *domain.RunReport) {
			r.Run.Conclusion, r.Legs[0].Conclusion = domain.Failure, domain.Failure
			r.Legs[0].Category, r.Legs[0].Fingerprint = "flaky", otherPrint
			r.Problems = []string{"flaky, passed on rerun"}
		})), 0},
		"eight days": {cameAndWent(func(r *domain.RunReport) {
			if r.Run.ID == 2 {
				r.Run.StartedAt, r.Run.UpdatedAt = r.Run.StartedAt.Add(-7*24*hour), r.Run.UpdatedAt.Add(-7*24*hour)
			}
		}), 0},
		"no times":                           {cameAndWent(func(r *domain.RunReport) { r.Run.StartedAt = time.Time{} }), 0},
		"the green one is of another commit": {cameAndWent(green(func(r *domain.RunReport) { r.Run.HeadSHA += "0" })), 0},
		"the green one is of another branch": {otherRuns(func(r *domain.RunReport) {
			push(r)
			if r.Run.Conclusion == domain.Success {
				r.Run.HeadBranch = "release"
			}
		}), 0},
		"cancelled":         {cameAndWent(green(func(r *domain.RunReport) { r.Legs[0].Conclusion = domain.Cancelled })), 0},
		"skipped":           {cameAndWent(green(func(r *domain.RunReport) { r.Legs[0].Conclusion = domain.Skipped })), 0},
		"job is gone":       {cameAndWent(green(func(r *domain.RunReport) { r.Legs = nil })), 0},
		"a sibling's green": {cameAndWent(green(func(r *domain.RunReport) { r.Legs[0].Job = "test (3.12)" })), 0},
		"green beside red of one name": {cameAndWent(green(func(r *domain.RunReport) {
			r.Legs = append(r.Legs, domain.LegReport{Job: flakyLeg, Conclusion: domain.Failure})
		})), 0},
		"green in a red run": {cameAndWent(green(func(r *domain.RunReport) {
			r.Run.Conclusion = domain.Failure
			r.Legs = append(r.Legs, domain.LegReport{Job: "lint", Conclusion: domain.Failure, Fingerprint: otherPrint, Category: "lint"})
		})), 3},
		"cancelled by itself is not red": {cameAndWent(func(r *domain.RunReport) {
			if r.Legs[0].Conclusion == domain.Failure {
				r.Legs[0].Conclusion = domain.Cancelled
			}
		}), 0},
		"timed out is red": {cameAndWent(func(r *domain.RunReport) {
			if r.Legs[0].Conclusion == domain.Failure {
				r.Legs[0].Conclusion = domain.TimedOut
			}
		}), 3},
		"other runs of a push":            {otherRuns(push), 3},
		"other runs of a schedule":        {otherRuns(event("schedule")), 3},
		"other runs of a pull request":    {otherRuns(func(*domain.RunReport) {}), 0},
		"other runs that were dispatched": {otherRuns(event("workflow_dispatch")), 0},
		"other runs of another event":     {otherRuns(green(event("push"))), 0},
		"a run that began before the other": {otherRuns(func(r *domain.RunReport) {
			push(r)
			if r.Run.Conclusion == domain.Success {
				r.Run.StartedAt = r.Run.StartedAt.Add(-hour)
			}
		}), 0},
		"green and then red": {second(func(a *attempts) {
			a.ago(30*hour, 2, 1, "bbbbbbbb", "Bob", domain.Success)
			a.ago(29*hour, 2, 2, "bbbbbbbb", "Bob", domain.Failure)
		}), 0},
		"red again and then green": {second(func(a *attempts) {
			a.ago(30*hour, 2, 1, "bbbbbbbb", "Bob", domain.Failure)
			a.ago(29*hour, 2, 2, "bbbbbbbb", "Bob", domain.Failure)
			a.ago(28*hour, 2, 3, "bbbbbbbb", "Bob", domain.Success)
		}), 2},
		"fixed by a push": {second(func(a *attempts) {
			a.ago(30*hour, 2, 1, "bbbbbbbb", "Bob", domain.Failure)
			a.ago(29*hour, 3, 1, "b2b2b2b2", "Bob", domain.Success)
		}), 0},
		"one run of a pull request that was never rerun hides nothing": {second(func(a *attempts) {
			a.ago(31*hour, 7, 1, "bbbbbbbb", "Bob", domain.Failure)
			a.ago(30*hour, 2, 1, "bbbbbbbb", "Bob", domain.Failure)
			a.ago(29*hour, 2, 2, "bbbbbbbb", "Bob", domain.Success)
		}), 2},
		// An outage between 50 and 20 hours ago: everything failed before its end and
		// passed after it.
		"an outage that was ended": {func() (a attempts) {
			a.ago(50*hour, 1, 1, "aaaaaaaa", "Ada", domain.Failure)
			a.ago(40*hour, 2, 1, "bbbbbbbb", "Bob", domain.Failure)
			a.ago(30*hour, 3, 1, "cccccccc", "Cyd", domain.Failure)
			a.ago(19*hour, 1, 2, "aaaaaaaa", "Ada", domain.Success)
			a.ago(18*hour, 2, 2, "bbbbbbbb", "Bob", domain.Success)
			a.ago(17*hour, 3, 2, "cccccccc", "Cyd", domain.Success)
			return a
		}(), 0},
		// GitHub lists a job that is not run again with each later attempt.
		"an outage, and a job that was listed again after it": {func() (a attempts) {
			a.ago(50*hour, 1, 1, "aaaaaaaa", "Ada", domain.Failure)
			a.ago(40*hour, 2, 1, "bbbbbbbb", "Bob", domain.Failure)
			a.ago(19*hour, 1, 2, "aaaaaaaa", "Ada", domain.Success)
			a.ago(18*hour, 2, 2, "bbbbbbbb", "Bob", domain.Failure)
			a.ago(17*hour, 2, 3, "bbbbbbbb", "Bob", domain.Success)
			return a
		}(), 0},
		"one person under two names": {cameAndWent(func(r *domain.RunReport) {
			r.Run.AuthorMark = "mark"
		}), 0},
		"one person with two addresses": {cameAndWent(func(r *domain.RunReport) {
			r.Run.Author, r.Run.Actor = " ada  lovelace", ""
			if r.Run.ID == 2 {
				r.Run.Author = "Ada Lovelace"
			}
		}), 0},
		"one person pushes to both pull requests": {cameAndWent(func(r *domain.RunReport) { r.Run.Actor = "ada" }), 0},
		"one person merges both":                  {cameAndWent(push, func(r *domain.RunReport) { r.Run.Actor = "maintainer" }), 3},
		"logins alone": {cameAndWent(push, func(r *domain.RunReport) {
			r.Run.Author, r.Run.AuthorMark = "", ""
		}), 3},
		"who set up a schedule is no author": {cameAndWent(event("schedule"), func(r *domain.RunReport) {
			r.Run.Author, r.Run.AuthorMark = "", ""
		}), 0},
		"nobody known": {cameAndWent(func(r *domain.RunReport) { r.Run.Author, r.Run.AuthorMark, r.Run.Actor = "", "", "" }), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Flaky(flakyRepo, flakyWorkflow, flakyPrint, tc.reports, now)
			if n := seen(got); n != tc.want {
				t.Errorf("%d flips, want %d: %+v", n, tc.want, got)
			}
			if got := Flaky(flakyRepo, flakyWorkflow, otherPrint, cameAndWent(), now); got != nil {
				t.Errorf("another failure is flaky: %+v", got)
			}
		})
	}
}

func seen(f *domain.Flakiness) int {
	if f == nil {
		return 0
	}
	return f.Seen
}

// TestFlakyIsBounded: what is shown is bounded, and those that decide are shown.
func TestFlakyIsBounded(t *testing.T) {
	t.Parallel()
	var a attempts
	a.ago(160*hour, 1, 1, "aaaaaaaa", "Bob", domain.Failure)
	a.ago(159*hour, 1, 2, "aaaaaaaa", "Bob", domain.Success)
	for i := range 150 {
		commit := fmt.Sprintf("%08x", i)
		a.ago(158*hour-time.Duration(i)*hour, int64(10+i), 1, commit, "Ada", domain.Failure)
		a.ago(158*hour-time.Duration(i)*hour+20*time.Minute, int64(10+i), 2, commit, "Ada", domain.Success)
		a[len(a)-1].Run.StartedAt = a[len(a)-2].Run.UpdatedAt
		a[len(a)-1].Run.UpdatedAt = a[len(a)-2].Run.UpdatedAt.Add(time.Minute)
	}
	got := Flaky(flakyRepo, flakyWorkflow, flakyPrint, a, now)
	if got == nil || got.Seen != 151 || got.Commits != 151 || got.Authors != 2 || len(got.Flips) != domain.MaxFlips {
		t.Fatalf("%+v", got)
	}
	if last := got.Flips[len(got.Flips)-1]; last.Author != "Bob" {
		t.Errorf("the other person's flip isn't shown: %+v", got.Flips)
	}
}

// fakeHistory answers as the store does.
type fakeHistory struct {
	reports attempts
	err     error
	asked   string
}

func (f *fakeHistory) FailureHistory(_ context.Context, repoID int64, workflow, fingerprint string, since time.Time) ([]domain.RunReport, error) {
	f.asked = fmt.Sprint(repoID, " ", workflow, " ", fingerprint, " ", now.Sub(since))
	return slices.Clone(f.reports), f.err
}

func TestFlakySoFar(t *testing.T) {
	t.Parallel()
	all := cameAndWent()
	// The last rerun's green completes the second flip: before it, one flip of Bob
	// and none of Ada's.
	h := &fakeHistory{reports: all[2:5]}
	if got, err := FlakySoFar(t.Context(), h, all[4], flakyPrint, now); err != nil || got != nil {
		t.Errorf("too early: %+v, %v", got, err)
	}
	got, err := FlakySoFar(t.Context(), h, all[5], flakyPrint, now)
	if err != nil || seen(got) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if want := "2 " + flakyWorkflow + " " + flakyPrint + " 168h0m0s"; h.asked != want {
		t.Errorf("asked %q, want %q", h.asked, want)
	}
	h.err = domain.Errorf(domain.Transient, "read", "down")
	if _, err := FlakySoFar(t.Context(), h, all[5], flakyPrint, now); !errors.Is(err, h.err) || domain.KindOf(err) != domain.Transient {
		t.Errorf("error %v", err)
	}
}

// TestFlakyFromLogs goes from the logs of three runs to the evidence: the test
// fails with other numbers in other directories each time.
func TestFlakyFromLogs(t *testing.T) {
	t.Parallel()
	log := func(workspace, number string) string {
		return "##[group]Run pytest\n##[endgroup]\n=================================== FAILURES ===================================\n" +
			"______________________________ test_converges[adam] ______________________________\n\n" +
			"    def test_converges(tmp_path):\n>       assert loss < 0.5\nE       assert " + number + " < 0.5\n\n" +
			workspace + "tests/test_fit.py:9: AssertionError\n##[error]Process completed with exit code 1.\n"
	}
	prints := map[string]bool{}
	reports := cameAndWent()
	places := []string{"/home/runner/work/o/r/", "", `D:\a\o\r\`}
	var fingerprint string
	for i := range reports {
		if reports[i].Run.Conclusion != domain.Failure {
			continue
		}
		d := diagnose(t, Input{Log: strings.NewReader(log(places[i/2], fmt.Sprint("0.", 51+i))), Job: &domain.Job{Name: flakyLeg, Conclusion: domain.Failure}})
		fingerprint = d.Primary.Fingerprint()
		prints[fingerprint+d.Primary.Category] = true
		reports[i].Legs[0].Fingerprint, reports[i].Legs[0].Category = fingerprint, d.Primary.Category
	}
	if len(prints) != 1 {
		t.Fatalf("fingerprints %v", prints)
	}
	if got := Flaky(flakyRepo, flakyWorkflow, fingerprint, reports, now); seen(got) != 3 {
		t.Errorf("%+v", got)
	}
}

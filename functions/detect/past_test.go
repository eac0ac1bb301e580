package detect

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// fakePast is the time before a failure.
type fakePast struct {
	green     map[string][]domain.Run // by "repository id:branch"
	greenJobs map[int64][]domain.Job
	base      string
	diff      domain.Comparison
	files     map[string][]domain.ChangedFile
	pulls     map[string]int
	errs      map[string]error // by the method's name
	asked     []string
}

func (f *fakePast) note(what string, args ...any) {
	f.asked = append(f.asked, fmt.Sprintf(what, args...))
}

func (f *fakePast) GreenRuns(_ context.Context, _ domain.Repo, q domain.RunQuery) ([]domain.Run, error) {
	f.note("green runs of %d:%s", q.HeadRepoID, q.Branch)
	runs := f.green[fmt.Sprintf("%d:%s", q.HeadRepoID, q.Branch)]
	return runs[:min(len(runs), q.Limit)], f.errs["GreenRuns"]
}

func (f *fakePast) Pull(_ context.Context, _ domain.Repo, number int) (domain.Pull, error) {
	f.note("pull request %d", number)
	return domain.Pull{Number: number, BaseBranch: f.base}, f.errs["Pull"]
}

func (f *fakePast) Compare(_ context.Context, _ domain.Repo, base, head string) (domain.Comparison, error) {
	f.note("compare %s...%s", base, head)
	diff := f.diff
	diff.Commits = slices.Clone(diff.Commits)
	return diff, f.errs["Compare"]
}

func (f *fakePast) ChangedFiles(_ context.Context, _ domain.Repo, sha string) ([]domain.ChangedFile, bool, error) {
	f.note("files of %s", sha)
	return f.files[sha], false, f.errs["ChangedFiles"]
}

func (f *fakePast) PullOfCommit(_ context.Context, _ domain.Repo, sha, _ string) (int, error) {
	return f.pulls[sha], f.errs["PullOfCommit"]
}

func (f *fakePast) count(prefix string) int {
	n := 0
	for _, a := range f.asked {
		if strings.HasPrefix(a, prefix) {
			n++
		}
	}
	return n
}

// before gives a failed run green ones before it, whose job "test (3.11)" passed,
// on its own branch; the latest has the id 100.
func before(gh *fakeGitHub, n int) *fakeGitHub {
	gh.green, gh.greenJobs = map[string][]domain.Run{}, map[int64][]domain.Job{}
	for i := range n {
		id := int64(100 - i)
		gh.green["2:main"] = append(gh.green["2:main"], domain.Run{
			ID: id, Attempt: 1, HeadSHA: fmt.Sprintf("green%d", id), HeadBranch: "main", HeadRepoID: 2, Conclusion: domain.Success,
			HTMLURL: fmt.Sprintf("https://github.test/o/r/actions/runs/%d", id), UpdatedAt: now.Add(-24 * time.Hour),
		})
		gh.greenJobs[id] = []domain.Job{{ID: id * 10, Name: "test (3.11)", Conclusion: domain.Success}}
	}
	return gh
}

func commits(shas ...string) []domain.ChangedCommit {
	var out []domain.ChangedCommit
	for _, sha := range shas {
		out = append(out, domain.ChangedCommit{SHA: sha, Author: "ada", Subject: "Do " + sha, Parents: 1})
	}
	return out
}

func TestWhatChanged(t *testing.T) {
	t.Parallel()
	gh := before(failed(), 3)
	gh.diff = domain.Comparison{Status: "ahead", Total: 3, Commits: commits("one", "two", "three"), Files: []domain.ChangedFile{{Path: "train.py"}, {Path: "docs/a.md"}, {Path: "requirements.txt"}}}
	gh.files = map[string][]domain.ChangedFile{
		"one":   {{Path: "requirements.txt", Status: "modified", Patch: "@@ -1,2 +1 @@\n numpy\n-pandas>=2"}},
		"two":   {{Path: "docs/a.md", Status: "modified", Patch: "@@ -1 +1 @@\n-a\n+b"}},
		"three": {{Path: "train.py", Status: "modified", Patch: "@@ -1 +1,2 @@\n import os\n+import pandas as pd"}},
	}
	gh.pulls = map[string]int{"one": 7}
	out, err := do(t, gh, &fakeStore{})
	if err != nil || len(out.Incidents) != 1 {
		t.Fatalf("%+v, %v", out.Incidents, err)
	}
	inc := out.Incidents[0]
	want := &domain.Change{
		Green:    domain.AttemptRef{RunID: 100, Attempt: 1, HTMLURL: "https://github.test/o/r/actions/runs/100", EndedAt: now.Add(-24 * time.Hour)},
		GreenSHA: "green100", GreenBranch: "main", HeadSHA: "abc", Branch: "main", Event: "push", Status: "ahead", Commits: 3, Files: 3,
		Suspects: []domain.Suspect{
			{SHA: "one", Author: "ada", Subject: "Do one", Pull: 7, Score: 96, Reasons: []domain.Reason{
				{Does: "changes the requirement", Name: "pandas", In: "requirements.txt"}, {Does: "changes what is installed, by", Name: "requirements.txt"},
			}},
			{SHA: "three", Author: "ada", Subject: "Do three", Score: 90, Reasons: []domain.Reason{{Does: "imports", Name: "pandas", In: "train.py"}}},
		},
	}
	if diff := cmp.Diff(want, inc.Change); diff != "" {
		t.Error(diff)
	}
	if len(inc.Problems) != 0 {
		t.Errorf("problems %v", inc.Problems)
	}

	// Seen again, nothing is looked up, and what was found is kept.
	inc.Version = 1
	next := before(failed(), 3)
	next.run.ID, next.run.CreatedAt = 4, now.Add(-time.Hour)
	out, err = do(t, next, &fakeStore{standing: []domain.Incident{inc}})
	if err != nil || len(out.Incidents) != 1 || len(next.asked) != 0 {
		t.Fatalf("%d incidents, %v, asked %v", len(out.Incidents), err, next.asked)
	}
	if diff := cmp.Diff(want, out.Incidents[0].Change); diff != "" {
		t.Error(diff)
	}
}

func TestWhichGreenRun(t *testing.T) {
	t.Parallel()
	const noChange = "no change"
	tests := map[string]struct {
		change func(*fakeGitHub)
		want   string // status, branch and id of the green run, or a part of the problem
		asked  []string
	}{
		"the same commit was green": {func(g *fakeGitHub) { g.green["2:main"][0].HeadSHA = "abc" }, "identical main 100", []string{"green runs of 2:main"}},
		"the job didn't run in the last one": {func(g *fakeGitHub) {
			g.greenJobs[100] = []domain.Job{{ID: 1, Name: "test (3.11)", Conclusion: domain.Skipped}}
		}, "ahead main 99", []string{"green runs of 2:main", "compare green99...abc"}},
		"the job ran in none": {func(g *fakeGitHub) {
			for id := range g.greenJobs {
				g.greenJobs[id] = nil
			}
		}, "ahead main 100 without", []string{"green runs of 2:main", "compare green100...abc"}},
		"none": {func(g *fakeGitHub) { g.green = nil }, "none", []string{"green runs of 2:main"}},
		"a new branch": {func(g *fakeGitHub) { g.run.HeadBranch = "topic" }, "ahead main 100",
			[]string{"green runs of 2:topic", "green runs of 2:main", "compare green100...abc"}},
		"a pull request to another base": {func(g *fakeGitHub) {
			g.run.HeadBranch, g.run.Event, g.run.PullRequests, g.base = "topic", "pull_request", []int{5}, "next"
			g.green["2:next"] = g.green["2:main"]
		}, "ahead next 100", []string{"green runs of 2:topic", "pull request 5", "green runs of 2:next", "compare green100...abc"}},
		"a fork's pull request from its main": {func(g *fakeGitHub) {
			g.run.HeadRepoID, g.run.Event = 99, "pull_request"
		}, "ahead main 100", []string{"green runs of 99:main", "green runs of 2:main", "compare green100...abc"}},
		"a deleted fork": {func(g *fakeGitHub) { g.run.HeadRepoID, g.run.Event = 0, "pull_request" }, "ahead main 100",
			[]string{"green runs of 2:main", "compare green100...abc"}},
		"what runs on the base's files": {func(g *fakeGitHub) { g.run.Event = "pull_request_target" }, noChange, []string{"green runs of 2:main"}},
		"an older commit": {func(g *fakeGitHub) { g.diff = domain.Comparison{Status: "behind"} }, "behind main 100",
			[]string{"green runs of 2:main", "compare green100...abc"}},
		"a commit that is gone": {func(g *fakeGitHub) {
			g.errs = map[string]error{"Compare": domain.Errorf(domain.Invalid, "compare", "%w", domain.ErrNotFound)}
		}, "could not be compared", []string{"green runs of 2:main", "compare green100...abc"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gh := before(failed(), 3)
			gh.jobs = gh.jobs[:1]
			gh.diff = domain.Comparison{Status: "ahead", Total: 1, Commits: commits("one"), Files: []domain.ChangedFile{{Path: "a.md"}}}
			tt.change(gh)
			out, err := do(t, gh, &fakeStore{})
			if err != nil || len(out.Incidents) != 1 {
				t.Fatalf("%+v, %v", out.Incidents, err)
			}
			got := noChange
			if c := out.Incidents[0].Change; c != nil {
				got = fmt.Sprintf("%s %s %d", c.Status, c.GreenBranch, c.Green.RunID)
				if c.None() {
					got = "none"
				}
				if c.WithoutJob {
					got += " without"
				}
			}
			if problems := strings.Join(out.Incidents[0].Problems, "\n"); got != tt.want && (problems == "" || !strings.Contains(problems, tt.want)) {
				t.Errorf("got %q and problems %q, want %q", got, problems, tt.want)
			}
			if diff := cmp.Diff(tt.asked, gh.asked); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The past of the bot's own branch is that of the branch which it repairs.
func TestThePastOfARepair(t *testing.T) {
	t.Parallel()
	gh := before(failed(), 3)
	gh.green["2:release"] = gh.green["2:main"]
	gh.run.HeadBranch = "mlops-bot/inc-1-1"
	gh.diff = domain.Comparison{Status: "ahead", Total: 1, Commits: commits("one"), Files: []domain.ChangedFile{{Path: "a.md"}}}
	st := &fakeStore{repair: domain.Repair{ID: "rep-1", IncidentID: "inc-1", Branch: gh.run.HeadBranch, BaseBranch: "release"}}
	out, err := do(t, gh, st)
	if err != nil || len(out.Incidents) != 1 || out.Incidents[0].Change.GreenBranch != "release" || out.Incidents[0].Change.Suspects[0].SHA != "one" {
		t.Fatalf("%+v, %v", out.Incidents, err)
	}
	if gh.asked[0] != "green runs of 2:release" {
		t.Errorf("asked %v", gh.asked)
	}
	// Nothing is looked up for a branch of our prefix that we didn't make.
	gh.asked = nil
	if out, err = do(t, gh, &fakeStore{}); err != nil || len(out.Incidents) != 0 || len(gh.asked) != 0 {
		t.Errorf("%+v, %v, asked %v", out.Incidents, err, gh.asked)
	}
}

func TestThePastThatCannotBeRead(t *testing.T) {
	t.Parallel()
	transient := domain.Errorf(domain.Transient, "read", "502")
	for name, tt := range map[string]struct {
		method   string
		err      error
		attempts int
		kind     domain.ErrKind
		problem  string
	}{
		"early":              {"GreenRuns", transient, pastTries, domain.Transient, ""},
		"late":               {"GreenRuns", transient, pastTries + 1, "", "could not be looked up"},
		"rate limit":         {"GreenRuns", domain.Errorf(domain.RateLimited, "read", "limit"), 0, "", "could not be looked up"},
		"forbidden":          {"Compare", domain.Errorf(domain.Denied, "read", "403"), 0, "", "could not be looked up"},
		"comparison early":   {"Compare", transient, 0, domain.Transient, ""},
		"comparison too big": {"Compare", domain.Errorf(domain.Unsupported, "read", "%w", domain.ErrTooLarge), 0, "", "could not be compared"},
		"a commit's files":   {"ChangedFiles", transient, 0, "", "files of commit two"},
		"a commit's number":  {"PullOfCommit", transient, 0, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gh := before(failed(), 1)
			gh.diff = domain.Comparison{Status: "ahead", Total: 2, Commits: commits("one", "two"), Files: []domain.ChangedFile{{Path: "train.py"}}}
			gh.errs = map[string]error{tt.method: tt.err}
			out, err := doAttempt(t, gh, &fakeStore{}, tt.attempts)
			if domain.KindOf(err) != tt.kind {
				t.Fatalf("error %v", err)
			}
			if tt.kind != "" {
				return
			}
			if len(out.Incidents) != 1 || out.Incidents[0].Finding.Category != "missing-module" {
				t.Fatalf("%+v", out.Incidents)
			}
			problems := strings.Join(out.Incidents[0].Problems, "\n")
			if tt.problem == "" && problems != "" || !strings.Contains(problems, tt.problem) {
				t.Errorf("problems %q", problems)
			}
			if diff := cmp.Diff(out.Incidents[0].Problems, out.Reports[0].Problems); diff != "" {
				t.Errorf("the report's problems differ: %s", diff)
			}
		})
	}
}

// Many commits cost no more calls than a few.
func TestTheCallsAreBounded(t *testing.T) {
	t.Parallel()
	gh := before(failed(), maxGreenRuns)
	var shas []string
	for i := range domain.MaxComparedCommits {
		shas = append(shas, fmt.Sprintf("c%03d", i))
	}
	gh.diff = domain.Comparison{Status: "ahead", Total: 500, Commits: commits(shas...), Files: []domain.ChangedFile{{Path: "requirements.txt", Patch: "@@ -1 +1 @@\n-pandas\n+polars"}}}
	// Merges are not read beside what they merge.
	gh.diff.Commits[99].Parents = 2
	out, err := do(t, gh, &fakeStore{})
	if err != nil || len(out.Incidents) != 1 {
		t.Fatalf("%+v, %v", out.Incidents, err)
	}
	c := out.Incidents[0].Change
	if !c.Truncated || c.Commits != 500 || gh.count("files of") != maxReadCommits || slices.Contains(gh.asked, "files of c099") || !slices.Contains(gh.asked, "files of c098") {
		t.Errorf("%+v, asked %v", c, gh.asked)
	}
	if len(c.Suspects) != 1 || c.Suspects[0].SHA != "" || c.Suspects[0].Reasons[0].Name != "pandas" {
		t.Errorf("suspects %+v", c.Suspects)
	}
	if n := gh.count("compare"); n != 1 {
		t.Errorf("compared %d times", n)
	}
}

// toleratedLog fails at a missing file and says, as it does in green runs too,
// that a module is missing.
func toleratedLog(seconds int, end string) string {
	at := fmt.Sprintf("2026-11-22T11:00:%02d.0000000Z ", seconds)
	return at + "##[group]Run ./ci.sh\n" + at + "##[endgroup]\n" +
		at + "ModuleNotFoundError: No module named 'pandas'\n" + at + "optional check skipped\n" + end
}

func TestWhatGreenRunsSayToo(t *testing.T) {
	t.Parallel()
	end := "2026-11-22T11:00:59.0000000Z ModuleNotFoundError: No module named 'polars'\n2026-11-22T11:00:59.0000000Z ##[error]Process completed with exit code 1.\n"
	gh := before(failed(), 4)
	gh.logs[10], gh.logs[11] = toleratedLog(1, end), toleratedLog(2, end)
	for i := range int64(4) {
		gh.logs[(100-i)*10] = toleratedLog(int(i), "")
	}
	alone, _, err := Diagnose(t.Context(), Input{Log: strings.NewReader(gh.logs[10])})
	if err != nil || alone.Primary.Fact("module") != "pandas" {
		t.Fatalf("without green logs: %+v, %v; the test needs another log", alone.Primary, err)
	}
	out, err := do(t, gh, &fakeStore{})
	if err != nil || len(out.Incidents) != 1 {
		t.Fatalf("%+v, %v", out.Incidents, err)
	}
	inc := out.Incidents[0]
	if inc.Finding.Fact("module") != "polars" || len(inc.Legs) != 2 || inc.Change == nil || len(inc.Problems) > 0 {
		t.Errorf("finding %+v, legs %v, change %v, problems %v", inc.Finding, inc.Legs, inc.Change, inc.Problems)
	}
	for _, l := range out.Reports[0].Legs[:2] {
		if l.Fingerprint != inc.Fingerprint {
			t.Errorf("leg %s is reported as %s, not as the incident's", l.Job, l.Fingerprint)
		}
	}
	// Three green logs, each leg twice.
	if diff := cmp.Diff([]int64{10, 11, 1000, 990, 980, 10, 11}, gh.read); diff != "" {
		t.Errorf("logs read: %s", diff)
	}
	// The next run says the same and is the same incident.
	inc.Version = 1
	gh.run.ID, gh.run.CreatedAt = 4, now.Add(-time.Hour)
	out, err = do(t, gh, &fakeStore{standing: []domain.Incident{inc}})
	if err != nil || len(out.Incidents) != 1 || out.Incidents[0].ID != inc.ID || out.Incidents[0].Occurrences != 2 {
		t.Errorf("the next run: %+v, %v", out.Incidents, err)
	}
}

func TestGreenLogsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	gone := domain.Errorf(domain.Invalid, "read", "%w", domain.ErrGone)
	for name, tt := range map[string]struct {
		err      error
		problems int
		read     []int64
	}{
		"expired":      {gone, 0, []int64{10, 11, 1000, 990, 980}},
		"server error": {domain.Errorf(domain.Transient, "read", "502"), 1, []int64{10, 11, 1000}},
		"rate limit":   {domain.Errorf(domain.RateLimited, "read", "limit"), 1, []int64{10, 11, 1000}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gh := before(failed(), 3)
			gh.logErr = map[int64]error{1000: tt.err}
			out, err := do(t, gh, &fakeStore{})
			if err != nil || len(out.Incidents) != 1 || out.Incidents[0].Finding.Category != "missing-module" || len(out.Incidents[0].Problems) != tt.problems {
				t.Errorf("%+v, %v", out.Incidents, err)
			}
			if diff := cmp.Diff(tt.read, gh.read); diff != "" {
				t.Errorf("logs read: %s", diff)
			}
		})
	}
}

package detect

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

type fakeGitHub struct {
	repo    domain.Repo
	repoErr error
	run     domain.Run
	runErr  error
	jobs    []domain.Job
	logs    map[int64]string
	logErr  map[int64]error
	file    string
	fileErr error
	// policy is .github/mlops-bot.yml, "" for none, and policyErr what reading it gives.
	policy    string
	policyErr error
	read      []int64
	fakePast
}

func (f *fakeGitHub) Repo(context.Context, int64, int64) (domain.Repo, error) {
	return f.repo, f.repoErr
}

func (f *fakeGitHub) Run(context.Context, domain.Repo, int64, int) (domain.Run, error) {
	return f.run, f.runErr
}

func (f *fakeGitHub) Jobs(_ context.Context, _ domain.Repo, run int64, _ int) ([]domain.Job, error) {
	if jobs, ok := f.greenJobs[run]; ok {
		return jobs, nil
	}
	return f.jobs, nil
}

func (f *fakeGitHub) JobLog(_ context.Context, _ domain.Repo, id int64) (io.ReadCloser, error) {
	f.read = append(f.read, id)
	if err := f.logErr[id]; err != nil {
		return nil, err
	}
	return io.NopCloser(strings.NewReader(f.logs[id])), nil
}

func (f *fakeGitHub) File(_ context.Context, repo domain.Repo, ref, path string, _ int64) ([]byte, error) {
	if path == policyPath {
		if f.policyErr == nil && (f.policy == "" || ref != repo.DefaultBranch) {
			return nil, domain.Errorf(domain.Invalid, "read", "%w", domain.ErrNotFound)
		}
		return []byte(f.policy), f.policyErr
	}
	return []byte(f.file), f.fileErr
}

type fakeStore struct {
	standing []domain.Incident
	known    map[string]domain.Incident
	repair   domain.Repair
	deleted  []int64
}

func (f *fakeStore) Incident(_ context.Context, id string) (domain.Incident, error) {
	if inc, ok := f.known[id]; ok {
		return inc, nil
	}
	return domain.Incident{}, domain.Errorf(domain.Invalid, "read", "%w", domain.ErrNotFound)
}

func (f *fakeStore) StandingIncident(_ context.Context, _ int64, branch, workflow, fp string) (domain.Incident, bool, error) {
	for _, i := range f.standing {
		if i.Branch == branch && i.WorkflowPath == workflow && i.Fingerprint == fp {
			return i, true, nil
		}
	}
	return domain.Incident{}, false, nil
}

func (f *fakeStore) StandingIncidents(_ context.Context, _ int64, branch, workflow string) ([]domain.Incident, error) {
	var out []domain.Incident
	for _, i := range f.standing {
		if i.Branch == branch && i.WorkflowPath == workflow {
			out = append(out, i)
		}
	}
	return out, nil
}

func (f *fakeStore) RepairByBranch(_ context.Context, _ int64, branch string) (domain.Repair, bool, error) {
	return f.repair, f.repair.Branch == branch && branch != "", nil
}

func (*fakeStore) FailureHistory(context.Context, int64, string, string, time.Time) ([]domain.RunReport, error) {
	return nil, nil
}

func (f *fakeStore) DeleteInstallation(_ context.Context, id int64) error {
	f.deleted = append(f.deleted, id)
	return nil
}

const (
	moduleLog = "2026-11-22T11:00:00.0000000Z ##[group]Run pytest\n2026-11-22T11:00:01.0000000Z ##[endgroup]\n" +
		"2026-11-22T11:00:02.0000000Z Traceback (most recent call last):\n2026-11-22T11:00:02.0000000Z   File \"train.py\", line 3, in <module>\n" +
		"2026-11-22T11:00:02.0000000Z     import pandas as pd\n2026-11-22T11:00:02.0000000Z ModuleNotFoundError: No module named 'pandas'\n" +
		"2026-11-22T11:00:02.0000000Z ##[error]Process completed with exit code 1.\n"
	oddLog = "2026-11-22T11:00:00.0000000Z nothing that anybody knows\n2026-11-22T11:00:02.0000000Z ##[error]Process completed with exit code 1.\n"
)

// failed is a failed run of two matrix legs with one cause and one green job.
func failed() *fakeGitHub {
	job := func(id int64, name string, c domain.Conclusion) domain.Job {
		return domain.Job{ID: id, Name: name, Status: "completed", Conclusion: c, CompletedAt: now.Add(-time.Hour)}
	}
	return &fakeGitHub{
		repo: domain.Repo{InstallationID: 1, ID: 2, FullName: "o/r", DefaultBranch: "main", HTMLURL: "https://github.test/o/r"},
		run: domain.Run{
			ID: 3, Attempt: 1, WorkflowPath: ".github/workflows/ci.yml", Event: "push", Status: "completed", Conclusion: domain.Failure,
			HeadSHA: "abc", HeadBranch: "main", HeadRepoID: 2, CreatedAt: now.Add(-2 * time.Hour), UpdatedAt: now.Add(-time.Hour),
		},
		jobs: []domain.Job{job(10, "test (3.11)", domain.Failure), job(11, "test (3.12)", domain.Failure), job(12, "docs", domain.Success)},
		logs: map[int64]string{10: moduleLog, 11: moduleLog},
	}
}

func do(t *testing.T, gh *fakeGitHub, st *fakeStore) (domain.Outcome, error) {
	t.Helper()
	return doAttempt(t, gh, st, 1)
}

// doAttempt handles the event and does the work that was begun so often.
func doAttempt(t *testing.T, gh *fakeGitHub, st *fakeStore, attempts int) (domain.Outcome, error) {
	t.Helper()
	f := New(Deps{GitHub: gh, Store: st, Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler), LogLag: 15 * time.Minute, LogRetry: 30 * time.Second})
	env, err := events.NewGitHub(events.Cause{Time: now}, events.GitHub{
		DeliveryID: "d", Event: "workflow_run", Action: "completed", InstallationID: 1, RepoID: 2, RunID: gh.run.ID, RunAttempt: gh.run.Attempt,
	})
	if err != nil {
		t.Fatal(err)
	}
	e, err := events.Open(env)
	if err != nil {
		t.Fatal(err)
	}
	out, err := f.Handle(t.Context(), e)
	if err != nil || len(out.Later) != 1 {
		t.Fatalf("Handle: %+v, %v", out, err)
	}
	out.Later[0].CreatedAt, out.Later[0].Attempts = now, attempts
	return f.Work(t.Context(), out.Later[0])
}

func types(out domain.Outcome) []string {
	var list []string
	for _, e := range out.Events {
		list = append(list, e.Type)
	}
	return list
}

func TestMatrixLegsOfOneCauseAreOneIncident(t *testing.T) {
	t.Parallel()
	gh := failed()
	out, err := do(t, gh, &fakeStore{})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Incidents) != 1 {
		t.Fatalf("%d incidents", len(out.Incidents))
	}
	inc := out.Incidents[0]
	if inc.Finding.Category != "missing-module" || inc.Finding.Fact("module") != "pandas" || inc.Finding.Line != 6 {
		t.Errorf("finding %+v", inc.Finding)
	}
	if diff := cmp.Diff([]string{"test (3.11)", "test (3.12)"}, inc.Legs); diff != "" {
		t.Error(diff)
	}
	if inc.Branch != "main" || inc.Occurrences != 1 || inc.Run.ID != 3 || inc.Job.ID != 10 {
		t.Errorf("incident %+v", inc)
	}
	if diff := cmp.Diff([]string{events.TypeIncidentDetected, events.TypeRunCompleted}, types(out)); diff != "" {
		t.Error(diff)
	}
	if len(out.Reports) != 1 || len(out.Reports[0].Legs) != 3 || out.Reports[0].Legs[0].Fingerprint != inc.Fingerprint || out.Reports[0].Legs[2].Fingerprint != "" {
		t.Errorf("report %+v", out.Reports)
	}
	again, err := do(t, gh, &fakeStore{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(out, again); diff != "" {
		t.Errorf("reading the same run twice differs: %s", diff)
	}
}

func TestSeenAgain(t *testing.T) {
	t.Parallel()
	first, err := do(t, failed(), &fakeStore{})
	if err != nil {
		t.Fatal(err)
	}
	stored := first.Incidents[0]
	stored.Version = 1
	st := &fakeStore{standing: []domain.Incident{stored}}

	out, err := do(t, failed(), st)
	if err != nil || len(out.Incidents) != 0 {
		t.Errorf("the same attempt counts twice: %+v, %v", out.Incidents, err)
	}
	next := failed()
	next.run.ID, next.run.CreatedAt = 4, now.Add(-time.Hour)
	if out, err = do(t, next, st); err != nil || len(out.Incidents) != 1 || out.Incidents[0].Occurrences != 2 || out.Incidents[0].ID != stored.ID {
		t.Errorf("the next run: %+v, %v", out.Incidents, err)
	}
	old := failed()
	old.run.ID, old.run.CreatedAt = 2, now.Add(-3*time.Hour)
	if out, err = do(t, old, st); err != nil || len(out.Incidents) != 0 {
		t.Errorf("a run older than the stored one: %+v, %v", out.Incidents, err)
	}
}

// The failure leaves the leg that it was seen on and shows on another: it stands,
// and is written once, since two writes of one version would conflict for ever.
func TestAFailureThatMovesBetweenLegs(t *testing.T) {
	t.Parallel()
	gh := failed()
	gh.jobs[1].Conclusion = domain.Success
	first, err := do(t, gh, &fakeStore{})
	if err != nil || len(first.Incidents) != 1 {
		t.Fatalf("%+v, %v", first.Incidents, err)
	}
	next := failed()
	next.run.ID, next.run.CreatedAt = 4, now.Add(-time.Hour)
	next.jobs[0].Conclusion = domain.Success
	out, err := do(t, next, &fakeStore{standing: first.Incidents})
	if err != nil || len(out.Incidents) != 1 || out.Incidents[0].State != domain.IncidentOpen {
		t.Errorf("got %+v, %v; want the one incident, open", out.Incidents, err)
	}
}

// A leg that was cancelled in favour of a newer run is no failure to a verdict.
func TestCancelledLegsAreNotReportedAsFailures(t *testing.T) {
	t.Parallel()
	gh := failed()
	gh.run.Conclusion = domain.Cancelled
	for i := range gh.jobs {
		gh.jobs[i].Conclusion = domain.Cancelled
	}
	gh.logs = map[int64]string{10: oddLog, 11: "2026-11-22T11:00:02.0000000Z ##[error]The operation was canceled.\n", 12: oddLog}
	out, err := do(t, gh, &fakeStore{})
	if err != nil || len(out.Reports) != 1 || len(out.Incidents) != 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	for _, leg := range out.Reports[0].Legs {
		if leg.Fingerprint != "" {
			t.Errorf("leg %s is reported as the failure %s", leg.Job, leg.Category)
		}
	}
}

func TestResolution(t *testing.T) {
	t.Parallel()
	first, err := do(t, failed(), &fakeStore{})
	if err != nil {
		t.Fatal(err)
	}
	stored := first.Incidents[0]
	green := func(change func(*fakeGitHub)) *fakeGitHub {
		gh := failed()
		gh.run.ID, gh.run.CreatedAt, gh.run.Conclusion = 5, now.Add(-time.Minute), domain.Success
		for i := range gh.jobs {
			gh.jobs[i].Conclusion = domain.Success
		}
		if change != nil {
			change(gh)
		}
		return gh
	}
	tests := map[string]struct {
		gh   *fakeGitHub
		want bool
	}{
		"all legs pass":               {green(nil), true},
		"a leg was skipped":           {green(func(g *fakeGitHub) { g.jobs[1].Conclusion = domain.Skipped }), false},
		"the run is older":            {green(func(g *fakeGitHub) { g.run.CreatedAt = now.Add(-9 * time.Hour) }), false},
		"another branch":              {green(func(g *fakeGitHub) { g.run.HeadBranch = "dev" }), false},
		"a deleted fork's branch":     {green(func(g *fakeGitHub) { g.run.HeadRepoID = 0 }), false},
		"a fork's branch of the name": {green(func(g *fakeGitHub) { g.run.HeadRepoID = 99 }), false},
		"the job was renamed":         {green(func(g *fakeGitHub) { g.jobs = g.jobs[2:] }), true},
		"nothing was executed":        {green(func(g *fakeGitHub) { g.jobs = nil }), false},
		"the legs pass, another job fails": {green(func(g *fakeGitHub) {
			g.run.Conclusion, g.jobs[2].Conclusion, g.logs = domain.Failure, domain.Failure, map[int64]string{12: oddLog}
		}), true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := do(t, tt.gh, &fakeStore{standing: []domain.Incident{stored}})
			if err != nil {
				t.Fatal(err)
			}
			got := false
			for _, i := range out.Incidents {
				got = got || (i.ID == stored.ID && i.State == domain.IncidentResolved)
			}
			if got != tt.want {
				t.Errorf("resolved: %v, want %v", got, tt.want)
			}
		})
	}
}

func TestLogsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	notFound := domain.Errorf(domain.Transient, "read the log", "%w", domain.ErrNotFound)
	gone := domain.Errorf(domain.Invalid, "read the log", "%w", domain.ErrGone)
	limited := &domain.Error{Kind: domain.RateLimited, Op: "read", Err: errors.New("limit"), RetryAt: now.Add(time.Hour)}
	recent := func(g *fakeGitHub) { g.jobs[0].CompletedAt = now.Add(-time.Minute) }
	tests := map[string]struct {
		err      error
		change   func(*fakeGitHub)
		again    bool
		kind     domain.ErrKind
		problems int
	}{
		"not there yet":           {notFound, recent, true, "", 0},
		"not there after the lag": {notFound, func(*fakeGitHub) {}, false, "", 1},
		"expired":                 {gone, recent, false, "", 1},
		"rate limit":              {limited, recent, false, domain.RateLimited, 0},
		"server error":            {domain.Errorf(domain.Transient, "read", "502"), recent, false, domain.Transient, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gh := failed()
			gh.logErr = map[int64]error{10: tt.err}
			tt.change(gh)
			out, err := do(t, gh, &fakeStore{})
			if got := domain.KindOf(err); got != tt.kind {
				t.Fatalf("error %v", err)
			}
			if out.Again.IsZero() == tt.again {
				t.Errorf("again at %v", out.Again)
			}
			if tt.problems == 0 {
				return
			}
			// One log is missing: the other is read, and both legs are told.
			if len(out.Incidents) != 2 || len(out.Reports[0].Problems) != tt.problems || !strings.Contains(out.Reports[0].Problems[0], "test (3.11)") {
				t.Errorf("incidents %+v, problems %v", out.Incidents, out.Reports[0].Problems)
			}
			if out.Incidents[0].Finding.Category != domain.Unknown || out.Incidents[1].Finding.Category != "missing-module" {
				t.Errorf("categories %s and %s", out.Incidents[0].Finding.Category, out.Incidents[1].Finding.Category)
			}
		})
	}
}

func TestRunsWithoutIncidents(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*fakeGitHub, *fakeStore){
		"a person cancelled it": func(g *fakeGitHub, _ *fakeStore) {
			g.run.Conclusion = domain.Cancelled
			for i := range g.jobs {
				g.jobs[i].Conclusion = domain.Cancelled
			}
			g.logs = map[int64]string{10: oddLog, 11: oddLog, 12: oddLog}
		},
		"our own branch, no repair known": func(g *fakeGitHub, _ *fakeStore) { g.run.HeadBranch = "mlops-bot/inc-1-1" },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gh, st := failed(), &fakeStore{}
			change(gh, st)
			out, err := do(t, gh, st)
			if err != nil || len(out.Incidents) != 0 {
				t.Errorf("incidents %+v, %v", out.Incidents, err)
			}
			if diff := cmp.Diff([]string{events.TypeRunCompleted}, types(out)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOwnRunWithAnotherFindingIsChained(t *testing.T) {
	t.Parallel()
	gh := failed()
	gh.run.HeadBranch = "mlops-bot/inc-1-1"
	st := &fakeStore{repair: domain.Repair{ID: "rep-1", IncidentID: "inc-1", Branch: "mlops-bot/inc-1-1", BaseBranch: "main"}}
	out, err := do(t, gh, st)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Incidents) != 1 || out.Incidents[0].ParentID != "inc-1" || out.Incidents[0].RepairID != "rep-1" || out.Incidents[0].Branch != "main" {
		t.Fatalf("incidents %+v", out.Incidents)
	}
	// With the same finding standing on the base branch it is no new incident.
	st.standing = []domain.Incident{{ID: "inc-1", State: domain.IncidentOpen, Branch: "main", WorkflowPath: gh.run.WorkflowPath, Fingerprint: out.Incidents[0].Fingerprint}}
	if out, err = do(t, gh, st); err != nil || len(out.Incidents) != 0 {
		t.Errorf("incidents %+v, %v", out.Incidents, err)
	}
	// A fork's branch of our name is a fork's branch.
	gh.run.HeadRepoID = 99
	if out, err = do(t, gh, &fakeStore{repair: st.repair}); err != nil || len(out.Incidents) != 1 || out.Incidents[0].Branch != "fork/99:mlops-bot/inc-1-1" || out.Incidents[0].ParentID != "" {
		t.Errorf("incidents %+v, %v", out.Incidents, err)
	}
}

func TestStartupFailureDiagnosesTheWorkflow(t *testing.T) {
	t.Parallel()
	gh := failed()
	gh.run.Conclusion, gh.jobs = domain.StartupFailure, nil
	gh.file = "on: push\njobs:\n  a:\n    needs: [b]\n    runs-on: ubuntu-24.04\n    steps:\n      - run: true\n"
	out, err := do(t, gh, &fakeStore{})
	if err != nil || len(out.Incidents) != 1 {
		t.Fatalf("%+v, %v", out.Incidents, err)
	}
	f := out.Incidents[0].Finding
	want := map[string]string{"file": ".github/workflows/ci.yml", "line": "3"}
	if f.Category != "workflow-invalid" || !cmp.Equal(want, f.Facts) {
		t.Errorf("finding %+v", f)
	}
	gh.file = "on: push\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: \"true\"\n"
	if out, err = do(t, gh, &fakeStore{}); err != nil || len(out.Incidents) != 1 || out.Incidents[0].Finding.Category != domain.Unknown || len(out.Incidents[0].Problems) != 1 {
		t.Errorf("a sound workflow: %+v, %v", out.Incidents, err)
	}
}

func TestGoneOrNotYet(t *testing.T) {
	t.Parallel()
	missing := domain.Errorf(domain.Invalid, "read", "%w", domain.ErrNotFound)
	for name, change := range map[string]func(*fakeGitHub){
		"repository deleted":   func(g *fakeGitHub) { g.repoErr = missing },
		"installation revoked": func(g *fakeGitHub) { g.repoErr = domain.Errorf(domain.Denied, "read", "401") },
		"run deleted":          func(g *fakeGitHub) { g.runErr = missing },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gh := failed()
			change(gh)
			out, err := do(t, gh, &fakeStore{})
			if err != nil {
				t.Fatal(err)
			}
			want := domain.Outcome{Audit: []domain.AuditEntry{{At: now, InstallationID: 1, RepoID: 2, Actor: "detect", Action: "run.unreadable", Object: "run 3 attempt 1"}}}
			if diff := cmp.Diff(want, out, cmpopts.IgnoreFields(domain.AuditEntry{}, "Why"), cmpopts.IgnoreFields(domain.Outcome{}, "Counts")); diff != "" {
				t.Error(diff)
			}
		})
	}
	gh := failed()
	gh.run.Status = "in_progress"
	if out, err := do(t, gh, &fakeStore{}); err != nil || !out.Again.Equal(now.Add(30*time.Second)) {
		t.Errorf("a run that the API doesn't show as completed yet: %+v, %v", out, err)
	}
	gh = failed()
	gh.repoErr = domain.Errorf(domain.Transient, "read", "503")
	if _, err := do(t, gh, &fakeStore{}); domain.KindOf(err) != domain.Transient {
		t.Errorf("a server error: %v", err)
	}
}

func TestForgetsAnInstallation(t *testing.T) {
	t.Parallel()
	st := &fakeStore{}
	f := New(Deps{Store: st, Now: func() time.Time { return now }})
	env, err := events.NewGitHub(events.Cause{Time: now}, events.GitHub{DeliveryID: "d", Event: "installation", Action: "deleted", InstallationID: 7})
	if err != nil {
		t.Fatal(err)
	}
	e, _ := events.Open(env)
	out, err := f.Handle(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Work(t.Context(), out.Later[0]); err != nil || !cmp.Equal(st.deleted, []int64{7}) {
		t.Errorf("deleted %v, %v", st.deleted, err)
	}
}

func TestRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	f := New(Deps{})
	env, _ := events.New(events.Cause{ID: "c", Time: now}, events.RepairLanded{})
	e, _ := events.Open(env)
	if _, err := f.Handle(t.Context(), e); domain.KindOf(err) != domain.Unsupported {
		t.Errorf("a foreign event: %v", err)
	}
	for _, w := range []domain.Work{{Kind: kindReport, Payload: []byte("{")}, {Kind: "detect.unheard", Payload: []byte("{}")}} {
		if _, err := f.Work(t.Context(), w); domain.KindOf(err) != domain.Invalid {
			t.Errorf("work %+v: %v", w, err)
		}
	}
}

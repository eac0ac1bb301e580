// Package detect answers why a workflow run failed: it reads the attempt's jobs
// and logs, finds the cause and stores it as an incident. It also reports
// successes and the bot's own runs, which repair judges. It never writes to
// GitHub.
package detect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/mlops-bot/mlops-bot/functions/detect/rules"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
)

const (
	kindReport = "detect.report"
	kindForget = "detect.forget"

	// maxFailedJobs bounds how many logs of one attempt are read; a matrix may
	// have 256 legs, and they fail alike.
	maxFailedJobs = 32
	// maxProblems bounds the sentences kept about what could not be read.
	maxProblems = 10
)

// GitHub is what detect reads; its token can't write.
type GitHub interface {
	Repo(ctx context.Context, installationID, repoID int64) (domain.Repo, error)
	Run(ctx context.Context, repo domain.Repo, runID int64, attempt int) (domain.Run, error)
	Jobs(ctx context.Context, repo domain.Repo, runID int64, attempt int) ([]domain.Job, error)
	// JobLog streams a job's log; ErrNotFound while GitHub hasn't stored it,
	// ErrGone once it has expired.
	JobLog(ctx context.Context, repo domain.Repo, jobID int64) (io.ReadCloser, error)
	File(ctx context.Context, repo domain.Repo, ref, path string, maxBytes int64) ([]byte, error)
	Past
}

// Store is what detect reads of the stored state.
type Store interface {
	Incident(ctx context.Context, id string) (domain.Incident, error)
	StandingIncident(ctx context.Context, repoID int64, branch, workflow, fingerprint string) (domain.Incident, bool, error)
	StandingIncidents(ctx context.Context, repoID int64, branch, workflow string) ([]domain.Incident, error)
	RepairByBranch(ctx context.Context, repoID int64, branch string) (domain.Repair, bool, error)
	History
	// DeleteInstallation deletes everything of an installation; repeating it is
	// harmless.
	DeleteInstallation(ctx context.Context, installationID int64) error
}

// Deps is what New needs.
type Deps struct {
	GitHub GitHub
	Store  Store
	Now    func() time.Time
	Logger *slog.Logger
	// Rules are the installation's own, for all repositories; nil for none.
	Rules *rules.Catalogue
	// LogLag is how long after a job's end a missing log is asked for again;
	// LogRetry is the time between. GitHub's own lag is seconds to minutes.
	LogLag, LogRetry time.Duration
}

// Function is the detect function.
type Function struct {
	Deps
	own *Own
}

// New makes the function.
func New(d Deps) *Function { return &Function{d, NewOwn(d.Rules)} }

// Name is the function's name in routes.yaml.
func (*Function) Name() string { return "detect" }

// reportPayload is the payload of detect.report.
type reportPayload struct {
	InstallationID int64 `json:"installation_id"`
	RepoID         int64 `json:"repo_id"`
	RunID          int64 `json:"run_id"`
	Attempt        int   `json:"attempt"`
}

// Handle turns an event into work: nothing is read from GitHub here.
func (f *Function) Handle(_ context.Context, e cloudevents.Event) (domain.Outcome, error) {
	switch e.Type() {
	case events.TypeWorkflowRunCompleted:
		p, err := events.Decode[events.GitHub](e)
		if err != nil {
			return domain.Outcome{}, err
		}
		payload := reportPayload{p.InstallationID, p.RepoID, p.RunID, max(p.RunAttempt, 1)}
		return later(kindReport, fmt.Sprintf("%d/%d/%d", payload.RepoID, payload.RunID, payload.Attempt), payload)
	case events.TypeInstallationDeleted:
		p, err := events.Decode[events.GitHub](e)
		if err != nil {
			return domain.Outcome{}, err
		}
		return later(kindForget, fmt.Sprint(p.InstallationID), reportPayload{InstallationID: p.InstallationID})
	}
	return domain.Outcome{}, domain.Errorf(domain.Unsupported, "handle the event", "detect consumes no %s", e.Type())
}

func later(kind, key string, payload any) (domain.Outcome, error) {
	b, err := json.Marshal(payload)
	if err != nil {
		return domain.Outcome{}, domain.Errorf(domain.Bug, "encode the work", "%w", err)
	}
	return domain.Outcome{Later: []domain.Work{{Kind: kind, Key: key, Payload: b}}}, nil
}

// Work does one piece of work that Handle asked for.
func (f *Function) Work(ctx context.Context, w domain.Work) (domain.Outcome, error) {
	var p reportPayload
	if err := json.Unmarshal(w.Payload, &p); err != nil {
		return domain.Outcome{}, domain.Errorf(domain.Invalid, "decode the work", "%s %s: %w", w.Kind, w.Key, err)
	}
	switch w.Kind {
	case kindReport:
		return f.report(ctx, w, p)
	case kindForget:
		if err := f.Store.DeleteInstallation(ctx, p.InstallationID); err != nil {
			return domain.Outcome{}, fmt.Errorf("forget the installation: %w", err)
		}
		return domain.Outcome{}, nil
	}
	return domain.Outcome{}, domain.Errorf(domain.Invalid, "do the work", "detect knows no work of kind %q", w.Kind)
}

// report reads one completed attempt and stores what it shows.
func (f *Function) report(ctx context.Context, w domain.Work, p reportPayload) (domain.Outcome, error) {
	repo, err := f.GitHub.Repo(ctx, p.InstallationID, p.RepoID)
	if err != nil {
		return f.gone(p, err)
	}
	run, err := f.GitHub.Run(ctx, repo, p.RunID, p.Attempt)
	if err != nil {
		return f.gone(p, err)
	}
	if !run.Completed() {
		// The API lags behind the webhook.
		if f.Now().Sub(w.CreatedAt) > f.LogLag {
			return domain.Outcome{}, domain.Errorf(domain.Invalid, "read the run", "run %d of %s is still %s, %s after its completion was announced", run.ID, repo.FullName, run.Status, f.LogLag)
		}
		return domain.Outcome{Again: f.Now().Add(f.LogRetry)}, nil
	}
	jobs, err := f.GitHub.Jobs(ctx, repo, run.ID, run.Attempt)
	if err != nil {
		return f.gone(p, err)
	}

	s := &sighting{f: f, work: w, repo: repo, run: run, branch: branchKey(repo, run)}
	switch run.Conclusion {
	case domain.Failure, domain.TimedOut, domain.StartupFailure, domain.Cancelled:
		if again, err := s.diagnose(ctx, jobs); err != nil {
			return domain.Outcome{}, err
		} else if !again.IsZero() {
			return domain.Outcome{Again: again}, nil
		}
	default:
		for _, j := range jobs {
			s.legs = append(s.legs, leg{job: j})
		}
	}
	return s.outcome(ctx)
}

// gone turns the errors that mean "nothing is there for us any more" into a
// stated outcome; others are returned.
func (f *Function) gone(p reportPayload, err error) (domain.Outcome, error) {
	if !errors.Is(err, domain.ErrNotFound) && !errors.Is(err, domain.ErrGone) && domain.KindOf(err) != domain.Denied {
		return domain.Outcome{}, fmt.Errorf("read the run: %w", err)
	}
	return domain.Outcome{
		Audit: []domain.AuditEntry{{
			At: f.Now(), InstallationID: p.InstallationID, RepoID: p.RepoID, Actor: "detect", Action: "run.unreadable",
			Object: fmt.Sprintf("run %d attempt %d", p.RunID, p.Attempt), Why: err.Error(),
		}},
		Counts: []domain.Count{{Name: "bot_runs_total", Labels: map[string]string{"conclusion": "unreadable"}, Add: 1}},
	}, nil
}

// branchKey is the branch that incidents of a run belong to. A fork's branches
// are kept apart from the repository's own, whose names they may share.
func branchKey(repo domain.Repo, run domain.Run) string {
	// 0 is a fork that was deleted meanwhile.
	if run.HeadRepoID != repo.ID {
		return fmt.Sprintf("fork/%d:%s", run.HeadRepoID, run.HeadBranch)
	}
	return run.HeadBranch
}

// leg is one job and, if it did not pass, what its log says.
type leg struct {
	job       domain.Job
	diagnosis *domain.Diagnosis
}

// failed reports whether the leg's log tells of a failure, and not only of a
// cancellation: that nothing says it was more is no reason to take it for one.
func (l leg) failed() bool {
	return l.diagnosis != nil && l.diagnosis.Primary.Remedy != domain.RemedyNone &&
		(l.job.Conclusion != domain.Cancelled || l.diagnosis.Primary.Category != domain.Unknown)
}

// sighting is one completed attempt while it is looked at.
type sighting struct {
	f        *Function
	work     domain.Work
	repo     domain.Repo
	run      domain.Run
	branch   string
	legs     []leg
	problems []string
	// own are the rules besides the built-in ones; nil for none.
	own *rules.Catalogue
	// changes are what changed before failures that are new, by their fingerprints.
	changes map[string]*domain.Change
}

func (s *sighting) problem(format string, args ...any) {
	if len(s.problems) < maxProblems {
		s.problems = append(s.problems, fmt.Sprintf(format, args...))
	}
}

// diagnose reads the logs of the jobs that did not pass. A time is returned
// when a log isn't there yet and it is worth asking again.
func (s *sighting) diagnose(ctx context.Context, jobs []domain.Job) (again time.Time, err error) {
	if len(jobs) == 0 && (s.run.Conclusion == domain.StartupFailure || s.run.Conclusion == domain.Failure) {
		return time.Time{}, s.diagnoseWorkflow(ctx)
	}
	if s.own, err = s.ownRules(ctx); err != nil {
		return time.Time{}, err
	}
	failed := slices.ContainsFunc(jobs, domain.Job.Failed)
	read := 0
	for _, j := range jobs {
		l := leg{job: j}
		// A cancelled job is read too when nothing failed: GitHub reports time-outs
		// as cancelled.
		if j.Failed() || (j.Conclusion == domain.Cancelled && !failed) {
			if read++; read > maxFailedJobs {
				s.legs = append(s.legs, l)
				continue
			}
			d, err := s.readLog(ctx, j, nil)
			switch {
			case err == nil:
				l.diagnosis = &d
			case errors.Is(err, domain.ErrNotFound) && s.f.Now().Sub(s.endOf(j)) < s.f.LogLag && s.f.Now().Sub(s.work.CreatedAt) < s.f.LogLag:
				return s.f.Now().Add(s.f.LogRetry), nil
			case errors.Is(err, domain.ErrNotFound), errors.Is(err, domain.ErrGone), domain.KindOf(err) == domain.Denied, domain.KindOf(err) == domain.Invalid,
				// One log that can't be had must not keep back what the others say.
				domain.KindOf(err) == domain.Transient && s.f.Now().Sub(s.work.CreatedAt) >= s.f.LogLag:
				s.problem("the log of job %q could not be read: %v", j.Name, err)
				l.diagnosis = &domain.Diagnosis{Primary: unknownFinding(s.run, j)}
			default:
				return time.Time{}, err
			}
		}
		s.legs = append(s.legs, l)
	}
	if read > maxFailedJobs {
		s.problem("the logs of %d further failed jobs were not read", read-maxFailedJobs)
	}
	return time.Time{}, nil
}

// ownRules reads the rules of one's own. What is wrong with them, or an outage
// that does not end, is a problem and leaves the built-in ones.
func (s *sighting) ownRules(ctx context.Context) (*rules.Catalogue, error) {
	own, problem, err := s.f.own.Read(ctx, s.f.GitHub, s.repo)
	if err != nil {
		if domain.KindOf(err) != domain.Transient || s.f.Now().Sub(s.work.CreatedAt) < s.f.LogLag {
			return nil, err
		}
		problem = fmt.Sprintf("the repository's own rules could not be read: %v", err)
	}
	if problem != "" {
		s.problem("%s", rules.Mask(problem))
	}
	return own, nil
}

func (s *sighting) endOf(j domain.Job) time.Time {
	if !j.CompletedAt.IsZero() {
		return j.CompletedAt
	}
	return s.run.UpdatedAt
}

// readLog diagnoses the log of a job; green may be nil.
func (s *sighting) readLog(ctx context.Context, j domain.Job, green Baseline) (domain.Diagnosis, error) {
	body, err := s.f.GitHub.JobLog(ctx, s.repo, j.ID)
	if err != nil {
		return domain.Diagnosis{}, fmt.Errorf("download the log: %w", err)
	}
	defer body.Close()
	d, _, err := Diagnose(ctx, Input{Log: body, Name: j.Name, Job: &j, Workflow: s.run.WorkflowPath, Own: s.own, Baseline: green})
	if err != nil {
		return domain.Diagnosis{}, fmt.Errorf("read the log: %w", err)
	}
	return d, nil
}

// unknownFinding is the answer for a job whose log shows no cause. The failed
// step is all that is known.
func unknownFinding(run domain.Run, j domain.Job) domain.Finding {
	f := domain.Finding{Category: domain.Unknown, Remedy: domain.RemedyHuman, Workflow: run.WorkflowPath, Job: j.Name, Facts: map[string]string{}}
	for _, st := range j.Steps {
		if st.Conclusion == domain.Failure || st.Conclusion == domain.TimedOut {
			f.Step, f.StepNumber = st.Name, st.Number
			break
		}
	}
	return f
}

// group is the legs of one cause.
type group struct {
	fingerprint string
	diagnosis   domain.Diagnosis
	job         domain.Job
	legs        []string
}

// groups joins the legs whose findings have one fingerprint, in the order of the
// jobs. What nobody needs to repair (a person cancelled it) is left out, and so
// is a leg without a cause of its own beside one that has one.
func (s *sighting) groups() []group {
	var out []group
	for _, l := range s.legs {
		if !l.failed() {
			continue
		}
		fp := l.diagnosis.Primary.Fingerprint()
		if i := slices.IndexFunc(out, func(g group) bool { return g.fingerprint == fp }); i >= 0 {
			out[i].legs = append(out[i].legs, l.job.Name)
			continue
		}
		out = append(out, group{fp, *l.diagnosis, l.job, []string{l.job.Name}})
	}
	return out
}

// outcome is what the attempt changes in the stored state.
func (s *sighting) outcome(ctx context.Context) (domain.Outcome, error) {
	parent, own, err := s.ownRepair(ctx)
	if err != nil {
		return domain.Outcome{}, err
	}
	branch := s.branch
	if own {
		branch = parent.BaseBranch
	}
	// What fails on a branch of our prefix that we didn't make is nobody's incident.
	opens := !own || parent.ID != ""
	if opens {
		if err := s.lookBack(ctx, branch); err != nil {
			return domain.Outcome{}, err
		}
	}
	out := domain.Outcome{
		Reports: []domain.RunReport{{Repo: s.repo, Run: s.run, Legs: s.legReports(), Problems: s.problems}},
		Counts:  []domain.Count{{Name: "bot_runs_total", Labels: map[string]string{"conclusion": string(s.run.Conclusion)}, Add: 1}},
	}
	if opens {
		for _, g := range s.groups() {
			if err := s.addIncident(ctx, &out, g, branch, parent, own); err != nil {
				return domain.Outcome{}, err
			}
		}
	}
	if !own {
		if err := s.resolve(ctx, &out); err != nil {
			return domain.Outcome{}, err
		}
	}
	env, err := events.New(s.cause("run"), events.RunCompleted{
		InstallationID: s.repo.InstallationID, RepoID: s.repo.ID, RunID: s.run.ID, RunAttempt: s.run.Attempt,
		Conclusion: s.run.Conclusion, HeadSHA: s.run.HeadSHA, HeadBranch: s.run.HeadBranch, WorkflowPath: s.run.WorkflowPath,
	})
	if err != nil {
		return domain.Outcome{}, err
	}
	out.Events = append(out.Events, env)
	return out, nil
}

func (s *sighting) cause(what string) events.Cause {
	return events.Cause{
		ID:     fmt.Sprintf("%s/%d/%d/%d", what, s.repo.ID, s.run.ID, s.run.Attempt),
		Source: s.repo.HTMLURL, Time: s.f.Now(), TraceParent: s.work.TraceParent,
	}
}

func (s *sighting) legReports() []domain.LegReport {
	out := make([]domain.LegReport, 0, len(s.legs))
	for _, l := range s.legs {
		r := domain.LegReport{JobID: l.job.ID, Job: l.job.Name, Conclusion: l.job.Conclusion}
		if l.failed() {
			r.Fingerprint, r.Category = l.diagnosis.Primary.Fingerprint(), l.diagnosis.Primary.Category
		}
		out = append(out, r)
	}
	return out
}

// ownRepair returns the repair whose branch the run is on. own is true for every
// branch of the repository that bears our prefix, known or not: what fails there
// is never somebody's incident. A fork's branch of such a name is not ours.
func (s *sighting) ownRepair(ctx context.Context) (r domain.Repair, own bool, err error) {
	if !domain.OwnBranch(s.run.HeadBranch) || s.run.HeadRepoID != s.repo.ID {
		return domain.Repair{}, false, nil
	}
	r, _, err = s.f.Store.RepairByBranch(ctx, s.repo.ID, s.run.HeadBranch)
	if err != nil {
		return domain.Repair{}, true, fmt.Errorf("look up the branch's repair: %w", err)
	}
	return r, true, nil
}

func (s *sighting) addIncident(ctx context.Context, out *domain.Outcome, g group, branch string, parent domain.Repair, own bool) error {
	inc, standing, err := s.f.Store.StandingIncident(ctx, s.repo.ID, branch, s.run.WorkflowPath, g.fingerprint)
	if err != nil {
		return fmt.Errorf("look up the incident: %w", err)
	}
	switch {
	case own && standing:
		return nil // known already; repair judges its run by the report
	case standing && (inc.Run.ID == s.run.ID && inc.Run.Attempt >= s.run.Attempt || s.run.CreatedAt.Before(inc.Run.CreatedAt)):
		return nil // seen already, or older than what is stored
	case standing:
		inc.Occurrences++
	default:
		inc = domain.Incident{
			ID: domain.IncidentID(s.repo.ID, branch, s.run.WorkflowPath, g.fingerprint, s.run.ID), State: domain.IncidentOpen,
			Branch: branch, WorkflowPath: s.run.WorkflowPath, Fingerprint: g.fingerprint, Occurrences: 1, OpenedAt: s.f.Now(),
			Change: s.changes[g.fingerprint],
		}
		if own {
			inc.ParentID, inc.RepairID = parent.IncidentID, parent.ID
		}
		if known, err := s.f.Store.Incident(ctx, inc.ID); err == nil {
			if known.State == domain.IncidentResolved {
				// A rerun of the run that opened it failed again after another attempt
				// was green: the incident of this attempt is a new one.
				inc.ID = domain.IncidentID(s.repo.ID, branch, s.run.WorkflowPath, fmt.Sprintf("%s/%d", g.fingerprint, s.run.Attempt), s.run.ID)
			}
		} else if !errors.Is(err, domain.ErrNotFound) {
			return fmt.Errorf("look up the incident: %w", err)
		}
		out.Counts = append(out.Counts, domain.Count{Name: "bot_issues_detected_total", Labels: map[string]string{"type": countedAs(g.diagnosis.Primary.Category)}, Add: 1})
	}
	inc.Repo, inc.Run, inc.Job, inc.Legs = s.repo, s.run, g.job, g.legs
	inc.Job.Steps = nil
	inc.Finding, inc.Secondary, inc.Problems = g.diagnosis.Primary, g.diagnosis.Secondary, s.problems
	inc.LastSeenAt = s.f.Now()
	if inc.Flaky, err = FlakySoFar(ctx, s.f.Store, out.Reports[0], g.fingerprint, s.f.Now()); err != nil {
		return err
	}
	out.Incidents = append(out.Incidents, inc)
	out.Audit = append(out.Audit, domain.AuditEntry{
		At: s.f.Now(), InstallationID: s.repo.InstallationID, RepoID: s.repo.ID, Actor: "detect", Action: "incident.detected",
		Object: inc.ID, Why: fmt.Sprintf("%s in job %s of run %d attempt %d", inc.Finding.Category, g.job.Name, s.run.ID, s.run.Attempt),
	})
	env, err := events.New(s.cause("detected"), events.IncidentDetected{Incident: s.incidentData(inc)})
	if err != nil {
		return err
	}
	out.Events = append(out.Events, env)
	return nil
}

// countedAs is the category under which an incident is counted: of those that
// people name themselves there is no end, and each would be a series.
func countedAs(category string) string {
	if category == domain.Unknown || rules.IsBuiltIn(category) {
		return category
	}
	return "own"
}

func (s *sighting) incidentData(inc domain.Incident) events.Incident {
	return events.Incident{
		InstallationID: s.repo.InstallationID, RepoID: s.repo.ID, IncidentID: inc.ID, Category: inc.Finding.Category,
		RunID: s.run.ID, RunAttempt: s.run.Attempt,
	}
}

// resolve closes the standing incidents whose legs this run shows green.
func (s *sighting) resolve(ctx context.Context, out *domain.Outcome) error {
	standing, err := s.f.Store.StandingIncidents(ctx, s.repo.ID, s.branch, s.run.WorkflowPath)
	if err != nil {
		return fmt.Errorf("list the standing incidents: %w", err)
	}
	for _, inc := range standing {
		if slices.ContainsFunc(out.Incidents, func(seen domain.Incident) bool { return seen.ID == inc.ID }) {
			continue // it came back in this very run, on another leg
		}
		if s.run.CreatedAt.Before(inc.Run.CreatedAt) || (s.run.ID == inc.Run.ID && s.run.Attempt <= inc.Run.Attempt) {
			continue // older than the failure
		}
		if !s.green(inc) {
			continue
		}
		inc.State, inc.ClosedAt = domain.IncidentResolved, s.f.Now()
		// A green rerun is what shows that a failure comes and goes.
		if inc.Flaky, err = FlakySoFar(ctx, s.f.Store, out.Reports[0], inc.Fingerprint, s.f.Now()); err != nil {
			return err
		}
		out.Incidents = append(out.Incidents, inc)
		out.Audit = append(out.Audit, domain.AuditEntry{
			At: s.f.Now(), InstallationID: s.repo.InstallationID, RepoID: s.repo.ID, Actor: "detect", Action: "incident.resolved",
			Object: inc.ID, Why: fmt.Sprintf("%s passed in run %d attempt %d", strings.Join(inc.Legs, ", "), s.run.ID, s.run.Attempt),
		})
		env, err := events.New(s.cause("resolved"), events.IncidentResolved{Incident: s.incidentData(inc)})
		if err != nil {
			return err
		}
		out.Events = append(out.Events, env)
	}
	return nil
}

// green reports whether every leg of the incident was executed and passed. A run
// that is green as a whole also resolves an incident whose jobs are gone or that
// never had one (a workflow that didn't start).
func (s *sighting) green(inc domain.Incident) bool {
	present := false
	for _, name := range inc.Legs {
		for _, l := range s.legs {
			if l.job.Name != name {
				continue
			}
			present = true
			if l.job.Conclusion != domain.Success {
				return false
			}
		}
	}
	if present {
		return true
	}
	executed := slices.ContainsFunc(s.legs, func(l leg) bool { return l.job.Conclusion == domain.Success })
	return s.run.Conclusion == domain.Success && executed
}

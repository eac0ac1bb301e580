// Package repair answers what to do about an incident and does it: policy →
// plan → intent → branch → commit → pull request → verdict. Strategies only
// plan; this package's executor is the one place that changes a repository.
//
// Each effect outside of the database is a piece of work of its own whose intent
// was committed before: after a crash it looks whether the effect is there and
// then does it.
package repair

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
)

// The kinds of work. The part before the dot is the function that does it.
const (
	kindPlan     = "repair.plan"     // decide on the next attempt for an incident
	kindPropose  = "repair.propose"  // branch, commit, pull request
	kindRerun    = "repair.rerun"    // run the failed jobs again
	kindJudge    = "repair.judge"    // read the verdict of a repair's runs
	kindDeadline = "repair.deadline" // a verdict that doesn't come
	kindPull     = "repair.pull"     // a pull request of ours was closed
	kindEscalate = "repair.escalate" // ask a person
	kindCommand  = "repair.command"  // a comment to the bot
)

// GitHub is what repair reads and writes. Every method's errors are typed
// (domain.ErrKind); what exists already is domain.ErrExists.
type GitHub interface {
	Repo(ctx context.Context, installationID, repoID int64) (domain.Repo, error)
	Run(ctx context.Context, repo domain.Repo, runID int64, attempt int) (domain.Run, error)
	RunsForSHA(ctx context.Context, repo domain.Repo, sha string) ([]domain.Run, error)
	BranchSHA(ctx context.Context, repo domain.Repo, branch string) (sha string, protected bool, err error)
	Commit(ctx context.Context, repo domain.Repo, sha string) (domain.Commit, error)
	Tree(ctx context.Context, repo domain.Repo, sha string) ([]domain.TreeEntry, error)
	Blob(ctx context.Context, repo domain.Repo, sha string, maxBytes int64) ([]byte, error)
	File(ctx context.Context, repo domain.Repo, ref, path string, maxBytes int64) ([]byte, error)
	Permission(ctx context.Context, repo domain.Repo, login string) (string, error)
	Pull(ctx context.Context, repo domain.Repo, number int) (domain.Pull, error)
	PullByHead(ctx context.Context, repo domain.Repo, branch string) (domain.Pull, bool, error)

	CommitFiles(ctx context.Context, repo domain.Repo, req domain.CommitRequest) (sha string, err error)
	CreateBranch(ctx context.Context, repo domain.Repo, b domain.NewBranch) error
	OpenPull(ctx context.Context, repo domain.Repo, p domain.NewPull) (domain.Pull, error)
	AddLabels(ctx context.Context, repo domain.Repo, number int, labels []string) error
	ClosePull(ctx context.Context, repo domain.Repo, number int) error
	MarkReady(ctx context.Context, repo domain.Repo, nodeID string) error
	RerunFailedJobs(ctx context.Context, repo domain.Repo, runID int64) error
	// FindIssue finds an open or closed issue of the bot's by its hidden marker.
	FindIssue(ctx context.Context, repo domain.Repo, marker string) (url string, found bool, err error)
	OpenIssue(ctx context.Context, repo domain.Repo, title, body string, labels []string) (url string, err error)
}

// Store is what repair reads of the stored state; changes are outcomes.
type Store interface {
	Incident(ctx context.Context, id string) (domain.Incident, error)
	StandingIncident(ctx context.Context, repoID int64, branch, workflow, fingerprint string) (domain.Incident, bool, error)
	Repair(ctx context.Context, id string) (domain.Repair, error)
	RepairsOfRoot(ctx context.Context, root string) ([]domain.Repair, error)
	RepairByBranch(ctx context.Context, repoID int64, branch string) (domain.Repair, bool, error)
	RepairByPlanKey(ctx context.Context, repoID int64, planKey string) (domain.Repair, bool, error)
	RepairByPull(ctx context.Context, repoID int64, number int) (domain.Repair, bool, error)
	RepairsByRun(ctx context.Context, repoID, runID int64) ([]domain.Repair, error)
	LandedRepairs(ctx context.Context, repoID int64, branch string, since time.Time) ([]domain.Repair, error)
	OpenPulls(ctx context.Context, repoID int64) (int, error)
	RepairsSince(ctx context.Context, repoID int64, since time.Time) (int, error)
	RecentIncidents(ctx context.Context, installationID int64, since time.Time) (incidents, repos int, err error)
	Report(ctx context.Context, repoID, runID int64, attempt int) (domain.RunReport, bool, error)
	Switch(ctx context.Context, repoID int64) (domain.Switch, bool, error)
	// OutcomeCounts is how a rule's repairs by a strategy ended in a repository.
	OutcomeCounts(ctx context.Context, rule, strategy string, repoID int64) (domain.Record, error)
	AcquireLease(ctx context.Context, name, holder string, now time.Time, ttl time.Duration) (bool, error)
	ReleaseLease(ctx context.Context, name, holder string) error
}

// Timing is how long repair waits for what. Production's values are in
// DefaultTiming; a demo on one machine shortens them.
type Timing struct {
	// Reruns are the waits before the first, second … rerun of transient failures.
	Reruns []time.Duration
	// Verdict is how long a run may take to appear before a repair is
	// unverifiable; Patience is how long a run that has begun may take.
	Verdict, Patience time.Duration
	// Soon is the wait before stored state is looked at again that another
	// function is about to write.
	Soon time.Duration
	// Outage is the wait before a plan that the outage guard held back is made
	// again.
	Outage time.Duration
}

// DefaultTiming is production's.
var DefaultTiming = Timing{
	Reruns:  []time.Duration{5 * time.Minute, 20 * time.Minute},
	Verdict: 30 * time.Minute, Patience: 24 * time.Hour,
	Soon: 5 * time.Second, Outage: 20 * time.Minute,
}

// Deps is what New needs.
type Deps struct {
	GitHub GitHub
	Store  Store
	Now    func() time.Time
	Logger *slog.Logger
	Timing Timing
}

// Function is the repair function.
type Function struct{ Deps }

// New makes the function.
func New(d Deps) *Function { return &Function{d} }

// Name is the function's name in routes.yaml.
func (*Function) Name() string { return "repair" }

// payload is the payload of all of repair's work: ids only.
type payload struct {
	InstallationID int64  `json:"installation_id,omitempty"`
	RepoID         int64  `json:"repo_id,omitempty"`
	IncidentID     string `json:"incident_id,omitempty"`
	RepairID       string `json:"repair_id,omitempty"`
	RunID          int64  `json:"run_id,omitempty"`
	Branch         string `json:"branch,omitempty"`
	Number         int    `json:"number,omitempty"`
	Command        string `json:"command,omitempty"`
	Sender         string `json:"sender,omitempty"`
}

// Handle turns an event into work.
func (f *Function) Handle(ctx context.Context, e cloudevents.Event) (domain.Outcome, error) {
	switch e.Type() {
	case events.TypeIncidentDetected:
		p, err := events.Decode[events.IncidentDetected](e)
		if err != nil {
			return domain.Outcome{}, err
		}
		return later(kindPlan, fmt.Sprintf("%s/%d/%d", p.IncidentID, p.RunID, p.RunAttempt), payload{InstallationID: p.InstallationID, IncidentID: p.IncidentID})
	case events.TypeRunCompleted:
		p, err := events.Decode[events.RunCompleted](e)
		if err != nil {
			return domain.Outcome{}, err
		}
		return f.handleRun(ctx, p)
	case events.TypePullRequestClosed:
		p, err := events.Decode[events.GitHub](e)
		if err != nil {
			return domain.Outcome{}, err
		}
		if !domain.OwnBranch(p.HeadBranch) {
			return domain.Outcome{}, nil
		}
		return later(kindPull, fmt.Sprintf("%d/%d", p.RepoID, p.Number), payload{InstallationID: p.InstallationID, RepoID: p.RepoID, Number: p.Number, Branch: p.HeadBranch})
	case events.TypeIssueCommentCreated:
		p, err := events.Decode[events.GitHub](e)
		if err != nil {
			return domain.Outcome{}, err
		}
		return f.handleComment(ctx, p)
	}
	return domain.Outcome{}, domain.Errorf(domain.Unsupported, "handle the event", "repair consumes no %s", e.Type())
}

// handleRun looks whether a completed run judges a repair of ours.
func (f *Function) handleRun(ctx context.Context, p events.RunCompleted) (domain.Outcome, error) {
	pl := payload{InstallationID: p.InstallationID, RepoID: p.RepoID, RunID: p.RunID}
	if domain.OwnBranch(p.HeadBranch) {
		pl.Branch = p.HeadBranch
		return later(kindJudge, fmt.Sprintf("%d/%s/%d/%d", p.RepoID, p.HeadSHA, p.RunID, p.RunAttempt), pl)
	}
	if p.RunAttempt == 1 {
		return domain.Outcome{}, nil // only a rerun can judge a rerun
	}
	reruns, err := f.Store.RepairsByRun(ctx, p.RepoID, p.RunID)
	if err != nil {
		return domain.Outcome{}, fmt.Errorf("look up the run's repairs: %w", err)
	}
	if len(reruns) == 0 {
		return domain.Outcome{}, nil
	}
	return later(kindJudge, fmt.Sprintf("%d/run/%d/%d", p.RepoID, p.RunID, p.RunAttempt), pl)
}

// handleComment takes a command to the bot. A stop holds at once, before it is
// known whether its author may ask for it.
func (f *Function) handleComment(ctx context.Context, p events.GitHub) (domain.Outcome, error) {
	verb, ok := commandVerb(p.Command)
	if !ok || strings.HasSuffix(p.Sender, "[bot]") {
		return domain.Outcome{}, nil
	}
	out, err := later(kindCommand, p.DeliveryID, payload{
		InstallationID: p.InstallationID, RepoID: p.RepoID, Number: p.Number, Command: p.Command, Sender: p.Sender,
	})
	if verb == "stop" {
		sw, set, err := f.Store.Switch(ctx, p.RepoID)
		if err != nil {
			return domain.Outcome{}, fmt.Errorf("read the kill switch: %w", err)
		}
		if set && sw.State == domain.SwitchStopped {
			return out, nil // a maintainer's stop isn't replaced by a question
		}
		out.Switches = []domain.Switch{{RepoID: p.RepoID, State: domain.SwitchUnchecked, By: p.Sender, At: f.Now()}}
	}
	return out, err
}

func newWork(kind, key string, at time.Time, p payload) (domain.Work, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return domain.Work{}, domain.Errorf(domain.Bug, "encode the work", "%w", err)
	}
	return domain.Work{Kind: kind, Key: key, NotBefore: at, Payload: b}, nil
}

func later(kind, key string, p payload) (domain.Outcome, error) {
	w, err := newWork(kind, key, time.Time{}, p)
	if err != nil {
		return domain.Outcome{}, err
	}
	return domain.Outcome{Later: []domain.Work{w}}, nil
}

// Work does one piece of work.
func (f *Function) Work(ctx context.Context, w domain.Work) (domain.Outcome, error) {
	var p payload
	if err := json.Unmarshal(w.Payload, &p); err != nil {
		return domain.Outcome{}, domain.Errorf(domain.Invalid, "decode the work", "%s %s: %w", w.Kind, w.Key, err)
	}
	out, err := f.do(ctx, w, p)
	if unchecked := (*uncheckedError)(nil); errors.As(err, &unchecked) {
		return domain.Outcome{Again: f.Now().Add(f.Timing.Soon)}, nil
	}
	if (w.Kind == kindPropose || w.Kind == kindRerun) && permanent(err) {
		// Buried work would leave the repair intended for ever, and its incident
		// waiting for it.
		r, _, done, rerr := f.intended(ctx, p.RepairID)
		if done || rerr != nil {
			return domain.Outcome{}, rerr
		}
		return f.refuseIntent(w, r, asRefusal(err), nil)
	}
	return out, err
}

func (f *Function) do(ctx context.Context, w domain.Work, p payload) (domain.Outcome, error) {
	switch w.Kind {
	case kindPlan:
		return f.plan(ctx, w, p)
	case kindPropose:
		return f.propose(ctx, w, p)
	case kindRerun:
		return f.rerun(ctx, w, p)
	case kindJudge:
		return f.judge(ctx, w, p)
	case kindDeadline:
		return f.deadline(ctx, w, p)
	case kindPull:
		return f.pullClosed(ctx, w, p)
	case kindEscalate:
		return f.escalate(ctx, w, p)
	case kindCommand:
		return f.command(ctx, p)
	}
	return domain.Outcome{}, domain.Errorf(domain.Invalid, "do the work", "repair knows no work of kind %q", w.Kind)
}

// cause makes an event's cause from the work that leads to it.
func (f *Function) cause(w domain.Work, repo domain.Repo, what string) events.Cause {
	return events.Cause{ID: what, Source: repo.HTMLURL, Time: f.Now(), TraceParent: w.TraceParent}
}

func repairData(r domain.Repair) events.Repair {
	return events.Repair{
		InstallationID: r.Repo.InstallationID, RepoID: r.Repo.ID, RepairID: r.ID, IncidentID: r.IncidentID,
		Strategy: r.Plan.Strategy, PullNumber: r.PullNumber,
	}
}

func (f *Function) audit(repo domain.Repo, actor, action, object, why string) domain.AuditEntry {
	return domain.AuditEntry{At: f.Now(), InstallationID: repo.InstallationID, RepoID: repo.ID, Actor: actor, Action: action, Object: object, Why: why}
}

// counted is the counter of repairs by where they came to.
func counted(r domain.Repair) domain.Count {
	return domain.Count{Name: "bot_repairs_attempted_total", Labels: map[string]string{"status": string(r.State)}, Add: 1}
}

package repair

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mlops-bot/mlops-bot/functions/repair/strategies"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
	"github.com/mlops-bot/mlops-bot/shared/policy"
)

// maxChain bounds how long a chain of incidents is followed to its root: each
// link needs a rejected attempt, of which there are at most MaxAttempts.
const maxChain = domain.MaxAttempts + 1

// plan decides on the next attempt for an incident and stores the intent. What
// is not done is stored as a refusal that people can read.
func (f *Function) plan(ctx context.Context, w domain.Work, p payload) (domain.Outcome, error) {
	inc, err := f.Store.Incident(ctx, p.IncidentID)
	if errors.Is(err, domain.ErrNotFound) {
		return domain.Outcome{}, nil // its installation was deleted
	} else if err != nil {
		return domain.Outcome{}, fmt.Errorf("read the incident: %w", err)
	}
	if inc.State != domain.IncidentOpen {
		return domain.Outcome{}, nil
	}
	// Caps are counted and the intent is stored under one lease per repository. The
	// runner gives it back after the commit.
	lease, holder := fmt.Sprintf("plan/%d", inc.Repo.ID), w.Holder()
	ok, err := f.Store.AcquireLease(ctx, lease, holder, f.Now(), leaseTTL)
	if err != nil {
		return domain.Outcome{}, fmt.Errorf("take the repository's lease: %w", err)
	}
	if !ok {
		return domain.Outcome{Again: f.Now().Add(f.Timing.Soon)}, nil
	}
	out, err := f.planHolding(ctx, w, inc)
	if err != nil {
		return domain.Outcome{}, errors.Join(err, f.Store.ReleaseLease(context.WithoutCancel(ctx), lease, holder))
	}
	out.Release = append(out.Release, domain.Lease{Name: lease, Holder: holder})
	return out, nil
}

// leaseTTL outlives the longest handler.
const leaseTTL = 330 * time.Second

// planner is one decision while it is made.
type planner struct {
	f        *Function
	work     domain.Work
	inc      domain.Incident
	root     string
	repairs  []domain.Repair // of the root's chain, oldest first
	previous domain.Repair   // the rejected repair that a chained incident stands on; zero for a root
	repo     domain.Repo
	policy   policy.Policy
	silent   bool // the policy wants no comments
	out      domain.Outcome
}

func (f *Function) planHolding(ctx context.Context, w domain.Work, inc domain.Incident) (domain.Outcome, error) {
	pl := &planner{f: f, work: w, inc: inc}
	if err := pl.load(ctx); err != nil {
		return domain.Outcome{}, err
	}
	if err := pl.markRegressions(ctx); err != nil {
		return domain.Outcome{}, err
	}
	for _, r := range pl.repairs {
		switch {
		case r.State.Live():
			return pl.out, nil // being tried
		case r.State == domain.RepairVerified && r.PullNumber != 0:
			return pl.out, nil // repaired, waiting to be merged
		}
	}
	if pl.inc.Finding.Remedy == domain.RemedyNone {
		return pl.out, nil
	}
	refusal, err := pl.attempt(ctx)
	var outage *outageError
	switch {
	case errors.As(err, &outage):
		pl.out.Again = f.Now().Add(f.Timing.Outage)
		return pl.out, nil
	case err != nil:
		return domain.Outcome{}, err
	case refusal != nil:
		return pl.refuse(refusal)
	}
	return pl.out, nil
}

// load reads what is stored about the incident's chain.
func (pl *planner) load(ctx context.Context) error {
	root := pl.inc
	for range maxChain {
		if root.ParentID == "" {
			break
		}
		parent, err := pl.f.Store.Incident(ctx, root.ParentID)
		if err != nil {
			return fmt.Errorf("read the parent incident: %w", err)
		}
		root = parent
	}
	pl.root = root.ID
	var err error
	if pl.repairs, err = pl.f.Store.RepairsOfRoot(ctx, pl.root); err != nil {
		return fmt.Errorf("list the repairs: %w", err)
	}
	if pl.inc.RepairID != "" {
		if pl.previous, err = pl.f.Store.Repair(ctx, pl.inc.RepairID); err != nil {
			return fmt.Errorf("read the previous repair: %w", err)
		}
	}
	return nil
}

// markRegressions records against a landed repair that its incident came back.
func (pl *planner) markRegressions(ctx context.Context) error {
	landed, err := pl.f.Store.LandedRepairs(ctx, pl.inc.Repo.ID, pl.inc.Branch, pl.f.Now().AddDate(0, 0, -domain.RegressionDays))
	if err != nil {
		return fmt.Errorf("list the landed repairs: %w", err)
	}
	for _, r := range landed {
		if r.IncidentID == pl.inc.ID {
			continue
		}
		old, err := pl.f.Store.Incident(ctx, r.IncidentID)
		if errors.Is(err, domain.ErrNotFound) {
			continue
		} else if err != nil {
			return fmt.Errorf("read the landed repair's incident: %w", err)
		}
		// The old incident is closed, or this would be it. Runs are compared by id:
		// their times have whole seconds, and a merge may be heard of late.
		if old.Fingerprint != pl.inc.Fingerprint || old.WorkflowPath != pl.inc.WorkflowPath || pl.inc.Run.ID <= old.Run.ID {
			continue
		}
		r.State, r.EndedAt = domain.RepairRegressed, pl.f.Now()
		pl.out.Repairs = append(pl.out.Repairs, r)
		pl.out.Counts = append(pl.out.Counts, counted(r))
		pl.out.Audit = append(pl.out.Audit, pl.f.audit(r.Repo, "repair", "repair.regressed", r.ID, "the same failure came back as "+pl.inc.ID))
	}
	return nil
}

// outageError says that a guard holds for a while, not for good.
type outageError struct{ incidents, repos int }

func (e *outageError) Error() string {
	return fmt.Sprintf("%d incidents in %d repositories of this installation within minutes: an outage", e.incidents, e.repos)
}

// attempt plans the next attempt and adds its intent to the outcome, or says why
// not.
func (pl *planner) attempt(ctx context.Context) (*domain.Refusal, error) {
	for _, guard := range []func(context.Context) (*domain.Refusal, error){
		pl.guardRepo, pl.guardSwitch, pl.guardPolicy, pl.guardForeign, pl.guardRemedy, pl.guardAttempts, pl.guardOutage, pl.guardCaps,
	} {
		if refusal, err := guard(ctx); refusal != nil || err != nil {
			return refusal, err
		}
	}
	base, tree, heads, refusal, err := pl.base(ctx)
	if refusal != nil || err != nil {
		return refusal, err
	}
	plan, refusal, err := pl.propose(ctx, tree)
	if refusal != nil || err != nil {
		return refusal, err
	}
	if refusal := pl.guardPlan(plan, tree, heads); refusal != nil {
		return refusal, nil
	}
	return nil, pl.intend(ctx, plan, base)
}

// base returns the commit to build on and the tree to plan on. For a pull_request
// run these differ: GitHub tested the merge commit, and the head is what can be
// patched. heads is the head's tree then, nil otherwise.
func (pl *planner) base(ctx context.Context) (sha string, tree, heads *repoTree, refusal *domain.Refusal, err error) {
	sha = pl.inc.Run.HeadSHA
	planSHA := sha
	if pl.previous.HeadSHA != "" {
		// A chained incident was seen on our own commit: the next one goes on top.
		sha, planSHA = pl.previous.HeadSHA, pl.previous.HeadSHA
	} else if pl.inc.Run.Event == "pull_request" && len(pl.inc.Run.PullRequests) > 0 {
		pull, err := pl.f.GitHub.Pull(ctx, pl.repo, pl.inc.Run.PullRequests[0])
		if err != nil && !errors.Is(err, domain.ErrNotFound) {
			return "", nil, nil, nil, fmt.Errorf("read the pull request: %w", err)
		}
		if err == nil && pull.State == "open" && pull.HeadSHA == sha && pull.MergeSHA != "" {
			planSHA = pull.MergeSHA
		}
	}
	tree, err = newRepoTree(ctx, pl.f.GitHub, pl.repo, planSHA)
	if errors.Is(err, domain.ErrNotFound) {
		return "", nil, nil, domain.Refuse(domain.RefusedUnavailable, "the commit %s that failed is no longer there", short(planSHA)), nil
	}
	if domain.KindOf(err) == domain.Unsupported {
		return "", nil, nil, domain.Refuse(domain.RefusedNoChange, "the repository's tree is too large to be listed whole"), nil
	}
	if err != nil {
		return "", nil, nil, nil, err
	}
	if planSHA != sha {
		if heads, err = newRepoTree(ctx, pl.f.GitHub, pl.repo, sha); err != nil {
			return "", nil, nil, nil, err
		}
	}
	return sha, tree, heads, nil, nil
}

// propose asks the strategies in the order of their record, without those that
// were tried.
func (pl *planner) propose(ctx context.Context, tree strategies.Tree) (domain.Plan, *domain.Refusal, error) {
	candidates := strategies.ForFinding(pl.inc.Finding)
	if len(candidates) == 0 {
		return domain.Plan{}, domain.Refuse(domain.RefusedNoStrategy, "no strategy answers %s yet", pl.inc.Finding.Category), nil
	}
	score := map[string]float64{}
	for _, s := range candidates {
		record, err := pl.f.Store.OutcomeCounts(ctx, pl.inc.Finding.Rule, s.ID(), pl.repo.ID)
		if err != nil {
			return domain.Plan{}, nil, fmt.Errorf("read the strategy's record: %w", err)
		}
		score[s.ID()] = record.Score()
	}
	slices.SortStableFunc(candidates, func(a, b strategies.Strategy) int { return cmp.Compare(score[b.ID()], score[a.ID()]) })
	var order []strategies.Strategy
	refusal := domain.Refuse(domain.RefusedNoStrategy, "every strategy for %s was tried", pl.inc.Finding.Category)
	for _, s := range candidates {
		if pl.tried(s.ID()) {
			continue
		}
		if forbidden := pl.policy.AllowsStrategy(s.ID()); forbidden != nil {
			refusal = forbidden
			continue
		}
		order = append(order, s)
	}
	if len(order) == 0 {
		return domain.Plan{}, refusal, nil
	}
	plan, err := strategies.Propose(ctx, tree, pl.inc.Finding, order...)
	if refused, ok := errors.AsType[*domain.Refusal](err); ok {
		return domain.Plan{}, refused, nil
	} else if err != nil {
		return domain.Plan{}, nil, fmt.Errorf("plan the repair: %w", err)
	}
	// What is stored is shown to people, who read lines.
	for i, e := range plan.Edits {
		content, err := tree.ReadFile(ctx, e.Path)
		if err != nil {
			return domain.Plan{}, nil, fmt.Errorf("read what is edited: %w", err)
		}
		if plan.Edits[i], err = e.WholeLines(content); err != nil {
			return domain.Plan{}, nil, err
		}
	}
	return plan, nil, nil
}

// tried reports whether a strategy was rejected for this very incident. Reruns
// may be tried again: guardPlan counts them.
func (pl *planner) tried(strategy string) bool {
	return slices.ContainsFunc(pl.repairs, func(r domain.Repair) bool {
		return r.IncidentID == pl.inc.ID && r.Plan.Strategy == strategy && r.Plan.Action != domain.ActionRerun &&
			(r.State == domain.RepairRejected || r.State == domain.RepairClosed || r.State == domain.RepairUnverifiable)
	})
}

// intend adds the attempt to the outcome: the intent that is committed before
// anything happens.
func (pl *planner) intend(ctx context.Context, plan domain.Plan, baseSHA string) error {
	f, now := pl.f, pl.f.Now()
	// Two branches at one commit are two failures: a fix of one mends only it.
	key := domain.Hash(plan.Key(baseSHA), pl.inc.Branch)[:32]
	if plan.Action == domain.ActionRerun {
		key = domain.Hash(key, fmt.Sprint(pl.inc.Run.ID), fmt.Sprint(pl.inc.Run.Attempt))[:32]
	}
	twin, found, err := f.Store.RepairByPlanKey(ctx, pl.repo.ID, key)
	if err != nil {
		return fmt.Errorf("look up an equal repair: %w", err)
	}
	if found {
		pl.out.Audit = append(pl.out.Audit, f.audit(pl.repo, "repair", "repair.shared", pl.inc.ID, "the same change is already repair "+twin.ID))
		return nil
	}
	attempt := len(pl.repairs) + 1
	r := domain.Repair{
		ID: domain.RepairID(pl.root, attempt), State: domain.RepairIntended, IncidentID: pl.inc.ID, Root: pl.root, Repo: pl.repo,
		Attempt: attempt, Plan: plan, PlanKey: key, Rule: pl.inc.Finding.Rule,
		BaseBranch: pl.inc.Branch, BaseSHA: baseSHA, CreatedAt: now, Silent: pl.silent,
	}
	kind, due := kindPropose, time.Time{}
	switch plan.Action {
	case domain.ActionRerun:
		kind = kindRerun
		r.RunID, r.RunAttempt, r.HeadSHA = pl.inc.Run.ID, pl.inc.Run.Attempt+1, pl.inc.Run.HeadSHA
		due = now.Add(f.Timing.Reruns[min(pl.reruns(), len(f.Timing.Reruns)-1)])
	default:
		r.Branch = domain.BranchName(pl.root, attempt)
		r.Draft = pl.policy.Mode != domain.ModeHeal || pl.policy.NeedsApproval(plan.Strategy)
		r.Labels = pl.policy.Labels
		for _, old := range pl.repairs {
			if old.PullNumber != 0 && old.State == domain.RepairRejected {
				r.Supersedes = old.PullNumber
			}
		}
	}
	work, err := newWork(kind, r.ID, due, payload{InstallationID: r.Repo.InstallationID, RepairID: r.ID})
	if err != nil {
		return err
	}
	pl.out.Repairs = append(pl.out.Repairs, r)
	pl.out.Later = append(pl.out.Later, work)
	pl.out.Counts = append(pl.out.Counts, counted(r))
	pl.out.Audit = append(pl.out.Audit, f.audit(pl.repo, "repair", "repair.intended", r.ID, fmt.Sprintf("%s for %s", plan.Strategy, pl.inc.ID)))
	return nil
}

// refuse stores why nothing is done, once for each reason, and asks a person
// when attempts were made and none is left.
func (pl *planner) refuse(refusal *domain.Refusal) (domain.Outcome, error) {
	f := pl.f
	attempted := slices.ContainsFunc(pl.repairs, func(r domain.Repair) bool { return r.State != domain.RepairRefused })
	if attempted && finalRefusal(refusal.Code) {
		work, err := newWork(kindEscalate, pl.root, time.Time{}, payload{InstallationID: pl.inc.Repo.InstallationID, IncidentID: pl.inc.ID})
		if err != nil {
			return domain.Outcome{}, err
		}
		pl.out.Later = append(pl.out.Later, work)
	}
	for _, r := range pl.repairs {
		if r.State == domain.RepairRefused && r.IncidentID == pl.inc.ID && r.Refusal != nil && *r.Refusal == *refusal {
			return pl.out, nil // told already
		}
	}
	repo := pl.repo
	if repo.ID == 0 {
		repo = pl.inc.Repo
	}
	attempt := len(pl.repairs) + 1
	r := domain.Repair{
		ID: domain.RepairID(pl.root, attempt), State: domain.RepairRefused, IncidentID: pl.inc.ID, Root: pl.root, Repo: repo,
		Attempt: attempt, Rule: pl.inc.Finding.Rule, BaseBranch: pl.inc.Branch, Refusal: refusal, CreatedAt: f.Now(), EndedAt: f.Now(),
		Silent: pl.silent,
	}
	pl.out.Repairs = append(pl.out.Repairs, r)
	pl.out.Counts = append(pl.out.Counts, counted(r), domain.Count{Name: "bot_repairs_refused_total", Labels: map[string]string{"reason": string(refusal.Code)}, Add: 1})
	pl.out.Audit = append(pl.out.Audit, f.audit(repo, "repair", "repair.refused", r.ID, refusal.Error()))
	env, err := events.New(f.cause(pl.work, repo, r.ID+"/refused"), events.RepairAbandoned{Repair: repairData(r)})
	if err != nil {
		return domain.Outcome{}, err
	}
	pl.out.Events = append(pl.out.Events, env)
	return pl.out, nil
}

// finalRefusal reports whether a refusal after attempts means that the bot is at
// its end and a person has to be asked.
func finalRefusal(code domain.RefusalCode) bool {
	switch code {
	case domain.RefusedAttempts, domain.RefusedReruns, domain.RefusedNoStrategy, domain.RefusedNoChange, domain.RefusedHuman, domain.RefusedBadEdit:
		return true
	default:
		return false
	}
}

// short is a commit's SHA as people write it.
func short(sha string) string { return sha[:min(len(sha), 7)] }

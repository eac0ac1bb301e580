package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mlops-bot/mlops-bot/functions/repair/strategies"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/policy"
)

const (
	// policyPath is read from the default branch, never from the failing one: who
	// can push a branch must not be able to loosen the rules.
	policyPath     = ".github/mlops-bot.yml"
	maxPolicyBytes = 64 << 10

	// The outage guard: this many incidents in this many repositories of one
	// installation within the window are nobody's own fault.
	outageWindow    = 10 * time.Minute
	outageIncidents = 12
	outageRepos     = 4
)

// guardForeign refuses branches that belong to somebody who wouldn't want a pull
// request: forks, merge queues and other bots.
func (pl *planner) guardForeign(context.Context) (*domain.Refusal, error) {
	run := pl.inc.Run
	if pl.previous.ID == "" && run.HeadRepoID != pl.inc.Repo.ID {
		return domain.Refuse(domain.RefusedFork, "the failing branch is in a fork, where the bot never pushes"), nil
	}
	branch := pl.inc.Branch
	for _, prefix := range []string{"gh-readonly-queue/", "dependabot/", "renovate/"} {
		if strings.HasPrefix(branch, prefix) {
			return domain.Refuse(domain.RefusedBranchOwner, "%s* branches are another tool's: observed only", prefix), nil
		}
	}
	if run.Event == "merge_group" {
		return domain.Refuse(domain.RefusedBranchOwner, "merge queue runs are observed only"), nil
	}
	return nil, nil
}

// guardRepo resolves the repository's present name and refuses what can't be
// written to.
func (pl *planner) guardRepo(ctx context.Context) (*domain.Refusal, error) {
	repo, err := pl.f.GitHub.Repo(ctx, pl.inc.Repo.InstallationID, pl.inc.Repo.ID)
	if errors.Is(err, domain.ErrNotFound) || domain.KindOf(err) == domain.Denied {
		return domain.Refuse(domain.RefusedUnavailable, "the repository is gone, or the App may no longer see it"), nil
	} else if err != nil {
		return nil, fmt.Errorf("read the repository: %w", err)
	}
	pl.repo = repo
	if repo.Archived {
		return domain.Refuse(domain.RefusedArchived, "the repository is archived"), nil
	}
	return nil, nil
}

func (pl *planner) guardSwitch(ctx context.Context) (*domain.Refusal, error) {
	return pl.f.stopped(ctx, pl.repo.ID)
}

// uncheckedError says that somebody asked the bot to stop and it isn't known yet
// whether they may: nothing is done until it is, and nothing is refused for good,
// since anybody can write a comment.
type uncheckedError struct{ by string }

func (e *uncheckedError) Error() string {
	return fmt.Sprintf("@%s asked the bot to stop, and it isn't known yet whether they may", e.by)
}

// stopped reads the kill switch of a repository; an *uncheckedError is a reason to
// look again.
func (f *Function) stopped(ctx context.Context, repoID int64) (*domain.Refusal, error) {
	sw, found, err := f.Store.Switch(ctx, repoID)
	if err != nil {
		return nil, fmt.Errorf("read the kill switch: %w", err)
	}
	if !found || sw.State == "" {
		return nil, nil
	}
	if sw.State == domain.SwitchUnchecked {
		return nil, &uncheckedError{sw.By}
	}
	return domain.Refuse(domain.RefusedStopped, "@%s stopped the bot here; `/mlops-bot resume` from a maintainer starts it again", sw.By), nil
}

// guardPolicy reads the policy and refuses what its mode or its branches forbid.
func (pl *planner) guardPolicy(ctx context.Context) (*domain.Refusal, error) {
	p, refusal, err := pl.f.readPolicy(ctx, pl.repo)
	if refusal != nil || err != nil {
		return refusal, err
	}
	pl.policy, pl.silent = p, !p.Notify.Comment
	if refusal := observesOnly(p); refusal != nil {
		return refusal, nil
	}
	return p.AllowsBranch(pl.inc.Branch), nil
}

// observesOnly refuses every repair where the policy wants none.
func observesOnly(p policy.Policy) *domain.Refusal {
	if !p.Enabled {
		return domain.Refuse(domain.RefusedPolicy, "%s has `enabled: false`", policyPath)
	}
	if p.Mode == domain.ModeObserve {
		return domain.Refuse(domain.RefusedMode, "%s has `mode: observe`: diagnoses only", policyPath)
	}
	return nil
}

// forbidden reads the policy anew and refuses where it wants no repairs (any
// more).
func (f *Function) forbidden(ctx context.Context, repo domain.Repo) (*domain.Refusal, error) {
	p, refusal, err := f.readPolicy(ctx, repo)
	if refusal != nil || err != nil {
		return refusal, err
	}
	return observesOnly(p), nil
}

// readPolicy reads the policy of the default branch. A missing file is the
// default policy; an invalid one means observing only.
func (f *Function) readPolicy(ctx context.Context, repo domain.Repo) (policy.Policy, *domain.Refusal, error) {
	b, err := f.GitHub.File(ctx, repo, repo.DefaultBranch, policyPath, maxPolicyBytes)
	switch {
	case errors.Is(err, domain.ErrNotFound):
		return policy.Default(), nil, nil
	case errors.Is(err, domain.ErrTooLarge):
		return policy.Policy{}, domain.Refuse(domain.RefusedBadPolicy, "%s is larger than %d KiB: the bot only observes until it is mended", policyPath, maxPolicyBytes>>10), nil
	case domain.KindOf(err) == domain.Unsupported:
		return policy.Policy{}, domain.Refuse(domain.RefusedBadPolicy, "%s is no file: the bot only observes until it is one", policyPath), nil
	case err != nil:
		return policy.Policy{}, nil, fmt.Errorf("read the policy: %w", err)
	}
	p, err := policy.Parse(b, strategies.IDs()...)
	if err != nil {
		return policy.Policy{}, domain.Refuse(domain.RefusedBadPolicy, "%s is invalid, so the bot only observes until it is mended: %v", policyPath, err), nil
	}
	return p, nil, nil
}

func (pl *planner) guardRemedy(context.Context) (*domain.Refusal, error) {
	finding := pl.inc.Finding
	switch {
	case finding.Category == domain.Unknown:
		return domain.Refuse(domain.RefusedHuman, "the log does not show the cause, and the bot does not guess"), nil
	case finding.Remedy == domain.RemedyHuman:
		return domain.Refuse(domain.RefusedHuman, "%s is for a person to decide", finding.Category), nil
	}
	return nil, nil
}

// guardAttempts stops after MaxAttempts rejected repairs of one chain.
func (pl *planner) guardAttempts(context.Context) (*domain.Refusal, error) {
	rejected := 0
	for _, r := range pl.repairs {
		switch r.State {
		case domain.RepairRejected, domain.RepairUnverifiable:
			if r.Plan.Action != domain.ActionRerun {
				rejected++
			}
		case domain.RepairClosed:
			return domain.Refuse(domain.RefusedHuman, "a person closed pull request #%d, so the bot leaves this incident to people", r.PullNumber), nil
		default:
		}
	}
	if rejected >= domain.MaxAttempts {
		return domain.Refuse(domain.RefusedAttempts, "%d attempts were made and none turned it green", rejected), nil
	}
	return nil, nil
}

// reruns counts the reruns that were asked for in this chain.
func (pl *planner) reruns() int {
	n := 0
	for _, r := range pl.repairs {
		if r.Plan.Action == domain.ActionRerun && r.State != domain.RepairRefused {
			n++
		}
	}
	return n
}

func (pl *planner) guardOutage(ctx context.Context) (*domain.Refusal, error) {
	incidents, repos, err := pl.f.Store.RecentIncidents(ctx, pl.repo.InstallationID, pl.f.Now().Add(-outageWindow))
	if err != nil {
		return nil, fmt.Errorf("count recent incidents: %w", err)
	}
	if incidents >= outageIncidents && repos >= outageRepos {
		return nil, &outageError{incidents, repos}
	}
	return nil, nil
}

// guardCaps keeps the bot from flooding a repository. The caller holds the
// repository's lease, so that two plans can't both take the last place.
func (pl *planner) guardCaps(ctx context.Context) (*domain.Refusal, error) {
	open, err := pl.f.Store.OpenPulls(ctx, pl.repo.ID)
	if err != nil {
		return nil, fmt.Errorf("count open pull requests: %w", err)
	}
	if open >= pl.policy.MaxOpenPulls {
		return domain.Refuse(domain.RefusedOpenPulls, "%d pull requests of the bot are open, which is the policy's limit: merge or close one", open), nil
	}
	today, err := pl.f.Store.RepairsSince(ctx, pl.repo.ID, pl.f.Now().Add(-24*time.Hour))
	if err != nil {
		return nil, fmt.Errorf("count today's repairs: %w", err)
	}
	if today >= pl.policy.MaxRepairsPerDay {
		return domain.Refuse(domain.RefusedDaily, "%d repairs were begun within 24 hours, which is the policy's limit", today), nil
	}
	return nil, nil
}

// guardPlan checks the plan itself: paths, and that the files to change are the
// same where the failure was seen and where the change goes.
func (pl *planner) guardPlan(plan domain.Plan, tree, heads *repoTree) *domain.Refusal {
	if plan.Action == domain.ActionRerun {
		if limit := min(pl.policy.Reruns, len(pl.f.Timing.Reruns)); pl.reruns() >= limit {
			return domain.Refuse(domain.RefusedReruns, "the failed jobs were run again %d times already", pl.reruns())
		}
		return nil
	}
	if len(plan.Edits) == 0 {
		return domain.Refuse(domain.RefusedNoChange, "the plan changes nothing")
	}
	for _, e := range plan.Edits {
		if err := domain.CheckPath(e.Path); err != nil {
			return domain.Refuse(domain.RefusedPolicy, "%v", err)
		}
		if refusal := pl.policy.AllowsPath(e.Path); refusal != nil {
			return refusal
		}
		entry, ok := tree.entry(e.Path)
		if !ok || !slices.Contains([]string{"100644", "100755"}, entry.Mode) {
			return domain.Refuse(domain.RefusedNoChange, "%s is no regular file", e.Path)
		}
		if heads != nil {
			if at, ok := heads.entry(e.Path); !ok || at.SHA != entry.SHA {
				return domain.Refuse(domain.RefusedBranchMoved, "%s differs between the merge that was tested and the branch: update the branch first", e.Path)
			}
		}
	}
	return nil
}

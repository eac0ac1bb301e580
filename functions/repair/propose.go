package repair

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
)

// propose carries out a stored intent: branch, commit, pull request, labels. It
// may be entered again after a crash at any point; each step looks first.
func (f *Function) propose(ctx context.Context, w domain.Work, p payload) (domain.Outcome, error) {
	r, inc, done, err := f.intended(ctx, p.RepairID)
	if done || err != nil {
		return domain.Outcome{}, err
	}
	repo, out, err := f.writable(ctx, w, r)
	if err != nil || out != nil {
		return value(out), err
	}
	r.Repo = repo

	pull, found, err := f.GitHub.PullByHead(ctx, repo, r.Branch)
	if err != nil {
		return domain.Outcome{}, fmt.Errorf("look for the pull request: %w", err)
	}
	if found {
		refusal, err := f.adopt(ctx, &r, pull)
		if err != nil || refusal != nil {
			return f.refuseIntent(w, r, refusal, err)
		}
	} else {
		if inc.State == domain.IncidentResolved {
			return f.refuseIntent(w, r, resolvedMeanwhile(), nil)
		}
		refusal, err := f.ensureBranch(ctx, &r, inc)
		if err != nil || refusal != nil {
			return f.refuseIntent(w, r, refusal, err)
		}
		if pull, err = f.ensurePull(ctx, r, inc); err != nil {
			refusal := asRefusal(err)
			return f.refuseIntent(w, r, refusal, err)
		}
	}
	if len(r.Labels) > 0 {
		if err := f.GitHub.AddLabels(ctx, repo, pull.Number, r.Labels); err != nil && !permanent(err) {
			return domain.Outcome{}, fmt.Errorf("label the pull request: %w", err)
		}
	}
	if r.Supersedes != 0 {
		if err := f.GitHub.ClosePull(ctx, repo, r.Supersedes); err != nil && !permanent(err) {
			return domain.Outcome{}, fmt.Errorf("close the superseded pull request: %w", err)
		}
	}
	r.PullNumber, r.PullURL, r.Draft = pull.Number, pull.HTMLURL, pull.Draft
	return f.proposed(w, r, r.PullURL)
}

// adopt takes over the pull request that is there already, if its commit is the
// one that this repair makes.
func (f *Function) adopt(ctx context.Context, r *domain.Repair, pull domain.Pull) (*domain.Refusal, error) {
	files, refusal, err := f.editedFiles(ctx, *r)
	if refusal != nil || err != nil {
		return refusal, err
	}
	ours, err := f.holds(ctx, *r, pull.HeadSHA, files)
	if err != nil {
		return nil, err
	}
	if !ours {
		return domain.Refuse(domain.RefusedBranchTaken, "pull request #%d from %s holds something else than this repair", pull.Number, r.Branch), nil
	}
	r.HeadSHA = pull.HeadSHA
	return nil, nil
}

// resolvedMeanwhile refuses what nobody needs any more.
func resolvedMeanwhile() *domain.Refusal {
	return domain.Refuse(domain.RefusedBranchMoved, "what failed is green again")
}

// value is *out, or nothing.
func value(out *domain.Outcome) domain.Outcome {
	if out == nil {
		return domain.Outcome{}
	}
	return *out
}

// permanent reports whether trying again can't help.
func permanent(err error) bool {
	switch domain.KindOf(err) {
	case domain.Invalid, domain.Denied, domain.Unsupported:
		return true
	default:
		return false
	}
}

// intended reads a repair that is to be carried out; done when it already was.
func (f *Function) intended(ctx context.Context, id string) (domain.Repair, domain.Incident, bool, error) {
	r, err := f.Store.Repair(ctx, id)
	if errors.Is(err, domain.ErrNotFound) {
		return r, domain.Incident{}, true, nil // its installation was deleted
	} else if err != nil {
		return r, domain.Incident{}, false, fmt.Errorf("read the repair: %w", err)
	}
	if r.State != domain.RepairIntended {
		return r, domain.Incident{}, true, nil
	}
	inc, err := f.Store.Incident(ctx, r.IncidentID)
	if err != nil {
		return r, inc, false, fmt.Errorf("read the incident: %w", err)
	}
	return r, inc, false, nil
}

// writable resolves the repository's present name and asks the kill switch and
// the policy once more, right before the effects: they may have changed while the
// intent waited. A non-nil outcome ends the attempt.
func (f *Function) writable(ctx context.Context, w domain.Work, r domain.Repair) (domain.Repo, *domain.Outcome, error) {
	var refusal *domain.Refusal
	repo, err := f.GitHub.Repo(ctx, r.Repo.InstallationID, r.Repo.ID)
	if errors.Is(err, domain.ErrNotFound) || domain.KindOf(err) == domain.Denied {
		refusal = domain.Refuse(domain.RefusedUnavailable, "the repository is gone, or the App may no longer see it")
	} else if err != nil {
		return repo, nil, fmt.Errorf("read the repository: %w", err)
	} else if refusal, err = f.stopped(ctx, r.Repo.ID); err != nil {
		return repo, nil, err
	} else if refusal == nil {
		if refusal, err = f.forbidden(ctx, repo); err != nil {
			return repo, nil, err
		}
	}
	if refusal == nil {
		return repo, nil, nil
	}
	out, err := f.refuseIntent(w, r, refusal, nil)
	return repo, &out, err
}

// refuseIntent ends an attempt with a refusal, or returns the error that isn't
// one.
func (f *Function) refuseIntent(w domain.Work, r domain.Repair, refusal *domain.Refusal, err error) (domain.Outcome, error) {
	if refusal == nil {
		return domain.Outcome{}, err
	}
	r.State, r.Refusal, r.EndedAt = domain.RepairRefused, refusal, f.Now()
	env, err := events.New(f.cause(w, r.Repo, r.ID+"/refused"), events.RepairAbandoned{Repair: repairData(r)})
	if err != nil {
		return domain.Outcome{}, err
	}
	return domain.Outcome{
		Repairs: []domain.Repair{r}, Events: []domain.Envelope{env},
		Counts: []domain.Count{counted(r), {Name: "bot_repairs_refused_total", Labels: map[string]string{"reason": string(refusal.Code)}, Add: 1}},
		Audit:  []domain.AuditEntry{f.audit(r.Repo, "repair", "repair.refused", r.ID, refusal.Error())},
	}, nil
}

// asRefusal turns the permanent answers of GitHub to a write into refusals; nil
// for what may pass.
func asRefusal(err error) *domain.Refusal {
	switch domain.KindOf(err) {
	case domain.Denied:
		return domain.Refuse(domain.RefusedPermission, "GitHub refused: %v. Grant the App what it asks for (`mlops-bot doctor` lists it), or leave this repair to a person", err)
	case domain.Invalid, domain.Unsupported:
		return domain.Refuse(domain.RefusedUnavailable, "GitHub refused: %v", err)
	default:
		return nil
	}
}

// ensureBranch makes the repair's branch with its one commit, or adopts the one
// that is there. HeadSHA is set.
func (f *Function) ensureBranch(ctx context.Context, r *domain.Repair, inc domain.Incident) (*domain.Refusal, error) {
	files, refusal, err := f.editedFiles(ctx, *r)
	if refusal != nil || err != nil {
		return refusal, err
	}
	sha, _, err := f.GitHub.BranchSHA(ctx, r.Repo, r.Branch)
	switch {
	case err == nil:
		ours, err := f.holds(ctx, *r, sha, files)
		if err != nil {
			return nil, err
		}
		if !ours {
			return domain.Refuse(domain.RefusedBranchTaken, "a branch %s exists and holds something else: delete it to let the bot try", r.Branch), nil
		}
		r.HeadSHA = sha
		return nil, nil
	case !errors.Is(err, domain.ErrNotFound):
		return nil, fmt.Errorf("look for the branch: %w", err)
	}
	if refusal, err := f.guardMoved(ctx, *r); refusal != nil || err != nil {
		return refusal, err
	}
	sha, err = f.GitHub.CommitFiles(ctx, r.Repo, domain.CommitRequest{BaseSHA: r.BaseSHA, Message: commitMessage(*r, inc), Files: files})
	if err != nil {
		return asRefusal(err), fmt.Errorf("commit: %w", err)
	}
	touches := slices.ContainsFunc(files, func(fl domain.File) bool { return domain.IsWorkflowPath(fl.Path) })
	err = f.GitHub.CreateBranch(ctx, r.Repo, domain.NewBranch{Name: r.Branch, SHA: sha, TouchesWorkflows: touches})
	if errors.Is(err, domain.ErrExists) {
		// Created between our look and now: look again at the next try.
		return nil, domain.Errorf(domain.Transient, "create the branch", "%s appeared meanwhile: %w", r.Branch, err)
	} else if err != nil {
		return asRefusal(err), fmt.Errorf("create the branch: %w", err)
	}
	r.HeadSHA = sha
	return nil, nil
}

// editedFiles applies the plan's edits to the files of the base commit.
func (f *Function) editedFiles(ctx context.Context, r domain.Repair) ([]domain.File, *domain.Refusal, error) {
	tree, err := newRepoTree(ctx, f.GitHub, r.Repo, r.BaseSHA)
	if err != nil {
		return nil, nil, err
	}
	files := make([]domain.File, 0, len(r.Plan.Edits))
	for _, e := range r.Plan.Edits {
		entry, ok := tree.entry(e.Path)
		if !ok {
			return nil, domain.Refuse(domain.RefusedBranchMoved, "%s is not in commit %s", e.Path, short(r.BaseSHA)), nil
		}
		before, err := tree.ReadFile(ctx, e.Path)
		if err != nil {
			return nil, nil, err
		}
		after, err := e.Apply(before)
		if err != nil {
			return nil, domain.Refuse(domain.RefusedBranchMoved, "%v", err), nil
		}
		files = append(files, domain.File{Path: e.Path, Mode: entry.Mode, Content: after})
	}
	return files, nil, nil
}

// holds reports whether sha is a commit of this repair's: on its base, with its
// files.
func (f *Function) holds(ctx context.Context, r domain.Repair, sha string, files []domain.File) (bool, error) {
	commit, err := f.GitHub.Commit(ctx, r.Repo, sha)
	if err != nil {
		return false, fmt.Errorf("read the branch's commit: %w", err)
	}
	if !slices.Equal(commit.Parents, []string{r.BaseSHA}) {
		return false, nil
	}
	tree, err := newRepoTree(ctx, f.GitHub, r.Repo, sha)
	if err != nil {
		return false, err
	}
	for _, fl := range files {
		got, err := tree.ReadFile(ctx, fl.Path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, domain.ErrTooLarge) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		if !bytes.Equal(got, fl.Content) {
			return false, nil
		}
	}
	return true, nil
}

// guardMoved refuses when the failing branch has moved on and the files to edit
// are no longer what they were: the fix may be there already, or would conflict.
func (f *Function) guardMoved(ctx context.Context, r domain.Repair) (*domain.Refusal, error) {
	sha, _, err := f.GitHub.BranchSHA(ctx, r.Repo, r.BaseBranch)
	if errors.Is(err, domain.ErrNotFound) {
		return domain.Refuse(domain.RefusedBranchMoved, "the branch %s is gone", r.BaseBranch), nil
	} else if err != nil {
		return nil, fmt.Errorf("read the failing branch: %w", err)
	}
	if sha == r.BaseSHA || r.IncidentID != r.Root {
		return nil, nil // a chained repair stands on our own commit
	}
	then, err := newRepoTree(ctx, f.GitHub, r.Repo, r.BaseSHA)
	if err != nil {
		return nil, err
	}
	now, err := newRepoTree(ctx, f.GitHub, r.Repo, sha)
	if err != nil {
		return nil, err
	}
	for _, e := range r.Plan.Edits {
		a, _ := then.entry(e.Path)
		b, _ := now.entry(e.Path)
		if a.SHA != b.SHA {
			return domain.Refuse(domain.RefusedBranchMoved, "%s changed on %s since the run that failed: the next run will tell whether it is still broken", e.Path, r.BaseBranch), nil
		}
	}
	return nil, nil
}

// ensurePull opens the pull request or adopts the one that is there.
func (f *Function) ensurePull(ctx context.Context, r domain.Repair, inc domain.Incident) (domain.Pull, error) {
	ask := domain.NewPull{Title: r.Plan.Title, Body: pullBody(r, inc), Head: r.Branch, Base: r.BaseBranch, Draft: r.Draft}
	pull, err := f.GitHub.OpenPull(ctx, r.Repo, ask)
	if ask.Draft && domain.KindOf(err) == domain.Unsupported {
		// Not every plan of GitHub's has drafts. A pull request merges nothing by
		// itself, so it may be a ready one.
		r.Draft, ask.Draft = false, false
		ask.Body = pullBody(r, inc)
		pull, err = f.GitHub.OpenPull(ctx, r.Repo, ask)
	}
	if !errors.Is(err, domain.ErrExists) {
		return pull, err
	}
	pull, found, err := f.GitHub.PullByHead(ctx, r.Repo, r.Branch)
	if err == nil && !found {
		err = domain.Errorf(domain.Transient, "open the pull request", "GitHub says that one exists for %s and lists none", r.Branch)
	}
	return pull, err
}

// rerun asks GitHub to run the failed jobs again, unless somebody already has.
func (f *Function) rerun(ctx context.Context, w domain.Work, p payload) (domain.Outcome, error) {
	r, inc, done, err := f.intended(ctx, p.RepairID)
	if done || err != nil {
		return domain.Outcome{}, err
	}
	repo, out, err := f.writable(ctx, w, r)
	if err != nil || out != nil {
		return value(out), err
	}
	r.Repo = repo
	run, err := f.GitHub.Run(ctx, repo, r.RunID, 0)
	if errors.Is(err, domain.ErrNotFound) {
		return f.refuseIntent(w, r, domain.Refuse(domain.RefusedUnavailable, "the run %d is no longer there", r.RunID), nil)
	} else if err != nil {
		return domain.Outcome{}, fmt.Errorf("read the run: %w", err)
	}
	if run.Attempt < r.RunAttempt {
		// A run of an older commit may deploy it over a newer one.
		refusal, err := f.guardRerun(ctx, r, inc)
		if err != nil || refusal != nil {
			return f.refuseIntent(w, r, refusal, err)
		}
		err = f.GitHub.RerunFailedJobs(ctx, repo, r.RunID)
		if errors.Is(err, domain.ErrExists) {
			return domain.Outcome{Again: f.Now().Add(f.Timing.Soon)}, nil // somebody did just now
		}
		if err != nil {
			if refusal := asRefusal(err); refusal != nil {
				return f.refuseIntent(w, r, refusal, nil)
			}
			return domain.Outcome{}, fmt.Errorf("rerun the failed jobs: %w", err)
		}
	}
	return f.proposed(w, r, run.HTMLURL)
}

// guardRerun refuses to run again what nobody waits for: the failure is gone, or
// the branch has moved on.
func (f *Function) guardRerun(ctx context.Context, r domain.Repair, inc domain.Incident) (*domain.Refusal, error) {
	if inc.State == domain.IncidentResolved {
		return resolvedMeanwhile(), nil
	}
	sha, _, err := f.GitHub.BranchSHA(ctx, r.Repo, r.BaseBranch)
	if errors.Is(err, domain.ErrNotFound) {
		return domain.Refuse(domain.RefusedBranchMoved, "the branch %s is gone", r.BaseBranch), nil
	} else if err != nil {
		return nil, fmt.Errorf("read the failing branch: %w", err)
	}
	if sha != r.HeadSHA {
		return domain.Refuse(domain.RefusedBranchMoved, "%s has moved on to %s, and its own run will tell", r.BaseBranch, short(sha)), nil
	}
	return nil, nil
}

// proposed is the outcome of a repair whose effects are there.
func (f *Function) proposed(w domain.Work, r domain.Repair, object string) (domain.Outcome, error) {
	r.State, r.ProposedAt = domain.RepairProposed, f.Now()
	env, err := events.New(f.cause(w, r.Repo, r.ID+"/proposed"), events.RepairProposed{Repair: repairData(r)})
	if err != nil {
		return domain.Outcome{}, err
	}
	deadline, err := newWork(kindDeadline, r.ID, f.Now().Add(f.Timing.Verdict), payload{InstallationID: r.Repo.InstallationID, RepairID: r.ID})
	if err != nil {
		return domain.Outcome{}, err
	}
	// Its run may have ended before this was stored.
	judge, err := newWork(kindJudge, r.ID, time.Time{}, payload{InstallationID: r.Repo.InstallationID, RepoID: r.Repo.ID, RunID: r.RunID, Branch: r.Branch})
	if err != nil {
		return domain.Outcome{}, err
	}
	action := "pull_request.opened"
	if r.Plan.Action == domain.ActionRerun {
		action = "run.rerun"
	}
	return domain.Outcome{
		Repairs: []domain.Repair{r}, Events: []domain.Envelope{env}, Later: []domain.Work{deadline, judge},
		Counts: []domain.Count{counted(r)},
		Audit:  []domain.AuditEntry{f.audit(r.Repo, "repair", action, r.ID, r.Plan.Title+": "+object)},
	}, nil
}

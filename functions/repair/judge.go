package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
)

// judge reads the verdict on a repair from the reports of its runs. Every run of
// the incident's workflow on our commit has to end before there is one: the push
// and the pull_request run of one fix are one verdict.
func (f *Function) judge(ctx context.Context, w domain.Work, p payload) (domain.Outcome, error) {
	r, found, err := f.judged(ctx, p)
	if err != nil || !found {
		return domain.Outcome{}, err
	}
	switch r.State {
	case domain.RepairIntended:
		// Its run ended before "proposed" was stored, or its effects are not done.
		return f.lookAgain(w), nil
	case domain.RepairProposed, domain.RepairUnverifiable, domain.RepairRejected, domain.RepairVerified:
	default:
		return domain.Outcome{}, nil
	}
	inc, err := f.Store.Incident(ctx, r.IncidentID)
	if err != nil {
		return domain.Outcome{}, fmt.Errorf("read the incident: %w", err)
	}
	repo, err := f.GitHub.Repo(ctx, r.Repo.InstallationID, r.Repo.ID)
	if errors.Is(err, domain.ErrNotFound) || domain.KindOf(err) == domain.Denied {
		return domain.Outcome{}, nil
	} else if err != nil {
		return domain.Outcome{}, fmt.Errorf("read the repository: %w", err)
	}
	runs, err := f.proofRuns(ctx, repo, r, inc)
	if err != nil {
		return domain.Outcome{}, err
	}
	var reports []domain.RunReport
	for _, run := range runs {
		if !run.Completed() || run.Conclusion == domain.ActionRequired {
			return domain.Outcome{}, nil // its end is an event of its own
		}
		report, found, err := f.Store.Report(ctx, repo.ID, run.ID, run.Attempt)
		if err != nil {
			return domain.Outcome{}, fmt.Errorf("read the run's report: %w", err)
		}
		if !found {
			// detect is reading its logs and will wake us; ask again all the same.
			return f.lookAgain(w), nil
		}
		reports = append(reports, report)
	}
	v := weigh(inc, reports)
	if v.state == "" || v.state == r.State {
		return domain.Outcome{}, nil
	}
	if !r.State.CanMove(v.state) {
		return domain.Outcome{}, nil
	}
	return f.verdict(ctx, w, r, inc, v)
}

// lookAgain waits for what somebody else stores: longer each time, at most ten
// minutes, and not for ever.
func (f *Function) lookAgain(w domain.Work) domain.Outcome {
	age := f.Now().Sub(w.CreatedAt)
	if age > f.Timing.Patience {
		return domain.Outcome{}
	}
	return domain.Outcome{Again: f.Now().Add(min(max(age/4, f.Timing.Soon), maxLook))}
}

// maxLook bounds the pause between two looks.
const maxLook = 10 * time.Minute

// judged finds the repair that a completed run may speak for.
func (f *Function) judged(ctx context.Context, p payload) (domain.Repair, bool, error) {
	if p.Branch != "" {
		r, found, err := f.Store.RepairByBranch(ctx, p.RepoID, p.Branch)
		if err != nil {
			return r, false, fmt.Errorf("look up the branch's repair: %w", err)
		}
		return r, found, nil
	}
	reruns, err := f.Store.RepairsByRun(ctx, p.RepoID, p.RunID)
	if err != nil {
		return domain.Repair{}, false, fmt.Errorf("look up the run's repairs: %w", err)
	}
	if len(reruns) == 0 {
		return domain.Repair{}, false, nil
	}
	return slices.MaxFunc(reruns, func(a, b domain.Repair) int { return a.RunAttempt - b.RunAttempt }), true, nil
}

// proofRuns lists the runs that can prove the repair: of the same workflow path,
// on our commit, in the repository itself (a fork may use our branch's name), or
// the attempt of the run that was asked for.
func (f *Function) proofRuns(ctx context.Context, repo domain.Repo, r domain.Repair, inc domain.Incident) ([]domain.Run, error) {
	if r.Plan.Action == domain.ActionRerun {
		run, err := f.GitHub.Run(ctx, repo, r.RunID, 0)
		if errors.Is(err, domain.ErrNotFound) {
			return nil, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the run: %w", err)
		}
		if run.Attempt < r.RunAttempt {
			return nil, nil
		}
		return []domain.Run{run}, nil
	}
	all, err := f.GitHub.RunsForSHA(ctx, repo, r.HeadSHA)
	if errors.Is(err, domain.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("list the runs of our commit: %w", err)
	}
	return slices.DeleteFunc(all, func(run domain.Run) bool {
		return run.WorkflowPath != inc.WorkflowPath || run.HeadSHA != r.HeadSHA || run.HeadRepoID != repo.ID
	}), nil
}

// verdict is what the proofs come to. An empty state is no verdict.
type verdict struct {
	state       domain.RepairState
	fingerprint string // of what is still red
	proofs      []domain.Proof
}

// weigh is the rule of proof: verified when every leg that failed was executed
// and passed in every run that executed it, and nowhere the same finding shows;
// rejected when such a leg is red. Skipped, cancelled and missing legs prove
// nothing.
func weigh(inc domain.Incident, reports []domain.RunReport) verdict {
	var v verdict
	if len(inc.Legs) == 0 {
		return v
	}
	green := map[string]bool{}
	for _, rep := range reports {
		if len(rep.Legs) == 1 && rep.Legs[0].Job == "" && len(inc.Legs) == 1 && inc.Legs[0] == "" {
			v.add(rep, rep.Legs[0]) // the workflow still doesn't start
			continue
		}
		for _, leg := range rep.Legs {
			failed := slices.Contains(inc.Legs, leg.Job)
			same := leg.Fingerprint != "" && leg.Fingerprint == inc.Fingerprint
			switch {
			case !failed && !same:
				continue // another job's matter
			case leg.Conclusion == domain.Success:
				green[leg.Job] = true
				v.proofs = append(v.proofs, proof(rep, leg))
			case leg.Conclusion == domain.Failure || leg.Conclusion == domain.TimedOut || leg.Fingerprint != "":
				v.add(rep, leg)
			}
		}
		if inc.Legs[0] == "" && rep.Run.Conclusion == domain.Success {
			green[""] = true // a workflow that did not start now runs
			v.proofs = append(v.proofs, domain.Proof{RunID: rep.Run.ID, Attempt: rep.Run.Attempt, Event: rep.Run.Event, Conclusion: domain.Success, HTMLURL: rep.Run.HTMLURL})
		}
	}
	if v.state != "" {
		return v
	}
	for _, name := range inc.Legs {
		if !green[name] {
			return verdict{}
		}
	}
	v.state = domain.RepairVerified
	return v
}

func (v *verdict) add(rep domain.RunReport, leg domain.LegReport) {
	v.state = domain.RepairRejected
	if v.fingerprint == "" {
		v.fingerprint = leg.Fingerprint
	}
	v.proofs = append(v.proofs, proof(rep, leg))
}

func proof(rep domain.RunReport, leg domain.LegReport) domain.Proof {
	return domain.Proof{RunID: rep.Run.ID, Attempt: rep.Run.Attempt, Event: rep.Run.Event, Job: leg.Job, Conclusion: leg.Conclusion, HTMLURL: rep.Run.HTMLURL}
}

// verdict stores what was judged and, after a rejection, asks for the next plan:
// for the chained incident when another failure came to light, else for the same.
func (f *Function) verdict(ctx context.Context, w domain.Work, r domain.Repair, inc domain.Incident, v verdict) (domain.Outcome, error) {
	r.State, r.Proofs, r.Fingerprint, r.JudgedAt = v.state, v.proofs, v.fingerprint, f.Now()
	out := domain.Outcome{Repairs: []domain.Repair{r}, Counts: []domain.Count{counted(r)}}
	what := fmt.Sprintf("%s/%s/%d.%d", r.ID, v.state, v.proofs[0].RunID, v.proofs[0].Attempt)
	var payloadOf events.Payload = events.RepairVerified{Repair: repairData(r)}
	why := "what failed is green"
	if v.state == domain.RepairRejected {
		payloadOf = events.RepairRejected{Repair: repairData(r)}
		why = "what failed is still red with the same finding"
		next := inc.ID
		if v.fingerprint != "" && v.fingerprint != inc.Fingerprint {
			why = "another failure came to light"
			chained, found, err := f.Store.StandingIncident(ctx, r.Repo.ID, inc.Branch, inc.WorkflowPath, v.fingerprint)
			if err != nil {
				return domain.Outcome{}, fmt.Errorf("look up the chained incident: %w", err)
			}
			if found && chained.RepairID == r.ID {
				next = chained.ID
			}
		}
		plan, err := newWork(kindPlan, fmt.Sprintf("%s/after/%s", next, r.ID), time.Time{}, payload{InstallationID: r.Repo.InstallationID, IncidentID: next})
		if err != nil {
			return domain.Outcome{}, err
		}
		out.Later = append(out.Later, plan)
	}
	out.Audit = append(out.Audit, f.audit(r.Repo, "repair", "repair."+string(v.state), r.ID, why))
	env, err := events.New(f.cause(w, r.Repo, what), payloadOf)
	if err != nil {
		return domain.Outcome{}, err
	}
	out.Events = append(out.Events, env)
	return out, nil
}

// deadline looks at a repair whose verdict hasn't come: without any run it is
// unverifiable; with one under way it is given more time.
func (f *Function) deadline(ctx context.Context, w domain.Work, p payload) (domain.Outcome, error) {
	r, err := f.Store.Repair(ctx, p.RepairID)
	if errors.Is(err, domain.ErrNotFound) {
		return domain.Outcome{}, nil
	} else if err != nil {
		return domain.Outcome{}, fmt.Errorf("read the repair: %w", err)
	}
	if r.State != domain.RepairProposed {
		return domain.Outcome{}, nil
	}
	inc, err := f.Store.Incident(ctx, r.IncidentID)
	if err != nil {
		return domain.Outcome{}, fmt.Errorf("read the incident: %w", err)
	}
	runs, err := f.proofRuns(ctx, r.Repo, r, inc)
	if err != nil && !permanent(err) {
		return domain.Outcome{}, err
	}
	pending := slices.ContainsFunc(runs, func(run domain.Run) bool { return !run.Completed() || run.Conclusion == domain.ActionRequired })
	if pending && f.Now().Sub(r.ProposedAt) < f.Timing.Patience {
		return domain.Outcome{Again: f.Now().Add(f.Timing.Verdict)}, nil
	}
	r.State, r.JudgedAt = domain.RepairUnverifiable, f.Now()
	env, err := events.New(f.cause(w, r.Repo, r.ID+"/unverifiable"), events.RepairAbandoned{Repair: repairData(r)})
	if err != nil {
		return domain.Outcome{}, err
	}
	return domain.Outcome{
		Repairs: []domain.Repair{r}, Events: []domain.Envelope{env}, Counts: []domain.Count{counted(r)},
		Audit: []domain.AuditEntry{f.audit(r.Repo, "repair", "repair.unverifiable", r.ID, fmt.Sprintf("no run of %s judged it within %s", inc.WorkflowPath, f.Now().Sub(r.ProposedAt).Round(time.Minute)))},
	}, nil
}

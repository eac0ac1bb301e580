package console

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

var now = time.Date(2026, 11, 22, 2, 31, 0, 0, time.UTC)

// fakeStore serves lists as the real one does: newest first, keyset pages.
type fakeStore struct {
	mu        sync.Mutex
	incidents []domain.Incident
	repairs   []domain.Repair
	audit     []domain.AuditEntry
	err       error
	asked     []Filter
}

func page[T any](items []T, f Filter, key func(T) (time.Time, string), keep func(T) bool) []T {
	items = slices.DeleteFunc(slices.Clone(items), func(v T) bool {
		t, id := key(v)
		older := f.Before.IsZero() || t.Before(f.Before) || (t.Equal(f.Before) && id < f.BeforeID)
		return !older || !keep(v)
	})
	slices.SortFunc(items, func(a, b T) int {
		ta, ia := key(a)
		tb, ib := key(b)
		return cmp.Or(tb.Compare(ta), cmp.Compare(ib, ia))
	})
	return items[:min(len(items), f.Limit)]
}

func (s *fakeStore) Incidents(_ context.Context, f Filter) ([]domain.Incident, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, f)
	return page(s.incidents, f, incidentKey, func(i domain.Incident) bool {
		return (f.State == "" || string(i.State) == f.State) && (f.RepoID == 0 || i.Repo.ID == f.RepoID)
	}), s.err
}

func (s *fakeStore) Repairs(_ context.Context, f Filter) ([]domain.Repair, error) {
	return page(s.repairs, f, repairKey, func(r domain.Repair) bool {
		return (f.State == "" || string(r.State) == f.State) && (f.RepoID == 0 || r.Repo.ID == f.RepoID)
	}), s.err
}

func (s *fakeStore) Incident(_ context.Context, id string) (domain.Incident, error) {
	i := slices.IndexFunc(s.incidents, func(i domain.Incident) bool { return i.ID == id })
	if i < 0 {
		return domain.Incident{}, domain.Errorf(domain.Invalid, "read the incident", "%w", domain.ErrNotFound)
	}
	return s.incidents[i], s.err
}

func (s *fakeStore) Repair(_ context.Context, id string) (domain.Repair, error) {
	i := slices.IndexFunc(s.repairs, func(r domain.Repair) bool { return r.ID == id })
	if i < 0 {
		return domain.Repair{}, domain.Errorf(domain.Invalid, "read the repair", "%w", domain.ErrNotFound)
	}
	return s.repairs[i], s.err
}

func (s *fakeStore) RepairsOfRoot(_ context.Context, root string) ([]domain.Repair, error) {
	return slices.DeleteFunc(slices.Clone(s.repairs), func(r domain.Repair) bool { return r.Root != root }), s.err
}

func (s *fakeStore) Audit(_ context.Context, object string, limit int) ([]domain.AuditEntry, error) {
	out := slices.DeleteFunc(slices.Clone(s.audit), func(a domain.AuditEntry) bool { return a.Object != object })
	return out[:min(len(out), limit)], s.err
}

func with[T any](v T, change func(*T)) T {
	change(&v)
	return v
}

func incident(id string, opened time.Time, change func(*domain.Incident)) domain.Incident {
	return with(domain.Incident{
		ID: id, State: domain.IncidentOpen, Version: 1,
		Repo:   domain.Repo{InstallationID: 1, ID: 77, FullName: "acme/churn-model", HTMLURL: "https://github.com/acme/churn-model"},
		Branch: "main", WorkflowPath: ".github/workflows/train.yml",
		Finding: domain.Finding{
			Category: "cuda-oom", Rule: "cuda-oom", Title: "GPU memory ran out", Remedy: domain.RemedyFix, Confidence: 0.95,
			Job: "train (gpu-small)", Step: "Train", StepNumber: 5, StepLine: 640, Line: 812,
			Text:  "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB (GPU 0; 15.77 GiB total capacity; 14.02 GiB already allocated; 1.12 GiB free)",
			Facts: map[string]string{"asked_bytes": "2684354560", "free_bytes": "1202590842"},
		},
		Run:         domain.Run{ID: 9001, Attempt: 1, HTMLURL: "https://github.com/acme/churn-model/actions/runs/9001"},
		Job:         domain.Job{Name: "train (gpu-small)", HTMLURL: "https://github.com/acme/churn-model/actions/runs/9001/job/5"},
		Occurrences: 1, OpenedAt: opened,
	}, change)
}

func repair(id, incidentID string, opened time.Time, change func(*domain.Repair)) domain.Repair {
	return with(domain.Repair{
		ID: id, IncidentID: incidentID, Root: incidentID, State: domain.RepairProposed, Attempt: 1, Rule: "cuda-oom",
		Repo: domain.Repo{ID: 77, FullName: "acme/churn-model"},
		Plan: domain.Plan{
			Strategy: "halve-batch-size", Action: domain.ActionEdit, Title: "Halve the batch size to 32 and accumulate gradients over 2 steps", Risk: domain.RiskLow,
			Rationale: "The job asked for 2.50 GiB with 1.12 GiB free.\n\nHalf of the batch needs about half of the activations; accumulating over two steps keeps the effective batch at 64.",
			Edits: []domain.Edit{{Path: "conf/train.yaml", Splices: []domain.Splice{
				{Start: 120, Old: "batch_size: 64", New: "batch_size: 32"}, {Start: 150, Old: "accumulate_steps: 1", New: "accumulate_steps: 2"},
			}}},
		},
		Branch: "mlops-bot/" + incidentID + "-1", PullNumber: 42, PullURL: "https://github.com/acme/churn-model/pull/42", Draft: true,
		CreatedAt: opened.Add(8 * time.Second), ProposedAt: opened.Add(15 * time.Second),
	}, change)
}

// bigger is what changed between a green run that ended at a time and one that
// ran out of memory.
func bigger(green time.Time) domain.Change {
	return domain.Change{
		Green:    domain.AttemptRef{RunID: 8990, Attempt: 1, HTMLURL: "https://github.com/acme/churn-model/actions/runs/8990", EndedAt: green},
		GreenSHA: "0ddba11c0ffee0", GreenBranch: "main", HeadSHA: "c0ffee0badcafe", Branch: "main", Event: "push", Status: "ahead", Commits: 14, Files: 23,
		Suspects: []domain.Suspect{
			{
				SHA: "5eedf00d12345678", Author: "ada", Subject: "Train on larger batches", HTMLURL: "https://github.com/acme/churn-model/commit/5eedf00d12345678", Pull: 40, Score: 85,
				Reasons: []domain.Reason{{Does: "changes the setting", Name: "batch_size", In: "conf/train.yaml"}, {Does: "changes", Name: "conf/train.yaml"}},
			},
			{
				SHA: "c0ffee0badcafe", Author: "grace", Subject: "Keep the validation set on the GPU", HTMLURL: "https://github.com/acme/churn-model/commit/c0ffee0badcafe", Score: 40,
				Reasons: []domain.Reason{{Does: "adds a line with", Name: "torch.cuda", In: "churn/validate.py"}},
			},
			{Score: 20, Reasons: []domain.Reason{{Does: "changes what is installed, by", Name: "requirements/gpu.txt"}}},
		},
	}
}

// comesAndGoes is evidence of a failure that was flaky until a time.
func comesAndGoes(until time.Time) domain.Flakiness {
	attempt := func(run int64, n int, before time.Duration) domain.AttemptRef {
		return domain.AttemptRef{RunID: run, Attempt: n, HTMLURL: fmt.Sprintf("https://github.com/acme/churn-model/actions/runs/%d", run), EndedAt: until.Add(-before)}
	}
	return domain.Flakiness{
		Since: until.Add(-domain.FlakyWindow), Until: until, Seen: 3, Commits: 3, Authors: 2,
		Flips: []domain.Flip{
			{Commit: "0ddba11c0ffee0", Branch: "main", Event: "push", Author: "ada", Job: "train (gpu-small)", Red: attempt(8980, 1, 20*time.Hour), Green: attempt(8980, 2, 19*time.Hour)},
			{Commit: "feedfacecafe00", Branch: "main", Event: "push", Author: "grace", Job: "train (gpu-small)", Red: attempt(8801, 1, 44*time.Hour), Green: attempt(8801, 2, 43*time.Hour)},
			{Commit: "ba5eba11ba5eba", Branch: "sweep", Event: "pull_request", Author: "ada", Job: "train (gpu-large)", Red: attempt(8702, 1, 91*time.Hour), Green: attempt(8709, 1, 88*time.Hour)},
		},
	}
}

// sample is a night of a small team.
func sample() *fakeStore {
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	proof := domain.Proof{RunID: 9002, Attempt: 1, Event: "pull_request", Job: "train (gpu-small)", Conclusion: domain.Success, HTMLURL: "https://github.com/acme/churn-model/actions/runs/9002"}
	s := &fakeStore{}
	s.incidents = []domain.Incident{
		incident("inc-4f1c2a9be070", ago(17*time.Minute), func(i *domain.Incident) {
			i.Finding.Why = `it stands in the step that failed, "Train", and nothing else was found`
			i.Change = new(bigger(ago(9 * time.Hour)))
		}),
		incident("inc-1d0c93be71aa", ago(3*time.Minute), func(i *domain.Incident) {
			i.Repo = domain.Repo{ID: 78, FullName: "acme/recsys", HTMLURL: "https://github.com/acme/recsys"}
			i.Branch, i.WorkflowPath = "nightly", ".github/workflows/nightly.yml"
			i.Finding = domain.Finding{Category: "missing-module", Title: "A Python module is not installed", Job: "evaluate", Step: "Run evaluation", StepNumber: 4, Line: 96, Confidence: 0.97, Text: "ModuleNotFoundError: No module named 'sklearn'", Facts: map[string]string{"module": "sklearn"}}
		}),
		incident("inc-77aa01be33c2", ago(2*time.Hour), func(i *domain.Incident) {
			i.State, i.Occurrences = domain.IncidentHandedOff, 4
			i.Finding = domain.Finding{Category: "nan-loss", Title: "The loss is not a number", Job: "train (gpu-small)", Step: "Train", StepNumber: 5, Line: 2210, Confidence: 0.9, Text: "epoch 3 step 1840 loss=nan lr=0.01\nRuntimeError: Loss is NaN, stopping training", Facts: map[string]string{"epoch": "3", "step": "1840"}}
			i.Secondary = []domain.Finding{{Category: "numeric-tolerance", Line: 2150, Text: "UserWarning: gradient norm 1.2e+09 exceeds 1e+04"}}
			i.Problems = []string{"the log of job train (gpu-large) is gone: expired"}
		}),
		incident("inc-9b0e55d1c4f8", ago(7*time.Hour), func(i *domain.Incident) {
			i.Flaky = new(comesAndGoes(ago(7 * time.Hour)))
			i.Change = new(with(bigger(ago(9*time.Hour)), func(c *domain.Change) { c.Status, c.Commits, c.Files, c.Suspects = "identical", 0, 0, nil }))
			i.State, i.ClosedAt = domain.IncidentResolved, ago(7*time.Hour-9*time.Minute)
			i.Finding = domain.Finding{Category: "transient-network", Title: "A network service did not answer", Job: "train (gpu-small)", Step: "Install dependencies", StepNumber: 3, Line: 120, Confidence: 0.9, Text: "ReadTimeoutError: HTTPSConnectionPool(host='files.example.org', port=443): Read timed out."}
		}),
		incident("inc-c0ffee000001", ago(26*time.Hour), func(i *domain.Incident) {
			i.Branch = "patch-1"
			i.Finding = domain.Finding{Category: domain.Unknown, Job: "lint", Step: "make lint", StepNumber: 4, Line: 61, Text: "##[error]Process completed with exit code 2."}
		}),
		incident("inc-aaaa00000002", ago(50*time.Hour), func(i *domain.Incident) {
			i.State, i.ClosedAt = domain.IncidentResolved, ago(44*time.Hour)
			i.Finding = domain.Finding{Category: "deprecated-action", Title: "GitHub refuses an action's version", Job: "build", Step: "Set up job", StepNumber: 1, Line: 14, Confidence: 0.99, Text: "##[error]This request has been automatically failed because it uses a deprecated version of `actions/upload-artifact: v3`.", Facts: map[string]string{"action": "actions/upload-artifact", "version": "v3"}}
		}),
	}
	s.repairs = []domain.Repair{
		repair("rep-19ad77e2c410", "inc-4f1c2a9be070", ago(17*time.Minute), func(r *domain.Repair) {
			r.State, r.JudgedAt, r.Proofs = domain.RepairVerified, ago(13*time.Minute), []domain.Proof{proof}
		}),
		repair("rep-200000000001", "inc-1d0c93be71aa", ago(3*time.Minute), func(r *domain.Repair) {
			r.PullNumber, r.PullURL = 7, "https://github.com/acme/recsys/pull/7"
			r.Plan.Title = "Add scikit-learn to requirements.txt, which the failed job installs from"
		}),
		repair("rep-300000000001", "inc-77aa01be33c2", ago(2*time.Hour), func(r *domain.Repair) {
			r.State, r.JudgedAt, r.Proofs = domain.RepairRejected, ago(100*time.Minute), []domain.Proof{with(proof, func(p *domain.Proof) { p.Conclusion = domain.Failure })}
			r.Plan.Title, r.Plan.Strategy = "Lower the learning rate from 0.01 to 0.001", "lower-learning-rate"
			r.Plan.Edits = []domain.Edit{{Path: "conf/train.yaml", Splices: []domain.Splice{{Start: 10, Old: "0.01", New: "0.001"}}}}
		}),
		repair("rep-300000000002", "inc-77aa01be33c2", ago(2*time.Hour), func(r *domain.Repair) {
			r.State, r.Attempt, r.Plan, r.PullNumber, r.PullURL, r.Branch, r.ProposedAt = domain.RepairRefused, 2, domain.Plan{}, 0, "", "", time.Time{}
			r.Refusal = domain.Refuse(domain.RefusedNoChange, "no other strategy found an edit that it is sure of")
			r.CreatedAt = ago(99 * time.Minute)
		}),
		repair("rep-400000000001", "inc-9b0e55d1c4f8", ago(7*time.Hour), func(r *domain.Repair) {
			r.State, r.PullNumber, r.PullURL, r.JudgedAt = domain.RepairVerified, 0, "", ago(7*time.Hour-9*time.Minute)
			r.Plan = domain.Plan{Strategy: "rerun-failed-jobs", Action: domain.ActionRerun, Title: "Run the failed jobs again", Risk: domain.RiskLow}
		}),
		repair("rep-500000000001", "inc-c0ffee000001", ago(26*time.Hour), func(r *domain.Repair) {
			r.State, r.Plan, r.PullNumber, r.PullURL, r.ProposedAt = domain.RepairRefused, domain.Plan{}, 0, "", time.Time{}
			r.Refusal = domain.Refuse(domain.RefusedNoStrategy, "the log shows no cause that the bot knows")
		}),
		repair("rep-600000000001", "inc-aaaa00000002", ago(50*time.Hour), func(r *domain.Repair) {
			r.State, r.PullNumber, r.PullURL, r.JudgedAt, r.EndedAt, r.Draft = domain.RepairLanded, 40, "https://github.com/acme/churn-model/pull/40", ago(50*time.Hour-3*time.Minute), ago(45*time.Hour), false
			r.Plan.Title = "Bump actions/upload-artifact from v3 to v4"
		}),
	}
	for _, a := range []struct {
		d                    time.Duration
		actor, what, ob, why string
	}{
		{17 * time.Minute, "detect", "incident.opened", "inc-4f1c2a9be070", "run 9001 failed: cuda-oom"},
		{17*time.Minute - 8*time.Second, "repair", "repair.intended", "rep-19ad77e2c410", "halve-batch-size for inc-4f1c2a9be070"},
		{17*time.Minute - 15*time.Second, "repair", "pull_request.opened", "rep-19ad77e2c410", "Halve the batch size to 32 and accumulate gradients over 2 steps"},
		{17*time.Minute - 17*time.Second, "notify", "message.sent", "inc-4f1c2a9be070", "slack: proposed rep-19ad77e2c410"},
		{13 * time.Minute, "repair", "repair.verified", "rep-19ad77e2c410", "train (gpu-small) is green in run 9002"},
	} {
		s.audit = append(s.audit, domain.AuditEntry{At: ago(a.d), Actor: a.actor, Action: a.what, Object: a.ob, Why: a.why})
	}
	return s
}

package notify

import (
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

var t0 = time.Date(2026, 11, 22, 2, 14, 5, 0, time.UTC)

// oom is an open incident.
func oom() domain.Incident {
	return domain.Incident{
		ID: "inc-4f1c2a9be070", Version: 3, State: domain.IncidentOpen,
		Repo:   domain.Repo{InstallationID: 11, ID: 77, FullName: "acme/churn-model", HTMLURL: "https://github.com/acme/churn-model"},
		Branch: "main", WorkflowPath: ".github/workflows/train.yml", Fingerprint: "aa",
		Finding: domain.Finding{
			Category: "cuda-oom", Rule: "cuda-oom", Title: "GPU memory ran out", Remedy: domain.RemedyFix, Confidence: 0.95,
			Job: "train (gpu-small)", Step: "Train", StepNumber: 5, StepLine: 640, Line: 812, EndLine: 812,
			Text:  "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB (GPU 0; 15.77 GiB total capacity; 14.02 GiB already allocated; 1.12 GiB free)",
			Facts: map[string]string{"asked_bytes": "2684354560", "free_bytes": "1202590842"},
			Why:   `it stands in the step that failed, "Train", and nothing else was found`,
		},
		Change: new(bigger()),
		Run: domain.Run{
			ID: 9001, Attempt: 1, HTMLURL: "https://github.com/acme/churn-model/actions/runs/9001", HeadSHA: "c0ffee", HeadBranch: "main", HeadRepoID: 77,
			UpdatedAt: t0.Add(-5 * time.Second),
		},
		Job:         domain.Job{ID: 5, Name: "train (gpu-small)", HTMLURL: "https://github.com/acme/churn-model/actions/runs/9001/job/5"},
		Occurrences: 1, OpenedAt: t0, LastSeenAt: t0,
	}
}

// bigger is what changed before oom.
func bigger() domain.Change {
	return domain.Change{
		Green:    domain.AttemptRef{RunID: 8990, Attempt: 1, HTMLURL: "https://github.com/acme/churn-model/actions/runs/8990", EndedAt: t0.Add(-9 * time.Hour)},
		GreenSHA: "0ddba11c0ffee", GreenBranch: "main", HeadSHA: "c0ffee", Branch: "main", Event: "push", Status: "ahead", Commits: 3, Files: 4,
		Suspects: []domain.Suspect{
			{SHA: "5eedf00d1234", Author: "ada", Subject: "Train on larger batches", HTMLURL: "https://github.com/acme/churn-model/commit/5eedf00d1234", Pull: 40, Score: 70, Reasons: []domain.Reason{{Does: "sets", Name: "batch_size", In: "conf/train.yaml"}}},
			{SHA: "c0ffee", Author: "grace", Subject: "Log more", Score: 20, Reasons: []domain.Reason{{Does: "changes", Name: "train.py"}}},
		},
	}
}

// comesAndGoes is evidence of a flaky failure.
func comesAndGoes() domain.Flakiness {
	return domain.Flakiness{Since: t0.Add(-domain.FlakyWindow), Until: t0, Seen: 4, Commits: 3, Authors: 2, Flips: []domain.Flip{{Commit: "c0ffee", Author: "ada", Job: "train (gpu-small)"}}}
}

// halve is the repair of oom, as proposed.
func halve() domain.Repair {
	return domain.Repair{
		ID: "rep-19ad77e2c410", Version: 2, State: domain.RepairProposed, IncidentID: oom().ID, Root: oom().ID, Repo: oom().Repo, Attempt: 1, Rule: "cuda-oom",
		Plan: domain.Plan{
			Strategy: "halve-batch-size", Action: domain.ActionEdit, Title: "Halve the batch size to 32 and accumulate gradients over 2 steps",
			Risk: domain.RiskLow, Edits: []domain.Edit{{Path: "conf/train.yaml"}},
			Verify: "The job train (gpu-small) of this workflow runs on the pull request and has to be green.",
		},
		Branch: "mlops-bot/inc-4f1c2a9be070-1", BaseBranch: "main", HeadSHA: "beef", PullNumber: 42, PullURL: "https://github.com/acme/churn-model/pull/42", Draft: true,
		CreatedAt: t0.Add(8 * time.Second), ProposedAt: t0.Add(15 * time.Second),
	}
}

func with[T any](v T, change func(*T)) T {
	change(&v)
	return v
}

func proof(c domain.Conclusion) domain.Proof {
	return domain.Proof{RunID: 9002, Attempt: 1, Event: "pull_request", Job: "train (gpu-small)", Conclusion: c, HTMLURL: "https://github.com/acme/churn-model/actions/runs/9002"}
}

type story struct {
	incident domain.Incident
	repairs  []domain.Repair
}

// stories are one of each state that people are told of.
func stories() map[string]story {
	judged := func(s domain.RepairState, c domain.Conclusion) domain.Repair {
		return with(halve(), func(r *domain.Repair) {
			r.State, r.JudgedAt, r.Proofs = s, t0.Add(4*time.Minute+25*time.Second), []domain.Proof{proof(c)}
		})
	}
	ended := func(s domain.RepairState) domain.Repair {
		return with(judged(s, domain.Success), func(r *domain.Repair) { r.Draft, r.EndedAt = false, t0.Add(6*time.Hour+31*time.Minute) })
	}
	rerun := func(s domain.RepairState) domain.Repair {
		return with(halve(), func(r *domain.Repair) {
			r.State, r.PullNumber, r.PullURL, r.Draft, r.Branch = s, 0, "", false, ""
			r.Plan = domain.Plan{Strategy: "rerun-failed-jobs", Action: domain.ActionRerun, Title: "Run the failed jobs again", Risk: domain.RiskLow, Verify: "The same jobs run again and have to be green."}
			if s != domain.RepairProposed {
				r.JudgedAt, r.Proofs = t0.Add(7*time.Minute), []domain.Proof{with(proof(domain.Success), func(p *domain.Proof) { p.RunID, p.Attempt, p.Event = 9001, 2, "push" })}
			}
		})
	}
	network := with(oom(), func(i *domain.Incident) {
		i.Finding = domain.Finding{
			Category: "transient-network", Rule: "transient-network", Title: "A network service did not answer", Remedy: domain.RemedyRetry,
			Job: "train (gpu-small)", Step: "Install dependencies", StepNumber: 3, Line: 120, Text: "ReadTimeoutError: HTTPSConnectionPool(host='files.example.org', port=443): Read timed out.",
			Facts: map[string]string{"host": "files.example.org"},
		}
		i.Flaky = new(comesAndGoes())
		i.Change = new(with(bigger(), func(c *domain.Change) { c.Status, c.Commits, c.Files, c.Suspects = "identical", 0, 0, nil }))
	})
	refused := func(r *domain.Refusal) domain.Repair {
		return domain.Repair{ID: "rep-0", State: domain.RepairRefused, IncidentID: oom().ID, Root: oom().ID, Repo: oom().Repo, Attempt: 1, Refusal: r}
	}
	return map[string]story{
		"detected": {incident: oom()},
		"detected-unknown": {incident: with(oom(), func(i *domain.Incident) {
			i.Finding = domain.Finding{Category: domain.Unknown, Remedy: domain.RemedyHuman, Job: "train (gpu-small)", Step: "Train", StepNumber: 5, Line: 411, Text: "##[error]Process completed with exit code 1."}
			i.Problems = []string{"the log of job 6 is gone: expired"}
			i.Change = &domain.Change{Branch: "main", HeadSHA: "c0ffee"} // no green run was found
		})},
		"detected-human": {incident: with(oom(), func(i *domain.Incident) {
			i.Finding = domain.Finding{Category: "test-failure", Rule: "test-failure", Title: "A test failed", Remedy: domain.RemedyHuman, Job: "train (gpu-small)", Step: "pytest", StepNumber: 4, Line: 210, Text: "FAILED tests/test_metrics.py::test_auc - AssertionError: assert 0.71 > 0.8", Facts: map[string]string{"tests": "tests/test_metrics.py::test_auc"}}
			i.Secondary = []domain.Finding{{Category: "nan-loss", Title: "The loss is not a number", Job: "train (gpu-small)", StepNumber: 4, Line: 190, Text: "RuntimeWarning: invalid value encountered in divide"}}
		})},
		"not-repaired": {
			with(oom(), func(i *domain.Incident) { i.Run.PullRequests = []int{31}; i.Branch = "bigger-batches" }),
			[]domain.Repair{refused(domain.Refuse(domain.RefusedNoChange, "no file of the repository sets a batch size that the failed job reads; put it into a configuration file, or lower it where it is computed"))},
		},
		"not-repaired-fork": {
			with(oom(), func(i *domain.Incident) { i.Run.PullRequests = []int{33}; i.Branch = "patch-1"; i.Occurrences = 3 }),
			[]domain.Repair{refused(domain.Refuse(domain.RefusedFork, "the branch belongs to a fork, to which the bot never pushes"))},
		},
		"proposed":       {oom(), []domain.Repair{halve()}},
		"proposed-rerun": {network, []domain.Repair{rerun(domain.RepairProposed)}},
		"verified":       {oom(), []domain.Repair{judged(domain.RepairVerified, domain.Success)}},
		"verified-rerun": {network, []domain.Repair{rerun(domain.RepairVerified)}},
		"rejected":       {oom(), []domain.Repair{judged(domain.RepairRejected, domain.Failure)}},
		"unverifiable": {oom(), []domain.Repair{with(halve(), func(r *domain.Repair) {
			r.State, r.JudgedAt = domain.RepairUnverifiable, t0.Add(30*time.Minute+15*time.Second)
		})}},
		"landed":    {oom(), []domain.Repair{ended(domain.RepairLanded)}},
		"closed":    {oom(), []domain.Repair{ended(domain.RepairClosed)}},
		"regressed": {oom(), []domain.Repair{with(ended(domain.RepairRegressed), func(r *domain.Repair) { r.EndedAt = t0.Add(76 * time.Hour) })}},
		"handed-off": {
			with(oom(), func(i *domain.Incident) { i.State, i.Occurrences = domain.IncidentHandedOff, 4 }),
			[]domain.Repair{
				with(judged(domain.RepairRejected, domain.Failure), func(r *domain.Repair) { r.ID, r.PullNumber = "rep-a", 42 }),
				with(judged(domain.RepairRejected, domain.Failure), func(r *domain.Repair) {
					r.ID, r.Attempt, r.PullNumber, r.PullURL, r.Supersedes = "rep-b", 3, 45, "https://github.com/acme/churn-model/pull/45", 42
				}),
			},
		},
		"resolved": {
			with(oom(), func(i *domain.Incident) { i.State, i.ClosedAt = domain.IncidentResolved, t0.Add(7*time.Hour) }),
			[]domain.Repair{ended(domain.RepairLanded)},
		},
	}
}

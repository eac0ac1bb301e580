package repair

import (
	"testing"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func TestWeigh(t *testing.T) {
	t.Parallel()
	inc := domain.Incident{Fingerprint: "same", Legs: []string{"test (3.11)", "test (3.12)"}}
	leg := func(job string, c domain.Conclusion, fp string) domain.LegReport {
		return domain.LegReport{Job: job, Conclusion: c, Fingerprint: fp}
	}
	run := func(id int64, c domain.Conclusion, legs ...domain.LegReport) domain.RunReport {
		return domain.RunReport{Run: domain.Run{ID: id, Attempt: 1, Event: "push", Conclusion: c}, Legs: legs}
	}
	a, b := "test (3.11)", "test (3.12)"
	tests := map[string]struct {
		inc         domain.Incident
		reports     []domain.RunReport
		state       domain.RepairState
		fingerprint string
	}{
		"no run":                       {inc, nil, "", ""},
		"all legs pass":                {inc, []domain.RunReport{run(1, domain.Success, leg(a, domain.Success, ""), leg(b, domain.Success, ""))}, domain.RepairVerified, ""},
		"one leg is missing":           {inc, []domain.RunReport{run(1, domain.Success, leg(a, domain.Success, ""))}, "", ""},
		"one leg is skipped":           {inc, []domain.RunReport{run(1, domain.Success, leg(a, domain.Success, ""), leg(b, domain.Skipped, ""))}, "", ""},
		"one leg is cancelled":         {inc, []domain.RunReport{run(1, domain.Cancelled, leg(a, domain.Success, ""), leg(b, domain.Cancelled, ""))}, "", ""},
		"still red":                    {inc, []domain.RunReport{run(1, domain.Failure, leg(a, domain.Failure, "same"), leg(b, domain.Success, ""))}, domain.RepairRejected, "same"},
		"red with another finding":     {inc, []domain.RunReport{run(1, domain.Failure, leg(a, domain.Failure, "other"), leg(b, domain.Success, ""))}, domain.RepairRejected, "other"},
		"another job is red":           {inc, []domain.RunReport{run(1, domain.Failure, leg(a, domain.Success, ""), leg(b, domain.Success, ""), leg("docs", domain.Failure, "other"))}, domain.RepairVerified, ""},
		"the finding moved to a job":   {inc, []domain.RunReport{run(1, domain.Failure, leg(a, domain.Success, ""), leg(b, domain.Success, ""), leg("docs", domain.Failure, "same"))}, domain.RepairRejected, "same"},
		"push green, pull request red": {inc, []domain.RunReport{run(1, domain.Success, leg(a, domain.Success, ""), leg(b, domain.Success, "")), run(2, domain.Failure, leg(a, domain.Failure, "same"), leg(b, domain.Success, ""))}, domain.RepairRejected, "same"},
		"push cancelled for the pull request's run": {
			inc,
			[]domain.RunReport{run(1, domain.Cancelled, leg(a, domain.Cancelled, ""), leg(b, domain.Cancelled, "")), run(2, domain.Success, leg(a, domain.Success, ""), leg(b, domain.Success, ""))},
			domain.RepairVerified, "",
		},
		"timed out as cancelled":     {inc, []domain.RunReport{run(1, domain.Cancelled, leg(a, domain.Cancelled, "same"), leg(b, domain.Success, ""))}, domain.RepairRejected, "same"},
		"an incident without a leg":  {domain.Incident{Fingerprint: "same"}, []domain.RunReport{run(1, domain.Success, leg(a, domain.Success, ""))}, "", ""},
		"the workflow starts again":  {domain.Incident{Fingerprint: "same", Legs: []string{""}}, []domain.RunReport{run(1, domain.Success, leg(a, domain.Success, ""))}, domain.RepairVerified, ""},
		"the workflow doesn't start": {domain.Incident{Fingerprint: "same", Legs: []string{""}}, []domain.RunReport{run(1, domain.StartupFailure, leg("", domain.StartupFailure, "same"))}, domain.RepairRejected, "same"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := weigh(tt.inc, tt.reports)
			if v.state != tt.state || v.fingerprint != tt.fingerprint {
				t.Errorf("%q with finding %q, want %q with %q", v.state, v.fingerprint, tt.state, tt.fingerprint)
			}
			if v.state != "" && len(v.proofs) == 0 {
				t.Error("a verdict without a proof")
			}
		})
	}
}

func TestCommandVerb(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"/mlops-bot stop": "stop", "/mlops-bot  resume now": "resume", "/mlops-bot approve abc1234": "approve",
		"": "", "/mlops-bot": "", "/mlops-bot rm -rf": "", "please /mlops-bot stop": "", "/mlops-botstop": "",
	} {
		if got, ok := commandVerb(line); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", line, got, ok)
		}
	}
}

package strategies

import (
	"context"
	"fmt"
	"slices"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// rerunFailed runs the failed jobs again, where the cause lies outside of the
// repository and passes by itself. How often and when is the executor's business.
type rerunFailed struct{}

var _ Strategy = rerunFailed{}

// transient are the categories that a rerun can heal. The category decides, not
// the finding's remedy: a rerun of what isn't transient would only hide it.
var transient = []string{
	"data-download-failed", "experiment-tracker-unreachable", "hf-hub-rate-limit", "nccl-timeout",
	"registry-rate-limit", "runner-lost", "transient-network", "worker-lost",
}

func (rerunFailed) ID() string { return "rerun-failed" }

func (rerunFailed) Applies(f domain.Finding) bool { return slices.Contains(transient, f.Category) }

func (s rerunFailed) Plan(_ context.Context, _ Tree, f domain.Finding) (domain.Plan, error) {
	what := map[string]string{
		"data-download-failed":           "a download of data failed",
		"experiment-tracker-unreachable": "the experiment tracker could not be reached",
		"hf-hub-rate-limit":              "the Hugging Face hub limited the rate of requests",
		"nccl-timeout":                   "a collective operation between workers timed out",
		"registry-rate-limit":            "a registry limited the rate of requests",
		"runner-lost":                    "the runner was lost",
		"transient-network":              "the network or a service outside of the repository failed",
		"worker-lost":                    "a worker of the job was lost",
	}[f.Category]
	at := ""
	for _, fact := range []string{"host", "url", "service", "framework"} {
		if v := f.Fact(fact); v != "" {
			at = " (" + code(v) + ")"
			break
		}
	}
	return domain.Plan{
		Strategy:  s.ID(),
		Action:    domain.ActionRerun,
		Title:     "Run the failed jobs again",
		Rationale: fmt.Sprintf("The log shows that %s%s. Nothing in the repository caused it, so nothing is changed: the failed jobs run again on the same commit.", what, at),
		Risk:      domain.RiskLow,
		Verify:    "The same jobs pass on the same commit.",
	}, nil
}

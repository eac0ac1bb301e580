package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func workerLost() *Rule {
	return &Rule{
		ID: "worker-lost", Category: "worker-lost",
		Title:    "A worker of a distributed framework was lost",
		Severity: Medium, Remedy: domain.RemedyRetry, Rank: RankResource - 4,
		FactNames: []string{"framework"},
		Patterns: patterns(
			exc+`(?:distributed\.\S*)?KilledWorker: `,
			exc+`ray\.exceptions\.(?:WorkerCrashedError|NodeDiedError|ActorDiedError|RayActorError|ActorUnavailableError|LocalRayletDiedError)\b`,
			`[Tt]he actor died unexpectedly before finishing this task`,
			exc+`(?:joblib\.\S*)?TerminatedWorkerError: `,
			exc+`(?:concurrent\.futures\.process\.)?BrokenProcessPool: `,
			`ExecutorLostFailure \(executor \S+ exited`,
			`ERROR (?:\S+ )?Lost executor \S+ on `,
			exc+`(?:distributed\.\S*)?CommClosedError: `,
		),
		Keys: []string{"framework", domain.KeyPlace},
		Refine: func(w *Window, m *Match) bool {
			t := strings.ToLower(m.textOf(w))
			for _, f := range [...]struct{ word, name string }{{"killedworker", "dask"}, {"ray.", "ray"}, {"actor", "ray"}, {"terminatedworker", "joblib"}, {"brokenprocess", "python"}, {"executorlost", "spark"}, {"lost executor", "spark"}, {"commclosed", "dask"}} {
				if strings.Contains(t, f.word) {
					m.Facts["framework"] = f.name
					break
				}
			}
			return true
		},
	}
}

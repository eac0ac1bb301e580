package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func dataloaderWorkerKilled() *Rule {
	return &Rule{
		ID: "dataloader-worker-killed", Category: "dataloader-worker-killed",
		Title:    "A DataLoader worker died",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankResource + 3,
		FactNames: []string{"workers"},
		Patterns: patterns(
			`DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:is killed by signal|exited unexpectedly)`,
			`Unexpected bus error encountered in worker`,
			`unable to (?:open|allocate) shared memory(?: object|\(shm\))? .*`,
		),
		Keys: []string{domain.KeyPlace},
		Refine: func(w *Window, m *Match) bool {
			for i := -40; i <= 40; i++ {
				if t, ok := w.Text(i); ok {
					if s := numWorkers.FindStringSubmatch(t); s != nil {
						m.Facts["workers"] = s[1]
						break
					}
				}
			}
			return true
		},
	}
}

var numWorkers = re(`num_workers['"]?\s*[=:]\s*(\d+)`)

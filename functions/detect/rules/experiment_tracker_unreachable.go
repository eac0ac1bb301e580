package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func experimentTracker() *Rule {
	return &Rule{
		ID: "experiment-tracker-unreachable", Category: "experiment-tracker-unreachable",
		Title:    "The experiment tracker can't be reached",
		Severity: Medium, Remedy: domain.RemedyRetry, Rank: RankSetup - 3,
		Last:      true,
		FactNames: []string{"service"},
		Patterns: patterns(
			exc+`mlflow\.exceptions\.MlflowException: API request to (?P<url>http\S+) failed`,
			exc+`mlflow\.exceptions\.\w+: .*(?:timed out|[Mm]ax retries|[Cc]onnection|50[234])`,
			`wandb: ERROR Error while calling W&B API.*(?:timed out|50\d|connection)`,
			exc+`wandb\.(?:errors\.(?:errors\.)?|sdk\.\S*\.)?CommError: `,
			exc+`(?:\S+\.)?NeptuneConnectionLostException`,
			`/api/2\.0/mlflow\S* .*(?:Max retries exceeded|timed out|Connection refused|too many 50\d)`,
			`with url: /api/2\.0/mlflow`,
		),
		Keys: []string{"service"},
		Refine: func(w *Window, m *Match) bool {
			delete(m.Facts, "url")
			low := strings.ToLower(m.textOf(w))
			for _, s := range [...]string{"mlflow", "wandb", "neptune"} {
				if strings.Contains(low, s) {
					m.Facts["service"] = s
				}
			}
			return true
		},
	}
}

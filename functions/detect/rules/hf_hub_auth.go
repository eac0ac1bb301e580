package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func hfHubAuth() *Rule {
	return &Rule{
		ID: "hf-hub-auth", Category: "hf-hub-auth",
		Title:    "The Hugging Face hub refuses access to a repository",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankSetup + 1,
		Last:      true,
		FactNames: []string{"repo"},
		Patterns: patterns(
			exc+`(?:[\w.]+\.)?(?:GatedRepoError|RepositoryNotFoundError): `,
			`(?:401|403) Client Error.*https://(?:[\w-]+\.)*(?:huggingface\.co|hf\.co)/(?:api/(?:models|datasets|spaces)/)?(?P<repo>(?:datasets/)?[\w.-]+/[\w.-]+)?`,
			`Cannot access gated repo for url https://(?:[\w-]+\.)*(?:huggingface\.co|hf\.co)/(?:api/(?:models|datasets|spaces)/)?(?P<repo>(?:datasets/)?[\w.-]+/[\w.-]+)`,
			exc+`OSError: You are trying to access a gated repo`,
			exc+`(?:datasets\.\S*)?DatasetNotFoundError: Dataset '(?P<repo>[^']+)' (?:doesn't exist on the Hub|is a gated dataset)`,
			exc+`(?:huggingface_hub\.\S*)?RevisionNotFoundError: `,
			exc+`OSError: (?P<repo>\S+) is not a local folder and is not a valid model identifier listed on 'https://huggingface\.co/models'`,
			`404 Client Error.*https://(?:[\w-]+\.)*huggingface\.co/api/(?:models|datasets|spaces)/(?P<repo>[\w.-]+/[\w.-]+)`,
		),
		Keys: []string{"repo"},
		Refine: func(w *Window, m *Match) bool {
			for i := 0; i <= 6 && m.Facts["repo"] == ""; i++ {
				if t, ok := w.Text(i); ok {
					m.Facts["repo"] = first(hubRepo, t)
				}
			}
			m.Facts["repo"] = strings.TrimRight(strings.TrimPrefix(m.Facts["repo"], "datasets/"), ".")
			if m.Facts["repo"] == "" {
				delete(m.Facts, "repo")
			}
			return true
		},
	}
}

var hubRepo = re(`https://(?:[\w-]+\.)*(?:huggingface\.co|hf\.co)/(?:api/(?:models|datasets|spaces)/)?((?:datasets/)?[\w.-]+/[\w.-]+)|Access to model ([\w.-]+/[\w.-]+) is restricted`)

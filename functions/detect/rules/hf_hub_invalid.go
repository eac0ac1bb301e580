package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func hfHubInvalid() *Rule {
	return &Rule{
		ID: "hf-hub-invalid", Category: "hf-hub-invalid",
		Title:    "The Hugging Face hub refuses the content",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankSetup,
		FactNames: []string{"repo"},
		Last:      true,
		Patterns: patterns(
			`(?:400|413|422) Client Error.*https://(?:[\w-]+\.)*huggingface\.co/api/(?:models|datasets|spaces)/(?P<repo>[\w.-]+/[\w.-]+)`,
			exc+`huggingface_hub\.(?:errors|utils\.\S+)\.BadRequestError: `,
			exc+`ValueError: Invalid metadata in README\.md`,
			`^Invalid metadata in README\.md\.$`,
		),
		Keys: []string{"repo"},
		Refine: func(w *Window, m *Match) bool {
			for i := -1; i >= -40 && m.Facts["repo"] == "" && strings.Contains(m.textOf(w), "BadRequestError"); i-- {
				t, ok := w.Text(i)
				if !ok {
					break
				}
				m.Facts["repo"] = first(hubRepo, t)
			}
			return true
		},
	}
}

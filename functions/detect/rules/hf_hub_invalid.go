package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func hfHubInvalid() *Rule {
	return &Rule{
		ID: "hf-hub-invalid", Category: "hf-hub-invalid",
		Title:    "The Hugging Face hub refuses the content",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankSetup,
		FactNames: []string{"repo"},
		Patterns: patterns(
			`(?:400|413|422) Client Error.*https://(?:[\w-]+\.)*huggingface\.co/api/(?:models|datasets|spaces)/(?P<repo>[\w.-]+/[\w.-]+)`,
			exc+`ValueError: Invalid metadata in README\.md`,
			`^Invalid metadata in README\.md\.$`,
		),
		Keys: []string{"repo"},
	}
}

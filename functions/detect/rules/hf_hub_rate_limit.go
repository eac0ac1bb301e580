package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func hfHubRateLimit() *Rule {
	return &Rule{
		ID: "hf-hub-rate-limit", Category: "hf-hub-rate-limit",
		Title:    "The Hugging Face hub limits the rate of requests",
		Severity: Medium, Remedy: domain.RemedyRetry, Rank: RankSetup + 1,
		Last: true,
		Patterns: patterns(
			`429 Client Error: Too Many Requests for url: https://(?:[\w-]+\.)*(?:huggingface\.co|hf\.co)\b`,
			`We had to rate limit your IP`,
			`429 Too Many Requests' for url '?https://(?:[\w-]+\.)*(?:huggingface\.co|hf\.co)\b`,
		),
	}
}

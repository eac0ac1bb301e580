package rules

import (
	"regexp"
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func hfHubRateLimit() *Rule {
	return &Rule{
		ID: "hf-hub-rate-limit", Category: "hf-hub-rate-limit",
		Title:    "The Hugging Face hub limits the rate of requests",
		Severity: Medium, Remedy: domain.RemedyRetry, Rank: RankSetup + 1, Confidence: 0.96,
		Last: true,
		Patterns: patterns(
			`429 Client Error: Too Many Requests for url: https://(?:[\w-]+\.)*(?:huggingface\.co|hf\.co)\b`,
			`We had to rate limit your IP`,
			`429 Too Many Requests' for url '?https://(?:[\w-]+\.)*(?:huggingface\.co|hf\.co)\b`,
		),
	}
}

func hfHubAuth() *Rule {
	return &Rule{
		ID: "hf-hub-auth", Category: "hf-hub-auth",
		Title:    "The Hugging Face hub refuses access to a repository",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankSetup + 1, Confidence: 0.95,
		Last: true,
		Patterns: patterns(
			exc+`(?:[\w.]+\.)?(?:GatedRepoError|RepositoryNotFoundError): `,
			`(?:401|403) Client Error.*https://(?:[\w-]+\.)*(?:huggingface\.co|hf\.co)/(?:api/(?:models|datasets|spaces)/)?(?P<repo>(?:datasets/)?[\w.-]+/[\w.-]+)?`,
			`Cannot access gated repo for url https://(?:[\w-]+\.)*(?:huggingface\.co|hf\.co)/(?:api/(?:models|datasets|spaces)/)?(?P<repo>(?:datasets/)?[\w.-]+/[\w.-]+)`,
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
			m.Facts["repo"] = strings.TrimPrefix(m.Facts["repo"], "datasets/")
			if m.Facts["repo"] == "" {
				delete(m.Facts, "repo")
			}
			return true
		},
	}
}

var hubRepo = re(`https://(?:[\w-]+\.)*(?:huggingface\.co|hf\.co)/(?:api/(?:models|datasets|spaces)/)?((?:datasets/)?[\w.-]+/[\w.-]+)|Access to model ([\w.-]+/[\w.-]+) is restricted`)

func hfHubInvalid() *Rule {
	return &Rule{
		ID: "hf-hub-invalid", Category: "hf-hub-invalid",
		Title:    "The Hugging Face hub refuses the content",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankSetup, Confidence: 0.9,
		Patterns: patterns(
			`(?:400|413|422) Client Error.*https://(?:[\w-]+\.)*huggingface\.co/api/(?:models|datasets|spaces)/(?P<repo>[\w.-]+/[\w.-]+)`,
			exc+`ValueError: Invalid metadata in README\.md`,
		),
		Keys: []string{"repo"},
	}
}

func registryRateLimit() *Rule {
	return &Rule{
		ID: "registry-rate-limit", Category: "registry-rate-limit",
		Title:    "A registry limits the rate of requests",
		Severity: Medium, Remedy: domain.RemedyRetry, Rank: RankSetup, Confidence: 0.95,
		Last: true,
		Patterns: patterns(
			`\btoomanyrequests: `,
			`You have reached your (?:unauthenticated )?pull rate limit`,
			`(?:HTTP error|status(?: code)?:?|returned error:|npm (?:ERR!|error)(?: code)?) E?429\b`,
			`429 (?:Client Error: )?Too Many Requests.*https?://(?:[\w-]+\.)*(?:pypi\.org|pythonhosted\.org|docker\.(?:io|com)|ghcr\.io|quay\.io|npmjs\.org|anaconda\.org|conda\.io|crates\.io|gcr\.io|pkg\.dev|amazonaws\.com|nvcr\.io|maven\.org|github\.com|githubusercontent\.com|pytorch\.org)\b`,
			`API rate limit exceeded for|You have exceeded a secondary rate limit`,
		),
		Keys: []string{"host"},
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			if strings.Contains(t, "huggingface.co") || strings.Contains(t, "hf.co") {
				return false
			}
			for _, i := range [...]int{0, -1, -2, 1} {
				if near, ok := w.Text(i); ok {
					if host := hostIn(near); host != "" && host != "www.docker.com" && host != "docs.docker.com" {
						m.Facts["host"] = host
						break
					}
				}
			}
			if strings.Contains(t, "pull rate limit") && m.Facts["host"] == "" {
				m.Facts["host"] = "docker.io"
			}
			if sec, _ := w.Section(); sec != plain && m.Facts["host"] == "" {
				return false
			}
			return m.Facts["host"] == "" || !localHost.MatchString(m.Facts["host"])
		},
	}
}

func first(p *regexp.Regexp, text string) string {
	for i, g := range p.FindStringSubmatch(text) {
		if i > 0 && g != "" {
			return g
		}
	}
	return ""
}

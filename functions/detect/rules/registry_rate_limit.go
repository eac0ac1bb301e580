package rules

import (
	"regexp"
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func registryRateLimit() *Rule {
	return &Rule{
		ID: "registry-rate-limit", Category: "registry-rate-limit",
		Title:    "A registry limits the rate of requests",
		Severity: Medium, Remedy: domain.RemedyRetry, Rank: RankSetup,
		Last:      true,
		FactNames: []string{"host"},
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

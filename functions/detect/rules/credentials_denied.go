package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func credentialsDenied() *Rule {
	return &Rule{
		ID: "credentials-denied", Category: "credentials-denied",
		Title:    "Valid credentials without the right to do it",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankSetup - 2,
		Last:      true,
		FactNames: []string{"service"},
		Patterns: patterns(
			`\((?:AccessDenied|AccessDeniedException|UnauthorizedOperation)\) when calling`,
			`AccessDenied(?:Exception)?: `,
			`is not authorized to perform: \w+:\w+`,
			`Not authorized to perform sts:AssumeRoleWithWebIdentity`,
			`Permission '?[\w.]+'? denied on resource`,
			`\(AuthorizationFailed\)|AuthorizationPermissionMismatch`,
			`isn't allowed to upload to project`,
			`does not have storage\.\w+\.\w+ access`,
			`denied: requested access to the resource is denied`,
			`(?:ERROR|Error|error|403).*does not have permission to access`,
			`\b403\b.*(?:Access Denied|does not have \S+ (?:permission|access))`,
			`Request had insufficient authentication scopes`,
		),
		Keys: []string{"service"},
		Refine: func(w *Window, m *Match) bool {
			if sec, _ := w.Section(); sec == failing || sec == unit || sec == jest {
				if !strings.Contains(m.textOf(w), "when calling") {
					return false
				}
			}
			service(w, m)
			return true
		},
	}
}

// service names whose credentials a line speaks of.
func service(w *Window, m *Match) {
	if v := m.Facts["service"]; v != "" {
		m.Facts["service"] = hostIn(v)
		return
	}
	t := m.textOf(w)
	low := strings.ToLower(t)
	for _, s := range [...]struct{ word, name string }{
		{"when calling", "aws"}, {"security token", "aws"}, {"sts:", "aws"}, {"arn:aws", "aws"}, {"clienttokenid", "aws"}, {"aadsts", "azure"}, {"azure", "azure"},
		{"storage.", "gcp"}, {"google", "gcp"}, {"iam.", "gcp"}, {"gcloud", "gcp"}, {"(authorizationfailed)", "azure"}, {"upload to project", "pypi"}, {"non-existent authentication", "pypi"}, {"pypi", "pypi"}, {"docker", "docker"}, {"wandb", "wandb"}, {"openai", "openai"}, {"api key", "openai"},
		{"bad credentials", "github"},
	} {
		if strings.Contains(low, s.word) {
			m.Facts["service"] = s.name
			return
		}
	}
	if host := hostIn(t); host != "" {
		m.Facts["service"] = host
	}
}

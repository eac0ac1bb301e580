package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// credentialName is what names of credentials in the environment look like.
const credentialName = `[A-Z][A-Z0-9_]*(?:TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?|PAT)(?:_[A-Z]+)?`

func credentialsMissing() *Rule {
	return &Rule{
		ID: "credentials-missing", Category: "credentials-missing",
		Title:    "A credential is not set",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankSetup - 1, Confidence: 0.93,
		Last: true,
		Patterns: patterns(
			`[Uu]nable to locate credentials|NoCredentialsError`,
			`Could not load credentials from any providers|Credentials could not be loaded`,
			`[Dd]efault credentials were not found`,
			`Input required and not supplied: (?P<name>[\w-]*(?i:token|key|secret|password|username|credentials)[\w-]*)`,
			exc+`KeyError: '(?P<name>`+credentialName+`)'`,
			`The api_key client option must be set either by passing api_key to the client or by setting the (?P<name>\w+) environment variable`,
			`Username and password required`,
			`wandb: ERROR api_key not configured|wandb\.errors\.\S*: api_key not configured|No API key configured\. Use`,
			`must specify exactly one of .?"?(?:workload_identity_provider|credentials_json)`,
			`fatal: could not read Username for '(?P<name>[^']+)'`,
			`(?i:error|fatal|exception|failed|missing)\b.*\b(?P<name>`+credentialName+`)\b.{0,30}(?:environment variable|is not set|not set\b|is required but not set|must be set|not found in environment)`,
			`^(?:(?i:error): )?(?:[Tt]he )?(?:[Ee]nvironment variable |[Ss]ecret |env var )['"\x60]?(?P<name>`+credentialName+`)['"\x60]? (?:is not set|is required|must be set|not set|is missing)`,
			`(?i:azure|azuread|login).*credentials were not provided`,
		),
		Keys: []string{"name"},
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			if sec, _ := w.Section(); sec == failing || sec == unit || sec == jest {
				// A test that needs a secret fails for it; one that only prints about
				// it does not.
				if !strings.Contains(t, "KeyError") && !strings.Contains(t, "api_key client option") && !strings.Contains(t, "NoCredentials") && !strings.Contains(t, "efault credentials") {
					return false
				}
			}
			return true
		},
	}
}

func credentialsExpired() *Rule {
	return &Rule{
		ID: "credentials-expired", Category: "credentials-expired",
		Title:    "A credential is not valid any more",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankSetup, Confidence: 0.93,
		Last: true,
		Patterns: patterns(
			`[Tt]he security token included in the request is (?:invalid|expired)`,
			`\((?:ExpiredToken|ExpiredTokenException|InvalidClientTokenId|InvalidAccessKeyId|SignatureDoesNotMatch|UnrecognizedClientException|AuthFailure)\) when calling`,
			`\b(?:InvalidClientTokenId|ExpiredTokenException|UnrecognizedClientException): `,
			`(?:HttpError|RequestError|Error|remote|401|fatal|message).{0,30}\bBad credentials\b`,
			`certificate has expired`,
			`(?i)(?:error|exception|failed|denied|401|unauthorized|invalid).*\btoken (?:has|is) expired`,
			`(?:error|Error|RefreshError).{0,30}\binvalid_grant\b`,
			`Incorrect API key provided|AuthenticationError.*Invalid API key`,
			`Invalid or non-existent authentication information`,
			`Authentication failed for '(?P<service>https?://[^']+)'`,
			`unauthorized: incorrect username or password`,
			`[Uu]nauthorized: authentication required`,
			`Invalid or expired token`,
			`Invalid user token\.`,
			`AADSTS7000(?:215|222)|AADSTS700082`,
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

func credentialsDenied() *Rule {
	return &Rule{
		ID: "credentials-denied", Category: "credentials-denied",
		Title:    "Valid credentials without the right to do it",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankSetup - 2, Confidence: 0.9,
		Last: true,
		Patterns: patterns(
			`\((?:AccessDenied|AccessDeniedException|UnauthorizedOperation)\) when calling`,
			`AccessDenied(?:Exception)?: `,
			`is not authorized to perform:? `,
			`Not authorized to perform sts:AssumeRoleWithWebIdentity`,
			`Permission '?[\w.]+'? denied on resource`,
			`\(AuthorizationFailed\)|AuthorizationPermissionMismatch`,
			`isn't allowed to upload to project`,
			`does not have storage\.\w+\.\w+ access`,
			`denied: requested access to the resource is denied`,
			`(?:ERROR|Error|error|403).*does not have permission to access`,
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
		{"storage.", "gcp"}, {"google", "gcp"}, {"iam.", "gcp"}, {"pypi", "pypi"}, {"docker", "docker"}, {"wandb", "wandb"}, {"openai", "openai"}, {"api key", "openai"},
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

package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func credentialsExpired() *Rule {
	return &Rule{
		ID: "credentials-expired", Category: "credentials-expired",
		Title:    "A credential is not valid any more",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankSetup,
		Last:      true,
		FactNames: []string{"service"},
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
			`failed: FATAL: +password authentication failed for user`,
			`Incorrect username or password was specified`,
			`error: You must be logged in to the server`,
			`npm (?:ERR!|error) code E401`,
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

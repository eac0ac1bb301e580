package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// sensitiveName is what names of credentials in the environment look like.
const sensitiveName = `[A-Z][A-Z0-9_]*(?:TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?|PAT)(?:_[A-Z]+)?`

func credentialsMissing() *Rule {
	return &Rule{
		ID: "credentials-missing", Category: "credentials-missing",
		Title:    "A credential is not set",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankSetup - 1,
		Last:      true,
		FactNames: []string{"name"},
		Patterns: patterns(
			`[Uu]nable to locate credentials|NoCredentialsError: `,
			`Could not load credentials from any providers|Credentials could not be loaded`,
			`[Dd]efault credentials were not found`,
			`Input required and not supplied: (?P<name>[\w-]*(?i:token|key|secret|password|username|credentials)[\w-]*)`,
			exc+`KeyError: '(?P<name>`+sensitiveName+`)'`,
			`The api_key client option must be set either by passing api_key to the client or by setting the (?P<name>\w+) environment variable`,
			`Username and password required`,
			`^npm (?:ERR!|error) code ENEEDAUTH`,
			`To use GitHub CLI in a GitHub Actions workflow, set the (?P<name>GH_TOKEN) environment variable`,
			`[Cc]annot perform an interactive login from a non.TTY device`,
			`PartialCredentialsError: `,
			`wandb: ERROR api_key not configured|wandb\.errors\.\S*: api_key not configured|No API key configured\. Use`,
			`must specify exactly one of .?"?(?:workload_identity_provider|credentials_json)`,
			`fatal: could not read Username for '`,
			`(?i:error|fatal|exception|failed|missing)\b.*\b(?P<name>`+sensitiveName+`)\b.{0,30}(?:environment variable|is not set|not set\b|is required but not set|must be set|not found in environment)`,
			`^(?:(?i:error): )?(?:[Tt]he )?(?:[Ee]nvironment variable |[Ss]ecret |env var )['"\x60]?(?P<name>`+sensitiveName+`)['"\x60]? (?:is not set|is required|must be set|not set|is missing)`,
			`Login failed with Error: .*Not all values are present`,
			`No credentials found\. Add an Azure login action before this action`,
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

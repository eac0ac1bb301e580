package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func tokenPermission() *Rule {
	return &Rule{
		ID: "token-permission", Category: "token-permission",
		Title:    "The workflow's token lacks a permission",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankSetup + 5,
		FactNames: []string{"permission", "step"},
		Patterns: patterns(
			`Resource not accessible by (?:integration|personal access token)`,
			`denied: installation not allowed to (?P<permission>Write|Create) (?:organization )?package`,
			"refusing to allow a(?:n OAuth| GitHub) App to create or update (?P<permission>workflow)",
			`GitHub Actions is not permitted to create or approve (?P<permission>pull requests)`,
			`Permission to \S+ denied to github-actions\[bot\]`,
			`Unable to get ACTIONS_ID_TOKEN_REQUEST_URL env variable`,
			`permission_denied: (?P<permission>write_package)`,
		),
		Keys: []string{"permission", domain.KeyPlace},
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			switch m.Facts["permission"] {
			case "workflow":
				m.Facts["permission"] = "workflows"
			case "pull requests":
				m.Facts["permission"] = "pull-requests"
			case "write_package", "Write", "Create":
				m.Facts["permission"] = "packages"
			case "":
				switch {
				case strings.Contains(t, "ACTIONS_ID_TOKEN"):
					m.Facts["permission"] = "id-token"
				case strings.Contains(t, "denied to"):
					m.Facts["permission"] = "contents"
				default:
					if p := acceptedPermission(w); p != "" {
						m.Facts["permission"] = p
					}
				}
			}
			return true
		},
	}
}

var (
	acceptedHeader = re(`['"]x-accepted-github-permissions['"]: ['"]([\w-]+)=`)
	restPath       = re(`/repos/[^/\s]+/[^/\s]+/(issues|pulls|check-runs|statuses|deployments|actions|contents|releases|git|labels|packages|pages|code-scanning|dependabot)\b`)
)

// acceptedPermission reads which permission GitHub asked for: from the header
// that it names it in, else from the path of the request.
func acceptedPermission(w *Window) string {
	for i := 0; i <= after; i++ {
		t, ok := w.Text(i)
		if !ok {
			break
		}
		if p := acceptedHeader.FindStringSubmatch(t); p != nil {
			return strings.ReplaceAll(p[1], "_", "-")
		}
	}
	for i := -6; i <= after; i++ {
		t, ok := w.Text(i)
		if !ok {
			continue
		}
		if p := restPath.FindStringSubmatch(t); p != nil {
			switch p[1] {
			case "pulls":
				return "pull-requests"
			case "check-runs":
				return "checks"
			case "contents", "releases", "git":
				return "contents"
			case "labels", "issues":
				return "issues"
			case "code-scanning":
				return "security-events"
			default:
				return p[1]
			}
		}
	}
	return ""
}

package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/functions/detect/logs"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func tokenPermission() *Rule {
	return &Rule{
		ID: "token-permission", Category: "token-permission",
		Title:    "The workflow's token lacks a permission",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankSetup + 5, Confidence: 0.96,
		Patterns: patterns(
			`Resource not accessible by (?:integration|personal access token)`,
			"refusing to allow a(?:n OAuth| GitHub) App to create or update (?P<permission>workflow)",
			`GitHub Actions is not permitted to create or approve (?P<permission>pull requests)`,
			`Permission to \S+ denied to github-actions\[bot\]`,
			`Unable to get ACTIONS_ID_TOKEN_REQUEST_URL env variable`,
			`permission_denied: (?P<permission>write_package)`,
		),
		Keys: []string{"permission"},
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			switch m.Facts["permission"] {
			case "workflow":
				m.Facts["permission"] = "workflows"
			case "pull requests":
				m.Facts["permission"] = "pull-requests"
			case "write_package":
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

func workflowInvalid() *Rule {
	return &Rule{
		ID: "workflow-invalid", Category: "workflow-invalid",
		Title:    "The workflow refers to something that does not exist or does not parse",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankRunner + 3, Confidence: 0.95,
		Patterns: patterns(
			`Invalid workflow file: (?P<file>\S+?)(?:#L(?P<line>\d+))?$`,
			"Unable to resolve action `?(?P<action>[^`,\\s]+)`?",
			`Can't find 'action\.yml', 'action\.yaml' or 'Dockerfile' under '(?P<file>[^']+)'`,
			`The workflow is not valid\. (?P<file>\S+) \(Line: (?P<line>\d+)`,
			`The template is not valid\. (?P<file>\S+) \(Line: (?P<line>\d+)`,
			`\(Line: (?P<line>\d+), Col: \d+\): (?:Unexpected value|Unrecognized named-value)`,
			`Input required and not supplied: (?P<input>[\w-]+)`,
			`error parsing called workflow`,
		),
		Keys: []string{"file", "action", "input"},
		Refine: func(w *Window, m *Match) bool {
			if in := strings.ToLower(m.Facts["input"]); in != "" {
				for _, s := range [...]string{"token", "key", "secret", "password", "username", "credential"} {
					if strings.Contains(in, s) {
						return false // an empty secret
					}
				}
			}
			if f := m.Facts["file"]; f != "" {
				m.Facts["file"] = relative(strings.TrimSuffix(f, ":"))
			}
			return true
		},
	}
}

func artifactNotFound() *Rule {
	return &Rule{
		ID: "artifact-not-found", Category: "artifact-not-found",
		Title:    "An artifact that a step needs was not there",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankAftermath + 3, Confidence: 0.93,
		Patterns: patterns(
			`Artifact not found for name: (?P<artifact>.+)`,
			`Unable to download artifact\(s\): Artifact not found for name: (?P<artifact>\S+)`,
			`Unable to find any artifacts for the associated workflow`,
			`No files were found with the provided path: (?P<artifact>\S+)`,
			`Couldn't combine from non-existent path '(?P<artifact>[^']+)'`,
			`^No data to combine$`,
		),
		Keys: []string{"artifact"},
		Refine: func(w *Window, m *Match) bool {
			if strings.Contains(m.textOf(w), "No files were found") {
				return w.Level(0) == logs.Error // if-no-files-found: error
			}
			return true
		},
	}
}

func checkoutFailed() *Rule {
	return &Rule{
		ID: "checkout-failed", Category: "checkout-failed",
		Title:    "The checkout's ref, submodule or LFS object can't be had",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankSetup + 3, Confidence: 0.93,
		Patterns: patterns(
			`fatal: couldn't find remote ref (?P<ref>\S+)`,
			`fatal: (?:reference|unable to read tree|remote error).*(?:is not a tree|not our ref):? ?(?P<ref>\S*)`,
			`A branch or tag with the name '(?P<ref>[^']+)' could not be found`,
			`smudge filter lfs failed|This repository (?:is over|exceeded) its (?:LFS )?(?:data quota|budget)`,
			`fatal: clone of '(?P<ref>[^']+)' into submodule path`,
			`error: pathspec '(?P<ref>[^']+)' did not match any file\(s\) known to git`,
			`Fetched in submodule path '(?P<ref>[^']+)', but it did not contain`,
		),
		Keys: []string{"ref"},
	}
}

func gitPushRejected() *Rule {
	return &Rule{
		ID: "git-push-rejected", Category: "git-push-rejected",
		Title:    "A push was refused",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankSetup - 2, Confidence: 0.95,
		Patterns: patterns(
			`! \[(?:remote )?rejected\]\s+(?P<ref>\S+) `,
			`error: failed to push some refs to`,
		),
		Keys: []string{"ref"},
	}
}

func gitConflict() *Rule {
	return &Rule{
		ID: "git-conflict", Category: "git-conflict",
		Title:    "A merge, rebase or cherry-pick conflicted",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankSetup - 1, Confidence: 0.95,
		Patterns: patterns(
			`^CONFLICT \([\w/ ]+\): Merge conflict in \S+`,
			`^Automatic merge failed; fix conflicts`,
			`^error: could not apply [0-9a-f]{7,}`,
		),
	}
}

func dirtyCheckout() *Rule {
	return &Rule{
		ID: "dirty-checkout", Category: "dirty-checkout",
		Title:    "The working tree had changes",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankSetup - 3, Confidence: 0.9,
		Patterns: patterns(
			`^error: (?:Your local changes to the following files|The following untracked working tree files) would be overwritten by`,
			`^error: cannot (?:pull with rebase|rebase): You have unstaged changes`,
			`^(?:error|fatal|Error): .*(?:[Uu]ncommitted changes|commit your changes or stash them)`,
		),
	}
}

func runnerLost() *Rule {
	return &Rule{
		ID: "runner-lost", Category: "runner-lost",
		Title:    "The runner stopped answering",
		Severity: Medium, Remedy: domain.RemedyRetry, Rank: RankResource - 1, Confidence: 0.92,
		Patterns: patterns(
			`The runner has received a shutdown signal`,
			`(?:runner|Runner).{0,80}lost communication with the server`,
			`The hosted runner encountered an error while running your job`,
			`The job was not acquired by Runner of type`,
		),
	}
}

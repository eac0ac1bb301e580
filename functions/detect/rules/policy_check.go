package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/functions/detect/logs"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func policyCheck() *Rule {
	return &Rule{
		ID: "policy-check", Category: "policy-check",
		Title:    "A policy of the repository was not met",
		Severity: Low, Remedy: domain.RemedyHuman, Rank: RankStyle + 8,
		FactNames: []string{"check"},
		Patterns: patterns(
			`(?:changelog|Changelog|CHANGELOG|ChangeLog)\w*\b.*\b(?i:(?:missing|required|not (?:been )?(?:updated|found|changed|modified)|must be|no (?:entry|change)|failed|empty)\b)`,
			`\b[Nn]o (?:changes? to|entry in|update to) (?:the )?(?:changelog|Changelog|CHANGELOG|ChangeLog)\b`,
			`^✖\s+(?:subject may not be empty|type may not be empty|type must be one of|header must not be|body's lines)`,
			`^(?:Error|ERROR|##\[error\])?.*(?:commit|Commit).*(?:missing|lacks|without) (?:a )?Signed-off-by`,
			`^(?:[Cc]ommit [0-9a-f]{6,40} )is missing (?:a |the )?Signed-off-by`,
			`No release type found in pull request title`,
			`(?:Unknown|No) release type .*found in pull request title`,
			`^The subject ".*" found in the pull request title`,
			`your project is not compliant with version [\d.]+ of the REUSE Specification`,
			`^No new newsfragments found on this branch`,
			`Dependency review detected (?:vulnerable packages|incompatible licenses|denied packages)`,
			`^Found [1-9]\d* known vulnerabilit(?:y|ies),? .*in \d+ packages?`,
			`\bleaks found: [1-9]\d*`,
			`^Label error\. Requires `,
			`(?i)^(?:error|failed)\b.*licen[cs]e header`,
			`(?i)^(?:error:? )?.*\b(?:pull request|PR) (?:must|should|needs to) have (?:at least|exactly|one|a).*\blabels?\b`,
		),
		Keys: []string{"check"},
		Refine: func(w *Window, m *Match) bool {
			t := strings.ToLower(m.textOf(w))
			if v := vulnerabilities.FindStringSubmatch(t); v != nil && v[1] == v[2] {
				return false
			}
			sec, _ := w.Section()
			failed := sec == failing || policyReport.MatchString(t) || w.Level(0) == logs.Error || policyFailed.MatchString(t)
			if sec == failing && !strings.HasPrefix(m.textOf(w), "E ") || !failed || sec == jest || sec == unit {
				return false
			}
			for _, c := range [...]string{"changelog", "signed-off-by", "license header", "release type", "reuse", "newsfragments", "dependency review", "vulnerabilities", "vulnerability", "leaks", "pull request title", "label", "subject", "type"} {
				if strings.Contains(t, c) {
					m.Facts["check"] = c
					break
				}
			}
			return true
		},
	}
}

// policyReport are reports that say by themselves that something is amiss.
var policyReport = re(`release type|pull request title|reuse specification|no new newsfragments|dependency review|known vulnerabilit|leaks found|^label error`)

// vulnerabilities are pip-audit's counts of what it found and what it was told to
// ignore.
var vulnerabilities = re(`found (\d+) known vulnerabilit\w+, ignored (\d+)`)

var policyFailed = re(`^(?:error|fail|✖|×|❌|no release type|commit [0-9a-f]{6,40} is missing)`)

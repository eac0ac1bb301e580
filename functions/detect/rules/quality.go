package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/functions/detect/logs"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func warningAsError() *Rule {
	return &Rule{
		ID: "warning-as-error", Category: "warning-as-error",
		Title:    "A warning was turned into an error",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankFit - 4, Confidence: 0.92,
		Patterns: patterns(
			`^E {2,}(?P<warning>(?:[\w]+\.)*\w*Warning)(?:: |$)`,
			`[Ww]arning, treated as error`,
			`warnings? (?:being |are )?treated as errors?`,
			`^pytest\.PytestUnraisableExceptionWarning: `,
		),
		Keys: []string{"warning"},
		Refine: func(w *Window, _ *Match) bool {
			sec, _ := w.Section()
			return sec != warnings
		},
	}
}

func benchmarkRegression() *Rule {
	return &Rule{
		ID: "benchmark-regression", Category: "benchmark-regression",
		Title:    "A benchmark is worse than its limit",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankTest + 3, Confidence: 0.92,
		Patterns: patterns(
			`ERROR: Performance has regressed|Performance has regressed:`,
			`Performance alert! Previous value was `,
			`^(?i:error|fail\w*)\b.*[Pp]erformance regression`,
		),
		Refine: func(w *Window, m *Match) bool {
			for i := 0; i <= 4; i++ {
				if t, ok := w.Text(i); ok {
					if s := benchmarkName.FindStringSubmatch(t); s != nil {
						m.Facts["benchmark"] = s[1]
						break
					}
				}
			}
			return true
		},
		Keys: []string{"benchmark"},
	}
}

var benchmarkName = re(`\b((?:test|bench)_\w+)`)

func policyCheck() *Rule {
	return &Rule{
		ID: "policy-check", Category: "policy-check",
		Title:    "A policy of the repository was not met",
		Severity: Low, Remedy: domain.RemedyHuman, Rank: RankStyle + 8, Confidence: 0.88,
		Patterns: patterns(
			`(?:changelog|Changelog|CHANGELOG|ChangeLog)\w*\b.*\b(?i:(?:missing|required|not (?:been )?(?:updated|found|changed|modified)|must be|no (?:entry|change)|failed|empty)\b)`,
			`\b[Nn]o (?:changes? to|entry in|update to) (?:the )?(?:changelog|Changelog|CHANGELOG|ChangeLog)\b`,
			`^✖\s+(?:subject may not be empty|type may not be empty|type must be one of|header must not be|body's lines)`,
			`^(?:Error|ERROR|##\[error\])?.*(?:commit|Commit).*(?:missing|lacks|without) (?:a )?Signed-off-by`,
			`No release type found in pull request title`,
			`(?i)^(?:error|failed)\b.*licen[cs]e header`,
			`(?i)^(?:error:? )?.*\b(?:pull request|PR) (?:must|should|needs to) have (?:at least|exactly|one|a).*\blabels?\b`,
		),
		Keys: []string{"check"},
		Refine: func(w *Window, m *Match) bool {
			t := strings.ToLower(m.textOf(w))
			sec, _ := w.Section()
			failed := sec == failing || w.Level(0) == logs.Error || policyFailed.MatchString(t)
			if sec == failing && !strings.HasPrefix(m.textOf(w), "E ") || !failed || sec == jest || sec == unit {
				return false
			}
			for _, c := range [...]string{"changelog", "signed-off-by", "license header", "release type", "label", "subject", "type"} {
				if strings.Contains(t, c) {
					m.Facts["check"] = c
					break
				}
			}
			return true
		},
	}
}

var policyFailed = re(`^(?:error|fail|✖|×|❌|no release type)`)

func tooling() *Rule {
	return &Rule{
		ID: "tooling", Category: "tooling",
		Title:    "A development tool failed for its own reasons",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankSetup - 6, Confidence: 0.85,
		Patterns: patterns(
			`^(?P<file>\S+: )?error: INTERNAL ERROR`,
			`^An unexpected error has occurred: (?:CalledProcessError|InvalidManifestError|AssertionError|\w+Error)`,
			`^INTERNALERROR> \S*(?:Error|Exception)\b`,
			`^(?P<tool>[\w.-]+(?: \w+)?): error: (?:unrecognized arguments|the following arguments are required)`,
			`^(?:error|Error): (?:unexpected argument|[Nn]o such option|unknown (?:flag|option))`,
			`^no such option: \S+`,
			`internal compiler error:`,
		),
		Keys: []string{"tool"},
		Refine: func(w *Window, m *Match) bool {
			delete(m.Facts, "file")
			t := m.textOf(w)
			switch {
			case strings.Contains(t, "INTERNAL ERROR"):
				m.Facts["tool"] = "mypy"
			case strings.HasPrefix(t, "An unexpected error"):
				m.Facts["tool"] = "pre-commit"
			case strings.HasPrefix(t, "INTERNALERROR"):
				m.Facts["tool"] = "pytest"
			case strings.HasPrefix(t, "no such option"):
				m.Facts["tool"] = "pip"
			}
			return !w.InTest()
		},
	}
}

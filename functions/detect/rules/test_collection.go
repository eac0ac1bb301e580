package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func testCollection() *Rule {
	return &Rule{
		ID: "test-collection", Category: "test-collection",
		Title:    "Tests could not be collected",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankTest - 2,
		FactNames: []string{"file"},
		Patterns: patterns(
			`^E {2,}[\w.]+(?:Error|Exception|Failure)\b.*`,
			`^!+ Interrupted: \d+ errors? during collection !+`,
			`^import file mismatch:$`,
			`^\s*● Test suite failed to run`,
			`^ERROR: file or directory not found: (?P<file>\S+)`,
		),
		Keys: []string{"file"},
		Refine: func(w *Window, m *Match) bool {
			if !strings.HasPrefix(m.textOf(w), "E ") {
				return true
			}
			sec, file := w.Section()
			if sec != collect || continued(w) {
				return false
			}
			m.Facts["file"] = file
			return true
		},
	}
}

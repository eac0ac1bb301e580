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
			`^ERROR (?P<file>\S+\.py)(?: - .+)?$`,
			`^\s*● Test suite failed to run`,
			`^ERROR: file or directory not found: (?P<file>\S+)`,
		),
		Keys: []string{"file"},
		Refine: func(w *Window, m *Match) bool {
			sec, file := w.Section()
			switch t := m.textOf(w); {
			case strings.HasPrefix(t, "ERROR ") && !strings.HasPrefix(t, "ERROR: "):
				return sec == summary
			case !strings.HasPrefix(t, "E "):
				return true
			}
			if sec != collect || continued(w) {
				return false
			}
			m.Facts["file"] = file
			return true
		},
	}
}

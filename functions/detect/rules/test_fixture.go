package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func testFixture() *Rule {
	return &Rule{
		ID: "test-fixture", Category: "test-fixture",
		Title:    "A test's fixture failed",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankTest - 1,
		FactNames: []string{"fixture"},
		Patterns: patterns(
			`^E +fixture '(?P<fixture>[^']+)' not found`,
			`^ScopeMismatch: You tried to access the \w+ scoped fixture (?P<fixture>\w+)`,
			`^ERROR \S+\.py::\S`,
			`^E {2,}(?:[\w.]+(?:Error|Exception|Failure)\b|assert\b|Failed:).*`,
		),
		Keys: []string{"fixture"},
		Refine: func(w *Window, m *Match) bool {
			if m.Facts["fixture"] != "" {
				return true
			}
			sec, _ := w.Section()
			if strings.HasPrefix(m.textOf(w), "ERROR ") {
				return sec == summary // where the report itself was not printed
			}
			if sec != setup || continued(w) {
				return false
			}
			if f, ok := innermostOwn(w.traceback()); ok {
				m.Facts["fixture"] = relative(f.File)
			}
			return true
		},
	}
}

package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func testFailure() *Rule {
	return &Rule{
		ID: "test-failure", Category: "test-failure",
		Title:    "A test failed",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankTest,
		FactNames: []string{"tests", "assertion"},
		Patterns: patterns(
			`^E {2,}(?:(?P<assertion>(?:AssertionError|assert\b|Failed:|[\w.]+(?:Error|Exception|Exit|Interrupt|Failure)\b).*))`,
			`^(?P<assertion>AssertionError\b.*)`,
			`^(?P<assertion>(?:\w+\.)*\w*(?:Error|Exception|Failure): .+)`,
			`^FAILED (?P<tests>[\w./-]+\.py::\S.*?)(?: - (?P<assertion>.+))?$`,
			`^\s{0,4}● (?P<tests>\S.*)$`,
			`^\s*--- FAIL: (?P<tests>\S+) \(`,
			`^test (?P<tests>\S+) \.\.\. FAILED$`,
			`^thread '(?P<tests>[^']+)' (?:\(\d+\) )?panicked at`,
		),
		Keys: []string{"tests"},
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			sec, test := w.Section()
			switch {
			case strings.HasPrefix(t, "FAILED "):
				if sec != summary && sec != plain {
					return false
				}
			case strings.HasPrefix(t, "E "):
				if sec != failing || continued(w) {
					return false
				}
				m.Facts["tests"] = test
			case strings.HasPrefix(strings.TrimSpace(t), "●"):
				return strings.Contains(t, " › ") || thrown(w)
			case strings.HasPrefix(strings.TrimSpace(t), "--- FAIL"), strings.HasPrefix(t, "test "), strings.HasPrefix(t, "thread "):
				return true
			default:
				// An exception at the line's start: only within a test's report.
				if sec != unit || chained(w) {
					return false
				}
				m.Facts["tests"] = test
			}
			if m.Facts["tests"] == "" {
				delete(m.Facts, "tests")
			}
			return true
		},
	}
}

// thrown tells whether a JavaScript runner shows under a test's name what failed
// in it. Suites and the console's output have headings of the same shape.
func thrown(w *Window) bool {
	for i := 1; i <= 12; i++ {
		t, ok := w.Text(i)
		if !ok || strings.Contains(t, "● ") {
			return false
		}
		t = strings.TrimSpace(t)
		if strings.HasPrefix(t, "expect(") || strings.HasPrefix(t, "thrown:") {
			return true
		}
	}
	return false
}

// continued tells whether the match is not the first line of pytest's "E" block.
func continued(w *Window) bool {
	t, ok := w.Text(-1)
	return ok && strings.HasPrefix(t, "E ")
}

// chained tells whether another exception of the same chain came before.
func chained(w *Window) bool {
	for i := -1; i >= -before; i-- {
		t, ok := w.Text(i)
		if !ok || unitHeader.MatchString(t) {
			return false
		}
		if strings.HasPrefix(t, "During handling of the above exception") || strings.HasPrefix(t, "The above exception was the direct cause") {
			return true
		}
	}
	return false
}

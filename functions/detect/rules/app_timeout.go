package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func appTimeout() *Rule {
	return &Rule{
		ID: "app-timeout", Category: "app-timeout",
		Title:    "A test or program gave up waiting",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankCode + 5,
		Last:      true,
		FactNames: []string{"seconds", "test"},
		Patterns: patterns(
			`^E +Failed: Timeout (?:\(?>)(?P<seconds>[\d.]+)s`,
			`^\++ Timeout \++$`,
			`(?:thrown: ")?Exceeded timeout of (?P<ms>\d+) ms for a (?:test|hook)`,
			`Timeout of (?P<ms>\d+)ms (?:exceeded|hit)`,
			exc+`subprocess\.TimeoutExpired: Command .* timed out after (?P<seconds>[\d.]+) seconds`,
			exc+`nbclient\.exceptions\.CellTimeoutError: `,
			`^(?:[Ee]rror: |ERROR: )?(?i:timed out) (?:after (?P<seconds>\d+) ?s(?:ec(?:ond)?s?)? )?(?:while )?waiting for `,
			`panic: test timed out after (?P<duration>\S+)`,
			`\b(?:[Aa]ttempts?|[Rr]etries|tries)\b.{0,40}\b(?:failed|exhausted|exceeded)\b.*\btimed out\b`,
			exc+`(?:playwright\.\S*|selenium\.\S*)?(?:TimeoutError|TimeoutException): (?:.*Timeout (?P<ms>\d+)ms exceeded)?`,
			exc+`(?:asyncio\.(?:exceptions\.)?|concurrent\.futures\.(?:_base\.)?|builtins\.)TimeoutError\b`,
			exc+`TimeoutError(?::.*)?$`,
			`Error: Timed out waiting (?P<ms>\d+)ms from config\.webServer`,
			`timed out waiting for the condition`,
			`^\s*\d+ - (?P<test>\S.*) \(Timeout\)$`,
		),
		Keys: []string{"test"},
		Refine: func(w *Window, m *Match) bool {
			if ms := m.Facts["ms"]; ms != "" {
				if n := atoi(ms); n%1000 == 0 {
					m.Facts["seconds"] = ms[:len(ms)-3]
				} else {
					m.Facts["seconds"] = ms + "e-3"
				}
			}
			delete(m.Facts, "ms")
			delete(m.Facts, "duration")
			sec, test := w.Section()
			if test != "" {
				m.Facts["test"] = test
			}
			t := m.textOf(w)
			if strings.Contains(t, "[Errno 110]") || strings.Contains(t, "ConnectionPool(") {
				return false // the network's
			}
			if !strings.Contains(t, "playwright") && strings.Contains(t, "TimeoutError") && (sec == plain || sec == summary) && !tracebackNear(w) && sec != summary {
				return false
			}
			return true
		},
	}
}

package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// testReport knows the reports of test runners besides pytest, unittest and
// jest, which need to be followed over many lines: see testFailure.
func testReport() *Rule {
	return &Rule{
		ID: "test-report", Category: "test-failure",
		Title:    "A test failed",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankTest,
		FactNames: []string{"tests", "assertion"},
		Patterns: patterns(
			// vitest
			`^\s*FAIL\s{1,3}(?:\|?[\w@/-]+\|? +)?(?P<tests>\S+\.(?:test|spec)\.[cm]?[jt]sx? > .+)$`,
			// mocha, cypress
			`^\s{2,}\d+ failing$`,
			// Playwright
			`^\s+\d+\) (?:\[[\w -]+\] › )?(?P<tests>\S+\.(?:spec|test)\.[cm]?[jt]sx?:\d+:\d+ › .*?)[ ─]*$`,
			// node:test
			`^✖ failing tests:$`,
			// Deno
			`^(?P<tests>\S.*) \.\.\. FAILED \(\d+m?s\)$`,
			// Test Anything Protocol
			`^not ok \d+ (?:- )?(?P<tests>.+)$`,
			// RSpec
			`^\s+Failure/Error: (?P<assertion>.+)$`,
			// PHPUnit
			`^There (?:was|were) \d+ (?:failure|error)s?:$`,
			// CTest
			`^\s*\d+ - (?P<tests>\S.*) \((?:Failed|SEGFAULT|ILLEGAL|NUMERICAL|OTHER_FAULT|Subprocess aborted|Exit code 0x[0-9a-f]+.*)\)$`,
			// GoogleTest, Catch2, doctest
			`^(?:\S+\.(?:cc|cpp|cxx|cu|c|h|hpp):\d+|\S+\.(?:cc|cpp|cxx|cu|c|h|hpp)\(\d+\)): (?:Failure|FAILED:|ERROR: (?:CHECK|REQUIRE)\S*\(.*\) is NOT correct!)$`,
			`^\[  FAILED  \] (?P<tests>[\w/]+\.[\w/]+)`,
			// Maven's Surefire
			`^\[ERROR\] Tests run: .*<<< (?:FAILURE|ERROR)! --? ?in (?P<tests>\S+)`,
			`^\[ERROR\] (?P<tests>\S+) .*<<< (?:FAILURE|ERROR)!`,
			`^\[ERROR\]   (?P<tests>\w+(?:\.\w+)+:\d+) (?P<assertion>.+)$`,
			// Gradle
			`^(?P<tests>[\w.$]+ > .+) FAILED$`,
			// Dart and Flutter
			`^\d\d:\d\d \+\d+(?: ~\d+)? -\d+: (?P<tests>.+) \[E\]$`,
			`EXCEPTION CAUGHT BY FLUTTER TEST FRAMEWORK`,
			// cargo-nextest
			`^\s+FAIL \[\s*[\d.]+s\] (?:\(\s*\d+/\d+\) )?(?P<tests>\S+ \S+)$`,
			// XCTest
			`^\S+\.swift:\d+: error: (?P<tests>-?\[?[\w.]+[ .]\w+\]?) : (?P<assertion>.+)$`,
			// testthat, Julia's Test
			`^── (?:\d+\. )?(?:Failure|Error) \('?(?P<tests>[^')]+)'?\)`,
			`^(?:.+: )?(?:Test Failed|Error During Test) at (?P<tests>\S+)$`,
			// .NET
			`^\s+Failed (?P<tests>\S+(?:\(.*\))?) \[(?:< )?[\d.,]+ m?s\]$`,
			// doctest, outside of pytest
			`^Failed example:$`,
			`^\S+:\d+: DocTestFailure$`,
			// Go: a panic ends the whole binary
			`^panic: .* \[recovered\]$`,
			// behave, Robot Framework
			`^Failing scenarios:$`,
			`^(?P<tests>\S.*?) +\| FAIL \|$`,
		),
		Keys: []string{"tests"},
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			switch {
			case strings.HasPrefix(t, "not ok "):
				// A failure that was announced counts as a success.
				return !strings.Contains(t, "# TODO") && !strings.Contains(t, "# SKIP")
			case strings.HasSuffix(t, " failing"), strings.HasPrefix(t, "✖ failing"), strings.HasPrefix(t, "There w"):
				firstAssertion(w, m)
			}
			return true
		},
	}
}

// firstAssertion moves the match from a report's head to the first failure that
// it lists.
func firstAssertion(w *Window, m *Match) {
	for i := 1; i <= 25; i++ {
		t, ok := w.Text(i)
		if !ok {
			return
		}
		if a := assertionLine.FindStringSubmatch(t); a != nil {
			w.Move(m, i)
			m.Facts["assertion"] = a[1]
			return
		}
		if p := numbered.FindStringSubmatch(t); p != nil && m.Facts["tests"] == "" {
			m.Facts["tests"] = strings.TrimSuffix(p[1], ":")
		}
	}
}

var (
	numbered      = re(`^\s*\d+\) (\S.*)$`)
	assertionLine = re(`^\s*\[?((?:\w+\.)*\w*(?:Error|Exception)(?: \[\w+\])?: .+|Failed asserting that .+|expected .+)$`)
)

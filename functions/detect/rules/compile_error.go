package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func compileError() *Rule {
	return &Rule{
		ID: "compile-error", Category: "compile-error",
		Title:    "A compiler or build tool failed on the code",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankCode + 2,
		FactNames: []string{"file", "line"},
		Patterns: patterns(
			`^(?P<file>\S+\.(?:c|cc|cpp|cxx|cu|cuh|h|hpp|m|mm|swift|kt|kts)):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: `,
			`^(?P<file>\S+\.(?:c|cc|cpp|cxx|cu|h|hpp|cs))\((?P<line>\d+)(?:,\d+)?\): error (?:C|CS)\d+`,
			`^(?P<file>\S+\.cuh?)\((?P<line>\d+)\): (?:catastrophic )?error(?: #\S+)?: `,
			`^(?:e: )?(?:file://)?(?P<file>\S+\.(?:java|scala|kt)):(?P<line>\d+):(?:\d+:?)? error: `,
			`^e: (?:file://)?(?P<file>\S+\.kts?):(?P<line>\d+)`,
			`^error\[E\d{4}\]: `,
			`\[ERROR\] COMPILATION ERROR`,
			`Dependency '\S+' requires libraries and applications that`,
			`Execution failed for task '(?P<task>[^']+)'`,
			`^FAIL\s+\S+ \[build failed\]`,
			`: undefined reference to `,
			`^(?P<file>[\w./-]+\.go):(?P<line>\d+):\d+: (?:undefined: |cannot use |declared and not used|imported and not used|missing return|syntax error|too many arguments|not enough arguments|undeclared name)`,
			`^CMake Error at (?P<file>[^:\s]+):(?P<line>\d+)`,
			`^nvcc fatal`,
			`^\[error\] (?P<file>\S+\.scala):(?P<line>\d+):\d+: `,
			`^(?P<file>\S+\.(?:cs|fs|vb))\((?P<line>\d+),\d+\): error [A-Z]{2,3}\d{4}: `,
			`^error: (?:linking with .cc. failed|could not compile .\S+.)`,
			`^Error compiling Cython file:$`,
			`^\S*ld: (?:error: )?undefined symbol: `,
			`^collect2: error: ld returned`,
			`^(?:ninja: build stopped: subcommand failed|make(?:\[\d+\])?: \*\*\* \[.+\.o\] Error \d+)`,
			`^ERROR: (?P<file>\S+/BUILD(?:\.bazel)?):(?P<line>\d+):\d+: .* failed: \(`,
			`^(?:ERROR|FAILED): Build did NOT complete successfully`,
			`^(?:\[vite\]: )?(?:error during build:|Build failed with \d+ errors?:)$`,
			`^✘ \[ERROR\] .+`,
			`^(?P<file>\S+\.tex):(?P<line>\d+): `,
			`Rollup failed to resolve import|^Module not found: Error: Can't resolve|^Failed to compile\.$`,
		),
		Keys: []string{"file"},
		Refine: func(w *Window, m *Match) bool {
			// Gradle runs tests and linters too; those say more themselves.
			task := strings.ToLower(m.Facts["task"])
			delete(m.Facts, "task")
			if strings.Contains(task, "test") || strings.Contains(task, "lint") || strings.Contains(task, "signing") || strings.HasSuffix(task, "check") || strings.Contains(task, "detekt") || strings.Contains(task, "checkstyle") {
				return false
			}
			if linted.MatchString(m.textOf(w)) {
				return false
			}
			if f := m.Facts["file"]; f != "" {
				m.Facts["file"] = relative(f)
				if strings.HasSuffix(f, ".h") && strings.Contains(m.textOf(w), "No such file") {
					return false
				}
			}
			if strings.Contains(m.textOf(w), "No such file or directory") {
				return false // a header of a library that is not installed
			}
			if strings.HasPrefix(m.textOf(w), "error: could not compile") || strings.HasPrefix(m.textOf(w), "ninja:") || strings.HasPrefix(m.textOf(w), "make") || strings.HasPrefix(m.textOf(w), "collect2:") {
				m.Weak = true // what failed stands above
			}
			for i := 1; i <= 12 && m.Facts["file"] == ""; i++ {
				if t, ok := w.Text(i); ok {
					if p := placeBelow.FindStringSubmatch(t); p != nil {
						m.Facts["file"], m.Facts["line"] = relative(p[1]), p[2]
					}
				}
			}
			return true
		},
	}
}

// linted are findings of linters and tests that print like compilers.
var linted = re(`\.swift:\d+: error: .* : XCT|\[-Wclang-format-violations\]$|\[(?:bugprone|cert|clang-analyzer|cppcoreguidelines|google|misc|modernize|performance|readability)-[\w.,-]+\]$|\.swift:\d+:\d+: error: .* Violation: .*\([a-z_]+\)$`)

// placeBelow is how rustc, Maven, Cython and esbuild name the place of an error
// whose message stands above.
var placeBelow = re(`^(?:\s*--> |\[ERROR\] |\s{4})?(\S+\.(?:rs|java|kt|pyx|pxd|[cm]?[jt]sx?)):\[?(\d+)[:,]\d+[\]:]?(?:\s|$)`)

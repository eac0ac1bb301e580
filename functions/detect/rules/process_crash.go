package rules

import "github.com/mlops-bot/mlops-bot/shared/domain"

func processCrash() *Rule {
	return &Rule{
		ID: "process-crash", Category: "process-crash",
		Title:    "A program crashed",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankCode + 8,
		FactNames: []string{"signal"},
		Patterns: patterns(
			`Fatal Python error: (?P<signal>Segmentation fault|Aborted|Bus error|Illegal instruction|Floating point exception|[\w ]+)`,
			`: line \d+: +\d+ (?P<signal>Segmentation fault|Aborted|Illegal instruction|Bus error|Floating point exception)\b`,
			`^(?:\S+: )?(?P<signal>Segmentation fault|Illegal instruction|Aborted)(?: +\(core dumped\))?(?:\s+\S.*)?\(core dumped\)|^(?P<signal>Segmentation fault)\b`,
			`died with <Signals\.(?P<signal>SIGSEGV|SIGABRT|SIGBUS|SIGILL)`,
			`error Command failed with signal "(?P<signal>SIG(?:SEGV|ABRT|BUS|ILL))"|terminated by another process: signal=(?P<signal>SIG(?:SEGV|ABRT|BUS|ILL))|exitcode *: -(?:6|11) .*|Signal (?:6|11) \((?P<signal>SIGABRT|SIGSEGV)\)`,
			`(?:free\(\): invalid|double free or corruption|\*\*\* stack smashing detected)`,
			`Process completed with exit code (?:139|134|-1073741819)\b`,
			`worker 'gw\d+' crashed while running`,
			`\(signal: \d+, (?P<signal>SIG(?:SEGV|ABRT|BUS|ILL|FPE|TRAP))(?:: [\w ]+)?\)`,
			`^(?P<signal>SIGSEGV): segmentation violation`,
			`^(?:\S+: )?(?P<signal>Segmentation fault|Bus error|Illegal instruction|Abort trap): \d+\b`,
			`\bwas terminated by signal (?P<signal>SIG(?:SEGV|ABRT|BUS|ILL|FPE))\b`,
			`^terminate called after throwing an instance of 'std::(?P<thrown>\w+)'`,
			`^(?:munmap_chunk\(\): |malloc\(\): |realloc\(\): |corrupted size vs\. prev_size)`,
		),
		Keys: []string{"signal", domain.KeyPlace},
		Refine: func(_ *Window, m *Match) bool {
			thrown := m.Facts["thrown"]
			delete(m.Facts, "thrown")
			return thrown != "bad_alloc" // memory, see oom-killed
		},
	}
}

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
			`exitcode *: -(?:6|11) .*|Signal (?:6|11) \((?P<signal>SIGABRT|SIGSEGV)\)`,
			`(?:free\(\): invalid|double free or corruption|\*\*\* stack smashing detected)`,
			`Process completed with exit code (?:139|134|-1073741819)\b`,
			`worker 'gw\d+' crashed while running`,
		),
		Keys: []string{"signal"},
	}
}

package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func oomKilled() *Rule {
	return &Rule{
		ID: "oom-killed", Category: "oom-killed",
		Title:    "Host memory ran out",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankResource + 1,
		FactNames: []string{"exit_code", "asked_bytes"},
		Patterns: patterns(
			exc+`(?:\w+\.)*_?(?:Array)?MemoryError(?:: (?:Unable to allocate (?P<asked_bytes>[\d.]+ [KMGT]?i?B))?.*)?$`,
			`: line \d+: +\d+ Killed\b`,
			`\b[Oo]ut of memory: Killed process \d+`,
			`\boom-kill(?:er|:)|\bOOMKilled\b|\boom_kill event\b`,
			`^make(?:\[\d+\])?: \*\*\* \[[^\]]+\] Killed$`,
			`(?:OSError|BlockingIOError|RuntimeError|ERROR|fatal|fork)\b.*: (?:\[Errno 12\] )?[Cc]annot allocate memory`,
			`what\(\): +std::bad_alloc|terminate called after throwing an instance of 'std::bad_alloc'`,
			`JavaScript heap out of memory`,
			`java\.lang\.OutOfMemoryError`,
			`DefaultCPUAllocator: (?:can't allocate memory: you tried to allocate (?P<asked_bytes>\d+) bytes|not enough memory: you tried to allocate (?P<asked_bytes>\d+) bytes)`,
			`ray\.exceptions\.OutOfMemoryError|\(raylet\).* running low on memory`,
			`SIGKILL! Perhaps out of memory`,
			`OOM when allocating tensor with shape.* on \S*(?i:CPU):\d`,
			`subprocess\.CalledProcessError: .* died with <Signals\.SIGKILL: 9>`,
			`^(?:\S+ )?Killed$`,
		),
		Keys: []string{domain.KeyPlace},
		Refine: func(w *Window, m *Match) bool {
			sizeFact(m, "asked_bytes")
			t := m.textOf(w)
			code := ""
			for i := 0; i <= after && code == ""; i++ {
				next, ok := w.Text(i)
				if !ok {
					break
				}
				if s := exitCode.FindStringSubmatch(next); s != nil {
					code = s[1]
				}
			}
			if made137(w) {
				code = "137"
			}
			if code != "" {
				m.Facts["exit_code"] = code
			}
			switch {
			case strings.Contains(t, "MemoryError"):
				m.Weak = w.answered()
			case strings.Contains(t, "SIGKILL: 9"):
				m.Weak = true
			case strings.Contains(t, ": line ") && strings.Contains(t, " Killed"):
				// A script may end a helper of its own; the kernel's victim is what the
				// step's exit code or make's speaks of.
				m.Weak = code != "" && code != "137"
			case strings.HasSuffix(t, "Killed") && !strings.HasPrefix(t, "make"):
				// The word alone proves nothing: a program may print it.
				return code == "137"
			}
			return true
		},
	}
}

// made137 tells whether make or a script reports the killed command's code.
func made137(w *Window) bool {
	for i := 1; i <= 8; i++ {
		t, ok := w.Text(i)
		if !ok {
			return false
		}
		if strings.Contains(t, "Error 137") || strings.Contains(t, "code 137") || strings.Contains(t, "status 137") {
			return true
		}
	}
	return false
}

var exitCode = re(`(?:Process completed with exit code|exited with(?: code)?|exit(?: status| code)?:?) (\d{1,3})\b`)

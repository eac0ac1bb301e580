package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func missingExecutable() *Rule {
	return &Rule{
		ID: "missing-executable", Category: "missing-executable",
		Title:    "A command is not on the runner",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankSetup - 1,
		FactNames: []string{"command"},
		Patterns: patterns(
			`: line \d+: (?P<command>[\w./+-]+): command not found`,
			`^(?:make|bash|sh|zsh)(?:\[\d+\])?: (?:\d+: )?(?P<command>[\w.+-]+): (?:[Cc]ommand )?not found`,
			`^(?:/bin/)?(?:sh|dash|bash): (?:line )?\d+: (?P<command>[\w./+-]+): not found`,
			`/(?:bash|sh|[\w-]+\.sh): \d+: (?P<command>[\w./+-]+): not found`,
			`^make(?:\[\d+\])?: (?P<command>[\w.+-]+): No such file or directory$`,
			"Executable `(?P<command>[\\w.+-]+)` not found",
			`exec: "(?P<command>[^"]+)": executable file not found in`,
			`^Error: spawn (?P<command>[\w.+-]+) ENOENT`,
			`^(?:/usr/bin/)?env: [‘'](?P<command>[\w.+-]+)[’']: No such file or directory`,
			`error: command '(?P<command>[\w.+-]+)' failed: No such file or directory`,
			`[Uu]nable to locate executable file: (?P<command>[\w+-]+(?:\.\w+)*)`,
			`The term '(?P<command>[^']+)' is not recognized as`,
			`'(?P<command>[\w.+-]+)' is not recognized as an internal or external command`,
			exc+`FileNotFoundError: \[Errno 2\] No such file or directory: '(?P<command>[a-z][\w+-]*)'$`,
			"error: Failed to spawn: `(?P<command>[^`]+)`",
			`(?P<command>\b(?i:graphviz|ffmpeg|tesseract)\b)\S* (?:E|e)xecutables? (?:was |were )?not found`,
			exc+`(?:[\w.]+\.)?(?:TesseractNotFoundError: (?P<command>tesseract) is not installed|ExecutableNotFound: failed to execute (?:PosixPath\('|\[?')?(?P<command>\w+))`,
		),
		Keys: []string{"command"},
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			if strings.Contains(t, "FileNotFoundError") {
				f, ok := innermost(w.traceback())
				return ok && strings.HasSuffix(strings.ReplaceAll(f.File, `\`, "/"), "subprocess.py")
			}
			if m.Facts["command"] == "nvidia-smi" {
				return false
			}
			if !strings.Contains(t, "ot found") || strings.Contains(t, "xecutables not found") || strings.Contains(t, "xecutables were not found") {
				return true
			}
			// A shell goes on after a command that it did not find. The exit code
			// says whether that was the end.
			for i := 1; i <= after; i++ {
				next, ok := w.Text(i)
				if !ok {
					break
				}
				if strings.Contains(next, "Error 127") {
					return true
				}
				if _, code, ok := strings.Cut(next, "Process completed with exit code "); ok {
					return strings.HasPrefix(code, "127") || strings.HasPrefix(t, "Executable ") || strings.HasPrefix(t, "make") || strings.HasPrefix(t, "sh:")
				}
			}
			m.Weak = !strings.HasPrefix(t, "Executable ")
			return true
		},
	}
}

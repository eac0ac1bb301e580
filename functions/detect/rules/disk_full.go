package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func diskFull() *Rule {
	return &Rule{
		ID: "disk-full", Category: "disk-full",
		Title:    "The disk is full",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankResource + 5,
		FactNames: []string{"path"},
		Patterns: patterns(
			`[Nn]o space left on device: '(?P<path>/[^']+)'`,
			`(?P<path>/[\w./@+-]+)'?: [Nn]o space left on device`,
			`(?:OSError|IOError|ERROR|[Ee]rror|ENOSPC|fatal|tar|cp|mv|write|failed|[Cc]annot|could not|unable).*[Nn]o space left on device`,
			`^(?:\S+: )+[Nn]o space left on device\b`,
			`^No space left on device : '(?P<path>/[^']+)'`,
			`[Dd]isk quota exceeded`,
			`There is not enough space on the disk`,
			`You are running out of disk space\. The runner will stop working`,
			`You don't have enough free (?:disk )?space|[Nn]ot enough free disk space|Not enough disk space\. Needed`,
			`(?:database or |[Ee]rror.*)disk is full`,
		),
		Keys: []string{domain.KeyPlace},
		Refine: func(w *Window, m *Match) bool {
			if f := m.Facts["path"]; f != "" {
				m.Facts["path"] = strings.TrimRight(f, "/:")
			}
			t := m.textOf(w)
			m.Weak = strings.Contains(t, "running out of disk space") || strings.Contains(t, "Warning: ")
			return true
		},
	}
}

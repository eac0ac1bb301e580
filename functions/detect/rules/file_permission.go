package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func filePermission() *Rule {
	return &Rule{
		ID: "file-permission", Category: "file-permission",
		Title:    "Permission was denied on a path",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankFit - 3,
		Last:      true,
		FactNames: []string{"path"},
		Patterns: patterns(
			exc+`PermissionError: \[(?:Errno 13|WinError \d+|Errno 1)\] [^:]*: '(?P<path>[^']+)'`,
			exc+`PermissionError: \[(?:Errno 13|Errno 1|WinError \d+)\] `,
			`: line \d+: (?P<path>\S+): Permission denied`,
			`^(?:mkdir|cp|mv|rm|touch|tee|chmod|bash|sh|/bin/sh|tar|ln|install|cat|python3?)\b.*: (?:.*[ '‘])?(?P<path>/?[\w./-]+)['’]?: Permission denied`,
			`\b(?:EACCES): permission denied, \w+ '(?P<path>[^']+)'`,
			`OSError: \[Errno 30\] Read-only file system: '(?P<path>[^']+)'`,
		),
		Keys: []string{"path"},
		Refine: func(_ *Window, m *Match) bool {
			return !strings.Contains(m.Facts["path"], "docker.sock")
		},
	}
}

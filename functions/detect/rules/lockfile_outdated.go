package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func lockfileOutdated() *Rule {
	return &Rule{
		ID: "lockfile-outdated", Category: "lockfile-outdated",
		Title:    "The lock file does not match its manifest",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankSetup + 2,
		FactNames: []string{"tool", "file"},
		Patterns: patterns(
			"`npm ci` can only install packages when your (?P<file>package\\.json)",
			`poetry\.lock (?:is not up to date with pyproject|is not consistent with pyproject)`,
			`pyproject\.toml changed significantly since poetry\.lock was last generated`,
			`ERR_PNPM_OUTDATED_LOCKFILE`,
			`the lock file (?P<file>\S+) needs to be updated but --(?:locked|frozen) was passed`,
			`^go: updates to (?P<file>go\.(?:mod|sum)) needed`,
			`missing (?P<file>go\.sum) entry`,
			`Inconsistent dependency lock file`,
			`lockfile had changes, but lockfile is frozen`,
			`^(?:Error: )?(?P<file>[\w./-]*requirements[\w./-]*\.txt) (?:is|are) (?:out of date|not up to date|outdated)`,
			"The lockfile at `(?P<file>[^`]+)` needs to be updated",
			`[Yy]our lockfile needs to be updated|The lockfile would have been modified by this install`,
			`THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE`,
			`Your Pipfile\.lock \([0-9a-f]+\) is out of date`,
			`Lock file hash doesn't match pyproject\.toml|pdm\.lock is (?:not up to date|outdated)`,
		),
		Keys: []string{"tool", "file"},
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			for _, k := range [...]struct{ has, tool, file string }{
				{"npm ci", "npm", "package-lock.json"}, {"poetry.lock", "poetry", "poetry.lock"}, {"PNPM", "pnpm", "pnpm-lock.yaml"},
				{"uv.lock", "uv", "uv.lock"}, {"lockfile would", "yarn", "yarn.lock"}, {"our lockfile", "yarn", "yarn.lock"},
				{"HASHES", "pip", "requirements.txt"}, {"Pipfile", "pipenv", "Pipfile.lock"}, {"pdm.lock", "pdm", "pdm.lock"}, {"Lock file hash", "pdm", "pdm.lock"},
				{"The lockfile at", "uv", "uv.lock"}, {"the lock file", "cargo", "Cargo.lock"}, {"updates to go.mod", "go", "go.mod"}, {"go.sum", "go", "go.sum"},
				{"Inconsistent dependency", "terraform", ".terraform.lock.hcl"}, {"lockfile is frozen", "bun", "bun.lock"},
			} {
				if strings.Contains(t, k.has) {
					m.Facts["tool"], m.Facts["file"] = k.tool, k.file
					break
				}
			}
			return true
		},
	}
}

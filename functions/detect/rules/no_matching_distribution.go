package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func noMatchingDistribution() *Rule {
	return &Rule{
		ID: "no-matching-distribution", Category: "no-matching-distribution",
		Title:    "The package index has no such version",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankSetup + 1,
		FactNames: []string{"package", "constraint", "available"},
		Patterns: patterns(
			`Could not find a version that satisfies the requirement (?P<package>[A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?(?P<constraint>[^(]*?)(?: \(from [^v)][^)]*\))? \(from versions: (?P<available>[^)]*)\)`,
			`No matching distribution found for (?P<package>[A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?(?P<constraint>[^(]*?)(?: \(from .*)?$`,
			`[Bb]ecause (?P<package>[A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])? was not found in the package registry`,
			`[Bb]ecause there (?:are no versions|is no version) of (?P<package>[A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?(?P<constraint>\S*)`,
			`[Bb]ecause (?P<package>[A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?(?P<constraint>\S*) has no (?:wheels|source distribution)`,
			`Unable to find installation candidates for (?P<package>[A-Za-z0-9][\w.-]*) \((?P<version>[^)]+)\)`,
			"error: [Dd]istribution `(?P<package>[A-Za-z0-9][\\w.-]*)(?P<constraint>==[^\\s`]+)[^`]*` can't be installed because it doesn't have a source distribution or wheel",
			`npm (?:ERR!|error) notarget No matching version found for (?P<package>@?[\w./-]+)@(?P<constraint>\S+?)\.?$`,
			`npm (?:ERR!|error) 404 +'(?P<package>@?[\w./-]+)@(?P<constraint>[^']*)' is not in this registry`,
			`: error NU110[12]: Unable to find package (?P<package>[\w.-]*\w)`,
			`Could not find (?:artifact )?(?P<package>[\w.-]+:[\w.-]+)(?::(?:jar|pom))?:(?P<constraint>[\w.-]+)(?: in |\.$)`,
			`^go: (?P<package>\S+)@(?P<constraint>\S+): (?:invalid version: )?(?:unknown revision|reading .*: 404 Not Found)`,
			`package ‘(?P<package>[\w.]+)’ is not available for this version of R`,
			`^ResolvePackageNotFound:`,
			`PackagesNotFoundError: The following packages are (?:not available from current channels|missing)`,
			`Because \S+ depends on (?P<package>[A-Za-z0-9][\w.-]*) \((?P<constraint>[^)]*)\) which doesn't match any versions`,
		),
		Keys: []string{"package", "constraint"},
		Refine: func(w *Window, m *Match) bool {
			if v := m.Facts["version"]; v != "" {
				delete(m.Facts, "version")
				m.Facts["constraint"] = "==" + v
			}
			if t := m.textOf(w); strings.Contains(t, "PackagesNotFoundError") || strings.Contains(t, "ResolvePackageNotFound") {
				for i := 1; i <= 4; i++ {
					if t, ok := w.Text(i); ok {
						if s := condaSpec.FindStringSubmatch(t); s != nil {
							m.Facts["package"], m.Facts["constraint"] = s[1], s[2]
							break
						}
					}
				}
			}
			// What follows a semicolon says where a requirement counts.
			constraint, _, _ := strings.Cut(m.Facts["constraint"], ";")
			m.Facts["constraint"] = strings.TrimSpace(constraint)
			if v := m.Facts["available"]; v != "" && v != "none" {
				// The newest ones tell enough.
				if list := strings.Split(v, ", "); len(list) > 12 {
					m.Facts["available"] = strings.Join(list[len(list)-12:], ", ")
				}
			}
			// An index that could not be reached has no versions either.
			for i := -1; i >= -12; i-- {
				t, ok := w.Text(i)
				if !ok {
					break
				}
				if networkTrouble.MatchString(t) {
					return false
				}
			}
			return true
		},
	}
}

// condaSpec is one of the packages that conda lists.
var condaSpec = re(`^\s*- (?:[\w.-]+::)?([A-Za-z0-9][\w.-]*?)(?: ?([=<>!~].*))?$`)

var networkTrouble = re(`after connection broken by|Failed to establish a new connection|Temporary failure in name resolution|Could not fetch URL|Max retries exceeded with url`)

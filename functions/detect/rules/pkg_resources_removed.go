package rules

import "github.com/mlops-bot/mlops-bot/shared/domain"

func pkgResourcesRemoved() *Rule {
	return &Rule{
		ID: "pkg-resources-removed", Category: "pkg-resources-removed",
		Title:    "pkg_resources or distutils is gone",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankSetup,
		FactNames: []string{"package"},
		Patterns: patterns(
			exc+`(?:ModuleNotFoundError|ImportError): No module named '?(?P<package>pkg_resources|distutils)\b`,
			exc+`AttributeError: module 'pkgutil' has no attribute 'ImpImporter'`,
		),
		Keys: []string{"package"},
		Refine: func(_ *Window, m *Match) bool {
			if m.Facts["package"] == "" {
				m.Facts["package"] = "pkg_resources" // an old one, which needs pkgutil.ImpImporter
			}
			return true
		},
	}
}

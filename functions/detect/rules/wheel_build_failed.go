package rules

import "github.com/mlops-bot/mlops-bot/shared/domain"

func wheelBuildFailed() *Rule {
	return &Rule{
		ID: "wheel-build-failed", Category: "wheel-build-failed",
		Title:    "A package could not be built from its source",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankSetup - 8,
		FactNames: []string{"package"},
		Patterns: patterns(
			`ERROR: Failed building wheel for (?P<package>[\w.-]+)`,
			`ERROR: (?:Could not build wheels for|Failed to build installable wheels for some pyproject\.toml based projects \(?)\s?(?P<package>[\w.-]+)`,
			"(?:×|error:) Failed to (?:download and )?build `(?P<package>[A-Za-z0-9][\\w.-]*?)(?:==[^`]*|@[^`]*| @ [^`]*)?`",
			`^\s*× (?:Getting requirements to build \w+|Preparing metadata \(\S+\)|Building wheel for \S+ .*|Building \w+ for \S+ .*|python setup\.py \w+|Running setup\.py \w+ for \S+) did not run successfully\.`,
			`^\s*× Encountered error while generating package metadata\.`,
		),
		Keys: []string{"package"},
		Refine: func(w *Window, m *Match) bool {
			// pip's newer reports don't name the package: it is the last one that was
			// collected.
			for i := -1; i >= -before && m.Facts["package"] == ""; i-- {
				t, ok := w.Text(i)
				if !ok {
					break
				}
				m.Facts["package"] = first(collecting, t)
			}
			return true
		},
	}
}

var collecting = re(`^\s*(?:Collecting|Processing) ([A-Za-z0-9][\w.-]*)`)

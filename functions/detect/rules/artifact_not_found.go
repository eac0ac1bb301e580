package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/functions/detect/logs"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func artifactNotFound() *Rule {
	return &Rule{
		ID: "artifact-not-found", Category: "artifact-not-found",
		Title:    "An artifact that a step needs was not there",
		Severity: Medium, Remedy: domain.RemedyHuman, Rank: RankAftermath + 3,
		FactNames: []string{"artifact"},
		Patterns: patterns(
			`Artifact not found for name: (?P<artifact>.+)`,
			`Unable to find any artifacts for the associated workflow`,
			`Unable to find an artifact with the name: (?P<artifact>\S+)`,
			`No artifacts? named "(?P<artifact>[^"]+)" (?:was|were) found`,
			`^(?:Error: )?Path does not exist: (?P<artifact>\S+\.sarif)`,
			`No files were found with the provided path: (?P<artifact>\S+?)\.? `,
			`^no valid artifacts found to download|^no artifact matches any of the names or patterns provided`,
			`Couldn't combine from non-existent path '(?P<artifact>[^']+)'`,
			`^No data to combine$`,
		),
		Keys: []string{"artifact"},
		Refine: func(w *Window, m *Match) bool {
			if strings.Contains(m.textOf(w), "No files were found") {
				return w.Level(0) == logs.Error // if-no-files-found: error
			}
			return true
		},
	}
}

package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func containerImageNotFound() *Rule {
	return &Rule{
		ID: "container-image-not-found", Category: "container-image-not-found",
		Title:    "A container image or tag does not exist",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankSetup,
		FactNames: []string{"image"},
		Patterns: patterns(
			`manifest for (?P<image>\S+) not found`,
			`pull access denied for (?P<image>[^,\s]+)`,
			`failed to resolve source metadata for (?P<image>\S+?): .*(?:not found|manifest unknown)`,
			`reading manifest \S+ in (?P<image>\S+): manifest unknown`,
			`\bmanifest unknown\b`,
			`Failed to pull image "(?P<image>[^"]+)".*(?:ErrImagePull|not found|manifest unknown)`,
			`no match for platform in manifest`,
			`no matching manifest for \S+ in the manifest list entries`,
			`Error response from daemon: No such image: (?P<image>\S+)|An image does not exist locally with the tag: (?P<image>\S+)`,
		),
		Keys: []string{"image"},
		Refine: func(w *Window, m *Match) bool {
			t := m.textOf(w)
			// BuildKit says so of a cache that does not exist yet, and goes on.
			return !strings.Contains(t, "importing cache manifest") && !strings.Contains(t, "failed to configure registry cache importer")
		},
	}
}

package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func dataDownloadFailed() *Rule {
	return &Rule{
		ID: "data-download-failed", Category: "data-download-failed",
		Title:    "A data set's download or its checksum failed",
		Severity: Medium, Remedy: domain.RemedyRetry, Rank: RankFit + 1,
		FactNames: []string{"url"},
		Patterns: patterns(
			`(?:NonMatchingChecksumError|ExpectedMoreDownloadedFiles\w*): ?(?P<url>https?://\S+)?`,
			exc+`RuntimeError: Error downloading \S+$`,
			exc+`RuntimeError: (?:Dataset|File) not found or corrupted`,
			`(?:SHA256|MD5|SHA1|[Hh]ash) hash of downloaded file .* does not match the known hash`,
			`^.{0,40}(?i:error|failed).{0,40}[Dd]ataset download failed`,
			exc+`zipfile\.BadZipFile: File is not a zip file`,
		),
		Keys: []string{"url"},
	}
}

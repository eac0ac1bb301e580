package store

import (
	"context"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

const (
	// maxShas bounds how many commits of a failure's history are looked at.
	maxShas = 50
	// A fingerprint stands in the document of each report that shows it; the index
	// narrows what is searched for it to the days of one workflow.
	queryHistory = `
		SELECT doc FROM run_reports
		WHERE repo_id = ? AND workflow = ? AND stored_at >= ? AND head_sha IN (
			SELECT head_sha FROM run_reports
			WHERE repo_id = ? AND workflow = ? AND stored_at >= ? AND doc LIKE ?
			GROUP BY head_sha ORDER BY MAX(stored_at) DESC, head_sha LIMIT ?)
		ORDER BY stored_at DESC, run_id DESC, attempt DESC LIMIT ?`
)

// FailureHistory returns the reports of the commits on which a workflow failed
// with a fingerprint since a time, the latest first: those of the failed runs and
// of all other runs of these commits, at most 500 reports of 50 commits. It
// reaches as far back as reports are kept. The error is Invalid for what is no
// fingerprint.
func (s *Store) FailureHistory(ctx context.Context, repoID int64, workflow, fingerprint string, since time.Time) ([]domain.RunReport, error) {
	const op = "read the failure's history"
	if !isFingerprint(fingerprint) {
		return nil, domain.Errorf(domain.Invalid, op, "%.40q is no fingerprint", fingerprint)
	}
	from, doc := micros(since), `%"fingerprint":"`+fingerprint+`"%`
	return s.reports(ctx, op, queryHistory, repoID, workflow, from, repoID, workflow, from, doc, maxShas, maxRows)
}

// isFingerprint also keeps a pattern's wildcards out of the query.
func isFingerprint(s string) bool {
	for _, r := range s {
		if (r < '0' || r > '9') && (r < 'a' || r > 'f') {
			return false
		}
	}
	return len(s) == 16
}

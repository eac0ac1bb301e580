package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

const queryPutReport = `
	INSERT INTO run_reports (repo_id, run_id, attempt, installation_id, head_sha, workflow, stored_at, doc)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?)
	ON CONFLICT (repo_id, run_id, attempt) DO UPDATE SET
		installation_id = excluded.installation_id, head_sha = excluded.head_sha, workflow = excluded.workflow,
		stored_at = excluded.stored_at, doc = excluded.doc`

func (c conn) putReport(r domain.RunReport, now time.Time) error {
	doc, err := encode(r)
	if err != nil {
		return err
	}
	_, err = c.exec(queryPutReport, r.Repo.ID, r.Run.ID, r.Run.Attempt, r.Repo.InstallationID, r.Run.HeadSHA, r.Run.WorkflowPath, micros(now), doc)
	return err
}

func (s *Store) reports(ctx context.Context, op, query string, args ...any) (list []domain.RunReport, err error) {
	err = s.look(ctx, op, func(c conn) error {
		list, err = rows(c, query, args, func(r *sql.Rows) (domain.RunReport, error) {
			var doc string
			if err := r.Scan(&doc); err != nil {
				return domain.RunReport{}, err
			}
			return decode[domain.RunReport](doc)
		})
		return err
	})
	return list, err
}

const queryReport = `SELECT doc FROM run_reports WHERE repo_id = ? AND run_id = ? AND attempt = ?`

// Report returns what was found out about a run's attempt. The error wraps
// domain.ErrNotFound where nothing was reported (yet).
func (s *Store) Report(ctx context.Context, repoID, runID int64, attempt int) (domain.RunReport, error) {
	const op = "read the run's report"
	r, found, err := first(s.reports(ctx, op, queryReport, repoID, runID, attempt))
	if err == nil && !found {
		err = s.wrap(op, notFound("report", fmt.Sprintf("%d of run %d", attempt, runID)))
	}
	return r, err
}

const queryReportsBySHA = `
	SELECT doc FROM run_reports
	WHERE repo_id = ? AND head_sha = ? AND (CAST(? AS TEXT) = '' OR workflow = ?)
	ORDER BY run_id, attempt LIMIT ?`

// ReportsBySHA returns the reports of a commit's runs, the oldest first.
// workflow narrows to one workflow path; "" doesn't.
func (s *Store) ReportsBySHA(ctx context.Context, repoID int64, sha, workflow string) ([]domain.RunReport, error) {
	return s.reports(ctx, "read the commit's reports", queryReportsBySHA, repoID, sha, workflow, workflow, maxRows)
}

const (
	// A switch names no installation; the deliveries of its repository do.
	querySetSwitch = `
		INSERT INTO switches (repo_id, installation_id, state, set_by, set_at)
		VALUES (?, (SELECT COALESCE(MAX(installation_id), 0) FROM deliveries WHERE repo_id = ?), ?, ?, ?)
		ON CONFLICT (repo_id) DO UPDATE SET
			installation_id = excluded.installation_id, state = excluded.state, set_by = excluded.set_by, set_at = excluded.set_at`
	queryDeleteSwitch = `DELETE FROM switches WHERE repo_id = ?`
)

func (c conn) putSwitch(w domain.Switch) error {
	var err error
	if w.State == "" {
		_, err = c.exec(queryDeleteSwitch, w.RepoID)
	} else {
		_, err = c.exec(querySetSwitch, w.RepoID, w.RepoID, w.State, w.By, micros(w.At))
	}
	return err
}

const querySwitch = `SELECT state, set_by, set_at FROM switches WHERE repo_id = ?`

// Switch returns the stop that was set for a repository. Its State is "" where
// none is.
func (s *Store) Switch(ctx context.Context, repoID int64) (domain.Switch, error) {
	w := domain.Switch{RepoID: repoID}
	err := s.look(ctx, "read the switch", func(c conn) error {
		var at int64
		_, err := c.row(querySwitch, []any{repoID}, &w.State, &w.By, &at)
		w.At = moment(at)
		return err
	})
	return w, err
}

const queryInsertAudit = `
	INSERT INTO audit (id, at, installation_id, repo_id, actor, action, object, why) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`

// putAudit records an action. seq is its place among those of one commit, so
// that entries of one time keep their order.
func (c conn) putAudit(e domain.AuditEntry, seq int, now time.Time) error {
	if e.At.IsZero() {
		e.At = now
	}
	id := fmt.Sprintf("%016x-%04x-%s", micros(e.At), seq, rand.Text()[:10])
	_, err := c.exec(queryInsertAudit, id, micros(e.At), e.InstallationID, e.RepoID, e.Actor, e.Action, e.Object, shorten(e.Why))
	return err
}

// AuditRecord is a stored entry of the audit log with the id by which the log
// is paged.
type AuditRecord struct {
	ID string
	domain.AuditEntry
}

const queryAudit = `
	SELECT id, at, installation_id, repo_id, actor, action, object, why FROM audit
	WHERE` + conditionScope + `
		AND (CAST(? AS TEXT) = '' OR object = ?)
		AND (CAST(? AS BIGINT) = 0 OR at < ? OR (at = ? AND id < ?))
	ORDER BY at DESC, id DESC LIMIT ?`

// Audit lists the audit log, the newest first. The filter's State doesn't
// narrow it.
func (s *Store) Audit(ctx context.Context, f Filter) (list []AuditRecord, err error) {
	err = s.look(ctx, "read the audit log", func(c conn) error {
		args := arguments(f.scope(), []any{f.Object, f.Object}, f.before(), []any{limited(f.Limit)})
		list, err = rows(c, queryAudit, args, func(r *sql.Rows) (AuditRecord, error) {
			var e AuditRecord
			var at int64
			err := r.Scan(&e.ID, &at, &e.InstallationID, &e.RepoID, &e.Actor, &e.Action, &e.Object, &e.Why)
			e.At = moment(at)
			return e, err
		})
		return err
	})
	return list, err
}

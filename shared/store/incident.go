package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func notFound(what, id string) error {
	return fmt.Errorf("%s %q: %w", what, id, domain.ErrNotFound)
}

const (
	queryIncidentState  = `SELECT version, state FROM incidents WHERE id = ?`
	queryInsertIncident = `
		INSERT INTO incidents (id, version, state, installation_id, repo_id, branch, workflow, fingerprint, run_id,
			opened_at, last_seen_at, closed_at, doc)
		VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	queryUpdateIncident = `
		UPDATE incidents SET version = version + 1, state = ?, installation_id = ?, run_id = ?,
			last_seen_at = ?, closed_at = ?, doc = ?
		WHERE id = ? AND version = ?`
)

// putIncident inserts an incident of version 0 and updates any other one. Its
// place (repository, branch, workflow, fingerprint) never changes.
func (c conn) putIncident(i domain.Incident) error {
	doc, err := encode(i)
	if err != nil {
		return err
	}
	if i.Version == 0 {
		if !domain.IncidentState("").CanMove(i.State) {
			return fail(domain.Bug, "incident %s can't begin as %q", i.ID, i.State)
		}
		_, err = c.exec(queryInsertIncident, i.ID, string(i.State), i.Repo.InstallationID, i.Repo.ID, i.Branch, i.WorkflowPath, i.Fingerprint,
			i.Run.ID, micros(i.OpenedAt), micros(i.LastSeenAt), micros(i.ClosedAt), doc)
		return err
	}
	var version int64
	var state domain.IncidentState
	if _, err := c.row(queryIncidentState, []any{i.ID}, &version, &state); err != nil {
		return err
	}
	if version != i.Version {
		return conflict("incident", i.ID, i.Version)
	}
	if !state.CanMove(i.State) {
		return fail(domain.Bug, "incident %s can't go from %q to %q", i.ID, state, i.State)
	}
	n, err := c.exec(queryUpdateIncident, string(i.State), i.Repo.InstallationID, i.Run.ID,
		micros(i.LastSeenAt), micros(i.ClosedAt), doc, i.ID, i.Version)
	if err == nil && n == 0 {
		err = conflict("incident", i.ID, i.Version)
	}
	return err
}

func conflict(what, id string, version int64) error {
	return fmt.Errorf("%s %s is not at version %d: %w", what, id, version, domain.ErrConflict)
}

// scanIncident reads the columns doc and version.
func scanIncident(r *sql.Rows) (domain.Incident, error) {
	var doc string
	var version int64
	if err := r.Scan(&doc, &version); err != nil {
		return domain.Incident{}, err
	}
	i, err := decode[domain.Incident](doc)
	i.Version = version
	return i, err
}

// incidents runs a query for incidents.
func (s *Store) incidents(ctx context.Context, op, query string, args ...any) (list []domain.Incident, err error) {
	err = s.look(ctx, op, func(c conn) error {
		list, err = rows(c, query, args, scanIncident)
		return err
	})
	return list, err
}

// first returns the first of a list that was read.
func first[T any](list []T, err error) (v T, found bool, _ error) {
	if err != nil || len(list) == 0 {
		return v, false, err
	}
	return list[0], true, nil
}

const queryIncident = `SELECT doc, version FROM incidents WHERE id = ?`

// Incident returns an incident. The error wraps domain.ErrNotFound for an
// unknown id.
func (s *Store) Incident(ctx context.Context, id string) (domain.Incident, error) {
	const op = "read the incident"
	i, found, err := first(s.incidents(ctx, op, queryIncident, id))
	if err == nil && !found {
		err = s.wrap(op, notFound("incident", id))
	}
	return i, err
}

const queryStandingIncident = `
	SELECT doc, version FROM incidents
	WHERE repo_id = ? AND branch = ? AND workflow = ? AND fingerprint = ? AND state IN ('open', 'handed_off')`

// StandingIncident returns the incident of a place that is open or handed off,
// and false where there is none.
func (s *Store) StandingIncident(ctx context.Context, repoID int64, branch, workflow, fingerprint string) (domain.Incident, bool, error) {
	return first(s.incidents(ctx, "read the standing incident", queryStandingIncident, repoID, branch, workflow, fingerprint))
}

const queryStandingIncidents = `
	SELECT doc, version FROM incidents
	WHERE repo_id = ? AND branch = ? AND workflow = ? AND state IN ('open', 'handed_off')
	ORDER BY opened_at, id LIMIT ?`

// StandingIncidents returns the incidents of a branch's workflow that are open
// or handed off, oldest first.
func (s *Store) StandingIncidents(ctx context.Context, repoID int64, branch, workflow string) ([]domain.Incident, error) {
	return s.incidents(ctx, "read the standing incidents", queryStandingIncidents, repoID, branch, workflow, maxRows)
}

const queryIncidentsByRun = `
	SELECT doc, version FROM incidents WHERE repo_id = ? AND run_id = ? ORDER BY opened_at, id LIMIT ?`

// IncidentsByRun returns the incidents that a run showed last, oldest first.
func (s *Store) IncidentsByRun(ctx context.Context, repoID, runID int64) ([]domain.Incident, error) {
	return s.incidents(ctx, "read the run's incidents", queryIncidentsByRun, repoID, runID, maxRows)
}

const queryRecentIncidents = `
	SELECT COUNT(*), COUNT(DISTINCT repo_id) FROM incidents WHERE installation_id = ? AND last_seen_at >= ?`

// RecentIncidents counts an installation's incidents that were seen since a
// time, and the repositories that they are in.
func (s *Store) RecentIncidents(ctx context.Context, installationID int64, since time.Time) (incidents, repos int, err error) {
	err = s.look(ctx, "count recent incidents", func(c conn) error {
		_, err := c.row(queryRecentIncidents, []any{installationID, micros(since)}, &incidents, &repos)
		return err
	})
	return incidents, repos, err
}

const queryLastResolved = `
	SELECT doc, version FROM incidents
	WHERE repo_id = ? AND branch = ? AND workflow = ? AND fingerprint = ? AND state = 'resolved' AND closed_at >= ?
	ORDER BY closed_at DESC, id DESC LIMIT 1`

// LastResolved returns the incident of a place that was resolved last, and false
// where none was resolved since a time.
func (s *Store) LastResolved(ctx context.Context, repoID int64, branch, workflow, fingerprint string, since time.Time) (domain.Incident, bool, error) {
	return first(s.incidents(ctx, "read the last resolved incident", queryLastResolved, repoID, branch, workflow, fingerprint, micros(since)))
}

// Filter narrows a list that is read newest first. Zero fields don't narrow.
type Filter struct {
	InstallationID int64
	RepoID         int64
	State          string
	// Before and BeforeID are the time and id of the last item of the previous
	// page: OpenedAt of an incident, CreatedAt of a repair, At of an audit entry.
	// BeforeID may be empty, which leaves out all items of that very time.
	Before   time.Time
	BeforeID string
	// Object narrows the audit log to one object.
	Object string
	// Limit is 500 at most, and by default.
	Limit int
}

// A condition on a zero value is always true. Casts tell Postgres the types of
// placeholders that it can't infer.
const (
	conditionScope = `
		(CAST(? AS BIGINT) = 0 OR installation_id = ?) AND (CAST(? AS BIGINT) = 0 OR repo_id = ?)`
	conditionState = `
		AND (CAST(? AS TEXT) = '' OR state = ?)`
)

func (f Filter) scope() []any {
	return []any{f.InstallationID, f.InstallationID, f.RepoID, f.RepoID}
}

// before returns the arguments of a keyset condition.
func (f Filter) before() []any {
	us := micros(f.Before)
	return []any{us, us, us, f.BeforeID}
}

func arguments(parts ...[]any) (all []any) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

const queryIncidents = `
	SELECT doc, version FROM incidents
	WHERE` + conditionScope + conditionState + `
		AND (CAST(? AS BIGINT) = 0 OR opened_at < ? OR (opened_at = ? AND id < ?))
	ORDER BY opened_at DESC, id DESC LIMIT ?`

// Incidents lists incidents, the newest first.
func (s *Store) Incidents(ctx context.Context, f Filter) ([]domain.Incident, error) {
	args := arguments(f.scope(), []any{f.State, f.State}, f.before(), []any{limited(f.Limit)})
	return s.incidents(ctx, "list incidents", queryIncidents, args...)
}

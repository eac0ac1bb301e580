package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

const (
	queryRepairState  = `SELECT version, state FROM repairs WHERE id = ?`
	queryInsertRepair = `
		INSERT INTO repairs (id, version, state, installation_id, repo_id, incident_id, root, attempt, action, plan_key,
			branch, base_branch, pull_number, run_id, created_at, ended_at, doc)
		VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	queryUpdateRepair = `
		UPDATE repairs SET version = version + 1, state = ?, installation_id = ?, plan_key = ?, branch = ?, base_branch = ?,
			pull_number = ?, run_id = ?, ended_at = ?, doc = ?
		WHERE id = ? AND version = ?`
	queryCountOutcome = `
		INSERT INTO outcomes (repo_id, rule, strategy, state, installation_id, n) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (repo_id, rule, strategy, state) DO UPDATE SET n = outcomes.n + excluded.n`
)

// putRepair inserts a repair of version 0 and updates any other one.
func (c conn) putRepair(r domain.Repair) error {
	doc, err := encode(r)
	if err != nil {
		return err
	}
	var was domain.RepairState
	if r.Version == 0 {
		if !was.CanMove(r.State) {
			return fail(domain.Bug, "repair %s can't begin as %q", r.ID, r.State)
		}
		_, err = c.exec(queryInsertRepair, r.ID, string(r.State), r.Repo.InstallationID, r.Repo.ID, r.IncidentID, r.Root, r.Attempt,
			string(r.Plan.Action), r.PlanKey, r.Branch, r.BaseBranch, r.PullNumber, r.RunID, micros(r.CreatedAt), micros(r.EndedAt), doc)
		return err
	}
	var version int64
	if _, err := c.row(queryRepairState, []any{r.ID}, &version, &was); err != nil {
		return err
	}
	if version != r.Version {
		return conflict("repair", r.ID, r.Version)
	}
	if !was.CanMove(r.State) {
		return fail(domain.Bug, "repair %s can't go from %q to %q", r.ID, was, r.State)
	}
	n, err := c.exec(queryUpdateRepair, string(r.State), r.Repo.InstallationID, r.PlanKey, r.Branch, r.BaseBranch,
		r.PullNumber, r.RunID, micros(r.EndedAt), doc, r.ID, r.Version)
	if err != nil {
		return err
	}
	if n == 0 {
		return conflict("repair", r.ID, r.Version)
	}
	if was == r.State {
		return nil
	}
	if err := c.countOutcome(r, was, -1); err != nil {
		return err
	}
	return c.countOutcome(r, r.State, 1)
}

// countOutcome counts a repair that comes to a state (1) or leaves it (-1).
func (c conn) countOutcome(r domain.Repair, state domain.RepairState, add int) error {
	if ending(&domain.Record{}, state) == nil {
		return nil
	}
	_, err := c.exec(queryCountOutcome, r.Repo.ID, r.Rule, r.Plan.Strategy, string(state), r.Repo.InstallationID, add)
	return err
}

// scanRepair reads the columns doc and version.
func scanRepair(r *sql.Rows) (domain.Repair, error) {
	var doc string
	var version int64
	if err := r.Scan(&doc, &version); err != nil {
		return domain.Repair{}, err
	}
	v, err := decode[domain.Repair](doc)
	v.Version = version
	return v, err
}

// repairs runs a query for repairs.
func (s *Store) repairs(ctx context.Context, op, query string, args ...any) (list []domain.Repair, err error) {
	err = s.look(ctx, op, func(c conn) error {
		list, err = rows(c, query, args, scanRepair)
		return err
	})
	return list, err
}

// count runs a query for one number.
func (s *Store) count(ctx context.Context, op, query string, args ...any) (n int, err error) {
	err = s.look(ctx, op, func(c conn) error {
		_, err := c.row(query, args, &n)
		return err
	})
	return n, err
}

const queryRepair = `SELECT doc, version FROM repairs WHERE id = ?`

// Repair returns a repair. The error wraps domain.ErrNotFound for an unknown id.
func (s *Store) Repair(ctx context.Context, id string) (domain.Repair, error) {
	const op = "read the repair"
	r, found, err := first(s.repairs(ctx, op, queryRepair, id))
	if err == nil && !found {
		err = s.wrap(op, notFound("repair", id))
	}
	return r, err
}

const queryRepairsOfRoot = `SELECT doc, version FROM repairs WHERE root = ? ORDER BY attempt LIMIT ?`

// RepairsOfRoot returns all attempts on a root incident's chain, in their order.
func (s *Store) RepairsOfRoot(ctx context.Context, root string) ([]domain.Repair, error) {
	return s.repairs(ctx, "read the incident's repairs", queryRepairsOfRoot, root, maxRows)
}

const queryRepairByBranch = `
	SELECT doc, version FROM repairs WHERE repo_id = ? AND branch = ? ORDER BY created_at DESC, id DESC LIMIT 1`

// RepairByBranch returns the repair whose branch has a name, and false where
// there is none.
func (s *Store) RepairByBranch(ctx context.Context, repoID int64, branch string) (domain.Repair, bool, error) {
	if branch == "" { // reruns have none
		return domain.Repair{}, false, nil
	}
	return first(s.repairs(ctx, "read the branch's repair", queryRepairByBranch, repoID, branch))
}

const queryRepairByPlanKey = `
	SELECT doc, version FROM repairs
	WHERE repo_id = ? AND plan_key = ? AND state IN ('intended', 'proposed', 'verified')
	ORDER BY created_at DESC, id DESC LIMIT 1`

// RepairByPlanKey returns the repair that makes a plan's change already, be it
// intended, proposed or verified, and false where there is none.
func (s *Store) RepairByPlanKey(ctx context.Context, repoID int64, planKey string) (domain.Repair, bool, error) {
	return first(s.repairs(ctx, "read the plan's repair", queryRepairByPlanKey, repoID, planKey))
}

const queryRepairByPull = `
	SELECT doc, version FROM repairs WHERE repo_id = ? AND pull_number = ? ORDER BY created_at DESC, id DESC LIMIT 1`

// RepairByPull returns the repair of a pull request, and false where there is
// none.
func (s *Store) RepairByPull(ctx context.Context, repoID int64, number int) (domain.Repair, bool, error) {
	if number == 0 { // reruns have none
		return domain.Repair{}, false, nil
	}
	return first(s.repairs(ctx, "read the pull request's repair", queryRepairByPull, repoID, number))
}

const queryRepairsByRun = `
	SELECT doc, version FROM repairs WHERE repo_id = ? AND run_id = ? AND action = 'rerun' ORDER BY created_at, id LIMIT ?`

// RepairsByRun returns the repairs that repeat a run, oldest first.
func (s *Store) RepairsByRun(ctx context.Context, repoID, runID int64) ([]domain.Repair, error) {
	return s.repairs(ctx, "read the run's repairs", queryRepairsByRun, repoID, runID, maxRows)
}

const queryOpenPulls = `
	SELECT COUNT(*) FROM repairs
	WHERE repo_id = ? AND (pull_number > 0 AND state IN ('proposed', 'verified', 'unverifiable') OR action = 'edit' AND state = 'intended')`

// OpenPulls counts a repository's repairs whose pull request waits for somebody,
// those that are about to be opened included.
func (s *Store) OpenPulls(ctx context.Context, repoID int64) (int, error) {
	return s.count(ctx, "count open pull requests", queryOpenPulls, repoID)
}

const queryRepairsSince = `SELECT COUNT(*) FROM repairs WHERE repo_id = ? AND created_at >= ? AND state <> 'refused'`

// RepairsSince counts a repository's repairs that were begun since a time. What
// was refused was not begun.
func (s *Store) RepairsSince(ctx context.Context, repoID int64, since time.Time) (int, error) {
	return s.count(ctx, "count repairs", queryRepairsSince, repoID, micros(since))
}

const queryLandedRepairs = `
	SELECT doc, version FROM repairs
	WHERE repo_id = ? AND state = 'landed' AND ended_at >= ? AND (CAST(? AS TEXT) = '' OR base_branch = ?)
	ORDER BY ended_at DESC, id DESC LIMIT ?`

// LandedRepairs returns a repository's repairs that landed since a time and did
// not regress, the latest first. branch narrows to the branch that they landed
// on; "" doesn't.
func (s *Store) LandedRepairs(ctx context.Context, repoID int64, branch string, since time.Time) ([]domain.Repair, error) {
	return s.repairs(ctx, "read landed repairs", queryLandedRepairs, repoID, micros(since), branch, branch, maxRows)
}

const queryRepairs = `
	SELECT doc, version FROM repairs
	WHERE` + conditionScope + conditionState + `
		AND (CAST(? AS BIGINT) = 0 OR created_at < ? OR (created_at = ? AND id < ?))
	ORDER BY created_at DESC, id DESC LIMIT ?`

// Repairs lists repairs, the newest first.
func (s *Store) Repairs(ctx context.Context, f Filter) ([]domain.Repair, error) {
	args := arguments(f.scope(), []any{f.State, f.State}, f.before(), []any{limited(f.Limit)})
	return s.repairs(ctx, "list repairs", queryRepairs, args...)
}

const queryOutcomes = `
	SELECT state, SUM(n) FROM outcomes
	WHERE rule = ? AND strategy = ? AND (CAST(? AS BIGINT) = 0 OR repo_id = ?)
	GROUP BY state`

// OutcomeCounts returns how the repairs of a rule by a strategy ended, each
// counted once by the state that it is in. repoID 0 is every repository. The
// counts outlive the repairs.
func (s *Store) OutcomeCounts(ctx context.Context, rule, strategy string, repoID int64) (domain.Record, error) {
	var rec domain.Record
	err := s.look(ctx, "count outcomes", func(c conn) error {
		_, err := rows(c, queryOutcomes, []any{rule, strategy, repoID, repoID}, func(r *sql.Rows) (struct{}, error) {
			var state domain.RepairState
			var n int
			if err := r.Scan(&state, &n); err != nil {
				return struct{}{}, err
			}
			if field := ending(&rec, state); field != nil {
				*field = n
			}
			return struct{}{}, nil
		})
		return err
	})
	return rec, err
}

// ending returns the field of a record that counts repairs in a state, and nil
// for a state that says nothing about the strategy.
func ending(rec *domain.Record, state domain.RepairState) *int {
	switch state {
	case domain.RepairVerified:
		return &rec.Verified
	case domain.RepairRejected:
		return &rec.Rejected
	case domain.RepairLanded:
		return &rec.Landed
	case domain.RepairClosed:
		return &rec.Closed
	case domain.RepairRegressed:
		return &rec.Regressed
	default:
		return nil
	}
}

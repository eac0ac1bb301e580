package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Work that is asked for while it is being done is armed again: whoever does it
// may have read the state from before the request. Work that waits only becomes
// due earlier, never later.
const queryAddWork = `
	INSERT INTO work (kind, work_key, owner, installation_id, not_before, rearm_at, lease, lease_until, attempts,
		payload, trace_parent, reason, created_at)
	VALUES (?, ?, ?, ?, ?, -1, '', 0, 0, ?, ?, '', ?)
	ON CONFLICT (kind, work_key) DO UPDATE SET
		rearm_at = CASE
			WHEN work.lease = '' THEN work.rearm_at
			WHEN work.rearm_at >= 0 AND work.rearm_at < excluded.not_before THEN work.rearm_at
			ELSE excluded.not_before END,
		not_before = CASE
			WHEN work.lease = '' AND excluded.not_before < work.not_before THEN excluded.not_before
			ELSE work.not_before END`

func (c conn) addWork(list []domain.Work, now time.Time) error {
	list = slices.Clone(list)
	// Writers lock rows in one order, or two of them could wait for each other.
	slices.SortStableFunc(list, func(a, b domain.Work) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key))
	})
	for _, w := range list {
		if owner(w.Kind) == "" || len(w.Kind) < len(owner(w.Kind))+2 || w.Key == "" {
			return fail(domain.Bug, "work %q %q is not named <function>.<verb> or has no key", w.Kind, w.Key)
		}
		if err := checkPayload(w.Payload); err != nil {
			return err
		}
		if w.CreatedAt.IsZero() {
			w.CreatedAt = now
		}
		if w.NotBefore.IsZero() {
			w.NotBefore = w.CreatedAt
		}
		if _, err := c.exec(queryAddWork, w.Kind, w.Key, owner(w.Kind), installationOf(w.Payload), micros(w.NotBefore),
			string(w.Payload), w.TraceParent, micros(w.CreatedAt)); err != nil {
			return err
		}
	}
	return nil
}

// owner is the function that does work of a kind: the part before the dot.
func owner(kind string) string { o, _, _ := strings.Cut(kind, "."); return o }

func checkPayload(p json.RawMessage) error {
	if len(p) > maxPayload {
		return fail(domain.Bug, "the payload has %d bytes, more than %d: %w", len(p), maxPayload, domain.ErrTooLarge)
	}
	if len(p) > 0 && !json.Valid(p) {
		return fail(domain.Bug, "the payload is no JSON")
	}
	return nil
}

// AddWork adds work. What is there already (by kind and key) keeps its payload
// and becomes due earlier where the new one is; what is being done becomes due
// again when it is done.
func (s *Store) AddWork(ctx context.Context, list ...domain.Work) error {
	if len(list) == 0 {
		return nil
	}
	return s.tx(ctx, "add work", func(c conn) error { return c.addWork(list, s.now()) })
}

// The subquery is materialized so that it runs, and locks, once.
const (
	queryClaimBegin = `
	WITH due AS MATERIALIZED (
		SELECT kind, work_key FROM work
		WHERE owner = ? AND not_before <= ? AND lease_until <= ?
		ORDER BY not_before, kind, work_key LIMIT ? `
	queryClaimEnd = `
	)
	UPDATE work SET lease = ?, lease_until = ?, attempts = attempts + 1
	WHERE (kind, work_key) IN (SELECT kind, work_key FROM due)
	RETURNING kind, work_key, not_before, payload, attempts, lease, trace_parent, created_at`
)

// ClaimWork takes due work of an owner, the part of a kind before the dot, under
// a lease that ends after a duration. Of several callers each piece goes to one.
// Work whose lease has ended is taken over: its holder has died, or is so late
// that Commit will refuse it.
func (s *Store) ClaimWork(ctx context.Context, owner string, now time.Time, lease time.Duration, limit int) (list []domain.Work, err error) {
	query := queryClaimBegin + s.dialect.skipLocked + queryClaimEnd
	err = s.change(ctx, "claim work", func(c conn) error {
		args := []any{owner, micros(now), micros(now), limited(limit), rand.Text(), micros(now.Add(lease))}
		list, err = rows(c, query, args, func(r *sql.Rows) (domain.Work, error) {
			var w domain.Work
			var notBefore, created int64
			var payload string
			err := r.Scan(&w.Kind, &w.Key, &notBefore, &payload, &w.Attempts, &w.Lease, &w.TraceParent, &created)
			w.NotBefore, w.CreatedAt = moment(notBefore), moment(created)
			if payload != "" {
				w.Payload = json.RawMessage(payload)
			}
			return w, err
		})
		return err
	})
	slices.SortFunc(list, func(a, b domain.Work) int {
		return cmp.Or(a.NotBefore.Compare(b.NotBefore), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key))
	})
	return list, err
}

const (
	queryDoneWork  = `DELETE FROM work WHERE kind = ? AND work_key = ? AND lease = ? AND rearm_at < 0`
	queryRearmWork = `
		UPDATE work SET not_before = rearm_at, rearm_at = -1, lease = '', lease_until = 0, attempts = 0, reason = ''
		WHERE kind = ? AND work_key = ? AND lease = ?`
	queryAgainWork = `
		UPDATE work SET
			not_before = CASE WHEN rearm_at >= 0 AND rearm_at < CAST(? AS BIGINT) THEN rearm_at ELSE CAST(? AS BIGINT) END,
			payload = CASE WHEN CAST(? AS BIGINT) = 1 THEN CAST(? AS TEXT) ELSE payload END,
			rearm_at = -1, lease = '', lease_until = 0, attempts = 0, reason = ''
		WHERE kind = ? AND work_key = ? AND lease = ?`
)

// finishWork ends a piece of work that is held: it is done, or due again. The
// error is domain.ErrConflict when somebody else holds it.
func (c conn) finishWork(w domain.Work, again time.Time, payload json.RawMessage) error {
	if w.Lease == "" {
		return fail(domain.Bug, "work %s %s was not claimed", w.Kind, w.Key)
	}
	var n int64
	var err error
	if again.IsZero() {
		if n, err = c.exec(queryDoneWork, w.Kind, w.Key, w.Lease); err == nil && n == 0 {
			n, err = c.exec(queryRearmWork, w.Kind, w.Key, w.Lease)
		}
	} else {
		if err := checkPayload(payload); err != nil {
			return err
		}
		replace := 0
		if payload != nil {
			replace = 1
		}
		n, err = c.exec(queryAgainWork, micros(again), micros(again), replace, string(payload), w.Kind, w.Key, w.Lease)
	}
	return held(w, n, err)
}

// held turns a change of no row into a lost lease.
func held(w domain.Work, n int64, err error) error {
	if err == nil && n == 0 {
		err = fmt.Errorf("the lease of work %s %s is lost: %w", w.Kind, w.Key, domain.ErrConflict)
	}
	return err
}

const queryFailWork = `
	UPDATE work SET
		not_before = CASE WHEN rearm_at >= 0 AND rearm_at < CAST(? AS BIGINT) THEN rearm_at ELSE CAST(? AS BIGINT) END,
		rearm_at = -1, lease = '', lease_until = 0, reason = ?
	WHERE kind = ? AND work_key = ? AND lease = ?`

// FailWork gives back claimed work that failed, to be tried again at a time. Its
// attempts stay counted. The error wraps domain.ErrConflict when the lease is
// lost.
func (s *Store) FailWork(ctx context.Context, w domain.Work, notBefore time.Time, reason string) error {
	return s.change(ctx, "give back failed work", func(c conn) error {
		n, err := c.exec(queryFailWork, micros(notBefore), micros(notBefore), shorten(reason), w.Kind, w.Key, w.Lease)
		return held(w, n, err)
	})
}

const queryBuryWork = `DELETE FROM work WHERE kind = ? AND work_key = ? AND lease = ?`

// BuryWork moves claimed work that will never succeed to the dead letters. The
// error wraps domain.ErrConflict when the lease is lost.
func (s *Store) BuryWork(ctx context.Context, w domain.Work, reason string) error {
	return s.tx(ctx, "bury work", func(c conn) error {
		n, err := c.exec(queryBuryWork, w.Kind, w.Key, w.Lease)
		if err := held(w, n, err); err != nil {
			return err
		}
		return c.putDeadLetter(DeadLetter{Work: &w, Reason: reason, At: s.now()})
	})
}

const queryDueOwners = `
	SELECT DISTINCT owner FROM work WHERE not_before <= ? AND lease_until <= ? ORDER BY owner LIMIT ?`

// DueOwners returns the owners that have work to claim.
func (s *Store) DueOwners(ctx context.Context, now time.Time) (owners []string, err error) {
	err = s.look(ctx, "look for due work", func(c conn) error {
		owners, err = rows(c, queryDueOwners, []any{micros(now), micros(now), maxRows}, func(r *sql.Rows) (string, error) {
			var owner string
			err := r.Scan(&owner)
			return owner, err
		})
		return err
	})
	return owners, err
}

const queryNextDue = `SELECT MIN(CASE WHEN lease_until > not_before THEN lease_until ELSE not_before END) FROM work`

// NextDue returns when the next piece of work can be claimed, which is in the
// past where some can be now, and false where there is no work.
func (s *Store) NextDue(ctx context.Context) (due time.Time, ok bool, err error) {
	err = s.look(ctx, "look when work is due", func(c conn) error {
		var us sql.NullInt64
		_, err := c.row(queryNextDue, nil, &us)
		due, ok = moment(us.Int64), us.Valid
		return err
	})
	return due, ok, err
}

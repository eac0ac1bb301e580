package store

import (
	"context"
	"time"
)

// batch is how many rows one transaction of retention deletes, so that others
// can write in between.
const batch = 1000

// maxBatches bounds one call; what is left is found by the next one.
const maxBatches = 1000

// inBatches repeats a statement that takes a time and a limit until it finds
// nothing more.
func (s *Store) inBatches(ctx context.Context, op, query string, args ...any) (total int64, err error) {
	for range maxBatches {
		var n int64
		err := s.change(ctx, op, func(c conn) (err error) {
			n, err = c.exec(query, arguments(args, []any{batch})...)
			return err
		})
		total += n
		if err != nil || n < batch {
			return total, err
		}
	}
	return total, nil
}

// What Expire deletes, in this order. Counters, histograms and outcomes stay.
var expiries = []string{
	// A delivery goes before its event, so that each has one (see Integrity).
	`DELETE FROM deliveries WHERE id IN (
		SELECT d.id FROM deliveries AS d
		WHERE d.received_at < ? AND NOT EXISTS (SELECT 1 FROM outbox AS o WHERE o.id = d.id AND o.closed_at = 0) LIMIT ?)`,
	// Closed events; what is open waits for its consumers however old it is.
	`DELETE FROM outbox WHERE id IN (
		SELECT id FROM outbox WHERE closed_at > 0 AND closed_at < ? LIMIT ?)`,
	// Of an open event it must stay known who has handled it.
	`DELETE FROM handled WHERE (consumer, event_id) IN (
		SELECT h.consumer, h.event_id FROM handled AS h
		WHERE h.handled_at < ? AND NOT EXISTS (SELECT 1 FROM outbox AS o WHERE o.id = h.event_id) LIMIT ?)`,
	`DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters WHERE died_at < ? LIMIT ?)`,
	`DELETE FROM run_reports WHERE (repo_id, run_id, attempt) IN (
		SELECT repo_id, run_id, attempt FROM run_reports WHERE stored_at < ? LIMIT ?)`,
	// A resolved incident goes when nothing that was begun for it can still move.
	`DELETE FROM incidents WHERE id IN (
		SELECT i.id FROM incidents AS i
		WHERE i.state = 'resolved' AND i.closed_at < ? AND NOT EXISTS (
			SELECT 1 FROM repairs AS r WHERE (r.incident_id = i.id OR r.root = i.id)
				AND r.state IN ('intended', 'proposed', 'verified', 'unverifiable')) LIMIT ?)`,
	`DELETE FROM repairs WHERE id IN (
		SELECT r.id FROM repairs AS r
		WHERE r.created_at < ? AND r.state NOT IN ('intended', 'proposed', 'verified', 'unverifiable')
			AND NOT EXISTS (SELECT 1 FROM incidents AS i WHERE i.id = r.incident_id OR i.id = r.root) LIMIT ?)`,
	`DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? LIMIT ?)`,
	`DELETE FROM leases WHERE name IN (SELECT name FROM leases WHERE lease_until < ? LIMIT ?)`,
	`DELETE FROM gauges WHERE (name, labels) IN (SELECT name, labels FROM gauges WHERE valid_until < ? LIMIT ?)`,
	`DELETE FROM slots WHERE name IN (SELECT name FROM slots WHERE next_at < ? LIMIT ?)`,
}

// Expire deletes what was over before a time: closed events, who handled them,
// deliveries, dead letters, reports, resolved incidents with their repairs, and
// the audit log. The time must lie further back than anybody looks: GitHub
// redelivers for 3 days, and a repair can regress for domain.RegressionDays.
func (s *Store) Expire(ctx context.Context, before time.Time) error {
	for _, query := range expiries {
		if _, err := s.inBatches(ctx, "expire old rows", query, micros(before)); err != nil {
			return err
		}
	}
	return nil
}

// What DeleteInstallation deletes. The event that tells of the uninstalling is
// being handled right now and must stay known until it is.
var uninstalls = []string{
	`DELETE FROM work WHERE installation_id = ?`,
	`DELETE FROM dead_letters WHERE installation_id = ?`,
	`DELETE FROM repairs WHERE installation_id = ?`,
	`DELETE FROM incidents WHERE installation_id = ?`,
	`DELETE FROM outcomes WHERE installation_id = ?`,
	`DELETE FROM run_reports WHERE installation_id = ?`,
	`DELETE FROM switches WHERE installation_id = ?`,
	`DELETE FROM audit WHERE installation_id = ?`,
	`DELETE FROM outbox WHERE installation_id = ? AND NOT (closed_at = 0 AND EXISTS (
		SELECT 1 FROM deliveries AS d WHERE d.id = outbox.id AND d.event = 'installation'))`,
	`UPDATE deliveries SET body = NULL WHERE installation_id = ?`,
	`DELETE FROM deliveries WHERE installation_id = ? AND NOT EXISTS (
		SELECT 1 FROM outbox AS o WHERE o.id = deliveries.id)`,
}

// DeleteInstallation deletes all rows of an installation. Only the delivery that
// tells of the uninstalling keeps its row, without its body, until its event is
// closed and has expired.
func (s *Store) DeleteInstallation(ctx context.Context, installationID int64) error {
	if installationID == 0 {
		return nil // rows of no installation bear 0
	}
	return s.tx(ctx, "delete the installation", func(c conn) error {
		for _, query := range uninstalls {
			if _, err := c.exec(query, installationID); err != nil {
				return err
			}
		}
		return nil
	})
}

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

const (
	queryInsertEvent = `
		INSERT INTO outbox (id, type, installation_id, event, waiting, created_at, published_at, closed_at)
		VALUES (?, ?, ?, ?, ?, ?, 0, ?)
		ON CONFLICT (id) DO NOTHING`
	// An id is a hash of its cause, so an event may be asked for again after
	// retention took its row: who has handled it isn't waited for.
	queryInsertWaiting = `
		INSERT INTO outbox_waiting (event_id, consumer)
		SELECT CAST(? AS TEXT), CAST(? AS TEXT)
		WHERE NOT EXISTS (SELECT 1 FROM handled WHERE consumer = ? AND event_id = ?)
		ON CONFLICT (event_id, consumer) DO NOTHING`
	querySetWaiting = `
		UPDATE outbox SET waiting = ?, closed_at = CASE WHEN CAST(? AS BIGINT) = 0 THEN CAST(? AS BIGINT) ELSE 0 END
		WHERE id = ?`
)

// insertEvent puts an event into the outbox, or does nothing where it is known.
func (c conn) insertEvent(env domain.Envelope, installationID int64, now time.Time) error {
	if len(env.JSON) > maxEvent {
		return fail(domain.Bug, "event %s has %d bytes, more than %d: %w", env.Type, len(env.JSON), maxEvent, domain.ErrTooLarge)
	}
	if env.ID == "" || !json.Valid(env.JSON) {
		return fail(domain.Bug, "event %q of type %q has no id or is no JSON", env.ID, env.Type)
	}
	consumers := slices.Compact(slices.Sorted(slices.Values(env.Consumers)))
	closed := int64(0)
	if len(consumers) == 0 {
		closed = micros(now)
	}
	n, err := c.exec(queryInsertEvent, env.ID, env.Type, installationID, string(env.JSON), len(consumers), micros(now), closed)
	if err != nil || n == 0 {
		return err
	}
	waiting := 0
	for _, consumer := range consumers {
		n, err := c.exec(queryInsertWaiting, env.ID, consumer, consumer, env.ID)
		if err != nil {
			return err
		}
		waiting += int(n)
	}
	if waiting < len(consumers) {
		_, err = c.exec(querySetWaiting, waiting, waiting, micros(now), env.ID)
	}
	return err
}

const (
	queryInsertHandled = `
		INSERT INTO handled (consumer, event_id, event_type, handled_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (consumer, event_id) DO NOTHING`
	queryStopWaiting = `DELETE FROM outbox_waiting WHERE event_id = ? AND consumer = ?`
	queryCountDown   = `
		UPDATE outbox SET waiting = waiting - 1, closed_at = CASE WHEN waiting = 1 THEN CAST(? AS BIGINT) ELSE 0 END
		WHERE id = ?`
)

// markHandled records that a consumer has handled an event and closes the event
// when it was the last one. It reports false where that was recorded before.
func (c conn) markHandled(consumer, eventID, eventType string, now time.Time) (bool, error) {
	n, err := c.exec(queryInsertHandled, consumer, eventID, eventType, micros(now))
	if err != nil || n == 0 {
		return false, err
	}
	n, err = c.exec(queryStopWaiting, eventID, consumer)
	if err != nil || n == 0 {
		return true, err
	}
	_, err = c.exec(queryCountDown, micros(now), eventID)
	return true, err
}

const queryHandled = `SELECT 1 FROM handled WHERE consumer = ? AND event_id = ?`

// Handled reports whether a consumer has handled an event.
func (s *Store) Handled(ctx context.Context, consumer, eventID string) (handled bool, err error) {
	err = s.look(ctx, "look whether the event was handled", func(c conn) error {
		var one int
		handled, err = c.row(queryHandled, []any{consumer, eventID}, &one)
		return err
	})
	return handled, err
}

const queryEvent = `SELECT type, event FROM outbox WHERE id = ?`

// Event returns a stored event as it was stored. The error wraps
// domain.ErrNotFound for an id that nothing of ours has.
func (s *Store) Event(ctx context.Context, id string) (env domain.Envelope, err error) {
	err = s.look(ctx, "read the event", func(c conn) error {
		var event string
		found, err := c.row(queryEvent, []any{id}, &env.Type, &event)
		if err == nil && !found {
			return notFound("event", id)
		}
		env.ID, env.JSON = id, []byte(event)
		return err
	})
	return env, err
}

const queryOpenOutbox = `
	SELECT o.id, o.type, o.event, w.consumer
	FROM (
		SELECT id, type, event, published_at, created_at FROM outbox
		WHERE closed_at = 0 AND published_at < ?
		ORDER BY published_at, created_at, id LIMIT ?
	) AS o
	JOIN outbox_waiting AS w ON w.event_id = o.id
	ORDER BY o.published_at, o.created_at, o.id, w.consumer`

// OpenOutbox returns events that some consumer has not handled and that were
// last published before a time, or never; those that wait longest come first.
// Each Envelope's Consumers are the ones that are missing.
func (s *Store) OpenOutbox(ctx context.Context, publishedBefore time.Time, limit int) (list []domain.Envelope, err error) {
	err = s.look(ctx, "read the outbox", func(c conn) error {
		parts, err := rows(c, queryOpenOutbox, []any{micros(publishedBefore), limited(limit)}, func(r *sql.Rows) (domain.Envelope, error) {
			var e domain.Envelope
			var consumer, event string
			err := r.Scan(&e.ID, &e.Type, &event, &consumer)
			e.JSON, e.Consumers = []byte(event), []string{consumer}
			return e, err
		})
		for _, p := range parts {
			if last := len(list) - 1; last >= 0 && list[last].ID == p.ID {
				list[last].Consumers = append(list[last].Consumers, p.Consumers...)
			} else {
				list = append(list, p)
			}
		}
		return err
	})
	return list, err
}

const queryMarkPublished = `UPDATE outbox SET published_at = ? WHERE id = ? AND published_at < ?`

// MarkPublished records that events were published, which keeps OpenOutbox from
// returning them until they are due again. Unknown ids are left out.
func (s *Store) MarkPublished(ctx context.Context, ids []string, now time.Time) error {
	if len(ids) == 0 {
		return nil
	}
	// Writers lock rows in one order, or two of them could wait for each other.
	ids = slices.Sorted(slices.Values(ids))
	return s.tx(ctx, "mark events as published", func(c conn) error {
		for _, id := range ids {
			if _, err := c.exec(queryMarkPublished, micros(now), id, micros(now)); err != nil {
				return err
			}
		}
		return nil
	})
}

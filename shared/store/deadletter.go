package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// DeadLetter is an event or a piece of work that was given up.
type DeadLetter struct {
	ID string
	// Consumer is the function that gave it up.
	Consumer string
	// Event is set for an event, Work for a piece of work.
	Event  *domain.Envelope
	Work   *domain.Work
	Reason string
	At     time.Time
}

const queryPutDeadLetter = `
	INSERT INTO dead_letters (id, installation_id, consumer, kind, work_key, event_id, event_type, body, trace_parent,
		attempts, reason, died_at)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
	ON CONFLICT (id) DO UPDATE SET body = excluded.body, attempts = excluded.attempts, reason = excluded.reason, died_at = excluded.died_at`

func (c conn) putDeadLetter(d DeadLetter) error {
	if w := d.Work; w != nil {
		id := "dead-" + domain.Hash("work", w.Kind, w.Key)[:16]
		_, err := c.exec(queryPutDeadLetter, id, installationOf(w.Payload), owner(w.Kind), w.Kind, w.Key, "", "", string(w.Payload),
			w.TraceParent, w.Attempts, shorten(d.Reason), micros(d.At))
		return err
	}
	id := "dead-" + domain.Hash("event", d.Consumer, d.Event.ID)[:16]
	_, err := c.exec(queryPutDeadLetter, id, installationOf(d.Event.JSON), d.Consumer, "", "", d.Event.ID, d.Event.Type, string(d.Event.JSON),
		"", 0, shorten(d.Reason), micros(d.At))
	return err
}

// DeadLetter records that a consumer gave an event up, which closes the event
// for that consumer. It does nothing for an event that the consumer has handled
// meanwhile, or that is dead already. The outbox need not know the event.
func (s *Store) DeadLetter(ctx context.Context, consumer string, env domain.Envelope, reason string, now time.Time) error {
	const op = "store a dead letter"
	if consumer == "" || env.ID == "" || len(env.ID) > maxID {
		return domain.Errorf(domain.Invalid, op, "consumer %.50q, event %.50q: both need names of at most %d bytes", consumer, env.ID, maxID)
	}
	if len(env.JSON) > maxEvent {
		// Strangers can send what no event of ours is; its beginning tells enough.
		env.JSON, _ = json.Marshal(string(env.JSON[:maxReason]))
	}
	return s.tx(ctx, op, func(c conn) error {
		fresh, err := c.markHandled(consumer, env.ID, env.Type, now)
		if err != nil || !fresh {
			return err
		}
		return c.putDeadLetter(DeadLetter{Consumer: consumer, Event: &env, Reason: reason, At: now})
	})
}

const queryDeadLetters = `
	SELECT id, consumer, kind, work_key, event_id, event_type, body, trace_parent, attempts, reason, died_at
	FROM dead_letters ORDER BY died_at DESC, id LIMIT ?`

// DeadLetters returns what was given up, the latest first.
func (s *Store) DeadLetters(ctx context.Context, limit int) (list []DeadLetter, err error) {
	err = s.look(ctx, "read the dead letters", func(c conn) error {
		list, err = rows(c, queryDeadLetters, []any{limited(limit)}, scanDeadLetter)
		return err
	})
	return list, err
}

func scanDeadLetter(r *sql.Rows) (DeadLetter, error) {
	var d DeadLetter
	var w domain.Work
	var e domain.Envelope
	var body string
	var died int64
	if err := r.Scan(&d.ID, &d.Consumer, &w.Kind, &w.Key, &e.ID, &e.Type, &body, &w.TraceParent, &w.Attempts, &d.Reason, &died); err != nil {
		return DeadLetter{}, err
	}
	d.At = moment(died)
	if w.Kind == "" {
		e.JSON, e.Consumers = []byte(body), []string{d.Consumer}
		d.Event = &e
		return d, nil
	}
	if body != "" {
		w.Payload = json.RawMessage(body)
	}
	d.Work = &w
	return d, nil
}

const (
	queryDeadLetter = `
		SELECT id, consumer, kind, work_key, event_id, event_type, body, trace_parent, attempts, reason, died_at
		FROM dead_letters WHERE id = ?`
	queryDeleteDeadLetter = `DELETE FROM dead_letters WHERE id = ?`
	queryDeleteHandled    = `DELETE FROM handled WHERE consumer = ? AND event_id = ?`
	queryWaitAgain        = `
		INSERT INTO outbox_waiting (event_id, consumer) VALUES (?, ?) ON CONFLICT (event_id, consumer) DO NOTHING`
	queryReopenEvent = `UPDATE outbox SET waiting = waiting + ?, published_at = 0, closed_at = 0 WHERE id = ?`
)

// errCut: the event was too large to be kept, or is none.
var errCut = errors.New("the event was not kept whole, so it can only be discarded")

// Replay gives a dead letter another chance: an event is open again for the
// consumer that gave it up, and due to be published by the next tick; work is due
// at once with its attempts forgotten. Of two replays at once one does it. The
// error wraps domain.ErrNotFound for an unknown id (it was replayed or discarded
// before), and is Invalid for an event that was not kept whole.
func (s *Store) Replay(ctx context.Context, id string) error {
	return s.tx(ctx, "replay the dead letter", func(c conn) error {
		d, err := c.takeDeadLetter(id, "dead_letter.replayed", s.now())
		if err != nil {
			return err
		}
		if d.Work != nil {
			return c.addWork([]domain.Work{*d.Work}, s.now())
		}
		var whole map[string]json.RawMessage
		if json.Unmarshal(d.Event.JSON, &whole) != nil || d.Event.ID == "" {
			return &domain.Error{Kind: domain.Invalid, Err: errCut}
		}
		if _, err := c.exec(queryDeleteHandled, d.Consumer, d.Event.ID); err != nil {
			return err
		}
		// The outbox may never have had the event, or retention may have taken it.
		if err := c.insertEvent(*d.Event, installationOf(d.Event.JSON), s.now()); err != nil {
			return err
		}
		n, err := c.exec(queryWaitAgain, d.Event.ID, d.Consumer)
		if err != nil {
			return err
		}
		_, err = c.exec(queryReopenEvent, n, d.Event.ID)
		return err
	})
}

// Discard gives a dead letter up for good: nothing will handle it. The error
// wraps domain.ErrNotFound for an unknown id.
func (s *Store) Discard(ctx context.Context, id string) error {
	return s.tx(ctx, "discard the dead letter", func(c conn) error {
		_, err := c.takeDeadLetter(id, "dead_letter.discarded", s.now())
		return err
	})
}

// takeDeadLetter removes a dead letter, and records who is asked for it: a person
// with access to the database.
func (c conn) takeDeadLetter(id, action string, now time.Time) (DeadLetter, error) {
	list, err := rows(c, queryDeadLetter, []any{id}, scanDeadLetter)
	if err != nil {
		return DeadLetter{}, err
	}
	var n int64
	if len(list) > 0 {
		// Of two at once the one that deletes it goes on.
		if n, err = c.exec(queryDeleteDeadLetter, id); err != nil {
			return DeadLetter{}, err
		}
	}
	if n == 0 {
		return DeadLetter{}, notFound("dead letter", id)
	}
	d := list[0]
	entry := domain.AuditEntry{Actor: "operator", Action: action, Object: id, Why: d.Consumer + ": " + d.Reason}
	if d.Work != nil {
		entry.InstallationID = installationOf(d.Work.Payload)
	} else {
		entry.InstallationID = installationOf(d.Event.JSON)
	}
	return d, c.putAudit(entry, 0, now)
}

// Replayed is what a call of ReplayAll came to.
type Replayed struct {
	Replayed int
	// Kept are dead letters that can't be replayed, since their event was not kept
	// whole.
	Kept int
}

const queryDeadLetterIDs = `
	SELECT id FROM dead_letters
	WHERE (CAST(? AS TEXT) = '' OR consumer = ?) AND died_at <= ? AND id > ?
	ORDER BY id LIMIT ?`

// ReplayAll replays all dead letters of a consumer that died until now, those of
// every consumer for "". What dies again meanwhile is left. It can be called again
// after it was interrupted.
func (s *Store) ReplayAll(ctx context.Context, consumer string) (done Replayed, err error) {
	until := micros(s.now())
	for after := ""; ; {
		var ids []string
		err := s.look(ctx, "list the dead letters to replay", func(c conn) error {
			ids, err = rows(c, queryDeadLetterIDs, []any{consumer, consumer, until, after, maxRows}, func(r *sql.Rows) (id string, err error) {
				err = r.Scan(&id)
				return id, err
			})
			return err
		})
		if err != nil || len(ids) == 0 {
			return done, err
		}
		for _, id := range ids {
			switch err := s.Replay(ctx, id); {
			case err == nil:
				done.Replayed++
			case errors.Is(err, errCut):
				done.Kept++
			case !errors.Is(err, domain.ErrNotFound): // somebody else was faster
				return done, err
			}
		}
		after = ids[len(ids)-1]
	}
}

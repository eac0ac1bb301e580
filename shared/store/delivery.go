package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/seal"
)

const queryInsertDelivery = `
	INSERT INTO deliveries (id, event, action, installation_id, repo_id, body, received_at)
	VALUES (?, ?, ?, ?, ?, ?, ?)
	ON CONFLICT (id) DO NOTHING`

// AcceptDelivery stores a verified delivery and the event that tells of it in
// one transaction. It reports false, and stores nothing, for a delivery that is
// known already; of two calls at once with one id, one reports true.
func (s *Store) AcceptDelivery(ctx context.Context, d domain.Delivery, env domain.Envelope) (stored bool, err error) {
	const op = "store the delivery"
	if len(d.Body) > maxBody {
		return false, domain.Errorf(domain.Invalid, op, "the body has %d bytes, more than %d: %w", len(d.Body), maxBody, domain.ErrTooLarge)
	}
	body, err := s.sealBody(d.ID, d.Body)
	if err != nil {
		return false, err
	}
	err = s.tx(ctx, op, func(c conn) error {
		n, err := c.exec(queryInsertDelivery, d.ID, d.Event, d.Action, d.InstallationID, d.RepoID, body, micros(d.ReceivedAt))
		if err != nil {
			return err
		}
		if stored = n == 1; !stored {
			return nil
		}
		return c.insertEvent(env, d.InstallationID, d.ReceivedAt)
	})
	return stored && err == nil, err
}

const queryDelivery = `SELECT event, action, installation_id, repo_id, body, received_at FROM deliveries WHERE id = ?`

// Delivery returns a stored delivery. Its Body is nil once it has expired. The
// error wraps domain.ErrNotFound for an unknown id.
func (s *Store) Delivery(ctx context.Context, id string) (domain.Delivery, error) {
	d := domain.Delivery{ID: id}
	err := s.look(ctx, "read the delivery", func(c conn) error {
		var received int64
		found, err := c.row(queryDelivery, []any{id}, &d.Event, &d.Action, &d.InstallationID, &d.RepoID, &d.Body, &received)
		if err == nil && !found {
			err = notFound("delivery", id)
		}
		d.ReceivedAt = moment(received)
		return err
	})
	if err == nil {
		d.Body, err = s.openBody(id, d.Body)
	}
	if err != nil {
		return domain.Delivery{}, err
	}
	return d, nil
}

// sealBody and openBody keep the nil body, which has expired, apart from an
// empty one.
func (s *Store) sealBody(id string, body []byte) ([]byte, error) {
	if body == nil {
		return nil, nil
	}
	return s.sealer.Seal(body, "deliveries", "body", id)
}

func (s *Store) openBody(id string, body []byte) ([]byte, error) {
	if body == nil {
		return nil, nil
	}
	return s.sealer.Open(body, "deliveries", "body", id)
}

const (
	// A sealed value's header names its key. SQLite's substr of an empty body is NULL.
	queryResealable = `
		SELECT id FROM deliveries
		WHERE id > ? AND body IS NOT NULL AND (substr(body, 1, CAST(? AS INTEGER)) = ?) IS NOT TRUE
		ORDER BY id LIMIT ?`
	queryBody   = `SELECT body FROM deliveries WHERE id = ? AND body IS NOT NULL`
	queryReseal = `
		UPDATE deliveries SET body = ?
		WHERE id = ? AND body IS NOT NULL AND (substr(body, 1, CAST(? AS INTEGER)) = ?) IS NOT TRUE`
)

// Resealed is what a call of Reseal came to.
type Resealed struct {
	// Rows are sealed with the current key now.
	Rows int
	// Unreadable rows are sealed with a key that isn't set, or are damaged; they
	// stay as they are. The previous key is needed until there are none.
	Unreadable int
	// More says that the limit was reached and another call will find more.
	More bool
}

// Reseal seals with the current key what is sealed with a previous one or not at
// all, limit rows at most; 0 is all of them. It may run beside everything else,
// and again after it was interrupted. The error is Invalid without a key.
func (s *Store) Reseal(ctx context.Context, limit int) (done Resealed, err error) {
	const op = "seal stored bodies anew"
	header := s.sealer.Header()
	if header == nil {
		return done, domain.Errorf(domain.Invalid, op, "no key is set (ENCRYPTION_KEY)")
	}
	for after := ""; ; {
		var ids []string
		err := s.look(ctx, op, func(c conn) error {
			ids, err = rows(c, queryResealable, []any{after, len(header), header, maxRows}, func(r *sql.Rows) (id string, err error) {
				err = r.Scan(&id)
				return id, err
			})
			return err
		})
		if err != nil || len(ids) == 0 {
			return done, err
		}
		for _, id := range ids {
			if limit > 0 && done.Rows >= limit {
				done.More = true
				return done, nil
			}
			switch n, err := s.reseal(ctx, op, id, header); {
			case errors.Is(err, seal.ErrKeyMissing), errors.Is(err, seal.ErrCorrupt):
				done.Unreadable++
			case err != nil:
				return done, err
			default:
				done.Rows += n
			}
		}
		after = ids[len(ids)-1]
	}
}

// reseal seals one row's body anew, unless it expired or was sealed meanwhile.
func (s *Store) reseal(ctx context.Context, op, id string, header []byte) (int, error) {
	var body []byte
	var found bool
	err := s.look(ctx, op, func(c conn) (err error) {
		found, err = c.row(queryBody, []any{id}, &body)
		return err
	})
	if err != nil || !found {
		return 0, err
	}
	if body == nil { // SQLite's driver doesn't tell an empty body from none
		body = []byte{}
	}
	if body, err = s.openBody(id, body); err != nil {
		return 0, err
	}
	if body, err = s.sealBody(id, body); err != nil {
		return 0, err
	}
	var n int64
	err = s.change(ctx, op, func(c conn) (err error) {
		n, err = c.exec(queryReseal, body, id, len(header), header)
		return err
	})
	return int(n), err
}

const queryExpireBodies = `
	UPDATE deliveries SET body = NULL WHERE id IN (
		SELECT id FROM deliveries WHERE received_at < ? AND body IS NOT NULL LIMIT ?)`

// ExpireDeliveryBodies forgets the bodies of deliveries that were received
// before a time, and returns how many it forgot. The rows stay, so that a
// redelivery is still known.
func (s *Store) ExpireDeliveryBodies(ctx context.Context, before time.Time) (int64, error) {
	return s.inBatches(ctx, "expire delivery bodies", queryExpireBodies, micros(before))
}

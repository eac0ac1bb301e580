package store

import (
	"context"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
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
	err = s.tx(ctx, op, func(c conn) error {
		n, err := c.exec(queryInsertDelivery, d.ID, d.Event, d.Action, d.InstallationID, d.RepoID, d.Body, micros(d.ReceivedAt))
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
	if err != nil {
		return domain.Delivery{}, err
	}
	return d, nil
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

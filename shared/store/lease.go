package store

import (
	"context"
	"time"
)

const queryAcquireLease = `
	INSERT INTO leases (name, holder, lease_until) VALUES (?, ?, ?)
	ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
	WHERE leases.lease_until <= ? OR leases.holder = excluded.holder`

// AcquireLease takes or renews the lease of a name for a while. It reports false
// while another holder has it.
func (s *Store) AcquireLease(ctx context.Context, name, holder string, now time.Time, ttl time.Duration) (acquired bool, err error) {
	err = s.change(ctx, "acquire the lease", func(c conn) error {
		n, err := c.exec(queryAcquireLease, name, holder, micros(now.Add(ttl)), micros(now))
		acquired = n == 1
		return err
	})
	return acquired && err == nil, err
}

const queryReleaseLease = `DELETE FROM leases WHERE name = ? AND holder = ?`

// ReleaseLease gives a lease back. It does nothing where another holder has it.
// Commit releases the leases that an outcome names.
func (s *Store) ReleaseLease(ctx context.Context, name, holder string) error {
	return s.change(ctx, "release the lease", func(c conn) error {
		_, err := c.exec(queryReleaseLease, name, holder)
		return err
	})
}

const queryTakeSlot = `
	INSERT INTO slots (name, next_at) VALUES (?, ?)
	ON CONFLICT (name) DO UPDATE SET
		next_at = CASE WHEN slots.next_at > CAST(? AS BIGINT) THEN slots.next_at ELSE CAST(? AS BIGINT) END + CAST(? AS BIGINT)
	RETURNING next_at`

// TakeSlot reserves the next time at which a name may act: now, or later where
// others have reserved times before. Two reserved times are never closer than
// spacing, over all processes. A slot that isn't used is lost.
func (s *Store) TakeSlot(ctx context.Context, name string, now time.Time, spacing time.Duration) (slot time.Time, err error) {
	err = s.change(ctx, "take a slot", func(c conn) error {
		var next int64
		at, gap := micros(now), spacing.Microseconds()
		_, err := c.row(queryTakeSlot, []any{name, at + gap, at, at, gap}, &next)
		slot = moment(next - gap)
		return err
	})
	return slot, err
}

package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mlops-bot/mlops-bot/functions/notify"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/github"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

// lookups are the store's queries in the form that the functions ask for.
type lookups struct{ Store }

// Report returns a run attempt's report, and false when there is none yet.
func (l lookups) Report(ctx context.Context, repoID, runID int64, attempt int) (domain.RunReport, bool, error) {
	return found(l.Store.Report(ctx, repoID, runID, attempt))
}

// found turns the store's ErrNotFound into false.
func found[T any](v T, err error) (T, bool, error) {
	if errors.Is(err, domain.ErrNotFound) {
		return v, false, nil
	}
	return v, err == nil, err
}

// Switch returns a repository's kill switch, and false when none is set.
func (l lookups) Switch(ctx context.Context, repoID int64) (domain.Switch, bool, error) {
	sw, err := l.Store.Switch(ctx, repoID)
	return sw, err == nil && sw.State != "", err
}

// maxTold bounds how many audit entries of one incident are looked through: it
// has a handful of states and channels.
const maxTold = 500

// Told reports whether the audit log holds a sent message of this incident and
// key.
func (l lookups) Told(ctx context.Context, incidentID, key string) (bool, error) {
	entries, err := l.Audit(ctx, store.Filter{Object: incidentID, Limit: maxTold})
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(entries, func(e store.AuditRecord) bool {
		return e.Action == notify.ActionTold && e.Why == key
	}), nil
}

const (
	// mutateLease bounds one mutating call; its time-out is far shorter.
	mutateLease = 60 * time.Second
	// mutatePatience is how long a write waits for its turn inside of a handler;
	// what would take longer is parked as work.
	mutatePatience = 15 * time.Second
	mutatePoll     = 50 * time.Millisecond
)

// pacer makes writes wait their turn: one at a time per installation and at
// least spacing apart, over all processes, by rows in the store.
type pacer struct {
	store interface {
		AcquireLease(ctx context.Context, name, holder string, now time.Time, ttl time.Duration) (bool, error)
		ReleaseLease(ctx context.Context, name, holder string) error
		TakeSlot(ctx context.Context, name string, now time.Time, spacing time.Duration) (time.Time, error)
	}
	spacing time.Duration
	now     func() time.Time
}

var _ github.Pacer = (*pacer)(nil)

// Wait returns when the call may be made; done gives the turn to the next. The
// error is RateLimited when the turn doesn't come soon.
func (p *pacer) Wait(ctx context.Context, installationID int64) (done func(), err error) {
	name, holder := fmt.Sprintf("mutate/%d", installationID), rand.Text()
	deadline := time.Now().Add(mutatePatience)
	for {
		mine, err := p.store.AcquireLease(ctx, name, holder, p.now(), mutateLease)
		if err != nil {
			return nil, fmt.Errorf("wait for the turn to write: %w", err)
		}
		if mine {
			break
		}
		if time.Now().After(deadline) {
			return nil, &domain.Error{Kind: domain.RateLimited, Op: "wait for the turn to write", Err: errors.New("other writes of this installation come first"), RetryAt: p.now().Add(mutatePatience)}
		}
		if err := pause(ctx, mutatePoll); err != nil {
			return nil, err
		}
	}
	done = func() {
		// The lease ends by itself if it can't be given back.
		_ = p.store.ReleaseLease(context.WithoutCancel(ctx), name, holder)
	}
	slot, err := p.store.TakeSlot(ctx, name, p.now(), p.spacing)
	if err == nil {
		err = pause(ctx, slot.Sub(p.now()))
	}
	if err != nil {
		done()
		return nil, fmt.Errorf("wait for the turn to write: %w", err)
	}
	return done, nil
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

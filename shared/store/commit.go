package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// ErrHandled is what Commit returns for an event that the consumer has handled
// before; nothing was committed. It is a domain.ErrConflict.
var ErrHandled = fmt.Errorf("the event was handled before: %w", domain.ErrConflict)

// Cause is what an outcome comes of: an event, a piece of work, or neither (an
// intent that is committed half-way).
type Cause struct {
	// Consumer is the function that did it; it is the owner of the work or one of
	// the event's consumers.
	Consumer string
	// EventID and EventType are of the event that was handled; "" for none.
	EventID   string
	EventType string
	// Work is the claimed piece of work that was done; nil for none.
	Work *domain.Work
	// Duration is how long it took, and Result a word on how it went, for the
	// histogram HandlerDuration. An empty Result observes nothing.
	Duration time.Duration
	Result   string
}

// Commit stores an outcome and ends what caused it, in one transaction: all of
// it or nothing.
//
// An event is recorded as handled by the consumer; ErrHandled when it was
// before. A piece of work is deleted, or made due again where the outcome says
// so. Incidents and repairs of Version 0 are inserted, others updated where the
// stored version is theirs; the stored version is then one more. Events and work
// that are known already are left as they are. Leases to release are released
// with the rest, so that whoever takes one over finds what was done under it.
//
// The error wraps domain.ErrConflict when another writer was faster: a version
// has moved on, a place has a standing incident already, an attempt or the same
// edit on the same base is there, the lease of the work is lost. It is a Bug when
// a state can't follow the stored one.
func (s *Store) Commit(ctx context.Context, cause Cause, out domain.Outcome, now time.Time) error {
	return s.tx(ctx, "commit the outcome", func(c conn) error {
		if cause.EventID != "" {
			fresh, err := c.markHandled(cause.Consumer, cause.EventID, cause.EventType, now)
			if err != nil {
				return err
			}
			if !fresh {
				return ErrHandled
			}
		}
		if cause.Work != nil {
			if err := c.finishWork(*cause.Work, out.Again, out.AgainPayload); err != nil {
				return err
			}
		}
		return c.putOutcome(cause, out, now)
	})
}

// putOutcome writes what an outcome holds. Rows are taken in one order by every
// writer, so that two of them don't wait for each other, and the counters, which
// all writers share, come last, so that they are held for the shortest time.
func (c conn) putOutcome(cause Cause, out domain.Outcome, now time.Time) error {
	for _, i := range sorted(out.Incidents, func(i domain.Incident) string { return i.ID }) {
		if err := c.putIncident(i); err != nil {
			return err
		}
	}
	for _, r := range sorted(out.Repairs, func(r domain.Repair) string { return r.ID }) {
		if err := c.putRepair(r); err != nil {
			return err
		}
	}
	for _, r := range out.Reports {
		if err := c.putReport(r, now); err != nil {
			return err
		}
	}
	for _, e := range sorted(out.Events, func(e domain.Envelope) string { return e.ID }) {
		if err := c.insertEvent(e, installationOf(e.JSON), now); err != nil {
			return err
		}
	}
	if err := c.addWork(out.Later, now); err != nil {
		return err
	}
	for _, w := range out.Switches {
		if err := c.putSwitch(w); err != nil {
			return err
		}
	}
	for _, l := range out.Release {
		if _, err := c.exec(queryReleaseLease, l.Name, l.Holder); err != nil {
			return err
		}
	}
	for i, e := range out.Audit {
		if err := c.putAudit(e, i, now); err != nil {
			return err
		}
	}
	if err := c.addCounts(out.Counts); err != nil {
		return err
	}
	if cause.Result == "" {
		return nil
	}
	what := cause.EventType
	if cause.Work != nil {
		what = cause.Work.Kind
	}
	return c.observe(HandlerDuration, map[string]string{"function": cause.Consumer, "cause": what, "result": cause.Result}, cause.Duration)
}

// sorted returns a list in the order of its ids; items of one id keep theirs.
func sorted[T any](list []T, id func(T) string) []T {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b T) int { return cmp.Compare(id(a), id(b)) })
	return list
}

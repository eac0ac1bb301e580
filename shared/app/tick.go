package app

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
	"github.com/mlops-bot/mlops-bot/shared/github"
	"github.com/mlops-bot/mlops-bot/shared/observe"
)

const (
	// republishAfter is how long an event may be on its way before the tick sends
	// it again.
	republishAfter = 5 * time.Minute
	// redeliverEvery spaces the look at the App's failed hook deliveries;
	// redeliverSince is how long GitHub keeps them.
	redeliverEvery = 5 * time.Minute
	redeliverSince = 72 * time.Hour
	// redeliverAgain is the least time between two redeliveries of one delivery.
	redeliverAgain = time.Hour
	expireEvery    = time.Hour
	tickBatch      = 200
)

// tickStore is what the housekeeping needs of the store.
type tickStore interface {
	OpenOutbox(ctx context.Context, publishedBefore time.Time, limit int) ([]domain.Envelope, error)
	MarkPublished(ctx context.Context, ids []string, now time.Time) error
	DueOwners(ctx context.Context, now time.Time) ([]string, error)
	AcquireLease(ctx context.Context, name, holder string, now time.Time, ttl time.Duration) (bool, error)
	ExpireDeliveryBodies(ctx context.Context, before time.Time) (int64, error)
	Expire(ctx context.Context, before time.Time) error
}

// hookDeliveries are the App's webhook deliveries as GitHub keeps them.
type hookDeliveries interface {
	FailedDeliveries(ctx context.Context, since time.Time) ([]github.HookDelivery, error)
	Redeliver(ctx context.Context, id int64) error
}

// housekeeper does what has to be done from time to time and waits for no event:
// it publishes open outbox rows again, wakes the owners of due work, has failed
// hook deliveries redelivered (GitHub doesn't on its own), and lets what is old
// expire. Each part may fail without keeping the others from being done.
type housekeeper struct {
	store   tickStore
	publish func(ctx context.Context, envs []domain.Envelope)
	hooks   hookDeliveries // nil without an App
	// bodies is how long what GitHub sent is kept, records all else that is over.
	bodies, records time.Duration
	now             func() time.Time
	log             *slog.Logger
}

func (h *housekeeper) tick(ctx context.Context, e cloudevents.Event) {
	for name, part := range map[string]func(context.Context, cloudevents.Event) error{
		"republish": h.republish, "wake": h.wake, "redeliver": h.redeliver, "expire": h.expire,
	} {
		if err := part(ctx, e); err != nil {
			h.log.WarnContext(ctx, "housekeeping failed", "part", name, observe.KeyError, err)
		}
	}
}

func (h *housekeeper) republish(ctx context.Context, _ cloudevents.Event) error {
	open, err := h.store.OpenOutbox(ctx, h.now().Add(-republishAfter), tickBatch)
	if err != nil {
		return fmt.Errorf("list the open outbox: %w", err)
	}
	h.publish(ctx, open)
	return nil
}

// wake tells the owners of due work. The event is made for each tick and isn't
// stored: the next tick makes another.
func (h *housekeeper) wake(ctx context.Context, e cloudevents.Event) error {
	owners, err := h.store.DueOwners(ctx, h.now())
	if err != nil {
		return fmt.Errorf("list the owners of due work: %w", err)
	}
	var envs []domain.Envelope
	for _, owner := range owners {
		env, err := events.New(events.Cause{ID: e.ID(), Time: h.now()}, events.WorkDue{Function: owner})
		if err != nil {
			return err
		}
		envs = append(envs, env)
	}
	h.publish(ctx, envs)
	return nil
}

func (h *housekeeper) redeliver(ctx context.Context, e cloudevents.Event) error {
	if h.hooks == nil {
		return nil
	}
	mine, err := h.store.AcquireLease(ctx, "redeliver", e.ID(), h.now(), redeliverEvery)
	if err != nil || !mine {
		return err
	}
	failed, err := h.hooks.FailedDeliveries(ctx, h.now().Add(-redeliverSince))
	if err != nil {
		return fmt.Errorf("list the failed hook deliveries: %w", err)
	}
	for _, d := range failed[:min(len(failed), tickBatch)] {
		again, err := h.store.AcquireLease(ctx, "redeliver/"+d.GUID, e.ID(), h.now(), redeliverAgain)
		if err != nil {
			return err
		}
		if !again {
			continue
		}
		if err := h.hooks.Redeliver(ctx, d.ID); err != nil {
			return fmt.Errorf("redeliver %s: %w", d.GUID, err)
		}
	}
	return nil
}

func (h *housekeeper) expire(ctx context.Context, e cloudevents.Event) error {
	mine, err := h.store.AcquireLease(ctx, "expire", e.ID(), h.now(), expireEvery)
	if err != nil || !mine {
		return err
	}
	if _, err := h.store.ExpireDeliveryBodies(ctx, h.now().Add(-h.bodies)); err != nil {
		return err
	}
	return h.store.Expire(ctx, h.now().Add(-h.records))
}

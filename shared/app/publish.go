package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/observe"
)

// Publisher sends an event to its consumers, or fails soon: what it can't send
// stays in the outbox for the tick.
type Publisher interface {
	Publish(ctx context.Context, env domain.Envelope) error
}

const (
	// publishAtOnce bounds the events of one process that are on their way at once,
	// and sendTimeout each of them: a channel may deliver inside of the sender's
	// request, so that it takes as long as its consumers' cold start and handling.
	publishAtOnce = 32
	sendTimeout   = 60 * time.Second
)

// outlet publishes stored events and records that it did. Nobody waits for a
// broker elsewhere: the outbox is the truth, and what can't be sent now, the tick
// sends again.
type outlet struct {
	publisher Publisher
	store     interface {
		MarkPublished(ctx context.Context, ids []string, now time.Time) error
	}
	now func() time.Time
	log *slog.Logger
	// background runs what goes on after the caller returned; nil keeps the caller
	// until all is sent, which is for the broker inside of the process.
	background *sync.WaitGroup
	places     chan struct{}
}

// send publishes the events, each within sendTimeout of having found a place.
func (o *outlet) send(ctx context.Context, envs []domain.Envelope) {
	if len(envs) == 0 {
		return
	}
	if o.background != nil {
		ctx = context.WithoutCancel(ctx) // the caller's end is not the event's
		o.background.Go(func() { o.sendNow(ctx, envs) })
		return
	}
	o.sendNow(ctx, envs)
}

func (o *outlet) sendNow(ctx context.Context, envs []domain.Envelope) {
	var mu sync.Mutex
	var sent []string
	var failed error
	var wg sync.WaitGroup
	for _, env := range envs {
		o.places <- struct{}{}
		wg.Go(func() {
			defer func() { <-o.places }()
			pctx, cancel := context.WithTimeout(ctx, sendTimeout)
			defer cancel()
			err := o.publisher.Publish(pctx, env)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
				return
			}
			sent = append(sent, env.ID)
		})
	}
	wg.Wait()
	if len(sent) > 0 {
		mctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		if err := o.store.MarkPublished(mctx, sent, o.now()); err != nil {
			failed = err
		}
	}
	if failed != nil {
		o.log.WarnContext(ctx, "events stay in the outbox until the next tick", "events", len(envs)-len(sent), observe.KeyError, failed)
	}
}

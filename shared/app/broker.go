package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
	"github.com/mlops-bot/mlops-bot/shared/observe"
)

// Receiver takes one event; Runner.Receive is one.
type Receiver func(ctx context.Context, e cloudevents.Event) error

// Delivery is how a broker treats a receiver that fails: as Knative's `delivery`
// of a Trigger does.
type Delivery struct {
	Retries int           // after the first try
	Backoff time.Duration // before the first retry; doubled for each further one
}

// Chaos decides, in tests, how often and how late an event is delivered to a
// consumer. 0 copies loses it.
type Chaos func(env domain.Envelope, consumer string) (copies int, delay time.Duration)

// deadLetters stores what can't be delivered.
type deadLetters interface {
	DeadLetter(ctx context.Context, consumer string, env domain.Envelope, reason string, now time.Time) error
}

const (
	brokerWorkers = 8
	brokerQueue   = 4096
)

// Broker is the in-process broker. It encodes and decodes real CloudEvents,
// delivers concurrently and in no order, retries, and dead-letters, as the
// cluster's does. It keeps nothing: what is lost with the process stands in the
// outbox.
type Broker struct {
	receivers map[string]Receiver
	delivery  Delivery
	chaos     Chaos
	dead      deadLetters
	now       func() time.Time
	log       *slog.Logger

	queue  chan delivery
	ctx    context.Context //nolint:containedctx // the lifetime of the workers, ended by Stop
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

type delivery struct {
	env      domain.Envelope
	consumer string
	delay    time.Duration
}

// newBroker makes a broker; Start begins to deliver.
func newBroker(d Delivery, chaos Chaos, dead deadLetters, now func() time.Time, log *slog.Logger) *Broker {
	ctx, cancel := context.WithCancel(context.Background())
	return &Broker{
		receivers: map[string]Receiver{}, delivery: d, chaos: chaos, dead: dead, now: now, log: log,
		queue: make(chan delivery, brokerQueue), ctx: ctx, cancel: cancel,
	}
}

// Start begins to deliver to the receivers, by function name.
func (b *Broker) Start(receivers map[string]Receiver) {
	b.receivers = receivers
	for range brokerWorkers {
		b.wg.Go(b.work)
	}
}

// Stop ends the deliveries and waits for them. What is queued is dropped: it is
// in the outbox.
func (b *Broker) Stop() {
	b.cancel()
	b.wg.Wait()
}

// Publish queues the event for each consumer that still has to handle it. The
// error is Transient when the queue is full or the broker has stopped.
func (b *Broker) Publish(_ context.Context, env domain.Envelope) error {
	for _, consumer := range env.Consumers {
		copies, delay := 1, time.Duration(0)
		if b.chaos != nil {
			copies, delay = b.chaos(env, consumer)
		}
		for range copies {
			if b.ctx.Err() != nil {
				return domain.Errorf(domain.Transient, "publish", "the broker has stopped")
			}
			select {
			case b.queue <- delivery{env, consumer, delay}:
			default:
				return domain.Errorf(domain.Transient, "publish", "%d events are queued", brokerQueue)
			}
		}
	}
	return nil
}

func (b *Broker) work() {
	for {
		select {
		case <-b.ctx.Done():
			return
		case d := <-b.queue:
			if b.wait(d.delay) {
				b.deliver(d)
			}
		}
	}
}

// wait reports whether the time passed before the broker stopped.
func (b *Broker) wait(d time.Duration) bool {
	if d <= 0 {
		return b.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-b.ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (b *Broker) deliver(d delivery) {
	receive, ok := b.receivers[d.consumer]
	if !ok {
		return // a function that doesn't run in this process
	}
	backoff := b.delivery.Backoff
	for try := 0; ; try++ {
		err := b.try(receive, d.env)
		if err == nil || b.ctx.Err() != nil {
			return
		}
		// The status is what an HTTP broker would see.
		status := domain.HTTPStatus(domain.KindOf(err))
		if status == http.StatusInternalServerError && try < b.delivery.Retries {
			if !b.wait(backoff) {
				return
			}
			backoff *= 2
			continue
		}
		reason := fmt.Sprintf("%d after %d tries: %v", status, try+1, err)
		if err := b.dead.DeadLetter(b.ctx, d.consumer, d.env, reason, b.now()); err != nil {
			b.log.Error("event is neither delivered nor dead-lettered; the tick will try again", observe.KeyEventID, d.env.ID, observe.KeyError, err)
		}
		return
	}
}

func (b *Broker) try(receive Receiver, env domain.Envelope) error {
	e, err := events.Open(env) // each consumer gets its own decoded copy
	if err != nil {
		return err
	}
	return receive(b.ctx, e)
}

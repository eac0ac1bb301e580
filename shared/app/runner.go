package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
	"github.com/mlops-bot/mlops-bot/shared/observe"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

// Function is what a function is to the runner: a name that routes.yaml knows, a
// handler of events and a doer of work. Neither commits anything: both return an
// Outcome.
type Function interface {
	Name() string
	Handle(ctx context.Context, e cloudevents.Event) (domain.Outcome, error)
	Work(ctx context.Context, w domain.Work) (domain.Outcome, error)
}

// Times, as DESIGN.md has them: handler < broker's delivery time-out (270 s) <
// revision time-out (300 s) < lease.
const (
	handlerTimeout = 240 * time.Second
	leaseTime      = 330 * time.Second
	// drainBudget is how long a handler on its way out begins further work.
	drainBudget    = 60 * time.Second
	publishTimeout = 5 * time.Second
	// settleTimeout bounds the tries to store that work failed.
	settleTimeout = 45 * time.Second
	settlePause   = 3 * time.Second
	settleTries   = 10
	// maxAttempts is how often work that fails is begun before it is buried: for
	// about a day with transient errors, for minutes with bugs.
	maxTransient = 150
	maxBugs      = 5
	maxBackoff   = 10 * time.Minute
)

// runnerStore is what the runner needs of the store.
type runnerStore interface {
	Handled(ctx context.Context, consumer, eventID string) (bool, error)
	Event(ctx context.Context, id string) (domain.Envelope, error)
	Commit(ctx context.Context, cause store.Cause, out domain.Outcome, now time.Time) error
	ClaimWork(ctx context.Context, owner string, now time.Time, lease time.Duration, limit int) ([]domain.Work, error)
	FailWork(ctx context.Context, w domain.Work, notBefore time.Time, reason string) error
	BuryWork(ctx context.Context, w domain.Work, reason string) error
	MarkPublished(ctx context.Context, ids []string, now time.Time) error
	ReleaseLease(ctx context.Context, name, holder string) error
}

// Runner runs one function: it dedupes the event, calls the handler, commits the
// outcome in one transaction, publishes, and does the work that is due.
type Runner struct {
	fn    Function
	store runnerStore
	// publish hands the events of a commit to the broker.
	publish func(ctx context.Context, envs []domain.Envelope)
	now     func() time.Time
	log     *slog.Logger
	tracer  trace.Tracer
	// workers is how many pieces of work are done at once.
	workers int
	// quit ends when no further work is to be begun; what was begun goes on.
	quit context.Context //nolint:containedctx // the program's lifetime, not a call's
	// onTick is the housekeeping of the one function that gets the tick.
	onTick func(context.Context, cloudevents.Event)
	// draining keeps one machine's clock from starting a second drain.
	draining atomic.Bool
}

// Receive handles one event. A nil error means that it is handled and never
// needs to come again; else domain.KindOf says whether it should.
func (r *Runner) Receive(ctx context.Context, e cloudevents.Event) error {
	// The publisher may be inside of its own request and give up on us: what was
	// begun is finished all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handlerTimeout)
	defer cancel()
	ctx = observe.Extract(ctx, events.TraceParent(e))
	ctx, span := r.tracer.Start(ctx, r.fn.Name()+" "+e.Type(), trace.WithAttributes(attribute.String("event_id", e.ID())))
	defer span.End()

	var err error
	// A tick and a wake-up have nothing to handle: what is due follows below.
	tick := e.Type() == events.TypeTick || e.Type() == events.TypePing
	if !tick && e.Type() != events.TypeWorkDue {
		err = r.handle(ctx, e)
	}
	if err != nil {
		span.RecordError(err)
		r.countError(ctx, e.Type(), err)
		r.log.ErrorContext(ctx, "event failed", observe.KeyEventID, e.ID(), "type", e.Type(), "kind", domain.KindOf(err), observe.KeyError, err)
		return err
	}
	if r.onTick != nil && tick {
		r.onTick(ctx, e)
	}
	r.Drain(ctx)
	return nil
}

func (r *Runner) handle(ctx context.Context, e cloudevents.Event) error {
	handled, err := r.store.Handled(ctx, r.fn.Name(), e.ID())
	if err != nil {
		return fmt.Errorf("look up the event: %w", err)
	}
	if handled {
		return nil
	}
	// What came is a wake-up: anybody who reaches the broker could have sent it. What
	// counts is what we stored under its id.
	env, err := r.store.Event(ctx, e.ID())
	if errors.Is(err, domain.ErrNotFound) {
		// Somebody else's, or its installation was deleted meanwhile.
		r.log.WarnContext(ctx, "dropped an event that is not stored", observe.KeyEventID, e.ID(), "type", e.Type())
		return nil
	} else if err != nil {
		return fmt.Errorf("look up the event: %w", err)
	}
	if e, err = events.Open(env); err != nil {
		return err
	}
	start := r.now()
	out, err := guarded(func() (domain.Outcome, error) { return r.fn.Handle(ctx, e) })
	if err != nil {
		return err
	}
	cause := store.Cause{Consumer: r.fn.Name(), EventID: e.ID(), EventType: e.Type(), Duration: r.now().Sub(start), Result: "ok"}
	out.Counts = append(out.Counts, r.processed(1))
	err = r.commit(ctx, cause, out)
	if errors.Is(err, store.ErrHandled) {
		return nil // the same event in another copy of us was faster
	}
	return err
}

// guarded turns a panic into a Bug: a stranger's file that one parser can't take
// must not end what else the process does.
func guarded(do func() (domain.Outcome, error)) (out domain.Outcome, err error) {
	defer func() {
		if v := recover(); v != nil {
			out, err = domain.Outcome{}, domain.Errorf(domain.Bug, "run the function", "panic: %v\n%s", v, debug.Stack())
		}
	}()
	return do()
}

// commit stores the outcome and then publishes its events.
func (r *Runner) commit(ctx context.Context, cause store.Cause, out domain.Outcome) error {
	traceParent := observe.Inject(ctx)
	for i := range out.Later {
		if out.Later[i].TraceParent == "" {
			out.Later[i].TraceParent = traceParent
		}
	}
	if err := r.store.Commit(ctx, cause, out, r.now()); err != nil {
		return fmt.Errorf("commit the outcome: %w", err)
	}
	r.publish(ctx, out.Events)
	return nil
}

// Drain does the work of this function that is due, until there is none left,
// the budget is used up, the program is told to stop or ctx ends.
func (r *Runner) Drain(ctx context.Context) {
	until := r.now().Add(drainBudget)
	for ctx.Err() == nil && r.quit.Err() == nil && r.now().Before(until) {
		batch, err := r.store.ClaimWork(ctx, r.fn.Name(), r.now(), leaseTime, r.workers)
		if err != nil {
			if ctx.Err() == nil {
				r.log.WarnContext(ctx, "cannot claim work", observe.KeyError, err)
			}
			return
		}
		if len(batch) == 0 {
			return
		}
		var wg sync.WaitGroup
		for _, w := range batch {
			wg.Go(func() { r.do(ctx, w) })
		}
		wg.Wait()
	}
}

// do does one piece of work and settles it.
func (r *Runner) do(ctx context.Context, w domain.Work) {
	ctx, cancel := context.WithTimeout(ctx, handlerTimeout)
	defer cancel()
	ctx = observe.Extract(ctx, w.TraceParent)
	ctx, span := r.tracer.Start(ctx, w.Kind, trace.WithAttributes(attribute.String("key", w.Key), attribute.Int("attempt", w.Attempts)))
	defer span.End()
	if w.TraceParent == "" {
		w.TraceParent = observe.Inject(ctx)
	}

	if w.Attempts > maxTransient {
		// Whatever begins it never lives to say so: it takes the process with it.
		r.settle(ctx, w, domain.Errorf(domain.Invalid, "do the work", "begun %d times and never ended", w.Attempts))
		return
	}
	start := r.now()
	out, err := guarded(func() (domain.Outcome, error) { return r.fn.Work(ctx, w) })
	if domain.KindOf(err) == domain.RateLimited {
		// Somebody else's limit is no failure: park until it is over.
		at, ok := domain.RetryAt(err)
		if !ok {
			at = r.now().Add(time.Minute)
		}
		r.log.InfoContext(ctx, "work parked by a rate limit", "kind", w.Kind, "key", w.Key, "until", at)
		out, err = domain.Outcome{Again: at}, nil
	}
	if err == nil {
		out.Counts = append(out.Counts, r.processed(1))
		cause := store.Cause{Consumer: r.fn.Name(), EventType: w.Kind, Work: &w, Duration: r.now().Sub(start), Result: "ok"}
		if err = r.commit(ctx, cause, out); err == nil {
			return
		}
		r.release(ctx, out.Release)
	}
	span.RecordError(err)
	r.settle(ctx, w, err)
}

// release gives back the leases of an outcome that could not be committed, so
// that the next try needn't wait for them to run out.
func (r *Runner) release(ctx context.Context, leases []domain.Lease) {
	rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	for _, l := range leases {
		if err := r.store.ReleaseLease(rctx, l.Name, l.Holder); err != nil {
			r.log.WarnContext(ctx, "lease kept until it runs out", "lease", l.Name, observe.KeyError, err)
		}
	}
}

// processed counts what was handled.
func (r *Runner) processed(n float64) domain.Count {
	return domain.Count{Name: "bot_events_processed_total", Labels: map[string]string{"function": r.fn.Name()}, Add: n}
}

// countError counts a failure, if that can be stored at all.
func (r *Runner) countError(ctx context.Context, what string, err error) {
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	count := domain.Count{
		Name: countErrors, Add: 1,
		Labels: map[string]string{"component": r.fn.Name(), "kind": string(domain.KindOf(err))},
	}
	cause := store.Cause{Consumer: r.fn.Name(), EventType: what}
	if cerr := r.store.Commit(cctx, cause, domain.Outcome{Counts: []domain.Count{count}}, r.now()); cerr != nil {
		r.log.WarnContext(ctx, "cannot count the failure", observe.KeyError, cerr)
	}
}

// settle decides what becomes of work that failed. If not even that can be
// stored, the lease runs out and the work is taken up again.
func (r *Runner) settle(ctx context.Context, w domain.Work, err error) {
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	kind := domain.KindOf(err)
	bury := kind == domain.Invalid || kind == domain.Denied || kind == domain.Unsupported ||
		(kind == domain.Transient && w.Attempts >= maxTransient) || (kind == domain.Bug && w.Attempts >= maxBugs)
	level := slog.LevelWarn
	if bury {
		level = slog.LevelError
	}
	r.countError(ctx, w.Kind, err)
	r.log.Log(ctx, level, "work failed", "work", w.Kind, "key", w.Key, "attempt", w.Attempts, "kind", kind, "buried", bury, observe.KeyError, err)
	put := func() error {
		return r.store.FailWork(sctx, w, r.now().Add(backoffAfter(w.Attempts, err)), err.Error())
	}
	if bury {
		put = func() error { return r.store.BuryWork(sctx, w, err.Error()) }
	}
	serr := put()
	// Work often fails because the database restarts, and then this does too.
	for try := 1; domain.KindOf(serr) == domain.Transient && !errors.Is(serr, domain.ErrConflict) && try < settleTries; try++ {
		if pause(r.quit, settlePause) != nil || sctx.Err() != nil { //nolint:contextcheck // The pause ends with the program, not with the call.
			break
		}
		serr = put()
	}
	if serr != nil && !errors.Is(serr, domain.ErrConflict) {
		r.log.WarnContext(ctx, "work stays leased until it expires", "work", w.Kind, "key", w.Key, observe.KeyError, serr)
	}
}

// backoffAfter is the wait after the n-th failure: 1 s doubled each time, at
// most ten minutes, with a fifth of jitter. A row that another writer changed is
// worth reading again at once.
func backoffAfter(n int, err error) time.Duration {
	if errors.Is(err, domain.ErrConflict) && n < 5 {
		return time.Duration(n) * 20 * time.Millisecond
	}
	d := min(time.Second<<min(max(n-1, 0), 20), maxBackoff)
	return d + time.Duration(rand.Int64N(int64(d)/5+1)) //nolint:gosec // jitter needs no secrecy
}

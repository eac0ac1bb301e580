package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
	"github.com/mlops-bot/mlops-bot/shared/store"
	"github.com/mlops-bot/mlops-bot/test/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a clock that tests move.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}
func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func openStore(t testing.TB, url string, now func() time.Time) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), url, store.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// scripted is a function whose handler and work are given by the test.
type scripted struct {
	name   string
	handle func(context.Context, cloudevents.Event) (domain.Outcome, error)
	work   func(context.Context, domain.Work) (domain.Outcome, error)
}

func (s scripted) Name() string { return s.name }
func (s scripted) Handle(ctx context.Context, e cloudevents.Event) (domain.Outcome, error) {
	return s.handle(ctx, e)
}
func (s scripted) Work(ctx context.Context, w domain.Work) (domain.Outcome, error) {
	return s.work(ctx, w)
}

type published struct {
	mu   sync.Mutex
	envs []domain.Envelope
	err  error
}

func (p *published) Publish(_ context.Context, env domain.Envelope) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.envs = append(p.envs, env)
	return p.err
}

func newOutlet(s *store.Store, p Publisher, now func() time.Time) *outlet {
	return &outlet{publisher: p, store: s, now: now, log: slog.New(slog.DiscardHandler), places: make(chan struct{}, 2)}
}

func newRunner(fn Function, s *store.Store, p Publisher, now func() time.Time) *Runner {
	return &Runner{
		fn: fn, store: s, publish: newOutlet(s, p, now).send, now: now, log: slog.New(slog.DiscardHandler),
		tracer: noop.NewTracerProvider().Tracer(""), workers: 8, quit: context.Background(),
	}
}

func detected(t testing.TB, cause string, at time.Time) (domain.Envelope, cloudevents.Event) {
	t.Helper()
	env, err := events.New(events.Cause{ID: cause, Time: at}, events.IncidentDetected{Incident: events.Incident{InstallationID: 1, RepoID: 2, IncidentID: cause}})
	if err != nil {
		t.Fatal(err)
	}
	e, err := events.Open(env)
	if err != nil {
		t.Fatal(err)
	}
	return env, e
}

// keep stores an event as if a function had sent it.
func keep(t testing.TB, s *store.Store, env domain.Envelope, now time.Time) {
	t.Helper()
	if err := s.Commit(t.Context(), store.Cause{Consumer: "detect"}, domain.Outcome{Events: []domain.Envelope{env}}, now); err != nil {
		t.Fatal(err)
	}
}

// stores runs a test on both databases.
func stores(t *testing.T, run func(t *testing.T, url string)) {
	for _, kind := range []string{"sqlite", "postgres"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			url := "sqlite:" + t.TempDir() + "/bot.db"
			if kind == "postgres" {
				url = servers.Postgres(t)
			}
			run(t, url)
		})
	}
}

func TestOneEventManyTimesAtOnceIsHandledOnce(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, url string) {
		c := newClock()
		s := openStore(t, url, c.now)
		var done atomic.Int32
		env, e := detected(t, "inc-1", c.now())
		keep(t, s, env, c.now())
		r := newRunner(scripted{
			name: "repair",
			handle: func(context.Context, cloudevents.Event) (domain.Outcome, error) {
				return domain.Outcome{
					Later:  []domain.Work{{Kind: "repair.once", Key: "k"}},
					Counts: []domain.Count{{Name: "handled", Add: 1}},
				}, nil
			},
			work: func(context.Context, domain.Work) (domain.Outcome, error) { done.Add(1); return domain.Outcome{}, nil },
		}, s, &published{}, c.now)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := r.Receive(t.Context(), e); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		counters, err := s.Counters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(counters, func(c store.Counter) bool { return c.Name == "handled" })
		if i < 0 || counters[i].Value != 1 || done.Load() != 1 {
			t.Errorf("counted %+v, work done %d times", counters, done.Load())
		}
	})
}

func TestWorkThatFails(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err    error
		begun  int // within ten minutes, give or take one for the jitter of backoffs
		buried bool
	}{
		"invalid":     {domain.Errorf(domain.Invalid, "x", "no"), 1, true},
		"denied":      {domain.Errorf(domain.Denied, "x", "no"), 1, true},
		"unsupported": {domain.Errorf(domain.Unsupported, "x", "no"), 1, true},
		"bug":         {errors.New("no kind"), 5, true},
		"transient":   {domain.Errorf(domain.Transient, "x", "later"), 9, false},
		"rate limit":  {&domain.Error{Kind: domain.RateLimited, Op: "x", RetryAt: newClock().now().Add(9 * time.Minute)}, 2, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			s := openStore(t, "sqlite::memory:", c.now)
			begun := 0
			r := newRunner(scripted{name: "repair", work: func(context.Context, domain.Work) (domain.Outcome, error) {
				begun++
				if name == "rate limit" && begun > 1 {
					return domain.Outcome{}, nil
				}
				return domain.Outcome{}, tt.err
			}}, s, &published{}, c.now)
			if err := s.AddWork(t.Context(), domain.Work{Kind: "repair.x", Key: "k"}); err != nil {
				t.Fatal(err)
			}
			for range 600 {
				r.Drain(t.Context())
				c.advance(time.Second)
			}
			letters, err := s.DeadLetters(t.Context(), 10)
			if err != nil {
				t.Fatal(err)
			}
			slack := 0
			if name == "transient" {
				slack = 1
			}
			if max(begun-tt.begun, tt.begun-begun) > slack || (len(letters) == 1) != tt.buried {
				t.Errorf("begun %d times, want %d; dead letters %+v", begun, tt.begun, letters)
			}
		})
	}
}

// TestALeaseOfAFailedCommitIsGivenBack: who couldn't commit doesn't keep others
// waiting.
func TestALeaseOfAFailedCommitIsGivenBack(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openStore(t, "sqlite::memory:", c.now)
	if err := s.AddWork(t.Context(), domain.Work{Kind: "repair.x", Key: "k"}); err != nil {
		t.Fatal(err)
	}
	r := newRunner(scripted{name: "repair", work: func(ctx context.Context, w domain.Work) (domain.Outcome, error) {
		if _, err := s.AcquireLease(ctx, "l", w.Lease, c.now(), time.Hour); err != nil {
			return domain.Outcome{}, err
		}
		return domain.Outcome{
			Release:   []domain.Lease{{Name: "l", Holder: w.Lease}},
			Incidents: []domain.Incident{{ID: "inc-1", Version: 7, State: domain.IncidentOpen}}, // no such version
		}, nil
	}}, s, &published{}, c.now)
	r.Drain(t.Context())
	if mine, err := s.AcquireLease(t.Context(), "l", "other", c.now(), time.Minute); err != nil || !mine {
		t.Errorf("the lease is still held: %v, %v", mine, err)
	}
}

func TestWorkOfAProcessThatDiedIsTakenUp(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, url string) {
		c := newClock()
		s := openStore(t, url, c.now)
		if err := s.AddWork(t.Context(), domain.Work{Kind: "repair.x", Key: "k"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ClaimWork(t.Context(), "repair", c.now(), leaseTime, 1); err != nil {
			t.Fatal(err) // and the process dies
		}
		done := 0
		r := newRunner(scripted{name: "repair", work: func(context.Context, domain.Work) (domain.Outcome, error) {
			done++
			return domain.Outcome{}, nil
		}}, s, &published{}, c.now)
		r.Drain(t.Context())
		if done != 0 {
			t.Fatal("leased work was begun a second time")
		}
		c.advance(leaseTime + time.Second)
		r.Drain(t.Context())
		r.Drain(t.Context())
		if done != 1 {
			t.Errorf("done %d times", done)
		}
	})
}

func TestEventsSurviveABrokerThatIsAway(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openStore(t, "sqlite::memory:", c.now)
	p := &published{err: domain.Errorf(domain.Transient, "publish", "away")}
	env, _ := detected(t, "inc-1", c.now())
	r := newRunner(scripted{name: "detect", work: func(context.Context, domain.Work) (domain.Outcome, error) {
		return domain.Outcome{Events: []domain.Envelope{env}}, nil
	}}, s, p, c.now)
	if err := s.AddWork(t.Context(), domain.Work{Kind: "detect.x", Key: "k"}); err != nil {
		t.Fatal(err)
	}
	r.Drain(t.Context())
	p.err, p.envs = nil, nil
	h := &housekeeper{store: s, publish: newOutlet(s, p, c.now).send, now: c.now, log: slog.New(slog.DiscardHandler), bodies: time.Hour, records: time.Hour}
	tick := func() {
		c.advance(time.Minute)
		te, err := events.New(events.Cause{ID: c.now().String(), Time: c.now()}, events.Tick{})
		if err != nil {
			t.Fatal(err)
		}
		e, _ := events.Open(te)
		h.tick(t.Context(), e)
	}
	tick()
	if len(p.envs) != 1 || p.envs[0].ID != env.ID || !cmp.Equal(p.envs[0].Consumers, []string{"notify", "repair"}) {
		t.Fatalf("published %+v", p.envs)
	}
	tick()
	if len(p.envs) != 1 {
		t.Errorf("published again after a minute: %+v", p.envs)
	}
	// One consumer handles it; the other's copy is lost and comes again.
	if err := s.Commit(t.Context(), store.Cause{Consumer: "notify", EventID: env.ID, EventType: env.Type}, domain.Outcome{}, c.now()); err != nil {
		t.Fatal(err)
	}
	c.advance(republishAfter)
	tick()
	if len(p.envs) != 2 || !cmp.Equal(p.envs[1].Consumers, []string{"repair"}) {
		t.Fatalf("published %+v", p.envs)
	}
	if err := s.Commit(t.Context(), store.Cause{Consumer: "repair", EventID: env.ID, EventType: env.Type}, domain.Outcome{}, c.now()); err != nil {
		t.Fatal(err)
	}
	c.advance(republishAfter)
	tick()
	if len(p.envs) != 2 {
		t.Errorf("published after everybody has handled it: %+v", p.envs[2:])
	}
}

func TestTickWakesTheOwnersOfDueWork(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openStore(t, "sqlite::memory:", c.now)
	if err := s.AddWork(t.Context(), domain.Work{Kind: "repair.x", Key: "k"}, domain.Work{Kind: "notify.x", Key: "k", NotBefore: c.now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	p := &published{}
	h := &housekeeper{store: s, publish: newOutlet(s, p, c.now).send, now: c.now, log: slog.New(slog.DiscardHandler)}
	te, _ := events.New(events.Cause{ID: "tick", Time: c.now()}, events.Tick{})
	e, _ := events.Open(te)
	if err := h.wake(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if len(p.envs) != 1 || !cmp.Equal(p.envs[0].Consumers, []string{"repair"}) {
		t.Errorf("published %+v", p.envs)
	}
}

func TestBroker(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err   error
		tries int
		dead  bool
	}{
		"handled":     {nil, 1, false},
		"invalid":     {domain.Errorf(domain.Invalid, "x", "no"), 1, true},
		"transient":   {domain.Errorf(domain.Transient, "x", "later"), 3, true},
		"bug":         {errors.New("x"), 3, true},
		"unsupported": {domain.Errorf(domain.Unsupported, "x", "no"), 1, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			s := openStore(t, "sqlite::memory:", c.now)
			b := newBroker(Delivery{Retries: 2, Backoff: time.Millisecond}, nil, s, c.now, slog.New(slog.DiscardHandler))
			var tries atomic.Int32
			reached := make(chan struct{}, 16)
			b.Start(map[string]Receiver{"repair": func(context.Context, cloudevents.Event) error {
				tries.Add(1)
				reached <- struct{}{}
				return tt.err
			}})
			env, _ := detected(t, "inc-1", c.now())
			if err := b.Publish(t.Context(), env); err != nil {
				t.Fatal(err)
			}
			for range tt.tries {
				<-reached
			}
			var letters []store.DeadLetter
			for deadline := time.Now().Add(10 * time.Second); tt.dead && len(letters) == 0 && time.Now().Before(deadline); {
				var err error
				if letters, err = s.DeadLetters(t.Context(), 5); err != nil {
					t.Fatal(err)
				}
			}
			b.Stop()
			if int(tries.Load()) != tt.tries || (len(letters) == 1) != tt.dead {
				t.Errorf("%d tries, dead letters %+v", tries.Load(), letters)
			}
			if err := b.Publish(t.Context(), env); domain.KindOf(err) != domain.Transient {
				t.Errorf("publishing to a stopped broker: %v", err)
			}
		})
	}
}

func TestBrokerDuplicatesLosesAndShuffles(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openStore(t, "sqlite::memory:", c.now)
	var n atomic.Int32
	chaos := func(domain.Envelope, string) (int, time.Duration) {
		i := n.Add(1)
		return int(i) % 3, time.Duration(5-i%5) * time.Millisecond
	}
	b := newBroker(Delivery{}, chaos, s, c.now, slog.New(slog.DiscardHandler))
	var mu sync.Mutex
	var order []string
	all := make(chan struct{})
	want := 0
	for i := 1; i <= 30; i++ {
		want += i % 3
	}
	b.Start(map[string]Receiver{"repair": func(_ context.Context, e cloudevents.Event) error {
		mu.Lock()
		defer mu.Unlock()
		if order = append(order, e.ID()); len(order) == want {
			close(all)
		}
		return nil
	}})
	for i := range 30 {
		env, _ := detected(t, fmt.Sprint("inc-", i), c.now())
		env.Consumers = []string{"repair"}
		if err := b.Publish(t.Context(), env); err != nil {
			t.Fatal(err)
		}
	}
	<-all
	b.Stop()
	distinct := slices.Clone(order)
	slices.Sort(distinct)
	if distinct = slices.Compact(distinct); len(order) != want || len(distinct) != 20 {
		t.Errorf("%d deliveries of %d events", len(order), len(distinct))
	}
}

// TestEventsOverHTTP sends an event as a function does in a cluster and checks
// the status that each kind of error gives.
func TestEventsOverHTTP(t *testing.T) {
	t.Parallel()
	for kind, ok := range map[domain.ErrKind]bool{"": true, domain.Invalid: false, domain.Transient: false} {
		t.Run("kind "+string(kind), func(t *testing.T) {
			t.Parallel()
			var got cloudevents.Event
			h, err := receiveHandler(func(_ context.Context, e cloudevents.Event) error {
				got = e
				if kind == "" {
					return nil
				}
				return domain.Errorf(kind, "x", "no")
			})
			if err != nil {
				t.Fatal(err)
			}
			srv := httptest.NewServer(h)
			defer srv.Close()
			env, e := detected(t, "inc-1", newClock().now())
			if err := newHTTPPublisher(srv.URL).Publish(t.Context(), env); (err == nil) != ok {
				t.Errorf("publish: %v", err)
			}
			if got.ID() != e.ID() || got.Type() != e.Type() || string(got.Data()) != string(e.Data()) {
				t.Errorf("got %v", got)
			}
			resp, err := srv.Client().Post(srv.URL, "application/cloudevents+json", bytes.NewReader(env.JSON))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if want := domain.HTTPStatus(kind); resp.StatusCode != want && (!ok || resp.StatusCode/100 != 2) {
				t.Errorf("status %d, want %d", resp.StatusCode, want)
			}
			// Knative takes a body for an event, and retries what isn't one.
			if body, err := io.ReadAll(resp.Body); ok && (err != nil || len(body) > 0) {
				t.Errorf("the answer has the body %q (%v), want none", body, err)
			}
		})
	}
}

// What a stranger sends under an id of ours is read as it was stored, and what was
// never stored is dropped.
func TestOnlyStoredEventsCount(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openStore(t, "sqlite::memory:", c.now)
	var got []string
	r := newRunner(scripted{name: "repair", handle: func(_ context.Context, e cloudevents.Event) (domain.Outcome, error) {
		got = append(got, string(e.Data()))
		return domain.Outcome{}, nil
	}}, s, &published{}, c.now)
	env, e := detected(t, "inc-1", c.now())
	if err := r.Receive(t.Context(), e); err != nil || len(got) != 0 {
		t.Errorf("an event that is not stored was handled: %v, %v", got, err)
	}
	keep(t, s, env, c.now())
	forged := e.Clone()
	if err := forged.SetData(cloudevents.ApplicationJSON, map[string]string{"incident_id": "forged"}); err != nil {
		t.Fatal(err)
	}
	if err := r.Receive(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{string(e.Data())}, got); diff != "" {
		t.Error(diff)
	}
}

func TestPanicsAreBugs(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openStore(t, "sqlite::memory:", c.now)
	r := newRunner(scripted{
		name:   "detect",
		handle: func(context.Context, cloudevents.Event) (domain.Outcome, error) { panic("an event") },
		work:   func(context.Context, domain.Work) (domain.Outcome, error) { panic("a piece of work") },
	}, s, &published{}, c.now)
	env, e := detected(t, "inc-1", c.now())
	keep(t, s, env, c.now())
	if err := r.Receive(t.Context(), e); domain.KindOf(err) != domain.Bug || !strings.Contains(err.Error(), "an event") {
		t.Errorf("got %v, want a bug", err)
	}
	if err := s.AddWork(t.Context(), domain.Work{Kind: "detect.x", Key: "k"}); err != nil {
		t.Fatal(err)
	}
	for range maxBugs {
		r.Drain(t.Context())
		c.advance(maxBackoff * 2)
	}
	dead, err := s.DeadLetters(t.Context(), 10)
	if err != nil || len(dead) != 1 || !strings.Contains(dead[0].Reason, "a piece of work") {
		t.Errorf("got the dead letters %+v, %v; want the work", dead, err)
	}
}

func TestPacer(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, url string) {
		s := openStore(t, url, time.Now)
		const spacing = 20 * time.Millisecond
		var mu sync.Mutex
		var starts []time.Time
		begun := time.Now()
		inside := 0
		var wg sync.WaitGroup
		for range 5 {
			p := &pacer{store: s, spacing: spacing, now: time.Now}
			wg.Go(func() {
				done, err := p.Wait(t.Context(), 7)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				inside++
				if inside > 1 {
					t.Error("two writes at once")
				}
				starts = append(starts, time.Now())
				mu.Unlock()
				mu.Lock()
				inside--
				mu.Unlock()
				done()
			})
		}
		wg.Wait()
		// Each starts after its slot, and slots are spacing apart.
		last := slices.MaxFunc(starts, time.Time.Compare)
		if least := 4 * spacing; len(starts) != 5 || last.Sub(begun) < least {
			t.Errorf("%d writes within %s, want 5 within no less than %s", len(starts), last.Sub(begun), least)
		}
		// Somebody holds the turn: a caller that can't wait is told so.
		if _, err := s.AcquireLease(t.Context(), "mutate/8", "other", time.Now(), time.Minute); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		if _, err := (&pacer{store: s, spacing: spacing, now: time.Now}).Wait(ctx, 8); domain.KindOf(err) != domain.Transient {
			t.Errorf("waiting for a held turn: %v", err)
		}
	})
}

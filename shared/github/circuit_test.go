package github

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// TestOutage follows an outage from its first failure to its end.
func TestOutage(t *testing.T) {
	t.Parallel()
	testKey()
	hang := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	cases := map[string]roundTrip{
		"5xx":        func(r *http.Request) (*http.Response, error) { return reply(r, 502, ""), nil },
		"connection": func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") },
		"time-out":   hang,
	}
	for name, broken := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var down atomic.Bool
				var asked atomic.Int64
				c := bubble(t, func(r *http.Request) (*http.Response, error) {
					asked.Add(1)
					if down.Load() {
						return broken(r)
					}
					return reply(r, 200, pullJSON("open")), nil
				})
				pull := func() error { _, err := c.Pull(t.Context(), testRepo, 4); return err }
				if err := pull(); err != nil {
					t.Fatal(err)
				}
				down.Store(true)
				asked.Store(0)
				var err error
				for tries := 1; domain.KindOf(err) != domain.RateLimited; tries++ {
					if err = pull(); domain.KindOf(err) != domain.Transient && domain.KindOf(err) != domain.RateLimited || tries > outageAfter {
						t.Fatalf("try %d of an outage gives %v", tries, err)
					}
				}
				if n := asked.Load(); n != outageAfter {
					t.Fatalf("%d calls until the circuit opened", n)
				}
				// While it is open nothing is asked, not even for a turn to write.
				p := &pacer{}
				c.cfg.Pacer = p
				for what, err := range map[string]error{"read": pull(), "write": c.ClosePull(t.Context(), testRepo, 4), "ready": c.MarkReady(t.Context(), testRepo, "PR_4")} {
					at, ok := domain.RetryAt(err)
					if domain.KindOf(err) != domain.RateLimited || !ok || at.Before(time.Now()) || at.After(time.Now().Add(outagePause)) || !strings.Contains(err.Error(), "api.github.com") {
						t.Errorf("a %s gives %v", what, err)
					}
				}
				if _, err := c.JobLog(t.Context(), testRepo, 5); domain.KindOf(err) != domain.RateLimited {
					t.Errorf("a log gives %v", err)
				}
				if n := asked.Load(); n != outageAfter || len(p.asked) != 0 {
					t.Errorf("%d calls and %d turns while the circuit was open", n-outageAfter, len(p.asked))
				}
				// One call tries; as it fails, the others go on waiting.
				at, _ := domain.RetryAt(pull())
				time.Sleep(time.Until(at) + time.Millisecond)
				if err := pull(); domain.KindOf(err) != domain.RateLimited || asked.Load() != outageAfter+1 {
					t.Errorf("after %d calls: %v", asked.Load(), err)
				}
				down.Store(false)
				at, _ = domain.RetryAt(pull())
				time.Sleep(time.Until(at) + time.Millisecond)
				for range 2 {
					if err := pull(); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// TestOneTriesAfterAnOutage: while the first call after an outage is under way,
// the others wait for it.
func TestOneTriesAfterAnOutage(t *testing.T) {
	t.Parallel()
	testKey()
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		release := make(chan struct{})
		c := bubble(t, func(r *http.Request) (*http.Response, error) {
			if down.Load() {
				return reply(r, 500, ""), nil
			}
			select {
			case <-release:
				return reply(r, 200, pullJSON("open")), nil
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		})
		pull := func(ctx context.Context) error { _, err := c.Pull(ctx, testRepo, 4); return err }
		for range outageAfter {
			_ = pull(t.Context())
		}
		down.Store(false)
		time.Sleep(outagePause + time.Millisecond)
		// The first one's caller gives up: that says nothing, and the next one tries.
		ctx, cancel := context.WithCancel(t.Context())
		ends := make(chan error)
		go func() { ends <- pull(ctx) }()
		synctest.Wait()
		if at, ok := domain.RetryAt(pull(t.Context())); !ok || time.Until(at) != probePause {
			t.Errorf("the second is to wait until %s", at)
		}
		cancel()
		if err := <-ends; !errors.Is(err, context.Canceled) {
			t.Errorf("the first gets %v", err)
		}
		close(release)
		if err := pull(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestNoOutage: answers that refuse, limits and callers who leave open no
// circuit.
func TestNoOutage(t *testing.T) {
	t.Parallel()
	testKey()
	cases := map[string]func(r *http.Request) *http.Response{
		"400":           func(r *http.Request) *http.Response { return reply(r, 400, `{"message":"no"}`) },
		"404":           func(r *http.Request) *http.Response { return reply(r, 404, `{"message":"no"}`) },
		"422":           func(r *http.Request) *http.Response { return reply(r, 422, `{"message":"no"}`) },
		"202":           func(r *http.Request) *http.Response { return reply(r, 202, `{}`) },
		"another shape": func(r *http.Request) *http.Response { return reply(r, 200, `{"number":"four"}`) },
		"429": func(r *http.Request) *http.Response {
			resp := reply(r, 429, `{}`)
			resp.Header.Set("Retry-After", "1")
			return resp
		},
	}
	for name, f := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := bubble(t, func(r *http.Request) (*http.Response, error) { return f(r), nil })
				for range 2 * outageAfter {
					if _, err := c.Pull(t.Context(), testRepo, 4); err == nil || strings.Contains(err.Error(), "in a row") {
						t.Fatal(err)
					}
					time.Sleep(2 * time.Second) // past go-github's own memory of the limit
				}
			})
		})
	}
	t.Run("the caller leaves", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			c := bubble(t, func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			})
			for range 2 * outageAfter {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				if _, err := c.Pull(ctx, testRepo, 4); domain.KindOf(err) != domain.Transient {
					t.Fatal(err)
				}
				cancel()
			}
		})
	})
	t.Run("now and then", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			n := 0
			c := bubble(t, func(r *http.Request) (*http.Response, error) {
				if n++; n%3 != 0 {
					return reply(r, 500, ``), nil
				}
				return reply(r, 200, pullJSON("open")), nil
			})
			for range 4 * outageAfter {
				if _, err := c.Pull(t.Context(), testRepo, 4); err != nil {
					t.Fatal(err)
				}
			}
		})
	})
}

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/mlops-bot/mlops-bot/shared/app"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// killer numbers the calls of a process and kills it at the n-th: that call and
// all later ones do nothing but fail, as after a SIGKILL.
type killer struct {
	mu   sync.Mutex
	at   int // 0 never
	n    int
	what string        // the call that it died at
	died chan struct{} // closed then
}

func newKiller(at int) *killer { return &killer{at: at, died: make(chan struct{})} }

var errKilled = domain.Errorf(domain.Transient, "call", "the process is dead")

// step counts a call; an error means that the process is dead.
func (k *killer) step(what string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.what != "" {
		return errKilled
	}
	if k.n++; k.n == k.at {
		k.what = what
		close(k.died)
		return errKilled
	}
	return nil
}

// check is step without counting.
func (k *killer) check() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.what != "" {
		return errKilled
	}
	return nil
}

// RoundTrip numbers the requests to GitHub.
func (k *killer) transport(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if err := k.step(fmt.Sprintf("github %s %s", r.Method, r.URL.Path)); err != nil {
			return nil, err
		}
		return next.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// numberedPublisher numbers what is sent to the broker.
type numberedPublisher struct {
	app.Publisher
	k *killer
}

func (p numberedPublisher) Publish(ctx context.Context, env domain.Envelope) error {
	if err := p.k.step("broker.Publish"); err != nil {
		return err
	}
	return p.Publisher.Publish(ctx, env)
}

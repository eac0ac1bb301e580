package notify

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

const (
	// outageAfter is how many sends to one host in a row must fail before no more are
	// tried, within outageWindow.
	outageAfter  = 5
	outageWindow = 10 * time.Minute
	// outagePause is how long none are tried; then one is, and its end decides.
	outagePause = time.Minute
	// probePause is how long the others wait for that one.
	probePause = 5 * time.Second
)

// circuits keep messages from hosts that answer none, each host for itself: a
// channel that is down costs no time and no attempts, and the others nothing.
// There are as many as the operator configured hosts.
type circuits struct {
	mu     sync.Mutex
	byHost map[string]*circuit
}

type circuit struct {
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]
	until   atomic.Int64 // when it half-opens, in Unix nanoseconds of the machine's clock
}

// The ends of a send that are no success.
var (
	errOutage = errors.New("the host failed")
	errLeft   = errors.New("the caller gave up") // which says nothing about the host
)

func (cs *circuits) of(host string) *circuit {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c, ok := cs.byHost[host]; ok {
		return c
	}
	c := &circuit{}
	c.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        host,
		Interval:    outageWindow,
		Timeout:     outagePause,
		ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= outageAfter },
		IsExcluded:  func(err error) bool { return errors.Is(err, errLeft) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			if to == gobreaker.StateOpen {
				c.until.Store(time.Now().Add(outagePause).UnixNano())
			}
		},
	})
	cs.byHost[host] = c
	return c
}

// send calls fn unless the host's circuit is open: then the error is RateLimited,
// which has the caller wait until RetryAt without having tried.
func (c *Client) send(ctx context.Context, op, host string, fn func() error) (err error) {
	ci := c.circuits.of(host)
	done, err := ci.breaker.Allow()
	if err != nil {
		wait := probePause
		if errors.Is(err, gobreaker.ErrOpenState) {
			wait = max(time.Until(time.Unix(0, ci.until.Load())), shortestRetry)
		}
		e := domain.Errorf(domain.RateLimited, op, "%s has failed many times in a row; it is asked again later", host)
		e.RetryAt = c.now().Add(wait)
		return e
	}
	end := errOutage // also of a panic: without an end the circuit would stay half-open
	defer func() { done(end) }()
	err = fn()
	switch {
	case err == nil, ctx.Err() == nil && domain.KindOf(err) != domain.Transient:
		end = nil
	case ctx.Err() != nil:
		end = errLeft
	}
	return err
}

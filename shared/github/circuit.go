package github

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	gh "github.com/google/go-github/v62/github"
	"github.com/sony/gobreaker/v2"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

const (
	// outageAfter is how many calls in a row must fail before no more are made: a
	// read alone makes up to maxTries of them.
	outageAfter = 10
	// outageWindow is how long failures in a row are remembered. It is longer than
	// outageAfter time-outs one after the other.
	outageWindow = 10 * time.Minute
	// outagePause is how long none are made; then one is, and its end decides.
	outagePause = 30 * time.Second
	// probePause is how long the others wait for that one.
	probePause = 5 * time.Second
)

// circuit keeps calls from a host that answers none: while it is open they fail
// at once. Their error is RateLimited, as a limit's is, since that is what the
// caller does with it: wait until RetryAt, without having tried. An outage of
// GitHub's so uses up no attempts. State is this process'.
type circuit struct {
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]
	until   atomic.Int64 // when it half-opens, in Unix nanoseconds of the machine's clock
	host    string
}

// The ends of a call that are no success.
var (
	errOutage = errors.New("the host failed")
	errLeft   = errors.New("the caller gave up") // which says nothing about the host
)

func newCircuit(host string, after uint32, pause time.Duration) *circuit {
	ci := &circuit{host: host}
	ci.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        host,
		Interval:    outageWindow,
		Timeout:     pause,
		ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= after },
		IsExcluded:  func(err error) bool { return errors.Is(err, errLeft) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			if to == gobreaker.StateOpen {
				ci.until.Store(time.Now().Add(pause).UnixNano())
			}
		},
	})
	return ci
}

// open returns the error that calls fail with now, or nil. Unlike a call it
// doesn't count as one.
func (ci *circuit) open(k call, now time.Time) error {
	if ci.breaker.State() == gobreaker.StateOpen {
		return ci.refuse(k, now, gobreaker.ErrOpenState)
	}
	return nil
}

func (ci *circuit) refuse(k call, now time.Time, why error) error {
	wait := probePause
	if errors.Is(why, gobreaker.ErrOpenState) {
		wait = max(time.Until(time.Unix(0, ci.until.Load())), time.Second)
	}
	err := domain.Errorf(domain.RateLimited, k.op, "%s has failed many times in a row; it is asked again at %s", ci.host, now.Add(wait).UTC().Format(time.RFC3339))
	err.RetryAt = now.Add(wait)
	return err
}

// attempt makes a call unless its host's circuit is open, and counts how it
// ended. ctx is the caller's own, which ends when the caller gives up and not
// with the time-out of a call.
func (c *Client) attempt(ctx context.Context, k call, fn func() error) (err error) {
	ci := c.circuitOf(k)
	done, err := ci.breaker.Allow()
	if err != nil {
		return ci.refuse(k, c.cfg.Now(), err)
	}
	end := errOutage // also of a panic: without an end the circuit would stay half-open
	defer func() { done(end) }()
	err = fn()
	switch {
	case ctx.Err() != nil && err != nil:
		end = errLeft
	case !outage(err):
		end = nil
	}
	return err
}

// outage reports whether a call's error says that its host is down: a 5xx, a
// time-out, a lost connection. Every other answer shows that it is up, refusals
// and limits included.
func outage(err error) bool {
	if err == nil {
		return false
	}
	if e, ok := errors.AsType[*domain.Error](err); ok {
		return e.Kind == domain.Transient
	}
	if e, ok := errors.AsType[*ghinstallation.HTTPError](err); ok && e.Response != nil {
		return down(e.Response)
	}
	if e, ok := errors.AsType[*gh.ErrorResponse](err); ok && e.Response != nil {
		return down(e.Response)
	}
	var limit *gh.RateLimitError
	var secondary *gh.AbuseRateLimitError
	var accepted *gh.AcceptedError
	var otp *gh.TwoFactorAuthError
	var shape *json.UnmarshalTypeError
	return !errors.As(err, &limit) && !errors.As(err, &secondary) && !errors.As(err, &accepted) && !errors.As(err, &otp) && !errors.As(err, &shape)
}

func down(resp *http.Response) bool {
	return resp.StatusCode >= http.StatusInternalServerError || resp.StatusCode == http.StatusRequestTimeout
}

func (c *Client) circuitOf(k call) *circuit {
	if k.graphql {
		return c.circuits[c.graphql.Host]
	}
	return c.circuits[c.api.Host]
}

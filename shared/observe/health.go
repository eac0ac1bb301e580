package observe

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultProbeTimeout bounds a probe when Health.Timeout is zero. It is shorter
// than the kubelet's usual patience of five seconds.
const DefaultProbeTimeout = 2 * time.Second

// Health describes what a program answers about itself.
type Health struct {
	// Live says whether the process should be restarted; nil means it never
	// should. It asks nothing outside of the process.
	Live func(context.Context) error
	// Ready says whether the program can do its job, which for the bot means "can
	// store"; nil means always.
	Ready func(context.Context) error
	// Probes are the dependencies shown at /health/detailed, by name. None of them
	// makes the program unready.
	Probes map[string]func(context.Context) error
	// Timeout bounds each probe; DefaultProbeTimeout when zero.
	Timeout time.Duration
	// DetailedToken lets a bearer of it read /health/detailed.
	DetailedToken string
	// DetailedOpen lets everybody who reaches the listener read it: only for
	// listeners that the outside can't reach. The peer's address says nothing about
	// that, since in Knative every request comes from the proxy on loopback.
	DetailedOpen bool
	// Version is shown at /health.
	Version string
	Log     *slog.Logger
}

// NotReady is an error whose text may be shown to anybody who asks
// /health/ready. The text of other errors (which may hold hosts and users) is
// logged only.
type NotReady string

func (e NotReady) Error() string { return string(e) }

// Handler serves GET /health (alive and ready), /health/live, /health/ready and
// /health/detailed as JSON, 200 when all is well and 503 when it isn't.
// /health/detailed is 404 unless the Health opens it, 401 without the token.
func (h Health) Handler() http.Handler {
	if h.Timeout <= 0 {
		h.Timeout = DefaultProbeTimeout
	}
	if h.Log == nil {
		h.Log = slog.New(slog.DiscardHandler)
	}
	live, ready := newProbe(h.Live), newProbe(h.Ready)
	probes := make(map[string]*probe, len(h.Probes))
	for name, run := range h.Probes {
		probes[name] = newProbe(run)
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, live, ready) })
	mux.HandleFunc("GET /health/live", func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, live) })
	mux.HandleFunc("GET /health/ready", func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, ready) })
	if h.DetailedOpen || h.DetailedToken != "" {
		mux.HandleFunc("GET /health/detailed", func(w http.ResponseWriter, r *http.Request) {
			if !h.DetailedOpen && !BearerMatches(r, h.DetailedToken) {
				w.Header().Set("WWW-Authenticate", `Bearer realm="health"`)
				writeHealth(w, http.StatusUnauthorized, healthAnswer{Status: "unauthorized"})
				return
			}
			h.detailed(r.Context(), w, ready, probes)
		})
	}
	return SecurityHeaders(mux)
}

// healthAnswer is the body of all health endpoints.
type healthAnswer struct {
	Status  string                 `json:"status"` // ok, unavailable, degraded, unauthorized
	Reason  string                 `json:"reason,omitempty"`
	Version string                 `json:"version,omitempty"`
	Probes  map[string]probeAnswer `json:"probes,omitempty"`
}

type probeAnswer struct {
	Status    string  `json:"status"` // ok, failed
	LatencyMS float64 `json:"latency_ms"`
	Error     string  `json:"error,omitempty"`
}

func (h Health) answer(w http.ResponseWriter, r *http.Request, probes ...*probe) {
	for _, p := range probes {
		err := p.do(r.Context(), h.Timeout)
		if err == nil {
			continue
		}
		reason := "not ready; the log says why"
		if public, ok := errors.AsType[NotReady](err); ok {
			reason = string(public)
		}
		if p.shouldTell() {
			h.Log.WarnContext(r.Context(), "health check failed", "path", r.URL.Path, KeyError, err.Error())
		}
		writeHealth(w, http.StatusServiceUnavailable, healthAnswer{Status: "unavailable", Reason: reason})
		return
	}
	writeHealth(w, http.StatusOK, healthAnswer{Status: "ok", Version: h.Version})
}

// detailed runs all probes at once. A failing dependency is shown as "degraded"
// with 200, since the program itself works; only not being ready is a 503.
func (h Health) detailed(ctx context.Context, w http.ResponseWriter, ready *probe, probes map[string]*probe) {
	all := map[string]*probe{"ready": ready}
	for name, p := range probes {
		all[name] = p
	}
	answer := healthAnswer{Status: "ok", Version: h.Version, Probes: make(map[string]probeAnswer, len(all))}
	status := http.StatusOK
	var mu sync.Mutex
	var wg sync.WaitGroup
	for name, p := range all {
		wg.Go(func() {
			began := time.Now()
			err := p.do(ctx, h.Timeout)
			a := probeAnswer{Status: "ok", LatencyMS: float64(time.Since(began).Microseconds()) / 1000}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				a.Status, a.Error = "failed", err.Error()
				if p == ready {
					answer.Status, status = "unavailable", http.StatusServiceUnavailable
				} else if answer.Status == "ok" {
					answer.Status = "degraded"
				}
			}
			answer.Probes[name] = a
		})
	}
	wg.Wait()
	writeHealth(w, status, answer)
}

// probe runs a check at most once at a time, so that checks that hang and ignore
// their context can't pile up.
type probe struct {
	run  func(context.Context) error
	busy atomic.Bool
	// told is when a failure was last logged, in Unix nanoseconds.
	told atomic.Int64
}

// tellEvery spaces what is logged of a probe that fails: Knative's queue-proxy
// asks twenty times a second until a program is ready.
const tellEvery = 10 * time.Second

// shouldTell reports whether a failure is worth a line now.
func (p *probe) shouldTell() bool {
	now, last := time.Now().UnixNano(), p.told.Load()
	return now-last >= int64(tellEvery) && p.told.CompareAndSwap(last, now)
}

func newProbe(run func(context.Context) error) *probe { return &probe{run: run} }

func (p *probe) do(ctx context.Context, timeout time.Duration) error {
	if p.run == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	if !p.busy.CompareAndSwap(false, true) {
		cancel()
		return errors.New("the previous check has not come back yet")
	}
	done := make(chan error, 1)
	go func() {
		defer cancel()
		defer p.busy.Store(false)
		defer func() {
			if v := recover(); v != nil {
				done <- fmt.Errorf("the check panicked: %v", v)
			}
		}()
		done <- p.run(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		select {
		case err := <-done:
			return err
		default:
			return fmt.Errorf("no answer within %s", timeout)
		}
	}
}

func writeHealth(w http.ResponseWriter, status int, a healthAnswer) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(a) // the client is gone: nobody is left to tell
}

// BearerMatches reports whether the request carries the token in its
// Authorization header. It takes the same time whatever the header holds, and an
// empty token matches nothing.
func BearerMatches(r *http.Request, token string) bool {
	scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	// Hashing makes the lengths equal, which ConstantTimeCompare would reveal.
	g, t := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(g[:], t[:]) == 1 && strings.EqualFold(scheme, "bearer") && token != ""
}

// SecurityHeaders sets headers that every answer of the bot carries: nothing is
// sniffed, framed, cached or sent along as a referrer, and a browser that
// renders an answer loads nothing. Handlers may set a wider
// Content-Security-Policy of their own.
func SecurityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

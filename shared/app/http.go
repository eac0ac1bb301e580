package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/mlops-bot/mlops-bot/shared/config"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
	"github.com/mlops-bot/mlops-bot/shared/observe"
)

// maxEventBody bounds the body of a CloudEvent over HTTP.
const maxEventBody = 1 << 20

// Handler is everything that the program serves over HTTP: the webhook, the
// console, or the receiver of CloudEvents, and its health.
func (a *App) Handler() (http.Handler, error) {
	mux := http.NewServeMux()
	cfg, program := a.opts.Config, a.opts.Program
	health := observe.Health{
		Ready: a.store.Writable,
		Probes: map[string]func(context.Context) error{
			"database": a.store.Writable,
			"cache":    a.cache.Ping,
		},
		DetailedToken: cfg.HealthToken.Reveal(), Version: a.opts.Version, Log: a.log,
	}
	if a.github != nil {
		health.Probes["github"] = func(ctx context.Context) error { _, err := a.github.AppInfo(ctx); return err }
	}
	mux.Handle("/health", health.Handler())
	mux.Handle("/health/", health.Handler())
	if a.webhook != nil {
		mux.Handle("/webhooks/github", a.webhook)
	}
	if program == config.Serve || program == config.Console {
		page, err := a.console()
		if err != nil {
			return nil, err
		}
		mux.Handle("/", page)
		mux.Handle("/metrics", a.guarded(a.Metrics()))
	}
	if r, ok := a.runners[string(program)]; ok && a.broker == nil {
		receive, err := receiveHandler(r.Receive)
		if err != nil {
			return nil, err
		}
		mux.Handle("POST /{$}", http.MaxBytesHandler(receive, maxEventBody))
	}
	return observe.SecurityHeaders(mux), nil
}

// guarded asks for the console's token where one is set.
func (a *App) guarded(next http.Handler) http.Handler {
	token := a.opts.Config.ConsoleToken.Reveal()
	if token == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !observe.BearerMatches(r, token) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the console's token is needed", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// receiveHandler takes CloudEvents over HTTP, in binary and structured mode, and
// answers as domain.HTTPStatus says.
func receiveHandler(receive Receiver) (http.Handler, error) {
	protocol, err := cehttp.New()
	if err != nil {
		return nil, fmt.Errorf("set up the receiver of events: %w", err)
	}
	h, err := cloudevents.NewHTTPReceiveHandler(context.Background(), protocol, func(ctx context.Context, e cloudevents.Event) cloudevents.Result {
		err := receive(ctx, e)
		status := domain.HTTPStatus(domain.KindOf(err))
		if err == nil {
			return cehttp.NewResult(status, "handled")
		}
		return cehttp.NewResult(status, "%s", domain.KindOf(err)) // the cause is in the log
	})
	if err != nil {
		return nil, fmt.Errorf("set up the receiver of events: %w", err)
	}
	return h, nil
}

// httpPublisher sends events to a broker's ingress.
type httpPublisher struct {
	url    string
	client cloudevents.Client
	err    error
}

func newHTTPPublisher(url string) *httpPublisher {
	client, err := cloudevents.NewClientHTTP(cehttp.WithClient(http.Client{
		Timeout:       publishTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}))
	return &httpPublisher{url: url, client: client, err: err}
}

// Publish sends the events one by one; the first failure ends it.
func (p *httpPublisher) Publish(ctx context.Context, envs ...domain.Envelope) error {
	if p.err != nil {
		return domain.Errorf(domain.Bug, "publish", "%w", p.err)
	}
	ctx = cloudevents.ContextWithTarget(ctx, p.url)
	for _, env := range envs {
		if len(env.Consumers) == 0 {
			continue
		}
		e, err := events.Open(env)
		if err != nil {
			return err
		}
		if res := p.client.Send(ctx, e); !cloudevents.IsACK(res) {
			return domain.Errorf(domain.Transient, "publish", "%s: %w", env.ID, res)
		}
	}
	return nil
}

// Serve listens on the configured address and serves until ctx ends, then stops
// the program: first the listener, then what is under way. ready is told the
// address.
func (a *App) Serve(ctx context.Context, ready func(net.Addr)) (err error) {
	handler, err := a.Handler() //nolint:contextcheck // it lives as long as the program
	if err != nil {
		return errors.Join(err, a.Stop(context.WithoutCancel(ctx)))
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.opts.Config.Address())
	if err != nil {
		return errors.Join(fmt.Errorf("listen on %s (HOST and PORT): %w", a.opts.Config.Address(), err), a.Stop(context.WithoutCancel(ctx)))
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 60 * time.Second,
		WriteTimeout: handlerTimeout + 10*time.Second, IdleTimeout: 120 * time.Second, MaxHeaderBytes: 64 << 10,
	}
	a.Start()
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	if ready != nil {
		ready(listener.Addr())
	}
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, server.Shutdown(stopCtx), a.Stop(stopCtx))
}

package app

import (
	"context"
	"encoding/json"
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
		if cfg.MetricsPort == 0 {
			mux.Handle("/metrics", a.guarded(a.Metrics()))
		}
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

// insideHandler is what the console serves on METRICS_PORT, to the cluster only:
// the metrics, and the place where the broker leaves what it can't deliver.
func (a *App) insideHandler() (http.Handler, error) {
	mux := http.NewServeMux()
	mux.Handle("/metrics", a.Metrics())
	for _, function := range events.Functions {
		receive, err := receiveHandler(a.buryEvent(function))
		if err != nil {
			return nil, err
		}
		mux.Handle("POST /dead-letters/"+function, http.MaxBytesHandler(receive, maxEventBody))
	}
	return observe.SecurityHeaders(mux), nil
}

// buryEvent stores what a function could not be brought to take. The broker says
// why in extensions (Knative's knativeerrordest, knativeerrorcode and
// knativeerrordata). A clock's event isn't worth it: the next one is on its way.
func (a *App) buryEvent(function string) Receiver {
	return func(ctx context.Context, e cloudevents.Event) error {
		switch e.Type() {
		case events.TypeTick, events.TypePing, events.TypeWorkDue:
			return nil
		}
		said := func(name string) string {
			s, _ := e.Extensions()[name].(string)
			return s
		}
		reason := "the broker gave up"
		if code := said("knativeerrorcode"); code != "" {
			reason += " after the answer " + code
		}
		if data := said("knativeerrordata"); data != "" {
			reason += ": " + data
		}
		body, err := json.Marshal(e)
		if err != nil {
			return domain.Errorf(domain.Invalid, "store a dead letter", "encode the event: %w", err)
		}
		a.log.ErrorContext(ctx, "event was given up", observe.KeyEventID, e.ID(), "type", e.Type(), "function", function, "reason", reason)
		env := domain.Envelope{ID: e.ID(), Type: e.Type(), Consumers: []string{function}, JSON: body}
		return a.store.DeadLetter(ctx, function, env, reason, a.opts.Now())
	}
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
		if err == nil {
			// Knative takes an answer's body for an event and retries what isn't one.
			return nil
		}
		return cehttp.NewResult(domain.HTTPStatus(domain.KindOf(err)), "%s", domain.KindOf(err)) // the cause is in the log
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
		Timeout:       sendTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}))
	return &httpPublisher{url: url, client: client, err: err}
}

// Publish sends the event, unless nobody waits for it.
func (p *httpPublisher) Publish(ctx context.Context, env domain.Envelope) error {
	if p.err != nil {
		return domain.Errorf(domain.Bug, "publish", "%w", p.err)
	}
	if len(env.Consumers) == 0 {
		return nil
	}
	e, err := events.Open(env)
	if err != nil {
		return err
	}
	if res := p.client.Send(cloudevents.ContextWithTarget(ctx, p.url), e); !cloudevents.IsACK(res) {
		return domain.Errorf(domain.Transient, "publish", "%s: %w", env.ID, res)
	}
	return nil
}

const (
	// stopOne and stopFunction bound how long a program that is told to stop may
	// finish what it has begun: a person waits for one process, and Knative for a
	// function, whose grace is the revision's time-out.
	stopOne      = 30 * time.Second
	stopFunction = handlerTimeout + 30*time.Second
)

// Serve listens on the configured addresses and serves until ctx ends, then
// stops the program: first the listeners, then what is under way. ready is told
// the first address.
func (a *App) Serve(ctx context.Context, ready func(net.Addr)) (err error) {
	cfg := a.opts.Config
	handler, err := a.Handler() //nolint:contextcheck // it lives as long as the program
	handlers := map[string]http.Handler{cfg.Address(): handler}
	if err == nil && cfg.MetricsPort != 0 && a.opts.Program == config.Console {
		handlers[cfg.MetricsAddress()], err = a.insideHandler() //nolint:contextcheck // it lives as long as the program
	}
	var servers []*http.Server
	failed := make(chan error, len(handlers))
	var address net.Addr
	for at, h := range handlers {
		if err != nil {
			break
		}
		var listener net.Listener
		if listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", at); err != nil {
			err = fmt.Errorf("listen on %s (HOST, PORT and METRICS_PORT): %w", at, err)
			break
		}
		if at == cfg.Address() {
			address = listener.Addr()
		}
		server := &http.Server{
			Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 60 * time.Second,
			WriteTimeout: handlerTimeout + 10*time.Second, IdleTimeout: 120 * time.Second, MaxHeaderBytes: 64 << 10,
		}
		servers = append(servers, server)
		go func() { failed <- server.Serve(listener) }()
	}
	if err == nil {
		a.Start()
		if ready != nil {
			ready(address)
		}
		select {
		case <-ctx.Done():
		case err = <-failed:
		}
	}
	grace := stopFunction
	if a.broker != nil {
		grace = stopOne
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	a.beginEnd()
	for _, server := range servers {
		err = errors.Join(err, server.Shutdown(stopCtx))
	}
	return errors.Join(err, a.Stop(stopCtx))
}

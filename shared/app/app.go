// Package app is the only place where things are wired together: for the
// cluster, where each function is a process, and for one machine, where all of
// them share one. It also holds the runner of handlers and the in-process
// broker.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/mlops-bot/mlops-bot/functions/detect"
	"github.com/mlops-bot/mlops-bot/functions/notify"
	"github.com/mlops-bot/mlops-bot/functions/repair"
	"github.com/mlops-bot/mlops-bot/functions/webhook"
	"github.com/mlops-bot/mlops-bot/shared/cache"
	"github.com/mlops-bot/mlops-bot/shared/config"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
	"github.com/mlops-bot/mlops-bot/shared/github"
	"github.com/mlops-bot/mlops-bot/shared/observe"
	"github.com/mlops-bot/mlops-bot/shared/seal"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

// Store is everything durable, as the programs use it. *store.Store is the one
// implementation; tests wrap it.
type Store interface {
	runnerStore
	tickStore
	deadLetters
	storeReads
	Migrate(ctx context.Context) error
	Writable(ctx context.Context) error
	Close() error
}

// storeReads are the queries of the functions and the console, in the store's
// own form.
type storeReads interface {
	AcceptDelivery(ctx context.Context, d domain.Delivery, env domain.Envelope) (bool, error)
	DeleteInstallation(ctx context.Context, installationID int64) error
	Incident(ctx context.Context, id string) (domain.Incident, error)
	Incidents(ctx context.Context, f store.Filter) ([]domain.Incident, error)
	StandingIncident(ctx context.Context, repoID int64, branch, workflow, fingerprint string) (domain.Incident, bool, error)
	StandingIncidents(ctx context.Context, repoID int64, branch, workflow string) ([]domain.Incident, error)
	RecentIncidents(ctx context.Context, installationID int64, since time.Time) (incidents, repos int, err error)
	Repair(ctx context.Context, id string) (domain.Repair, error)
	Repairs(ctx context.Context, f store.Filter) ([]domain.Repair, error)
	RepairsOfRoot(ctx context.Context, root string) ([]domain.Repair, error)
	RepairByBranch(ctx context.Context, repoID int64, branch string) (domain.Repair, bool, error)
	RepairByPlanKey(ctx context.Context, repoID int64, planKey string) (domain.Repair, bool, error)
	RepairByPull(ctx context.Context, repoID int64, number int) (domain.Repair, bool, error)
	RepairsByRun(ctx context.Context, repoID, runID int64) ([]domain.Repair, error)
	LandedRepairs(ctx context.Context, repoID int64, branch string, since time.Time) ([]domain.Repair, error)
	OpenPulls(ctx context.Context, repoID int64) (int, error)
	RepairsSince(ctx context.Context, repoID int64, since time.Time) (int, error)
	Report(ctx context.Context, repoID, runID int64, attempt int) (domain.RunReport, error)
	FailureHistory(ctx context.Context, repoID int64, workflow, fingerprint string, since time.Time) ([]domain.RunReport, error)
	Switch(ctx context.Context, repoID int64) (domain.Switch, error)
	OutcomeCounts(ctx context.Context, rule, strategy string, repoID int64) (domain.Record, error)
	Audit(ctx context.Context, f store.Filter) ([]store.AuditRecord, error)
	Counters(ctx context.Context) ([]store.Counter, error)
	Gauges(ctx context.Context, now time.Time) ([]store.Gauge, error)
	SetGauge(ctx context.Context, name string, labels map[string]string, value float64, validUntil time.Time) error
	Open(ctx context.Context) (store.OpenCounts, error)
	Histograms(ctx context.Context) ([]store.Histogram, error)
	ReleaseLease(ctx context.Context, name, holder string) error
	TakeSlot(ctx context.Context, name string, now time.Time, spacing time.Duration) (time.Time, error)
}

var _ Store = (*store.Store)(nil)

// Options are what a program is made of. Config and Program are mandatory; the
// zero values of the rest are production's.
type Options struct {
	Config  config.Config
	Program config.Program
	Version string
	Logger  *slog.Logger
	Now     func() time.Time

	// Timing and the log's lag are shortened by the demo and by tests.
	Timing           repair.Timing
	LogLag, LogRetry time.Duration
	// Settle is how long the news of a failure waits for that of its repair.
	Settle time.Duration
	// Beat is how often one machine looks for work that has fallen due.
	Beat time.Duration
	// Delivery is the in-process broker's.
	Delivery Delivery

	// Chaos, Transport, WrapStore and WrapPublisher are for tests.
	Chaos         Chaos
	Transport     http.RoundTripper
	WrapStore     func(Store) Store
	WrapPublisher func(Publisher) Publisher
}

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = observe.NewLogger(os.Stderr, string(o.Program), o.Config.LogLevel)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Timing.Reruns == nil {
		o.Timing = repair.DefaultTiming
	}
	if o.LogLag == 0 {
		o.LogLag, o.LogRetry = 15*time.Minute, 30*time.Second
	}
	if o.Beat == 0 {
		o.Beat = time.Second
	}
	if o.Config.MaxWorkers == 0 {
		o.Config.MaxWorkers = 8
	}
	if o.Delivery == (Delivery{}) {
		o.Delivery = Delivery{Retries: 5, Backoff: time.Second}
	}
}

// App is a wired program. Use New, Start and Stop.
type App struct {
	opts      Options
	log       *slog.Logger
	store     Store
	cache     *cache.Cache
	sealed    github.Cache   // the cache with its values sealed; nil without a key
	github    *github.Client // nil for programs that don't talk to GitHub
	tracing   *observe.Tracing
	broker    *Broker // in process; nil where K_SINK is published to
	publisher Publisher
	outlet    *outlet
	runners   map[string]*Runner
	webhook   *webhook.Function

	background sync.WaitGroup
	// quit ends when nothing new is to be begun, ctx when what is under way is to
	// end too; Stop ends both.
	quit, ctx       context.Context //nolint:containedctx // lifetimes of the background work
	beginEnd, abort context.CancelFunc
	// cleanups are run last in, first out.
	cleanups []cleanup
}

type cleanup struct {
	name string
	run  func(context.Context) error
}

// New opens the stores and wires the program. Nothing runs before Start. On an
// error everything that was opened is closed again.
func New(ctx context.Context, opts Options) (_ *App, err error) {
	opts.setDefaults()
	a := &App{opts: opts, log: opts.Logger, runners: map[string]*Runner{}}
	a.ctx, a.abort = context.WithCancel(context.Background())
	a.quit, a.beginEnd = context.WithCancel(a.ctx)
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Stop(context.WithoutCancel(ctx)))
		}
	}()
	if err := a.open(ctx); err != nil {
		return nil, err
	}
	if err := a.wire(); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *App) onStop(name string, run func(context.Context) error) {
	a.cleanups = append(a.cleanups, cleanup{name, run})
}

// open connects to what is outside of the process.
func (a *App) open(ctx context.Context) error {
	cfg := a.opts.Config
	var err error
	a.tracing, err = observe.StartTracing(ctx, observe.TraceSettings{
		Endpoint: os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"), Service: "mlops-bot-" + string(a.opts.Program), Version: a.opts.Version,
	}, a.log)
	if err != nil {
		return err
	}
	a.onStop("tracing", a.tracing.Shutdown)

	one := a.opts.Program == config.Serve
	st, err := OpenStore(ctx, cfg, store.Options{Now: a.opts.Now, Lazy: !one})
	if err != nil {
		return err
	}
	a.onStop("store", func(context.Context) error { return st.Close() })
	a.store = st
	if a.opts.WrapStore != nil {
		a.store = a.opts.WrapStore(st)
	}
	// One process migrates by itself; in a cluster a Job does, before the new
	// revision serves.
	if one {
		if err := st.Migrate(ctx); err != nil {
			return fmt.Errorf("migrate the database: %w", err)
		}
	}
	if cfg.RedisURL != "" {
		a.cache, err = cache.Open(cfg.RedisURL.Reveal(), cfg.RedisCAFile)
	} else {
		a.cache, err = cache.Embedded() //nolint:contextcheck // it lives as long as the program
	}
	if err != nil {
		return fmt.Errorf("open the cache of REDIS_URL: %w", err)
	}
	a.onStop("cache", func(context.Context) error { return a.cache.Close() })
	keys, err := keyring(cfg)
	if keys != nil {
		a.sealed = a.cache.Sealed(keys)
	}
	return err
}

// keyring holds the keys that seal what is kept at rest; nil without any.
func keyring(cfg config.Config) (*seal.Keyring, error) {
	if cfg.EncryptionKey == "" {
		return nil, nil //nolint:nilnil // nothing is sealed then
	}
	var previous []string
	if cfg.EncryptionKeyPrevious != "" {
		previous = append(previous, cfg.EncryptionKeyPrevious.Reveal())
	}
	keys, err := seal.Parse(cfg.EncryptionKey.Reveal(), previous...)
	if err != nil {
		return nil, fmt.Errorf("read ENCRYPTION_KEY and ENCRYPTION_KEY_PREVIOUS: %w", err)
	}
	return keys, nil
}

// OpenStore opens the database of DATABASE_URL with the keys of ENCRYPTION_KEY.
// The caller closes it.
func OpenStore(ctx context.Context, cfg config.Config, opts store.Options) (*store.Store, error) {
	if err := makeDatabaseDir(cfg.DatabaseURL.Reveal()); err != nil {
		return nil, err
	}
	if strings.HasPrefix(cfg.DatabaseURL.Reveal(), "postgres") {
		opts.Conns = cfg.DatabaseConnections
	}
	var err error
	if opts.Sealer, err = keyring(cfg); err != nil {
		return nil, err
	}
	st, err := store.Open(ctx, cfg.DatabaseURL.Reveal(), opts)
	if err != nil {
		return nil, fmt.Errorf("open the database of DATABASE_URL: %w", err)
	}
	return st, nil
}

// makeDatabaseDir makes the folder of a SQLite file.
func makeDatabaseDir(url string) error {
	path, ok := strings.CutPrefix(url, "sqlite:")
	if !ok || strings.Contains(path, ":memory:") {
		return nil
	}
	path, _, _ = strings.Cut(strings.TrimPrefix(path, "//"), "?")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the folder of DATABASE_URL: %w", err)
	}
	return nil
}

// wire makes the functions that the program runs.
func (a *App) wire() error {
	cfg, program := a.opts.Config, a.opts.Program
	runs := func(p config.Program) bool { return program == config.Serve || program == p }
	if cfg.BrokerURL != "" && program != config.Serve {
		a.publisher = newHTTPPublisher(cfg.BrokerURL)
	} else {
		a.broker = newBroker(a.opts.Delivery, a.opts.Chaos, a.store, a.opts.Now, a.log)
		a.onStop("broker", func(context.Context) error { a.broker.Stop(); return nil })
		a.publisher = a.broker
	}
	if a.opts.WrapPublisher != nil {
		a.publisher = a.opts.WrapPublisher(a.publisher)
	}
	a.outlet = &outlet{publisher: a.publisher, store: a.store, now: a.opts.Now, log: a.log, places: make(chan struct{}, publishAtOnce)}
	if a.broker == nil {
		a.outlet.background = &a.background
	}
	if runs(config.Detect) || runs(config.Repair) || runs(config.Notifyd) {
		if err := a.openGitHub(); err != nil {
			return err
		}
	}
	gh, reads := a.github, lookups{a.store}
	if runs(config.Webhook) {
		var err error
		a.webhook, err = webhook.New(webhook.Deps{
			Store: a.store, Limiter: a.cache, Published: a.publishLater, Now: a.opts.Now, Logger: a.log,
			Current: webhook.Secret(cfg.GitHub.WebhookSecret), Previous: webhook.Secret(cfg.GitHub.WebhookSecretPrevious),
			RatePerMinute: cfg.RatePerMinute, TrustedProxies: cfg.TrustedProxies, WithoutApp: cfg.GitHub.Token != "",
		})
		if err != nil {
			return err
		}
	}
	if runs(config.Detect) {
		installed := detect.ReadInstalled(cfg.RulesDir)
		r := a.add(detect.New(detect.Deps{
			GitHub: gh, Store: reads, Now: a.opts.Now, Logger: a.log, Rules: installed.Catalogue, LogLag: a.opts.LogLag, LogRetry: a.opts.LogRetry,
		}))
		a.tellRules(r, installed)
		keeper := &housekeeper{store: a.store, publish: a.outlet.send, bodies: cfg.DeliveryRetention, records: cfg.RecordRetention, now: a.opts.Now, log: a.log}
		if cfg.GitHub.Token == "" {
			keeper.hooks = a.github
		}
		r.onTick = keeper.tick
	}
	if runs(config.Repair) {
		a.add(repair.New(repair.Deps{GitHub: gh, Store: reads, Now: a.opts.Now, Logger: a.log, Timing: a.opts.Timing}))
	}
	if runs(config.Notifyd) {
		channels, err := a.channels(gh)
		if err != nil {
			return err
		}
		a.add(notify.New(notify.Deps{
			Store: reads, Channels: channels, ConsoleURL: strings.TrimSuffix(cfg.PublicURL, "/"), Settle: a.opts.Settle, Now: a.opts.Now, Log: a.log,
		}))
	}
	return nil
}

func (a *App) add(fn Function) *Runner {
	r := &Runner{
		fn: fn, store: a.store, publish: a.outlet.send, now: a.opts.Now, log: a.log.With("function", fn.Name()),
		tracer: a.tracer(), workers: a.opts.Config.MaxWorkers, quit: a.quit,
	}
	a.runners[fn.Name()] = r
	return r
}

func (a *App) tracer() trace.Tracer { return a.tracing.Tracer("mlops-bot") }

func (a *App) openGitHub() error {
	return a.dialGitHub(&pacer{store: a.store, spacing: a.opts.Config.MutationSpacing, now: a.opts.Now})
}

// dialGitHub makes the client; a nil pacer is for programs that only
// read.
func (a *App) dialGitHub(p github.Pacer) error {
	cfg := a.opts.Config.GitHub
	settings := github.Config{
		AppID: cfg.AppID, Token: github.Secret(cfg.Token), APIURL: cfg.APIURL, GraphQLURL: cfg.GraphQLURL,
		AllowedLogHosts: cfg.LogHosts, AllowInsecureHTTP: cfg.InsecureAPI, UserAgent: "mlops-bot/" + a.opts.Version,
		HTTPTransport: a.opts.Transport, Pacer: p, Now: a.opts.Now, Logger: a.log,
	}
	if cfg.Token == "" {
		key, err := os.ReadFile(cfg.PrivateKeyPath)
		if err != nil {
			return fmt.Errorf("read GITHUB_PRIVATE_KEY_PATH: %w", err)
		}
		settings.PrivateKey = github.Secret(key)
	}
	// Answers and tokens of private repositories are kept where others may look
	// only when they are sealed.
	if a.sealed != nil {
		settings.Cache, settings.TokenCache = a.sealed, a.sealed
	}
	if a.store != nil {
		settings.OnRateLimit = a.keepRateLimit
	}
	var err error
	if a.github, err = github.New(settings); err != nil {
		return fmt.Errorf("set up the access to GitHub: %w", err)
	}
	return nil
}

// keepRateLimit stores what is left of an installation's requests, which is true
// until the limit starts anew.
func (a *App) keepRateLimit(installationID int64, remaining, _ int, reset time.Time) {
	ctx, cancel := context.WithTimeout(a.ctx, publishTimeout)
	defer cancel()
	labels := map[string]string{"installation": strconv.FormatInt(installationID, 10)}
	if err := a.store.SetGauge(ctx, "bot_github_api_rate_limit_remaining", labels, float64(remaining), reset); err != nil {
		a.log.WarnContext(ctx, "cannot store the rate limit", observe.KeyError, err)
	}
}

// channels are the ways to people that are configured; the pull request's
// comment and the log need no setting.
func (a *App) channels(gh notify.Commenter) ([]notify.Channel, error) {
	cfg := a.opts.Config.Notify
	settings := []notify.Settings{{Provider: "comment"}, {Provider: "log"}}
	if cfg.SlackURL != "" {
		settings = append(settings, notify.Settings{Provider: "slack", URL: cfg.SlackURL.Reveal()})
	}
	if cfg.WebhookURL != "" {
		settings = append(settings, notify.Settings{Provider: "webhook", URL: cfg.WebhookURL.Reveal(), Secret: cfg.WebhookSecret.Reveal()})
	}
	client := notify.NewClient(notify.ClientSettings{AllowLoopback: a.opts.Config.Environment == "development", AllowHTTP: cfg.InsecureHTTP})
	a.onStop("notify client", func(context.Context) error { client.Close(); return nil })
	channels, err := notify.NewChannels(settings, notify.Tools{Commenter: gh, Client: client, Log: a.log, Now: a.opts.Now})
	if err != nil {
		return nil, fmt.Errorf("set up the channels: %w", err)
	}
	return channels, nil
}

// publishLater publishes a stored event without keeping its caller waiting.
func (a *App) publishLater(env domain.Envelope) {
	a.background.Go(func() { a.outlet.sendNow(a.ctx, []domain.Envelope{env}) })
}

// Start begins to deliver events, to do stored work as it falls due and, on one
// machine, to tick.
func (a *App) Start() {
	if a.broker != nil {
		receivers := map[string]Receiver{}
		for name, r := range a.runners {
			receivers[name] = r.Receive
		}
		a.broker.Start(receivers)
	}
	if a.opts.Program == config.Serve || (a.broker == nil && len(a.runners) > 0) {
		a.background.Go(a.clock)
	}
}

// clock does work as it falls due for as long as the process is there: a function
// that is awake need not wait for the tick that would wake it. On one machine it
// is the PingSource too.
func (a *App) clock() {
	tick := a.opts.Config.Tick
	next := a.opts.Now()
	timer := time.NewTicker(min(a.opts.Beat, tick))
	defer timer.Stop()
	for {
		if now := a.opts.Now(); a.broker != nil && !now.Before(next) {
			next = now.Add(tick)
			if env, err := events.New(events.Cause{ID: now.UTC().Format(time.RFC3339Nano), Time: now}, events.Tick{}); err == nil {
				if err := a.publisher.Publish(a.ctx, env); err != nil {
					a.log.Warn("cannot tick", observe.KeyError, err)
				}
			}
		}
		for _, r := range a.runners {
			if r.draining.CompareAndSwap(false, true) {
				a.background.Go(func() {
					defer r.draining.Store(false)
					r.Drain(a.ctx)
				})
			}
		}
		select {
		case <-a.quit.Done():
			return
		case <-timer.C:
		}
	}
}

// Stop ends everything in the reverse order of its start. Nothing new is begun,
// and what is under way may come to its end until ctx does; what is cut off is in
// the store and is taken up by the next start.
func (a *App) Stop(ctx context.Context) error {
	a.beginEnd()
	if a.broker != nil {
		// One process is asked by a person who waits, and its events live inside of it.
		a.abort()
		a.broker.cancel()
	}
	done := make(chan struct{})
	go func() { a.background.Wait(); close(done) }()
	var errs []error
	select {
	case <-done:
	case <-ctx.Done():
		errs = append(errs, fmt.Errorf("wait for the background work: %w", ctx.Err()))
	}
	a.abort()
	for i := len(a.cleanups) - 1; i >= 0; i-- {
		if err := a.cleanups[i].run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop the %s: %w", a.cleanups[i].name, err))
		}
	}
	a.cleanups = nil
	return errors.Join(errs...)
}

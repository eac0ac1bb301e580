package app

import (
	"context"
	"net/http"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/console"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
	"github.com/mlops-bot/mlops-bot/shared/observe"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

// console makes the status page and the API.
func (a *App) console() (http.Handler, error) {
	return console.New(console.Deps{
		Store: consoleStore{a.store}, Token: a.opts.Config.ConsoleToken.Reveal(), Version: a.opts.Version, Now: a.opts.Now, Log: a.log,
	})
}

// consoleStore is the store in the console's terms.
type consoleStore struct{ Store }

func filter(f console.Filter) store.Filter {
	return store.Filter{RepoID: f.RepoID, State: f.State, Before: f.Before, BeforeID: f.BeforeID, Limit: f.Limit}
}

// Incidents lists incidents, the newest first.
func (s consoleStore) Incidents(ctx context.Context, f console.Filter) ([]domain.Incident, error) {
	return s.Store.Incidents(ctx, filter(f))
}

// Repairs lists repairs, the newest first.
func (s consoleStore) Repairs(ctx context.Context, f console.Filter) ([]domain.Repair, error) {
	return s.Store.Repairs(ctx, filter(f))
}

// Audit lists what was done to an object, the newest first.
func (s consoleStore) Audit(ctx context.Context, object string, limit int) ([]domain.AuditEntry, error) {
	records, err := s.Store.Audit(ctx, store.Filter{Object: object, Limit: limit})
	if err != nil {
		return nil, err
	}
	out := make([]domain.AuditEntry, len(records))
	for i, r := range records {
		out[i] = r.AuditEntry
	}
	return out, nil
}

// countErrors is the name of the counter of failures.
const countErrors = "bot_errors_total"

// measureHelp is the sentence of each metric that the bot counts in its
// database.
var measureHelp = map[string]string{
	"bot_runs_total":                        "Completed workflow run attempts, by conclusion.",
	"bot_issues_detected_total":             "Incidents opened, by category.",
	"bot_repairs_attempted_total":           "Repairs, by the state that they came to.",
	"bot_repairs_refused_total":             "Repairs that were not made, by reason.",
	"bot_notifications_total":               "Messages sent, by channel and state.",
	"bot_events_processed_total":            "Events and pieces of work handled, by function.",
	countErrors:                             "Events and pieces of work that failed once, by function and kind of error.",
	"bot_dead_letters":                      "Events and pieces of work that were given up and not replayed.",
	"bot_outbox_open":                       "Events that some consumer has not handled yet.",
	"bot_work_open":                         "Pieces of work that are waiting or under way, by function.",
	"bot_github_api_rate_limit_remaining":   "Requests that GitHub still allows in the present window, by installation.",
	"bot_event_processing_duration_seconds": "How long functions work on an event or a piece of work.",
}

// Metrics serves what is counted in the database, in Prometheus' format.
func (a *App) Metrics() http.Handler {
	dependencies := map[string]func(context.Context) error{"database": a.store.Writable, "cache": a.cache.Ping}
	return observe.MetricsHandler(measures{a.store, a.opts.Now}, dependencies, measureHelp, a.log)
}

// measures is the store in the terms of the metrics.
type measures struct {
	Store
	now func() time.Time
}

// Gauges reads what holds at present, and counts what is open.
func (m measures) Gauges(ctx context.Context) ([]observe.Gauge, error) {
	list, err := m.Store.Gauges(ctx, m.now())
	if err != nil {
		return nil, err
	}
	open, err := m.Open(ctx)
	if err != nil {
		return nil, err
	}
	out := []observe.Gauge{
		{Name: "bot_dead_letters", Value: float64(open.DeadLetters)},
		{Name: "bot_outbox_open", Value: float64(open.Outbox)},
	}
	for _, function := range events.Functions[1:] {
		out = append(out, observe.Gauge{Name: "bot_work_open", Labels: map[string]string{"function": function}, Value: float64(open.Work[function])})
	}
	for _, g := range list {
		out = append(out, observe.Gauge{Name: g.Name, Labels: g.Labels, Value: g.Value})
	}
	return out, nil
}

// Counters reads the counters.
func (m measures) Counters(ctx context.Context) ([]observe.Counter, error) {
	list, err := m.Store.Counters(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]observe.Counter, 0, len(list))
	errs := map[[2]string]bool{}
	for _, c := range list {
		out = append(out, observe.Counter{Name: c.Name, Labels: c.Labels, Value: c.Value})
		if c.Name == countErrors {
			errs[[2]string{c.Labels["component"], c.Labels["kind"]}] = true
		}
	}
	// A series that begins with the first error has no rate, and raises no alert.
	for _, component := range events.Functions {
		for _, kind := range []domain.ErrKind{domain.Invalid, domain.Denied, domain.Unsupported, domain.Transient, domain.RateLimited, domain.Bug} {
			if !errs[[2]string{component, string(kind)}] {
				out = append(out, observe.Counter{Name: countErrors, Labels: map[string]string{"component": component, "kind": string(kind)}})
			}
		}
	}
	return out, nil
}

// Histograms reads the latency buckets.
func (m measures) Histograms(ctx context.Context) ([]observe.Histogram, error) {
	list, err := m.Store.Histograms(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]observe.Histogram, len(list))
	for i, h := range list {
		buckets := make(map[float64]uint64, len(h.Buckets))
		for _, b := range h.Buckets {
			buckets[b.UpperBound] = b.Count
		}
		out[i] = observe.Histogram{Name: h.Name, Labels: h.Labels, Buckets: buckets, Count: h.Count, Sum: h.Sum}
	}
	return out, nil
}

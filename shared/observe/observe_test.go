package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const traceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestLoggerWritesNameLevelAndTrace(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := NewLogger(&out, "detect", slog.LevelInfo).With(KeyRepo, "octo/train")
	log.DebugContext(t.Context(), "not this one")
	log.WarnContext(Extract(t.Context(), traceParent), "log is late", KeyRunID, int64(7))

	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("not one JSON line: %v\n%s", err, out.String())
	}
	delete(got, "time")
	want := map[string]any{
		"level": "warn", "msg": "log is late", "name": "detect", "repo": "octo/train", "run_id": 7.0,
		"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTraceParentSurvivesAQueue(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ in, want string }{
		"valid":          {traceParent, traceParent},
		"none":           {"", ""},
		"all zero":       {"00-00000000000000000000000000000000-0000000000000000-01", ""},
		"hostile":        {"00-\n<script>-x-01", ""},
		"1 MB":           {strings.Repeat("0", 1<<20), ""},
		"future version": {"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", traceParent},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Inject(Extract(t.Context(), tt.in)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTracingIsOffWithoutAnEndpoint(t *testing.T) {
	t.Parallel()
	tr, err := StartTracing(t.Context(), TraceSettings{Service: "x"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, span := tr.Tracer("x").Start(Extract(t.Context(), traceParent), "work")
	defer span.End()
	if span.IsRecording() {
		t.Error("the span is recorded although there is nowhere to send it")
	}
	if got, id := Inject(ctx), traceParent[:35]; !strings.HasPrefix(got, id) || got == traceParent {
		t.Errorf("the span is %q, want a new one of the trace %s", got, id)
	}
	if fresh, _ := tr.Tracer("x").Start(t.Context(), "work"); Inject(fresh) == "" {
		t.Error("a trace that begins here has no id for the logs")
	}
	if err := tr.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTracingExports(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var path string
	var body []byte
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		path = r.URL.Path
		body, _ = io.ReadAll(r.Body)
	}))
	defer collector.Close()

	tr, err := StartTracing(t.Context(), TraceSettings{Endpoint: collector.URL + "/otlp/", Service: "mlops-bot-detect", Version: "1"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, span := tr.Tracer("detect").Start(t.Context(), "read the log")
	if Inject(ctx) == "" {
		t.Error("a new trace has no traceparent")
	}
	span.End()
	if err := tr.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if path != "/otlp/v1/traces" {
		t.Errorf("sent to %q", path)
	}
	for _, want := range []string{"read the log", "mlops-bot-detect"} {
		if !bytes.Contains(body, []byte(want)) {
			t.Errorf("the export lacks %q", want)
		}
	}
}

func TestTracingLogsFailedExportsAndRefusesBadEndpoints(t *testing.T) {
	t.Parallel()
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }))
	defer collector.Close()
	var out bytes.Buffer
	tr, err := StartTracing(t.Context(), TraceSettings{Endpoint: collector.URL}, NewLogger(&out, "x", slog.LevelInfo))
	if err != nil {
		t.Fatal(err)
	}
	_, span := tr.Tracer("x").Start(t.Context(), "work")
	span.End()
	if err := tr.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "cannot export traces") {
		t.Errorf("the failed export isn't logged: %s", out.String())
	}
	for _, bad := range []string{"collector:4318", "ftp://x", "http://user:hunter2@x", "://"} {
		_, err := StartTracing(t.Context(), TraceSettings{Endpoint: bad}, nil)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	fail := func(err error) func(context.Context) error {
		return func(context.Context) error { return err }
	}
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	bad := errors.New("dial postgres://bot:hunter2@db: refused")
	tests := map[string]struct {
		health     Health
		path       string
		token      string
		status     int
		has, hasnt []string
	}{
		"healthy":                        {Health{Version: "1.2.3"}, "/health", "", 200, []string{`"ok"`, "1.2.3"}, nil},
		"alive though not ready":         {Health{Ready: fail(bad)}, "/health/live", "", 200, []string{`"ok"`}, nil},
		"not ready":                      {Health{Ready: fail(bad)}, "/health/ready", "", 503, []string{"unavailable", "the log says why"}, []string{"hunter2"}},
		"not ready, said publicly":       {Health{Ready: fail(NotReady("cannot store"))}, "/health", "", 503, []string{"cannot store"}, nil},
		"dead":                           {Health{Live: fail(bad)}, "/health", "", 503, []string{"unavailable"}, []string{"hunter2"}},
		"ready hangs":                    {Health{Ready: hang, Timeout: time.Millisecond}, "/health/ready", "", 503, []string{"unavailable"}, nil},
		"ready panics":                   {Health{Ready: func(context.Context) error { panic("x") }}, "/health/ready", "", 503, []string{"unavailable"}, nil},
		"detailed is closed":             {Health{}, "/health/detailed", "", 404, nil, nil},
		"detailed without the token":     {Health{DetailedToken: "s3cret"}, "/health/detailed", "", 401, []string{"unauthorized"}, nil},
		"detailed with a wrong token":    {Health{DetailedToken: "s3cret"}, "/health/detailed", "s3cre", 401, nil, nil},
		"detailed with the token":        {Health{DetailedToken: "s3cret"}, "/health/detailed", "s3cret", 200, []string{`"latency_ms"`}, nil},
		"detailed, a dependency is down": {Health{DetailedOpen: true, Probes: map[string]func(context.Context) error{"github": fail(errors.New("503")), "redis": fail(nil)}}, "/health/detailed", "", 200, []string{`"degraded"`, `"github":{"status":"failed"`, `"redis":{"status":"ok"`}, nil},
		"detailed, a dependency hangs":   {Health{DetailedOpen: true, Timeout: time.Millisecond, Probes: map[string]func(context.Context) error{"github": hang}}, "/health/detailed", "", 200, []string{`"degraded"`}, nil},
		"detailed, cannot store":         {Health{DetailedOpen: true, Ready: fail(bad)}, "/health/detailed", "", 503, []string{`"unavailable"`}, nil},
		"another path":                   {Health{}, "/health/x", "", 404, nil, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, tt.path, nil)
			if tt.token != "" {
				r.Header.Set("Authorization", "Bearer "+tt.token)
			}
			w := httptest.NewRecorder()
			tt.health.Handler().ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			for _, s := range tt.has {
				if !strings.Contains(w.Body.String(), s) {
					t.Errorf("%s lacks %s", w.Body, s)
				}
			}
			for _, s := range tt.hasnt {
				if strings.Contains(w.Body.String(), s) {
					t.Errorf("%s holds %s", w.Body, s)
				}
			}
			for _, h := range []string{"X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy", "Cache-Control"} {
				if w.Header().Get(h) == "" {
					t.Errorf("no %s", h)
				}
			}
		})
	}
}

// TestProbesRunAtOnceAndNeverPileUp: two probes that wait for each other finish,
// and one that ignores its context is not begun a second time.
func TestProbesRunAtOnceAndNeverPileUp(t *testing.T) {
	t.Parallel()
	meet := make(chan struct{})
	release := make(chan struct{})
	var begun atomic.Int32
	h := Health{DetailedOpen: true, Probes: map[string]func(context.Context) error{
		"a": func(context.Context) error { meet <- struct{}{}; return nil },
		"b": func(context.Context) error { <-meet; return nil },
	}}.Handler()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/health/detailed", nil))
	if w.Code != http.StatusOK || strings.Contains(w.Body.String(), "failed") {
		t.Errorf("probes don't run at once: %s", w.Body)
	}

	stuck := newProbe(func(context.Context) error { begun.Add(1); <-release; return nil })
	if err := stuck.do(t.Context(), time.Millisecond); err == nil {
		t.Error("a stuck check counts as good")
	}
	if err := stuck.do(t.Context(), time.Millisecond); err == nil || !strings.Contains(err.Error(), "has not come back") {
		t.Errorf("a stuck check was begun again: %v", err)
	}
	close(release)
	if n := begun.Load(); n != 1 {
		t.Errorf("begun %d times", n)
	}
}

func TestBearerMatches(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		header, token string
		want          bool
	}{
		"right":             {"Bearer s3cret", "s3cret", true},
		"scheme's case":     {"bearer s3cret", "s3cret", true},
		"wrong":             {"Bearer other", "s3cret", false},
		"prefix":            {"Bearer s3cre", "s3cret", false},
		"basic":             {"Basic s3cret", "s3cret", false},
		"no header":         {"", "s3cret", false},
		"no token set":      {"Bearer ", "", false},
		"no token, nothing": {"", "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			r.Header.Set("Authorization", tt.header)
			if got := BearerMatches(r, tt.token); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

type fakeMeasures struct {
	counters   []Counter
	gauges     []Gauge
	histograms []Histogram
	err        error
}

func (f fakeMeasures) Counters(context.Context) ([]Counter, error)     { return f.counters, f.err }
func (f fakeMeasures) Gauges(context.Context) ([]Gauge, error)         { return f.gauges, nil }
func (f fakeMeasures) Histograms(context.Context) ([]Histogram, error) { return f.histograms, nil }

func TestMetrics(t *testing.T) {
	t.Parallel()
	counters := []Counter{
		{"mlopsbot_repairs_total", map[string]string{"rule": "cuda-oom", "state": "verified"}, 3},
		{"mlopsbot_repairs_total", map[string]string{"rule": "cuda-oom", "state": "verified"}, 4}, // doubled
		{"mlopsbot_repairs_total", map[string]string{"rule": "other"}, 1},                         // other labels
		{"mlopsbot_hostile_total", map[string]string{"repo": "a\"\n\xff" + strings.Repeat("x", 1000)}, 1},
		{"not a name", nil, 1},
		{"mlopsbot_bad_label_total", map[string]string{"a-b": "x"}, 1},
		{"bot_dependency_up", nil, 1},
		{"go_goroutines", nil, 1}, // the process's own
	}
	gauges := []Gauge{{"mlopsbot_waiting", map[string]string{"function": "repair"}, 2}}
	histograms := []Histogram{
		{"mlopsbot_handler_seconds", map[string]string{"consumer": "detect"}, map[float64]uint64{0.1: 1, 1: 2}, 3, 4.5},
		{"mlopsbot_repairs_total", nil, nil, 1, 1}, // a counter's name
	}
	tests := map[string]struct {
		measures   fakeMeasures
		has, hasnt []string
	}{
		"readable": {
			fakeMeasures{counters, gauges, histograms, nil},
			[]string{
				"# HELP mlopsbot_repairs_total Repairs.\n", "# TYPE mlopsbot_repairs_total counter\n",
				`mlopsbot_repairs_total{rule="cuda-oom",state="verified"} 3` + "\n",
				`mlopsbot_repairs_total{rule="other"} 1` + "\n",
				`mlopsbot_hostile_total{repo="a\"\n`,
				`mlopsbot_handler_seconds_bucket{consumer="detect",le="0.1"} 1` + "\n",
				`mlopsbot_handler_seconds_bucket{consumer="detect",le="+Inf"} 3` + "\n",
				`mlopsbot_handler_seconds_sum{consumer="detect"} 4.5` + "\n",
				`bot_dependency_up{dependency="database"} 1` + "\n", `bot_dependency_up{dependency="cache"} 0` + "\n", "go_goroutines ",
				"# TYPE mlopsbot_waiting gauge\n", `mlopsbot_waiting{function="repair"} 2` + "\n",
			},
			[]string{"not a name", "a-b", strings.Repeat("x", 300)},
		},
		"down": {
			fakeMeasures{counters, gauges, histograms, errors.New("database is down")},
			[]string{`bot_dependency_up{dependency="database"} 0` + "\n", `bot_dependency_up{dependency="cache"} 0` + "\n", "go_goroutines "},
			[]string{"mlopsbot_repairs_total", "mlopsbot_waiting"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			dependencies := map[string]func(context.Context) error{
				"database": func(context.Context) error { return tt.measures.err },
				"cache":    func(context.Context) error { return errors.New("cache is down") },
			}
			MetricsHandler(tt.measures, dependencies, map[string]string{"mlopsbot_repairs_total": "Repairs."}, slog.New(slog.DiscardHandler)).
				ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
			if w.Code != http.StatusOK {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			for _, s := range tt.has {
				if !strings.Contains(w.Body.String(), s) {
					t.Errorf("lacks %q", s)
				}
			}
			for _, s := range tt.hasnt {
				if strings.Contains(w.Body.String(), s) {
					t.Errorf("holds %q", s)
				}
			}
		})
	}
}

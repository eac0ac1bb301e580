package observe

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Counter is one series of a counter as it stands in the database.
type Counter struct {
	Name   string // a Prometheus name, e.g. "bot_runs_total"
	Labels map[string]string
	Value  float64
}

// Gauge is one series of a gauge as it stands in the database.
type Gauge struct {
	Name   string
	Labels map[string]string
	Value  float64
}

// Histogram is one series of a histogram as it stands in the database.
type Histogram struct {
	Name   string
	Labels map[string]string
	// Buckets maps upper bounds to cumulative counts, without +Inf.
	Buckets map[float64]uint64
	Count   uint64 // of all observations, +Inf's
	Sum     float64
}

// Measures reads what has been counted. Labels are few and bounded.
type Measures interface {
	Counters(context.Context) ([]Counter, error)
	Gauges(context.Context) ([]Gauge, error)
	Histograms(context.Context) ([]Histogram, error)
}

const (
	upName         = "bot_dependency_up"
	measureTimeout = 5 * time.Second
	maxSeries      = 20000
)

// MetricsHandler serves the measures in Prometheus' format, beside those of the
// process itself. help holds a sentence per metric name. bot_dependency_up tells
// of each dependency whether it answers, also when the database doesn't; then no
// series of the database is shown: counters that jump to zero would look like a
// restart.
func MetricsHandler(measures Measures, dependencies map[string]func(context.Context) error, help map[string]string, log *slog.Logger) http.Handler {
	probes := make(map[string]*probe, len(dependencies))
	for name, run := range dependencies {
		probes[name] = newProbe(run)
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		measureCollector{measures, probes, help, log},
	)
	return SecurityHeaders(promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4,
		Timeout:             2 * measureTimeout,
	}))
}

var (
	upDesc = prometheus.NewDesc(upName, "Whether the dependency answers.", []string{"dependency"}, nil)

	// reserved begins the names of the process's own metrics: a row of such a name
	// would make the registry refuse the whole page.
	reserved   = regexp.MustCompile(`^(go|process|promhttp)_`)
	metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]{0,127}$`)
	labelName  = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]{0,63}$`)
)

type measureCollector struct {
	measures Measures
	probes   map[string]*probe
	help     map[string]string
	log      *slog.Logger
}

// Describe sends nothing: which series there are is known only when they are
// read.
func (measureCollector) Describe(chan<- *prometheus.Desc) {}

func (c measureCollector) Collect(out chan<- prometheus.Metric) {
	// client_golang hands no context to collectors.
	ctx, cancel := context.WithTimeout(context.Background(), measureTimeout)
	defer cancel()

	metrics, err := c.read(ctx)
	if err != nil {
		c.log.ErrorContext(ctx, "cannot read the measures", KeyError, err.Error())
		metrics = nil
	}
	for _, m := range metrics {
		out <- m
	}
	for name, p := range c.probes {
		up := 1.0
		if err := p.do(ctx, DefaultProbeTimeout); err != nil {
			c.log.ErrorContext(ctx, "a dependency is down", "dependency", name, KeyError, err.Error())
			up = 0
		}
		out <- prometheus.MustNewConstMetric(upDesc, prometheus.GaugeValue, up, name)
	}
}

func (c measureCollector) read(ctx context.Context) ([]prometheus.Metric, error) {
	counters, err := c.measures.Counters(ctx)
	if err != nil {
		return nil, err
	}
	gauges, err := c.measures.Gauges(ctx)
	if err != nil {
		return nil, err
	}
	histograms, err := c.measures.Histograms(ctx)
	if err != nil {
		return nil, err
	}
	// One bad or doubled row must not cost the whole page, which is what the
	// registry does with it.
	seen := map[string]bool{}
	kind := map[string]string{}
	var metrics []prometheus.Metric
	add := func(typ, name string, labels map[string]string, build func(*prometheus.Desc, []string) (prometheus.Metric, error)) {
		names := slices.Sorted(maps.Keys(labels))
		values := labelValues(names, labels)
		id := name + "\x00" + strings.Join(names, "\x00") + "\x01" + strings.Join(values, "\x00")
		if !metricName.MatchString(name) || reserved.MatchString(name) || slices.ContainsFunc(names, func(n string) bool { return !labelName.MatchString(n) }) ||
			seen[id] || (kind[name] != "" && kind[name] != typ) || name == upName || len(metrics) >= maxSeries {
			c.log.WarnContext(ctx, "left out a series that Prometheus would not take", "metric", name, "type", typ)
			return
		}
		help := c.help[name]
		if help == "" {
			help = "Counted in the bot's database."
		}
		m, err := build(prometheus.NewDesc(name, help, names, nil), values)
		if err != nil {
			c.log.WarnContext(ctx, "left out a series that Prometheus would not take", "metric", name, KeyError, err.Error())
			return
		}
		seen[id], kind[name] = true, typ
		metrics = append(metrics, m)
	}
	for _, s := range counters {
		add("counter", s.Name, s.Labels, func(d *prometheus.Desc, values []string) (prometheus.Metric, error) {
			return prometheus.NewConstMetric(d, prometheus.CounterValue, s.Value, values...)
		})
	}
	for _, s := range gauges {
		add("gauge", s.Name, s.Labels, func(d *prometheus.Desc, values []string) (prometheus.Metric, error) {
			return prometheus.NewConstMetric(d, prometheus.GaugeValue, s.Value, values...)
		})
	}
	for _, s := range histograms {
		add("histogram", s.Name, s.Labels, func(d *prometheus.Desc, values []string) (prometheus.Metric, error) {
			return prometheus.NewConstHistogram(d, s.Count, s.Sum, s.Buckets, values...)
		})
	}
	return metrics, nil
}

// labelValues returns the values in the order of names. Values begin as
// strangers' text, and bytes that aren't UTF-8 would spoil the page.
func labelValues(names []string, labels map[string]string) []string {
	values := make([]string, len(names))
	for i, n := range names {
		v := strings.ToValidUTF8(labels[n], "\uFFFD")
		if r := []rune(v); len(r) > 200 {
			v = string(r[:200])
		}
		values[i] = v
	}
	return values
}

package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// HandlerDuration is the name of the histogram of how long functions work, in
// seconds. Its labels are function, cause (an event's type or the kind of work)
// and result.
const HandlerDuration = "bot_event_processing_duration_seconds"

// durationBuckets are upper bounds in seconds, up to a handler's 240.
var durationBuckets = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 240}

const (
	// maxLabels and maxLabel keep a label set small, whatever a caller puts in.
	maxLabels = 8
	maxLabel  = 200
	// maxSeries bounds what is read for /metrics.
	maxSeries = 20000
)

// Counter is the value of a counter that survives the pods.
type Counter struct {
	Name   string
	Labels map[string]string
	Value  float64
}

// Histogram is the state of a histogram that survives the pods, in the terms of
// Prometheus.
type Histogram struct {
	Name   string
	Labels map[string]string
	// Buckets are cumulative and sorted by their upper bound; the one without a
	// bound is Count.
	Buckets []Bucket
	Sum     float64
	Count   uint64
}

// Bucket counts the observations up to a bound.
type Bucket struct {
	UpperBound float64
	Count      uint64
}

const queryCount = `
	INSERT INTO counters (name, labels, value) VALUES (?, ?, ?)
	ON CONFLICT (name, labels) DO UPDATE SET value = counters.value + excluded.value`

func (c conn) addCounts(counts []domain.Count) error {
	type series struct{ name, labels string }
	sums := map[series]float64{}
	for _, n := range counts {
		if n.Name == "" || n.Add < 0 || math.IsNaN(n.Add) || math.IsInf(n.Add, 0) {
			return fail(domain.Bug, "count %q by %v: a counter has a name and only grows", n.Name, n.Add)
		}
		labels, err := encodeLabels(n.Labels)
		if err != nil {
			return err
		}
		sums[series{n.Name, labels}] += n.Add
	}
	// Writers lock rows in one order, or two of them could wait for each other.
	for _, k := range slices.SortedFunc(maps.Keys(sums), func(a, b series) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.labels, b.labels))
	}) {
		if _, err := c.exec(queryCount, k.name, k.labels, sums[k]); err != nil {
			return err
		}
	}
	return nil
}

const queryObserve = `
	INSERT INTO histograms (name, labels, le, n, total) VALUES (?, ?, ?, 1, ?)
	ON CONFLICT (name, labels, le) DO UPDATE SET n = histograms.n + 1, total = histograms.total + excluded.total`

func (c conn) observe(name string, labels map[string]string, d time.Duration) error {
	text, err := encodeLabels(labels)
	if err != nil {
		return err
	}
	seconds := max(d, 0).Seconds()
	at, _ := slices.BinarySearch(durationBuckets, seconds)
	_, err = c.exec(queryObserve, name, text, bound(at), seconds)
	return err
}

// bound is the stored upper bound of a bucket, as Prometheus writes it.
func bound(i int) string {
	if i == len(durationBuckets) {
		return "+Inf"
	}
	return strconv.FormatFloat(durationBuckets[i], 'g', -1, 64)
}

// encodeLabels is the canonical form of a label set: JSON with sorted names.
func encodeLabels(labels map[string]string) (string, error) {
	if len(labels) > maxLabels {
		return "", fail(domain.Bug, "%d labels, more than %d", len(labels), maxLabels)
	}
	for name, value := range labels {
		if len(name) > maxLabel || len(value) > maxLabel {
			return "", fail(domain.Bug, "label %.50q has more than %d bytes", name, maxLabel)
		}
	}
	if labels == nil {
		labels = map[string]string{}
	}
	b, err := json.Marshal(labels)
	return string(b), err
}

const querySetGauge = `
	INSERT INTO gauges (name, labels, value, valid_until) VALUES (?, ?, ?, ?)
	ON CONFLICT (name, labels) DO UPDATE SET value = excluded.value, valid_until = excluded.valid_until`

// SetGauge stores what was seen last, which says nothing any more after a time.
func (s *Store) SetGauge(ctx context.Context, name string, labels map[string]string, value float64, validUntil time.Time) error {
	const op = "set a gauge"
	if name == "" || validUntil.IsZero() || math.IsNaN(value) || math.IsInf(value, 0) {
		return domain.Errorf(domain.Bug, op, "gauge %q of %v until %v: it has a name, a number and an end", name, value, validUntil)
	}
	text, err := encodeLabels(labels)
	if err != nil {
		return s.wrap(op, err)
	}
	return s.change(ctx, op, func(c conn) error {
		_, err := c.exec(querySetGauge, name, text, value, micros(validUntil))
		return err
	})
}

// Gauge is a value that was seen last, and that is still valid.
type Gauge struct {
	Name   string
	Labels map[string]string
	Value  float64
}

const queryGauges = `SELECT name, labels, value FROM gauges WHERE valid_until > ? ORDER BY name, labels LIMIT ?`

// Gauges returns the gauges that are valid at a time, sorted by name and labels.
func (s *Store) Gauges(ctx context.Context, now time.Time) (list []Gauge, err error) {
	err = s.look(ctx, "read the gauges", func(c conn) error {
		list, err = rows(c, queryGauges, []any{micros(now), maxSeries}, func(r *sql.Rows) (Gauge, error) {
			var g Gauge
			var labels string
			if err := r.Scan(&g.Name, &labels, &g.Value); err != nil {
				return Gauge{}, err
			}
			g.Labels, err = decode[map[string]string](labels)
			return g, err
		})
		return err
	})
	return list, err
}

// OpenCounts are what waits, for somebody or for its time.
type OpenCounts struct {
	// DeadLetters wait for an operator to replay or discard them.
	DeadLetters int
	// Outbox are events that some consumer has not handled.
	Outbox int
	// Work is stored work by its function, what is parked or being done included. A
	// function without any has no entry.
	Work map[string]int
}

const (
	queryOpenDead   = `SELECT COUNT(*) FROM dead_letters`
	queryOpenEvents = `SELECT COUNT(*) FROM outbox WHERE closed_at = 0`
	queryOpenWork   = `SELECT owner, COUNT(*) FROM work GROUP BY owner ORDER BY owner LIMIT ?`
)

// Open counts what waits.
func (s *Store) Open(ctx context.Context) (open OpenCounts, err error) {
	err = s.look(ctx, "count what is open", func(c conn) error {
		if _, err := c.row(queryOpenDead, nil, &open.DeadLetters); err != nil {
			return err
		}
		if _, err := c.row(queryOpenEvents, nil, &open.Outbox); err != nil {
			return err
		}
		open.Work = map[string]int{}
		_, err := rows(c, queryOpenWork, []any{maxRows}, func(r *sql.Rows) (struct{}, error) {
			var owner string
			var n int
			err := r.Scan(&owner, &n)
			open.Work[owner] = n
			return struct{}{}, err
		})
		return err
	})
	if err != nil {
		return OpenCounts{}, err
	}
	return open, nil
}

const queryCounters = `SELECT name, labels, value FROM counters ORDER BY name, labels LIMIT ?`

// Counters returns all counters, sorted by name and labels.
func (s *Store) Counters(ctx context.Context) (list []Counter, err error) {
	err = s.look(ctx, "read the counters", func(c conn) error {
		list, err = rows(c, queryCounters, []any{maxSeries}, func(r *sql.Rows) (Counter, error) {
			var n Counter
			var labels string
			if err := r.Scan(&n.Name, &labels, &n.Value); err != nil {
				return Counter{}, err
			}
			n.Labels, err = decode[map[string]string](labels)
			return n, err
		})
		return err
	})
	return list, err
}

const queryHistograms = `SELECT name, labels, le, n, total FROM histograms ORDER BY name, labels LIMIT ?`

// Histograms returns all histograms, sorted by name and labels.
func (s *Store) Histograms(ctx context.Context) (list []Histogram, err error) {
	type bucket struct {
		name, labels, le string
		n                uint64
		total            float64
	}
	err = s.look(ctx, "read the histograms", func(c conn) error {
		buckets, err := rows(c, queryHistograms, []any{maxSeries}, func(r *sql.Rows) (bucket, error) {
			var b bucket
			err := r.Scan(&b.name, &b.labels, &b.le, &b.n, &b.total)
			return b, err
		})
		if err != nil {
			return err
		}
		for len(buckets) > 0 {
			one := buckets[0]
			end := slices.IndexFunc(buckets, func(b bucket) bool { return b.name != one.name || b.labels != one.labels })
			if end < 0 {
				end = len(buckets)
			}
			h := Histogram{Name: one.name}
			if h.Labels, err = decode[map[string]string](one.labels); err != nil {
				return err
			}
			counts := map[string]uint64{}
			for _, b := range buckets[:end] {
				counts[b.le] += b.n
				h.Sum += b.total
				h.Count += b.n
			}
			var upTo uint64
			for i, upper := range durationBuckets {
				upTo += counts[bound(i)]
				h.Buckets = append(h.Buckets, Bucket{UpperBound: upper, Count: upTo})
			}
			list = append(list, h)
			buckets = buckets[end:]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

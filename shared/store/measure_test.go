package store_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

func TestGaugesAreReplacedAndEnd(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		const name = "bot_github_api_rate_limit_remaining"
		set := func(installation string, value float64, until time.Duration) {
			t.Helper()
			ok(t, s.SetGauge(t.Context(), name, map[string]string{"installation": installation}, value, at(until)))
		}
		live := func(after time.Duration) (list []string) {
			t.Helper()
			for _, g := range must[[]store.Gauge](t)(s.Gauges(t.Context(), at(after))) {
				list = append(list, fmt.Sprint(g.Name, g.Labels, g.Value))
			}
			return list
		}
		set("2", 4000, time.Hour)
		set("1", 5000, time.Minute)
		set("1", 99, 2*time.Minute)
		ok(t, s.SetGauge(t.Context(), "a", nil, -1.5, at(time.Hour)))
		same(t, "live", []string{"amap[] -1.5", name + "map[installation:1] 99", name + "map[installation:2] 4000"}, live(time.Minute))
		same(t, "live later", []string{"amap[] -1.5", name + "map[installation:2] 4000"}, live(2*time.Minute))
		same(t, "live at last", []string(nil), live(time.Hour))

		ok(t, s.Expire(t.Context(), at(time.Hour)))
		same(t, "rows after the expiry", 2, store.RowCounts(t, s)["gauges"]) // not before it, but at it
		set("1", 98, 3*time.Hour)
		same(t, "live again", []string{name + "map[installation:1] 98"}, live(2*time.Hour))

		for what, err := range map[string]error{
			"no name":      s.SetGauge(t.Context(), "", nil, 1, at(time.Hour)),
			"no end":       s.SetGauge(t.Context(), "a", nil, 1, time.Time{}),
			"no number":    s.SetGauge(t.Context(), "a", nil, math.NaN(), at(time.Hour)),
			"infinite":     s.SetGauge(t.Context(), "a", nil, math.Inf(1), at(time.Hour)),
			"a long label": s.SetGauge(t.Context(), "a", map[string]string{"x": strings.Repeat("x", 201)}, 1, at(time.Hour)),
		} {
			t.Run(what, func(t *testing.T) { wantKind(t, err, domain.Bug) })
		}
	})
}

func TestOpenCountsWhatWaits(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		open := func() store.OpenCounts {
			t.Helper()
			return must[store.OpenCounts](t)(s.Open(t.Context()))
		}
		same(t, "at first", store.OpenCounts{Work: map[string]int{}}, open())
		ok(t, put(t, s, domain.Outcome{
			Events: []domain.Envelope{envelope("a", "detect", "notify"), envelope("b", "notify"), envelope("none")},
			Later: []domain.Work{
				{Kind: "repair.plan", Key: "1"}, {Kind: "repair.propose", Key: "1", NotBefore: at(time.Hour)}, {Kind: "notify.tell", Key: "1"},
			},
		}))
		claimOne(t, s, "notify", start)
		same(t, "filled", store.OpenCounts{Outbox: 2, Work: map[string]int{"repair": 2, "notify": 1}}, open())
		ok(t, handle(t, s, "detect", "a"))
		ok(t, s.DeadLetter(t.Context(), "notify", envelope("b"), "no channel", start))
		ok(t, s.BuryWork(t.Context(), claimOne(t, s, "repair", start), "denied"))
		same(t, "later", store.OpenCounts{DeadLetters: 2, Outbox: 1, Work: map[string]int{"repair": 1, "notify": 1}}, open())
	})
}

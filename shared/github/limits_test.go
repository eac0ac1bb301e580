package github

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRateLimitReports(t *testing.T) {
	t.Parallel()
	now := testNow
	var told []string
	l := &limitReporter{
		now: func() time.Time { return now }, last: map[int64]limitReport{},
		tell: func(id int64, remaining, limit int, reset time.Time) {
			told = append(told, fmt.Sprint(now.Sub(testNow), " ", id, ": ", remaining, "/", limit, " ", reset.Format(time.TimeOnly)))
		},
	}
	header := func(remaining string, more ...string) http.Header {
		h := http.Header{}
		all := append([]string{
			"X-RateLimit-Remaining", remaining, "X-RateLimit-Limit", "5000", "X-RateLimit-Resource", "core",
			"X-RateLimit-Reset", strconv.FormatInt(testNow.Add(time.Hour).Unix(), 10),
		}, more...)
		for i := 0; i < len(all); i += 2 {
			h.Set(all[i], all[i+1])
		}
		return h
	}
	steps := []struct {
		after  time.Duration
		id     int64
		header http.Header
	}{
		{0, 11, header("4999")},
		{time.Second, 11, header("4998")},      // too soon
		{time.Second, 12, header("50")},        // another installation
		{14 * time.Second, 11, header("4000")}, // 16 s after the first
		{time.Second, 11, header("100")},       // not low yet
		{time.Second, 11, header("99")},        // low: at once
		{time.Second, 11, header("98")},        // is known to be low
		{13 * time.Second, 11, header("97")},
		{2 * time.Second, 11, header("96")}, // 15 s after the last
		{time.Minute, 11, header("1", "X-RateLimit-Resource", "graphql")},
		{0, 11, header("many")},
		{0, 11, header("-1")},
		{0, 11, header("1", "X-RateLimit-Limit", "0")},
		{0, 11, header("1", "X-RateLimit-Reset", "soon")},
		{0, 11, http.Header{}},
	}
	for _, s := range steps {
		now = now.Add(s.after)
		l.report(s.id, s.header)
	}
	want := []string{
		"0s 11: 4999/5000 13:00:00", "2s 12: 50/5000 13:00:00", "16s 11: 4000/5000 13:00:00", "18s 11: 99/5000 13:00:00", "34s 11: 96/5000 13:00:00",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
	for id := range int64(maxLimits + 10) {
		l.report(id+100, header("4999"))
	}
	if n := len(l.last); n > maxLimits {
		t.Errorf("%d installations are remembered", n)
	}
	(&limitReporter{}).report(1, header("1")) // nobody asked
}

// TestRateLimitOfAnswers: every answer's limit is told, of a 304 too, and tokens
// are minted on the App's account.
func TestRateLimitOfAnswers(t *testing.T) {
	t.Parallel()
	limit := http.Header{"X-Ratelimit-Limit": {"5000"}, "X-Ratelimit-Reset": {"1793880000"}}
	g := &tagged{etag: `"x"`, body: pullJSON("open")}
	a := newAPI(t, map[string]http.HandlerFunc{pullPath: func(w http.ResponseWriter, r *http.Request) {
		for k, v := range limit {
			w.Header()[k] = v
		}
		g.ServeHTTP(w, r)
	}})
	a.mint = func(w http.ResponseWriter, r *http.Request) {
		answer(201, fmt.Sprintf(`{"token":%q,"expires_at":%q}`, theToken, time.Now().Add(time.Hour).Format(time.RFC3339)), "X-RateLimit-Limit", "5000", "X-RateLimit-Reset", "1793880000", "X-RateLimit-Remaining", "77")(w, r)
	}
	var mu sync.Mutex
	var told []string
	now := testNow
	c := a.client(t, func(c *Config) {
		c.Cache = newMemory()
		c.Now = func() time.Time { now = now.Add(limitEvery); return now }
		c.OnRateLimit = func(id int64, remaining, _ int, _ time.Time) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprint(id, ": ", remaining))
		}
	})
	for range 2 {
		if _, err := c.Pull(t.Context(), testRepo, 4); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"0: 77", "11: 5000", "11: 4999"}, told); diff != "" {
		t.Error(diff)
	}
	if full, n := g.counts(); full != 1 || n != 1 {
		t.Errorf("%d answers, %d times 304", full, n)
	}
}

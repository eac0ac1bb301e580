package standin

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Limits are GitHub's rate limits. Zero fields have GitHub's values, negative ones
// are no limit.
type Limits struct {
	PerHour            int // requests of an installation; 0 is 5,000
	MutationsPerMinute int // of an installation; 0 is 80
	// ConcurrentMutations of an installation; 0 is 1. GitHub asks for mutating
	// requests to be made one after the other.
	ConcurrentMutations int
	// RetryAfter is what a secondary limit asks to wait; 0 is a minute.
	RetryAfter time.Duration
}

const (
	defaultPerHour            = 5000
	defaultMutationsPerMinute = 80
)

func (l Limits) perHour() int { return limit(l.PerHour, defaultPerHour) }

func limit(n, otherwise int) int {
	switch {
	case n == 0:
		return otherwise
	case n < 0:
		return 1 << 30
	}
	return n
}

// usage is what an installation (0: the App) used.
type usage struct {
	reset     time.Time
	used      int
	mutations []time.Time // within the last minute
	running   int         // mutations
}

func (s *Server) usageOf(id int64) *usage {
	u := s.usage[id]
	now := s.now()
	if u == nil {
		u = &usage{}
		s.usage[id] = u
	}
	if !u.reset.After(now) {
		u.reset, u.used = now.Add(time.Hour).Truncate(time.Second), 0
	}
	return u
}

// SetRemaining leaves an installation n requests until its limit is reset.
func (s *Server) SetRemaining(installationID int64, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.usageOf(installationID).used = s.opts.Limits.perHour() - n
}

// SetLimits replaces the limits.
func (s *Server) SetLimits(l Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.Limits = l
}

// admit identifies the caller and holds it to the limits. The caller calls
// release when the request has ended.
func (s *Server) admit(c *call, rt route, w http.ResponseWriter) (release func(), a answer, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	release = func() {}
	if a, done = c.authenticate(); done {
		return release, a, true
	}
	id := int64(0)
	if c.token != nil {
		id = c.token.Installation.ID
	}
	u := s.usageOf(id)
	l := s.opts.Limits
	exhausted := u.used >= l.perHour()
	if !exhausted && !rt.free {
		u.used++
	}
	h := w.Header()
	h.Set("X-RateLimit-Limit", strconv.Itoa(l.perHour()))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(max(l.perHour()-u.used, 0)))
	h.Set("X-RateLimit-Used", strconv.Itoa(u.used))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(u.reset.Unix(), 10))
	h.Set("X-RateLimit-Resource", "core")
	if exhausted && !rt.free {
		return release, refuse(http.StatusForbidden, "API rate limit exceeded for installation ID "+strconv.FormatInt(id, 10)+"."), true
	}
	if c.token == nil || !mutating(c.r.Method) {
		return release, answer{}, false
	}
	now := s.now()
	u.mutations = slices.DeleteFunc(u.mutations, func(t time.Time) bool { return now.Sub(t) >= time.Minute })
	if u.running >= limit(l.ConcurrentMutations, 1) || len(u.mutations) >= limit(l.MutationsPerMinute, defaultMutationsPerMinute) {
		pause := l.RetryAfter
		if pause <= 0 {
			pause = time.Minute
		}
		a = refuse(http.StatusForbidden, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.")
		a.header = http.Header{"Retry-After": {strconv.Itoa(int((pause + time.Second - 1) / time.Second))}}
		a.body.(obj)["documentation_url"] = "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"
		return release, a, true
	}
	u.running++
	u.mutations = append(u.mutations, now)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		u.running--
	}, answer{}, false
}

func rateLimit(c *call) answer {
	id := int64(0)
	if c.token != nil {
		id = c.token.Installation.ID
	}
	u := c.s.usageOf(id)
	n := c.s.opts.Limits.perHour()
	core := obj{"limit": n, "used": u.used, "remaining": max(n-u.used, 0), "reset": u.reset.Unix()}
	search := obj{"limit": 30, "used": 0, "remaining": 30, "reset": u.reset.Unix()}
	return ok(obj{"resources": obj{"core": core, "search": search}, "rate": core})
}

package github

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// limitEvery spaces what is told of one installation's rate limit.
	limitEvery = 15 * time.Second
	// limitLow is the number of calls left from which on it is told at once.
	limitLow = 100
	// maxLimits bounds how many installations' last reports are remembered.
	maxLimits = 10_000
)

// limitReporter tells Config.OnRateLimit what GitHub says about the rate limit:
// now and then, and at once when it becomes low. It is safe for concurrent use.
type limitReporter struct {
	tell func(installationID int64, remaining, limit int, reset time.Time)
	now  func() time.Time

	mu   sync.Mutex
	last map[int64]limitReport
}

type limitReport struct {
	at  time.Time
	low bool
}

// report passes on a response's limit. Search and GraphQL have limits of their
// own, which say nothing about the one that matters.
func (l *limitReporter) report(installation int64, h http.Header) {
	if l.tell == nil {
		return
	}
	if r := h.Get("X-RateLimit-Resource"); r != "" && r != "core" {
		return
	}
	left, err1 := strconv.Atoi(h.Get("X-RateLimit-Remaining"))
	limit, err2 := strconv.Atoi(h.Get("X-RateLimit-Limit"))
	reset, err3 := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || left < 0 || limit <= 0 {
		return
	}
	if l.due(installation, left < limitLow) {
		l.tell(installation, left, limit, time.Unix(reset, 0).UTC())
	}
}

func (l *limitReporter) due(installation int64, low bool) bool {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	last, known := l.last[installation]
	if known && now.Sub(last.at) < limitEvery && (!low || last.low) {
		return false
	}
	if len(l.last) >= maxLimits {
		clear(l.last) // at worst something is told again
	}
	l.last[installation] = limitReport{now, low}
	return true
}

package domain

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// ErrKind says what a caller can do about an error. It is the only thing that
// decides whether work is tried again.
type ErrKind string

const (
	// Invalid is input that will never be right: a malformed event, a missing
	// object. It is not tried again.
	Invalid ErrKind = "invalid"
	// Denied is a permission or an authentication that is not there.
	Denied ErrKind = "denied"
	// Unsupported is right input that the bot doesn't handle.
	Unsupported ErrKind = "unsupported"
	// Transient may go away by itself: time-outs, 5xx, lost connections,
	// conflicting writers.
	Transient ErrKind = "transient"
	// RateLimited is a limit of somebody else's; Error.RetryAt says when it is
	// worth asking again.
	RateLimited ErrKind = "rate_limited"
	// Bug is a broken assumption of our own.
	Bug ErrKind = "bug"
)

// Conditions that callers tell apart with errors.Is, whatever the kind.
var (
	// ErrNotFound: the object isn't there (yet). GitHub answers 404 also for
	// what a token may not see.
	ErrNotFound = errors.New("not found")
	// ErrGone: the object was there and has expired (a log after its retention).
	ErrGone = errors.New("gone")
	// ErrExists: what was to be created is there already.
	ErrExists = errors.New("already exists")
	// ErrConflict: another writer changed the row since it was read.
	ErrConflict = errors.New("changed by another writer")
	// ErrTooLarge: the object is larger than its bound.
	ErrTooLarge = errors.New("larger than its limit")
)

// Error is an error with a kind. Op is a verb phrase ("read the job's log").
type Error struct {
	Kind ErrKind
	Op   string
	Err  error
	// RetryAt is when a RateLimited call is worth repeating; zero otherwise.
	RetryAt time.Time
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Op + ": " + string(e.Kind)
	}
	return e.Op + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error of a kind. The format may wrap causes with %w.
func Errorf(kind ErrKind, op, format string, args ...any) *Error {
	return &Error{Kind: kind, Op: op, Err: fmt.Errorf(format, args...)}
}

// KindOf returns the kind of the outermost *Error in err's chain. A context's
// end is Transient; an error without a kind is a Bug; nil has no kind ("").
func KindOf(err error) ErrKind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrConflict) {
		return Transient
	}
	return Bug
}

// RetryAt returns when a rate-limited err is worth repeating, and false where
// it doesn't say.
func RetryAt(err error) (time.Time, bool) {
	if e, ok := errors.AsType[*Error](err); ok && !e.RetryAt.IsZero() {
		return e.RetryAt, true
	}
	return time.Time{}, false
}

// HTTPStatus is the one mapping of kinds to the status that a function answers
// to a broker. Permanent kinds give 422, which Knative dead-letters without a
// retry; Transient and Bug give 500, which it retries. RateLimited is parked as
// work by the runner before it comes here. 404, 409 and 429 are never answered:
// Knative retries those and ignores Retry-After.
func HTTPStatus(kind ErrKind) int {
	switch kind {
	case "", RateLimited:
		return http.StatusAccepted
	case Invalid, Denied, Unsupported:
		return http.StatusUnprocessableEntity
	default:
		return http.StatusInternalServerError
	}
}

// Package webhook receives GitHub's webhook deliveries: it verifies a delivery's
// signature, stores it together with the event that it becomes, and answers. It
// knows nothing of what an event means; whoever consumes the event decides that.
//
// GitHub does not redeliver on its own, so a delivery is answered 202 only when
// it is stored, and a verified one is never refused for its rate. The answers:
//
//	202  stored, or a duplicate of one that is
//	200  a ping; an event that the bot doesn't take, or that lacks what it needs
//	400  headers missing or malformed, a body that is cut off or no payload
//	401  no signature, or one that is wrong
//	404  another path
//	405  another method
//	413  a body of more than 25 MiB
//	415  neither JSON nor a form
//	429  too many unverified requests, with Retry-After
//	503  it can't be stored
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
)

// Path is where deliveries are received.
const Path = "/webhooks/github"

// MaxBody is the largest body in bytes, which is GitHub's own limit.
const MaxBody = 25 << 20

// Bounds on the way of one delivery. GitHub gives up after 10 seconds; storing
// goes on behind that, since the delivery may then still be kept.
const (
	readTimeout  = 15 * time.Second
	storeTimeout = 9 * time.Second
	// Bodies above smallBody share largeBodies places, so that strangers can't fill
	// the memory with what is not verified yet.
	smallBody   = 1 << 20
	preallocate = 64 << 10 // of what a stranger announces
	largeBodies = 8
	largeWait   = 5 * time.Second
)

const defaultRate = 60

// Secret is a webhook secret. It never shows in logs, errors or JSON.
type Secret string

const redacted = "[redacted]"

// LogValue redacts.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// String redacts.
func (Secret) String() string { return redacted }

// GoString redacts.
func (Secret) GoString() string { return redacted }

// MarshalText redacts.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Store keeps deliveries.
type Store interface {
	// AcceptDelivery stores a delivery and its event at once and reports whether it
	// did: false means that the delivery's id is there already. Of two calls at once
	// with one id exactly one stores.
	AcceptDelivery(ctx context.Context, d domain.Delivery, e domain.Envelope) (bool, error)
}

// Limiter counts by key.
type Limiter interface {
	// Allow reports whether one more is allowed, and if not, when to come back.
	Allow(ctx context.Context, key string, perMinute, burst int) (ok bool, retryAfter time.Duration, err error)
}

// Deps is what the function is made of.
type Deps struct {
	Store Store
	// Limiter bounds requests that are not verified; nil bounds none.
	Limiter Limiter
	// Published is handed each event after it is stored, and must not block: what
	// publishes does so in the background, and what it loses, the tick sends again.
	// nil leaves everything to the tick.
	Published func(domain.Envelope)

	// Current is the webhook's secret; Previous, if set, is accepted too while the
	// secret is being changed.
	Current  Secret
	Previous Secret
	// RatePerMinute is how many unverified requests one client may make; 0 is 60.
	RatePerMinute int
	// WithoutApp says that the bot acts with a token: the deliveries are those of
	// repositories' own webhooks, which name no installation.
	WithoutApp bool
	// TrustedProxies may say in X-Forwarded-For who the client is.
	TrustedProxies []netip.Prefix

	Now    func() time.Time // nil is the real clock
	Logger *slog.Logger     // nil discards
}

// Function is the webhook function, an http.Handler.
type Function struct {
	deps  Deps
	keys  [][]byte
	large chan struct{}
}

var _ http.Handler = (*Function)(nil)

// New makes the function. The error is Invalid: without a secret or a store
// nothing can be accepted.
func New(d Deps) (*Function, error) {
	const op = "set up the webhook function"
	if d.Current == "" {
		return nil, domain.Errorf(domain.Invalid, op, "the webhook secret is missing: without one nothing can be verified")
	}
	if d.Store == nil {
		return nil, domain.Errorf(domain.Invalid, op, "the store is missing")
	}
	f := &Function{deps: d, keys: [][]byte{[]byte(d.Current)}, large: make(chan struct{}, largeBodies)}
	if d.Previous != "" {
		f.keys = append(f.keys, []byte(d.Previous))
	}
	if f.deps.RatePerMinute <= 0 {
		f.deps.RatePerMinute = defaultRate
	}
	if f.deps.Now == nil {
		f.deps.Now = time.Now
	}
	if f.deps.Logger == nil {
		f.deps.Logger = slog.New(slog.DiscardHandler)
	}
	return f, nil
}

// answer is the JSON that a request gets.
type answer struct {
	code   int
	Status string `json:"status"` // stored, duplicate, pong, ignored, refused or failed
	Reason string `json:"reason,omitempty"`
	// unverified answers count against the client's rate.
	unverified bool
}

func refused(code int, reason string) answer {
	return answer{code: code, Status: "refused", Reason: reason}
}

func unverified(code int, reason string) answer {
	return answer{code: code, Status: "refused", Reason: reason, unverified: true}
}

func ignored(reason string) answer {
	return answer{code: http.StatusOK, Status: "ignored", Reason: reason}
}

// ServeHTTP receives one delivery.
func (f *Function) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := f.receive(w, r)
	if a.unverified {
		f.limit(w, r, &a)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Strict-Transport-Security", "max-age=31536000")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	w.WriteHeader(a.code)
	_ = json.NewEncoder(w).Encode(a) // the client may be gone
}

var (
	deliveryID = regexp.MustCompile(`^[A-Za-z0-9-]{1,100}$`)
	eventName  = regexp.MustCompile(`^[a-z_]{1,50}$`)
	traceID    = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)
)

// receive takes a request from its first header to the stored delivery.
func (f *Function) receive(w http.ResponseWriter, r *http.Request) answer {
	if r.URL.Path != Path {
		return unverified(http.StatusNotFound, "there is nothing here")
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return unverified(http.StatusMethodNotAllowed, "deliveries are posted")
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" && media != "application/x-www-form-urlencoded" {
		return unverified(http.StatusUnsupportedMediaType, "the content type must be application/json or application/x-www-form-urlencoded")
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return unverified(http.StatusUnsupportedMediaType, "encoded bodies are not taken")
	}
	id, event := r.Header.Get("X-GitHub-Delivery"), r.Header.Get("X-GitHub-Event")
	if !deliveryID.MatchString(id) || !eventName.MatchString(event) {
		return unverified(http.StatusBadRequest, "X-GitHub-Delivery and X-GitHub-Event are required")
	}
	// What can't be verified is not read.
	signature, ok := parseSignature(r.Header.Get("X-Hub-Signature-256"))
	if !ok {
		return unverified(http.StatusUnauthorized, "X-Hub-Signature-256 is required")
	}
	body, release, failed := f.readBody(w, r)
	defer release()
	if failed != nil {
		return *failed
	}
	if !f.verify(body, signature) {
		return unverified(http.StatusUnauthorized, "the signature is wrong")
	}
	return f.accept(r, media, id, event, body)
}

// accept stores a verified delivery.
func (f *Function) accept(r *http.Request, media, id, event string, body []byte) answer {
	log := f.deps.Logger.With("delivery_id", id, "event", event)
	if event == "ping" {
		return answer{code: http.StatusOK, Status: "pong"}
	}
	if _, ok := subscribed[event]; !ok {
		return ignored("the bot doesn't take this event")
	}
	if media != "application/json" {
		form, err := url.ParseQuery(string(body))
		if err != nil || len(form["payload"]) != 1 {
			return refused(http.StatusBadRequest, "the form has no payload")
		}
		body = []byte(form["payload"][0])
	}
	p, source, err := decode(event, body, f.deps.WithoutApp)
	if reason, ok := errors.AsType[notForUs](err); ok {
		log.InfoContext(r.Context(), "delivery ignored", "reason", string(reason))
		return ignored(string(reason))
	}
	if err != nil {
		log.WarnContext(r.Context(), "delivery refused", "error", err)
		return refused(http.StatusBadRequest, "the payload is malformed: "+err.Error())
	}
	p.DeliveryID = id
	now := f.deps.Now().UTC()
	cause := events.Cause{ID: id, Source: source, Time: now}
	if tp := r.Header.Get("Traceparent"); traceID.MatchString(tp) {
		cause.TraceParent = tp
	}
	env, err := events.NewGitHub(cause, p)
	if err != nil {
		log.ErrorContext(r.Context(), "delivery not encoded", "error", err)
		return answer{code: http.StatusServiceUnavailable, Status: "failed", Reason: "the event can't be encoded"}
	}
	// A client that gave up doesn't undo the delivery.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), storeTimeout)
	defer cancel()
	stored, err := f.deps.Store.AcceptDelivery(ctx, domain.Delivery{
		ID: id, Event: event, Action: p.Action, InstallationID: p.InstallationID, RepoID: p.RepoID, Body: body, ReceivedAt: now,
	}, env)
	switch {
	case err != nil:
		log.ErrorContext(ctx, "delivery not stored", "error", err)
		return answer{code: http.StatusServiceUnavailable, Status: "failed", Reason: "the delivery can't be stored now"}
	case !stored:
		log.InfoContext(ctx, "delivery seen before")
		return answer{code: http.StatusAccepted, Status: "duplicate"}
	}
	log.InfoContext(ctx, "delivery stored", "action", p.Action, "installation_id", p.InstallationID, "repo", p.RepoName, "run_id", p.RunID)
	if f.deps.Published != nil {
		f.deps.Published(env)
	}
	return answer{code: http.StatusAccepted, Status: "stored"}
}

// readBody reads the whole body. The answer, when not nil, says why it couldn't.
// The caller releases the place in memory that a large body takes.
func (f *Function) readBody(w http.ResponseWriter, r *http.Request) (body []byte, release func(), _ *answer) {
	release = func() {}
	fail := func(err error) *answer {
		a := unverified(http.StatusBadRequest, "the body is cut off")
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			a = unverified(http.StatusRequestEntityTooLarge, "the body has more than 25 MiB")
		}
		return &a
	}
	if r.ContentLength > MaxBody {
		return nil, release, fail(&http.MaxBytesError{Limit: MaxBody})
	}
	// A recorder in a test has no deadline to set.
	deadline := http.NewResponseController(w)
	if deadline.SetReadDeadline(time.Now().Add(readTimeout)) == nil {
		defer func() { _ = deadline.SetReadDeadline(time.Time{}) }()
	}
	limited := http.MaxBytesReader(w, r.Body, MaxBody)
	var buf bytes.Buffer
	buf.Grow(int(min(max(r.ContentLength, 0), preallocate)) + bytes.MinRead)
	if _, err := io.CopyN(&buf, limited, smallBody); errors.Is(err, io.EOF) {
		return buf.Bytes(), release, nil
	} else if err != nil {
		return nil, release, fail(err)
	}
	wait := time.NewTimer(largeWait)
	defer wait.Stop()
	select {
	case f.large <- struct{}{}:
		release = func() { <-f.large }
	case <-wait.C:
		f.deps.Logger.WarnContext(r.Context(), "large delivery not read", "reason", "too many at once")
		return nil, release, &answer{code: http.StatusServiceUnavailable, Status: "failed", Reason: "too many large deliveries at once"}
	case <-r.Context().Done():
		return nil, release, fail(r.Context().Err())
	}
	if _, err := io.Copy(&buf, limited); err != nil {
		return nil, release, fail(err)
	}
	return buf.Bytes(), release, nil
}

// parseSignature reads "sha256=" and 64 hex digits.
func parseSignature(header string) ([]byte, bool) {
	digits, ok := strings.CutPrefix(header, "sha256=")
	if !ok || len(digits) != hex.EncodedLen(sha256.Size) {
		return nil, false
	}
	sum, err := hex.DecodeString(digits)
	return sum, err == nil
}

// verify compares in constant time, and with every secret whichever matches.
func (f *Function) verify(body, signature []byte) bool {
	ok := false
	for _, key := range f.keys {
		mac := hmac.New(sha256.New, key)
		mac.Write(body)
		if hmac.Equal(mac.Sum(nil), signature) {
			ok = true
		}
	}
	return ok
}

// limit turns the refusal of an unverified request into 429 when its client makes
// too many. It comes after verification, since one address may carry both a flood
// and GitHub.
func (f *Function) limit(w http.ResponseWriter, r *http.Request, a *answer) {
	if f.deps.Limiter == nil {
		return
	}
	client := clientOf(r, f.deps.TrustedProxies)
	n := f.deps.RatePerMinute
	ok, after, err := f.deps.Limiter.Allow(r.Context(), "webhook:"+client, n, n)
	if err != nil {
		// It is refused either way.
		f.deps.Logger.WarnContext(r.Context(), "rate limit not checked", "error", err)
		return
	}
	if ok {
		f.deps.Logger.WarnContext(r.Context(), "request refused", "client", client, "status", a.code, "reason", a.Reason)
		return
	}
	*a = refused(http.StatusTooManyRequests, "too many requests that are not verified")
	w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(after.Seconds())))))
}

// clientOf names who a request counts for: the address that connected, or the
// last one in X-Forwarded-For that no trusted proxy wrote for itself. An IPv6
// client is its /64 network, of which anybody has as many addresses as they want.
func clientOf(r *http.Request, trusted []netip.Prefix) string {
	trusts := func(a netip.Addr) bool {
		for _, p := range trusted {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return "unknown"
	}
	addr := peer.Addr().Unmap().WithZone("")
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && trusts(addr); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = next.Unmap().WithZone("")
	}
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr.String()
}

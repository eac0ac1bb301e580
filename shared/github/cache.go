package github

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Cache keeps values that may vanish at any time: what is not there is asked of
// GitHub again. An error of it is never an error of a call.
type Cache interface {
	// Get returns the value that was kept under key, and false where there is none.
	Get(ctx context.Context, key string) (value []byte, ok bool, err error)
	// Set keeps a value for ttl at most.
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error
}

const (
	// cacheTimeout bounds one exchange with the cache, which is there to save time.
	cacheTimeout = 500 * time.Millisecond
	// maxAnswer is how many bytes of an answer are kept; a longer one is asked for
	// anew each time.
	maxAnswer = 512 << 10
	// answerTTL is how long an answer is kept from when it was last new.
	answerTTL = 24 * time.Hour
	// maxLink bounds a header that is kept, in bytes.
	maxLink = 4 << 10
)

// fetch reads from the cache; a failure is a miss.
func fetch(ctx context.Context, c Cache, log *slog.Logger, key string) ([]byte, bool) {
	ctx, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	value, ok, err := c.Get(ctx, key)
	if err != nil {
		log.DebugContext(ctx, "the cache could not be read", "error", err)
		return nil, false
	}
	return value, ok
}

// keep writes to the cache; a failure is the next reader's miss.
func keep(ctx context.Context, c Cache, log *slog.Logger, key string, value []byte, ttl time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	if err := c.Set(ctx, key, value, ttl); err != nil {
		log.DebugContext(ctx, "the cache could not be written", "error", err)
	}
}

// cacheKey names a value by its parts without showing them.
func cacheKey(kind string, parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = io.WriteString(h, strconv.Itoa(len(p))+":"+p+"\n")
	}
	return "github/" + kind + "/1/" + hex.EncodeToString(h.Sum(nil))
}

// revalidator has GitHub say whether the answer of the last time still holds,
// which a 304 does without counting against the rate limit. GitHub is asked each
// time: an answer is never older than the question, also right after a write, and
// never shown to somebody who may not see it any more. It stands below the
// authentication and the guard, so it never has a token in its hands but in the
// header that it passes on.
type revalidator struct {
	base     http.RoundTripper
	cache    Cache
	identity string // of who asks; no credential
	log      *slog.Logger
}

var _ http.RoundTripper = (*revalidator)(nil)

func (r *revalidator) RoundTrip(req *http.Request) (*http.Response, error) {
	if !revalidates(req) {
		return r.base.RoundTrip(req)
	}
	ctx := req.Context()
	key := cacheKey("answer", req.Method, req.URL.String(), req.Header.Get("Accept"), r.identity)
	var old keptAnswer
	known := false
	if value, ok := fetch(ctx, r.cache, r.log, key); ok {
		if old, known = decodeAnswer(key, value); known {
			req = req.Clone(ctx) // a RoundTripper leaves the caller's request alone
			req.Header.Set("If-None-Match", old.ETag)
		}
	}
	resp, err := r.base.RoundTrip(req)
	switch {
	case err != nil:
		return nil, err
	case known && resp.StatusCode == http.StatusNotModified:
		return old.unchanged(resp), nil
	case resp.StatusCode == http.StatusOK:
		r.store(ctx, key, resp)
	}
	return resp, nil
}

// revalidates reports whether req is a plain question for JSON. Logs and other
// downloads come with a bound of their own.
func revalidates(req *http.Request) bool {
	if req.Method != http.MethodGet || req.Context().Value(bodyLimitKey{}) != nil {
		return false
	}
	for _, h := range []string{"Range", "If-None-Match", "If-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"} {
		if req.Header.Get(h) != "" {
			return false
		}
	}
	accept := req.Header.Get("Accept")
	return accept == "" || strings.Contains(accept, "json")
}

// store keeps an answer that is whole, small, JSON and not secret, and leaves
// resp as it was to its reader.
func (r *revalidator) store(ctx context.Context, key string, resp *http.Response) {
	a := keptAnswer{Key: key, ETag: resp.Header.Get("ETag"), Type: resp.Header.Get("Content-Type"), Link: resp.Header.Get("Link")}
	if !a.sound() || resp.ContentLength > maxAnswer || resp.Header.Get("Content-Encoding") != "" ||
		strings.Contains(strings.ToLower(resp.Header.Get("Cache-Control")), "no-store") || strings.Contains(resp.Header.Get("Vary"), "*") {
		return
	}
	body := resp.Body
	read, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	switch {
	case err != nil:
		resp.Body = &prefixed{Reader: io.MultiReader(bytes.NewReader(read), broken{err}), Closer: body}
		return
	case len(read) > maxAnswer:
		resp.Body = &prefixed{Reader: io.MultiReader(bytes.NewReader(read), body), Closer: body}
		return
	}
	resp.Body = &prefixed{Reader: bytes.NewReader(read), Closer: body}
	if a.body = read; json.Valid(read) {
		keep(ctx, r.cache, r.log, key, a.encode(), answerTTL)
	}
}

// prefixed is a body of which the beginning was read already.
type prefixed struct {
	io.Reader
	io.Closer
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

// keptAnswer is what is kept of a 200: its validator, what go-github reads of its
// header, and its body.
type keptAnswer struct {
	Key  string `json:"key"` // under which it was kept
	ETag string `json:"etag"`
	Type string `json:"type"`
	Link string `json:"link,omitempty"`
	body []byte
}

// answerMagic begins a kept answer and names its form.
const answerMagic = "mlops-bot answer 1\n"

// entityTag is RFC 9110's, in ASCII.
var entityTag = regexp.MustCompile(`^(W/)?"[\x21\x23-\x7e]{1,256}"$`)

// encode writes magic, the SHA-256 of what follows, the header as a line of JSON
// and the body.
func (a keptAnswer) encode() []byte {
	head, err := json.Marshal(a)
	if err != nil {
		return nil // strings don't fail to marshal
	}
	rest := append(append(head, '\n'), a.body...)
	sum := sha256.Sum256(rest)
	return append(append([]byte(answerMagic), sum[:]...), rest...)
}

// decodeAnswer reads a value of encode's that was kept under key. Everything else
// is no answer.
func decodeAnswer(key string, value []byte) (keptAnswer, bool) {
	rest, ok := bytes.CutPrefix(value, []byte(answerMagic))
	if !ok || len(rest) < sha256.Size {
		return keptAnswer{}, false
	}
	sum, rest := rest[:sha256.Size], rest[sha256.Size:]
	if want := sha256.Sum256(rest); !bytes.Equal(sum, want[:]) {
		return keptAnswer{}, false
	}
	head, body, ok := bytes.Cut(rest, []byte("\n"))
	var a keptAnswer
	if !ok || json.Unmarshal(head, &a) != nil || a.Key != key || !a.sound() || len(body) > maxAnswer || !json.Valid(body) {
		return keptAnswer{}, false
	}
	a.body = body
	return a, true
}

// sound reports whether the header is one that is kept.
func (a keptAnswer) sound() bool {
	media, _, err := mime.ParseMediaType(a.Type)
	return err == nil && (media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")) &&
		entityTag.MatchString(a.ETag) && len(a.Type) <= maxLink && len(a.Link) <= maxLink && !strings.ContainsAny(a.Type+a.Link, "\r\n")
}

// unchanged makes a 304 the 200 that it stands for. What the 304 says itself, the
// rate limit above all, is newer.
func (a keptAnswer) unchanged(resp *http.Response) *http.Response {
	_, _ = io.CopyN(io.Discard, resp.Body, 4096) // so that the connection is used again
	_ = resp.Body.Close()
	header := resp.Header.Clone()
	for _, h := range []string{"Content-Length", "Content-Encoding", "Transfer-Encoding"} {
		header.Del(h)
	}
	header.Set("Content-Type", a.Type)
	if a.Link != "" && header.Get("Link") == "" {
		header.Set("Link", a.Link)
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: resp.Proto, ProtoMajor: resp.ProtoMajor, ProtoMinor: resp.ProtoMinor,
		Header: header, Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: int64(len(a.body)), Request: resp.Request, TLS: resp.TLS,
	}
}

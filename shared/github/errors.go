package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/bradleyfalzon/ghinstallation/v2"
	gh "github.com/google/go-github/v62/github"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// secondaryPause is how long GitHub asks to wait at least when a secondary limit
// doesn't say.
const secondaryPause = time.Minute

// refusal is what GitHub said, whichever library read it.
type refusal struct {
	status  int
	header  http.Header
	message string
	docs    string // documentation_url
	details []gh.Error
}

// fail gives an error its kind. It is the only place that does, and the only one
// that decides what of GitHub's words is passed on: bounded, and without
// credentials. What GitHub's statuses come to:
//
//	401                 Denied
//	403                 Denied, RateLimited for both kinds of limits
//	404                 Invalid, ErrNotFound
//	409                 Invalid, ErrConflict
//	410                 Invalid, ErrGone
//	422                 Invalid, ErrExists or ErrNotFound where it says so
//	429                 RateLimited
//	202, 408, 5xx       Transient, as time-outs and lost connections
//	3xx                 Invalid: it left the API, nothing followed it
//
// A token that can't be minted is Denied where the installation is suspended or
// lacks a permission, Denied with ErrGone where it was removed, and Invalid with
// ErrNotFound where it doesn't have the repository.
func (c *Client) fail(k call, err error) error {
	if e, ok := errors.AsType[*domain.Error](err); ok {
		return &domain.Error{Kind: e.Kind, Op: k.op, Err: errors.Unwrap(e), RetryAt: e.RetryAt}
	}
	now := c.cfg.Now()
	limited := func(at time.Time, kind string) error {
		if !at.After(now) {
			at = now.Add(time.Second)
		}
		e := domain.Errorf(domain.RateLimited, k.op, "GitHub's %s rate limit is reached until %s", kind, at.UTC().Format(time.RFC3339))
		e.RetryAt = at
		return e
	}
	if e, ok := errors.AsType[*ghinstallation.HTTPError](err); ok {
		if e.Response == nil {
			return c.network(k, e.RootCause)
		}
		return c.mintRefused(k, readRefusal(e.Response), limited)
	}
	if e, ok := errors.AsType[*gh.RateLimitError](err); ok {
		return limited(e.Rate.Reset.Time, "primary")
	}
	if e, ok := errors.AsType[*gh.AbuseRateLimitError](err); ok {
		pause := secondaryPause
		if e.RetryAfter != nil && *e.RetryAfter > 0 {
			pause = *e.RetryAfter
		}
		return limited(now.Add(pause), "secondary")
	}
	if _, ok := errors.AsType[*gh.AcceptedError](err); ok {
		return domain.Errorf(domain.Transient, k.op, "GitHub is still preparing the answer")
	}
	if e, ok := errors.AsType[*gh.TwoFactorAuthError](err); ok {
		err = (*gh.ErrorResponse)(e)
	}
	if e, ok := errors.AsType[*gh.ErrorResponse](err); ok && e.Response != nil {
		return c.refused(k, refusal{e.Response.StatusCode, e.Response.Header, e.Message, e.DocumentationURL, e.Errors}, limited)
	}
	return c.network(k, err)
}

// network types the failure of an exchange that brought no usable answer.
func (c *Client) network(k call, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	sent, lost := errors.AsType[*url.Error](err)
	switch {
	case errors.Is(err, context.Canceled):
		return domain.Errorf(domain.Transient, k.op, "%w", context.Canceled)
	case errors.Is(err, context.DeadlineExceeded):
		return domain.Errorf(domain.Transient, k.op, "GitHub did not answer in time: %w", context.DeadlineExceeded)
	case lost:
		// The URL in the error of a failed exchange may be signed.
		return domain.Errorf(domain.Transient, k.op, "reach GitHub: %s", clean(sent.Err.Error()))
	case errors.As(err, &kind):
		return domain.Errorf(domain.Unsupported, k.op, "the answer has %s in field %s", kind.Value, clean(kind.Field))
	case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return domain.Errorf(domain.Transient, k.op, "the answer is cut off or no JSON")
	}
	return domain.Errorf(domain.Transient, k.op, "reach GitHub: %s", clean(err.Error()))
}

type limitFunc func(at time.Time, kind string) error

func (c *Client) refused(k call, r refusal, limited limitFunc) error {
	said := clean(r.message)
	text := strings.ToLower(r.message)
	for _, d := range r.details {
		text += " " + strings.ToLower(d.Message)
		said += clean(" " + strings.TrimSpace(d.Code+" "+d.Field+" "+d.Message))
	}
	invalid := func(cause error) error {
		return domain.Errorf(domain.Invalid, k.op, "GitHub answered %d: %s: %w", r.status, said, cause)
	}
	if at, kind, ok := c.limit(r, text); ok {
		return limited(at, kind)
	}
	switch {
	case r.status < 500 && (strings.Contains(text, "workflows` permission") || strings.Contains(text, "workflow` scope")):
		// 403, 404 or 422, by the endpoint.
		return c.lacks(k, "workflows:write")
	case r.status < 500 && (strings.Contains(text, "rule violations") || strings.Contains(text, "protected branch")):
		return domain.Errorf(domain.Denied, k.op, "the repository's rules refuse it: %s", said)
	case r.status == http.StatusUnauthorized && c.hasToken():
		return domain.Errorf(domain.Denied, k.op, "GitHub refused the token (%s): it was revoked, has expired or is wrong", said)
	case r.status == http.StatusUnauthorized:
		return domain.Errorf(domain.Denied, k.op, "GitHub refused the credentials (%s): the token was revoked, the installation suspended or removed, or the App's key is wrong", said)
	case r.status == http.StatusForbidden && strings.Contains(text, "already running"):
		return invalid(domain.ErrExists)
	case r.status == http.StatusForbidden && (strings.Contains(text, "not accessible by integration") || strings.Contains(text, "not accessible by personal access token")):
		need := clean(r.header.Get("X-Accepted-GitHub-Permissions"))
		if need == "" {
			need = string(k.scope)
		}
		return c.lacks(k, need)
	case r.status == http.StatusForbidden, r.status == http.StatusUnavailableForLegalReasons:
		return domain.Errorf(domain.Denied, k.op, "GitHub answered %d: %s", r.status, said)
	case r.status == http.StatusNotFound:
		return invalid(domain.ErrNotFound)
	case r.status == http.StatusConflict && strings.Contains(text, "empty"):
		return invalid(domain.ErrNotFound)
	case r.status == http.StatusConflict:
		return invalid(domain.ErrConflict)
	case r.status == http.StatusGone:
		return invalid(domain.ErrGone)
	case r.status == http.StatusRequestEntityTooLarge:
		return invalid(domain.ErrTooLarge)
	case r.status == http.StatusUnprocessableEntity:
		return c.unprocessable(k, r, text, said, invalid)
	case r.status == http.StatusRequestTimeout, r.status >= 500:
		return domain.Errorf(domain.Transient, k.op, "GitHub answered %d: %s", r.status, said)
	case r.status >= 300 && r.status < 400:
		return domain.Errorf(domain.Invalid, k.op, "GitHub answered %d to an address outside of the API, which is not followed", r.status)
	}
	return domain.Errorf(domain.Invalid, k.op, "GitHub answered %d: %s", r.status, said)
}

// lacks is the error of a permission that isn't there.
func (c *Client) lacks(k call, need string) error {
	if c.hasToken() {
		return domain.Errorf(domain.Denied, k.op, "the token lacks a permission for this; needed: %s. Give it to the token in its settings", need)
	}
	return domain.Errorf(domain.Denied, k.op, "the App lacks a permission for this; needed: %s. Grant it in the App's settings and have the installation accept it", need)
}

func (c *Client) unprocessable(k call, r refusal, text, said string, invalid func(error) error) error {
	exists := strings.Contains(text, "already exists")
	for _, d := range r.details {
		exists = exists || d.Code == "already_exists"
	}
	switch {
	case exists:
		return invalid(domain.ErrExists)
	case strings.Contains(text, "does not exist"), strings.Contains(text, "no commit found"), strings.Contains(text, "not found"):
		return invalid(domain.ErrNotFound)
	case strings.Contains(text, "not supported in this repository"):
		return domain.Errorf(domain.Unsupported, k.op, "GitHub answered 422: %s", said)
	}
	return domain.Errorf(domain.Invalid, k.op, "GitHub answered %d: %s", r.status, said)
}

// limit reports whether r is one of GitHub's rate limits and until when. GitHub
// uses 403 and 429 for both kinds, and 422 for content that comes too quickly.
func (c *Client) limit(r refusal, text string) (at time.Time, kind string, ok bool) {
	now := c.cfg.Now()
	if r.status == http.StatusUnprocessableEntity && strings.Contains(text, "submitted too quickly") {
		return now.Add(secondaryPause), "secondary", true
	}
	if r.status != http.StatusForbidden && r.status != http.StatusTooManyRequests {
		return time.Time{}, "", false
	}
	if v := r.header.Get("Retry-After"); v != "" {
		if n, err := strconv.ParseInt(v, 10, 32); err == nil {
			return now.Add(time.Duration(n) * time.Second), "secondary", true
		}
		if t, err := http.ParseTime(v); err == nil {
			return t, "secondary", true
		}
	}
	if r.header.Get("X-RateLimit-Remaining") == "0" {
		if n, err := strconv.ParseInt(r.header.Get("X-RateLimit-Reset"), 10, 64); err == nil {
			return time.Unix(n, 0), "primary", true
		}
	}
	if r.status == http.StatusTooManyRequests || strings.Contains(text, "secondary rate limit") || strings.Contains(text, "abuse detection") ||
		strings.HasSuffix(r.docs, "secondary-rate-limits") || strings.HasSuffix(r.docs, "#abuse-rate-limits") {
		return now.Add(secondaryPause), "secondary", true
	}
	return time.Time{}, "", false
}

// mintRefused types the refusal of an installation token.
func (c *Client) mintRefused(k call, r refusal, limited limitFunc) error {
	text := strings.ToLower(r.message)
	if at, kind, ok := c.limit(r, text); ok {
		return limited(at, kind)
	}
	switch r.status {
	case http.StatusUnauthorized:
		return domain.Errorf(domain.Denied, k.op, "GitHub refused the App's credentials (%s): check the App's id, its private key and this machine's clock", clean(r.message))
	case http.StatusForbidden:
		return domain.Errorf(domain.Denied, k.op, "GitHub refused a token for installation %d (%s): the installation may be suspended", k.installation, clean(r.message))
	case http.StatusNotFound, http.StatusGone:
		return domain.Errorf(domain.Denied, k.op, "installation %d is not there any more: %w", k.installation, domain.ErrGone)
	case http.StatusUnprocessableEntity:
		if strings.Contains(text, "repositor") && !strings.Contains(text, "permission") {
			return domain.Errorf(domain.Invalid, k.op, "installation %d doesn't have repository %d: %w", k.installation, k.repo, domain.ErrNotFound)
		}
		return c.lacks(k, string(k.scope))
	}
	return c.refused(k, r, limited)
}

// readRefusal reads what a response says and closes it.
func readRefusal(resp *http.Response) refusal {
	defer func() { _ = resp.Body.Close() }()
	r := refusal{status: resp.StatusCode, header: resp.Header}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return r // the status says enough
	}
	var body gh.ErrorResponse
	if json.Unmarshal(b, &body) == nil {
		r.message, r.docs, r.details = body.Message, body.DocumentationURL, body.Errors
	}
	return r
}

func unauthorized(err error) bool {
	e, ok := errors.AsType[*gh.ErrorResponse](err)
	return ok && e.Response != nil && e.Response.StatusCode == http.StatusUnauthorized
}

// incomplete is a 2xx answer without what makes it one: go-github decodes an
// empty body as zero values.
func incomplete(op string) error {
	return domain.Errorf(domain.Transient, op, "the answer is incomplete")
}

var credential = regexp.MustCompile(`gh[a-z]_[A-Za-z0-9_.-]+|github_pat_[A-Za-z0-9_]+|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]+|(?i)\b(bearer|token)\s+[A-Za-z0-9_.-]{16,}|([?&](sig|signature|token|se|sp)=)[^&\s"]+`)

// clean makes a server's words fit for our errors: one bounded line without
// credentials.
func clean(s string) string {
	if len(s) > 4096 {
		s = s[:4096]
	}
	s = credential.ReplaceAllString(strings.ToValidUTF8(s, "?"), redacted)
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 300 {
		s = fmt.Sprintf("%s …", string(r[:300]))
	}
	return s
}

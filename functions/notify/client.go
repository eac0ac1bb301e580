package notify

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Bounds of an outbound request.
const (
	DefaultTimeout  = 10 * time.Second
	maxAnswer       = 4 << 10
	defaultRetry    = time.Minute
	longestRetry    = time.Hour
	shortestRetry   = time.Second
	maxRequestBytes = 256 << 10
)

// Client is the one way out for channels that speak HTTP. It follows no
// redirects, reads a bounded part of the answer, leaves a host that is down alone
// for a while, and its errors never hold a URL's path or query, since for chat
// services the URL is the secret.
type Client struct {
	http          *http.Client
	circuits      circuits
	allowLoopback bool
	allowHTTP     bool
	now           func() time.Time
}

// ClientSettings make a Client.
type ClientSettings struct {
	Timeout time.Duration // of a whole exchange; DefaultTimeout when zero
	// AllowLoopback lets plain http reach this machine, which tests and the demo
	// need. Everything else is https, unless AllowHTTP lets plain http reach any
	// host, such as a receiver inside of the same cluster.
	AllowLoopback bool
	AllowHTTP     bool
	Now           func() time.Time // the wall clock when nil
}

// NewClient makes a Client.
func NewClient(s ClientSettings) *Client {
	if s.Timeout <= 0 {
		s.Timeout = DefaultTimeout
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: s.Timeout}).DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    s.Timeout,
		MaxIdleConns:           4,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
	return &Client{
		http: &http.Client{
			Transport: transport,
			Timeout:   s.Timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
		circuits:      circuits{byHost: map[string]*circuit{}},
		allowLoopback: s.AllowLoopback,
		allowHTTP:     s.AllowHTTP,
		now:           s.Now,
	}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// check reports why a URL of the operator's is not one to post to. The error
// doesn't repeat it.
func (c *Client) check(op, raw string) error {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return domain.Errorf(domain.Invalid, op, "no URL is set")
	case err != nil || u.Host == "":
		return domain.Errorf(domain.Invalid, op, "the URL can't be read")
	case u.User != nil:
		return domain.Errorf(domain.Invalid, op, "the URL of host %s holds a user name or password: it would be logged on the way", u.Hostname())
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && (c.allowHTTP || c.allowLoopback && loopback(u.Hostname())):
		return nil
	default:
		return domain.Errorf(domain.Invalid, op, "the URL of host %s must begin with https://", u.Hostname())
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// shortReason is what an answer may say to be quoted: words such as Slack's
// "invalid_blocks", never something that could carry an echo of the request.
var shortReason = regexp.MustCompile(`^[a-z][a-z_]{2,40}$`)

// postJSON sends body and maps the answer to a domain error: 429 is RateLimited
// until Retry-After (a minute where it is missing, an hour at most), 408, 425,
// 5xx and broken connections are Transient, 401 and 403 Denied, everything else
// but 2xx, redirects included, Invalid. After several Transient ones in a row it
// sends nothing for a minute and is RateLimited until that is over.
func (c *Client) postJSON(ctx context.Context, op, rawURL string, header http.Header, body []byte) error {
	if err := c.check(op, rawURL); err != nil {
		return err
	}
	if len(body) > maxRequestBytes {
		return domain.Errorf(domain.Bug, op, "the message has %d bytes: %w", len(body), domain.ErrTooLarge)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, rawURL, bytes.NewReader(body))
	if err != nil {
		return domain.Errorf(domain.Invalid, op, "the URL can't be read")
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "mlops-bot")
	return c.send(ctx, op, req.URL.Host, func() error { return c.exchange(op, req) })
}

// exchange makes the request and reads what the answer comes to.
func (c *Client) exchange(op string, req *http.Request) error {
	res, err := c.http.Do(req)
	if err != nil {
		// A *url.Error repeats the whole URL.
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return domain.Errorf(domain.Transient, op, "reach %s: %w", req.URL.Hostname(), err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil && res.StatusCode < 300 {
		// It was accepted; an answer that breaks off doesn't take that back.
		err = nil
	}
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return err
	}
	reason := ""
	if s := strings.TrimSpace(string(answer)); shortReason.MatchString(s) && !strings.Contains(req.URL.String(), s) {
		reason = " (" + s + ")"
	}
	kind := domain.Invalid
	switch code := res.StatusCode; {
	case code == http.StatusTooManyRequests:
		e := domain.Errorf(domain.RateLimited, op, "%s answered %d%s", req.URL.Hostname(), code, reason)
		e.RetryAt = retryAt(res.Header.Get("Retry-After"), c.now())
		return e
	case code >= 500, code == http.StatusRequestTimeout, code == http.StatusTooEarly:
		kind = domain.Transient
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		kind = domain.Denied
	case code >= 300 && code < 400:
		reason = " (redirects are not followed: set the final URL)"
	}
	return domain.Errorf(kind, op, "%s answered %d%s", req.URL.Hostname(), res.StatusCode, reason)
}

// retryAt reads a Retry-After header, in seconds or as a date.
func retryAt(header string, now time.Time) time.Time {
	wait := defaultRetry
	if s, err := strconv.ParseInt(strings.TrimSpace(header), 10, 32); err == nil {
		wait = time.Duration(s) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		wait = at.Sub(now)
	}
	return now.Add(min(max(wait, shortestRetry), longestRetry))
}

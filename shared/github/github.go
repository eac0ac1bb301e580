// Package github is the bot's way to GitHub: authentication as an App, or with a
// token for a repository without one, and a thin adapter over go-github that
// speaks in values of the domain and in typed errors. It decides nothing about
// repairs. What it does decide is safety: an App's token is minted for one
// repository and one kind of operation, a token is sent to the API's own address
// only, every answer is bounded in size and time, reads are tried again a few
// times, writes never are, and nothing is asked of a GitHub that is down.
package github

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	gh "github.com/google/go-github/v62/github"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Bounds of what is read from GitHub. maxPages of perPage items are what a
// listing is followed for.
const (
	maxBody  = 20 << 20 // bytes of one JSON answer
	perPage  = 100
	maxPages = 10
	maxTries = 3 // of a read
)

// Secret is a value that never shows in logs, errors or JSON.
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

// Pacer spaces writes: GitHub wants one mutating call per installation at a time,
// at least a second apart, whichever pod makes it.
type Pacer interface {
	// Wait returns when the next mutating call of the installation may be made, or
	// with the reason why it may not. The caller calls done once its own call has
	// ended. Calls of the App itself, and all that are made with Config.Token, have
	// installation 0.
	Wait(ctx context.Context, installationID int64) (done func(), err error)
}

// Config is what a Client needs. AppID and PrivateKey are mandatory, or Token is;
// the rest has defaults.
type Config struct {
	AppID      int64
	PrivateKey Secret // PEM, PKCS #1 or PKCS #8
	// Token makes the Client act with a token of somebody's instead of as an App, for
	// one repository or a few: a personal access token, or one as an Actions job has.
	// There are no installations then: calls name installation 0, and what only an
	// App can do fails with ErrNeedsApp.
	Token Secret

	// APIURL is the REST API's root, e.g. https://api.github.com/ (the default) or
	// https://github.example.com/api/v3/. Nothing is appended to it but a missing
	// slash. GraphQLURL follows GitHub's layout where it is empty.
	APIURL     string
	GraphQLURL string
	// AllowInsecureHTTP permits an http API URL that is not on loopback; tokens then
	// cross the network in the clear.
	AllowInsecureHTTP bool

	// Timeout bounds one call (default 20 s), LogTimeout reading one whole log
	// (default 3 min).
	Timeout    time.Duration
	LogTimeout time.Duration
	// RetryInterval is the pause before a read's second try (default 300 ms); it
	// doubles, with jitter.
	RetryInterval time.Duration
	// MaxLogBytes bounds one log (default 512 MiB).
	MaxLogBytes int64
	// AllowedLogHosts are hosts that log downloads may be redirected to, besides
	// GitHub's own. A leading or inner * stands for part of one label or for one
	// whole label.
	AllowedLogHosts []string

	UserAgent string
	// HTTPTransport is the base of all connections; nil is a clone of the standard
	// library's.
	HTTPTransport http.RoundTripper
	// Pacer is asked before every mutating call; nil asks nobody.
	Pacer Pacer
	// Cache keeps answers, which GitHub is then only asked about; nil keeps none. An
	// answer holds what the repository's files and logs do: whoever reads the cache
	// reads them.
	Cache Cache
	// TokenCache keeps installation tokens until five minutes before their end, for
	// other processes and later ones; nil keeps each process' own in its memory. It
	// must encrypt and authenticate what it stores: a token in it can write.
	TokenCache Cache
	// OnRateLimit is told what is left of an installation's hourly limit, at most
	// every 15 s, and at once when it falls below 100 calls; installation 0 is the
	// App itself, or the token. It is called while a caller waits for its answer, so
	// it must not take long, and from several goroutines.
	OnRateLimit func(installationID int64, remaining, limit int, reset time.Time)
	// Now is the clock that RetryAt is reckoned with; nil is the real one.
	Now    func() time.Time
	Logger *slog.Logger // nil discards
}

// Client talks to GitHub as an App or with a token. It is safe for concurrent use.
type Client struct {
	cfg      Config
	key      *rsa.PrivateKey // nil with a token
	api      *url.URL        // with a trailing slash
	graphql  *url.URL
	base     http.RoundTripper
	logHosts []string
	clients  *clientCache
	circuits map[string]*circuit // by host
	limits   *limitReporter

	loginMu sync.Mutex
	login   string
}

// New checks cfg and makes a Client; it doesn't talk to GitHub. The error is
// Invalid and says what to set.
func New(cfg Config) (*Client, error) {
	const op = "set up the GitHub client"
	c := &Client{cfg: cfg, clients: newClientCache(maxClients), logHosts: append(defaultLogHosts(), cfg.AllowedLogHosts...)}
	if err := c.checkIdentity(op); err != nil {
		return nil, err
	}
	var err error
	if cfg.APIURL == "" {
		cfg.APIURL = "https://api.github.com/"
	}
	if c.api, err = parseBase(cfg.APIURL, cfg.AllowInsecureHTTP); err != nil {
		return nil, domain.Errorf(domain.Invalid, op, "read the API URL: %w", err)
	}
	if !strings.HasSuffix(c.api.Path, "/") {
		c.api.Path += "/"
	}
	if cfg.GraphQLURL == "" {
		cfg.GraphQLURL = graphQLURL(c.api)
	}
	if c.graphql, err = parseBase(cfg.GraphQLURL, cfg.AllowInsecureHTTP); err != nil {
		return nil, domain.Errorf(domain.Invalid, op, "read the GraphQL URL: %w", err)
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&c.cfg.Timeout, 20 * time.Second}, {&c.cfg.LogTimeout, 3 * time.Minute}, {&c.cfg.RetryInterval, 300 * time.Millisecond}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if c.cfg.MaxLogBytes <= 0 {
		c.cfg.MaxLogBytes = 512 << 20
	}
	if c.cfg.UserAgent == "" {
		c.cfg.UserAgent = "mlops-bot"
	}
	if c.cfg.Now == nil {
		c.cfg.Now = time.Now
	}
	if c.cfg.Logger == nil {
		c.cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c.base = cfg.HTTPTransport
	if c.base == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = 16
		t.ResponseHeaderTimeout = c.cfg.Timeout
		c.base = t
	}
	c.limits = &limitReporter{tell: cfg.OnRateLimit, now: c.cfg.Now, last: map[int64]limitReport{}}
	c.circuits = map[string]*circuit{}
	for _, u := range []*url.URL{c.api, c.graphql} {
		c.circuits[u.Host] = newCircuit(u.Host, outageAfter, outagePause)
	}
	return c, nil
}

// checkIdentity reads what the Client shall act as.
func (c *Client) checkIdentity(op string) (err error) {
	switch {
	case c.hasToken() && (c.cfg.AppID != 0 || c.cfg.PrivateKey != ""):
		return domain.Errorf(domain.Invalid, op, "there are both an App and a token: set one of them")
	case c.hasToken() && !isToken(string(c.cfg.Token)):
		return domain.Errorf(domain.Invalid, op, "the token is none: it holds blanks or line breaks, or is too long")
	case c.hasToken():
		return nil
	case c.cfg.AppID <= 0:
		return domain.Errorf(domain.Invalid, op, "the App's id is missing: set it from the App's settings page")
	}
	if c.key, err = parseKey(string(c.cfg.PrivateKey)); err != nil {
		return domain.Errorf(domain.Invalid, op, "read the App's private key: %w", err)
	}
	return nil
}

func parseKey(text string) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("it is not PEM: give the content of the .pem file that GitHub generated")
	}
	if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return k, nil
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		// The parser's error may describe bytes of the key.
		return nil, errors.New("it is neither a PKCS #1 nor a PKCS #8 RSA key")
	}
	key, ok := k.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("it is not an RSA key")
	}
	return key, nil
}

func parseBase(raw string, insecure bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("it is no URL")
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "":
		return nil, errors.New("it must begin with https:// and a host")
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return nil, errors.New("it must not hold credentials, a query or a fragment")
	case u.Scheme == "http" && !loopback(u.Hostname()) && !insecure:
		return nil, errors.New("it must be https, or on loopback: tokens would cross the network in the clear")
	}
	return u, nil
}

// graphQLURL is where GitHub serves GraphQL beside a REST root: .../api/v3/ has
// .../api/graphql, the public API and anything else has it under the root.
func graphQLURL(api *url.URL) string {
	u := *api
	if p, ok := strings.CutSuffix(u.Path, "/api/v3/"); ok {
		u.Path = p + "/api/graphql"
	} else {
		u.Path += "graphql"
	}
	return u.String()
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// call says what an exchange is for: errors name the operation, and the token is
// minted for exactly this installation, repository and scope.
type call struct {
	op           string
	installation int64
	repo         int64
	scope        scope
	graphql      bool // it goes to the GraphQL address
}

func on(op string, repo domain.Repo, s scope) call {
	return call{op: op, installation: repo.InstallationID, repo: repo.ID, scope: s}
}

// request makes one call within the time-out of one.
type request[T any] func(ctx context.Context, api *gh.Client) (T, error)

// read makes a call without effects, up to three times while its failure is
// Transient.
func read[T any](ctx context.Context, c *Client, k call, fn request[T]) (T, error) {
	return retry(ctx, c, k, func() (T, error) { return once(ctx, c, k, fn) })
}

// write makes a mutating call, once, when the pacer allows it. Nobody waits for a
// turn to call a GitHub that is down.
func write[T any](ctx context.Context, c *Client, k call, fn request[T]) (T, error) {
	if err := c.circuitOf(k).open(k, c.cfg.Now()); err != nil {
		var none T
		return none, err
	}
	if c.cfg.Pacer != nil {
		done, err := c.cfg.Pacer.Wait(ctx, c.account(k))
		if err != nil {
			var none T
			return none, c.fail(k, err)
		}
		defer done()
	}
	return once(ctx, c, k, fn)
}

// once makes a call and types its error. A 401 on a token that was minted for an
// earlier call means that it was revoked and nothing was done, so a fresh one is
// tried.
func once[T any](ctx context.Context, c *Client, k call, fn request[T]) (v T, err error) {
	err = c.authorized(k, func(api *gh.Client) error {
		return c.attempt(ctx, k, func() (err error) {
			tctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
			defer cancel()
			v, err = fn(tctx, api)
			return err
		})
	})
	if err != nil {
		var none T
		return none, c.fail(k, err)
	}
	return v, nil
}

func retry[T any](ctx context.Context, c *Client, k call, fn func() (T, error)) (T, error) {
	var v T
	var last error
	pause := &backoff.ExponentialBackOff{InitialInterval: c.cfg.RetryInterval, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 10 * c.cfg.RetryInterval}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		if v, last = fn(); last == nil {
			return struct{}{}, nil
		}
		// A transient absence (a log that isn't there yet) takes minutes: its caller
		// asks again.
		if domain.KindOf(last) != domain.Transient || errors.Is(last, domain.ErrNotFound) {
			return struct{}{}, backoff.Permanent(last)
		}
		c.cfg.Logger.DebugContext(ctx, "github call failed", "op", k.op, "installation_id", k.installation, "error", last)
		return struct{}{}, last
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(maxTries))
	if err == nil {
		return v, nil
	}
	var none T
	return none, last
}

// pages follows a listing to its end or for limit pages; more says that the
// listing goes on behind them.
func pages[T any](ctx context.Context, c *Client, k call, limit int, fetch func(ctx context.Context, api *gh.Client, o gh.ListOptions) ([]T, *gh.Response, error)) (all []T, more bool, err error) {
	for page, n := 1, 0; page > 0; n++ {
		if n == limit {
			return all, true, nil
		}
		type answer struct {
			items []T
			next  int
		}
		a, err := read(ctx, c, k, func(ctx context.Context, api *gh.Client) (answer, error) {
			items, resp, err := fetch(ctx, api, gh.ListOptions{Page: page, PerPage: perPage})
			if err != nil {
				return answer{}, err
			}
			return answer{items, resp.NextPage}, nil
		})
		if err != nil {
			return nil, false, err
		}
		all = append(all, a.items...)
		if a.next <= page { // also ends a server's circle
			break
		}
		page = a.next
	}
	return all, false, nil
}

// get asks for path below the API's root.
func get[T any](ctx context.Context, api *gh.Client, path string) (*T, *gh.Response, error) {
	req, err := api.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		return nil, nil, err
	}
	v := new(T)
	resp, err := api.Do(ctx, req, v)
	if err != nil {
		return nil, resp, err
	}
	return v, resp, nil
}

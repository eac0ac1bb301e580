package github

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	gh "github.com/google/go-github/v62/github"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// ErrNeedsApp is what an operation's error wraps that only an App can do, when the
// Client has a token instead; its kind is Unsupported.
var ErrNeedsApp = errors.New("only an App can do this, and the bot acts with a token")

const (
	// tokenSlack is how long before its end a token is given up, so that none ends
	// within a call or a log's download.
	tokenSlack = 5 * time.Minute
	// tokenLife is how long GitHub's installation tokens live.
	tokenLife = time.Hour
	// maxMint bounds the answer that holds a token, in bytes.
	maxMint = 1 << 20
)

// maxToken bounds a token, in bytes.
const maxToken = 4 << 10

var visible = regexp.MustCompile(`^[\x21-\x7e]+$`)

// isToken reports whether s may be sent as a token: it must not end its header.
func isToken(s string) bool { return len(s) <= maxToken && visible.MatchString(s) }

// tokenKeeper stands below ghinstallation and answers its request for a token
// from the cache, so that a process that was just started needn't have one
// minted. A token that GitHub refuses is replaced: see Client.renew.
type tokenKeeper struct {
	base  http.RoundTripper
	cache Cache
	key   string
	now   func() time.Time
	log   *slog.Logger
	// fresh has the next token minted whatever is kept.
	fresh atomic.Bool
	// reused says that the token in use was minted earlier and may have been revoked
	// since.
	reused atomic.Bool
}

var _ http.RoundTripper = (*tokenKeeper)(nil)

// keptToken is an installation token as it is kept; the cache encrypts it.
type keptToken struct {
	Version   int       `json:"version"`
	Key       string    `json:"key"` // under which it was kept
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (t *tokenKeeper) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPost || !strings.HasSuffix(req.URL.Path, "/access_tokens") {
		return t.base.RoundTrip(req)
	}
	ctx := req.Context()
	if !t.fresh.Load() {
		if value, ok := fetch(ctx, t.cache, t.log, t.key); ok {
			if kept, ok := t.decode(value); ok {
				if req.Body != nil {
					_ = req.Body.Close()
				}
				t.reused.Store(true)
				return minted(req, kept), nil
			}
		}
	}
	resp, err := t.base.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusCreated {
		return resp, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxMint))
	_ = resp.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("read the token: %w", err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	t.fresh.Store(false)
	t.reused.Store(false)
	var made keptToken
	if json.Unmarshal(body, &made) == nil {
		made.Version, made.Key = 1, t.key
		if value, err := json.Marshal(made); err == nil && t.usable(made) {
			keep(ctx, t.cache, t.log, t.key, value, min(made.ExpiresAt.Sub(t.now()), tokenLife)-tokenSlack)
		}
	}
	return resp, nil
}

// decode reads a kept token. One that has another key, another form or little
// time left is none.
func (t *tokenKeeper) decode(value []byte) (keptToken, bool) {
	var k keptToken
	if json.Unmarshal(value, &k) != nil || !t.usable(k) {
		return keptToken{}, false
	}
	return k, true
}

func (t *tokenKeeper) usable(k keptToken) bool {
	return k.Version == 1 && k.Key == t.key && isToken(k.Token) && k.ExpiresAt.Sub(t.now()) > tokenSlack
}

// minted is GitHub's answer with a token in it.
func minted(req *http.Request, k keptToken) *http.Response {
	body := fmt.Appendf(nil, `{"token":%q,"expires_at":%q}`, k.Token, k.ExpiresAt.UTC().Format(time.RFC3339))
	return &http.Response{
		Status: "201 Created", StatusCode: http.StatusCreated, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}
}

// bearer sends the operator's own token.
type bearer struct {
	base  http.RoundTripper
	token Secret
}

var _ http.RoundTripper = bearer{}

func (b bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context()) // a RoundTripper leaves the caller's request alone
	req.Header.Set("Authorization", "Bearer "+string(b.token))
	return b.base.RoundTrip(req)
}

// hasToken reports whether the Client acts with a token instead of as an App.
func (c *Client) hasToken() bool { return c.cfg.Token != "" }

// needsApp is the error of an operation that a token can't do, or nil.
func (c *Client) needsApp(k call) error {
	if c.hasToken() {
		return domain.Errorf(domain.Unsupported, k.op, "%w", ErrNeedsApp)
	}
	return nil
}

// tokenInfo asks GitHub whose the token is. A job's GITHUB_TOKEN has no user: its
// name is asked for through GraphQL, which knows it.
func (c *Client) tokenInfo(ctx context.Context) (App, error) {
	k := call{op: "find out whose the token is", scope: scopeApp}
	type user struct {
		Login   string `json:"login"`
		Name    string `json:"name"`
		HTMLURL string `json:"html_url"`
	}
	a, err := read(ctx, c, k, func(ctx context.Context, api *gh.Client) (App, error) {
		u, resp, err := get[user](ctx, api, "user")
		if err != nil {
			if e, ok := errors.AsType[*gh.ErrorResponse](err); ok && e.Response != nil && e.Response.StatusCode == http.StatusForbidden {
				if v, verr := c.viewer(ctx, api); verr != nil || v.Login != "" {
					return v, verr
				}
			}
			return App{}, err
		}
		return App{Slug: u.Login, Login: u.Login, Name: u.Name, HTMLURL: u.HTMLURL, Permissions: scopesGrant(resp.Header)}, nil
	})
	if err != nil {
		return App{}, err
	}
	if !login.MatchString(a.Login) {
		return App{}, incomplete(k.op)
	}
	return a, nil
}

func (c *Client) viewer(ctx context.Context, api *gh.Client) (App, error) {
	req, err := api.NewRequest(http.MethodPost, c.graphql.String(), map[string]string{"query": "{ viewer { login url } }"})
	if err != nil {
		return App{}, err
	}
	var answer struct {
		Data struct {
			Viewer struct {
				Login string `json:"login"`
				URL   string `json:"url"`
			} `json:"viewer"`
		} `json:"data"`
	}
	if _, err := api.Do(ctx, req, &answer); err != nil {
		return App{}, err
	}
	v := answer.Data.Viewer
	return App{Slug: v.Login, Login: v.Login, HTMLURL: v.URL}, nil
}

// scopesGrant are the permissions that a classic token's scopes come to. GitHub
// names them in every answer; of other tokens nothing can be known, which is nil.
func scopesGrant(h http.Header) map[string]string {
	values, ok := h["X-Oauth-Scopes"]
	if !ok {
		return nil
	}
	granted := map[string]string{}
	for one := range strings.SplitSeq(strings.Join(values, ","), ",") {
		switch strings.TrimSpace(one) {
		case "repo", "public_repo":
			for _, p := range []string{"actions", "checks", "contents", "issues", "pull_requests"} {
				granted[p] = "write"
			}
			granted["metadata"] = "read"
		case "workflow":
			granted["workflows"] = "write"
		}
	}
	return granted
}

// identity names who asks, for the keys of what is kept: never by a credential.
func (c *Client) identity(k call) []string {
	if c.hasToken() {
		return []string{c.api.String(), "token"}
	}
	return []string{
		c.api.String(), "app", strconv.FormatInt(c.cfg.AppID, 10), strconv.FormatInt(k.installation, 10), strconv.FormatInt(k.repo, 10), string(k.scope),
	}
}

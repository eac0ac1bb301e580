package github

import (
	"container/list"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/bradleyfalzon/ghinstallation/v2"
	gh "github.com/google/go-github/v62/github"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// scope is what a token may do: its permissions as GitHub names them, "name:read"
// or "name:write", sorted and separated by commas. It is comparable, since it is
// part of a cache key.
type scope string

// The scopes of all operations. Reading pull requests, issues and logs needs the
// first; no token that reads can write.
const (
	scopeApp       scope = "" // the App itself: a signed JWT, no installation token
	scopeRead      scope = "actions:read,contents:read,issues:read,metadata:read,pull_requests:read"
	scopeContents  scope = "contents:write,metadata:read"
	scopeWorkflows scope = "contents:write,metadata:read,workflows:write"
	scopePulls     scope = "contents:read,metadata:read,pull_requests:write"
	scopeReady     scope = "contents:write,metadata:read,pull_requests:write" // GitHub wants both for the GraphQL mutation
	scopeComments  scope = "issues:write,metadata:read,pull_requests:write"
	scopeIssues    scope = "issues:write,metadata:read"
	scopeActions   scope = "actions:write,metadata:read"
)

func (s scope) permissions() *gh.InstallationPermissions {
	p := &gh.InstallationPermissions{}
	for one := range strings.SplitSeq(string(s), ",") {
		name, access, _ := strings.Cut(one, ":")
		switch name {
		case "actions":
			p.Actions = &access
		case "contents":
			p.Contents = &access
		case "issues":
			p.Issues = &access
		case "metadata":
			p.Metadata = &access
		case "pull_requests":
			p.PullRequests = &access
		case "workflows":
			p.Workflows = &access
		}
	}
	return p
}

// maxClients bounds the kept clients; each holds one token.
const maxClients = 512

type clientKey struct {
	installation, repo int64
	scope              scope
}

type clientEntry struct {
	key    clientKey
	api    *gh.Client
	tokens *tokenKeeper // nil where tokens are kept nowhere else
}

// reused reports whether the client's token came from the cache.
func (e *clientEntry) reused() bool { return e.tokens != nil && e.tokens.reused.Load() }

// clientCache keeps the least recently used clients, each with its transport and
// its token.
type clientCache struct {
	mu    sync.Mutex
	limit int
	order *list.List // of *clientEntry, latest first
	byKey map[clientKey]*list.Element
}

func newClientCache(limit int) *clientCache {
	return &clientCache{limit: limit, order: list.New(), byKey: map[clientKey]*list.Element{}}
}

func (cc *clientCache) get(k clientKey, dial func() *clientEntry) (e *clientEntry, kept bool) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if at, ok := cc.byKey[k]; ok {
		cc.order.MoveToFront(at)
		return at.Value.(*clientEntry), true
	}
	e = dial()
	cc.put(e)
	return e, false
}

// replace has e used instead of what has its key.
func (cc *clientCache) replace(e *clientEntry) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if at, ok := cc.byKey[e.key]; ok {
		cc.order.Remove(at)
		delete(cc.byKey, e.key)
	}
	cc.put(e)
}

func (cc *clientCache) put(e *clientEntry) {
	cc.byKey[e.key] = cc.order.PushFront(e)
	if cc.order.Len() > cc.limit {
		last := cc.order.Back()
		cc.order.Remove(last)
		delete(cc.byKey, last.Value.(*clientEntry).key)
	}
}

// account is whose limits a call counts against: an installation, or 0 for the
// App itself and for a token.
func (c *Client) account(k call) int64 {
	if c.hasToken() {
		return 0
	}
	return k.installation
}

// clientKey is what a call's client is kept under. A token is one client, whatever the
// call is for.
func (c *Client) clientKey(k call) clientKey {
	if c.hasToken() {
		return clientKey{}
	}
	return clientKey{k.installation, k.repo, k.scope}
}

// client returns the client for a call and whether it was kept from an earlier
// one, so that its token may have been revoked meanwhile.
func (c *Client) client(k call) (e *clientEntry, kept bool, err error) {
	if k.scope != scopeApp && (k.repo <= 0 || k.installation <= 0 && !c.hasToken()) {
		return nil, false, domain.Errorf(domain.Invalid, "choose a token", "installation %d and repository %d don't name a repository", k.installation, k.repo)
	}
	e, kept = c.clients.get(c.clientKey(k), func() *clientEntry { return c.dial(k) })
	return e, kept, nil
}

// renew replaces a client whose token was refused by one that has a new token
// minted.
func (c *Client) renew(k call) *clientEntry {
	e := c.dial(k)
	if e.tokens != nil {
		e.tokens.fresh.Store(true)
	}
	c.clients.replace(e)
	return e
}

// authorized calls fn with the client for a call, and again with a new token when
// GitHub refuses the one that it had.
func (c *Client) authorized(k call, fn func(*gh.Client) error) error {
	e, kept, err := c.client(k)
	if err != nil {
		return err
	}
	err = fn(e.api)
	if unauthorized(err) && !c.hasToken() && (kept || e.reused()) {
		return fn(c.renew(k).api)
	}
	return err
}

func (c *Client) dial(k call) *clientEntry {
	e := &clientEntry{key: c.clientKey(k)}
	network := c.base
	if c.cfg.Cache != nil {
		network = &revalidator{base: network, cache: c.cfg.Cache, identity: strings.Join(c.identity(k), " "), log: c.cfg.Logger}
	}
	var base http.RoundTripper = &guard{base: network, api: c.api, graphql: c.graphql, userAgent: c.cfg.UserAgent, limits: c.limits, installation: c.account(k)}
	if c.cfg.TokenCache != nil && !c.hasToken() && k.scope != scopeApp {
		e.tokens = &tokenKeeper{base: base, cache: c.cfg.TokenCache, key: cacheKey("token", c.identity(k)...), now: c.cfg.Now, log: c.cfg.Logger}
		base = e.tokens
	}
	e.api = gh.NewClient(&http.Client{
		Transport: c.authenticate(k, base),
		// The guard follows what may be followed. A redirect that comes up to here
		// leaves the API and would take the token along.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	e.api.BaseURL = c.api
	e.api.UserAgent = c.cfg.UserAgent
	return e
}

// authenticate adds to requests what they show to be let in.
func (c *Client) authenticate(k call, base http.RoundTripper) http.RoundTripper {
	if c.hasToken() {
		return bearer{base: base, token: c.cfg.Token}
	}
	// Each gets an apps transport of its own: ghinstallation writes to it whenever it
	// mints a token, without a lock.
	app := ghinstallation.NewAppsTransportFromPrivateKey(base, c.cfg.AppID, c.key)
	app.BaseURL = strings.TrimSuffix(c.api.String(), "/")
	if k.scope == scopeApp {
		return app
	}
	inst := ghinstallation.NewFromAppsTransport(app, k.installation)
	inst.InstallationTokenOptions = &gh.InstallationTokenOptions{RepositoryIDs: []int64{k.repo}, Permissions: k.scope.permissions()}
	return inst
}

var (
	ownerName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)
	login     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}(\[bot\])?$`)
	objectID  = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
)

// Names become parts of URLs, and some come from strangers.

func checkRepo(op string, r domain.Repo) error {
	for _, part := range []string{r.Owner(), r.Name()} {
		if !ownerName.MatchString(part) || part == "." || part == ".." {
			return domain.Errorf(domain.Invalid, op, "%q is not the name of a repository", r.FullName)
		}
	}
	return nil
}

func checkSHA(op, sha string) error {
	if !objectID.MatchString(sha) {
		return domain.Errorf(domain.Invalid, op, "%q is not an object id", sha)
	}
	return nil
}

// checkBranch holds git's own rules for ref names.
func checkBranch(op, name string) error {
	bad := name == "" || len(name) > 255 || strings.HasPrefix(name, "-") || strings.HasSuffix(name, ".") ||
		strings.Contains(name, "..") || strings.Contains(name, "@{") || name == "@" ||
		strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`~^:?*[\`, r) })
	for part := range strings.SplitSeq(name, "/") {
		bad = bad || part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock")
	}
	if bad {
		return domain.Errorf(domain.Invalid, op, "%q is not a branch name", name)
	}
	return nil
}

// writeScope is what pushing these paths needs.
func writeScope(touchesWorkflows bool) scope {
	if touchesWorkflows {
		return scopeWorkflows
	}
	return scopeContents
}

func touchesWorkflows(files []domain.File) bool {
	return slices.ContainsFunc(files, func(f domain.File) bool { return domain.IsWorkflowPath(f.Path) })
}

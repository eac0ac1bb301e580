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
	key clientKey
	api *gh.Client
}

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

func (cc *clientCache) get(k clientKey, dial func() *gh.Client) (api *gh.Client, kept bool) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if e, ok := cc.byKey[k]; ok {
		cc.order.MoveToFront(e)
		return e.Value.(*clientEntry).api, true
	}
	api = dial()
	cc.byKey[k] = cc.order.PushFront(&clientEntry{key: k, api: api})
	if cc.order.Len() > cc.limit {
		last := cc.order.Back()
		cc.order.Remove(last)
		delete(cc.byKey, last.Value.(*clientEntry).key)
	}
	return api, false
}

func (cc *clientCache) drop(k call) {
	key := clientKey{k.installation, k.repo, k.scope}
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if e, ok := cc.byKey[key]; ok {
		cc.order.Remove(e)
		delete(cc.byKey, key)
	}
}

// client returns the client for a call and whether it was kept from an earlier
// one, so that its token may have been revoked meanwhile.
func (c *Client) client(k call) (api *gh.Client, kept bool, err error) {
	if k.scope != scopeApp && (k.installation <= 0 || k.repo <= 0) {
		return nil, false, domain.Errorf(domain.Invalid, "choose a token", "installation %d and repository %d don't name a repository", k.installation, k.repo)
	}
	api, kept = c.clients.get(clientKey{k.installation, k.repo, k.scope}, func() *gh.Client { return c.dial(k) })
	return api, kept, nil
}

func (c *Client) dial(k call) *gh.Client {
	base := &guard{base: c.base, api: c.api, graphql: c.graphql, userAgent: c.cfg.UserAgent, observe: c.cfg.Observe, installation: k.installation}
	// Each gets an apps transport of its own: ghinstallation writes to it whenever it
	// mints a token, without a lock.
	app := ghinstallation.NewAppsTransportFromPrivateKey(base, c.cfg.AppID, c.key)
	app.BaseURL = strings.TrimSuffix(c.api.String(), "/")
	var auth http.RoundTripper = app
	if k.scope != scopeApp {
		inst := ghinstallation.NewFromAppsTransport(app, k.installation)
		inst.InstallationTokenOptions = &gh.InstallationTokenOptions{RepositoryIDs: []int64{k.repo}, Permissions: k.scope.permissions()}
		auth = inst
	}
	api := gh.NewClient(&http.Client{
		Transport: auth,
		// The guard follows what may be followed. A redirect that comes up to here
		// leaves the API and would take the token along.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	api.BaseURL = c.api
	api.UserAgent = c.cfg.UserAgent
	return api
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

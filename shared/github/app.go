package github

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	gh "github.com/google/go-github/v62/github"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// maxDeliveryPages bounds how far back the App's deliveries are read.
const maxDeliveryPages = 50

// App is what GitHub knows about the App, or about the owner of the token that
// the Client acts with instead.
type App struct {
	ID   int64  // 0 for a token
	Slug string // the owner's login for a token
	Name string
	// Login is the login that is acted under: comments, issues and pull requests of
	// the bot's bear it.
	Login string
	// Permissions maps GitHub's names to "read", "write" or "admin". nil says that
	// they can't be known: GitHub tells them of Apps and of classic tokens only.
	Permissions map[string]string
	Events      []string // none for a token: the repository's webhook has them
	HTMLURL     string
}

// Installation is one account's installation of the App.
type Installation struct {
	ID          int64  // 0 stands for the repositories that a token reaches
	Account     string // login
	AllRepos    bool   // all of the account's repositories, not selected ones
	Suspended   bool
	Permissions map[string]string
	Events      []string
}

// HookDelivery is a webhook delivery of the App of which no attempt succeeded.
type HookDelivery struct {
	ID             int64 // of its latest attempt: what Redeliver takes
	GUID           string
	Event          string
	Action         string
	InstallationID int64
	RepoID         int64
	StatusCode     int // of the latest attempt; 0 when nothing answered
	Attempts       int // seen
	DeliveredAt    time.Time
}

// appWire keeps permissions as a map: new ones appear by their names.
type appWire struct {
	ID          int64             `json:"id"`
	Slug        string            `json:"slug"`
	Name        string            `json:"name"`
	Permissions map[string]string `json:"permissions"`
	Events      []string          `json:"events"`
	HTMLURL     string            `json:"html_url"`
}

// AppInfo asks GitHub who the App is; that it answers proves the App's key. With
// a token it says whose that is.
func (c *Client) AppInfo(ctx context.Context) (App, error) {
	if c.hasToken() {
		return c.tokenInfo(ctx)
	}
	k := call{op: "read the App", scope: scopeApp}
	a, err := read(ctx, c, k, func(ctx context.Context, api *gh.Client) (*appWire, error) {
		a, _, err := get[appWire](ctx, api, "app")
		return a, err
	})
	if err != nil {
		return App{}, err
	}
	if a.ID != c.cfg.AppID || a.Slug == "" {
		return App{}, incomplete(k.op)
	}
	return App{
		ID: a.ID, Slug: a.Slug, Name: a.Name, Login: a.Slug + "[bot]", Permissions: a.Permissions, Events: a.Events, HTMLURL: a.HTMLURL,
	}, nil
}

// bot returns the login that the bot writes under, which is asked for once.
func (c *Client) bot(ctx context.Context) (string, error) {
	c.loginMu.Lock()
	name := c.login
	c.loginMu.Unlock()
	if name != "" {
		return name, nil
	}
	a, err := c.AppInfo(ctx)
	if err != nil {
		return "", err
	}
	c.loginMu.Lock()
	c.login = a.Login
	c.loginMu.Unlock()
	return a.Login, nil
}

// Installations lists where the App is installed, at most 1,000. A token comes to
// one installation without an id, of the token's owner.
func (c *Client) Installations(ctx context.Context) ([]Installation, error) {
	if c.hasToken() {
		a, err := c.tokenInfo(ctx)
		if err != nil {
			return nil, err
		}
		return []Installation{{Account: a.Login, Permissions: a.Permissions}}, nil
	}
	k := call{op: "list the App's installations", scope: scopeApp}
	type wire struct {
		ID                  int64             `json:"id"`
		Account             *gh.User          `json:"account"`
		RepositorySelection string            `json:"repository_selection"`
		SuspendedAt         *gh.Timestamp     `json:"suspended_at"`
		Permissions         map[string]string `json:"permissions"`
		Events              []string          `json:"events"`
	}
	all, _, err := pages(ctx, c, k, maxPages, func(ctx context.Context, api *gh.Client, o gh.ListOptions) ([]wire, *gh.Response, error) {
		q := url.Values{"page": {strconv.Itoa(o.Page)}, "per_page": {strconv.Itoa(o.PerPage)}}
		page, resp, err := get[[]wire](ctx, api, "app/installations?"+q.Encode())
		if err != nil {
			return nil, resp, err
		}
		return *page, resp, nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]Installation, 0, len(all))
	for _, i := range all {
		out = append(out, Installation{
			ID: i.ID, Account: i.Account.GetLogin(), AllRepos: i.RepositorySelection == "all", Suspended: i.SuspendedAt != nil,
			Permissions: i.Permissions, Events: i.Events,
		})
	}
	return out, nil
}

// FailedDeliveries lists the App's webhook deliveries since then of which no
// attempt succeeded, oldest first. GitHub doesn't redeliver by itself. It lists
// newest first, so that a later success is always seen before what it makes good.
// With a token the error wraps ErrNeedsApp.
func (c *Client) FailedDeliveries(ctx context.Context, since time.Time) ([]HookDelivery, error) {
	k := call{op: "list the App's deliveries", scope: scopeApp}
	if err := c.needsApp(k); err != nil {
		return nil, err
	}
	failed := map[string]*HookDelivery{}
	good := map[string]bool{}
	cursor := ""
	for range maxDeliveryPages {
		type answer struct {
			items  []*gh.HookDelivery
			cursor string
		}
		a, err := read(ctx, c, k, func(ctx context.Context, api *gh.Client) (answer, error) {
			items, resp, err := api.Apps.ListHookDeliveries(ctx, &gh.ListCursorOptions{PerPage: perPage, Cursor: cursor})
			if err != nil {
				return answer{}, err
			}
			return answer{items, resp.Cursor}, nil
		})
		if err != nil {
			return nil, err
		}
		old := false
		for _, d := range a.items {
			if d.GetDeliveredAt().Before(since) {
				old = true
				continue
			}
			guid := d.GetGUID()
			if code := d.GetStatusCode(); code >= 200 && code < 300 {
				good[guid] = true
				continue
			}
			if f := failed[guid]; f != nil {
				f.Attempts++
				continue
			}
			failed[guid] = &HookDelivery{
				ID: d.GetID(), GUID: guid, Event: d.GetEvent(), Action: d.GetAction(), InstallationID: d.GetInstallationID(), RepoID: d.GetRepositoryID(),
				StatusCode: d.GetStatusCode(), Attempts: 1, DeliveredAt: d.GetDeliveredAt().Time,
			}
		}
		if old || a.cursor == "" || a.cursor == cursor {
			break
		}
		cursor = a.cursor
	}
	out := make([]HookDelivery, 0, len(failed))
	for guid, d := range failed {
		if !good[guid] && d.ID != 0 {
			out = append(out, *d)
		}
	}
	slices.SortFunc(out, func(a, b HookDelivery) int {
		if n := a.DeliveredAt.Compare(b.DeliveredAt); n != 0 {
			return n
		}
		return strings.Compare(a.GUID, b.GUID)
	})
	return out, nil
}

// Redeliver has GitHub send a delivery again, under the GUID that it had. With a
// token the error wraps ErrNeedsApp.
func (c *Client) Redeliver(ctx context.Context, id int64) error {
	k := call{op: "have a delivery sent again", scope: scopeApp}
	if err := c.needsApp(k); err != nil {
		return err
	}
	_, err := write(ctx, c, k, func(ctx context.Context, api *gh.Client) (struct{}, error) {
		_, _, err := api.Apps.RedeliverHookDelivery(ctx, id)
		if _, ok := errors.AsType[*gh.AcceptedError](err); ok {
			return struct{}{}, nil // 202 is this endpoint's success
		}
		return struct{}{}, err
	})
	return err
}

// ManifestOptions are what differs between installations of the bot.
type ManifestOptions struct {
	Name string // at most 34 characters; "" is mlops-bot
	// BaseURL is where the bot's webhook function is reached.
	BaseURL string
	// Workflows asks for the permission to edit files under .github/workflows.
	Workflows bool
	Public    bool
}

// SubscribedEvents are the webhook events that the App's manifest subscribes to.
// GitHub sends installation, installation_repositories and ping to every App.
func SubscribedEvents() []string {
	return []string{"check_run", "issue_comment", "issues", "pull_request", "push", "workflow_run"}
}

// Manifest is the App's manifest as GitHub's "create from manifest" takes it. The
// error is Invalid for a base URL that GitHub can't deliver to.
func Manifest(o ManifestOptions) ([]byte, error) {
	const op = "write the App's manifest"
	u, err := url.Parse(o.BaseURL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, domain.Errorf(domain.Invalid, op, "%q is not the URL of a server", o.BaseURL)
	}
	if o.Name == "" {
		o.Name = "mlops-bot"
	}
	if len(o.Name) > 34 {
		return nil, domain.Errorf(domain.Invalid, op, "GitHub takes names of at most 34 characters, %q has %d", o.Name, len(o.Name))
	}
	permissions := map[string]string{
		"actions": "write", "checks": "read", "contents": "write", "issues": "write", "metadata": "read", "pull_requests": "write",
	}
	if o.Workflows {
		permissions["workflows"] = "write"
	}
	base := strings.TrimRight(u.String(), "/")
	return json.MarshalIndent(map[string]any{
		"name":                o.Name,
		"url":                 base,
		"description":         "Notices when an ML pipeline breaks, finds out why, and proposes a repair that is proved by the pipeline itself.",
		"public":              o.Public,
		"hook_attributes":     map[string]any{"url": base + "/webhooks/github", "active": true},
		"default_permissions": permissions,
		"default_events":      SubscribedEvents(),
	}, "", "  ")
}

package github

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	gh "github.com/google/go-github/v62/github"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func TestTokensAreShared(t *testing.T) {
	t.Parallel()
	tokens := []string{"ghs_first", "ghs_second", "ghs_third", "ghs_fourth"}
	refused := map[string]bool{}
	a := newAPI(t, map[string]http.HandlerFunc{pullPath: func(w http.ResponseWriter, r *http.Request) {
		if refused[strings.TrimPrefix(r.Header.Get("Authorization"), "token ")] {
			answer(401, `{"message":"Bad credentials"}`)(w, r)
			return
		}
		answer(200, pullJSON("open"))(w, r)
	}})
	life := time.Hour
	a.mint = func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"token":%q,"expires_at":%q}`, tokens[len(a.minted)-1], time.Now().Add(life).Format(time.RFC3339))
	}
	cache := newMemory()
	ask := func(repo domain.Repo, minted int) {
		t.Helper()
		c := a.client(t, func(c *Config) { c.TokenCache, c.Now = cache, time.Now }) // a process of its own
		for range 2 {
			if _, err := c.Pull(t.Context(), repo, 4); err != nil {
				t.Error(err)
			}
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.minted) != minted {
			t.Errorf("%d tokens were minted, want %d", len(a.minted), minted)
		}
	}
	ask(testRepo, 1)
	ask(testRepo, 1)
	for k, ttl := range cache.ttls {
		if ttl > life-tokenSlack || ttl < life-tokenSlack-time.Minute || strings.Contains(k, "ghs") {
			t.Errorf("%s is kept for %s", k, ttl)
		}
	}
	other := testRepo
	other.ID = 23
	ask(other, 2)

	// A token that was revoked meanwhile is replaced, for everybody.
	a.mu.Lock()
	refused["ghs_first"] = true
	a.mu.Unlock()
	ask(testRepo, 3)
	ask(testRepo, 3)

	// One that can't be read, or ends soon, is none.
	cache.damage(func(string, []byte) []byte { return []byte("{") })
	life = tokenSlack - time.Second
	ask(testRepo, 4)
	if v := cache.all(); len(v) != 2 || strings.Contains(fmt.Sprintf("%s", v), "ghs_fourth") {
		t.Errorf("a token that ends soon is kept: %s", v)
	}
}

// TestKeptTokens: what is kept is looked at before it is sent.
func TestKeptTokens(t *testing.T) {
	t.Parallel()
	k := &tokenKeeper{key: "k", now: func() time.Time { return testNow }}
	good := keptToken{Version: 1, Key: "k", Token: "ghs_x", ExpiresAt: testNow.Add(6 * time.Minute)}
	cases := map[string]struct {
		change func(*keptToken)
		ok     bool
	}{
		"good":            {func(*keptToken) {}, true},
		"ends soon":       {func(t *keptToken) { t.ExpiresAt = testNow.Add(tokenSlack) }, false},
		"has ended":       {func(t *keptToken) { t.ExpiresAt = testNow.Add(-time.Hour) }, false},
		"no end":          {func(t *keptToken) { t.ExpiresAt = time.Time{} }, false},
		"another form":    {func(t *keptToken) { t.Version = 2 }, false},
		"another's":       {func(t *keptToken) { t.Key = "other" }, false},
		"empty":           {func(t *keptToken) { t.Token = "" }, false},
		"a second line":   {func(t *keptToken) { t.Token = "ghs_x\r\nX-Evil: 1" }, false},
		"far too long":    {func(t *keptToken) { t.Token = strings.Repeat("x", maxToken+1) }, false},
		"with a quote \"": {func(t *keptToken) { t.Token = `gh"s\x` }, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kept := good
			tc.change(&kept)
			value, err := json.Marshal(kept)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := k.decode(value)
			if ok != tc.ok || ok && got != kept {
				t.Fatalf("got %+v %v", got, ok)
			}
			if ok { // ghinstallation reads it as GitHub's answer
				var back keptToken
				resp := minted(nil, got)
				defer resp.Body.Close()
				if err := json.NewDecoder(resp.Body).Decode(&back); err != nil || back.Token != kept.Token || !back.ExpiresAt.Equal(kept.ExpiresAt) {
					t.Errorf("%+v %v", back, err)
				}
			}
		})
	}
}

// TestRefusedTwice: a new token that is refused too is the end.
func TestRefusedTwice(t *testing.T) {
	t.Parallel()
	a := newAPI(t, map[string]http.HandlerFunc{pullPath: answer(401, `{"message":"Bad credentials"}`)})
	cache := newMemory()
	for _, minted := range []int{1, 2} { // the second process begins with the first one's
		c := a.client(t, func(c *Config) { c.TokenCache, c.Now = cache, time.Now })
		if _, err := c.Pull(t.Context(), testRepo, 4); domain.KindOf(err) != domain.Denied || len(a.minted) != minted {
			t.Errorf("%d tokens: %v", len(a.minted), err)
		}
	}
}

func FuzzKeptToken(f *testing.F) {
	f.Add([]byte(`{"version":1,"key":"k","token":"ghs_x","expires_at":"2027-01-02T03:04:05Z"}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, value []byte) {
		k := &tokenKeeper{key: "k", now: func() time.Time { return testNow }}
		if got, ok := k.decode(value); ok && (!isToken(got.Token) || got.Key != "k" || !got.ExpiresAt.After(testNow)) {
			t.Errorf("%+v", got)
		}
	})
}

const ownToken = "github_pat_TheOwnersToken0123456789"

func (a *api) tokenClient(t *testing.T, change ...func(*Config)) *Client {
	t.Helper()
	return a.client(t, append([]func(*Config){func(c *Config) { c.AppID, c.PrivateKey, c.Token = 0, "", ownToken }}, change...)...)
}

// ownRepo is the repository as it is without an App.
var ownRepo = domain.Repo{ID: 22, FullName: "octo/train", DefaultBranch: "main"}

// asOwner answers only who shows the owner's token.
func asOwner(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+ownToken {
			answer(401, `{"message":"Requires authentication"}`)(w, r)
			return
		}
		h(w, r)
	}
}

func TestTokenInsteadOfAnApp(t *testing.T) {
	t.Parallel()
	const marker = "<!-- mlops-bot:inc-1 -->"
	var sent string
	a := newAPI(t, map[string]http.HandlerFunc{
		"GET /user":            asOwner(answer(200, `{"login":"mona","name":"Mona Lisa","html_url":"https://github.example/mona"}`)),
		"GET /repositories/22": asOwner(answer(200, `{"id":22,"full_name":"octo/train","default_branch":"main"}`)),
		pullPath:               asOwner(answer(200, pullJSON("open"))),
		logPath:                asOwner(answer(200, "hello\n")),
		"GET /repos/octo/train/issues/4/comments":   asOwner(answer(200, fmt.Sprintf(`[{"id":1,"body":%q,"user":{"login":"mallory"}},{"id":2,"body":%q,"user":{"login":"mona"}}]`, marker, marker))),
		"PATCH /repos/octo/train/issues/comments/2": asOwner(echo(&sent, 200, `{"id":2,"html_url":"u"}`)),
		"POST /graphql": asOwner(answer(200, `{"data":{"markPullRequestReadyForReview":{"pullRequest":{"isDraft":false}}}}`)),
	})
	p := &pacer{}
	cache := newMemory()
	var told []int64
	c := a.tokenClient(t, func(c *Config) {
		c.Pacer, c.Cache, c.TokenCache = p, cache, cache
		c.OnRateLimit = func(id int64, _, _ int, _ time.Time) { told = append(told, id) }
	})
	ctx := t.Context()
	a.routes[pullPath] = asOwner(answer(200, pullJSON("open"), "X-RateLimit-Remaining", "9", "X-RateLimit-Limit", "5000", "X-RateLimit-Reset", "1793880000"))
	repo, err := c.Repo(ctx, 0, 22)
	if diff := cmp.Diff(ownRepo, repo); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	if _, err := c.Pull(ctx, repo, 4); err != nil {
		t.Error(err)
	}
	// Rows from when there was an App name their installation still.
	if _, err := c.Pull(ctx, testRepo, 4); err != nil {
		t.Error(err)
	}
	if err := c.MarkReady(ctx, repo, "PR_4"); err != nil {
		t.Error(err)
	}
	log, err := c.JobLog(ctx, repo, 5)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(log); err != nil || string(b) != "hello\n" {
		t.Error(string(b), err)
	}
	_ = log.Close()
	if u, err := c.UpsertComment(ctx, repo, 4, marker, "new"); err != nil || u != "u" || !strings.Contains(sent, "new") {
		t.Error(u, sent, err)
	}
	if err := c.Redeliver(ctx, 1); !errors.Is(err, ErrNeedsApp) || domain.KindOf(err) != domain.Unsupported {
		t.Error(err)
	}
	if _, err := c.FailedDeliveries(ctx, testNow); !errors.Is(err, ErrNeedsApp) || domain.KindOf(err) != domain.Unsupported {
		t.Error(err)
	}
	installs, err := c.Installations(ctx)
	if diff := cmp.Diff([]Installation{{Account: "mona"}}, installs); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if len(a.minted) != 0 {
		t.Errorf("tokens were minted: %v", a.minted)
	}
	if diff := cmp.Diff([]int64{0, 0}, p.asked); diff != "" {
		t.Errorf("the pacer: %s", diff)
	}
	if diff := cmp.Diff([]int64{0}, told); diff != "" {
		t.Errorf("the rate limit: %s", diff)
	}
	if _, err := c.Pull(ctx, domain.Repo{FullName: "octo/train"}, 4); domain.KindOf(err) != domain.Invalid {
		t.Errorf("a repository without an id: %v", err)
	}
	for k, v := range cache.all() {
		if strings.Contains(k+string(v), ownToken) {
			t.Errorf("the token is kept: %s %s", k, v)
		}
	}
}

func TestWhoseTheTokenIs(t *testing.T) {
	t.Parallel()
	const user = `{"login":"mona","name":"Mona Lisa","html_url":"https://github.example/mona"}`
	mona := App{Slug: "mona", Login: "mona", Name: "Mona Lisa", HTMLURL: "https://github.example/mona"}
	granted := func(a App, p map[string]string) App { a.Permissions = p; return a }
	refused := answer(403, `{"message":"Resource not accessible by integration"}`)
	cases := map[string]struct {
		user, viewer http.HandlerFunc
		want         App
		kind         domain.ErrKind
	}{
		"fine-grained": {answer(200, user), nil, mona, ""},
		"classic": {answer(200, user, "X-OAuth-Scopes", "repo, workflow"), nil, granted(mona, map[string]string{
			"actions": "write", "checks": "write", "contents": "write", "issues": "write", "pull_requests": "write", "metadata": "read", "workflows": "write",
		}), ""},
		"classic without any":  {answer(200, user, "X-OAuth-Scopes", ""), nil, granted(mona, map[string]string{}), ""},
		"a job's":              {refused, answer(200, `{"data":{"viewer":{"login":"github-actions[bot]","url":"u"}}}`), App{Slug: "github-actions[bot]", Login: "github-actions[bot]", HTMLURL: "u"}, ""},
		"a job's that is mute": {refused, answer(200, `{"errors":[{"message":"no"}]}`), App{}, domain.Denied},
		"a job's and 500":      {refused, answer(500, ``), App{}, domain.Transient},
		"revoked":              {answer(401, `{"message":"Bad credentials"}`), nil, App{}, domain.Denied},
		"nobody":               {answer(200, `{}`), nil, App{}, domain.Transient},
		"a login that climbs":  {answer(200, `{"login":"../x"}`), nil, App{}, domain.Transient},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, map[string]http.HandlerFunc{"GET /user": asOwner(tc.user)})
			if tc.viewer != nil {
				a.routes["POST /graphql"] = asOwner(tc.viewer)
			}
			got, err := a.tokenClient(t).AppInfo(t.Context())
			if diff := cmp.Diff(tc.want, got); diff != "" || domain.KindOf(err) != tc.kind {
				t.Errorf("%s %v", diff, err)
			}
		})
	}
}

func TestTokenErrors(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		answer http.HandlerFunc
		text   string
	}{
		"revoked":    {answer(401, `{"message":"Bad credentials"}`), "expired"},
		"permission": {answer(403, `{"message":"Resource not accessible by personal access token"}`, "X-Accepted-GitHub-Permissions", "pull_requests=read"), "the token lacks a permission for this; needed: pull_requests=read"},
		"workflow":   {answer(403, "{\"message\":\"refusing to allow a Personal Access Token to create or update workflow `a.yml` without `workflow` scope\"}"), "workflows:write"},
		"echo":       {answer(403, `{"message":"no, `+ownToken+`"}`), redacted},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, map[string]http.HandlerFunc{pullPath: tc.answer})
			c := a.tokenClient(t)
			for range 2 { // also when the client was kept
				_, err := c.Pull(t.Context(), ownRepo, 4)
				if domain.KindOf(err) != domain.Denied || !strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error(), ownToken) || strings.Contains(err.Error(), "the App") {
					t.Error(err)
				}
			}
			if n := len(a.requests()); n != 2 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

func TestTokenIsCheckedAndHidden(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"beside an App": {AppID: 7, PrivateKey: testKey(), Token: ownToken},
		"beside an id":  {AppID: 7, Token: ownToken},
		"two lines":     {Token: ownToken + "\n"},
		"blank":         {Token: "a b"},
		"far too long":  {Token: Secret(strings.Repeat("x", maxToken+1))},
	} {
		if _, err := New(cfg); domain.KindOf(err) != domain.Invalid || strings.Contains(err.Error(), ownToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var b bytes.Buffer
	_, _ = fmt.Fprintf(&b, "%v %+v %#v", Config{Token: ownToken}, Config{Token: ownToken}, Config{Token: ownToken})
	if strings.Contains(b.String(), ownToken) {
		t.Error(b.String())
	}
}

// TestTokenOfTheStandIn acts with an installation's token as with a job's: no App
// is needed for the work itself.
func TestTokenOfTheStandIn(t *testing.T) {
	t.Parallel()
	s, repo := forge(t)
	app, err := New(Config{AppID: s.AppID(), PrivateKey: Secret(s.PrivateKeyPEM()), APIURL: s.URL(), GraphQLURL: s.GraphQLURL(), TokenCache: newMemory()})
	if err != nil {
		t.Fatal(err)
	}
	token := mintFor(t.Context(), t, app, repo, scopeWorkflows)
	c, err := New(Config{Token: token, APIURL: s.URL(), GraphQLURL: s.GraphQLURL()})
	if err != nil {
		t.Fatal(err)
	}
	own, err := c.Repo(t.Context(), 0, repo.ID)
	if err != nil || own.InstallationID != 0 {
		t.Fatal(own, err)
	}
	sha, _, err := c.BranchSHA(t.Context(), own, "main")
	if err != nil {
		t.Fatal(err)
	}
	commit, err := c.CommitFiles(t.Context(), own, domain.CommitRequest{BaseSHA: sha, Message: "Mend", Files: []domain.File{{Path: ".github/workflows/a.yml", Mode: "100644", Content: []byte("on: push\njobs: {}\n")}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CreateBranch(t.Context(), own, domain.NewBranch{Name: "mlops-bot/x-1", SHA: commit, TouchesWorkflows: true}); err != nil {
		t.Fatal(err)
	}
	if got := s.Refs(repo.FullName)["refs/heads/mlops-bot/x-1"]; got != commit {
		t.Errorf("the branch is at %q: %v", got, s.Refs(repo.FullName))
	}
	// It was given no more than that.
	if _, err := c.OpenPull(t.Context(), own, domain.NewPull{Title: "t", Body: "b", Head: "mlops-bot/x-1", Base: "main"}); domain.KindOf(err) != domain.Denied {
		t.Errorf("a pull request: %v", err)
	}
}

// mintFor returns a token of an installation's as the App's client gets one.
func mintFor(ctx context.Context, t *testing.T, c *Client, repo domain.Repo, s scope) Secret {
	t.Helper()
	k := on("mint a token", repo, s)
	if _, err := once(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.Repository, error) {
		r, _, err := get[gh.Repository](ctx, api, "repositories/"+strconv.FormatInt(repo.ID, 10))
		return r, err
	}); err != nil {
		t.Fatal(err)
	}
	for _, v := range c.cfg.TokenCache.(*memory).all() {
		var kept keptToken
		if err := json.Unmarshal(v, &kept); err != nil {
			t.Fatal(err)
		}
		return Secret(kept.Token)
	}
	t.Fatal("no token is kept")
	return ""
}

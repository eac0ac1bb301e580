package github

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// The fake is served below a path, which catches absolute URLs.
const prefix = "/some/prefix"

const theToken = "ghs_TheInstallationToken0123456789"

var (
	testRepo = domain.Repo{InstallationID: 11, ID: 22, FullName: "octo/train", DefaultBranch: "main"}
	shaA     = strings.Repeat("a", 40)
	shaB     = strings.Repeat("b", 40)
	shaC     = strings.Repeat("c", 40)
	testNow  = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)
)

var testKey = sync.OnceValue(func() Secret {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return Secret(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}))
})

// api is a fake API: handlers by "METHOD path", below the prefix. It mints tokens
// and records what it is asked.
type api struct {
	*httptest.Server
	mu     sync.Mutex
	routes map[string]http.HandlerFunc
	minted []string // bodies of token requests
	seen   []string
	mint   http.HandlerFunc // instead of the usual answer
}

func newAPI(t *testing.T, routes map[string]http.HandlerFunc) *api {
	t.Helper()
	a := &api{routes: routes}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Method + " " + strings.TrimPrefix(r.URL.EscapedPath(), prefix)
	a.mu.Lock()
	defer a.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, "/access_tokens") {
		b, _ := io.ReadAll(r.Body)
		a.minted = append(a.minted, strings.TrimSpace(string(b)))
		if a.mint != nil {
			a.mint(w, r)
			return
		}
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer eyJ") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"token":%q,"expires_at":%q}`, theToken, time.Now().Add(time.Hour).Format(time.RFC3339))
		return
	}
	a.seen = append(a.seen, key)
	h, ok := a.routes[key]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"message":"Not Found"}`)
		return
	}
	h(w, r)
}

func (a *api) requests() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.seen)
}

func (a *api) client(t *testing.T, change ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{
		AppID: 7, PrivateKey: testKey(), APIURL: a.URL + prefix, Timeout: 10 * time.Second, RetryInterval: time.Millisecond,
		Now: func() time.Time { return testNow }, HTTPTransport: a.Client().Transport,
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func answer(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// echo answers 200 and keeps what was sent.
func echo(into *string, status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		*into = strings.TrimSpace(string(b))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	reset := testNow.Add(20 * time.Minute)
	type want struct {
		kind  domain.ErrKind
		is    error
		retry time.Time
		text  string
		calls int // of the API; reads are tried again when Transient; 0 where net/http tries again too
	}
	cases := map[string]struct {
		answer http.HandlerFunc
		want   want
	}{
		"bad credentials":        {answer(401, `{"message":"Bad credentials"}`), want{domain.Denied, nil, time.Time{}, "suspended", 1}},
		"permission":             {answer(403, `{"message":"Resource not accessible by integration"}`, "X-Accepted-GitHub-Permissions", "pull_requests=read"), want{domain.Denied, nil, time.Time{}, "pull_requests=read", 1}},
		"permission unnamed":     {answer(403, `{"message":"Resource not accessible by integration"}`), want{domain.Denied, nil, time.Time{}, "pull_requests:read", 1}},
		"blocked":                {answer(403, `{"message":"Repository access blocked"}`), want{domain.Denied, nil, time.Time{}, "blocked", 1}},
		"primary limit":          {answer(403, `{"message":"API rate limit exceeded"}`, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", strconv.FormatInt(reset.Unix(), 10)), want{domain.RateLimited, nil, reset, "primary", 1}},
		"primary limit as 429":   {answer(429, `{"message":"API rate limit exceeded"}`, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", strconv.FormatInt(reset.Unix(), 10)), want{domain.RateLimited, nil, reset, "primary", 1}},
		"primary limit long ago": {answer(403, `{}`, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "1"), want{domain.RateLimited, nil, testNow.Add(time.Second), "primary", 1}},
		"secondary limit":        {answer(403, `{"message":"You have exceeded a secondary rate limit","documentation_url":"https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`, "Retry-After", "90"), want{domain.RateLimited, nil, testNow.Add(90 * time.Second), "secondary", 1}},
		"secondary limit bare":   {answer(403, `{"message":"You have exceeded a secondary rate limit. Please wait"}`), want{domain.RateLimited, nil, testNow.Add(time.Minute), "secondary", 1}},
		"429":                    {answer(429, `{}`, "Retry-After", "5"), want{domain.RateLimited, nil, testNow.Add(5 * time.Second), "secondary", 1}},
		"429 with a date":        {answer(429, `{}`, "Retry-After", testNow.Add(2*time.Minute).Format(http.TimeFormat)), want{domain.RateLimited, nil, testNow.Add(2 * time.Minute), "secondary", 1}},
		"429 bare":               {answer(429, ``), want{domain.RateLimited, nil, testNow.Add(time.Minute), "secondary", 1}},
		"too quickly":            {answer(422, `{"message":"Validation Failed","errors":[{"message":"was submitted too quickly"}]}`), want{domain.RateLimited, nil, testNow.Add(time.Minute), "secondary", 1}},
		"not found":              {answer(404, `{"message":"Not Found"}`), want{domain.Invalid, domain.ErrNotFound, time.Time{}, "Not Found", 1}},
		"conflict":               {answer(409, `{"message":"Conflict"}`), want{domain.Invalid, domain.ErrConflict, time.Time{}, "", 1}},
		"empty repository":       {answer(409, `{"message":"Git Repository is empty."}`), want{domain.Invalid, domain.ErrNotFound, time.Time{}, "", 1}},
		"gone":                   {answer(410, `{"message":"Gone"}`), want{domain.Invalid, domain.ErrGone, time.Time{}, "", 1}},
		"exists":                 {answer(422, `{"message":"Reference already exists"}`), want{domain.Invalid, domain.ErrExists, time.Time{}, "", 1}},
		"exists as a code":       {answer(422, `{"message":"Validation Failed","errors":[{"resource":"Label","field":"name","code":"already_exists"}]}`), want{domain.Invalid, domain.ErrExists, time.Time{}, "", 1}},
		"reference not there":    {answer(422, `{"message":"Reference does not exist"}`), want{domain.Invalid, domain.ErrNotFound, time.Time{}, "", 1}},
		"no drafts":              {answer(422, `{"message":"Draft pull requests are not supported in this repository."}`), want{domain.Unsupported, nil, time.Time{}, "", 1}},
		"rules":                  {answer(422, `{"message":"Repository rule violations found"}`), want{domain.Denied, nil, time.Time{}, "rules", 1}},
		"workflows":              {answer(422, "{\"message\":\"refusing to allow a GitHub App to create or update workflow `a.yml` without `workflows` permission\"}"), want{domain.Denied, nil, time.Time{}, "workflows:write", 1}},
		"other 422":              {answer(422, `{"message":"Validation Failed","errors":["head is bad"]}`), want{domain.Invalid, nil, time.Time{}, "head is bad", 1}},
		"legal":                  {answer(451, `{"message":"Repository access blocked"}`), want{domain.Denied, nil, time.Time{}, "", 1}},
		"accepted":               {answer(202, `{}`), want{domain.Transient, nil, time.Time{}, "preparing", 3}},
		"500":                    {answer(500, `oops`), want{domain.Transient, nil, time.Time{}, "500", 3}},
		"503":                    {answer(503, `<html>`), want{domain.Transient, nil, time.Time{}, "503", 3}},
		"cut off":                {answer(200, `{"number":4`), want{domain.Transient, nil, time.Time{}, "cut off", 3}},
		"not JSON":               {answer(200, `<html>`), want{domain.Transient, nil, time.Time{}, "no JSON", 3}},
		"another shape":          {answer(200, `{"number":"four"}`), want{domain.Unsupported, nil, time.Time{}, "number", 1}},
		"empty":                  {answer(200, ``), want{domain.Transient, nil, time.Time{}, "incomplete", 1}},
		"lost connection":        {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, want{domain.Transient, nil, time.Time{}, "reach GitHub", 0}},
		"huge": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"body":"`)
			chunk := bytes.Repeat([]byte("x"), 1<<20)
			for range 22 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
			_, _ = io.WriteString(w, `"}`)
		}, want{domain.Unsupported, domain.ErrTooLarge, time.Time{}, "", 1}},
		"foreign redirect":                  {answer(301, ``, "Location", "https://evil.example/repos/octo/train/pulls/4"), want{domain.Invalid, nil, time.Time{}, "outside", 1}},
		"temporary redirect for a download": {answer(302, ``, "Location", "https://evil.example/"), want{domain.Invalid, nil, time.Time{}, "outside", 1}},
		"circle":                            {answer(301, ``, "Location", prefix+"/repos/octo/train/pulls/4"), want{domain.Invalid, nil, time.Time{}, "", 4}},
		"echoed token":                      {answer(400, `{"message":"no: token `+theToken+` Bearer eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiI3In0.c2ln"}`), want{domain.Invalid, nil, time.Time{}, redacted, 1}},
		"control chars":                     {answer(400, `{"message":"a\u001b[31m\nb"}`), want{domain.Invalid, nil, time.Time{}, "a [31m b", 1}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, map[string]http.HandlerFunc{"GET /repos/octo/train/pulls/4": tc.answer})
			_, err := a.client(t).Pull(t.Context(), testRepo, 4)
			if err == nil {
				t.Fatal("no error")
			}
			if got := domain.KindOf(err); got != tc.want.kind {
				t.Errorf("kind %s, want %s: %v", got, tc.want.kind, err)
			}
			if tc.want.is != nil && !errors.Is(err, tc.want.is) {
				t.Errorf("%v doesn't wrap %v", err, tc.want.is)
			}
			for _, is := range []error{domain.ErrNotFound, domain.ErrGone, domain.ErrExists, domain.ErrConflict, domain.ErrTooLarge} {
				if !errors.Is(is, tc.want.is) && errors.Is(err, is) {
					t.Errorf("%v wraps %v", err, is)
				}
			}
			if at, _ := domain.RetryAt(err); !at.Equal(tc.want.retry) {
				t.Errorf("retry at %v, want %v", at, tc.want.retry)
			}
			if !strings.Contains(err.Error(), tc.want.text) || !strings.HasPrefix(err.Error(), "read the pull request: ") {
				t.Errorf("error reads %q, want it to hold %q", err, tc.want.text)
			}
			if strings.Contains(err.Error(), theToken) || strings.Contains(err.Error(), "eyJ") || strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Errorf("error leaks: %q", err)
			}
			if n := len(a.requests()); tc.want.calls != 0 && n != tc.want.calls {
				t.Errorf("%d calls, want %d", n, tc.want.calls)
			}
		})
	}
}

// TestRefusedTokens covers what GitHub says when a token is minted.
func TestRefusedTokens(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		mint http.HandlerFunc
		kind domain.ErrKind
		is   error
		text string
	}{
		"wrong key":       {answer(401, `{"message":"A JSON web token could not be decoded"}`), domain.Denied, nil, "private key"},
		"suspended":       {answer(403, `{"message":"This installation has been suspended"}`), domain.Denied, nil, "suspended"},
		"uninstalled":     {answer(404, `{"message":"Not Found"}`), domain.Denied, domain.ErrGone, "not there"},
		"repository gone": {answer(422, `{"message":"There is at least one repository that does not exist or is not accessible to the parent installation."}`), domain.Invalid, domain.ErrNotFound, "repository 22"},
		"permission":      {answer(422, `{"message":"The permissions requested are not granted to this installation."}`), domain.Denied, nil, "actions:read"},
		"limit":           {answer(403, `{"message":"API rate limit exceeded"}`, "Retry-After", "3"), domain.RateLimited, nil, ""},
		"500":             {answer(500, ``), domain.Transient, nil, "500"},
		"cut off":         {answer(201, `{"token":"ghs_`), domain.Transient, nil, "token"},
		"foreign":         {answer(307, ``, "Location", "https://evil.example/"), domain.Invalid, nil, "outside"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, nil)
			a.mint = tc.mint
			_, err := a.client(t).Pull(t.Context(), testRepo, 4)
			if domain.KindOf(err) != tc.kind || tc.is != nil && !errors.Is(err, tc.is) || err == nil || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %s %v", domain.KindOf(err), err)
			}
			if n := len(a.requests()); n != 0 {
				t.Errorf("%d calls without a token", n)
			}
		})
	}
}

func TestRevokedTokenIsMintedAgain(t *testing.T) {
	t.Parallel()
	pull := fmt.Sprintf(`{"number":4,"state":"open","head":{"sha":%q}}`, shaA)
	n := 0
	a := newAPI(t, map[string]http.HandlerFunc{"GET /repos/octo/train/pulls/4": func(w http.ResponseWriter, r *http.Request) {
		if n++; n == 2 {
			answer(401, `{"message":"Bad credentials"}`)(w, r)
			return
		}
		answer(200, pull)(w, r)
	}})
	c := a.client(t)
	for range 2 {
		if _, err := c.Pull(t.Context(), testRepo, 4); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.minted) != 2 || n != 3 {
		t.Errorf("%d tokens and %d calls, want 2 and 3", len(a.minted), n)
	}
}

func TestHang(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}))
	defer srv.Close()
	defer close(release)
	a := &api{Server: srv}
	_, err := a.client(t, func(c *Config) { c.Timeout = 5 * time.Millisecond }).Pull(t.Context(), testRepo, 4)
	if domain.KindOf(err) != domain.Transient || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a server that hangs gives %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = a.client(t).Pull(ctx, testRepo, 4)
	if domain.KindOf(err) != domain.Transient || !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that left gives %v", err)
	}
	_, err = a.client(t, func(c *Config) { c.Timeout = 5 * time.Millisecond }).JobLog(t.Context(), testRepo, 4)
	if domain.KindOf(err) != domain.Transient {
		t.Errorf("a log that hangs gives %v", err)
	}
}

// TestClientSideLimit: go-github refuses calls by itself while a limit lasts; the
// error is the same as GitHub's own.
func TestClientSideLimit(t *testing.T) {
	t.Parallel()
	reset := time.Now().Add(time.Hour).Truncate(time.Second)
	a := newAPI(t, map[string]http.HandlerFunc{
		"GET /repos/octo/train/pulls/4": answer(403, `{}`, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", strconv.FormatInt(reset.Unix(), 10)),
		"GET /repos/octo/train/pulls/5": answer(403, `{"documentation_url":"https://docs.github.com/#secondary-rate-limits"}`, "Retry-After", "600"),
	})
	for number, secondary := range map[int]bool{4: false, 5: true} {
		c := a.client(t, func(c *Config) { c.Now = time.Now })
		before := len(a.requests())
		for range 2 {
			_, err := c.Pull(t.Context(), testRepo, number)
			at, ok := domain.RetryAt(err)
			if domain.KindOf(err) != domain.RateLimited || !ok || !secondary && !at.Equal(reset) || !at.After(time.Now()) {
				t.Errorf("pull %d: %v, retry at %v", number, err, at)
			}
		}
		if n := len(a.requests()) - before; n != 1 {
			t.Errorf("pull %d was asked for %d times", number, n)
		}
	}
}

func TestRenames(t *testing.T) {
	t.Parallel()
	var sent string
	a := newAPI(t, map[string]http.HandlerFunc{
		"GET /repos/octo/train/pulls/4":   answer(301, `{"message":"Moved Permanently"}`, "Location", prefix+"/repositories/22/pulls/4"),
		"GET /repositories/22/pulls/4":    answer(200, fmt.Sprintf(`{"number":4,"head":{"sha":%q}}`, shaA)),
		"POST /repos/octo/train/git/refs": answer(301, ``, "Location", prefix+"/repositories/22/git/refs"),
		"POST /repositories/22/git/refs":  echo(&sent, 201, `{}`),
		"PATCH /repos/octo/train/pulls/4": answer(307, ``, "Location", "https://elsewhere.example/repositories/22/pulls/4"),
		"GET /repos/octo/train/pulls/5":   answer(308, ``, "Location", "/outside/of/the/prefix"),
	})
	c := a.client(t)
	if _, err := c.Pull(t.Context(), testRepo, 4); err != nil {
		t.Errorf("a renamed repository's pull request: %v", err)
	}
	if err := c.CreateBranch(t.Context(), testRepo, domain.NewBranch{Name: "mlops-bot/x-1", SHA: shaA}); err != nil {
		t.Errorf("a branch in a renamed repository: %v", err)
	}
	if want := fmt.Sprintf(`{"ref":"refs/heads/mlops-bot/x-1","sha":%q}`, shaA); sent != want {
		t.Errorf("sent %s, want %s", sent, want)
	}
	if err := c.ClosePull(t.Context(), testRepo, 4); domain.KindOf(err) != domain.Invalid {
		t.Errorf("a write was redirected abroad: %v", err)
	}
	if _, err := c.Pull(t.Context(), testRepo, 5); domain.KindOf(err) != domain.Invalid {
		t.Errorf("a read left the API's path: %v", err)
	}
}

func TestWritesAreMadeOnce(t *testing.T) {
	t.Parallel()
	a := newAPI(t, map[string]http.HandlerFunc{"POST /repos/octo/train/git/refs": answer(502, ``)})
	err := a.client(t).CreateBranch(t.Context(), testRepo, domain.NewBranch{Name: "mlops-bot/x-1", SHA: shaA})
	if domain.KindOf(err) != domain.Transient || len(a.requests()) != 1 {
		t.Errorf("%d tries: %v", len(a.requests()), err)
	}
}

type pacer struct {
	done  int
	asked []int64
	err   error
}

func (p *pacer) Wait(_ context.Context, id int64) (func(), error) {
	p.asked = append(p.asked, id)
	return func() { p.done++ }, p.err
}

func TestPacerAndScopes(t *testing.T) {
	t.Parallel()
	var tree, commit, blob, ready string
	a := newAPI(t, map[string]http.HandlerFunc{
		"GET /repos/octo/train/commits/" + shaA:                   answer(200, fmt.Sprintf(`{"sha":%q,"commit":{"tree":{"sha":%q}},"parents":[{"sha":%q}],"author":{"login":"mona"}}`, shaA, shaB, shaC)),
		"POST /repos/octo/train/git/blobs":                        echo(&blob, 201, fmt.Sprintf(`{"sha":%q}`, shaC)),
		"POST /repos/octo/train/git/trees":                        echo(&tree, 201, fmt.Sprintf(`{"sha":%q}`, shaB)),
		"POST /repos/octo/train/git/commits":                      echo(&commit, 201, fmt.Sprintf(`{"sha":%q}`, shaC)),
		"POST /repos/octo/train/git/refs":                         answer(201, `{}`),
		"POST /repos/octo/train/pulls":                            answer(201, `{"number":9,"state":"open","draft":true}`),
		"PATCH /repos/octo/train/pulls/9":                         answer(200, `{}`),
		"POST /graphql":                                           echo(&ready, 200, `{"data":{"markPullRequestReadyForReview":{"pullRequest":{"isDraft":false}}}}`),
		"POST /repos/octo/train/issues/9/labels":                  answer(200, `[]`),
		"POST /repos/octo/train/issues":                           answer(201, `{"number":10,"html_url":"https://github.example/issues/10"}`),
		"POST /repos/octo/train/actions/runs/3/rerun-failed-jobs": answer(201, `{}`),
		"POST /app/hook/deliveries/5/attempts":                    answer(202, `{}`),
	})
	p := &pacer{}
	var left []string
	c := a.client(t, func(cfg *Config) {
		cfg.Pacer = p
		cfg.OnRateLimit = func(id int64, n, limit int, reset time.Time) {
			left = append(left, fmt.Sprint(id, ": ", n, " of ", limit, " until ", reset.Unix()))
		}
	})
	a.routes["GET /app"] = answer(200, `{"id":7,"slug":"mlops-bot"}`, "X-RateLimit-Remaining", "4999", "X-RateLimit-Limit", "5000", "X-RateLimit-Reset", "1793880000")
	ctx := t.Context()
	sha, err := c.CommitFiles(ctx, testRepo, domain.CommitRequest{BaseSHA: shaA, Message: "Halve the batch size", Files: []domain.File{
		{Path: "conf/train.yaml", Mode: "100644", Content: []byte("batch: 8 # <&>\n")},
		{Path: "data/x.bin", Mode: "100755", Content: []byte{0xff, 0}},
	}})
	if err != nil || sha != shaC {
		t.Fatal(sha, err)
	}
	if want := fmt.Sprintf(`{"base_tree":%q,"tree":[{"path":"conf/train.yaml","mode":"100644","type":"blob","content":"batch: 8 # \u003c\u0026\u003e\n"},{"sha":%q,"path":"data/x.bin","mode":"100755","type":"blob"}]}`, shaB, shaC); tree != want {
		t.Errorf("tree is %s", cmp.Diff(want, tree))
	}
	if want := fmt.Sprintf(`{"message":"Halve the batch size","tree":%q,"parents":[%q]}`, shaB, shaA); commit != want {
		t.Errorf("commit is %s", cmp.Diff(want, commit))
	}
	if !strings.Contains(blob, `"content":"/wA="`) {
		t.Errorf("blob is %s", blob)
	}
	if _, err = c.CommitFiles(ctx, testRepo, domain.CommitRequest{BaseSHA: shaA, Message: "Bump", Files: []domain.File{{Path: ".github/workflows/a.yml", Mode: "100644"}}}); err != nil {
		t.Fatal(err)
	}
	if err := c.CreateBranch(ctx, testRepo, domain.NewBranch{Name: "mlops-bot/x-1", SHA: shaC, TouchesWorkflows: true}); err != nil {
		t.Fatal(err)
	}
	pull, err := c.OpenPull(ctx, testRepo, domain.NewPull{Title: "t", Body: "b", Head: "mlops-bot/x-1", Base: "main", Draft: true})
	if err != nil || pull.Number != 9 || !pull.Draft {
		t.Fatal(pull, err)
	}
	for name, err := range map[string]error{
		"close":     c.ClosePull(ctx, testRepo, 9),
		"ready":     c.MarkReady(ctx, testRepo, "PR_9"),
		"labels":    c.AddLabels(ctx, testRepo, 9, []string{"mlops-bot"}),
		"rerun":     c.RerunFailedJobs(ctx, testRepo, 3),
		"redeliver": c.Redeliver(ctx, 5),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if i, err := c.OpenIssue(ctx, testRepo, "t", "b", nil); err != nil || i != "https://github.example/issues/10" {
		t.Error(i, err)
	}
	if !strings.Contains(ready, `"variables":{"id":"PR_9"}`) {
		t.Errorf("GraphQL got %s", ready)
	}
	if _, err := c.AppInfo(ctx); err != nil {
		t.Error(err)
	}
	// Blob, tree and commit, tree and commit, branch, pull, close, ready, labels,
	// rerun, redeliver, issue.
	if want := []int64{11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 0, 11}; !cmp.Equal(sorted(want), sorted(p.asked)) {
		t.Errorf("the pacer was asked for %v", p.asked)
	}
	if !cmp.Equal([]string{"0: 4999 of 5000 until 1793880000"}, left) {
		t.Errorf("observed %v", left)
	}
	wantTokens := []string{
		`"actions":"read","contents":"read","issues":"read","metadata":"read","pull_requests":"read"`,
		`"contents":"write","metadata":"read"`,
		`"contents":"write","metadata":"read","workflows":"write"`,
		`"contents":"read","metadata":"read","pull_requests":"write"`,
		`"contents":"write","metadata":"read","pull_requests":"write"`,
		`"issues":"write","metadata":"read","pull_requests":"write"`,
		`"actions":"write","metadata":"read"`,
		`"issues":"write","metadata":"read"`,
	}
	for i, w := range wantTokens {
		wantTokens[i] = `{"repository_ids":[22],"permissions":{` + w + `}}`
	}
	if diff := cmp.Diff(sorted(wantTokens), sorted(a.minted)); diff != "" {
		t.Errorf("tokens (one per scope, each once): %s", diff)
	}

	p.err = domain.Errorf(domain.RateLimited, "wait", "not now")
	before := len(a.requests())
	if err := c.RerunFailedJobs(ctx, testRepo, 3); domain.KindOf(err) != domain.RateLimited || len(a.requests()) != before {
		t.Errorf("the pacer's no was not heard: %v", err)
	}
}

func sorted[T interface{ ~int64 | ~string }](s []T) []T {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}

func TestGraphQLErrors(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		body string
		kind domain.ErrKind
	}{
		"forbidden":   {`{"data":{"markPullRequestReadyForReview":null},"errors":[{"type":"FORBIDDEN","message":"Resource not accessible by integration"}]}`, domain.Denied},
		"not found":   {`{"errors":[{"type":"NOT_FOUND","message":"Could not resolve to a node"}]}`, domain.Invalid},
		"limited":     {`{"errors":[{"type":"RATE_LIMITED","message":"API rate limit exceeded"}]}`, domain.RateLimited},
		"other":       {`{"errors":[{"message":"Field doesn't exist"}]}`, domain.Invalid},
		"empty":       {`{}`, domain.Transient},
		"still draft": {`{"data":{"markPullRequestReadyForReview":{"pullRequest":{"isDraft":true}}}}`, domain.Transient},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, map[string]http.HandlerFunc{"POST /graphql": answer(200, tc.body)})
			if err := a.client(t).MarkReady(t.Context(), testRepo, "PR_9"); domain.KindOf(err) != tc.kind {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestUpsertComment(t *testing.T) {
	t.Parallel()
	const marker = "<!-- mlops-bot:inc-1 -->"
	comment := func(id int, login, body string) string {
		return fmt.Sprintf(`{"id":%d,"html_url":"u","body":%q,"user":{"login":%q}}`, id, body, login)
	}
	cases := map[string]struct {
		there []string
		want  string // the write; "" for none
		sent  string
	}{
		"none":                    {nil, "POST /repos/octo/train/issues/4/comments", marker + "\nnew"},
		"a stranger's quotes it":  {[]string{comment(1, "mallory", marker+" haha")}, "POST /repos/octo/train/issues/4/comments", marker + "\nnew"},
		"a user named like us":    {[]string{comment(1, "mlops-bot", marker)}, "POST /repos/octo/train/issues/4/comments", marker + "\nnew"},
		"ours without the marker": {[]string{comment(1, "mlops-bot[bot]", "other")}, "POST /repos/octo/train/issues/4/comments", marker + "\nnew"},
		"ours differs":            {[]string{comment(1, "mona", "hi"), comment(2, "mlops-bot[bot]", marker+"\nold")}, "PATCH /repos/octo/train/issues/comments/2", marker + "\nnew"},
		"ours is the same":        {[]string{comment(2, "mlops-bot[bot]", marker+"\r\nnew\r\n")}, "", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var sent string
			a := newAPI(t, map[string]http.HandlerFunc{
				"GET /app": answer(200, `{"id":7,"slug":"mlops-bot"}`),
				"GET /repos/octo/train/issues/4/comments":   answer(200, "["+strings.Join(tc.there, ",")+"]"),
				"POST /repos/octo/train/issues/4/comments":  echo(&sent, 201, `{"id":99,"html_url":"u"}`),
				"PATCH /repos/octo/train/issues/comments/2": echo(&sent, 200, `{"id":2,"html_url":"u"}`),
			})
			c := a.client(t)
			u, err := c.UpsertComment(t.Context(), testRepo, 4, marker, "new")
			if err != nil || u != "u" {
				t.Fatal(u, err)
			}
			reqs := a.requests()
			if last := reqs[len(reqs)-1]; tc.want != "" && last != tc.want || tc.want == "" && !strings.HasPrefix(last, "GET") {
				t.Errorf("ended with %s, want %s", last, tc.want)
			}
			var body struct{ Body string }
			if tc.want != "" && (json.Unmarshal([]byte(sent), &body) != nil || body.Body != tc.sent) {
				t.Errorf("sent %s", sent)
			}
		})
	}
	c := newAPI(t, nil).client(t)
	for name, in := range map[string][2]string{"no marker": {"", "x"}, "plain marker": {"mlops", "x"}, "too long": {marker, strings.Repeat("x", maxText)}} {
		if _, err := c.UpsertComment(t.Context(), testRepo, 4, in[0], in[1]); domain.KindOf(err) != domain.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFindIssue(t *testing.T) {
	t.Parallel()
	const marker = "<!-- m -->"
	a := newAPI(t, map[string]http.HandlerFunc{
		"GET /app": answer(200, `{"id":7,"slug":"mlops-bot"}`),
		"GET /repos/octo/train/issues": answer(200, `[
			{"number":5,"body":"<!-- m -->","user":{"login":"mallory"}},
			{"number":4,"body":"<!-- m -->","user":{"login":"mlops-bot[bot]"},"pull_request":{"url":"x"}},
			{"number":3,"html_url":"u","body":"<!-- m --> text","state":"closed","user":{"login":"mlops-bot[bot]"}}]`),
	})
	c := a.client(t)
	i, ok, err := c.FindIssue(t.Context(), testRepo, marker)
	if err != nil || !ok || i != "u" {
		t.Error(i, ok, err)
	}
	if _, ok, err := c.FindIssue(t.Context(), testRepo, "<!-- other -->"); ok || err != nil {
		t.Error(ok, err)
	}
}

func TestPullByHead(t *testing.T) {
	t.Parallel()
	pull := func(n int, state, ref string, repo int64) string {
		return fmt.Sprintf(`{"number":%d,"state":%q,"head":{"ref":%q,"sha":%q,"repo":{"id":%d}}}`, n, state, ref, shaA, repo)
	}
	cases := map[string]struct {
		list []string
		want int
	}{
		"none":               {nil, 0},
		"a fork's":           {[]string{pull(1, "open", "mlops-bot/x-1", 99)}, 0},
		"another branch":     {[]string{pull(1, "open", "other", 22)}, 0},
		"a deleted fork's":   {[]string{`{"number":1,"state":"open","head":{"ref":"mlops-bot/x-1","repo":null}}`}, 0},
		"open before closed": {[]string{pull(8, "closed", "mlops-bot/x-1", 22), pull(5, "open", "mlops-bot/x-1", 22)}, 5},
		"the latest closed":  {[]string{pull(3, "closed", "mlops-bot/x-1", 22), pull(8, "closed", "mlops-bot/x-1", 22)}, 8},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, map[string]http.HandlerFunc{"GET /repos/octo/train/pulls": answer(200, "["+strings.Join(tc.list, ",")+"]")})
			p, ok, err := a.client(t).PullByHead(t.Context(), testRepo, "mlops-bot/x-1")
			if err != nil || p.Number != tc.want || ok != (tc.want != 0) {
				t.Error(p, ok, err)
			}
		})
	}
}

func TestJobsPagesAndBounds(t *testing.T) {
	t.Parallel()
	endless := false
	a := newAPI(t, nil)
	a.routes = map[string]http.HandlerFunc{"GET /repos/octo/train/actions/runs/3/attempts/2/jobs": func(w http.ResponseWriter, r *http.Request) {
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		if page < 3 || endless {
			w.Header().Set("Link", fmt.Sprintf(`<%s%s/x?page=%d>; rel="next"`, a.URL, prefix, page+1))
		}
		_, _ = fmt.Fprintf(w, `{"total_count":3,"jobs":[{"id":%d,"name":"train (%d)","conclusion":"failure","labels":["ubuntu-24.04"],"steps":[{"number":1,"name":"Set up job","conclusion":"success"}]}]}`, page, page)
	}}
	c := a.client(t)
	jobs, err := c.Jobs(t.Context(), testRepo, 3, 2)
	if err != nil || len(jobs) != 3 || jobs[2].ID != 3 || jobs[0].Steps[0].Name != "Set up job" || !jobs[1].Failed() || jobs[0].Labels[0] != "ubuntu-24.04" {
		t.Errorf("%+v %v", jobs, err)
	}
	a.mu.Lock()
	endless = true
	a.mu.Unlock()
	if _, err := c.Jobs(t.Context(), testRepo, 3, 2); domain.KindOf(err) != domain.Unsupported {
		t.Errorf("endless pages give %v", err)
	}
	if n := len(a.requests()); n != 3+maxPages {
		t.Errorf("%d pages were asked for", n)
	}
}

func TestReads(t *testing.T) {
	t.Parallel()
	a := newAPI(t, map[string]http.HandlerFunc{
		"GET /repositories/22": answer(200, `{"id":22,"full_name":"octo/trains","default_branch":"main","archived":true}`),
		"GET /repos/octo/train/actions/runs/3/attempts/2": answer(200, fmt.Sprintf(`{"id":3,"run_attempt":2,"path":".github/workflows/ci.yml@main","head_sha":%q,"event":"push","status":"completed","conclusion":"failure",
			"head_repository":null,"actor":{"login":"mona"},"pull_requests":[{"number":5,"base":{"repo":{"id":22}}},{"number":6,"base":{"repo":{"id":1}}}]}`, shaA)),
		"GET /repos/octo/train/actions/runs":                  answer(200, fmt.Sprintf(`{"workflow_runs":[{"id":3,"head_sha":%q,"path":"p"},{"id":4,"head_sha":%q}]}`, shaA, shaB)),
		"GET /repos/octo/train/branches/feature%2Fx":          answer(200, fmt.Sprintf(`{"name":"feature/x","protected":true,"commit":{"sha":%q}}`, shaA)),
		"GET /repos/octo/train/git/trees/" + shaA:             answer(200, fmt.Sprintf(`{"sha":%q,"tree":[{"path":"a","mode":"100644","type":"blob","sha":%q,"size":3}]}`, shaA, shaB)),
		"GET /repos/octo/train/git/trees/" + shaB:             answer(200, fmt.Sprintf(`{"sha":%q,"tree":[],"truncated":true}`, shaB)),
		"GET /repos/octo/train/git/blobs/" + shaB:             answer(200, fmt.Sprintf(`{"sha":%q,"size":3,"encoding":"base64","content":"YWJj\n"}`, shaB)),
		"GET /repos/octo/train/git/blobs/" + shaC:             answer(200, fmt.Sprintf(`{"sha":%q,"size":4,"encoding":"base64","content":"YWJj"}`, shaC)),
		"GET /repos/octo/train/contents/a%20b/%23c.txt":       answer(200, `{"type":"file","size":3,"encoding":"base64","content":"YWJj\n"}`),
		"GET /repos/octo/train/contents/big":                  answer(200, fmt.Sprintf(`{"type":"file","size":3,"sha":%q,"encoding":"none","content":""}`, shaB)),
		"GET /repos/octo/train/contents/dir":                  answer(200, `[{"type":"file","name":"x"}]`),
		"GET /repos/octo/train/contents/link":                 answer(200, `{"type":"symlink","size":3}`),
		"GET /repos/octo/train/collaborators/mona/permission": answer(200, `{"permission":"write"}`),
		"GET /repos/octo/train/collaborators/odd/permission":  answer(200, `{"permission":"owner"}`),
		"GET /app/installations":                              answer(200, `[{"id":11,"account":{"login":"octo"},"repository_selection":"all","suspended_at":"2026-01-02T03:04:05Z","permissions":{"contents":"write","a_new_one":"read"},"events":["push"]}]`),
	})
	c := a.client(t)
	ctx := t.Context()

	repo, err := c.Repo(ctx, 11, 22)
	if diff := cmp.Diff(domain.Repo{InstallationID: 11, ID: 22, FullName: "octo/trains", DefaultBranch: "main", Archived: true}, repo); diff != "" || err != nil {
		t.Error(diff, err)
	}
	run, err := c.Run(ctx, testRepo, 3, 2)
	if diff := cmp.Diff(domain.Run{ID: 3, Attempt: 2, WorkflowPath: ".github/workflows/ci.yml", Event: "push", Status: "completed", Conclusion: domain.Failure, HeadSHA: shaA, Actor: "mona", PullRequests: []int{5}}, run); diff != "" || err != nil {
		t.Error(diff, err)
	}
	runs, err := c.RunsForSHA(ctx, testRepo, shaA)
	if err != nil || len(runs) != 1 || runs[0].ID != 3 {
		t.Error(runs, err)
	}
	sha, protected, err := c.BranchSHA(ctx, testRepo, "feature/x")
	if err != nil || sha != shaA || !protected {
		t.Error(sha, protected, err)
	}
	tree, err := c.Tree(ctx, testRepo, shaA)
	if diff := cmp.Diff([]domain.TreeEntry{{Path: "a", Mode: "100644", Type: "blob", SHA: shaB, Size: 3}}, tree); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := c.Tree(ctx, testRepo, shaB); domain.KindOf(err) != domain.Unsupported {
		t.Errorf("a truncated tree gives %v", err)
	}
	files := map[string]func() ([]byte, error){
		"blob":    func() ([]byte, error) { return c.Blob(ctx, testRepo, shaB, 3) },
		"escaped": func() ([]byte, error) { return c.File(ctx, testRepo, "main", "a b/#c.txt", 3) },
		"big":     func() ([]byte, error) { return c.File(ctx, testRepo, shaA, "big", 3) },
	}
	for name, f := range files {
		if b, err := f(); err != nil || string(b) != "abc" {
			t.Errorf("%s: %q %v", name, b, err)
		}
	}
	bad := map[string]struct {
		f    func() ([]byte, error)
		kind domain.ErrKind
		is   error
	}{
		"blob above the bound": {func() ([]byte, error) { return c.Blob(ctx, testRepo, shaB, 2) }, domain.Unsupported, domain.ErrTooLarge},
		"short blob":           {func() ([]byte, error) { return c.Blob(ctx, testRepo, shaC, 9) }, domain.Transient, nil},
		"file above the bound": {func() ([]byte, error) { return c.File(ctx, testRepo, "main", "big", 2) }, domain.Unsupported, domain.ErrTooLarge},
		"directory":            {func() ([]byte, error) { return c.File(ctx, testRepo, "main", "dir", 9) }, domain.Invalid, domain.ErrNotFound},
		"link":                 {func() ([]byte, error) { return c.File(ctx, testRepo, "main", "link", 9) }, domain.Unsupported, nil},
		"absent":               {func() ([]byte, error) { return c.File(ctx, testRepo, "main", "absent", 9) }, domain.Invalid, domain.ErrNotFound},
		"path that leaves":     {func() ([]byte, error) { return c.File(ctx, testRepo, "main", "../../x", 9) }, domain.Invalid, nil},
	}
	for name, tc := range bad {
		if _, err := tc.f(); domain.KindOf(err) != tc.kind || tc.is != nil && !errors.Is(err, tc.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p, err := c.Permission(ctx, testRepo, "mona"); p != "write" || err != nil {
		t.Error(p, err)
	}
	if p, err := c.Permission(ctx, testRepo, "odd"); p != "" || domain.KindOf(err) != domain.Unsupported {
		t.Error(p, err)
	}
	is, err := c.Installations(ctx)
	if diff := cmp.Diff([]Installation{{ID: 11, Account: "octo", AllRepos: true, Suspended: true, Permissions: map[string]string{"contents": "write", "a_new_one": "read"}, Events: []string{"push"}}}, is); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// TestStrangersNames: names that would change a URL are refused before anything
// is sent.
func TestStrangersNames(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	c := a.client(t)
	ctx := t.Context()
	named := func(name string) domain.Repo { r := testRepo; r.FullName = name; return r }
	branch := func(name string) error {
		return c.CreateBranch(ctx, testRepo, domain.NewBranch{Name: name, SHA: shaA})
	}
	permission := func(login string) error { _, err := c.Permission(ctx, testRepo, login); return err }
	pull := func(r domain.Repo) error { _, err := c.Pull(ctx, r, 1); return err }
	commit := func(r domain.CommitRequest) error { _, err := c.CommitFiles(ctx, testRepo, r); return err }
	file := domain.File{Path: "a", Mode: "100644"}
	for name, err := range map[string]error{
		"repo without a slash": pull(named("octo")), "repo that climbs": pull(named("../x")), "repo with a query": pull(named("octo/x?y")), "repo with a path": pull(named("octo/x/y")),
		"no installation": pull(domain.Repo{ID: 1, FullName: "a/b"}), "no id": pull(domain.Repo{InstallationID: 1, FullName: "a/b"}),
		"login that climbs": permission("../../x"), "no login": permission(""), "login with a slash": permission("a/b"),
		"foreign branch": branch("main"), "climbing branch": branch("mlops-bot/../main"), "spaced branch": branch("mlops-bot/a b"), "lock": branch("mlops-bot/a.lock"), "empty part": branch("mlops-bot//a"),
		"no files": commit(domain.CommitRequest{BaseSHA: shaA, Message: "m"}), "no base": commit(domain.CommitRequest{BaseSHA: "main", Message: "m", Files: []domain.File{file}}),
		"twice": commit(domain.CommitRequest{BaseSHA: shaA, Message: "m", Files: []domain.File{file, file}}), "symlink": commit(domain.CommitRequest{BaseSHA: shaA, Message: "m", Files: []domain.File{{Path: "a", Mode: "120000"}}}),
		"git dir": commit(domain.CommitRequest{BaseSHA: shaA, Message: "m", Files: []domain.File{{Path: ".git/config", Mode: "100644"}}}),
		"no node": c.MarkReady(ctx, testRepo, ""),
	} {
		if domain.KindOf(err) != domain.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(a.requests()); n != 0 {
		t.Errorf("%d requests were sent: %v", n, a.requests())
	}
}

func TestFailedDeliveries(t *testing.T) {
	t.Parallel()
	row := func(id int, guid string, code int, ago time.Duration) string {
		return fmt.Sprintf(`{"id":%d,"guid":%q,"delivered_at":%q,"status_code":%d,"event":"push","action":null,"installation_id":11,"repository_id":22}`, id, guid, testNow.Add(-ago).Format(time.RFC3339), code)
	}
	a := newAPI(t, nil)
	a.routes = map[string]http.HandlerFunc{"GET /app/hook/deliveries": func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("cursor") {
		case "":
			w.Header().Set("Link", fmt.Sprintf(`<%s%s/app/hook/deliveries?cursor=v1_2>; rel="next"`, a.URL, prefix))
			_, _ = io.WriteString(w, "["+strings.Join([]string{row(9, "healed", 202, 1*time.Hour), row(8, "failed", 502, 2*time.Hour), row(7, "dead", 0, 3*time.Hour)}, ",")+"]")
		case "v1_2":
			w.Header().Set("Link", fmt.Sprintf(`<%s%s/app/hook/deliveries?cursor=v1_3>; rel="next"`, a.URL, prefix))
			_, _ = io.WriteString(w, "["+strings.Join([]string{row(6, "healed", 500, 4*time.Hour), row(5, "failed", 500, 5*time.Hour), row(4, "old", 500, 100*time.Hour)}, ",")+"]")
		default:
			t.Error("read further back than asked")
		}
	}}
	got, err := a.client(t).FailedDeliveries(t.Context(), testNow.Add(-72*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	want := []HookDelivery{
		{ID: 7, GUID: "dead", Event: "push", InstallationID: 11, RepoID: 22, Attempts: 1, DeliveredAt: testNow.Add(-3 * time.Hour)},
		{ID: 8, GUID: "failed", Event: "push", InstallationID: 11, RepoID: 22, StatusCode: 502, Attempts: 2, DeliveredAt: testNow.Add(-2 * time.Hour)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := newAPI(t, nil).client(t)
	for i := range int64(maxClients + 50) {
		if _, kept, err := c.client(call{installation: 1, repo: i + 1, scope: scopeRead}); kept || err != nil {
			t.Fatal(kept, err)
		}
		if _, kept, _ := c.client(call{installation: 1, repo: 1, scope: scopeRead}); !kept {
			t.Fatal("the one in use was dropped")
		}
	}
	if n := len(c.clients.byKey); n != maxClients || c.clients.order.Len() != n {
		t.Errorf("%d clients are kept", n)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := Config{AppID: 7, PrivateKey: testKey()}
	for name, change := range map[string]func(*Config){
		"no id":  func(c *Config) { c.AppID = 0 },
		"no key": func(c *Config) { c.PrivateKey = "" },
		"no PEM": func(c *Config) { c.PrivateKey = "secret" },
		"broken key": func(c *Config) {
			c.PrivateKey = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"
		},
		"clear text":    func(c *Config) { c.APIURL = "http://github.example.com/" },
		"no scheme":     func(c *Config) { c.APIURL = "github.example.com" },
		"credentials":   func(c *Config) { c.APIURL = "https://u:p@github.example.com" },
		"query":         func(c *Config) { c.APIURL = "https://github.example.com?a=b" },
		"clear GraphQL": func(c *Config) { c.GraphQLURL = "http://github.example.com/graphql" },
	} {
		cfg := good
		change(&cfg)
		_, err := New(cfg)
		if domain.KindOf(err) != domain.Invalid || strings.Contains(fmt.Sprint(err), "u:p") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for in, want := range map[string]string{
		"": "https://api.github.com/graphql", "https://ghe.example.com/api/v3": "https://ghe.example.com/api/graphql", "http://127.0.0.1:9/some/prefix": "http://127.0.0.1:9/some/prefix/graphql",
	} {
		cfg := good
		cfg.APIURL = in
		c, err := New(cfg)
		if err != nil || c.graphql.String() != want {
			t.Errorf("%q has GraphQL at %v, %v", in, c.graphql, err)
		}
	}
}

func TestSecretsDontShow(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	s := Secret("hunter2")
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "key", s, "cfg", Config{PrivateKey: s})
	_, _ = fmt.Fprintf(&b, "%v %s %+v %#v", s, s, Config{PrivateKey: s}, Config{PrivateKey: s})
	j, err := json.Marshal(map[string]any{"k": s})
	if err != nil || strings.Contains(b.String()+string(j), "hunter2") {
		t.Errorf("%s %s %v", b.String(), j, err)
	}
}

func TestManifest(t *testing.T) {
	t.Parallel()
	b, err := Manifest(ManifestOptions{BaseURL: "https://bot.example.com/base/"})
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Name        string
		Hook        struct{ URL string } `json:"hook_attributes"`
		Permissions map[string]string    `json:"default_permissions"`
		Events      []string             `json:"default_events"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	if m.Name != "mlops-bot" || m.Hook.URL != "https://bot.example.com/base/webhooks/github" {
		t.Errorf("%+v", m)
	}
	want := map[string]string{"actions": "write", "checks": "read", "contents": "write", "issues": "write", "metadata": "read", "pull_requests": "write"}
	if diff := cmp.Diff(want, m.Permissions); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"check_run", "issue_comment", "issues", "pull_request", "push", "workflow_run"}, m.Events); diff != "" {
		t.Error(diff)
	}
	// Whatever a token asks for must be in the manifest.
	for _, s := range []scope{scopeRead, scopeContents, scopeWorkflows, scopePulls, scopeReady, scopeComments, scopeIssues, scopeActions} {
		for one := range strings.SplitSeq(string(s), ",") {
			name, access, _ := strings.Cut(one, ":")
			if have := want[name]; have == "" && name != "workflows" || access == "write" && have == "read" {
				t.Errorf("%s asks for %s, the manifest has %q", s, one, have)
			}
		}
	}
	if b, err = Manifest(ManifestOptions{BaseURL: "https://b", Workflows: true}); err != nil || !strings.Contains(string(b), `"workflows": "write"`) {
		t.Error(string(b), err)
	}
	for _, bad := range []string{"", "bot.example.com", "ftp://x", "https://x?y", "https://u@x"} {
		if _, err := Manifest(ManifestOptions{BaseURL: bad}); domain.KindOf(err) != domain.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("x " + theToken + " \x1b[31m\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s + " " + theToken)
		if strings.Contains(got, theToken) || strings.ContainsAny(got, "\n\r\x1b\x00") || len([]rune(got)) > 303 {
			t.Errorf("%q", got)
		}
	})
}

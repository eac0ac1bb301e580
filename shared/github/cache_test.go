package github

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/standin"
)

// memory is a Cache within the test; err is what it fails with.
type memory struct {
	mu     sync.Mutex
	values map[string][]byte
	ttls   map[string]time.Duration
	err    error
	hangs  bool
}

func newMemory() *memory {
	return &memory{values: map[string][]byte{}, ttls: map[string]time.Duration{}}
}

func (m *memory) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if m.hangs {
		<-ctx.Done()
		return nil, false, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.values[key]
	return slices.Clone(v), ok, m.err
}

func (m *memory) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if m.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.values[key], m.ttls[key] = slices.Clone(value), ttl
	}
	return m.err
}

// damage changes every value.
func (m *memory) damage(f func(key string, value []byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, v := range m.values {
		m.values[k] = f(k, v)
	}
}

func (m *memory) all() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.values)
}

// tagged answers with a validator, or 304 where the question holds it, and counts
// both.
type tagged struct {
	mu       sync.Mutex
	etag     string
	body     string
	header   http.Header
	full     int
	notAgain int
}

func (g *tagged) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w.Header().Set("ETag", g.etag)
	w.Header().Set("X-RateLimit-Remaining", strconv.Itoa(5000-g.full))
	if r.Header.Get("If-None-Match") == g.etag && g.etag != "" {
		g.notAgain++
		w.WriteHeader(http.StatusNotModified)
		return
	}
	g.full++
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	for k, v := range g.header {
		w.Header()[k] = v
	}
	_, _ = io.WriteString(w, g.body)
}

func (g *tagged) change(etag, body string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.etag, g.body = etag, body
}

func (g *tagged) counts() (full, notAgain int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.full, g.notAgain
}

func pullJSON(state string) string {
	return fmt.Sprintf(`{"number":4,"state":%q,"head":{"sha":%q}}`, state, shaA)
}

const pullPath = "GET /repos/octo/train/pulls/4"

func TestAnswersAreRevalidated(t *testing.T) {
	t.Parallel()
	g := &tagged{etag: `W/"one"`, body: pullJSON("open")}
	a := newAPI(t, map[string]http.HandlerFunc{pullPath: g.ServeHTTP})
	cache := newMemory()
	with := func(c *Config) { c.Cache = cache }
	ask := func(c *Client, repo domain.Repo, want string) {
		t.Helper()
		p, err := c.Pull(t.Context(), repo, 4)
		if err != nil || p.State != want || p.HeadSHA != shaA {
			t.Fatalf("got %+v, %v, want it %s", p, err, want)
		}
	}
	count := func(full, notAgain int) {
		t.Helper()
		if f, n := g.counts(); f != full || n != notAgain {
			t.Errorf("%d answers and %d times 304, want %d and %d", f, n, full, notAgain)
		}
	}
	c := a.client(t, with)
	ask(c, testRepo, "open")
	ask(c, testRepo, "open")
	ask(a.client(t, with), testRepo, "open") // another process
	count(1, 2)

	// Every question goes to GitHub: what was changed a moment ago is seen.
	g.change(`"two"`, pullJSON("closed"))
	ask(c, testRepo, "closed")
	ask(c, testRepo, "closed")
	count(2, 3)

	// Another installation doesn't get what this one saw, even under one name.
	other := testRepo
	other.InstallationID = 12
	ask(c, other, "closed")
	count(3, 3)

	if len(cache.all()) != 2 {
		t.Errorf("%d values are kept", len(cache.all()))
	}
	for k, v := range cache.all() {
		if strings.Contains(k+string(v), theToken) || strings.Contains(k, "octo") || cache.ttls[k] != answerTTL {
			t.Errorf("%s is kept for %s: %s", k, cache.ttls[k], v)
		}
	}
	if without := a.client(t); true {
		ask(without, testRepo, "closed")
		ask(without, testRepo, "closed")
		count(5, 3)
	}
}

// TestRevalidatedPages: a 304 has no Link of its own.
func TestRevalidatedPages(t *testing.T) {
	t.Parallel()
	one := &tagged{etag: `"p1"`, body: `{"jobs":[{"id":1}]}`}
	two := &tagged{etag: `"p2"`, body: `{"jobs":[{"id":2}]}`}
	a := newAPI(t, nil)
	one.header = http.Header{"Link": {fmt.Sprintf(`<%s%s/x?page=2>; rel="next"`, a.URL, prefix)}}
	a.routes = map[string]http.HandlerFunc{"GET /repos/octo/train/actions/runs/3/attempts/1/jobs": func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("page") == "2" {
			two.ServeHTTP(w, r)
			return
		}
		one.ServeHTTP(w, r)
	}}
	c := a.client(t, func(c *Config) { c.Cache = newMemory() })
	for range 2 {
		jobs, err := c.Jobs(t.Context(), testRepo, 3, 1)
		if err != nil || len(jobs) != 2 || jobs[1].ID != 2 {
			t.Fatalf("%+v %v", jobs, err)
		}
	}
	for _, g := range []*tagged{one, two} {
		if f, n := g.counts(); f != 1 || n != 1 {
			t.Errorf("%d answers, %d times 304", f, n)
		}
	}
}

func TestWhatIsNotKept(t *testing.T) {
	t.Parallel()
	good := pullJSON("open")
	tag := []string{"ETag", `"x"`, "Content-Type", "application/json"}
	with := func(more ...string) []string { return append(slices.Clone(tag), more...) }
	long := strings.TrimSuffix(good, "}") + `,"body":"` + strings.Repeat("x", maxAnswer) + `"}`
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(z, good)
	_ = z.Close()
	cases := map[string]struct {
		answer http.HandlerFunc
		fails  bool
	}{
		"no validator":      {answer(200, good, "Content-Type", "application/json"), false},
		"validator unfit":   {answer(200, good, "ETag", "x", "Content-Type", "application/json"), false},
		"no JSON by name":   {answer(200, good, "ETag", `"x"`, "Content-Type", "text/html"), false},
		"no JSON by nature": {answer(200, "<html>", tag...), true},
		"secret":            {answer(200, good, with("Cache-Control", "private, no-store")...), false},
		"varies":            {answer(200, good, with("Vary", "*")...), false},
		"long":              {answer(200, long, tag...), false},
		"long in chunks": {func(w http.ResponseWriter, r *http.Request) {
			answer(200, long[:100], tag...)(w, r)
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, long[100:])
		}, false},
		"cut off":            {answer(200, good[:20], with("Content-Length", strconv.Itoa(len(good)))...), true},
		"404":                {answer(404, `{"message":"Not Found"}`, tag...), true},
		"202":                {answer(202, good, tag...), true},
		"304 to no question": {answer(304, "", tag...), true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cache := newMemory()
			a := newAPI(t, map[string]http.HandlerFunc{pullPath: tc.answer})
			c := a.client(t, func(c *Config) { c.Cache = cache })
			p, err := c.Pull(t.Context(), testRepo, 4)
			if (err != nil) != tc.fails || err == nil && p.State != "open" {
				t.Errorf("%+v %v", p, err)
			}
			if n := len(cache.all()); n != 0 {
				t.Errorf("%d values are kept", n)
			}
		})
	}
	t.Run("zipped", func(t *testing.T) {
		t.Parallel()
		cache := newMemory()
		a := newAPI(t, map[string]http.HandlerFunc{pullPath: answer(200, zipped.String(), with("Content-Encoding", "gzip")...)})
		c := a.client(t, func(c *Config) { c.Cache = cache })
		for range 2 { // net/http unzips, and what is kept is the text
			if p, err := c.Pull(t.Context(), testRepo, 4); err != nil || p.State != "open" {
				t.Errorf("%+v %v", p, err)
			}
		}
		for _, v := range cache.all() {
			if !bytes.HasSuffix(v, []byte("\n"+good)) {
				t.Errorf("%q", v)
			}
		}
	})
	t.Run("logs", func(t *testing.T) {
		t.Parallel()
		cache := newMemory()
		a := newAPI(t, map[string]http.HandlerFunc{logPath: answer(200, `{"a":1}`, tag...)})
		log, err := a.client(t, func(c *Config) { c.Cache = cache }).JobLog(t.Context(), testRepo, 5)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(log); err != nil || string(b) != `{"a":1}` {
			t.Errorf("%s %v", b, err)
		}
		_ = log.Close()
		if n := len(cache.all()); n != 0 {
			t.Errorf("%d values are kept", n)
		}
	})
}

// TestDamagedCache: whatever comes back from the cache, the answer is GitHub's.
func TestDamagedCache(t *testing.T) {
	t.Parallel()
	cases := map[string]func(key string, v []byte) []byte{
		"empty":        func(string, []byte) []byte { return nil },
		"cut off":      func(_ string, v []byte) []byte { return v[:len(v)-1] },
		"longer":       func(_ string, v []byte) []byte { return append(v, ' ') },
		"a bit":        func(_ string, v []byte) []byte { v[len(v)-3] ^= 1; return v },
		"another form": func(_ string, v []byte) []byte { return bytes.Replace(v, []byte(" 1\n"), []byte(" 2\n"), 1) },
		"another's": func(_ string, _ []byte) []byte {
			return keptAnswer{Key: "k", ETag: `"x"`, Type: "application/json", body: []byte(`{}`)}.encode()
		},
		"bad validator": func(k string, _ []byte) []byte {
			return keptAnswer{Key: k, ETag: "x\r\nA: b", Type: "application/json", body: []byte(`{}`)}.encode()
		},
		"no JSON": func(k string, _ []byte) []byte {
			return keptAnswer{Key: k, ETag: `"x"`, Type: "application/json", body: []byte(`{`)}.encode()
		},
		"another header": func(k string, _ []byte) []byte {
			return keptAnswer{Key: k, ETag: `"x"`, Type: "application/json", Link: "a\r\nb", body: []byte(`{}`)}.encode()
		},
	}
	for name, f := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &tagged{etag: `"x"`, body: pullJSON("open")}
			a := newAPI(t, map[string]http.HandlerFunc{pullPath: g.ServeHTTP})
			cache := newMemory()
			c := a.client(t, func(c *Config) { c.Cache = cache })
			for range 2 {
				if p, err := c.Pull(t.Context(), testRepo, 4); err != nil || p.State != "open" {
					t.Fatal(p, err)
				}
				cache.damage(f)
			}
			if full, n := g.counts(); full != 2 || n != 0 {
				t.Errorf("%d answers, %d times 304", full, n)
			}
		})
	}
}

func TestCacheThatFails(t *testing.T) {
	t.Parallel()
	a := newAPI(t, map[string]http.HandlerFunc{pullPath: (&tagged{etag: `"x"`, body: pullJSON("open")}).ServeHTTP})
	cache := newMemory()
	cache.err = errors.New("the cache is down")
	c := a.client(t, func(c *Config) { c.Cache, c.TokenCache = cache, cache })
	for range 2 {
		if _, err := c.Pull(t.Context(), testRepo, 4); err != nil {
			t.Error(err)
		}
	}
	if len(a.minted) != 1 {
		t.Errorf("%d tokens were minted", len(a.minted))
	}
}

// roundTrip is a network of one function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// reply is an answer of a network without a server.
func reply(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: strconv.Itoa(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}, "Etag": {`"x"`}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}

// bubble is a client in a synctest bubble, with a network without a server.
func bubble(t *testing.T, network roundTrip, change ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{AppID: 7, PrivateKey: testKey(), HTTPTransport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/access_tokens") {
			return reply(r, 201, fmt.Sprintf(`{"token":%q,"expires_at":%q}`, theToken, time.Now().Add(time.Hour).Format(time.RFC3339))), nil
		}
		return network(r)
	})}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCacheThatHangs(t *testing.T) {
	t.Parallel()
	testKey()
	synctest.Test(t, func(t *testing.T) {
		cache := &memory{hangs: true}
		c := bubble(t, func(r *http.Request) (*http.Response, error) { return reply(r, 200, pullJSON("open")), nil }, func(c *Config) { c.Cache = cache })
		start := time.Now()
		if _, err := c.Pull(t.Context(), testRepo, 4); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d > 2*cacheTimeout {
			t.Errorf("a call waited %s for the cache", d)
		}
	})
}

// TestStandInRevalidates reads and writes through a cache, against a server that
// makes its validators itself.
func TestStandInRevalidates(t *testing.T) {
	t.Parallel()
	s, repo := forge(t)
	var mu sync.Mutex
	statuses := map[int]int{}
	s.SetRecorder(func(e standin.Exchange) {
		mu.Lock()
		defer mu.Unlock()
		if !strings.HasSuffix(e.URL, "/access_tokens") {
			statuses[e.Status]++
		}
	})
	c, err := New(Config{
		AppID: s.AppID(), PrivateKey: Secret(s.PrivateKeyPEM()), APIURL: s.URL(), GraphQLURL: s.GraphQLURL(), Cache: newMemory(), TokenCache: newMemory(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	const branch = "mlops-bot/x-1"
	first, _, err := c.BranchSHA(ctx, repo, "main")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CreateBranch(ctx, repo, domain.NewBranch{Name: branch, SHA: first}); err != nil {
		t.Fatal(err)
	}
	var pull domain.Pull
	for _, want := range []string{first, first} {
		if got, _, err := c.BranchSHA(ctx, repo, branch); got != want || err != nil {
			t.Errorf("the branch is at %s, %v, want %s", got, err, want)
		}
	}
	second, err := s.Push(repo.FullName, branch, "", "A change", map[string]standin.File{"a": {Content: "b\n"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := c.BranchSHA(ctx, repo, branch); got != second || err != nil {
		t.Errorf("after a push the branch is at %s, %v, want %s", got, err, second)
	}
	if pull, err = c.OpenPull(ctx, repo, domain.NewPull{Title: "t", Body: "b", Head: branch, Base: "main"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if p, err := c.Pull(ctx, repo, pull.Number); err != nil || p.State != "open" {
			t.Error(p, err)
		}
	}
	if err := c.ClosePull(ctx, repo, pull.Number); err != nil {
		t.Fatal(err)
	}
	if p, err := c.Pull(ctx, repo, pull.Number); err != nil || p.State != "closed" {
		t.Errorf("after closing it the pull request is %+v, %v", p, err)
	}
	mu.Lock()
	defer mu.Unlock()
	// Twice the branch and twice the pull request were asked for in vain.
	if diff := cmp.Diff(map[int]int{200: 6, 201: 2, 304: 2}, statuses); diff != "" {
		t.Error(diff)
	}
}

// forge is a stand-in for GitHub with one repository that the App is installed
// on.
func forge(t *testing.T) (*standin.Server, domain.Repo) {
	t.Helper()
	s, err := standin.New(standin.Options{Limits: standin.Limits{PerHour: -1, MutationsPerMinute: -1, ConcurrentMutations: -1}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	r, err := s.CreateRepo(standin.NewRepo{FullName: "octo/train", Organization: true, Files: map[string]standin.File{"README.md": {Content: "hello\n"}}})
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.AddInstallation(standin.NewInstallation{Account: "octo"})
	if err != nil {
		t.Fatal(err)
	}
	return s, domain.Repo{InstallationID: id, ID: r.ID, FullName: "octo/train", DefaultBranch: "main"}
}

func FuzzDecodeAnswer(f *testing.F) {
	const key = "github/answer/1/k"
	good := keptAnswer{Key: key, ETag: `W/"x"`, Type: "application/json", Link: `<u>; rel="next"`, body: []byte(`{"a":1}`)}.encode()
	f.Add(good)
	f.Add([]byte(answerMagic))
	f.Add(good[:len(good)-2])
	f.Fuzz(func(t *testing.T, value []byte) {
		a, ok := decodeAnswer(key, value)
		if !ok {
			return
		}
		if a.Key != key || !a.sound() || len(a.body) > maxAnswer {
			t.Errorf("%+v", a)
		}
		if again, ok := decodeAnswer(key, a.encode()); !ok || !cmp.Equal(a, again, cmp.AllowUnexported(keptAnswer{})) {
			t.Errorf("%+v becomes %+v", a, again)
		}
	})
}

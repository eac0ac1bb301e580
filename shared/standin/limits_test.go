package standin

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPrimaryLimit(t *testing.T) {
	t.Parallel()
	clock := newClock()
	f := newFixture(t, Options{Now: clock.now})
	a := f.all.want(200, "GET", repo, nil)
	if a.header.Get("X-RateLimit-Limit") != "5000" || a.header.Get("X-RateLimit-Remaining") != "4999" || a.header.Get("X-RateLimit-Resource") != "core" {
		t.Errorf("the limits are %v", a.header)
	}
	f.s.SetRemaining(f.installation, 1)
	f.all.want(200, "GET", repo, nil)
	a = f.all.want(403, "GET", repo, nil)
	if a.header.Get("X-RateLimit-Remaining") != "0" || !strings.Contains(a.str("message"), "API rate limit exceeded") {
		t.Errorf("the refusal is %s %v", a.body, a.header)
	}
	reset, err := strconv.ParseInt(a.header.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if a := f.all.want(200, "GET", "rate_limit", nil); a.num("resources.core.remaining") != 0 || a.num("resources.core.reset") != reset {
		t.Errorf("the limits are %s", a.body)
	}
	clock.add(time.Unix(reset, 0).Sub(clock.now()))
	f.s.token(t, f.installation, nil).want(200, "GET", repo, nil)
}

func TestSecondaryLimit(t *testing.T) {
	t.Parallel()
	clock := newClock()
	f := newFixture(t, Options{Now: clock.now, Limits: Limits{MutationsPerMinute: 2, RetryAfter: 90 * time.Second}})
	create := func(status int) reply {
		t.Helper()
		return f.all.want(status, "POST", repo+"/issues", obj{"title": "t"})
	}
	create(201)
	create(201)
	a := create(403)
	if a.header.Get("Retry-After") != "90" || !strings.HasPrefix(a.str("message"), "You have exceeded a secondary rate limit") {
		t.Errorf("the refusal is %s %v", a.body, a.header)
	}
	f.all.want(200, "GET", repo+"/issues", nil) // reading goes on
	clock.add(time.Minute)
	create(201)
}

// TestMutationsOneAtATime holds one mutating request back in its body.
func TestMutationsOneAtATime(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	reader, writer := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.s.URL()+repo+"/issues", reader)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+f.all.token)
	answered := make(chan int, 1)
	var done sync.WaitGroup
	done.Go(func() {
		resp, err := direct.Do(req)
		if err != nil {
			answered <- 0
			return
		}
		_ = resp.Body.Close()
		answered <- resp.StatusCode
	})
	if _, err := writer.Write([]byte(`{"title": `)); err != nil {
		t.Fatal(err)
	}
	// The first request is under way once a second one is refused.
	for {
		if a := f.all.do("POST", repo+"/issues", obj{"title": "second"}); a.status == 403 {
			if a.header.Get("Retry-After") == "" {
				t.Error("the refusal doesn't say how long to wait")
			}
			break
		}
	}
	if _, err := writer.Write([]byte(`"first"}`)); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-answered; got != 201 {
		t.Errorf("the first was answered %d", got)
	}
	done.Wait()
	f.all.want(201, "POST", repo+"/issues", obj{"title": "third"})
}

func TestPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Limits: unlimited()})
	for i := range 7 {
		f.all.want(201, "POST", repo+"/issues", obj{"title": fmt.Sprint(i)})
	}
	var got []string
	next := f.s.URL() + repo + "/issues?per_page=3&state=all"
	for next != "" {
		if !strings.HasPrefix(next, f.s.URL()) {
			t.Fatalf("%s leaves the API", next)
		}
		a := f.all.want(200, "GET", next, nil)
		for i := 0; a.at(strconv.Itoa(i)) != nil; i++ {
			got = append(got, a.str(strconv.Itoa(i)+".title"))
		}
		link := a.header.Get("Link")
		next = ""
		for one := range strings.SplitSeq(link, ", ") {
			if u, rel, _ := strings.Cut(one, ">; "); rel == `rel="next"` {
				next = strings.TrimPrefix(u, "<")
			}
		}
	}
	if diff := cmp.Diff([]string{"6", "5", "4", "3", "2", "1", "0"}, got); diff != "" {
		t.Error(diff)
	}
	if a := f.all.want(200, "GET", repo+"/issues?page=9", nil); string(a.body) != "[]" {
		t.Errorf("behind the last page is %s", a.body)
	}
}

func TestConditionalRequests(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Limits: unlimited()})
	tag := f.all.want(200, "GET", repo+"/branches/main", nil).header.Get("ETag")
	if a := f.all.want(304, "GET", repo+"/branches/main", nil, "If-None-Match", tag); len(a.body) != 0 {
		t.Errorf("a 304 says %s", a.body)
	}
	f.push(t, "main", touch("1"))
	f.all.want(200, "GET", repo+"/branches/main", nil, "If-None-Match", tag)
}

func TestOnlyGitHubsMediaTypes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	f.all.want(415, "GET", repo, nil, "Accept", "text/html")
	f.all.want(200, "GET", repo, nil, "Accept", "application/vnd.github+json")
	a := f.all.want(200, "GET", repo+"/contents/README.md", nil, "Accept", "application/vnd.github.raw+json")
	if string(a.body) != "hello\n" {
		t.Errorf("the raw file is %q", a.body)
	}
}

func TestTheRootIsNotTheAPI(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Prefix: "/elsewhere/api"})
	if !strings.HasSuffix(f.s.URL(), "/elsewhere/api/") {
		t.Errorf("the URL is %s", f.s.URL())
	}
	f.all.want(404, "GET", strings.TrimSuffix(f.s.URL(), "elsewhere/api/")+repo, nil)
	if _, err := New(Options{Prefix: "/"}); err == nil {
		t.Error("the root is taken")
	}
}

// TestFaults has the third request of a kind fail in each way.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault  Fault
		status int // 0 for no answer
		issues int // made by the faulty request
	}{
		"server error":       {Fault{Status: 500}, 500, 0},
		"its own body":       {Fault{Status: 429, Header: http.Header{"Retry-After": {"7"}}, Body: `{"message":"slow"}`}, 429, 0},
		"no answer":          {Fault{Drop: true}, 0, 0},
		"done, but no word":  {Fault{Drop: true, After: true}, 0, 1},
		"done, but an error": {Fault{Status: 502, After: true}, 502, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, Options{Limits: unlimited()})
			var mu sync.Mutex
			seen := 0
			f.s.SetFault(func(r *http.Request) (Fault, bool) {
				mu.Lock()
				defer mu.Unlock()
				if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/issues") {
					return Fault{}, false
				}
				seen++
				return c.fault, seen == 3
			})
			for range 2 {
				f.all.want(201, "POST", repo+"/issues", obj{"title": "t"})
			}
			a, err := f.all.try("POST", repo+"/issues", obj{"title": "t"})
			if (err != nil) != (c.status == 0) || a.status != c.status {
				t.Errorf("it was answered %d, %v, want %d", a.status, err, c.status)
			}
			if c.fault.Body != "" && (string(a.body) != c.fault.Body || a.header.Get("Retry-After") != "7") {
				t.Errorf("it was answered %s %v", a.body, a.header)
			}
			if got := len(f.s.Issues(full)); got != 2+c.issues {
				t.Errorf("%d issues, want %d", got, 2+c.issues)
			}
			if got := len(f.s.Mutations()); got != 2+c.issues {
				t.Errorf("%d mutations, want %d", got, 2+c.issues)
			}
		})
	}
}

func TestHangingRequestsEndWithTheirClient(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	f.s.SetFault(func(*http.Request) (Fault, bool) { return Fault{Hang: true}, true })
	hc := &http.Client{Timeout: 20 * time.Millisecond}
	resp, err := hc.Get(f.s.URL() + "rate_limit")
	if err == nil {
		_ = resp.Body.Close()
		t.Fatal("it was answered")
	}
	var timeout interface{ Timeout() bool }
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("the error is %v", err)
	}
}

func TestRecorder(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	var mu sync.Mutex
	var got []Exchange
	f.s.SetRecorder(func(e Exchange) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, e)
	})
	f.all.want(201, "POST", repo+"/issues?x=1", obj{"title": "t"})
	mu.Lock()
	defer mu.Unlock()
	if len(got) != 1 {
		t.Fatalf("%d exchanges", len(got))
	}
	e := got[0]
	if e.Method != http.MethodPost || !strings.HasSuffix(e.URL, "/"+repo+"/issues?x=1") || string(e.Body) != `{"title":"t"}` || e.Status != 201 || !strings.Contains(string(e.Answer), `"title":"t"`) {
		t.Errorf("the exchange is %+v", e)
	}
}

// TestLogsAreElsewhere follows the way to a log as GitHub's clients must.
func TestLogsAreElsewhere(t *testing.T) {
	t.Parallel()
	clock := newClock()
	f := newFixture(t, Options{Now: clock.now, Limits: unlimited(), Lag: Lag{LogRequests: 2, LogDelay: time.Minute, LogRetention: 30 * time.Minute}})
	run, err := f.s.ScriptRun(full, ScriptedRun{ScriptedAttempt: ScriptedAttempt{Jobs: []ScriptedJob{
		{Name: "test", Conclusion: "failure", Log: "##[group]Run it\nboom\n"}, {Name: "expired", Conclusion: "failure", Log: "x", Expired: true}, {Name: "never", Conclusion: "failure"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	logs := func(i int) string { return fmt.Sprintf("%s/actions/jobs/%d/logs", repo, run.Jobs[i].ID) }
	f.all.want(404, "GET", logs(0), nil) // too early
	clock.add(time.Minute)
	f.all.want(404, "GET", logs(0), nil) // the first two requests
	f.all.want(404, "GET", logs(0), nil)
	to := f.all.want(302, "GET", logs(0), nil).header.Get("Location")
	if strings.HasPrefix(to, f.s.origin) {
		t.Error("logs are on the API's own host")
	}
	nobody := f.s.client(t, "")
	if a := nobody.want(200, "GET", to, nil); !strings.Contains(string(a.body), "Z boom\n") {
		t.Errorf("the log is %q", a.body)
	}
	f.all.want(403, "GET", to, nil) // with the token
	nobody.want(403, "GET", strings.Replace(to, "sig=", "sig=0", 1), nil)
	nobody.want(403, "GET", strings.Replace(to, fmt.Sprintf("/%d?", run.Jobs[0].ID), fmt.Sprintf("/%d?", run.Jobs[1].ID), 1), nil)
	nobody.want(403, "GET", strings.SplitN(to, "?", 2)[0], nil)
	clock.add(2 * time.Minute)
	nobody.want(403, "GET", to, nil) // the address is good for a minute
	f.all.want(302, "GET", logs(0), nil)
	f.all.want(410, "GET", logs(1), nil)
	f.all.want(404, "GET", logs(2), nil)
	clock.add(time.Hour / 2)
	f.all.want(410, "GET", logs(0), nil)
}

// receiver takes deliveries and answers them with a status.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	got    []*http.Request
	bodies []string
}

func newReceiver(t *testing.T, status int) *receiver {
	t.Helper()
	r := &receiver{status: status}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, req)
		r.bodies = append(r.bodies, string(b))
		w.WriteHeader(r.status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
)

const (
	current  Secret = "the current secret"
	previous Secret = "the previous secret"
	guid            = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
)

var testNow = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

// memory is a store without a disk.
type memory struct {
	mu         sync.Mutex
	deliveries map[string]domain.Delivery
	envelopes  []domain.Envelope
	err        error
	ctxErr     error
}

func (m *memory) AcceptDelivery(ctx context.Context, d domain.Delivery, e domain.Envelope) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ctxErr = ctx.Err()
	if m.err != nil {
		return false, m.err
	}
	if _, ok := m.deliveries[d.ID]; ok {
		return false, nil
	}
	if m.deliveries == nil {
		m.deliveries = map[string]domain.Delivery{}
	}
	m.deliveries[d.ID] = d
	m.envelopes = append(m.envelopes, e)
	return true, nil
}

// limiter allows burst of each key, ever.
type limiter struct {
	mu   sync.Mutex
	seen map[string]int
	err  error
}

func (l *limiter) Allow(_ context.Context, key string, _, burst int) (bool, time.Duration, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return false, 0, l.err
	}
	if l.seen == nil {
		l.seen = map[string]int{}
	}
	l.seen[key]++
	return l.seen[key] <= burst, 1500 * time.Millisecond, nil
}

func sign(secret Secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// deliver makes a signed delivery; headers come in pairs, "" removes one.
func deliver(event, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, Path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-GitHub-Event", event)
	r.Header.Set("X-GitHub-Delivery", guid)
	r.Header.Set("X-Hub-Signature-256", sign(current, body))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
		}
	}
	return r
}

func newFunction(t testing.TB, change ...func(*Deps)) (*Function, *memory) {
	t.Helper()
	m := &memory{}
	d := Deps{Store: m, Current: current, Previous: previous, Now: func() time.Time { return testNow }}
	for _, f := range change {
		f(&d)
	}
	f, err := New(d)
	if err != nil {
		t.Fatal(err)
	}
	return f, m
}

func serve(f http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

const pushBody = `{"ref":"refs/heads/main","after":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","installation":{"id":1},"repository":{"id":2,"full_name":"octo/train","html_url":"https://github.com/octo/train"},"sender":{"login":"mona"}}`

func TestAnswers(t *testing.T) {
	t.Parallel()
	form := func(s string) string { return url.Values{"payload": {s}}.Encode() }
	asForm := func(body string) *http.Request {
		return deliver("push", body, "Content-Type", "application/x-www-form-urlencoded")
	}
	sha1Sum := func(body string) string {
		mac := hmac.New(sha1.New, []byte(current))
		mac.Write([]byte(body))
		return "sha1=" + hex.EncodeToString(mac.Sum(nil))
	}
	get := deliver("push", pushBody)
	get.Method = http.MethodGet
	elsewhere := deliver("push", pushBody)
	elsewhere.URL.Path = "/webhooks/gitlab"
	cutOff := deliver("push", pushBody)
	cutOff.Body = io.NopCloser(io.MultiReader(strings.NewReader(pushBody[:20]), iotest.ErrReader(io.ErrUnexpectedEOF)))
	chunked := deliver("push", strings.Repeat(" ", 26<<20))
	chunked.ContentLength = -1
	large := `{"x":"` + strings.Repeat("y", 3<<20) + `",` + pushBody[1:]

	cases := map[string]struct {
		request *http.Request
		code    int
		status  string
		stored  bool
	}{
		"json":                       {deliver("push", pushBody), 202, "stored", true},
		"json with a charset":        {deliver("push", pushBody, "Content-Type", "application/json; charset=utf-8"), 202, "stored", true},
		"previous secret":            {deliver("push", pushBody, "X-Hub-Signature-256", sign(previous, pushBody)), 202, "stored", true},
		"form":                       {asForm(form(pushBody)), 202, "stored", true},
		"3 MiB":                      {deliver("push", large), 202, "stored", true},
		"ping":                       {deliver("ping", `{"zen":"Keep it logically awesome."}`), 200, "pong", false},
		"not subscribed":             {deliver("star", `{"action":"created"}`), 200, "ignored", false},
		"without a repository":       {deliver("push", `{"installation":{"id":1}}`), 200, "ignored", false},
		"without an installation":    {deliver("push", `{"repository":{"id":1}}`), 200, "ignored", false},
		"installation":               {deliver("installation", `{"action":"deleted","installation":{"id":1}}`), 202, "stored", true},
		"installation without an id": {deliver("installation", `{"action":"deleted","installation":{}}`), 200, "ignored", false},
		"no delivery id":             {deliver("push", pushBody, "X-GitHub-Delivery", ""), 400, "refused", false},
		"odd delivery id":            {deliver("push", pushBody, "X-GitHub-Delivery", "a b"), 400, "refused", false},
		"endless delivery id":        {deliver("push", pushBody, "X-GitHub-Delivery", strings.Repeat("a", 101)), 400, "refused", false},
		"no event":                   {deliver("", pushBody), 400, "refused", false},
		"odd event":                  {deliver("../push", pushBody), 400, "refused", false},
		"cut off on the way":         {cutOff, 400, "refused", false},
		"truncated":                  {deliver("push", pushBody[:50]), 400, "refused", false},
		"empty":                      {deliver("push", ""), 400, "refused", false},
		"null":                       {deliver("push", "null"), 400, "refused", false},
		"a list":                     {deliver("push", "[]"), 400, "refused", false},
		"trailing":                   {deliver("push", pushBody+"}"), 400, "refused", false},
		"NUL":                        {deliver("push", pushBody[:50]+"\x00"+pushBody[50:]), 400, "refused", false},
		"nested deep":                {deliver("push", strings.Repeat(`{"a":`, 100_000)+"1"+strings.Repeat("}", 100_000)), 400, "refused", false},
		"another shape":              {deliver("push", `{"installation":{"id":"one"}}`), 400, "refused", false},
		"run without an id":          {deliver("workflow_run", pushBody), 400, "refused", false},
		"odd action":                 {deliver("push", `{"action":"a\u0000","installation":{"id":1},"repository":{"id":2}}`), 400, "refused", false},
		"form without a payload":     {asForm("x=y"), 400, "refused", false},
		"form with two":              {asForm(form("{}") + "&" + form("{}")), 400, "refused", false},
		"broken form":                {asForm("payload=%zz"), 400, "refused", false},
		"form signed inside":         {deliver("push", form(pushBody), "Content-Type", "application/x-www-form-urlencoded", "X-Hub-Signature-256", sign(current, pushBody)), 401, "refused", false},
		"no signature":               {deliver("push", pushBody, "X-Hub-Signature-256", ""), 401, "refused", false},
		"wrong signature":            {deliver("push", pushBody, "X-Hub-Signature-256", sign("x", pushBody)), 401, "refused", false},
		"signature of another body":  {deliver("push", pushBody, "X-Hub-Signature-256", sign(current, pushBody+" ")), 401, "refused", false},
		"short signature":            {deliver("push", pushBody, "X-Hub-Signature-256", "sha256=ab"), 401, "refused", false},
		"no hex":                     {deliver("push", pushBody, "X-Hub-Signature-256", "sha256="+strings.Repeat("z", 64)), 401, "refused", false},
		"only SHA-1":                 {deliver("push", pushBody, "X-Hub-Signature-256", "", "X-Hub-Signature", sha1Sum(pushBody)), 401, "refused", false},
		"SHA-1 in its place":         {deliver("push", pushBody, "X-Hub-Signature-256", sha1Sum(pushBody)), 401, "refused", false},
		"empty secret":               {deliver("push", pushBody, "X-Hub-Signature-256", sign("", pushBody)), 401, "refused", false},
		"another path":               {elsewhere, 404, "refused", false},
		"GET":                        {get, 405, "refused", false},
		"26 MiB":                     {deliver("push", strings.Repeat(" ", 26<<20)), 413, "refused", false},
		"26 MiB unannounced":         {chunked, 413, "refused", false},
		"no media type":              {deliver("push", pushBody, "Content-Type", ""), 415, "refused", false},
		"text":                       {deliver("push", pushBody, "Content-Type", "text/plain"), 415, "refused", false},
		"gzip":                       {deliver("push", pushBody, "Content-Encoding", "gzip"), 415, "refused", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			published := 0
			f, m := newFunction(t, func(d *Deps) {
				d.Published = func(domain.Envelope) {
					published++
					if len(m0(d)) == 0 {
						t.Error("published before it was stored")
					}
				}
			})
			w := serve(f, tc.request)
			var got struct{ Status, Reason string }
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatalf("answer is %q: %v", w.Body, err)
			}
			if w.Code != tc.code || got.Status != tc.status {
				t.Errorf("%d %+v, want %d %s", w.Code, got, tc.code, tc.status)
			}
			if tc.status != "stored" && tc.status != "pong" && got.Reason == "" {
				t.Error("no reason")
			}
			if stored := len(m.envelopes) == 1 && published == 1; stored != tc.stored {
				t.Errorf("%d events stored, %d published", len(m.envelopes), published)
			}
			for h, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cache-Control": "no-store", "Content-Type": "application/json; charset=utf-8", "Referrer-Policy": "no-referrer"} {
				if w.Header().Get(h) != want {
					t.Errorf("%s is %q", h, w.Header().Get(h))
				}
			}
			if !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
				t.Error("no content security policy")
			}
		})
	}
}

func m0(d *Deps) []domain.Envelope {
	m := d.Store.(*memory)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.envelopes
}

func TestStoreFails(t *testing.T) {
	t.Parallel()
	f, m := newFunction(t, func(d *Deps) { d.Published = func(domain.Envelope) { t.Error("published what isn't stored") } })
	for name, err := range map[string]error{"down": errors.New("connection refused"), "invalid": domain.Errorf(domain.Invalid, "store", "no")} {
		m.err = err
		if w := serve(f, deliver("push", pushBody)); w.Code != 503 || strings.Contains(w.Body.String(), "connection") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// TestClientGone: GitHub hangs up after 10 seconds; what it sent is stored anyway.
func TestClientGone(t *testing.T) {
	t.Parallel()
	f, m := newFunction(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if w := serve(f, deliver("push", pushBody).WithContext(ctx)); w.Code != 202 || m.ctxErr != nil {
		t.Errorf("%d, the store's context: %v", w.Code, m.ctxErr)
	}
}

func TestDuplicatesAtOnce(t *testing.T) {
	t.Parallel()
	published := 0
	f, m := newFunction(t, func(d *Deps) { d.Published = func(domain.Envelope) { published++ } })
	results := make(chan string, 5)
	for range cap(results) {
		go func() {
			w := serve(f, deliver("push", pushBody))
			results <- fmt.Sprint(w.Code, strings.Contains(w.Body.String(), `"duplicate"`))
		}()
	}
	got := map[string]int{}
	for range cap(results) {
		got[<-results]++
	}
	if diff := cmp.Diff(map[string]int{"202 false": 1, "202 true": 4}, got); diff != "" || len(m.envelopes) != 1 || published != 1 {
		t.Error(diff, len(m.envelopes), published)
	}
}

func TestFloods(t *testing.T) {
	t.Parallel()
	f, m := newFunction(t, func(d *Deps) { d.Limiter = &limiter{}; d.RatePerMinute = 3 })
	bad := func() *http.Request { return deliver("push", pushBody, "X-Hub-Signature-256", sign("x", pushBody)) }
	for i, want := range []int{401, 401, 401, 429, 429} {
		w := serve(f, bad())
		if w.Code != want {
			t.Errorf("request %d got %d", i, w.Code)
		}
		if after := w.Header().Get("Retry-After"); (want == 429) != (after == "2") {
			t.Errorf("request %d: Retry-After %q", i, after)
		}
	}
	// The same address may carry both a flood and GitHub.
	for i := range 20 {
		if w := serve(f, deliver("push", pushBody, "X-GitHub-Delivery", fmt.Sprint("d-", i))); w.Code != 202 {
			t.Fatalf("a verified delivery was answered %d", w.Code)
		}
	}
	if w := serve(f, deliver("push", "{")); w.Code != 400 {
		t.Errorf("a verified malformed delivery was answered %d", w.Code)
	}
	if len(m.envelopes) != 20 {
		t.Errorf("%d were stored", len(m.envelopes))
	}
	for name, r := range map[string]*http.Request{"media type": deliver("push", "", "Content-Type", "a/b"), "headers": deliver("", ""), "size": deliver("push", strings.Repeat("x", 26<<20))} {
		if w := serve(f, r); w.Code != 429 {
			t.Errorf("%s: a flood of these is answered %d", name, w.Code)
		}
	}
	other := bad()
	other.RemoteAddr = "203.0.113.9:1"
	if w := serve(f, other); w.Code != 401 {
		t.Errorf("somebody else is answered %d", w.Code)
	}
	down, _ := newFunction(t, func(d *Deps) { d.Limiter = &limiter{err: errors.New("down")} })
	if w := serve(down, bad()); w.Code != 401 {
		t.Errorf("without its limiter it answers %d", w.Code)
	}
}

// TestUnsignedBodiesAreNotRead: what can't be verified costs nothing.
func TestUnsignedBodiesAreNotRead(t *testing.T) {
	t.Parallel()
	f, _ := newFunction(t)
	r := deliver("push", pushBody, "X-Hub-Signature-256", "")
	r.Body = io.NopCloser(iotest.ErrReader(errors.New("read")))
	if w := serve(f, r); w.Code != 401 {
		t.Errorf("answered %d", w.Code)
	}
}

func TestClientOf(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	cases := map[string]struct {
		remote, forwarded, want string
	}{
		"direct":                         {"203.0.113.9:1234", "", "203.0.113.9"},
		"direct that claims":             {"203.0.113.9:1234", "198.51.100.1", "203.0.113.9"},
		"behind a proxy":                 {"10.0.0.1:1", "198.51.100.1", "198.51.100.1"},
		"behind two":                     {"10.0.0.1:1", "198.51.100.1, 10.2.2.2", "198.51.100.1"},
		"behind a proxy that is lied to": {"10.0.0.1:1", "1.2.3.4, 198.51.100.1", "198.51.100.1"},
		"rubbish":                        {"10.0.0.1:1", "1.2.3.4, rubbish", "10.0.0.1"},
		"only proxies":                   {"10.0.0.1:1", "10.0.0.2", "10.0.0.2"},
		"IPv6":                           {"[2001:db8:1:2:3:4:5:6]:1", "", "2001:db8:1:2::/64"},
		"mapped":                         {"[::ffff:203.0.113.9]:1", "", "203.0.113.9"},
		"no address":                     {"@", "", "unknown"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := deliver("push", pushBody)
			r.RemoteAddr = tc.remote
			if tc.forwarded != "" {
				r.Header.Set("X-Forwarded-For", tc.forwarded)
			}
			if got := clientOf(r, proxies); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestProjection(t *testing.T) {
	t.Parallel()
	const common = `"installation":{"id":1},"repository":{"id":2,"full_name":"octo/train","html_url":"https://github.com/octo/train"},"sender":{"login":"mona"}`
	sha := strings.Repeat("a", 40)
	base := events.GitHub{InstallationID: 1, RepoID: 2, RepoName: "octo/train", Sender: "mona"}
	with := func(f func(*events.GitHub)) events.GitHub { p := base; f(&p); return p }
	cases := map[string]struct {
		event, body string
		want        events.GitHub
	}{
		"workflow_run": {"workflow_run", `{"action":"completed","workflow_run":{"id":3,"run_attempt":2,"conclusion":"failure","head_sha":"` + sha + `","head_branch":"main"},` + common + `}`,
			with(func(p *events.GitHub) {
				p.Action, p.RunID, p.RunAttempt, p.Conclusion, p.HeadSHA, p.HeadBranch = "completed", 3, 2, domain.Failure, sha, "main"
			})},
		"a run in progress": {"workflow_run", `{"action":"in_progress","workflow_run":{"id":3,"conclusion":null,"head_branch":null},` + common + `}`,
			with(func(p *events.GitHub) { p.Action, p.RunID, p.RunAttempt = "in_progress", 3, 1 })},
		"push":          {"push", `{"ref":"refs/heads/a/b","after":"` + sha + `",` + common + `}`, with(func(p *events.GitHub) { p.HeadSHA, p.HeadBranch = sha, "a/b" })},
		"push of a tag": {"push", `{"ref":"refs/tags/v1","after":"` + sha + `",` + common + `}`, with(func(p *events.GitHub) { p.HeadSHA = sha })},
		"pull_request": {"pull_request", `{"action":"closed","pull_request":{"number":4,"merged":true,"head":{"sha":"` + sha + `","ref":"x"}},` + common + `}`,
			with(func(p *events.GitHub) {
				p.Action, p.Number, p.Merged, p.HeadSHA, p.HeadBranch = "closed", 4, true, sha, "x"
			})},
		"issue":                 {"issues", `{"action":"opened","issue":{"number":4},` + common + `}`, with(func(p *events.GitHub) { p.Action, p.Number = "opened", 4 })},
		"comment":               {"issue_comment", `{"action":"created","issue":{"number":4},"comment":{"body":"\r\n /mlops-bot stop\r\nplease"},` + common + `}`, with(func(p *events.GitHub) { p.Action, p.Number, p.Command = "created", 4, "/mlops-bot stop" })},
		"other comment":         {"issue_comment", `{"action":"created","issue":{"number":4},"comment":{"body":"use /mlops-bot stop"},` + common + `}`, with(func(p *events.GitHub) { p.Action, p.Number = "created", 4 })},
		"another bot's command": {"issue_comment", `{"issue":{"number":4},"comment":{"body":"/mlops-bottle"},` + common + `}`, with(func(p *events.GitHub) { p.Number = 4 })},
		"check_run":             {"check_run", `{"action":"completed","check_run":{"head_sha":"` + sha + `"},` + common + `}`, with(func(p *events.GitHub) { p.Action, p.HeadSHA = "completed", sha })},
		"installation":          {"installation", `{"action":"created","installation":{"id":1},"sender":{"login":"dependabot[bot]"}}`, events.GitHub{Action: "created", InstallationID: 1, Sender: "dependabot[bot]"}},
		"names that are none": {"push", `{"ref":"refs/heads/a\u0000b","after":"zz","installation":{"id":1},"repository":{"id":2,"full_name":"../..","html_url":"javascript:alert(1)"},"sender":{"login":"<script>"}}`,
			events.GitHub{InstallationID: 1, RepoID: 2}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, m := newFunction(t)
			if w := serve(f, deliver(tc.event, tc.body, "Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")); w.Code != 202 {
				t.Fatalf("answered %d %s", w.Code, w.Body)
			}
			tc.want.DeliveryID, tc.want.Event = guid, tc.event
			e, err := events.Open(m.envelopes[0])
			if err != nil {
				t.Fatal(err)
			}
			got, err := events.Decode[events.GitHub](e)
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Error(diff, err)
			}
			if events.TraceParent(e) == "" || e.ID() != guid || !e.Time().Equal(testNow) {
				t.Errorf("event is %s", e)
			}
			if src := e.Source(); (tc.want.RepoName != "") != (src == "https://github.com/octo/train") {
				t.Errorf("source is %s", src)
			}
			d := m.deliveries[guid]
			want := domain.Delivery{ID: guid, Event: tc.event, Action: tc.want.Action, InstallationID: tc.want.InstallationID, RepoID: tc.want.RepoID, Body: []byte(tc.body), ReceivedAt: testNow}
			if diff := cmp.Diff(want, d); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// examples are GitHub's own example payloads, by event.
func examples(t testing.TB) map[string][]json.RawMessage {
	t.Helper()
	path := filepath.Join("..", "..", "test", "openapi", "node_modules", "@octokit", "webhooks-examples", "api.github.com", "index.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("GitHub's example payloads are missing: run `make test-deps` (npm ci in test/openapi): %v", err)
	}
	var all []struct {
		Name     string            `json:"name"`
		Examples []json.RawMessage `json:"examples"`
	}
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	out := map[string][]json.RawMessage{}
	for _, e := range all {
		out[e.Name] = e.Examples
	}
	return out
}

// TestGitHubsExamples sends every example payload of the subscribed events, as
// it is and as an App gets it (some were recorded from plain webhooks, without an
// installation), in both media types.
func TestGitHubsExamples(t *testing.T) {
	t.Parallel()
	byEvent := examples(t)
	for _, event := range append(Subscribed(), "ping") {
		if len(byEvent[event]) == 0 {
			t.Errorf("there is no example of %s", event)
		}
		for i, raw := range byEvent[event] {
			var fields map[string]json.RawMessage
			if err := json.Unmarshal(raw, &fields); err != nil {
				t.Fatal(err)
			}
			_, installed := fields["installation"]
			if !installed {
				fields["installation"] = json.RawMessage(`{"id":1}`)
			}
			asApp, err := json.Marshal(fields)
			if err != nil {
				t.Fatal(err)
			}
			for kind, body := range map[string]string{"as it is": string(raw), "for an App": string(asApp)} {
				want := http.StatusAccepted
				if event == "ping" || !installed && kind == "as it is" {
					want = http.StatusOK
				}
				form := url.Values{"payload": {body}}.Encode()
				for media, r := range map[string]*http.Request{"json": deliver(event, body), "form": deliver(event, form, "Content-Type", "application/x-www-form-urlencoded")} {
					f, _ := newFunction(t)
					if w := serve(f, r); w.Code != want {
						t.Errorf("%s %d %s (%s): %d %s, want %d", event, i, kind, media, w.Code, w.Body, want)
					}
				}
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]Deps{"no secret": {Store: &memory{}}, "only a previous one": {Store: &memory{}, Previous: "x"}, "no store": {Current: "x"}} {
		if _, err := New(d); domain.KindOf(err) != domain.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSecretsDontShow(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	s := Secret("hunter2")
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "secret", s)
	_, _ = fmt.Fprintf(&b, "%v %s %+v %#v", s, s, Deps{Current: s}, Deps{Current: s})
	j, err := json.Marshal(s)
	if err != nil || strings.Contains(b.String()+string(j), "hunter2") {
		t.Errorf("%s %s %v", b.String(), j, err)
	}
}

// TestOverTheWire goes through a real server: deadlines and early answers exist
// only there.
func TestOverTheWire(t *testing.T) {
	t.Parallel()
	f, _ := newFunction(t)
	srv := httptest.NewServer(f)
	defer srv.Close()
	for name, tc := range map[string]struct {
		body string
		code int
	}{"small": {pushBody, 202}, "26 MiB": {strings.Repeat(" ", 26<<20), 413}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+Path, strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = deliver("push", tc.body).Header
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != tc.code {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("push", []byte(pushBody))
	f.Add("workflow_run", []byte(`{"action":"completed","installation":{"id":1},"repository":{"id":2},"workflow_run":{"id":3,"head_branch":"\u0000"}}`))
	f.Add("issue_comment", []byte(`{"installation":{"id":1},"repository":{"id":2},"issue":{"number":1},"comment":{"body":"/mlops-bot `+strings.Repeat("é", 300)+`"}}`))
	f.Add("pull_request", []byte(strings.Repeat(`[`, 1000)))
	f.Fuzz(func(t *testing.T, event string, body []byte) {
		p, source, err := decode(event, body, false)
		if err != nil {
			if len(err.Error()) > 500 {
				t.Errorf("the error is %d bytes long", len(err.Error()))
			}
			return
		}
		if _, ok := subscribed[event]; !ok {
			return
		}
		if p.InstallationID <= 0 || subscribed[event].repo && p.RepoID <= 0 || len(p.Command) > maxCommand {
			t.Errorf("%+v", p)
		}
		p.DeliveryID = guid
		if _, err := events.NewGitHub(events.Cause{ID: guid, Source: source, Time: testNow}, p); err != nil {
			t.Errorf("what was decoded can't be encoded: %v", err)
		}
	})
}

// discard stores nothing, so that the benchmark measures the handler.
type discard struct{}

func (discard) AcceptDelivery(context.Context, domain.Delivery, domain.Envelope) (bool, error) {
	return true, nil
}

// BenchmarkHandler compares the whole function, but for a real store, with a bare
// handler that only checks the signature, on a payload of GitHub's usual size.
func BenchmarkHandler(b *testing.B) {
	body := `{"padding":"` + strings.Repeat("x", 20<<10) + `",` + pushBody[1:]
	signature := sign(current, body)
	f, err := New(Deps{Store: discard{}, Current: current})
	if err != nil {
		b.Fatal(err)
	}
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		sum, _ := parseSignature(r.Header.Get("X-Hub-Signature-256"))
		mac := hmac.New(sha256.New, []byte(current))
		mac.Write(got)
		if err != nil || !hmac.Equal(mac.Sum(nil), sum) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
	for name, h := range map[string]http.Handler{"function": f, "bare": bare} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				w := httptest.NewRecorder()
				r := httptest.NewRequest(http.MethodPost, Path, strings.NewReader(body))
				r.Header = http.Header{"Content-Type": {"application/json"}, "X-Github-Event": {"push"}, "X-Github-Delivery": {guid}, "X-Hub-Signature-256": {signature}}
				h.ServeHTTP(w, r)
				if w.Code != http.StatusAccepted {
					b.Fatal(w.Code, w.Body)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

func TestDecodeWithoutApp(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		event, body string
		withoutApp  bool
		want        int64
		ignored     bool
	}{
		"an App's delivery":              {"push", `{"installation":{"id":7},"repository":{"id":2}}`, false, 7, false},
		"without installation, with App": {"push", `{"repository":{"id":2}}`, false, 0, true},
		"a repository's own webhook":     {"push", `{"repository":{"id":2}}`, true, 0, false},
		"an installation that isn't ours": {
			"push", `{"installation":{"id":7},"repository":{"id":2}}`, true, 0, false,
		},
		"an installation's event": {"installation", `{"action":"deleted","installation":{"id":7}}`, true, 0, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _, err := decode(tt.event, []byte(tt.body), tt.withoutApp)
			_, ignored := errors.AsType[notForUs](err)
			if ignored != tt.ignored || (err != nil) != tt.ignored || p.InstallationID != tt.want {
				t.Errorf("got installation %d, error %v", p.InstallationID, err)
			}
		})
	}
}

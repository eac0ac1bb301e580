package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secretPath = "/services/T0SECRET/B0SECRET/hunter2hunter2"
	signSecret = "a-secret-of-enough-bytes"
)

// receiver is the far side of a channel. Answer decides what it does with the
// next message; what arrived is kept.
type receiver struct {
	mu     sync.Mutex
	status int // 0 accepts
	header http.Header
	answer string
	hang   chan struct{} // not nil: doesn't answer until it is closed
	got    []string      // what people would see
	keys   []string
	raw    [][]byte
	sign   []string
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	hang, status, header, answer := r.hang, r.status, r.header, r.answer
	r.got = append(r.got, string(body))
	r.raw = append(r.raw, body)
	r.keys = append(r.keys, req.Header.Get(IdempotencyHeader))
	r.sign = append(r.sign, req.Header.Get(SignatureHeader))
	r.mu.Unlock()
	if hang != nil {
		<-hang
		return
	}
	for k, v := range header {
		w.Header()[k] = v
	}
	if status != 0 {
		w.WriteHeader(status)
	}
	_, _ = io.WriteString(w, answer)
}

// UpsertComment answers as the GitHub adapter would for the same statuses.
func (r *receiver) UpsertComment(ctx context.Context, _ domain.Repo, number int, marker, body string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	const op = "write the comment"
	switch {
	case ctx.Err() != nil:
		return "", domain.Errorf(domain.Transient, op, "%w", ctx.Err())
	case r.hang != nil:
		return "", domain.Errorf(domain.Transient, op, "%w", context.DeadlineExceeded)
	case r.status == http.StatusTooManyRequests:
		e := domain.Errorf(domain.RateLimited, op, "429")
		e.RetryAt = t0.Add(30 * time.Second)
		return "", e
	case r.status >= 500, r.status == 408:
		return "", domain.Errorf(domain.Transient, op, "%d", r.status)
	case r.status == 401, r.status == 403:
		return "", domain.Errorf(domain.Denied, op, "%d", r.status)
	case r.status >= 300:
		return "", domain.Errorf(domain.Invalid, op, "%d", r.status)
	}
	if !strings.HasPrefix(body, marker) {
		return "", errors.New("the body lacks its marker")
	}
	r.got = append(r.got, body)
	return fmt.Sprintf("https://github.com/c/%d", number), nil
}

func (r *receiver) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, string(p))
	return len(p), nil
}

func (r *receiver) last(t *testing.T) string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.got) == 0 {
		t.Fatal("nothing arrived")
	}
	return r.got[len(r.got)-1]
}

// kit is a channel of one provider and its far side.
type kit struct {
	channel  Channel
	receiver *receiver
}

// local are the providers that can't fail by somebody else's doing.
var local = []string{"log"}

func newKit(t *testing.T, provider string, timeout time.Duration) kit {
	t.Helper()
	r := &receiver{}
	srv := httptest.NewServer(r)
	client := NewClient(ClientSettings{AllowLoopback: true, Timeout: timeout, Now: func() time.Time { return t0 }})
	t.Cleanup(func() { client.Close(); srv.Close() })
	log := slog.New(slog.NewJSONHandler(r, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	channels, err := NewChannels([]Settings{{Provider: provider, URL: srv.URL + secretPath, Secret: signSecret}},
		Tools{Commenter: r, Client: client, Log: log, Now: func() time.Time { return t0 }})
	if err != nil {
		t.Fatal(err)
	}
	return kit{channel: channels[0], receiver: r}
}

func message(s story) Message {
	var rep *domain.Repair
	if len(s.repairs) > 0 {
		rep = &s.repairs[len(s.repairs)-1]
	}
	return compose(s.incident, rep, s.repairs, "https://bot.example.com/")
}

// TestContract holds every channel to the same rules.
func TestContract(t *testing.T) {
	t.Parallel()
	for _, provider := range Providers() {
		t.Run(provider, func(t *testing.T) {
			t.Parallel()
			t.Run("golden", func(t *testing.T) { t.Parallel(); golden(t, provider) })
			t.Run("answers", func(t *testing.T) { t.Parallel(); answers(t, provider) })
			t.Run("hostile text", func(t *testing.T) { t.Parallel(); hostile(t, provider) })
			t.Run("cancelled", func(t *testing.T) { t.Parallel(); cancelled(t, provider) })
			t.Run("hang", func(t *testing.T) { t.Parallel(); hang(t, provider) })
		})
	}
}

// golden: what people get in each state. Look at the files when they change.
func golden(t *testing.T, provider string) {
	for name, s := range stories() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKit(t, provider, DefaultTimeout)
			_, told, err := k.channel.Notify(t.Context(), message(s), "key-1")
			if err != nil {
				t.Fatal(err)
			}
			got := "nothing is said\n"
			if told {
				got = k.receiver.last(t)
			}
			if json.Valid([]byte(got)) {
				var b bytes.Buffer
				if err := json.Indent(&b, []byte(got), "", "  "); err != nil {
					t.Fatal(err)
				}
				got = strings.TrimSpace(b.String()) + "\n"
			}
			path := filepath.Join("testdata", provider, name+".golden")
			if *update {
				if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// answers: what the far side says decides whether it is tried again, and no
// error shows a secret.
func answers(t *testing.T, provider string) {
	if slices.Contains(local, provider) {
		return
	}
	huge := strings.Repeat("x", 1<<20)
	tests := map[string]struct {
		status  int
		header  http.Header
		answer  string
		kind    domain.ErrKind
		retryAt time.Time
	}{
		"accepted":               {status: 200, answer: "ok"},
		"accepted, huge answer":  {status: 202, answer: huge},
		"rate limited":           {status: 429, header: http.Header{"Retry-After": {"30"}}, kind: domain.RateLimited, retryAt: t0.Add(30 * time.Second)},
		"server error":           {status: 500, kind: domain.Transient},
		"bad gateway":            {status: 502, answer: huge, kind: domain.Transient},
		"unavailable":            {status: 503, kind: domain.Transient},
		"request time-out":       {status: 408, kind: domain.Transient},
		"bad request":            {status: 400, answer: "invalid_blocks", kind: domain.Invalid},
		"unauthorized":           {status: 401, kind: domain.Denied},
		"forbidden":              {status: 403, answer: "action_prohibited", kind: domain.Denied},
		"not found":              {status: 404, answer: "no_service", kind: domain.Invalid},
		"gone":                   {status: 410, kind: domain.Invalid},
		"echoes the request":     {status: 400, answer: "bad request " + secretPath, kind: domain.Invalid},
		"redirects":              {status: 307, header: http.Header{"Location": {"https://elsewhere.example.com/"}}, kind: domain.Invalid},
		"redirects to itself":    {status: 302, header: http.Header{"Location": {secretPath}}, kind: domain.Invalid},
		"refuses with a control": {status: 422, answer: "\x1b[31mred\x1b[0m", kind: domain.Invalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKit(t, provider, DefaultTimeout)
			k.receiver.status, k.receiver.header, k.receiver.answer = tt.status, tt.header, tt.answer
			_, _, err := k.channel.Notify(t.Context(), message(stories()["verified"]), "key-1")
			if got := domain.KindOf(err); got != tt.kind {
				t.Fatalf("kind %q, want %q: %v", got, tt.kind, err)
			}
			if got, _ := domain.RetryAt(err); !got.Equal(tt.retryAt) {
				t.Errorf("retry at %s, want %s", got, tt.retryAt)
			}
			noSecret(t, err)
		})
	}
}

func noSecret(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, secret := range []string{"hunter2", "T0SECRET", "/services", signSecret, "\x1b"} {
			if strings.Contains(e.Error(), secret) || strings.Contains(fmt.Sprintf("%#v", e), secret) {
				t.Errorf("the error shows %q: %v", secret, e)
			}
		}
	}
	if len(err.Error()) > 500 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
}

// mean are texts that try to get out of a message.
var mean = []string{
	"@everyone @channel @octocat", "<!channel> <!here> <@U012345> <https://evil.example.com|click>",
	"`code` ``` ```` fence", "</details></sub><img src=x onerror=alert(1)><script>alert(1)</script>", "<!-- mlops-bot:repair:0 -->",
	"\x1b[31mred\x1b[0m \x1b]0;title\x07 \x07 \x00 \x9b31m", "rtl \u202egnp.exe\u202c \u2066x\u2069 \u200b\u200d\ufeff",
	"# heading\n\n- [ ] task\n\n| a | b |\n|---|---|", "[link](https://evil.example.com) ![i](https://evil.example.com/i.png) https://evil.example.com www.evil.example.com",
	"fixes #1, octo/repo#2", "*bold* _it_ ~no~ \\", "\xff\xfe invalid", strings.Repeat("A", 1<<20), strings.Repeat("`", 5000), strings.Repeat("\n", 5000) + "end",
	strings.Repeat("<", 1<<16), strings.Repeat("\u202e", 1<<16),
}

// hostile: whatever a log, a branch or a job name holds, the message stays
// bounded, valid, and inert.
func hostile(t *testing.T, provider string) {
	for i, s := range mean {
		t.Run(fmt.Sprintf("text %d", i), func(t *testing.T) {
			t.Parallel()
			k := newKit(t, provider, DefaultTimeout)
			inc := with(oom(), func(i *domain.Incident) {
				i.Branch, i.WorkflowPath, i.Repo.FullName, i.Repo.HTMLURL = s, s, s, "javascript:"+s
				i.Run.HTMLURL, i.Job.HTMLURL = s, "https://github.com/a) [x](https://evil.example.com"
				i.Finding = domain.Finding{Category: s, Rule: s, Title: s, Job: s, Step: s, Text: s, Line: 1, Facts: map[string]string{s: s, "b": s}, Why: "it stands in the step " + s}
				i.Change = new(with(bigger(), func(c *domain.Change) {
					c.Branch, c.GreenBranch, c.Green.HTMLURL = s, s+"2", s
					c.Suspects = []domain.Suspect{{SHA: "5eedf00d", Author: s, Subject: s, HTMLURL: "https://github.com/|x> <!channel) [x](https://evil.example.com", Reasons: []domain.Reason{{Does: "changes", Name: s, In: s}, {Does: "sets", Name: s, In: s}}}}
				}))
				i.Flaky = new(with(comesAndGoes(), func(f *domain.Flakiness) { f.Flips[0] = domain.Flip{Commit: s, Branch: s, Author: s, Job: s} }))
				i.Secondary = []domain.Finding{i.Finding, i.Finding, i.Finding, i.Finding}
				i.Problems = []string{s, s, s, s, s}
				i.Run.PullRequests = []int{1}
			})
			rep := with(halve(), func(r *domain.Repair) {
				r.Plan.Title, r.Plan.Verify, r.Plan.Strategy = s, s, s
				r.Plan.Risk = domain.Risk(s)
				r.PullURL = "https://github.com/|x> <!channel"
				for range 20 {
					r.Plan.Edits = append(r.Plan.Edits, domain.Edit{Path: s})
					r.Proofs = append(r.Proofs, domain.Proof{Job: s, Event: s, HTMLURL: s, Conclusion: domain.Conclusion(s)})
				}
			})
			refused := domain.Repair{ID: "rep-x", State: domain.RepairRefused, IncidentID: inc.ID, Root: inc.ID, Refusal: &domain.Refusal{Code: domain.RefusalCode(s), Reason: s}}
			for _, r := range []*domain.Repair{&rep, &refused} {
				if _, _, err := k.channel.Notify(t.Context(), compose(inc, r, []domain.Repair{*r}, "https://bot.example.com"), "key-1"); err != nil {
					t.Fatal(err)
				}
				inert(t, provider, k.receiver.last(t))
			}
		})
	}
}

var (
	fenced   = regexp.MustCompile("(?s)(`{3,})text\n.*?\n(`{3,})\n")
	codeSpan = regexp.MustCompile("`+[^`\n]+`+")
)

func inert(t *testing.T, provider, got string) {
	t.Helper()
	if limit := map[string]int{"comment": 60_000}[provider]; len(got) > max(limit, 128<<10) || (limit > 0 && len(got) > limit) {
		t.Errorf("%d bytes", len(got))
	}
	for _, r := range got {
		if r != '\n' && r != '\u200b' && (r < ' ' || (r >= 0x7f && r < 0xa0) || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) || r == 0xfeff) {
			t.Fatalf("holds the invisible %U", r)
		}
	}
	switch provider {
	case "comment":
		checkMarkdown(t, got)
	case "slack":
		var body slackBody
		if err := json.Unmarshal([]byte(got), &body); err != nil {
			t.Fatal(err)
		}
		if len(body.Blocks) > 50 {
			t.Errorf("%d blocks", len(body.Blocks))
		}
		for _, b := range body.Blocks {
			for _, f := range append(b.Elements, deref(b.Text)...) {
				if limit := map[string]int{"header": slackHeader, "section": slackSection, "context": slackSection}[b.Type]; len([]rune(f.Text)) > limit {
					t.Errorf("a %s of %d runes", b.Type, len([]rune(f.Text)))
				}
				if f.Type == "mrkdwn" {
					checkMrkdwn(t, f.Text)
				}
			}
		}
		checkMrkdwn(t, body.Text)
	default:
		for _, line := range strings.Split(strings.TrimSpace(got), "\n") {
			if !json.Valid([]byte(line)) {
				t.Errorf("not JSON: %.200s", line)
			}
		}
	}
}

func deref(f *slackField) []slackField {
	if f == nil {
		return nil
	}
	return []slackField{*f}
}

// checkMrkdwn: the only control sequences are links to web addresses.
func checkMrkdwn(t *testing.T, s string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`<[^>]*>?`).FindAllString(s, -1) {
		if !regexp.MustCompile(`^<https?://[^<>|]+\|[^<>|]+>$`).MatchString(m) {
			t.Errorf("holds the control sequence %.80q", m)
		}
	}
	if regexp.MustCompile(`@(everyone|channel|here|octocat)`).MatchString(s) {
		t.Errorf("mentions somebody: %.80q", s)
	}
	if n := strings.Count(s, "`"); n%2 != 0 {
		t.Errorf("%d backticks", n)
	}
}

// checkMarkdown: outside of code, the only HTML, links, mentions and references
// are the bot's.
func checkMarkdown(t *testing.T, s string) {
	t.Helper()
	for _, m := range fenced.FindAllStringSubmatch(s, -1) {
		if m[1] != m[2] {
			t.Errorf("a block begins with %d backticks and ends with %d", len(m[1]), len(m[2]))
		}
	}
	s = fenced.ReplaceAllString(s, "")
	// Spans whose text holds backticks are checked by TestMarkdownCode.
	s = regexp.MustCompile("(?s)`{2,} .*? `{2,}").ReplaceAllString(s, "")
	s = codeSpan.ReplaceAllString(s, "")
	for _, m := range regexp.MustCompile(`(?:^|[^\\])<[^>]*>?`).FindAllString(s, -1) {
		if !regexp.MustCompile(`<(/?sub|!-- mlops-bot:(repair|diagnosis):[0-9a-f]{16} --)>$`).MatchString(m) {
			t.Errorf("holds the tag %.80q", m)
		}
	}
	if regexp.MustCompile(`@(everyone|channel|octocat)`).MatchString(s) {
		t.Error("mentions somebody")
	}
	if regexp.MustCompile(`(^|[^\\])#1`).MatchString(s) {
		t.Error("refers to an issue")
	}
	for _, m := range regexp.MustCompile(`[^\\]\]\(([^)]*)\)`).FindAllStringSubmatch(s, -1) {
		if !strings.HasPrefix(m[1], "https://github.com/") && !strings.HasPrefix(m[1], "https://bot.example.com/") {
			t.Errorf("links to %.80q", m[1])
		}
	}
}

func cancelled(t *testing.T, provider string) {
	k := newKit(t, provider, DefaultTimeout)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := k.channel.Notify(ctx, message(stories()["verified"]), "key-1")
	if domain.KindOf(err) != domain.Transient {
		t.Errorf("got %v", err)
	}
	noSecret(t, err)
}

func hang(t *testing.T, provider string) {
	if slices.Contains(local, provider) {
		return
	}
	k := newKit(t, provider, 20*time.Millisecond)
	release := make(chan struct{})
	k.receiver.hang = release
	defer close(release)
	_, _, err := k.channel.Notify(t.Context(), message(stories()["verified"]), "key-1")
	if domain.KindOf(err) != domain.Transient {
		t.Errorf("got %v", err)
	}
	noSecret(t, err)
}

func TestWebhookSignsItsBody(t *testing.T) {
	t.Parallel()
	k := newKit(t, "webhook", DefaultTimeout)
	if _, _, err := k.channel.Notify(t.Context(), message(stories()["verified"]), "key-1"); err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, []byte(signSecret))
	mac.Write(k.receiver.raw[0])
	if want := "sha256=" + hex.EncodeToString(mac.Sum(nil)); k.receiver.sign[0] != want {
		t.Errorf("signed %s, want %s", k.receiver.sign[0], want)
	}
	var body webhookBody
	if err := json.Unmarshal(k.receiver.raw[0], &body); err != nil {
		t.Fatal(err)
	}
	if body.IdempotencyKey != "key-1" || k.receiver.keys[0] != "key-1" || !body.SentAt.Equal(t0) {
		t.Errorf("key %q and %q, sent at %s", body.IdempotencyKey, k.receiver.keys[0], body.SentAt)
	}
}

func TestNewChannelsRefuses(t *testing.T) {
	t.Parallel()
	client := NewClient(ClientSettings{})
	good := "https://hooks.example.com" + secretPath
	tests := map[string]struct {
		settings []Settings
		tools    Tools
		has      string
	}{
		"unknown provider": {[]Settings{{Provider: "pigeon"}}, Tools{}, "comment, log, slack, webhook"},
		"bad name":         {[]Settings{{Provider: "slack", Name: "A B", URL: good}}, Tools{Client: client}, "lower-case"},
		"same name twice":  {[]Settings{{Provider: "slack", URL: good}, {Provider: "slack", URL: good}}, Tools{Client: client}, "two channels"},
		"no URL":           {[]Settings{{Provider: "slack"}}, Tools{Client: client}, "no URL"},
		"http":             {[]Settings{{Provider: "slack", URL: "http://hooks.example.com" + secretPath}}, Tools{Client: client}, "https://"},
		"http on loopback": {[]Settings{{Provider: "slack", URL: "http://127.0.0.1:1" + secretPath}}, Tools{Client: client}, "https://"},
		"file":             {[]Settings{{Provider: "webhook", URL: "file:///etc/passwd", Secret: signSecret}}, Tools{Client: client}, "can't be read"},
		"credentials":      {[]Settings{{Provider: "webhook", URL: "https://u:hunter2@x.example.com", Secret: signSecret}}, Tools{Client: client}, "user name"},
		"unreadable URL":   {[]Settings{{Provider: "slack", URL: "https://x\x00hunter2"}}, Tools{Client: client}, "can't be read"},
		"short secret":     {[]Settings{{Provider: "webhook", URL: good, Secret: "hunter2"}}, Tools{Client: client}, "16 bytes"},
		"no client":        {[]Settings{{Provider: "slack", URL: good}}, Tools{}, "HTTP client"},
		"no client either": {[]Settings{{Provider: "webhook", URL: good, Secret: signSecret}}, Tools{}, "HTTP client"},
		"no App":           {[]Settings{{Provider: "comment"}}, Tools{}, "GitHub App"},
		"no logger":        {[]Settings{{Provider: "log"}}, Tools{}, "logger"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := NewChannels(tt.settings, tt.tools)
			if err == nil || !strings.Contains(err.Error(), tt.has) {
				t.Fatalf("got %v, want %q", err, tt.has)
			}
			noSecret(t, err)
		})
	}
}

func TestSettingsShowNoSecrets(t *testing.T) {
	t.Parallel()
	s := Settings{Provider: "slack", Name: "oncall", URL: "https://hooks.example.com" + secretPath, Secret: signSecret}
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("configured", "channel", s)
	fmt.Fprintf(&out, "%v %+v %#v %s", s, s, s, s)
	if strings.Contains(out.String(), "hunter2") || strings.Contains(out.String(), signSecret) {
		t.Error(out.String())
	}
}

func TestRetryAt(t *testing.T) {
	t.Parallel()
	tests := map[string]time.Duration{
		"": time.Minute, "30": 30 * time.Second, "0": time.Second, "-5": time.Second, "999999": time.Hour, "soon": time.Minute,
		"99999999999999999999": time.Minute, t0.Add(2 * time.Minute).Format(http.TimeFormat): 2 * time.Minute, t0.Add(-time.Hour).Format(http.TimeFormat): time.Second,
	}
	for header, want := range tests {
		if got := retryAt(header, t0).Sub(t0); got != want {
			t.Errorf("%q: wait %s, want %s", header, got, want)
		}
	}
}

// Package e2e tests the whole bot from outside: a signed webhook comes in, and
// incidents, pull requests, proofs and messages come out. GitHub is the stand-in,
// which really runs the repositories' workflows; everything else is production's
// code over real stores.
package e2e

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mlops-bot/mlops-bot/functions/repair"
	"github.com/mlops-bot/mlops-bot/shared/app"
	"github.com/mlops-bot/mlops-bot/shared/config"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/observe"
	"github.com/mlops-bot/mlops-bot/shared/standin"
	"github.com/mlops-bot/mlops-bot/shared/store"
	"github.com/mlops-bot/mlops-bot/test/servers"
)

const (
	repoName = "octo-labs/train"
	patience = 60 * time.Second
	hookKey  = "0123456789abcdef0123456789abcdef"
)

// world is a stand-in for GitHub, a database, a receiver of messages, and a bot
// that can be stopped and started again.
type world struct {
	t     testing.TB
	forge *standin.Server
	dbURL string
	db    *store.Store // a second look at the database, for assertions
	inbox *inbox
	key   string
	once  sync.Once

	installation int64
	offset       atomic.Int64 // of the bot's clock
}

// now is the bot's clock, which tests can set forward; the stand-in's is real.
func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.offset.Load())) }

func (w *world) advance(d time.Duration) { w.offset.Add(int64(d)) }

type inbox struct {
	*httptest.Server
	mu   sync.Mutex
	msgs []map[string]any
}

func newInbox() *inbox {
	in := &inbox{}
	in.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m map[string]any
		b, err := io.ReadAll(r.Body)
		if err == nil && json.Unmarshal(b, &m) == nil {
			in.mu.Lock()
			in.msgs = append(in.msgs, m)
			in.mu.Unlock()
		}
	}))
	return in
}

func (in *inbox) contains(text string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, m := range in.msgs {
		if b, err := json.Marshal(m); err == nil && strings.Contains(string(b), text) {
			return true
		}
	}
	return false
}

func newWorld(t testing.TB, dbURL string, opts standin.Options) *world {
	t.Helper()
	w := &world{t: t, dbURL: dbURL, inbox: newInbox()}
	opts.Execute = true
	var err error
	if w.forge, err = standin.New(opts); err != nil {
		t.Fatal(err)
	}
	if err := w.forge.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	w.key = filepath.Join(t.TempDir(), "app.pem")
	if err := os.WriteFile(w.key, w.forge.PrivateKeyPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// close ends what the world started; tests of many worlds don't wait for their
// end.
func (w *world) close() {
	w.once.Do(func() {
		if err := w.forge.Close(); err != nil {
			w.t.Error(err)
		}
		w.inbox.Close()
		if w.db != nil {
			if err := w.db.Close(); err != nil {
				w.t.Error(err)
			}
		}
	})
}

// databases runs a test on a SQLite file and on a real Postgres.
func databases(t *testing.T, run func(t *testing.T, url string)) {
	for _, kind := range []string{"sqlite", "postgres"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			if kind == "postgres" {
				run(t, servers.Postgres(t))
				return
			}
			run(t, "sqlite:"+filepath.Join(t.TempDir(), "bot.db"))
		})
	}
}

// bot is one life of the bot's process.
type bot struct {
	page string
	stop context.CancelFunc
	done chan error
}

// start runs the bot. change may set what a test needs.
func (w *world) start(change func(*app.Options)) *bot {
	w.t.Helper()
	cfg, err := config.Load([]string{
		"HOST=127.0.0.1", "PORT=0", "TICK_INTERVAL=100ms", "GITHUB_MUTATION_SPACING=0s", "DATABASE_URL=" + w.dbURL,
		fmt.Sprintf("GITHUB_APP_ID=%d", w.forge.AppID()), "GITHUB_PRIVATE_KEY_PATH=" + w.key, "GITHUB_WEBHOOK_SECRET=" + w.forge.WebhookSecret(),
		"GITHUB_API_URL=" + w.forge.URL(), "GITHUB_GRAPHQL_URL=" + w.forge.GraphQLURL(),
		"NOTIFY_WEBHOOK_URL=" + w.inbox.URL, "NOTIFY_WEBHOOK_SECRET=" + hookKey,
	}, config.Serve)
	if err != nil {
		w.t.Fatal(err)
	}
	opts := app.Options{
		Config: cfg, Program: config.Serve, Version: "test", Now: w.now, Logger: logger(w.t), Beat: 20 * time.Millisecond,
		Timing: repair.Timing{
			Reruns: []time.Duration{10 * time.Millisecond, 20 * time.Millisecond}, Verdict: 30 * time.Minute, Patience: 24 * time.Hour,
			Soon: 20 * time.Millisecond, Outage: time.Minute,
		},
		LogLag: 15 * time.Minute, LogRetry: 50 * time.Millisecond, Delivery: app.Delivery{Retries: 3, Backoff: 10 * time.Millisecond},
	}
	if change != nil {
		change(&opts)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.New(ctx, opts)
	if err != nil {
		cancel()
		w.t.Fatal(err)
	}
	b := &bot{stop: cancel, done: make(chan error, 1)}
	ready := make(chan net.Addr, 1)
	go func() { b.done <- a.Serve(ctx, func(addr net.Addr) { ready <- addr }) }()
	select {
	case addr := <-ready:
		b.page = "http://" + addr.String()
	case err := <-b.done:
		cancel()
		w.t.Fatal(err)
	}
	w.forge.SetWebhookURL(b.page + "/webhooks/github")
	if w.db == nil {
		if w.db, err = store.Open(w.t.Context(), w.dbURL, store.Options{}); err != nil {
			w.t.Fatal(err)
		}
	}
	return b
}

// end stops the process and waits for it.
func (b *bot) end(t testing.TB) {
	t.Helper()
	b.stop()
	if err := <-b.done; err != nil && !errors.Is(err, errKilled) {
		t.Errorf("stop the bot: %v", err)
	}
}

// logger shows the bot's logs of a failed test.
func logger(t testing.TB) *slog.Logger {
	var mu sync.Mutex
	var lines []string
	t.Cleanup(func() {
		if t.Failed() {
			mu.Lock()
			defer mu.Unlock()
			t.Log("the bot's log:\n" + strings.Join(lines[max(0, len(lines)-60):], ""))
		}
	})
	return observe.NewLogger(writer(func(p []byte) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, string(p))
	}), "e2e", slog.LevelInfo)
}

type writer func([]byte)

func (f writer) Write(p []byte) (int, error) { f(p); return len(p), nil }

// install makes the repository, empty but for a README, and installs the App.
func (w *world) install() standin.Repo {
	w.t.Helper()
	repo, err := w.forge.CreateRepo(standin.NewRepo{FullName: repoName, Organization: true, Files: map[string]standin.File{"README.md": {Content: "# Training\n"}}})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.installation, err = w.forge.AddInstallation(standin.NewInstallation{Account: "octo-labs"}); err != nil {
		w.t.Fatal(err)
	}
	return repo
}

func (w *world) push(branch, message string, files map[string]string) string {
	w.t.Helper()
	sha, err := w.forge.Push(repoName, branch, "mona", message, standin.Files(files))
	if err != nil {
		w.t.Fatal(err)
	}
	return sha
}

// until polls what is true in the end.
func until[T any](w *world, what string, ask func() (T, bool)) T {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		v, ok := ask()
		if ok {
			return v
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s did not come; the last look showed %+v", what, v)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (w *world) incidents() []domain.Incident {
	list, err := w.db.Incidents(w.t.Context(), store.Filter{})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func (w *world) repairs() []domain.Repair {
	list, err := w.db.Repairs(w.t.Context(), store.Filter{})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// audited reports whether the audit log holds an action.
func (w *world) audited(action string) bool {
	list, err := w.db.Audit(w.t.Context(), store.Filter{})
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.ContainsFunc(list, func(e store.AuditRecord) bool { return e.Action == action })
}

// completed is the delivery of the completed run.
func (w *world) completed() standin.Delivery {
	w.t.Helper()
	for _, d := range w.forge.Deliveries() {
		if d.Event == "workflow_run" && d.Action == "completed" {
			return d
		}
	}
	w.t.Fatal("no run completed")
	return standin.Delivery{}
}

// deliver sends a delivery as GitHub does.
func (w *world) deliver(b *bot, d standin.Delivery) {
	w.t.Helper()
	mac := hmac.New(sha256.New, []byte(w.forge.WebhookSecret()))
	mac.Write(d.Payload)
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, b.page+"/webhooks/github", bytes.NewReader(d.Payload))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-GitHub-Event", d.Event)
	req.Header.Set("X-GitHub-Delivery", d.GUID)
	req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		w.t.Fatalf("the delivery was answered %s", resp.Status)
	}
}

// incident waits for the one incident.
func (w *world) incident() domain.Incident {
	w.t.Helper()
	return until(w, "the incident", func() (domain.Incident, bool) {
		list := w.incidents()
		if len(list) == 0 {
			return domain.Incident{}, false
		}
		return list[0], true
	})
}

// repair waits until the newest repair is in a state.
func (w *world) repair(state domain.RepairState) domain.Repair {
	w.t.Helper()
	return until(w, "a repair that is "+string(state), func() (domain.Repair, bool) {
		list := w.repairs()
		if len(list) == 0 {
			return domain.Repair{}, false
		}
		return list[0], list[0].State == state
	})
}

// comments are the bodies of the bot's comments on a pull request.
func (w *world) comments(number int) []string {
	var out []string
	for _, p := range w.forge.PullRequests(repoName) {
		for _, c := range p.Comments {
			if p.Number == number && c.Author == w.forge.BotLogin() {
				out = append(out, c.Body)
			}
		}
	}
	return out
}

// comment waits for the bot's comment with a text on a pull request.
func (w *world) comment(number int, text string) {
	w.t.Helper()
	until(w, "a comment that says "+text, func() (string, bool) {
		var all strings.Builder
		for _, c := range w.comments(number) {
			all.WriteString(c)
		}
		return all.String(), strings.Contains(strings.ToLower(all.String()), text)
	})
}

// sampleTraining is the demo's repository.
func sampleTraining(t testing.TB) map[string]string {
	t.Helper()
	const root = "../../cmd/mlops-bot/sample"
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(root, path)
		files[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mlops-bot/mlops-bot/functions/webhook"
	"github.com/mlops-bot/mlops-bot/shared/standin"
	"github.com/mlops-bot/mlops-bot/shared/store"
	"github.com/mlops-bot/mlops-bot/test/servers"
)

// BenchmarkWebhook sends signed workflow_run deliveries over HTTP, to a bare
// handler that only checks the signature (the baseline) and to the webhook
// function with each real store.
func BenchmarkWebhook(b *testing.B) {
	payload := workflowRun(b)
	const secret = "0123456789abcdef0123456789abcdef"
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body)
		if err != nil || !hmac.Equal([]byte("sha256="+hex.EncodeToString(mac.Sum(nil))), []byte(r.Header.Get("X-Hub-Signature-256"))) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
	b.Run("bare", func(b *testing.B) { benchDeliveries(b, bare, secret, payload) })
	for _, kind := range []string{"sqlite", "postgres"} {
		b.Run(kind, func(b *testing.B) {
			url := "sqlite:" + b.TempDir() + "/bot.db"
			if kind == "postgres" {
				url = servers.Postgres(b)
			}
			s, err := store.Open(b.Context(), url, store.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			if err := s.Migrate(b.Context()); err != nil {
				b.Fatal(err)
			}
			f, err := webhook.New(webhook.Deps{Store: s, Current: secret})
			if err != nil {
				b.Fatal(err)
			}
			benchDeliveries(b, f, secret, payload)
		})
	}
}

func benchDeliveries(b *testing.B, h http.Handler, secret string, payload []byte) {
	srv := httptest.NewServer(h)
	defer srv.Close()
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(payload)
	signature := "sha256=" + hex.EncodeToString(mac.Sum(nil))
	client := srv.Client()
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 64
	var n atomic.Int64
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, srv.URL+"/webhooks/github", bytes.NewReader(payload))
			if err != nil {
				b.Error(err)
				return
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("X-GitHub-Event", "workflow_run")
			req.Header.Set("X-GitHub-Delivery", fmt.Sprintf("00000000-0000-0000-0000-%012d", n.Add(1)))
			req.Header.Set("X-Hub-Signature-256", signature)
			resp, err := client.Do(req)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusAccepted {
				b.Errorf("status %d", resp.StatusCode)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

// workflowRun is the payload of a completed run, as the stand-in sends it.
func workflowRun(b *testing.B) []byte {
	forge, err := standin.New(standin.Options{})
	if err != nil {
		b.Fatal(err)
	}
	if err := forge.Start(); err != nil {
		b.Fatal(err)
	}
	defer forge.Close()
	forge.SetWebhookURL("http://127.0.0.1:1/")
	files := map[string]string{".github/workflows/ci.yml": "name: ci\non: push\njobs:\n  test:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: true\n"}
	if _, err := forge.CreateRepo(standin.NewRepo{FullName: repoName, Files: standin.Files(files)}); err != nil {
		b.Fatal(err)
	}
	if _, err := forge.AddInstallation(standin.NewInstallation{Account: "octo-labs"}); err != nil {
		b.Fatal(err)
	}
	if _, err := forge.ScriptRun(repoName, standin.ScriptedRun{ScriptedAttempt: standin.ScriptedAttempt{Jobs: []standin.ScriptedJob{{Name: "test", Conclusion: "failure", Log: "x"}}}}); err != nil {
		b.Fatal(err)
	}
	if err := forge.Idle(b.Context()); err != nil {
		b.Fatal(err)
	}
	for _, d := range forge.Deliveries() {
		if d.Event == "workflow_run" && d.Action == "completed" {
			return d.Payload
		}
	}
	b.Fatal("no run completed")
	return nil
}

// BenchmarkStart measures each program from its start to its first 200, the time
// that a cold start adds to a request, beside a program that does nothing.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	build := exec.CommandContext(b.Context(), "go", "build", "-o", dir+"/", "../../cmd/...")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	dbURL := "sqlite:" + filepath.Join(dir, "bot.db")
	migrate := exec.CommandContext(b.Context(), filepath.Join(dir, "mlops-bot"), "migrate")
	migrate.Env = []string{"DATABASE_URL=" + dbURL}
	if out, err := migrate.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	forge, err := standin.New(standin.Options{})
	if err != nil {
		b.Fatal(err)
	}
	key := filepath.Join(dir, "app.pem")
	if err := os.WriteFile(key, forge.PrivateKeyPEM(), 0o600); err != nil {
		b.Fatal(err)
	}
	b.Run("baseline", func(b *testing.B) {
		for b.Loop() {
			if err := exec.CommandContext(b.Context(), filepath.Join(dir, "mlops-bot"), "version").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, program := range []string{"webhook", "detect", "repair", "notify", "console"} {
		b.Run(program, func(b *testing.B) {
			for b.Loop() {
				port := freePort(b)
				cmd := exec.CommandContext(b.Context(), filepath.Join(dir, program))
				cmd.Env = []string{
					fmt.Sprintf("PORT=%d", port), "HOST=127.0.0.1", "DATABASE_URL=" + dbURL, "K_SINK=http://127.0.0.1:1/", "GITHUB_APP_ID=1",
					"GITHUB_PRIVATE_KEY_PATH=" + key, "GITHUB_WEBHOOK_SECRET=" + strings.Repeat("x", 32),
				}
				if err := cmd.Start(); err != nil {
					b.Fatal(err)
				}
				waitReady(b, fmt.Sprintf("http://127.0.0.1:%d/health/ready", port))
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}
		})
	}
}

func freePort(b *testing.B) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func waitReady(b *testing.B, url string) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		resp, err := http.Get(url)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
	b.Fatalf("%s never answered 200", url)
}

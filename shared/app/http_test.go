package app

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mlops-bot/mlops-bot/shared/config"
	"github.com/mlops-bot/mlops-bot/shared/standin"
)

// TestWhatServeShows walks the paths of `serve` with and without a token, and
// looks at the security headers of every answer.
func TestWhatServeShows(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef"
	forge, err := standin.New(standin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key := filepath.Join(dir, "app.pem")
	if err := os.WriteFile(key, forge.PrivateKeyPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load([]string{
		"HOST=0.0.0.0", "CONSOLE_TOKEN=" + token, "HEALTH_TOKEN=" + token + "h", "DATABASE_URL=sqlite:" + filepath.Join(dir, "bot.db"),
		fmt.Sprintf("GITHUB_APP_ID=%d", forge.AppID()), "GITHUB_PRIVATE_KEY_PATH=" + key, "GITHUB_WEBHOOK_SECRET=" + forge.WebhookSecret(),
		"GITHUB_API_URL=http://127.0.0.1:1/", "GITHUB_GRAPHQL_URL=http://127.0.0.1:1/graphql",
	}, config.Serve)
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(t.Context(), Options{Config: cfg, Program: config.Serve, Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	h, err := a.Handler()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		method, path, token string
		status              int
		body                string
	}{
		"live":                   {"GET", "/health/live", "", 200, ""},
		"ready":                  {"GET", "/health/ready", "", 200, ""},
		"health":                 {"GET", "/health", "", 200, ""},
		"details are not public": {"GET", "/health/detailed", "", 401, ""},
		"details":                {"GET", "/health/detailed", token + "h", 200, `"github":{"status":"failed"`},
		"page":                   {"GET", "/", "", 401, ""},
		"page with the token":    {"GET", "/", token, 200, "<!doctype html>"},
		"API":                    {"GET", "/api/v1/incidents", "", 401, ""},
		"API with the token":     {"GET", "/api/v1/incidents", token, 200, "incidents"},
		"metrics":                {"GET", "/metrics", "", 401, ""},
		"metrics with the token": {"GET", "/metrics", token, 200, `bot_dependency_up{dependency="database"} 1`},
		"unsigned webhook":       {"POST", "/webhooks/github", "", 415, ""},
		"no event over HTTP":     {"POST", "/", token, 405, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, strings.NewReader("{}"))
			if tt.token != "" {
				r.Header.Set("Authorization", "Bearer "+tt.token)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.status || !strings.Contains(strings.ToLower(w.Body.String()), strings.ToLower(tt.body)) {
				t.Errorf("%d\n%s", w.Code, w.Body)
			}
			if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Content-Security-Policy") == "" {
				t.Errorf("headers %v", w.Header())
			}
			if w.Code == http.StatusOK && strings.Contains(w.Body.String(), forge.WebhookSecret()) {
				t.Error("a secret is shown")
			}
		})
	}
}

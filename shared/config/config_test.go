package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoad(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(key, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := []string{"GITHUB_APP_ID=7", "GITHUB_PRIVATE_KEY_PATH=" + key, "GITHUB_WEBHOOK_SECRET=0123456789abcdef"}
	tests := map[string]struct {
		environ []string
		program Program
		want    []string // fragments of the error; none means success
	}{
		"serve":                   {good, Serve, nil},
		"empty means default":     {append([]string{"PORT=", "LOG_LEVEL="}, good...), Serve, nil},
		"console needs no App":    {nil, Console, nil},
		"nothing set":             {nil, Serve, []string{"GITHUB_APP_ID", "GITHUB_PRIVATE_KEY_PATH", "GITHUB_WEBHOOK_SECRET"}},
		"short webhook secret":    {append([]string{}, append(good[:2:2], "GITHUB_WEBHOOK_SECRET=short")...), Serve, []string{"GITHUB_WEBHOOK_SECRET"}},
		"key is missing":          {append(good[:1:1], "GITHUB_PRIVATE_KEY_PATH=/nowhere", good[2]), Serve, []string{"GITHUB_PRIVATE_KEY_PATH"}},
		"port is no number":       {append(good, "PORT=http"), Serve, []string{"Port"}},
		"port is out of range":    {append(good, "PORT=70000"), Serve, []string{"PORT"}},
		"unknown database":        {append(good, "DATABASE_URL=mysql://x"), Serve, []string{"DATABASE_URL"}},
		"redis without scheme":    {append(good, "REDIS_URL=localhost:6379"), Serve, []string{"REDIS_URL"}},
		"relative API":            {append(good, "GITHUB_API_URL=/api"), Serve, []string{"GITHUB_API_URL"}},
		"function without broker": {good, Detect, []string{"K_SINK"}},
		"function":                {append(good, "K_SINK=http://broker"), Detect, nil},
		"unsigned webhook":        {append(good, "NOTIFY_WEBHOOK_URL=https://x.example/h"), Serve, []string{"NOTIFY_WEBHOOK_SECRET"}},
		"slack without scheme":    {append(good, "NOTIFY_SLACK_WEBHOOK_URL=hooks"), Serve, []string{"NOTIFY_SLACK_WEBHOOK_URL"}},
		"tick is too short":       {append(good, "TICK_INTERVAL=1ms"), Serve, []string{"TICK_INTERVAL"}},
		"page for everybody":      {append(good, "HOST=0.0.0.0"), Serve, []string{"CONSOLE_TOKEN"}},
		"page with a token":       {append(good, "HOST=0.0.0.0", "CONSOLE_TOKEN=0123456789abcdef"), Serve, nil},
		"no rate":                 {append(good, "RATE_LIMIT_PER_MINUTE=0"), Serve, []string{"RATE_LIMIT_PER_MINUTE"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(tt.environ, tt.program)
			if len(tt.want) == 0 && err != nil {
				t.Fatal(err)
			}
			for _, w := range tt.want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("error %v does not name %s", err, w)
				}
			}
		})
	}
}

func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	c, err := Parse([]string{"DATABASE_URL=postgres://u:hunter2hunter2@h/d", "GITHUB_WEBHOOK_SECRET=hunter2hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{string(b), fmt.Sprintf("%v %+v %s", c, c, c.GitHub.WebhookSecret), c.GitHub.WebhookSecret.LogValue().String()} {
		if strings.Contains(s, "hunter2") {
			t.Errorf("a secret shows in %s", s)
		}
	}
	if c.GitHub.WebhookSecret.Reveal() != "hunter2hunter2" {
		t.Error("Reveal doesn't")
	}
}

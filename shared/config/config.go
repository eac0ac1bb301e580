// Package config reads the operator's settings from the environment into one
// validated struct. It knows nothing of a repository's own policy, which is a
// stranger's file (shared/policy).
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// Secret is a string that no log, error or JSON shows.
type Secret string

const redacted = "[redacted]"

// LogValue redacts.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// String redacts; Reveal gives the value.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// MarshalText redacts.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Config is every setting. Names are those of the environment.
type Config struct {
	Host     string     `env:"HOST" envDefault:"127.0.0.1"` // address to listen on
	Port     int        `env:"PORT" envDefault:"8080"`      // port to listen on; 0 is any free one
	LogLevel slog.Level `env:"LOG_LEVEL" envDefault:"INFO"` // DEBUG, INFO, WARN or ERROR
	// Environment other than development refuses channels on loopback.
	Environment string `env:"ENVIRONMENT" envDefault:"development"`
	// PublicURL is where people and GitHub reach the bot; links in messages use it.
	PublicURL string `env:"PUBLIC_URL"`

	// DatabaseURL is postgres://user:password@host:5432/database, sqlite:path or sqlite:///absolute/path.
	DatabaseURL Secret `env:"DATABASE_URL" envDefault:"sqlite:data/mlops-bot.db"`
	// RedisURL is redis://… or rediss://…; empty is a cache inside the process.
	RedisURL Secret `env:"REDIS_URL"`
	// BrokerURL is the broker's ingress that a function publishes to; only the
	// single functions need it.
	BrokerURL string `env:"K_SINK"`

	// RatePerMinute bounds unverified webhook requests of one address.
	RatePerMinute int `env:"RATE_LIMIT_PER_MINUTE" envDefault:"60"`

	GitHub GitHub `envPrefix:"GITHUB_"`
	Notify Notify `envPrefix:"NOTIFY_"`

	// ConsoleToken, when set, is asked for by the page, the API and /metrics (as a
	// bearer token; the page also takes it as the password of basic
	// authentication). `serve` needs one where HOST isn't loopback, and so does a
	// proxy in front of it that lets more through than /webhooks/github.
	ConsoleToken Secret `env:"CONSOLE_TOKEN"`
	// HealthToken opens /health/detailed; without one that page is closed.
	HealthToken Secret `env:"HEALTH_TOKEN"`

	// Tick is the clock of `serve`; in a cluster a PingSource ticks.
	Tick time.Duration `env:"TICK_INTERVAL" envDefault:"15s"`
	// MutationSpacing is the least time between two writes of one installation.
	MutationSpacing time.Duration `env:"GITHUB_MUTATION_SPACING" envDefault:"1s"`
	// DeliveryRetention is how long webhook bodies are kept.
	DeliveryRetention time.Duration `env:"DELIVERY_RETENTION" envDefault:"720h"`
}

// GitHub is the App and where GitHub is.
type GitHub struct {
	AppID          int64  `env:"APP_ID"`           // the number on the App's settings page
	PrivateKeyPath string `env:"PRIVATE_KEY_PATH"` // file with the App's private key (PEM)
	WebhookSecret  Secret `env:"WEBHOOK_SECRET"`   // at least 16 characters
	// WebhookSecretPrevious is accepted too, while a rotation is under way.
	WebhookSecretPrevious Secret `env:"WEBHOOK_SECRET_PREVIOUS"`
	// APIURL is the REST API's root; nothing is appended to it but a slash.
	APIURL     string `env:"API_URL" envDefault:"https://api.github.com/"`
	GraphQLURL string `env:"GRAPHQL_URL" envDefault:"https://api.github.com/graphql"` // the GraphQL endpoint
	// LogHosts are further hosts that job logs may be downloaded from.
	LogHosts []string `env:"LOG_HOSTS"`
}

// Notify is where people are told. The pull request's comment needs no setting.
type Notify struct {
	SlackURL      Secret `env:"SLACK_WEBHOOK_URL"` // of a Slack incoming webhook
	WebhookURL    Secret `env:"WEBHOOK_URL"`       // receives every message as JSON
	WebhookSecret Secret `env:"WEBHOOK_SECRET"`    // signs the JSON webhook
}

// Program is which of the programs asks; each needs other settings.
type Program string

// The programs.
const (
	Serve   Program = "serve"
	Webhook Program = "webhook"
	Detect  Program = "detect"
	Repair  Program = "repair"
	Notifyd Program = "notify"
	Console Program = "console"
	Migrate Program = "migrate"
)

// Load reads and validates the environment for a program. All problems are told
// at once, each with the name of the setting and what to do.
func Load(environ []string, program Program) (Config, error) {
	c, err := Parse(environ)
	if err != nil {
		return c, err
	}
	return c, c.Validate(program)
}

// Parse reads the environment without checking that a program has what it
// needs.
func Parse(environ []string) (Config, error) {
	vars := map[string]string{}
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		if v != "" {
			vars[k] = v
		}
	}
	var c Config
	if err := env.ParseWithOptions(&c, env.Options{Environment: vars}); err != nil {
		return c, fmt.Errorf("read the settings: %w", err)
	}
	return c, nil
}

// Validate reports every setting that keeps the program from working.
func (c Config) Validate(program Program) error {
	var problems []error
	bad := func(name, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
	}
	if c.Port < 0 || c.Port > 65535 {
		bad("PORT", "%d is not between 0 and 65535", c.Port)
	}
	if c.RatePerMinute < 1 {
		bad("RATE_LIMIT_PER_MINUTE", "%d is less than 1", c.RatePerMinute)
	}
	if c.Tick < 50*time.Millisecond || c.Tick > time.Hour {
		bad("TICK_INTERVAL", "%s is not between 50ms and 1h", c.Tick)
	}
	if c.MutationSpacing < 0 || c.MutationSpacing > time.Minute {
		bad("GITHUB_MUTATION_SPACING", "%s is not between 0s and 1m", c.MutationSpacing)
	}
	if u, err := url.Parse(c.DatabaseURL.Reveal()); err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql" && u.Scheme != "sqlite") {
		bad("DATABASE_URL", "must be postgres://user:password@host:5432/database or sqlite:path/file.db")
	}
	if r := c.RedisURL.Reveal(); r != "" {
		if u, err := url.Parse(r); err != nil || (u.Scheme != "redis" && u.Scheme != "rediss") {
			bad("REDIS_URL", "must be redis://host:6379/0 or rediss://… (or unset for a cache inside the process)")
		}
	}
	for name, v := range map[string]string{"GITHUB_API_URL": c.GitHub.APIURL, "GITHUB_GRAPHQL_URL": c.GitHub.GraphQLURL} {
		if err := checkURL(v); err != nil {
			bad(name, "%v", err)
		}
	}
	if c.PublicURL != "" {
		if err := checkURL(c.PublicURL); err != nil {
			bad("PUBLIC_URL", "%v", err)
		}
	}
	needsApp := program == Serve || program == Detect || program == Repair || program == Notifyd
	if needsApp {
		if c.GitHub.AppID <= 0 {
			bad("GITHUB_APP_ID", "is not set: it is the number on the App's settings page (`mlops-bot app manifest` helps to make an App)")
		}
		if c.GitHub.PrivateKeyPath == "" {
			bad("GITHUB_PRIVATE_KEY_PATH", "is not set: it is the file with the App's private key (PEM)")
		} else if st, err := os.Stat(c.GitHub.PrivateKeyPath); err != nil {
			bad("GITHUB_PRIVATE_KEY_PATH", "can't be read: %v", err)
		} else if st.IsDir() {
			bad("GITHUB_PRIVATE_KEY_PATH", "%s is a directory: name the key file in it", c.GitHub.PrivateKeyPath)
		}
	}
	if program == Serve || program == Webhook {
		if len(c.GitHub.WebhookSecret) < 16 {
			bad("GITHUB_WEBHOOK_SECRET", "is not set or shorter than 16 characters: without it anybody could send webhooks (`openssl rand -hex 32` makes one)")
		}
	}
	if program == Serve && len(c.ConsoleToken) < 16 && !loopback(c.Host) {
		bad("CONSOLE_TOKEN", "is not set or shorter than 16 characters, and HOST %s can be reached from elsewhere: the status page shows what private repositories' logs say", c.Host)
	}
	switch program {
	case Webhook, Detect, Repair, Notifyd:
		if err := checkURL(c.BrokerURL); err != nil {
			bad("K_SINK", "%v (the broker's ingress)", err)
		}
	case Serve, Console, Migrate:
	}
	if c.Notify.WebhookURL != "" && len(c.Notify.WebhookSecret) < 16 {
		bad("NOTIFY_WEBHOOK_SECRET", "is not set or shorter than 16 characters: the JSON webhook is signed with it")
	}
	for name, v := range map[string]Secret{"NOTIFY_SLACK_WEBHOOK_URL": c.Notify.SlackURL, "NOTIFY_WEBHOOK_URL": c.Notify.WebhookURL} {
		if v != "" {
			if err := checkURL(v.Reveal()); err != nil {
				bad(name, "is not an absolute http(s) URL")
			}
		}
	}
	return errors.Join(problems...)
}

// loopback reports whether only this machine reaches an address to listen on.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return errors.New("must be an absolute http(s) URL")
	}
	return nil
}

// Address is Host and Port.
func (c Config) Address() string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }

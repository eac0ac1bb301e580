// Package config reads the operator's settings from the environment into one
// validated struct. It knows nothing of a repository's own policy, which is a
// stranger's file (shared/policy).
package config

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
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
	// MetricsPort is a second port of the console for /metrics and the broker's
	// dead letters, for addresses inside of a cluster only: it asks for no token.
	// 0 has no second port; /metrics is then on PORT.
	MetricsPort int `env:"METRICS_PORT" envDefault:"0"`

	// DatabaseURL is postgres://user:password@host:5432/database, sqlite:path or sqlite:///absolute/path.
	DatabaseURL Secret `env:"DATABASE_URL" envDefault:"sqlite:data/mlops-bot.db"`
	// DatabasePassword is used where DATABASE_URL names a user and no password.
	DatabasePassword Secret `env:"DB_PASSWORD"`
	// DatabaseConnections bounds the connections of this process to Postgres.
	DatabaseConnections int `env:"DATABASE_MAX_CONNECTIONS" envDefault:"10"`
	// RedisURL is redis://… or rediss://…; empty is a cache inside the process.
	RedisURL Secret `env:"REDIS_URL"`
	// RedisCAFile (PEM) holds the CAs that Redis' certificate is checked with; empty
	// is the system's.
	RedisCAFile string `env:"REDIS_CA_FILE"`
	// RulesDir is a directory with files of rules of one's own for all repositories
	// (docs/own-rules.md); empty is none.
	RulesDir string `env:"RULES_DIR"`
	// BrokerURL is the broker's ingress that a function publishes to; only the
	// single functions need it.
	BrokerURL string `env:"K_SINK"`

	// RatePerMinute bounds unverified webhook requests of one address. Deliveries
	// with a right signature are never refused for their rate.
	RatePerMinute int `env:"RATE_LIMIT_PER_MINUTE" envDefault:"60"`
	// TrustedProxies are the networks (CIDR, comma-separated) whose
	// X-Forwarded-For says who the client is.
	TrustedProxies []netip.Prefix `env:"TRUSTED_PROXIES"`
	// MaxWorkers is how many pieces of stored work one process does at once. In a
	// cluster the number of processes follows the requests (docs/operations.md).
	MaxWorkers int `env:"MAX_WORKERS" envDefault:"8"`
	// AutoScaling changes nothing in a process: the chart's autoscaling.enabled sets
	// it and decides whether Knative scales.
	AutoScaling bool `env:"ENABLE_AUTO_SCALING" envDefault:"true"`

	GitHub GitHub `envPrefix:"GITHUB_"`
	Notify Notify `envPrefix:"NOTIFY_"`

	// ConsoleToken, when set, is asked for by the page, the API and /metrics (as a
	// bearer token; the page also takes it as the password of basic
	// authentication). `serve` needs one where HOST isn't loopback, and so does a
	// proxy in front of it that lets more through than /webhooks/github.
	ConsoleToken Secret `env:"CONSOLE_TOKEN"`
	// HealthToken opens /health/detailed; without one that page is closed.
	HealthToken Secret `env:"HEALTH_TOKEN"`

	// SecretKey makes CONSOLE_TOKEN and HEALTH_TOKEN where they are unset (HKDF-SHA256;
	// `mlops-bot config tokens` prints them).
	SecretKey Secret `env:"SECRET_KEY"`
	// EncryptionKey (base64 of 32 bytes) encrypts webhook bodies in the database and
	// tokens in the cache; without one they are stored as they came.
	EncryptionKey Secret `env:"ENCRYPTION_KEY"`
	// EncryptionKeyPrevious still decrypts, while a rotation is under way
	// (`mlops-bot reseal` ends it).
	EncryptionKeyPrevious Secret `env:"ENCRYPTION_KEY_PREVIOUS"`

	// Tick is the clock of `serve`; in a cluster a PingSource ticks.
	Tick time.Duration `env:"TICK_INTERVAL" envDefault:"15s"`
	// MutationSpacing is the least time between two writes of one installation.
	MutationSpacing time.Duration `env:"GITHUB_MUTATION_SPACING" envDefault:"1s"`
	// DeliveryRetention is how long webhook bodies are kept.
	DeliveryRetention time.Duration `env:"DELIVERY_RETENTION" envDefault:"720h"`
	// RecordRetention is how long everything else that is over is kept: resolved
	// incidents, ended repairs, reports, the audit log. It can't be shorter than the
	// eight days within which a repair may turn out to have failed.
	RecordRetention time.Duration `env:"RECORD_RETENTION" envDefault:"2160h"`
}

// GitHub is the App and where GitHub is.
type GitHub struct {
	AppID          int64  `env:"APP_ID"`           // the number on the App's settings page
	PrivateKeyPath string `env:"PRIVATE_KEY_PATH"` // file with the App's private key (PEM)
	// Token replaces the App for one repository: a fine-grained token that acts as
	// its owner. The repository's own webhook sends the events.
	Token         Secret `env:"TOKEN"`
	WebhookSecret Secret `env:"WEBHOOK_SECRET"` // at least 16 characters
	// WebhookSecretPrevious is accepted too, while a rotation is under way.
	WebhookSecretPrevious Secret `env:"WEBHOOK_SECRET_PREVIOUS"`
	// APIURL is the REST API's root; nothing is appended to it but a slash.
	APIURL     string `env:"API_URL" envDefault:"https://api.github.com/"`
	GraphQLURL string `env:"GRAPHQL_URL" envDefault:"https://api.github.com/graphql"` // the GraphQL endpoint
	// InsecureAPI allows http:// addresses of the API elsewhere than on this machine:
	// for instances made for tests only, since tokens travel in the clear.
	InsecureAPI bool `env:"INSECURE_API" envDefault:"false"`
	// LogHosts are further hosts that job logs may be downloaded from.
	LogHosts []string `env:"LOG_HOSTS"`
}

// Notify is where people are told. The pull request's comment needs no setting.
type Notify struct {
	SlackURL      Secret `env:"SLACK_WEBHOOK_URL"` // of a Slack incoming webhook
	WebhookURL    Secret `env:"WEBHOOK_URL"`       // receives every message as JSON
	WebhookSecret Secret `env:"WEBHOOK_SECRET"`    // signs the JSON webhook
	// InsecureHTTP lets the channels use http:// addresses elsewhere than on this
	// machine, such as a receiver in the same cluster: messages travel in the clear.
	InsecureHTTP bool `env:"INSECURE_HTTP" envDefault:"false"`
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
	return c.derived(), nil
}

// derived fills in what follows from other settings.
func (c Config) derived() Config {
	if c.DatabasePassword != "" {
		if u, err := url.Parse(c.DatabaseURL.Reveal()); err == nil && strings.HasPrefix(u.Scheme, "postgres") && u.User != nil {
			if _, has := u.User.Password(); !has {
				u.User = url.UserPassword(u.User.Username(), c.DatabasePassword.Reveal())
				c.DatabaseURL = Secret(u.String())
			}
		}
	}
	if c.SecretKey != "" {
		for purpose, token := range map[string]*Secret{"console": &c.ConsoleToken, "health": &c.HealthToken} {
			if *token == "" {
				*token = derive(c.SecretKey, purpose)
			}
		}
	}
	return c
}

// derive makes a token of 43 characters for a purpose (RFC 5869).
func derive(key Secret, purpose string) Secret {
	b, err := hkdf.Key(sha256.New, []byte(key), nil, "mlops-bot "+purpose+" token", sha256.Size)
	if err != nil {
		return "" // only for lengths that a hash can't give
	}
	return Secret(base64.RawURLEncoding.EncodeToString(b))
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
	if c.MetricsPort < 0 || c.MetricsPort > 65535 || (c.MetricsPort != 0 && c.MetricsPort == c.Port) {
		bad("METRICS_PORT", "%d is not between 0 and 65535, or is PORT", c.MetricsPort)
	}
	if c.DatabaseConnections < 2 || c.DatabaseConnections > 1000 {
		bad("DATABASE_MAX_CONNECTIONS", "%d is not between 2 and 1000", c.DatabaseConnections)
	}
	if c.MaxWorkers < 1 || c.MaxWorkers > 100 {
		bad("MAX_WORKERS", "%d is not between 1 and 100", c.MaxWorkers)
	}
	if c.SecretKey != "" && len(c.SecretKey) < 32 {
		bad("SECRET_KEY", "is shorter than 32 characters (`openssl rand -hex 32` makes one)")
	}
	for name, v := range map[string]Secret{"ENCRYPTION_KEY": c.EncryptionKey, "ENCRYPTION_KEY_PREVIOUS": c.EncryptionKeyPrevious} {
		if b, err := base64.StdEncoding.DecodeString(v.Reveal()); v != "" && (err != nil || len(b) != 32) {
			bad(name, "is not the base64 of 32 bytes (`openssl rand -base64 32` makes one)")
		}
	}
	if c.EncryptionKeyPrevious != "" && c.EncryptionKey == "" {
		bad("ENCRYPTION_KEY", "is not set, but ENCRYPTION_KEY_PREVIOUS is")
	}
	if c.RatePerMinute < 1 {
		bad("RATE_LIMIT_PER_MINUTE", "%d is less than 1", c.RatePerMinute)
	}
	if c.Tick < 50*time.Millisecond || c.Tick > time.Hour {
		bad("TICK_INTERVAL", "%s is not between 50ms and 1h", c.Tick)
	}
	if c.DeliveryRetention < time.Hour {
		bad("DELIVERY_RETENTION", "%s is less than 1h", c.DeliveryRetention)
	}
	if least := 8 * 24 * time.Hour; c.RecordRetention < least {
		bad("RECORD_RETENTION", "%s is less than %s", c.RecordRetention, least)
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
	if needsApp && c.GitHub.Token != "" && c.GitHub.AppID != 0 {
		bad("GITHUB_TOKEN", "is set beside GITHUB_APP_ID: set one of them")
	}
	if needsApp && c.GitHub.Token == "" {
		if c.GitHub.AppID <= 0 {
			bad("GITHUB_APP_ID", "is not set: it is the number on the App's settings page (`mlops-bot app manifest` helps to make an App); or set GITHUB_TOKEN for one repository without an App")
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

// MetricsAddress is Host and MetricsPort.
func (c Config) MetricsAddress() string {
	return net.JoinHostPort(c.Host, strconv.Itoa(c.MetricsPort))
}

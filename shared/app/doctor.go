package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/cache"
	"github.com/mlops-bot/mlops-bot/shared/config"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

// Check is one thing that doctor looked at.
type Check struct {
	Name  string
	Found string // what was found, "" for nothing worth saying
	// Problem is what is wrong, nil when all is well; Do says what to do about it.
	Problem error
	Do      string
}

const checkTimeout = 20 * time.Second

// neededPermissions are the App's, as `mlops-bot app manifest` asks for them.
var neededPermissions = map[string]string{
	"actions": "write", "contents": "write", "issues": "write", "pull_requests": "write", "checks": "read", "metadata": "read",
}

// Migrate brings the database to this version's schema and returns its number.
func Migrate(ctx context.Context, cfg config.Config) (version int64, err error) {
	st, err := OpenStore(ctx, cfg, store.Options{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := st.Migrate(ctx); err != nil {
		return 0, fmt.Errorf("migrate the database: %w", err)
	}
	version, _, err = st.SchemaVersion(ctx)
	return version, err
}

// Doctor checks what the bot needs, from the inside out, and goes on after a
// problem as far as that makes sense. It changes nothing.
func Doctor(ctx context.Context, environ []string) iter.Seq[Check] {
	return func(yield func(Check) bool) {
		cfg, err := config.Parse(environ)
		if err != nil {
			yield(Check{Name: "settings", Problem: err, Do: "mend the named variable"})
			return
		}
		if !yield(Check{Name: "settings", Problem: cfg.Validate(config.Serve), Do: "set the named variables (docs/configuration.md)"}) {
			return
		}
		for _, check := range []func(context.Context, config.Config) []Check{checkDatabase, checkCache, checkRules, checkApp, checkReach} {
			cctx, cancel := context.WithTimeout(ctx, checkTimeout)
			found := check(cctx, cfg)
			cancel()
			for _, c := range found {
				if !yield(c) {
					return
				}
			}
		}
	}
}

func checkDatabase(ctx context.Context, cfg config.Config) []Check {
	c := Check{Name: "database", Do: "start the database, or mend DATABASE_URL"}
	st, err := OpenStore(ctx, cfg, store.Options{})
	if err != nil {
		c.Problem = err
		return []Check{c}
	}
	defer st.Close()
	at, latest, err := st.SchemaVersion(ctx)
	switch {
	case err != nil:
		c.Problem = err
	case at < latest:
		c.Problem, c.Do = fmt.Errorf("its schema is version %d, this program's is %d", at, latest), "run `mlops-bot migrate` (`serve` does it by itself)"
	case at > latest:
		c.Problem, c.Do = fmt.Errorf("its schema is version %d, newer than this program's %d", at, latest), "run the newer version of the bot"
	default:
		c.Found = fmt.Sprintf("schema version %d", at)
		c.Problem = st.Writable(ctx)
	}
	return []Check{c}
}

func checkCache(ctx context.Context, cfg config.Config) []Check {
	c := Check{Name: "cache", Do: "start Redis, or mend REDIS_URL"}
	if cfg.RedisURL == "" {
		c.Found = "inside the process"
		return []Check{c}
	}
	ca, err := cache.Open(cfg.RedisURL.Reveal(), cfg.RedisCAFile)
	if err != nil {
		c.Problem = err
		return []Check{c}
	}
	defer ca.Close()
	c.Problem = ca.Ping(ctx)
	return []Check{c}
}

// checkApp asks GitHub who we are and what we may do.
func checkApp(ctx context.Context, cfg config.Config) []Check {
	byToken := cfg.GitHub.Token != ""
	if !byToken && (cfg.GitHub.AppID <= 0 || cfg.GitHub.PrivateKeyPath == "") {
		return []Check{{Name: "GitHub App", Problem: errors.New("not set up"), Do: "make an App with `mlops-bot app manifest --url …`, then set GITHUB_APP_ID and GITHUB_PRIVATE_KEY_PATH"}}
	}
	a := &App{opts: Options{Config: cfg, Version: Version(), Now: time.Now}, log: discard()}
	if err := a.dialGitHub(nil); err != nil {
		return []Check{{Name: "GitHub App", Problem: err, Do: "give the path of the .pem file that GitHub made for the App"}}
	}
	info, err := a.github.AppInfo(ctx)
	if err != nil {
		do := "see whether " + cfg.GitHub.APIURL + " can be reached from here (GITHUB_API_URL)"
		switch {
		case domain.KindOf(err) != domain.Denied:
		case byToken:
			do = "the token is wrong or has expired: make a new one, and set GITHUB_TOKEN"
		default:
			do = "the key doesn't belong to App " + fmt.Sprint(cfg.GitHub.AppID) + ": make a new key on the App's page, or mend GITHUB_APP_ID; a clock that is off by minutes does it too"
		}
		return []Check{{Name: "GitHub App", Problem: err, Do: do}}
	}
	out := []Check{{Name: "GitHub App", Found: info.Slug}}
	if byToken {
		out = []Check{{Name: "GitHub token", Found: "acts as " + info.Login}}
	}

	perms := Check{Name: "permissions", Do: "grant them on the App's page and accept the change in each installation"}
	var missing []string
	for p, level := range neededPermissions {
		if got := info.Permissions[p]; got != level && got != "write" {
			missing = append(missing, p+": "+level)
		}
	}
	slices.Sort(missing)
	if info.Permissions == nil {
		perms.Found = "not checked: GitHub doesn't tell a token's"
	} else if len(missing) > 0 {
		perms.Problem = fmt.Errorf("missing %s", strings.Join(missing, ", "))
	} else if info.Permissions["workflows"] != "write" {
		perms.Found = "without workflows: write, fixes of workflow files are refused"
	}
	out = append(out, perms)

	if byToken {
		return out // no installations, and a repository's webhook is looked at on its own page
	}
	installs, err := a.github.Installations(ctx)
	inst := Check{Name: "installations", Problem: err, Do: "install the App on a repository"}
	if err == nil {
		inst.Found = fmt.Sprintf("%d", len(installs))
		if len(installs) == 0 {
			inst.Problem = errors.New("the App is installed nowhere")
		}
	}
	out = append(out, inst)

	failed, err := a.github.FailedDeliveries(ctx, time.Now().Add(-redeliverSince))
	hooks := Check{Name: "webhook deliveries", Problem: err, Do: "look at the App's page, Advanced, Recent deliveries: the webhook URL must be …/webhooks/github and its secret GITHUB_WEBHOOK_SECRET"}
	if err == nil && len(failed) > 0 {
		last := failed[len(failed)-1]
		hooks.Problem = fmt.Errorf("%d of the last three days never arrived; the latest answer was %d", len(failed), last.StatusCode)
	}
	return append(out, hooks)
}

// checkReach asks the bot through its public address, as GitHub would.
func checkReach(ctx context.Context, cfg config.Config) []Check {
	c := Check{Name: "reachable", Do: "let https traffic for PUBLIC_URL reach the running bot"}
	if cfg.PublicURL == "" {
		c.Found = "not checked: PUBLIC_URL is not set"
		return []Check{c}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(cfg.PublicURL, "/")+"/health/live", nil)
	if err != nil {
		c.Problem = err
		return []Check{c}
	}
	resp, err := (&http.Client{Timeout: checkTimeout}).Do(req)
	if err != nil {
		c.Problem = err
		return []Check{c}
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)); err != nil {
		c.Problem = err
	} else if resp.StatusCode != http.StatusOK {
		c.Problem = fmt.Errorf("GET %s answered %s", req.URL.Redacted(), resp.Status)
	}
	return []Check{c}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

package store_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/store"
	"github.com/mlops-bot/mlops-bot/test/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start is the time at which the tests' clock stands.
var start = time.Date(2026, 5, 4, 3, 2, 1, 987654000, time.UTC)

func at(d time.Duration) time.Time { return start.Add(d) }

// databases are the URLs of a fresh database of each kind.
var databases = map[string]func(testing.TB) string{
	"postgres": func(tb testing.TB) string { return servers.Postgres(tb) },
	"sqlite":   func(tb testing.TB) string { return "sqlite://" + filepath.Join(tb.TempDir(), "a b?#%.db") },
	"memory":   func(testing.TB) string { return "sqlite::memory:" },
}

// onEach runs one test on a fresh store of each kind.
func onEach(t *testing.T, test func(t *testing.T, s *store.Store)) {
	t.Helper()
	t.Parallel()
	for name, url := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, migrated(t, escaped(url(t))))
		})
	}
}

// escaped writes a path with URL characters in it as a URL has it.
func escaped(url string) string {
	return strings.NewReplacer("a b?#%.db", "a%20b%3F%23%25.db").Replace(url)
}

func open(tb testing.TB, url string) *store.Store {
	tb.Helper()
	s, err := store.Open(tb.Context(), url, store.Options{Now: func() time.Time { return start }, Timeout: time.Minute})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func migrated(tb testing.TB, url string) *store.Store {
	tb.Helper()
	s := open(tb, url)
	if err := s.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return s
}

// must returns the value of a call that must not fail.
func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// wantConflict checks that an error is a lost race, which is worth another try.
func wantConflict(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, domain.ErrConflict) || domain.KindOf(err) != domain.Transient {
		t.Errorf("error %v (%s), want a transient conflict", err, domain.KindOf(err))
	}
}

func wantNotFound(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, domain.ErrNotFound) || domain.KindOf(err) != domain.Invalid {
		t.Errorf("error %v (%s), want not found", err, domain.KindOf(err))
	}
}

func wantKind(t *testing.T, err error, want domain.ErrKind) {
	t.Helper()
	if domain.KindOf(err) != want {
		t.Errorf("error %v is %q, want %q", err, domain.KindOf(err), want)
	}
	if e, isTyped := errors.AsType[*domain.Error](err); err != nil && (!isTyped || e.Op == "") {
		t.Errorf("error %v has no operation", err)
	}
}

func TestMigrateBringsTheSchemaToTheLatestVersion(t *testing.T) {
	t.Parallel()
	for name, url := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, escaped(url(t)))
			wantKind(t, s.Writable(t.Context()), domain.Bug) // no schema yet
			before, latest, err := s.SchemaVersion(t.Context())
			ok(t, err)
			if before != 0 || latest < 1 {
				t.Errorf("a new database is at %d of %d", before, latest)
			}
			ok(t, s.Migrate(t.Context()))
			ok(t, s.Migrate(t.Context())) // again changes nothing
			after, _, err := s.SchemaVersion(t.Context())
			ok(t, err)
			if after != latest {
				t.Errorf("after Migrate it is at %d, want %d", after, latest)
			}
			ok(t, s.Writable(t.Context()))
			ok(t, s.Writable(t.Context())) // leaves nothing behind that it could meet
		})
	}
}

func TestMigrateByManyProcessesAtOnce(t *testing.T) {
	t.Parallel()
	for name, url := range databases {
		if name == "memory" {
			continue // it is one process's own
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := escaped(url(t))
			var wg sync.WaitGroup
			for range 6 {
				s := open(t, target)
				wg.Go(func() {
					if err := s.Migrate(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	// A port that nobody listens on.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	closed := l.Addr().String()
	ok(t, l.Close())
	dir := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	for name, tc := range map[string]struct {
		url  string
		want domain.ErrKind
	}{
		"nothing":               {"", domain.Invalid},
		"another database":      {"mysql://user:hunter2@host/db", domain.Invalid},
		"a broken Postgres URL": {"postgres://user:hunter2@host:port/db", domain.Invalid},
		"no Postgres there":     {"postgres://user:hunter2@" + closed + "/db", domain.Transient},
		"a SQLite host":         {"sqlite://host/file.db", domain.Invalid},
		"SQLite settings":       {"sqlite:///tmp/file.db?_pragma=x", domain.Invalid},
		"a file as directory":   {"sqlite://" + dir + "/file/x.db", domain.Invalid},
		"no path":               {"sqlite:", domain.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := store.Open(t.Context(), tc.url, store.Options{})
			wantKind(t, err, tc.want)
			if err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %v is missing or shows the password", err)
			}
		})
	}
}

func TestSQLiteFileIsItsOwnersOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "dir", "bot.db")
	s := migrated(t, "sqlite://"+path)
	ok(t, s.Writable(t.Context()))
	for _, name := range []string{path, path + "-wal"} {
		info, err := os.Stat(name)
		ok(t, err)
		if perm := info.Mode().Perm(); perm != 0o600 {
			t.Errorf("%s has mode %o", name, perm)
		}
	}
}

func TestSQLiteSurvivesItsProcess(t *testing.T) {
	t.Parallel()
	url := "sqlite://" + filepath.Join(t.TempDir(), "bot.db")
	first, err := store.Open(t.Context(), url, store.Options{})
	ok(t, err)
	ok(t, first.Migrate(t.Context()))
	ok(t, first.AddWork(t.Context(), domain.Work{Kind: "detect.diagnose", Key: "1"}))
	ok(t, first.Close())
	s := migrated(t, url)
	if _, found, err := s.NextDue(t.Context()); err != nil || !found {
		t.Errorf("NextDue = %v, %v; the work is gone", found, err)
	}
}

func TestErrorsOfTheConnectionAreTransient(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Incident(ended, "x")
		wantKind(t, err, domain.Transient)
		wantKind(t, s.Commit(ended, store.Cause{}, domain.Outcome{}, start), domain.Transient)
		ok(t, s.Ping(t.Context())) // one caller's end is not the others'
		ok(t, s.Close())
		wantKind(t, s.Ping(t.Context()), domain.Transient)
		_, err = s.Incident(t.Context(), "x")
		wantKind(t, err, domain.Transient)
	})
}

// A second writer that holds the database longer than a call may take makes a
// transient error, not a hang.
func TestABusyDatabaseIsTransient(t *testing.T) {
	t.Parallel()
	for name, url := range databases {
		if name == "memory" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := escaped(url(t))
			s := migrated(t, target)
			ok(t, s.AddWork(t.Context(), domain.Work{Kind: "a.b", Key: "1"}))
			other := open(t, target)
			release := store.HoldRow(t, s)
			hasty, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			wantKind(t, other.AddWork(hasty, domain.Work{Kind: "a.b", Key: "1"}), domain.Transient)
			release()
			ok(t, other.AddWork(t.Context(), domain.Work{Kind: "a.b", Key: "1"}))
		})
	}
}

func TestProcessesShareADatabase(t *testing.T) {
	t.Parallel()
	for name, url := range databases {
		if name == "memory" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := escaped(url(t))
			migrated(t, target)
			const processes, deliveries = 3, 15
			var stored atomic.Int32
			var wg sync.WaitGroup
			for range processes {
				s := open(t, target)
				for i := range deliveries {
					wg.Go(func() {
						id := fmt.Sprint("d", i)
						yes, err := s.AcceptDelivery(t.Context(), delivery(id), envelope(id, "detect"))
						if err == nil && yes {
							stored.Add(1)
							err = s.Commit(t.Context(), store.Cause{Consumer: "detect", EventID: id}, domain.Outcome{
								Counts: []domain.Count{{Name: "n", Add: 1}}, Audit: []domain.AuditEntry{{Object: id}},
							}, start)
						}
						if err != nil {
							t.Error(err)
						}
					})
				}
			}
			wg.Wait()
			s := open(t, target)
			counters := must[[]store.Counter](t)(s.Counters(t.Context()))
			if n := stored.Load(); n != deliveries || len(counters) != 1 || counters[0].Value != deliveries {
				t.Errorf("%d deliveries were stored and counted as %v, want %d", n, counters, deliveries)
			}
		})
	}
}

// hostile are texts that strangers can bring into a log, a branch or a reason.
var hostile = []string{
	"NUL \x00 in the middle", "broken \xff\xfe UTF-8", "'; DROP TABLE incidents; --", "? $1 ?", "\u202eright to left",
	strings.Repeat("long ", 10_000), "",
}

func TestStrangersTextIsKept(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		for i, text := range hostile {
			inc := incident(fmt.Sprint("inc-", i))
			inc.Branch, inc.Finding.Text = text, text
			ok(t, s.Commit(t.Context(), store.Cause{}, domain.Outcome{
				Incidents: []domain.Incident{inc},
				Audit:     []domain.AuditEntry{{Actor: "detect", Action: "x", Object: inc.ID, Why: text}},
				Later:     []domain.Work{{Kind: "detect.diagnose", Key: "key " + text}},
			}, start))
			got, found, err := s.StandingIncident(t.Context(), inc.Repo.ID, text, inc.WorkflowPath, inc.Fingerprint)
			if err != nil || !found || got.ID != inc.ID {
				t.Errorf("%.20q: StandingIncident = %s, %v, %v", text, got.ID, found, err)
			}
			page := must[[]store.AuditRecord](t)(s.Audit(t.Context(), store.Filter{Object: inc.ID}))
			if len(page) != 1 || len(page[0].Why) > 2100 {
				t.Errorf("%.20q: %d audit entries", text, len(page))
			}
		}
	})
}

func FuzzStrangersText(f *testing.F) {
	for _, text := range hostile {
		f.Add(text)
	}
	s := migrated(f, "sqlite::memory:")
	f.Fuzz(func(t *testing.T, text string) {
		entry := domain.AuditEntry{Actor: text, Action: text, Object: "o" + text, Why: text}
		ok(t, s.Commit(t.Context(), store.Cause{}, domain.Outcome{Audit: []domain.AuditEntry{entry}}, start))
		if page := must[[]store.AuditRecord](t)(s.Audit(t.Context(), store.Filter{Object: "o" + text, Limit: 1})); len(page) != 1 {
			t.Errorf("%q isn't found again", text)
		}
	})
}

package store_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

// server is a Postgres of a test's own, which it may stop and start. (Those of
// test/servers are shared.)
type server struct {
	bin, dir string
	account  *syscall.SysProcAttr
	stdin    io.Closer
	cmd      *exec.Cmd
}

// keeper runs a server until its standard input ends, which it does with the
// test's process, however that ends. SIGINT is the "fast" shutdown: sessions are
// told and cut off; SIGQUIT the "immediate" one, as when a pod is killed. Either
// is lost on a server that has only just been started, so it is repeated.
const keeper = `"$@" </dev/null >>log 2>&1 &
server=$!
read -r signal
while kill -"${signal:-INT}" "$server" 2>/dev/null; do sleep 0.02; done
wait "$server"`

func newServer(t *testing.T) *server {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	ok(t, err)
	if len(found) == 0 {
		if testing.Short() {
			t.Skip("Postgres is not installed")
		}
		t.Fatal("Postgres is not installed (`make test-deps` installs it)")
	}
	slices.Sort(found)
	// Not t.TempDir: a Unix socket's path is short, and the account must reach it.
	dir, err := os.MkdirTemp("/tmp", "mlops-restart-")
	ok(t, err)
	s := &server{bin: filepath.Dir(found[len(found)-1]), dir: dir, account: &syscall.SysProcAttr{Setpgid: true}}
	if os.Geteuid() == 0 { // as which Postgres doesn't run
		who, err := user.Lookup("postgres")
		ok(t, err)
		uid, gid := must[int](t)(strconv.Atoi(who.Uid)), must[int](t)(strconv.Atoi(who.Gid))
		ok(t, os.Chown(dir, uid, gid))
		s.account.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	initdb := exec.Command(filepath.Join(s.bin, "initdb"), "--pgdata", filepath.Join(dir, "data"), "--username", "postgres",
		"--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions")
	initdb.Dir, initdb.SysProcAttr = dir, s.account
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("run initdb: %v: %s", err, out)
	}
	s.start(t)
	t.Cleanup(func() {
		s.stop(t, "INT")
		ok(t, os.RemoveAll(dir))
	})
	return s
}

func (s *server) start(t *testing.T) {
	t.Helper()
	s.cmd = exec.Command("/bin/sh", "-c", keeper, "sh", filepath.Join(s.bin, "postgres"), "-D", filepath.Join(s.dir, "data"), "-k", s.dir,
		"-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=8", "-c", "superuser_reserved_connections=0")
	s.cmd.Dir, s.cmd.SysProcAttr = s.dir, s.account
	stdin, err := s.cmd.StdinPipe()
	ok(t, err)
	s.stdin = stdin
	ok(t, s.cmd.Start())
}

// stop ends the server and waits until it is gone.
func (s *server) stop(t *testing.T, signal string) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	if w, isWriter := s.stdin.(io.Writer); isWriter {
		_, err := io.WriteString(w, signal+"\n")
		ok(t, err)
	}
	_ = s.stdin.Close()
	_ = s.cmd.Wait() // its status is the server's, which is not 0 after SIGQUIT
	s.cmd = nil
}

func (s *server) url() string {
	return (&url.URL{Scheme: "postgres", Path: "/postgres", RawQuery: url.Values{"host": {s.dir}, "user": {"postgres"}}.Encode()}).String()
}

// ready waits until the server takes connections.
func (s *server) ready(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		c, err := pgconn.Connect(ctx, s.url())
		if err == nil {
			ok(t, c.Close(ctx))
			return
		}
		if ctx.Err() != nil {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			t.Fatalf("%v: %s", err, log)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func openPooled(t *testing.T, url string, conns int) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), url, store.Options{Timeout: time.Minute, Conns: conns})
	ok(t, err)
	t.Cleanup(func() { ok(t, s.Close()) })
	return s
}

// fillPool makes every connection of a pool and leaves it idle.
func fillPool(t *testing.T, s *store.Store, conns int) {
	t.Helper()
	release := make(chan struct{})
	var busy, done sync.WaitGroup
	for range conns {
		busy.Add(1)
		done.Go(func() { store.Occupy(t, s, busy.Done, release) })
	}
	busy.Wait()
	close(release)
	done.Wait()
}

// After a restart every pooled connection is dead. No statement that begins
// after it may fail for that, be it that the server said goodbye or was killed.
func TestARestartOfPostgresCostsNoLaterStatement(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]string{"shut down": "INT", "killed": "QUIT"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t)
			server.ready(t)
			const conns = 4
			s := openPooled(t, server.url(), conns)
			ok(t, s.Migrate(t.Context()))
			for round := range 2 {
				fillPool(t, s, conns)
				server.stop(t, signal)
				// What is asked now says at once that it can't be done.
				wantKind(t, s.Ping(t.Context()), domain.Transient)
				wantKind(t, s.Writable(t.Context()), domain.Transient)
				server.start(t)
				server.ready(t)
				for i := range 3 * conns {
					id := fmt.Sprint("d", round, ".", i)
					if stored, err := s.AcceptDelivery(t.Context(), delivery(id), envelope(id, "detect")); err != nil || !stored {
						t.Errorf("%s after the restart: %v, %v", id, stored, err)
					}
				}
			}
		})
	}
}

// Statements under way while Postgres restarts either wait for it or fail as
// Transient, and what was acknowledged is there.
func TestARestartOfPostgresUnderLoad(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	server.ready(t)
	s := openPooled(t, server.url(), 4)
	ok(t, s.Migrate(t.Context()))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var next atomic.Int64
	var mu sync.Mutex
	acknowledged, failed := map[string]bool{}, 0
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for ctx.Err() == nil {
				id := fmt.Sprint("d", next.Add(1))
				_, err := s.AcceptDelivery(t.Context(), delivery(id), envelope(id, "detect"))
				mu.Lock()
				switch {
				case err == nil:
					acknowledged[id] = true
				case domain.KindOf(err) == domain.Transient:
					failed++
				default:
					t.Errorf("%s: %v is %s", id, err, domain.KindOf(err))
				}
				mu.Unlock()
			}
		})
	}
	count := func() int64 { return next.Load() }
	progress := func() {
		for until := count() + 50; count() < until; {
			time.Sleep(time.Millisecond)
		}
	}
	for _, signal := range []string{"INT", "QUIT"} {
		progress()
		server.stop(t, signal)
		server.start(t)
		server.ready(t)
	}
	progress()
	stop()
	wg.Wait()
	t.Logf("%d deliveries acknowledged, %d failed", len(acknowledged), failed)
	// Each of 6 callers can be in a statement when each of two restarts begins.
	if failed > 12 {
		t.Errorf("%d statements failed, more than were under way", failed)
	}
	for id := range acknowledged {
		if _, err := s.Delivery(t.Context(), id); err != nil {
			t.Errorf("%s was acknowledged: %v", id, err)
		}
	}
	same(t, "problems", []string(nil), problems(integrity(t, s)))
}

// What was dumped, lost and restored into an empty database is the same again, to
// the last byte of its incidents, repairs and audit log.
func TestARestoredDumpHasTheSameDigests(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	server.ready(t)
	keys := keyring(t, 1)
	s := keyed(t, server.url(), keys)
	ok(t, s.Migrate(t.Context()))
	fill(t, s, 1, 10, start)
	for i, text := range hostile {
		inc := incident(fmt.Sprint("inc-text-", i))
		inc.Finding.Text = text
		ok(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{inc}, Audit: []domain.AuditEntry{{Object: inc.ID, Why: text}}}))
	}
	accept(t, s, "sealed", []byte(`{"a":1}`))
	before := integrity(t, s)

	program := func(name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(server.bin, name), append([]string{"--host", server.dir, "--username", "postgres"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	file := filepath.Join(t.TempDir(), "dump")
	program("pg_dump", "--format", "custom", "--file", file, "postgres")
	program("createdb", "restored")
	program("pg_restore", "--exit-on-error", "--dbname", "restored", file)
	restored := keyed(t, strings.Replace(server.url(), "/postgres?", "/restored?", 1), keys)
	same(t, "integrity", before, integrity(t, restored))
	same(t, "problems", []string(nil), problems(before))
	same(t, "body", []byte(`{"a":1}`), must[domain.Delivery](t)(restored.Delivery(t.Context(), "sealed")).Body)
}

func TestTroubleWithPostgresIsClassified(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]domain.ErrKind{
		"57P01": domain.Transient, // admin shutdown
		"57P02": domain.Transient, // crash shutdown
		"57P03": domain.Transient, // cannot connect now
		"53300": domain.Transient, // too many connections
		"53100": domain.Transient, // disk full
		"25P03": domain.Transient, // idle in a transaction for too long
		"25006": domain.Transient, // read-only: a standby
		"08006": domain.Transient, // connection failure
		"40001": domain.Transient, // serialization failure
		"40P01": domain.Transient, // deadlock
		"28P01": domain.Denied,    // wrong password
		"3D000": domain.Invalid,   // no such database
		"42703": domain.Bug,       // no such column
		"22001": domain.Bug,       // too long
	} {
		if got := store.ClassifyPostgres(fmt.Errorf("commit: %w", &pgconn.PgError{Code: code})); got != want {
			t.Errorf("%s is %s, want %s", code, got, want)
		}
	}
	for name, err := range map[string]error{
		"reset": &net.OpError{Op: "read", Err: syscall.ECONNRESET}, "refused": &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED},
		"broken pipe": &net.OpError{Op: "write", Err: syscall.EPIPE}, "cut off": io.ErrUnexpectedEOF, "DNS": &net.DNSError{IsNotFound: true},
	} {
		if got := store.ClassifyPostgres(fmt.Errorf("commit: %w", err)); got != domain.Transient {
			t.Errorf("%s is %s", name, got)
		}
	}
}

// Another pod's connections are given back sooner or later; a call waits a while.
func TestACallWaitsForAFreeConnection(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	server.ready(t)
	var others []*pgconn.PgConn
	for {
		c, err := pgconn.Connect(t.Context(), server.url())
		if err != nil {
			break // 53300: all 8 are taken
		}
		others = append(others, c)
	}
	if len(others) == 0 || len(others) > 8 {
		t.Fatalf("%d connections", len(others))
	}
	_, err := store.Open(t.Context(), server.url(), store.Options{})
	wantKind(t, err, domain.Transient) // at the start nobody waits
	ok(t, others[0].Close(t.Context()))
	var s *store.Store
	for s, err = store.Open(t.Context(), server.url(), store.Options{Timeout: time.Minute}); err != nil; {
		time.Sleep(time.Millisecond) // until the server has cleared away the closed one
		s, err = store.Open(t.Context(), server.url(), store.Options{Timeout: time.Minute})
	}
	t.Cleanup(func() { ok(t, s.Close()) })
	free := make(chan struct{})
	var wg sync.WaitGroup
	var busy sync.WaitGroup
	busy.Add(1)
	wg.Go(func() { store.Occupy(t, s, busy.Done, free) })
	busy.Wait()
	wantKind(t, s.Ping(t.Context()), domain.Transient)
	result := make(chan error, 1)
	wg.Go(func() {
		_, _, err := s.NextDue(t.Context())
		result <- err
	})
	ok(t, others[1].Close(t.Context())) // while the call waits, or just before it
	// It got a connection, and found no schema.
	wantKind(t, <-result, domain.Bug)
	close(free)
	wg.Wait()
	for _, c := range others[2:] {
		ok(t, c.Close(t.Context()))
	}
}

// Package servers starts the real servers that tests need, a Postgres and a
// Redis, on this machine, and gives each test a place of its own in them. It is
// for tests only; nothing that ships imports it.
//
// A server starts with the first test of a test binary that asks for it and is
// shared by the others. It is held by a small shell supervisor that reads a pipe
// of ours: however the test binary ends (done, time-out, killed), the pipe
// closes, and the supervisor stops the server and removes its directory. So no
// TestMain is needed and no server outlives its tests.
package servers

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver that makes the schemas
	"github.com/redis/go-redis/v9"
)

// startTimeout bounds the start of a server, on a machine that is busy with
// other tests.
const startTimeout = 60 * time.Second

// redisDatabases is how many tests of one binary can have a Redis database each.
const redisDatabases = 512

var (
	startPostgres = sync.OnceValues(runPostgres)
	startRedis    = sync.OnceValues(runRedis)
	redisNext     atomic.Int64
)

// Postgres returns the URL of a new, empty schema of a real Postgres that is
// dropped when the test ends. The test fails where Postgres isn't installed, and
// is skipped there with -short.
func Postgres(tb testing.TB) string {
	tb.Helper()
	base, err := startPostgres()
	if err != nil {
		missing(tb, "Postgres", err)
	}
	schema := "t_" + rand.Text()
	onPostgres(tb, base, `CREATE SCHEMA "`+schema+`"`)
	tb.Cleanup(func() { onPostgres(tb, base, `DROP SCHEMA "`+schema+`" CASCADE`) })
	u, err := url.Parse(base)
	if err != nil {
		tb.Fatalf("parse the server's URL: %v", err)
	}
	q := u.Query()
	q.Set("search_path", `"`+schema+`"`)
	u.RawQuery = q.Encode()
	return u.String()
}

// Redis returns the URL of an empty database of a real Redis that is flushed
// when the test ends. The test fails where Redis isn't installed, and is skipped
// there with -short.
func Redis(tb testing.TB) string {
	tb.Helper()
	base, err := startRedis()
	if err != nil {
		missing(tb, "Redis", err)
	}
	n := redisNext.Add(1) - 1
	if n >= redisDatabases {
		tb.Fatalf("more than %d tests of one binary ask for a Redis database", redisDatabases)
	}
	target := base + "/" + strconv.FormatInt(n, 10)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		opts, err := redis.ParseURL(target)
		if err != nil {
			tb.Errorf("parse the URL of the test's Redis: %v", err)
			return
		}
		client := redis.NewClient(opts)
		if err := errors.Join(client.FlushDB(ctx).Err(), client.Close()); err != nil {
			tb.Errorf("flush the test's Redis database: %v", err)
		}
	})
	return target
}

func missing(tb testing.TB, name string, err error) {
	tb.Helper()
	if testing.Short() {
		tb.Skipf("%s is not usable here: %v", name, err)
	}
	tb.Fatalf("start %s (`make test-deps` installs it): %v", name, err)
}

func onPostgres(tb testing.TB, base, statement string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	db, err := sql.Open("pgx", base)
	if err == nil {
		_, err = db.ExecContext(ctx, statement)
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		tb.Errorf("run %s: %v", statement, err)
	}
}

// runPostgres makes a cluster and starts it on a Unix socket, so that no port
// can be taken by somebody else.
func runPostgres() (string, error) {
	bin, err := postgresPrograms()
	if err != nil {
		return "", err
	}
	dir, account, err := serverDir("mlops-pg-")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	data := filepath.Join(dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), //nolint:gosec // the system's Postgres
		"--pgdata", data, "--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions")
	initdb.SysProcAttr = account
	initdb.Dir = dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("run initdb: %w: %s", err, out), os.RemoveAll(dir))
	}
	target := (&url.URL{Scheme: "postgres", Path: "/postgres", RawQuery: url.Values{"host": {dir}, "user": {"postgres"}}.Encode()}).String()
	// Durability is what a test server needs least.
	err = supervise(dir, account, []string{filepath.Join(bin, "postgres"), "-D", data, "-k", dir,
		"-c", "listen_addresses=", "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off",
		"-c", "shared_buffers=32MB", "-c", "max_connections=300"}, func(ctx context.Context) error {
		db, err := sql.Open("pgx", target)
		if err != nil {
			return err
		}
		return errors.Join(db.PingContext(ctx), db.Close())
	})
	return target, err
}

// postgresPrograms returns the directory of the newest Postgres' programs.
// Debian keeps them outside of PATH.
func postgresPrograms() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		newest := slices.MaxFunc(found, func(a, b string) int { return postgresMajor(a) - postgresMajor(b) })
		return filepath.Dir(newest), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", err
	}
	return filepath.Dir(path), nil
}

func postgresMajor(initdb string) int {
	major, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb))))
	if err != nil {
		return 0
	}
	return major
}

func runRedis() (string, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return "", err
	}
	// The port is free when it is chosen and may be taken when the server binds
	// it, so a start that fails is tried on another one.
	for attempt := range 5 {
		target, startErr := runRedisOnce(program)
		if startErr == nil {
			return target, nil
		}
		err = fmt.Errorf("attempt %d: %w", attempt+1, startErr)
	}
	return "", err
}

func runRedisOnce(program string) (string, error) {
	dir, account, err := serverDir("mlops-redis-")
	if err != nil {
		return "", err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	addr := l.Addr().String()
	_, port, err := net.SplitHostPort(addr)
	if err := errors.Join(err, l.Close()); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	err = supervise(dir, account, []string{program, "--bind", "127.0.0.1", "--port", port, "--dir", dir,
		"--save", "", "--appendonly", "no", "--databases", strconv.Itoa(redisDatabases)}, func(ctx context.Context) error {
		client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, Protocol: 2, DisableIdentity: true})
		// Another process may have taken the port: only the server in our own
		// directory is ours.
		got, err := client.ConfigGet(ctx, "dir").Result()
		if err == nil && got["dir"] != dir {
			err = fmt.Errorf("the Redis on %s works in %s", addr, got["dir"])
		}
		return errors.Join(err, client.Close())
	})
	return "redis://" + addr, err
}

// serverDir makes a server's directory and says as whom it has to run: Postgres
// refuses root, so root hands both to an unprivileged account.
func serverDir(prefix string) (string, *syscall.SysProcAttr, error) {
	// A Unix socket's path has at most 107 bytes, and TMPDIR can be long.
	parent := os.TempDir()
	if len(parent) > 60 {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return "", nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", nil, err
	}
	account := &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() != 0 {
		return dir, account, nil
	}
	who, err := user.Lookup("postgres")
	if err != nil {
		who, err = user.Lookup("nobody")
	}
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	uid, uidErr := strconv.ParseUint(who.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(who.Gid, 10, 32)
	if err := errors.Join(uidErr, gidErr, os.Chown(dir, int(uid), int(gid))); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	account.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return dir, account, nil
}

// supervisor starts its arguments after the first as a server, waits for its
// standard input to end, stops the server and removes the directory $1. SIGINT
// is Postgres' "fast" shutdown and Redis' orderly one.
const supervisor = `dir=$1; shift
"$@" </dev/null >"$dir/log" 2>&1 &
server=$!
read -r _
kill -INT "$server" 2>/dev/null
wait "$server"
rm -rf "$dir"`

// held keeps the write ends of the supervisors' pipes open, and reachable, until
// the process ends.
var held struct {
	sync.Mutex
	pipes []*os.File
}

func supervise(dir string, account *syscall.SysProcAttr, server []string, ready func(context.Context) error) error {
	r, w, err := os.Pipe()
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", supervisor, "sh", dir}, server...)...) //nolint:gosec,noctx // arguments of our own; it outlives every context
	cmd.Stdin, cmd.Dir, cmd.SysProcAttr = r, dir, account
	if err := errors.Join(cmd.Start(), r.Close()); err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", server[0], err), w.Close(), os.RemoveAll(dir))
	}
	deadline := time.Now().Add(startTimeout)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		err = ready(ctx)
		cancel()
		if err == nil {
			held.Lock()
			held.pipes = append(held.pipes, w)
			held.Unlock()
			return nil
		}
		if time.Now().After(deadline) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	log, logErr := os.ReadFile(filepath.Join(dir, "log"))
	return errors.Join(fmt.Errorf("wait for %s: %w: %s", server[0], err, log), logErr, w.Close(), cmd.Wait())
}

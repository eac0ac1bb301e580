package servers_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/mlops-bot/mlops-bot/test/servers"
)

func TestEachTestHasASchemaOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"one", "two"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := sql.Open("pgx", servers.Postgres(t))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			// The second of two would fail if they shared a schema.
			if _, err := db.ExecContext(t.Context(), "CREATE TABLE same_name (a INT)"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestEachTestHasARedisDatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"one", "two"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts, err := redis.ParseURL(servers.Redis(t))
			if err != nil {
				t.Fatal(err)
			}
			client := redis.NewClient(opts)
			t.Cleanup(func() { _ = client.Close() })
			if created, err := client.SetNX(t.Context(), "same-key", name, 0).Result(); err != nil || !created {
				t.Fatalf("SetNX = %v, %v; want a database without the key", created, err)
			}
		})
	}
}

// A test binary that is killed leaves no server behind. The binary runs itself
// as a child, kills it, and waits for the child's server to go.
func TestServersEndWithAKilledTestBinary(t *testing.T) {
	t.Parallel()
	if os.Getenv("SERVERS_TEST_CHILD") != "" {
		fmt.Println("url=" + servers.Redis(t))
		<-t.Context().Done() // never: the parent kills this process
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), exe, "-test.run=^TestServersEndWithAKilledTestBinary$", "-test.timeout=2m")
	child.Env = append(os.Environ(), "SERVERS_TEST_CHILD=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var addr string
	var seen strings.Builder
	buf := make([]byte, 256)
	for addr == "" {
		n, err := out.Read(buf)
		seen.Write(buf[:n])
		if _, rest, ok := strings.Cut(seen.String(), "url=redis://"); ok {
			if line, _, ok := strings.Cut(rest, "\n"); ok {
				addr, _, _ = strings.Cut(line, "/")
			}
		}
		if err != nil && addr == "" {
			t.Fatalf("the child ended without a server: %v: %s", err, seen.String())
		}
	}
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatalf("the child's server does not answer: %v", err)
	}
	if err := child.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out)
	_ = child.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for client.Ping(ctx).Err() == nil {
		if ctx.Err() != nil {
			t.Fatal("the server outlived its test binary")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

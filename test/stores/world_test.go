// Package stores_test runs the scripts that the chart gives to the pods of
// Postgres and Redis, of their backups and of a restore, on real servers: the
// very files of charts/mlops-bot/files, with other paths and ports.
package stores_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	chartFiles = "../../charts/mlops-bot/files"
	// patience bounds the wait for a server, on a machine that is busy.
	patience = 60 * time.Second
)

// world is a folder with the chart's files, as one pod after another sees it.
type world struct {
	t       *testing.T
	dir     string
	account *syscall.SysProcAttr
	env     map[string]string
	port    int
}

// newWorld copies the chart's files and points them at a folder of the test.
// Postgres refuses root, so that root hands the folder to another account.
func newWorld(t *testing.T) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("starts servers")
	}
	// Not t.TempDir, whose parent only its owner may enter; and a socket's path is short.
	dir, err := os.MkdirTemp("/tmp", "mlops-stores-")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	me, err := user.Current()
	check(t, err)
	w := &world{t: t, dir: dir, account: &syscall.SysProcAttr{Setpgid: true}, port: freePort(t)}
	if me.Uid == "0" {
		me, err = user.Lookup("postgres")
		check(t, err)
		uid, err := strconv.ParseUint(me.Uid, 10, 32)
		check(t, err)
		gid, err := strconv.ParseUint(me.Gid, 10, 32)
		check(t, err)
		w.account.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}

	names, err := filepath.Glob(chartFiles + "/*")
	check(t, err)
	replace := strings.NewReplacer(
		"/etc/mlops-bot/postgres", dir+"/etc", "/var/run/postgresql", dir+"/run",
		"@HOST@", "host", "@DATABASE@", "mlops_bot_prod", "@USER@", "bot_user", "@BACKUP_USER@", "bot_backup",
		"inside   postgres  ", "inside   "+me.Username, "dir /data", "dir "+dir+"/redis", "bind * -::*", "bind 127.0.0.1")
	for _, name := range names {
		b, err := os.ReadFile(name)
		check(t, err)
		w.write("etc/"+filepath.Base(name), replace.Replace(string(b)))
	}
	w.write("etc/redis-extra.conf", fmt.Sprintf("port %d\n", w.port))
	for _, sub := range []string{"run", "data", "redis", "backup"} {
		check(t, os.Mkdir(filepath.Join(dir, sub), 0o700))
	}
	check(t, w.own())

	programs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	check(t, err)
	if len(programs) == 0 {
		t.Fatal("Postgres is not installed (`make test-deps` installs it)")
	}
	w.env = map[string]string{
		"PATH": programs[len(programs)-1] + ":" + os.Getenv("PATH"), "TMPDIR": dir, "HOME": dir,
		"PGDATA": dir + "/data/pgdata", "POSTGRES_CONF": dir + "/etc/postgres.conf", "SOCKET_DIR": dir + "/run",
		"BOT_DB": "mlops_bot_prod", "BOT_USER": "bot_user", "BOT_PASSWORD_FILE": dir + "/etc/password",
		"BACKUP_USER": "bot_backup", "BACKUP_PASSWORD_FILE": dir + "/etc/backup-password",
		"REDIS_CONF": dir + "/etc/redis.conf", "REDIS_EXTRA_CONF": dir + "/etc/redis-extra.conf",
		"REDIS_PASSWORD_FILE": dir + "/etc/password", "REDIS_PORT": strconv.Itoa(w.port), "REDIS_HOST": "127.0.0.1", "RUN_DIR": dir + "/run",
		"KEEP_DAYS": "14", "KEEP_LEAST": "3", "BACKUP_DIR": dir + "/backup", "WAL_DIR": dir + "/backup/wal",
	}
	w.password("one")
	w.write("etc/backup-password", "another")
	return w
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	defer func() { check(t, l.Close()) }()
	return l.Addr().(*net.TCPAddr).Port
}

// own gives everything in the folder to the account that the scripts run as.
func (w *world) own() error {
	if w.account.Credential == nil {
		return nil
	}
	return filepath.WalkDir(w.dir, func(name string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(name, int(w.account.Credential.Uid), int(w.account.Credential.Gid)))
	})
}

func (w *world) write(name, content string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	check(w.t, os.MkdirAll(filepath.Dir(path), 0o750))
	check(w.t, os.WriteFile(path, []byte(content), 0o600))
	check(w.t, w.own())
}

// certificate writes tls.crt, tls.key and ca.crt for a service, as the Secret of
// its values holds them.
func (w *world) certificate(name, address string) {
	w.t.Helper()
	issue := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		check(w.t, err)
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		if parent == nil {
			parent, signer = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
		check(w.t, err)
		cert, err := x509.ParseCertificate(der)
		check(w.t, err)
		return cert, key
	}
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	ca, caKey := issue(&x509.Certificate{Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	leaf, key := issue(&x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{net.ParseIP(address)}}, ca, caKey)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	check(w.t, err)
	w.write("etc/ca.crt", encode("CERTIFICATE", ca.Raw))
	w.write("etc/tls.crt", encode("CERTIFICATE", leaf.Raw))
	w.write("etc/tls.key", encode("PRIVATE KEY", der))
}

// password changes the Secret's file, which ends with a line break where somebody
// made it with an editor.
func (w *world) password(p string) {
	w.t.Helper()
	w.write("etc/password", p+"\n")
}

func (w *world) command(ctx context.Context, env map[string]string, program string, args ...string) *exec.Cmd {
	if strings.HasSuffix(program, ".sh") {
		program, args = "/bin/sh", append([]string{w.dir + "/etc/" + program}, args...)
	} else if filepath.Base(program) == program {
		for _, dir := range filepath.SplitList(w.env["PATH"]) {
			if _, err := os.Stat(filepath.Join(dir, program)); err == nil {
				program = filepath.Join(dir, program)
				break
			}
		}
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.SysProcAttr = w.dir, w.account
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	for _, vars := range []map[string]string{w.env, env} {
		for k, v := range vars {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	return cmd
}

// try runs a script or program and returns what it printed.
func (w *world) try(env map[string]string, program string, args ...string) (string, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	out, err := w.command(ctx, env, program, args...).CombinedOutput()
	return string(out), err
}

// run is try for what has to succeed.
func (w *world) run(env map[string]string, program string, args ...string) string {
	w.t.Helper()
	out, err := w.try(env, program, args...)
	if err != nil {
		w.t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return out
}

// refused is try for what must fail, and say why.
func (w *world) refused(complains string, env map[string]string, program string, args ...string) {
	w.t.Helper()
	out, err := w.try(env, program, args...)
	if err == nil {
		w.t.Errorf("%s succeeded:\n%s", program, out)
	}
	if !strings.Contains(out, complains) {
		w.t.Errorf("%s said nothing of %q:\n%s", program, complains, out)
	}
}

// server is a running server.
type server struct {
	w    *world
	cmd  *exec.Cmd
	done chan error
	mu   sync.Mutex
	log  bytes.Buffer
}

// Write takes the server's log.
func (s *server) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *server) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// start runs a script that becomes a server and waits until the probe succeeds.
func (w *world) start(probe func() error, script string, args ...string) *server {
	w.t.Helper()
	s := &server{w: w, done: make(chan error, 1)}
	s.cmd = w.command(context.Background(), nil, script, args...)
	s.cmd.Stdout, s.cmd.Stderr = s, s
	check(w.t, s.cmd.Start())
	go func() { s.done <- s.cmd.Wait() }()
	w.t.Cleanup(func() { s.kill() })
	for deadline := time.Now().Add(patience); ; {
		err := probe()
		if err == nil {
			return s
		}
		select {
		case exit := <-s.done:
			s.done <- exit
			w.t.Fatalf("%s ended: %v\n%s", script, exit, s.said())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s is not ready: %v\n%s", script, err, s.said())
		}
	}
}

// stop asks the server to end, as the pod's hook or Kubernetes does, and waits.
func (s *server) stop(signal syscall.Signal) {
	s.w.t.Helper()
	check(s.w.t, s.cmd.Process.Signal(signal))
	select {
	case err := <-s.done:
		s.done <- err
		if err != nil {
			s.w.t.Fatalf("the server ended with %v\n%s", err, s.said())
		}
	case <-time.After(patience):
		s.w.t.Fatalf("the server doesn't end\n%s", s.said())
	}
}

// kill ends the server and all its processes at once, as a node that fails does.
func (s *server) kill() {
	err := <-func() chan error {
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // gone already after stop
		return s.done
	}()
	s.done <- err
}

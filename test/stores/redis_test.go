package stores_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}

// redis starts Redis as the chart's pod does.
func (w *world) redis() *server {
	w.t.Helper()
	return w.start(func() error {
		out, err := w.try(nil, "redis-ping.sh")
		if err != nil {
			return errors.Join(err, errors.New(out))
		}
		return nil
	}, "redis-start.sh")
}

func (w *world) cli(args ...string) string {
	w.t.Helper()
	return strings.TrimSpace(w.run(nil, "redis-cli.sh", args...))
}

func TestRedisHasItsSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.password(`a"b\c $HOME é`)
	w.redis()
	want := map[string]string{
		"maxmemory": "838860800", "maxmemory-policy": "allkeys-lru", "save": "900 1 300 10 60 10000",
		"appendonly": "yes", "appendfsync": "everysec", "requirepass": `a"b\c $HOME é`,
	}
	got := map[string]string{}
	for name := range want {
		_, got[name], _ = strings.Cut(w.cli("--raw", "CONFIG", "GET", name), "\n")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if out := w.run(nil, "redis-cli", "-p", w.env["REDIS_PORT"], "PING"); !strings.Contains(out, "NOAUTH") {
		t.Errorf("a stranger is told %q", out)
	}
	w.refused("", map[string]string{"REDIS_PASSWORD_FILE": w.env["BACKUP_PASSWORD_FILE"]}, "redis-ping.sh")
	if st, err := os.Stat(w.dir + "/run/redis.conf"); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the settings with the password have mode %v (%v)", st.Mode(), err)
	}
}

func TestRedisRefusesToStartWithoutAPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("etc/password", "")
	w.refused("password file", nil, "redis-start.sh")
}

func TestRedisKeepsWhatItHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.redis()
	w.cli("SET", "kept", "7")
	server.stop(syscall.SIGTERM)
	server = w.redis()
	if got := w.cli("GET", "kept"); got != "7" {
		t.Errorf("after an orderly stop it holds %q", got)
	}

	backup := map[string]string{"BACKUP_DIR": w.dir + "/backup"}
	w.refused("", map[string]string{"REDIS_PASSWORD_FILE": w.env["BACKUP_PASSWORD_FILE"]}, "backup-redis.sh")
	if got := w.files("backup"); len(got) != 1 {
		t.Errorf("a failed backup left %v", got)
	}
	w.run(backup, "backup-redis.sh")
	w.cli("SET", "kept", "8")
	w.refused("still runs", map[string]string{"RESTORE_FILE": "latest", "DATA_DIR": w.dir + "/redis", "RUNNING_HOST": "127.0.0.1", "OVERWRITE": "true"}, "backup-restore-redis.sh")
	server.stop(syscall.SIGTERM)

	restore := map[string]string{"RESTORE_FILE": "latest", "DATA_DIR": w.dir + "/redis", "RUNNING_HOST": "127.0.0.1"}
	w.refused("nothing was restored", restore, "backup-restore-redis.sh")
	restore["OVERWRITE"] = "true"
	w.run(restore, "backup-restore-redis.sh")
	w.redis()
	if got := w.cli("GET", "kept"); got != "7" {
		t.Errorf("restored, it holds %q", got)
	}

	snapshots, err := filepath.Glob(w.dir + "/backup/redis-*.rdb")
	check(t, err)
	if len(snapshots) != 1 {
		t.Fatalf("there are %d snapshots", len(snapshots))
	}
	b, err := os.ReadFile(snapshots[0])
	check(t, err)
	w.write("backup/"+filepath.Base(snapshots[0]), string(b[:len(b)-1]))
	w.refused("is damaged", restore, "backup-restore-redis.sh")
}

func TestRedisServesTLSOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certificate("redis-service", "127.0.0.1")
	w.write("etc/redis-extra.conf", "port 0\ntls-port "+w.env["REDIS_PORT"]+"\ntls-cert-file "+w.dir+"/etc/tls.crt\ntls-key-file "+w.dir+"/etc/tls.key\ntls-ca-cert-file "+
		w.dir+"/etc/ca.crt\ntls-auth-clients no\ntls-protocols \"TLSv1.2 TLSv1.3\"\n")
	w.env["REDIS_TLS_CA"] = w.dir + "/etc/ca.crt"
	w.redis()
	w.cli("SET", "kept", "7")
	w.run(map[string]string{"BACKUP_DIR": w.dir + "/backup"}, "backup-redis.sh")
	w.refused("", map[string]string{"REDIS_TLS_CA": ""}, "redis-ping.sh")
}

package stores_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

// postgres starts Postgres as the chart's pod does, with point-in-time recovery.
func (w *world) postgres(settings ...string) *server {
	w.t.Helper()
	probe := func() error {
		_, err := w.try(nil, "pg_isready", "--quiet", "--host", w.dir+"/run", "--port", fmt.Sprint(w.port), "--username", "bot_user", "--dbname", "mlops_bot_prod")
		return err
	}
	return w.start(probe, "postgres-start.sh", w.postgresArgs(settings...)...)
}

// postgresArgs are the arguments of the chart's templates.
func (w *world) postgresArgs(settings ...string) []string {
	args := []string{
		"-c", "listen_addresses=127.0.0.1", "-c", fmt.Sprintf("port=%d", w.port), "-c", "archive_mode=on",
		"-c", fmt.Sprintf(`archive_command=/bin/sh %s/etc/postgres-archive.sh "%%p" "%%f" %s/backup/wal`, w.dir, w.dir), "-c", "archive_timeout=300s",
	}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	return args
}

// url is the database as another pod reaches it.
func (w *world) url(user, password, database string) string {
	u := url.URL{Scheme: "postgres", Host: fmt.Sprintf("127.0.0.1:%d", w.port), Path: "/" + database, RawQuery: "sslmode=disable", User: url.UserPassword(user, password)}
	if password == "" {
		u.User = url.User(user)
	}
	return u.String()
}

// sql asks as the bot's role, from within the pod.
func (w *world) sql(statement string) string {
	w.t.Helper()
	return strings.TrimSpace(w.run(nil, "psql", w.inside("bot_user", "mlops_bot_prod", statement)...))
}

func (w *world) inside(user, database, statement string) []string {
	return []string{"-h", w.dir + "/run", "-p", fmt.Sprint(w.port), "-U", user, "-d", database, "-qtAX", "-v", "ON_ERROR_STOP=1", "-c", statement}
}

func TestPostgresHasItsSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.postgres("work_mem=5MB")
	want := map[string]string{
		"shared_buffers": "256MB", "effective_cache_size": "1GB", "maintenance_work_mem": "64MB", "max_connections": "100",
		"password_encryption": "scram-sha-256", "data_checksums": "on", "server_encoding": "UTF8", "fsync": "on", "synchronous_commit": "on",
		"work_mem": "5MB", // a value of the chart wins over the file
	}
	got := map[string]string{}
	for name := range want {
		got[name] = w.sql("SHOW " + name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if b, err := os.ReadFile(w.dir + "/etc/postgres.conf"); err != nil || !strings.Contains(string(b), "\nwork_mem = 4MB\n") {
		t.Errorf("work_mem isn't 4MB by default (%v)", err)
	}
}

func TestPostgresLetsIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Whatever is in it, it is no SQL and no shell.
	password := `a'b"c\d $HOME ; DROP TABLE x; -- é`
	w.password(password)
	w.postgres()
	tests := map[string]struct {
		user, password, database string
		fails                    string
	}{
		"the bot":                                {"bot_user", password, "mlops_bot_prod", ""},
		"the bot with a wrong password":          {"bot_user", "wrong", "mlops_bot_prod", "password authentication failed"},
		"the bot with none":                      {"bot_user", "", "mlops_bot_prod", "no password supplied"},
		"the bot in another database":            {"bot_user", password, "postgres", "no pg_hba.conf entry"},
		"the superuser, from outside of its pod": {"postgres", password, "mlops_bot_prod", "no pg_hba.conf entry"},
		"base backups' role in the database":     {"bot_backup", "another", "mlops_bot_prod", "no pg_hba.conf entry"},
		"a stranger":                             {"stranger", "x", "mlops_bot_prod", "no pg_hba.conf entry"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := w.try(map[string]string{"PGCONNECT_TIMEOUT": "10"}, "psql", "--no-password", "-qtAX", "-c", "SELECT current_user", w.url(tt.user, tt.password, tt.database))
			switch {
			case tt.fails == "" && (err != nil || strings.TrimSpace(out) != tt.user):
				t.Errorf("not let in: %v: %s", err, out)
			case tt.fails != "" && (err == nil || !strings.Contains(out, tt.fails)):
				t.Errorf("error %v, want one about %q:\n%s", err, tt.fails, out)
			}
		})
	}
	if got := w.sql("SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls FROM pg_roles WHERE rolname = 'bot_user'"); got != "f" {
		t.Error("the bot's role has a right that it doesn't need")
	}
}

func TestPostgresPasswordChangesWithTheSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.postgres()
	w.sql("CREATE TABLE kept AS SELECT 7 AS n")
	server.stop(syscall.SIGINT)
	w.password("two")
	server = w.postgres()
	if got := w.run(nil, "psql", "-qtAX", "-c", "SELECT n FROM kept", w.url("bot_user", "two", "mlops_bot_prod")); strings.TrimSpace(got) != "7" {
		t.Errorf("got %q", got)
	}
	w.refused("password authentication failed", nil, "psql", "-c", "SELECT 1", w.url("bot_user", "one", "mlops_bot_prod"))
	if strings.Contains(server.said(), "two") {
		t.Errorf("the log shows the password:\n%s", server.said())
	}
}

func TestPostgresStopsWhileClientsStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.postgres()
	client := w.command(t.Context(), nil, "psql", w.inside("bot_user", "mlops_bot_prod", "SELECT pg_sleep(600)")...)
	check(t, client.Start())
	for w.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'") != "1" {
		time.Sleep(20 * time.Millisecond)
	}
	// The pod's hook, then Kubernetes' own signal, which alone would wait for ever.
	check(t, server.cmd.Process.Signal(syscall.SIGINT))
	check(t, server.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-server.done:
		server.done <- err
		check(t, err)
	case <-time.After(patience):
		t.Fatalf("it waits for its client\n%s", server.said())
	}
	_ = client.Wait() // its connection was cut
	if got := w.run(nil, "pg_controldata", w.env["PGDATA"]); !strings.Contains(got, "shut down\n") {
		t.Errorf("not shut down in order:\n%s", got)
	}
}

func TestPostgresComesBackFromAKill(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.postgres()
	w.sql("CREATE TABLE kept AS SELECT g AS n FROM generate_series(1, 1000) g")
	server.kill()
	check(t, os.Remove(fmt.Sprintf("%s/run/.s.PGSQL.%d.lock", w.dir, w.port))) // a pod's own folder is gone with it
	w.postgres()
	if got := w.sql("SELECT sum(n) FROM kept"); got != "500500" {
		t.Errorf("sum is %s", got)
	}
}

func TestPostgresRefusesToStart(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		prepare   func(t *testing.T, w *world)
		complains string
	}{
		"without a password":         {func(_ *testing.T, w *world) { w.write("etc/password", "") }, "password file"},
		"over something else":        {func(_ *testing.T, w *world) { w.write("data/pgdata/photo.jpg", "x") }, "nothing is overwritten"},
		"with another version":       {func(_ *testing.T, w *world) { w.write("data/pgdata/PG_VERSION", "9\n") }, "made by Postgres 9"},
		"while a restore is running": {func(_ *testing.T, w *world) { w.write("data/pgdata.restoring/PG_VERSION", "15\n") }, "a restore is under way"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tt.prepare(t, w)
			before := w.files("data")
			w.refused(tt.complains, nil, "postgres-start.sh", w.postgresArgs()...)
			if diff := cmp.Diff(before, w.files("data")); diff != "" {
				t.Errorf("the volume changed (-before +after):\n%s", diff)
			}
		})
	}
}

// files lists what is below a folder.
func (w *world) files(dir string) []string {
	w.t.Helper()
	return strings.Fields(w.run(nil, "find", w.dir+"/"+dir))
}

// fill writes rows of the bot into its database and returns their digests.
func (w *world) fill(text string) map[string]string {
	w.t.Helper()
	s := w.store()
	check(w.t, s.Migrate(w.t.Context()))
	now := time.Now()
	for i := range 20 {
		id, repo := fmt.Sprint(text, i), domain.Repo{ID: int64(i + 1), InstallationID: 1, FullName: "acme/train"}
		out := domain.Outcome{
			Incidents: []domain.Incident{{
				ID: id, State: domain.IncidentOpen, Repo: repo, Branch: "main", WorkflowPath: ".github/workflows/train.yml", Fingerprint: "f-" + id,
				Finding: domain.Finding{Category: "cuda-oom", Text: "naïve \\N 'quoted'\ttext"}, Run: domain.Run{ID: 11, Attempt: 1}, Occurrences: 1, OpenedAt: now, LastSeenAt: now,
			}},
			Repairs: []domain.Repair{{
				ID: "rep-" + id, State: domain.RepairIntended, IncidentID: id, Root: id, Repo: repo, Attempt: 1, Rule: "cuda-oom",
				Plan: domain.Plan{Strategy: "halve-batch-size", Action: domain.ActionEdit}, PlanKey: id, Branch: "mlops-bot/" + id, BaseBranch: "main", CreatedAt: now,
			}},
			Audit: []domain.AuditEntry{{At: now, RepoID: repo.ID, Actor: "repair", Action: "repair.intended", Object: id}},
		}
		check(w.t, s.Commit(w.t.Context(), store.Cause{Consumer: "repair"}, out, now))
	}
	return w.digests()
}

func (w *world) store() *store.Store {
	w.t.Helper()
	s, err := store.Open(w.t.Context(), w.url("bot_user", "one", "mlops_bot_prod"), store.Options{})
	check(w.t, err)
	w.t.Cleanup(func() { _ = s.Close() })
	return s
}

func (w *world) digests() map[string]string {
	w.t.Helper()
	found, err := w.store().Integrity(w.t.Context())
	check(w.t, err)
	if len(found.Problems) > 0 || found.Rows["incidents"] == 0 || found.Rows["repairs"] == 0 {
		w.t.Errorf("rows %v, problems %v", found.Rows, found.Problems)
	}
	return found.Digests
}

func TestDumpAndRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.postgres()
	before := w.fill("first")
	env := map[string]string{"DATABASE_URL": w.url("bot_user", "", "mlops_bot_prod"), "DB_PASSWORD": "one", "RESTORE_FILE": "latest"}
	w.refused("password authentication failed", map[string]string{"DATABASE_URL": env["DATABASE_URL"], "DB_PASSWORD": "wrong"}, "backup-postgres.sh")
	if got := w.files("backup"); len(got) != 1 {
		t.Errorf("a failed backup left %v", got)
	}
	w.run(env, "backup-postgres.sh")
	dumps, err := filepath.Glob(w.dir + "/backup/postgresql-*.dump")
	check(t, err)
	if len(dumps) != 1 {
		t.Fatalf("there are %d dumps", len(dumps))
	}
	after := w.fill("second")
	if cmp.Equal(before, after) {
		t.Fatal("the digests don't tell what was written")
	}

	// What isn't meant stays.
	with := func(more map[string]string) map[string]string {
		all := map[string]string{}
		for _, m := range []map[string]string{env, more} {
			for k, v := range m {
				all[k] = v
			}
		}
		return all
	}
	whole, err := os.ReadFile(dumps[0])
	check(t, err)
	cut := whole[:len(whole)*3/4]
	w.write("backup/postgresql-20200101T000000Z.dump", string(cut))
	w.write("backup/postgresql-20200101T000000Z.dump.sha256", strings.Fields(w.run(nil, "sha256sum", dumps[0]))[0]+"  x\n")
	w.write("backup/postgresql-20200102T000000Z.dump", string(cut))
	w.write("backup/postgresql-20200102T000000Z.dump.sha256", strings.Fields(w.run(nil, "sha256sum", w.dir+"/backup/postgresql-20200102T000000Z.dump"))[0]+"  x\n")
	w.write("backup/postgresql-20200103T000000Z.dump", string(whole))
	overwrite := func(file string) map[string]string {
		return with(map[string]string{"OVERWRITE": "true", "RESTORE_FILE": file})
	}
	w.refused("not empty", env, "backup-restore-dump.sh")
	w.refused("is damaged", overwrite("postgresql-20200101T000000Z.dump"), "backup-restore-dump.sh")
	w.refused("could not read", overwrite("postgresql-20200102T000000Z.dump"), "backup-restore-dump.sh")
	w.refused("not complete", overwrite("postgresql-20200103T000000Z.dump"), "backup-restore-dump.sh")
	w.refused("there is no", overwrite("../etc/password"), "backup-restore-dump.sh")
	if diff := cmp.Diff(after, w.digests()); diff != "" {
		t.Fatalf("a refused restore changed the database (-before +after):\n%s", diff)
	}

	w.run(overwrite("latest"), "backup-restore-dump.sh")
	if diff := cmp.Diff(before, w.digests()); diff != "" {
		t.Errorf("restored over another state (-before +after):\n%s", diff)
	}
	// The schema belongs to whom it did before: the next backup and migration work.
	if got := w.sql("SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'public'"); got != "pg_database_owner" {
		t.Errorf("public belongs to %s", got)
	}
	w.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
	w.run(env, "backup-restore-dump.sh")
	if diff := cmp.Diff(before, w.digests()); diff != "" {
		t.Errorf("restored into an empty database (-before +after):\n%s", diff)
	}
	check(t, w.store().Migrate(t.Context()))
	check(t, os.RemoveAll(w.dir+"/backup"))
	check(t, os.Mkdir(w.dir+"/backup", 0o700))
	check(t, w.own())
	w.run(env, "backup-postgres.sh")
}

func TestPointInTimeRecovery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.postgres()
	w.sql("CREATE TABLE ledger (what TEXT)")
	base := map[string]string{"PGHOST": "127.0.0.1", "PGPORT": fmt.Sprint(w.port), "PGUSER": "bot_backup", "PGPASSWORD": "another", "BACKUP_DIR": w.dir + "/backup/base"}
	w.refused("password authentication failed", map[string]string{"PGHOST": "127.0.0.1", "PGPORT": fmt.Sprint(w.port), "PGUSER": "bot_backup", "PGPASSWORD": "wrong", "BACKUP_DIR": w.dir + "/backup/base"}, "backup-base.sh")
	tooEarly := w.sql("SELECT to_char(now() - interval '1 hour', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
	w.run(base, "backup-base.sh")
	w.sql("INSERT INTO ledger VALUES ('kept')")
	const clock = `SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`
	moment := w.sql(clock)
	w.sql("INSERT INTO ledger VALUES ('regretted')")
	w.refused("still runs", map[string]string{"RUNNING_HOST": "127.0.0.1", "PGPORT": fmt.Sprint(w.port), "OVERWRITE": "true", "RESTORE_FILE": "latest", "BACKUP_DIR": w.dir + "/backup/base"}, "backup-restore-pitr.sh", w.postgresArgs()...)
	server.stop(syscall.SIGINT) // archives what is left

	restore := func(more map[string]string) map[string]string {
		env := map[string]string{"BACKUP_DIR": w.dir + "/backup/base", "RESTORE_FILE": "latest", "RESTORE_WAIT": "60", "PGPORT": fmt.Sprint(w.port), "RUNNING_HOST": "127.0.0.1"}
		for k, v := range more {
			env[k] = v
		}
		return env
	}
	w.refused("is not empty", restore(nil), "backup-restore-pitr.sh", w.postgresArgs()...)
	if got := w.run(nil, "pg_controldata", w.env["PGDATA"]); !strings.Contains(got, "shut down\n") {
		t.Fatalf("a refused restore touched the database:\n%s", got)
	}
	check(t, os.RemoveAll(w.env["PGDATA"]))
	w.refused("no base backup", restore(map[string]string{"RESTORE_TIME": tooEarly}), "backup-restore-pitr.sh", w.postgresArgs()...)
	w.refused("is not a time", restore(map[string]string{"RESTORE_TIME": "yesteryear"}), "backup-restore-pitr.sh", w.postgresArgs()...)
	w.refused("recovery ended before", restore(map[string]string{"RESTORE_TIME": "2999-01-01T00:00:00Z"}), "backup-restore-pitr.sh", w.postgresArgs()...)
	if _, err := os.Stat(w.env["PGDATA"]); err == nil {
		t.Fatal("a failed recovery left a database")
	}
	w.refused("a restore is under way", nil, "postgres-start.sh", w.postgresArgs()...)

	w.run(restore(map[string]string{"RESTORE_TIME": moment}), "backup-restore-pitr.sh", w.postgresArgs()...)
	server = w.postgres()
	if got := w.sql("SELECT string_agg(what, ' ') FROM ledger"); got != "kept" {
		t.Errorf("at %s the ledger held %q, want \"kept\"", moment, got)
	}
	// It is a history of its own now, which is archived beside the first one.
	w.sql("INSERT INTO ledger VALUES ('afterwards')")
	server.stop(syscall.SIGINT)
	if strings.Contains(server.said(), "with another content") {
		t.Errorf("the archive refuses the new history:\n%s", server.said())
	}
	check(t, os.RemoveAll(w.env["PGDATA"]))
	w.run(restore(nil), "backup-restore-pitr.sh", w.postgresArgs()...)
	server = w.postgres()
	if got := w.sql("SELECT string_agg(what, ' ' ORDER BY what) FROM ledger"); got != "afterwards kept" {
		t.Errorf("at its end the archive held %q", got)
	}
	// And the first one can be had still, with what it replaces kept beside it.
	server.stop(syscall.SIGINT)
	w.run(restore(map[string]string{"RESTORE_TIMELINE": "1", "OVERWRITE": "true"}), "backup-restore-pitr.sh", w.postgresArgs()...)
	if kept, err := filepath.Glob(w.env["PGDATA"] + ".before-*/PG_VERSION"); err != nil || len(kept) != 1 {
		t.Errorf("kept %v (%v)", kept, err)
	}
	w.postgres()
	if got := w.sql("SELECT string_agg(what, ' ' ORDER BY what) FROM ledger"); got != "kept regretted" {
		t.Errorf("the first history held %q", got)
	}

	// What no kept base backup needs goes; what one needs stays.
	wal := func() int { return len(w.files("backup/wal")) }
	many := wal()
	check(t, os.RemoveAll(w.dir+"/backup/base"))
	w.run(base, "backup-base.sh")
	if wal() >= many {
		t.Errorf("%d files of WAL, %d before", wal(), many)
	}
}

func TestArchiveNeverOverwrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("segment", "one")
	args := []string{w.dir + "/segment", "000000010000000000000001", w.dir + "/backup/wal"}
	w.run(nil, "postgres-archive.sh", args...)
	w.run(nil, "postgres-archive.sh", args...) // Postgres asks again when it did not hear of the first
	w.write("segment", "two")
	w.refused("another content", nil, "postgres-archive.sh", args...)
	if got := w.run(nil, "gzip", "-dc", w.dir+"/backup/wal/000000010000000000000001.gz"); got != "one" {
		t.Errorf("the archive holds %q", got)
	}
	w.refused("", nil, "postgres-archive.sh", w.dir+"/none", "000000010000000000000002", w.dir+"/backup/wal")
	if got := w.files("backup/wal"); len(got) != 2 {
		t.Errorf("the archive holds %v", got)
	}
}

func TestPruneKeepsTheNewest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for day, age := range map[string]int{"01": 30, "02": 20, "03": 16, "04": 15, "05": 2} {
		for _, suffix := range []string{".dump", ".dump.sha256"} {
			name := "backup/postgresql-202611" + day + "T000000Z" + suffix
			w.write(name, "x")
			at := time.Now().AddDate(0, 0, -age)
			check(t, os.Chtimes(filepath.Join(w.dir, name), at, at))
		}
	}
	w.write("backup/other.dump", "x")
	w.write("backup/broken.dump.tmp", "x")
	old := time.Now().Add(-72 * time.Hour)
	check(t, os.Chtimes(w.dir+"/backup/broken.dump.tmp", old, old))
	w.write("backup/running.dump.tmp", "x")
	w.run(map[string]string{"KEEP_DAYS": "14", "KEEP_LEAST": "3"}, "sh", "-c", `. "$0"; prune "$BACKUP_DIR" 'postgresql-*.dump'`, w.dir+"/etc/backup-prune.sh")
	var got []string
	for _, f := range w.files("backup")[1:] {
		got = append(got, filepath.Base(f))
	}
	want := []string{
		"other.dump", "postgresql-20261103T000000Z.dump", "postgresql-20261103T000000Z.dump.sha256", "postgresql-20261104T000000Z.dump",
		"postgresql-20261104T000000Z.dump.sha256", "postgresql-20261105T000000Z.dump", "postgresql-20261105T000000Z.dump.sha256", "running.dump.tmp",
	}
	if diff := cmp.Diff(want, sorted(got)); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func TestPostgresServesTLSOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certificate("postgres-service", "127.0.0.1")
	hba, err := os.ReadFile(w.dir + "/etc/postgres-hba.conf")
	check(t, err)
	w.write("etc/postgres-hba.conf", strings.ReplaceAll(string(hba), "host ", "hostssl "))
	w.postgres("ssl=on", "ssl_cert_file="+w.dir+"/etc/tls.crt", "ssl_key_file="+w.dir+"/etc/tls.key")
	u := w.url("bot_user", "one", "mlops_bot_prod")
	secure := strings.Replace(u, "sslmode=disable", "sslmode=verify-full&sslrootcert="+w.dir+"/etc/ca.crt", 1)
	if got := w.run(nil, "psql", "-qtAX", "-c", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", secure); strings.TrimSpace(got) != "t" {
		t.Errorf("got %q", got)
	}
	s, err := store.Open(t.Context(), secure, store.Options{}) // as the bot does
	check(t, err)
	check(t, s.Close())
	w.refused("no encryption", nil, "psql", "-c", "SELECT 1", u)
	w.refused("does not match host name", nil, "psql", "-c", "SELECT 1", strings.Replace(secure, "127.0.0.1", "localhost", 1))
}

package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	sqlitedriver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// dialect is what differs between the databases.
type dialect struct {
	goose goose.Dialect
	// numbered: placeholders are $1, $2 … instead of ?.
	numbered bool
	// skipLocked follows a SELECT of rows that other transactions may be taking;
	// empty where there is one writer at a time anyway.
	skipLocked string
	// lock and unlock hold one session off from another while it migrates; empty
	// where the database has no such lock.
	lock, unlock string
	// snapshot is the isolation at which a transaction reads one state throughout.
	snapshot sql.IsolationLevel
	// bytewise sorts text by its bytes, whatever the database's language is.
	bytewise string
	// indexes lists the names of the schema's indexes; check lists what the database
	// finds wrong with its own files, "ok" being nothing, and is empty where no
	// statement does that.
	indexes, check string
	// classify gives a driver's error its kind, and says whether a constraint was
	// violated that only another writer can have brought about.
	classify func(error) (kind domain.ErrKind, conflict bool)
}

var postgres = dialect{
	goose:      goose.DialectPostgres,
	numbered:   true,
	skipLocked: "FOR UPDATE SKIP LOCKED",
	// Schemas of one database migrate apart.
	lock:     `SELECT pg_advisory_lock(hashtextextended('mlops-bot ' || current_schema(), 0))`,
	unlock:   `SELECT pg_advisory_unlock(hashtextextended('mlops-bot ' || current_schema(), 0))`,
	snapshot: sql.LevelRepeatableRead,
	bytewise: `COLLATE "C"`,
	indexes:  `SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()`,
	classify: classifyPostgres,
}

var sqlite = dialect{
	goose:    goose.DialectSQLite3,
	bytewise: `COLLATE BINARY`,
	indexes:  `SELECT name FROM sqlite_master WHERE type = 'index'`,
	check:    `PRAGMA quick_check(20)`,
	classify: classifySQLite,
}

// rebind writes a query's placeholders as the database wants them. No query
// holds a question mark otherwise.
func (d dialect) rebind(query string) string {
	if !d.numbered {
		return query
	}
	var b strings.Builder
	b.Grow(len(query) + 16)
	for n := 1; ; n++ {
		before, after, ok := strings.Cut(query, "?")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
		query = after
	}
}

func openPostgres(target string, conns int) (write, read *sql.DB, err error) {
	cfg, err := pgx.ParseConfig(target)
	if err != nil {
		// pgx hides the password in its errors only where it could parse the URL.
		return nil, nil, domain.Errorf(domain.Invalid, "open the store", "the database URL is not one that Postgres understands")
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 10 * time.Second
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "mlops-bot"
	}
	if conns <= 0 {
		conns = 10
	}
	// Migrating holds one connection for the lock and needs another.
	conns = max(conns, 2)
	db := sql.OpenDB(patient{stdlib.GetConnector(*cfg,
		stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
			return c.PgConn().Exec(ctx, sessionSettings).Close()
		}),
		stdlib.OptionShouldPing(func(_ context.Context, p stdlib.ShouldPingParams) bool { return p.IdleDuration > trusted }),
	)})
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	// Idle connections are looked for once in this time, so they are gone after
	// twice as long: Postgres' connections are shared with pods that come and go.
	db.SetConnMaxIdleTime(30 * time.Second)
	db.SetConnMaxLifetime(30 * time.Minute)
	return db, db, nil
}

const (
	// trusted is how long after its last use a connection is taken to be there
	// still. After that it is asked first, so that a restarted Postgres costs no
	// statement that begins after the restart.
	trusted = 10 * time.Millisecond
	// connectPatience is how long a call waits for a Postgres that can't be reached
	// or has no connection free just now: about a restart.
	connectPatience = 5 * time.Second
	// sessionSettings end what a lost node left behind: it would keep its
	// transaction's locks until TCP gives up, which is hours.
	sessionSettings = `
		SET idle_in_transaction_session_timeout = 60000;
		SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3`
)

// patient makes connections and waits for a database that isn't there just now.
// Nothing was sent yet, so trying again is safe.
type patient struct{ driver.Connector }

type impatient struct{}

// atOnce is a context whose calls don't wait for a database that can't be
// reached, which is what they ask about.
func atOnce(ctx context.Context) context.Context { return context.WithValue(ctx, impatient{}, true) }

// Connect implements driver.Connector.
func (p patient) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := p.Connector.Connect(ctx)
	if err == nil || ctx.Value(impatient{}) != nil {
		return c, err
	}
	patience, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		if kind, _ := classifyPostgres(err); kind != domain.Transient {
			return nil, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-patience.Done():
			timer.Stop()
			return nil, err // which tells more than that time is up
		case <-timer.C:
		}
		again, nextErr := p.Connector.Connect(patience)
		if nextErr == nil {
			return again, nil
		}
		if patience.Err() == nil {
			err = nextErr
		}
	}
}

// openSQLite opens one connection that writes, since SQLite has one writer at a
// time and waiting in a Go queue is fair and cheap, and a pool that reads.
func openSQLite(target string, conns int) (write, read *sql.DB, err error) {
	const op = "open the store"
	u, err := url.Parse(target)
	if err != nil {
		return nil, nil, domain.Errorf(domain.Invalid, op, "the database URL can't be parsed")
	}
	path := u.Path
	if u.Opaque != "" {
		if path, err = url.PathUnescape(u.Opaque); err != nil {
			return nil, nil, domain.Errorf(domain.Invalid, op, "the path in the database URL can't be parsed")
		}
	}
	switch {
	case path == "" || u.Host != "" || u.RawQuery != "":
		return nil, nil, domain.Errorf(domain.Invalid, op, "a SQLite URL is sqlite:///absolute/path, sqlite:relative/path or sqlite::memory:")
	case path == ":memory:":
		// Every connection to :memory: is a database of its own.
		db, err := sqliteDB(":memory:", 1, "foreign_keys(1)")
		if err != nil {
			return nil, nil, err
		}
		db.SetConnMaxLifetime(0)
		return db, db, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, nil, domain.Errorf(domain.Invalid, op, "create the database's directory: %w", err)
	}
	// SQLite would create a file that everybody may read.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil, domain.Errorf(domain.Invalid, op, "create the database: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, nil, domain.Errorf(domain.Transient, op, "create the database: %w", err)
	}
	if conns <= 0 {
		conns = 4
	}
	// A delivery that was acknowledged must survive a power cut: FULL.
	write, err = sqliteDB(path, 1, "busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)")
	if err != nil {
		return nil, nil, err
	}
	read, err = sqliteDB(path, conns, "busy_timeout(10000)", "query_only(1)")
	if err != nil {
		return nil, nil, errors.Join(err, write.Close())
	}
	return write, read, nil
}

func sqliteDB(path string, conns int, pragmas ...string) (*sql.DB, error) {
	// A transaction that begins by reading can't become a writing one while
	// another process writes; an immediate one waits for its turn instead.
	q := url.Values{"_pragma": pragmas, "_txlock": {"immediate"}}
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
	if path == ":memory:" {
		dsn = path + "?" + q.Encode()
	}
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, domain.Errorf(domain.Bug, "open the store", "%w", err)
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// classifyPostgres goes by the classes of SQLSTATE.
func classifyPostgres(err error) (domain.ErrKind, bool) {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && len(pg.Code) == 5 {
		if pg.Code == "23505" || pg.Code == "23503" { // unique and foreign key violations
			return domain.Transient, true
		}
		switch pg.Code[:2] {
		case "08", // connection exception
			"25", // invalid transaction state: a replica that is read-only
			"40", // transaction rollback: deadlock, serialization
			"53", // insufficient resources: disk, memory, connections
			"55", // object not in prerequisite state: lock not available
			"57", // operator intervention: shutting down, cancelled
			"58": // system error
			return domain.Transient, false
		case "28": // invalid authorization
			return domain.Denied, false
		case "3D": // no such database
			return domain.Invalid, false
		}
		return domain.Bug, false
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok || pgconn.SafeToRetry(err) || broken(err) {
		return domain.Transient, false
	}
	return domain.Bug, false
}

func classifySQLite(err error) (domain.ErrKind, bool) {
	e, ok := errors.AsType[*sqlitedriver.Error](err)
	if !ok {
		if broken(err) {
			return domain.Transient, false
		}
		return domain.Bug, false
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return domain.Transient, true
	}
	switch e.Code() & 0xff { // the primary code of an extended one
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
		sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL:
		return domain.Transient, false
	}
	return domain.Bug, false
}

// broken reports whether a connection ended under a query.
func broken(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, sql.ErrTxDone) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, context.DeadlineExceeded)
}

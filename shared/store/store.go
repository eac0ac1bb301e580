// Package store keeps everything durable: deliveries, incidents, repairs, the
// outbox, handled events, work, switches, the audit log, and the counters that
// survive the pod. It is one set of queries over database/sql for Postgres and
// SQLite; what differs between the two stands in dialect.go alone.
//
// The store decides nothing. It checks what has to hold over all writers
// (versions, state transitions, uniqueness, leases) and otherwise keeps what it
// is given. It is not a cache, and what may vanish doesn't belong here.
//
// Every error is a *domain.Error: Transient for trouble with the connection,
// busy databases and lost races (the latter wrap domain.ErrConflict), Invalid
// for what isn't there (wrapping domain.ErrNotFound) or too large, Denied for
// refused credentials, Bug for the rest. Times are kept as microseconds in UTC.
package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/seal"
)

const (
	// maxRows bounds every list that is read.
	maxRows = 500
	// maxDoc bounds one stored value, an incident with its findings for instance.
	maxDoc = 1 << 20
	// maxBody bounds a delivery's body; GitHub's own limit is 25 MiB.
	maxBody = 25 << 20
	// maxEvent bounds an event as a whole: 64 KiB of data and what is around it.
	maxEvent = 96 << 10
	// maxPayload bounds the payload of work.
	maxPayload = 64 << 10
	// maxID bounds a foreign id: Postgres can't index much longer ones.
	maxID = 1000
	// maxReason bounds what is kept of an error's text.
	maxReason = 2000
)

// Options are the settings of a Store. The zero value is usable.
type Options struct {
	// Now is the clock of methods that are not told the time; time.Now by default.
	Now func() time.Time
	// Conns is the size of the connection pool for Postgres, and of the pool of
	// readers for SQLite, which has one writer; 10 and 4 by default.
	Conns int
	// Timeout bounds each call but Migrate, Reseal and Integrity; 15 seconds by
	// default.
	Timeout time.Duration
	// Lazy keeps Open from asking whether the database answers: a program that is
	// woken while it is down starts, is not ready, and recovers with it.
	Lazy bool
	// Sealer encrypts the bodies of deliveries: they are what GitHub sent, with
	// names, addresses and texts of strangers. Everything else at rest is a typed
	// projection (events, work and dead letters hold ids; evidence is redacted
	// before it becomes a finding), by which rows are searched and shown. nil stores
	// bodies as they came. Bodies stored without it can be read with it.
	Sealer *seal.Keyring
}

// Store is a database. It is safe for concurrent use, by several processes too.
type Store struct {
	dialect dialect
	write   *sql.DB
	read    *sql.DB // the same as write where one pool does for both
	now     func() time.Time
	timeout time.Duration
	sealer  *seal.Keyring
	closed  atomic.Bool
}

// Open connects to the database that url names:
//
//	postgres://user:password@host/database?sslmode=verify-full
//	sqlite:///var/lib/mlops-bot/bot.db   (an absolute path; sqlite:bot.db is relative)
//	sqlite::memory:                      (gone with the process)
//
// A SQLite file that isn't there is created, readable by its owner only. Open
// doesn't migrate. The error is Invalid for a URL that can't be used (and never
// shows it, since it may hold a password), Denied for refused credentials and
// Transient where the database doesn't answer.
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	s := &Store{now: opts.Now, timeout: opts.Timeout, sealer: opts.Sealer}
	if s.now == nil {
		s.now = time.Now
	}
	if s.timeout <= 0 {
		s.timeout = 15 * time.Second
	}
	var err error
	switch {
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
		s.dialect = postgres
		s.write, s.read, err = openPostgres(url, opts.Conns)
	case strings.HasPrefix(url, "sqlite:"):
		s.dialect = sqlite
		s.write, s.read, err = openSQLite(url, opts.Conns)
	default:
		err = domain.Errorf(domain.Invalid, "open the store", "the database URL must begin with postgres:// or sqlite:")
	}
	if err != nil {
		return nil, err
	}
	if opts.Lazy {
		return s, nil
	}
	if err := s.Ping(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close ends all connections. Calls that are under way fail.
func (s *Store) Close() error {
	s.closed.Store(true)
	err := s.write.Close()
	if s.read != s.write {
		err = errors.Join(err, s.read.Close())
	}
	if err != nil {
		return domain.Errorf(domain.Transient, "close the store", "%w", err)
	}
	return nil
}

// Ping asks whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(atOnce(ctx), s.timeout)
	defer cancel()
	return s.wrap("reach the database", s.read.PingContext(ctx))
}

const (
	queryProbe     = `INSERT INTO leases (name, holder, lease_until) VALUES (?, '', 0)`
	probeLeaseName = "probe of writability"
)

var errRollBack = errors.New("rolled back on purpose")

// Writable asks whether the database can store, by a write that is rolled back.
// It is what readiness means: a full disk, a read-only replica and a schema that
// isn't there all answer a ping.
func (s *Store) Writable(ctx context.Context) error {
	const op = "try to write to the database"
	err := s.tx(atOnce(ctx), op, func(c conn) error {
		if _, err := c.exec(queryProbe, probeLeaseName); err != nil {
			return err
		}
		return errRollBack
	})
	if errors.Is(err, errRollBack) {
		return nil
	}
	return err
}

// conn runs queries in one call of the store, in a transaction or without. It
// carries the call's context so that the queries read as queries.
type conn struct {
	ctx     context.Context //nolint:containedctx // a conn lives for one call and is that call's
	dialect dialect
	q       interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
		QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	}
}

// exec runs a statement and returns how many rows it changed.
func (c conn) exec(query string, args ...any) (int64, error) {
	res, err := c.q.ExecContext(c.ctx, c.dialect.rebind(query), clean(args)...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// row scans the one row of a query; found is false where there is none.
func (c conn) row(query string, args []any, dest ...any) (found bool, err error) {
	err = c.q.QueryRowContext(c.ctx, c.dialect.rebind(query), clean(args)...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// rows collects a query's rows.
func rows[T any](c conn, query string, args []any, scan func(*sql.Rows) (T, error)) (list []T, err error) {
	r, err := c.q.QueryContext(c.ctx, c.dialect.rebind(query), clean(args)...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for r.Next() {
		v, err := scan(r)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, r.Err()
}

// clean makes strangers' text storable: Postgres refuses NUL and broken UTF-8,
// and a refused log line must not be a refused incident.
func clean(args []any) []any {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
		}
	}
	return args
}

// tx runs do in a transaction that is committed when do returns nil.
func (s *Store) tx(ctx context.Context, op string, do func(conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return s.wrap(op, err)
	}
	if err := do(conn{ctx: ctx, dialect: s.dialect, q: tx}); err != nil {
		// A failed rollback has no further consequence: the connection is dropped
		// and the database rolls back.
		_ = tx.Rollback()
		return s.wrap(op, err)
	}
	return s.wrap(op, tx.Commit())
}

// change runs one statement that writes, in its own transaction.
func (s *Store) change(ctx context.Context, op string, do func(conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.wrap(op, do(conn{ctx: ctx, dialect: s.dialect, q: s.write}))
}

// look runs queries that only read.
func (s *Store) look(ctx context.Context, op string, do func(conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.wrap(op, do(conn{ctx: ctx, dialect: s.dialect, q: s.read}))
}

// wrap gives an error its kind. Errors that have one keep it.
func (s *Store) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*domain.Error](err); ok {
		if e.Op == "" {
			return &domain.Error{Kind: e.Kind, Op: op, Err: e.Err, RetryAt: e.RetryAt}
		}
		return err
	}
	if errors.Is(err, domain.ErrConflict) {
		return &domain.Error{Kind: domain.Transient, Op: op, Err: err}
	}
	if errors.Is(err, domain.ErrNotFound) {
		return &domain.Error{Kind: domain.Invalid, Op: op, Err: err}
	}
	if s.closed.Load() || domain.KindOf(err) == domain.Transient {
		return &domain.Error{Kind: domain.Transient, Op: op, Err: err}
	}
	kind, conflict := s.dialect.classify(err)
	if conflict {
		err = fmt.Errorf("%w: %w", domain.ErrConflict, err)
	}
	return &domain.Error{Kind: kind, Op: op, Err: err}
}

// fail makes an error whose Op is filled in by wrap.
func fail(kind domain.ErrKind, format string, args ...any) error {
	return domain.Errorf(kind, "", format, args...)
}

// micros is how a time is stored; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// moment is the time of a stored number.
func moment(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// encode is the stored form of a value.
func encode(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fail(domain.Bug, "encode %T: %w", v, err)
	}
	if len(b) > maxDoc {
		return "", fail(domain.Invalid, "%T has %d bytes, more than %d: %w", v, len(b), maxDoc, domain.ErrTooLarge)
	}
	return string(b), nil
}

func decode[T any](doc string) (T, error) {
	var v T
	if err := json.Unmarshal([]byte(doc), &v); err != nil {
		return v, fail(domain.Bug, "decode a stored %T: %w", v, err)
	}
	return v, nil
}

// limited clamps the length of a list that a caller asks for.
func limited(n int) int {
	if n <= 0 || n > maxRows {
		return maxRows
	}
	return n
}

// shorten keeps the beginning of an error's text.
func shorten(s string) string {
	if len(s) <= maxReason {
		return s
	}
	return strings.ToValidUTF8(s[:maxReason], "") + "…"
}

// installationOf finds the installation that a JSON document speaks of, so that
// its rows can be deleted with the installation: the documents of this project
// name it at the top, in the data of an event, or in a repository. It is 0 where
// none is named.
func installationOf(doc []byte) int64 {
	type named struct {
		InstallationID int64 `json:"installation_id"`
		Repo           struct {
			InstallationID int64 `json:"installation_id"`
		} `json:"repo"`
	}
	var d struct {
		named
		Data named `json:"data"`
	}
	// A document of another shape names none; the fields that did fit still count.
	_ = json.Unmarshal(doc, &d)
	for _, id := range []int64{d.InstallationID, d.Data.InstallationID, d.Repo.InstallationID, d.Data.Repo.InstallationID} {
		if id != 0 {
			return id
		}
	}
	return 0
}

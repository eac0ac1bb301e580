package store

import (
	"testing"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// HoldRow takes the lock of a piece of work, as a writer that is stuck would,
// and returns what gives it back.
func HoldRow(t *testing.T, s *Store) (release func()) {
	t.Helper()
	tx, err := s.write.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), `UPDATE work SET reason = 'held'`); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
}

// ClassifyPostgres is the kind that a Postgres' error gets.
func ClassifyPostgres(err error) domain.ErrKind {
	kind, _ := classifyPostgres(err)
	return kind
}

// InstallationOf is exported to be fuzzed.
var InstallationOf = installationOf

// ForgetEvents deletes the outbox and keeps who handled what.
func ForgetEvents(t *testing.T, s *Store) {
	t.Helper()
	if _, err := s.write.ExecContext(t.Context(), `DELETE FROM outbox`); err != nil {
		t.Fatal(err)
	}
}

// RowCounts returns how many rows each table has.
func RowCounts(t *testing.T, s *Store) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, table := range tables {
		var n int
		if err := s.read.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		counts[table] = n
	}
	return counts
}

// RawBody returns a delivery's body as it is stored.
func RawBody(t *testing.T, s *Store, id string) (body []byte) {
	t.Helper()
	if err := s.read.QueryRowContext(t.Context(), s.dialect.rebind(`SELECT body FROM deliveries WHERE id = ?`), id).Scan(&body); err != nil {
		t.Fatal(err)
	}
	return body
}

// SetRawBody stores a body as it is.
func SetRawBody(t *testing.T, s *Store, id string, body []byte) {
	t.Helper()
	Exec(t, s, `UPDATE deliveries SET body = ? WHERE id = ?`, body, id)
}

// Exec runs a statement as only a damaged backup or a hand at the database would.
func Exec(t *testing.T, s *Store, query string, args ...any) {
	t.Helper()
	if _, err := s.write.ExecContext(t.Context(), s.dialect.rebind(query), args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// Occupy holds one connection of the pool until it is released.
func Occupy(t *testing.T, s *Store, held func(), release <-chan struct{}) {
	c, err := s.write.Conn(t.Context())
	held()
	if err != nil {
		t.Error(err)
		return
	}
	<-release
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

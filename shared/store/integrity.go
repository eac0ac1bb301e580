package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io/fs"
	"regexp"
	"slices"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/seal"
)

const (
	// integrityTimeout bounds a check of the whole database.
	integrityTimeout = 5 * time.Minute
	// maxShown bounds the rows that one problem names.
	maxShown = 5
	// maxHeld is longer than anybody holds a lease, or waits for a slot.
	maxHeld = 48 * time.Hour
)

// tables are all tables of the schema.
var tables = []string{
	"deliveries", "outbox", "outbox_waiting", "handled", "work", "dead_letters", "incidents", "repairs", "outcomes",
	"run_reports", "switches", "audit", "leases", "slots", "counters", "histograms", "gauges",
}

// Integrity is what a database holds, and what is wrong with it.
type Integrity struct {
	CheckedAt time.Time `json:"checked_at"`
	// Schema is the version that the database is at, Latest the one that this
	// program brings.
	Schema int64 `json:"schema"`
	Latest int64 `json:"latest"`
	// Rows counts each table's rows.
	Rows map[string]int64 `json:"rows"`
	// Digests are hex SHA-256 over all rows of a table, the incidents, the repairs
	// and the audit log: equal ones mean equal rows, on Postgres and SQLite alike.
	// They change with every write, so compare them while the bot stands still.
	Digests map[string]string `json:"digests"`
	// Bodies counts the stored bodies of deliveries by the id of the key that they
	// are sealed with, "" for those that aren't sealed.
	Bodies map[string]int64 `json:"bodies"`
	// Problems is empty for a sound database.
	Problems []Problem `json:"problems"`
}

// Problem is one rule that rows break.
type Problem struct {
	// Check names the rule.
	Check string `json:"check"`
	Rows  int64  `json:"rows"`
	// Examples name a few of the rows.
	Examples []string `json:"examples,omitempty"`
	// Means says what it leads to.
	Means string `json:"means"`
}

// check is a rule as a query for the names of the rows that break it.
type check struct {
	name, means, query string
	// args are the times that the query compares with.
	args func(now time.Time) []any
}

func never(time.Time) []any { return nil }

// checks are what must hold between rows whenever a transaction is over. What
// only holds most of the time (an incident may expire before its last repair)
// isn't here.
var checks = []check{
	{"delivery without an event", "it was acknowledged to GitHub and will never be handled", `
		SELECT d.id FROM deliveries AS d
		WHERE NOT EXISTS (SELECT 1 FROM outbox AS o WHERE o.id = d.id)
			AND NOT EXISTS (SELECT 1 FROM handled AS h WHERE h.event_id = d.id)`, never},
	{"event whose waiting consumers are miscounted", "it closes too early or never", `
		SELECT o.id FROM outbox AS o
		WHERE o.waiting <> (SELECT COUNT(*) FROM outbox_waiting AS w WHERE w.event_id = o.id)
			OR (o.waiting = 0) <> (o.closed_at > 0)`, never},
	{"consumer that is waited for without an event", "nothing: a foreign key is missing", `
		SELECT w.event_id FROM outbox_waiting AS w
		WHERE NOT EXISTS (SELECT 1 FROM outbox AS o WHERE o.id = w.event_id)`, never},
	{"event that waits for who has handled it", "it is published for ever", `
		SELECT w.event_id FROM outbox_waiting AS w JOIN handled AS h ON h.consumer = w.consumer AND h.event_id = w.event_id`, never},
	{"incident in an unknown state, or closed without being resolved", "it is not shown, not repaired or not expired", `
		SELECT id FROM incidents
		WHERE state NOT IN ('open', 'handed_off', 'resolved') OR (state = 'resolved') <> (closed_at > 0) OR version < 1`, never},
	{"two standing incidents of one place", "one failure is repaired twice: a unique index is missing", `
		SELECT MIN(id) FROM incidents WHERE state IN ('open', 'handed_off')
		GROUP BY repo_id, branch, workflow, fingerprint HAVING COUNT(*) > 1`, never},
	{"repair in an unknown state", "it is never judged", `
		SELECT id FROM repairs
		WHERE state NOT IN ('intended', 'refused', 'proposed', 'verified', 'rejected', 'unverifiable', 'landed', 'closed', 'regressed')
			OR version < 1`, never},
	{"repair that can still move without its incident", "it can't be judged", `
		SELECT r.id FROM repairs AS r
		WHERE r.state IN ('intended', 'proposed', 'verified', 'unverifiable')
			AND (NOT EXISTS (SELECT 1 FROM incidents AS i WHERE i.id = r.incident_id)
				OR NOT EXISTS (SELECT 1 FROM incidents AS i WHERE i.id = r.root))`, never},
	{"repair with a number that is no attempt's, or taken", "attempts are miscounted", `
		SELECT MIN(id) FROM repairs GROUP BY root, attempt HAVING COUNT(*) > 1 OR MIN(attempt) < 1`, never},
	{"more rejected attempts than are allowed", "the bot went on where a person should have been asked", fmt.Sprintf(`
		SELECT root FROM repairs WHERE action <> 'rerun' AND state IN ('rejected', 'unverifiable')
		GROUP BY root HAVING COUNT(*) > %d`, domain.MaxAttempts), never},
	{"equal edits on one base under way twice", "two pull requests make one change: a unique index is missing", `
		SELECT MIN(id) FROM repairs WHERE action = 'edit' AND state IN ('intended', 'proposed')
		GROUP BY repo_id, plan_key HAVING COUNT(*) > 1`, never},
	{"work of nobody", "it is never done", `
		SELECT kind FROM work
		WHERE owner = '' OR work_key = '' OR kind NOT LIKE owner || '.%' OR attempts < 0 OR (lease = '') <> (lease_until = 0)`, never},
	{"work or lease that is held for days", "it is not done until then: a clock was wrong", `
		SELECT kind FROM work WHERE lease_until > ?
		UNION ALL SELECT name FROM leases WHERE lease_until > ?
		UNION ALL SELECT name FROM slots WHERE next_at > ?`,
		func(now time.Time) []any {
			until := micros(now.Add(maxHeld))
			return []any{until, until, until}
		}},
	{"dead letter of nothing", "it can't be replayed", `
		SELECT id FROM dead_letters WHERE consumer = '' OR (kind = '') = (event_id = '')`, never},
	{"negative count", "records and metrics are wrong", `
		SELECT rule FROM outcomes WHERE n < 0
		UNION ALL SELECT name FROM counters WHERE value < 0
		UNION ALL SELECT name FROM histograms WHERE n < 0`, never},
}

// Integrity looks through the whole database, in one transaction that only
// reads: how many rows there are, whether they keep what must hold between them,
// and digests by which a restored database is compared with what it was. A
// problem is not an error; the error is of the database. Where the schema is older
// than this program's, that is the only problem that is looked for.
func (s *Store) Integrity(ctx context.Context) (Integrity, error) {
	const op = "check the database's integrity"
	found := Integrity{CheckedAt: s.now().UTC(), Rows: map[string]int64{}, Digests: map[string]string{}, Bodies: map[string]int64{}, Problems: []Problem{}}
	var err error
	if found.Schema, found.Latest, err = s.SchemaVersion(ctx); err != nil {
		return found, err
	}
	// A newer schema is what a rollback leaves: migrations only add to it.
	if found.Schema < found.Latest {
		found.add(Problem{
			Check: "schema of an older version", Rows: 1, Examples: []string{fmt.Sprintf("%d instead of %d", found.Schema, found.Latest)},
			Means: "nothing else was looked at: run `mlops-bot migrate`",
		})
		return found, nil
	}
	ctx, cancel := context.WithTimeout(ctx, integrityTimeout)
	defer cancel()
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: s.dialect.snapshot})
	if err != nil {
		return found, s.wrap(op, err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	c := conn{ctx: ctx, dialect: s.dialect, q: tx}
	for _, part := range []func(conn, *Integrity) error{s.checkFiles, checkIndexes, countRows, checkRows, s.countBodies, digestRows} {
		if err := part(c, &found); err != nil {
			return found, s.wrap(op, err)
		}
	}
	return found, nil
}

func (i *Integrity) add(p Problem) { i.Problems = append(i.Problems, p) }

// names returns the number of rows of a query with one text column, and the
// first few of them.
func (c conn) names(query string, args ...any) (n int64, some []string, err error) {
	_, err = rows(c, query, args, func(r *sql.Rows) (struct{}, error) {
		var name string
		err := r.Scan(&name)
		if n++; len(some) < maxShown {
			some = append(some, shorten(name))
		}
		return struct{}{}, err
	})
	return n, some, err
}

// checkFiles has the database look at itself, where it can.
func (s *Store) checkFiles(c conn, found *Integrity) error {
	if s.dialect.check == "" {
		return nil
	}
	n, some, err := c.names(s.dialect.check)
	if err == nil && !slices.Equal(some, []string{"ok"}) {
		found.add(Problem{Check: "damaged database file", Rows: n, Examples: some, Means: "restore it from a backup"})
	}
	return err
}

var indexName = regexp.MustCompile(`(?m)^CREATE (?:UNIQUE )?INDEX (\w+) ON`)

// checkIndexes looks for the indexes of the migrations: without the unique ones
// nothing keeps two writers apart.
func checkIndexes(c conn, found *Integrity) error {
	there, err := rows(c, c.dialect.indexes, nil, func(r *sql.Rows) (name string, err error) {
		err = r.Scan(&name)
		return name, err
	})
	if err != nil {
		return err
	}
	var missing []string
	err = fs.WalkDir(migrations, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := migrations.ReadFile(path)
		for _, m := range indexName.FindAllSubmatch(text, -1) {
			if name := string(m[1]); !slices.Contains(there, name) {
				missing = append(missing, name)
			}
		}
		return err
	})
	if err != nil {
		return fail(domain.Bug, "read the migrations: %w", err)
	}
	if len(missing) > 0 {
		found.add(Problem{Check: "missing index", Rows: int64(len(missing)), Examples: missing, Means: "nothing keeps two writers apart: restore the whole backup"})
	}
	return nil
}

func countRows(c conn, found *Integrity) error {
	for _, table := range tables {
		var n int64
		if _, err := c.row("SELECT COUNT(*) FROM "+table, nil, &n); err != nil {
			return fmt.Errorf("count the rows of %s: %w", table, err)
		}
		found.Rows[table] = n
	}
	return nil
}

func checkRows(c conn, found *Integrity) error {
	for _, one := range checks {
		n, some, err := c.names(one.query, one.args(found.CheckedAt)...)
		if err != nil {
			return fmt.Errorf("look for a %s: %w", one.name, err)
		}
		if n > 0 {
			found.add(Problem{Check: one.name, Rows: n, Examples: some, Means: one.means})
		}
	}
	return nil
}

const (
	queryBodies = `SELECT COUNT(*) FROM deliveries WHERE body IS NOT NULL`
	querySealed = `
		SELECT substr(body, 1, CAST(? AS INTEGER)), COUNT(*) FROM deliveries
		WHERE body IS NOT NULL AND substr(body, 1, CAST(? AS INTEGER)) = ?
		GROUP BY 1 LIMIT ?`
)

// countBodies counts the bodies by key and looks for those whose key is gone.
func (s *Store) countBodies(c conn, found *Integrity) error {
	var plain int64
	if _, err := c.row(queryBodies, nil, &plain); err != nil {
		return err
	}
	magic := seal.Magic()
	_, err := rows(c, querySealed, []any{seal.HeaderSize, len(magic), magic, maxRows}, func(r *sql.Rows) (struct{}, error) {
		var header []byte
		var n int64
		err := r.Scan(&header, &n)
		found.Bodies[seal.KeyID(header)] += n
		plain -= n
		return struct{}{}, err
	})
	if err != nil {
		return err
	}
	known := s.sealer.IDs()
	lost := Problem{Check: "sealed with a key that is not set", Means: "set the key with this id as ENCRYPTION_KEY or ENCRYPTION_KEY_PREVIOUS; without it the delivery can't be handled"}
	for id, n := range found.Bodies {
		if !slices.Contains(known, id) {
			lost.Rows += n
			lost.Examples = append(lost.Examples, id)
		}
	}
	if lost.Rows > 0 {
		slices.Sort(lost.Examples)
		lost.Examples = lost.Examples[:min(len(lost.Examples), maxShown)]
		found.add(lost)
	}
	if plain > 0 {
		found.Bodies[""] += plain
	}
	return nil
}

// Of the tables with a digest, all columns, the documents last.
const (
	queryDigestIncidents = `
		SELECT id, version, state, installation_id, repo_id, branch, workflow, fingerprint, run_id, opened_at, last_seen_at, closed_at, doc
		FROM incidents ORDER BY id `
	queryDigestRepairs = `
		SELECT id, version, state, installation_id, repo_id, incident_id, root, attempt, action, plan_key, branch, base_branch,
			pull_number, run_id, created_at, ended_at, doc
		FROM repairs ORDER BY id `
	queryDigestAudit = `
		SELECT id, at, installation_id, repo_id, actor, action, object, why FROM audit ORDER BY id `
	queryDocsOfReports = `SELECT CAST(run_id AS TEXT), doc FROM run_reports`
)

// digestRows makes the digests, and holds each document against its columns.
func digestRows(c conn, found *Integrity) error {
	broken := Problem{Check: "document that can't be read, or is another row's", Means: "the incident, repair or report is wrong or can't be shown"}
	unsound := func(table, id string) {
		if broken.Rows++; len(broken.Examples) < maxShown {
			broken.Examples = append(broken.Examples, table+" "+shorten(id))
		}
	}
	for table, query := range map[string]string{"incidents": queryDigestIncidents, "repairs": queryDigestRepairs, "audit": queryDigestAudit} {
		sum := sha256.New()
		_, err := rows(c, query+c.dialect.bytewise, nil, func(r *sql.Rows) (struct{}, error) {
			row, err := digestRow(sum, r)
			if err != nil {
				return struct{}{}, err
			}
			if !agrees(table, row) {
				unsound(table, row["id"])
			}
			return struct{}{}, nil
		})
		if err != nil {
			return fmt.Errorf("digest the %s: %w", table, err)
		}
		found.Digests[table] = hex.EncodeToString(sum.Sum(nil))
	}
	_, err := rows(c, queryDocsOfReports, nil, func(r *sql.Rows) (struct{}, error) {
		var id, doc string
		err := r.Scan(&id, &doc)
		if v, wrong := decode[domain.RunReport](doc); wrong != nil || fmt.Sprint(v.Run.ID) != id {
			unsound("run_reports", id)
		}
		return struct{}{}, err
	})
	if err != nil {
		return fmt.Errorf("read the reports: %w", err)
	}
	if broken.Rows > 0 {
		found.add(broken)
	}
	return nil
}

// digestRow adds a row to a digest, each value with its length before it, and
// returns it by column.
func digestRow(sum hash.Hash, r *sql.Rows) (map[string]string, error) {
	columns, err := r.Columns()
	if err != nil {
		return nil, err
	}
	// Every column is a text or a whole number, which look the same as text.
	values := make([]sql.NullString, len(columns))
	dest := make([]any, len(columns))
	for i := range values {
		dest[i] = &values[i]
	}
	if err := r.Scan(dest...); err != nil {
		return nil, err
	}
	row := make(map[string]string, len(columns))
	for i, v := range values {
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(v.String))))
		sum.Write([]byte(v.String))
		row[columns[i]] = v.String
	}
	return row, nil
}

// agrees reports whether a row's document is the row's own.
func agrees(table string, row map[string]string) bool {
	var doc struct {
		ID    string      `json:"id"`
		State string      `json:"state"`
		Repo  domain.Repo `json:"repo"`
	}
	switch table {
	case "incidents":
		if _, err := decode[domain.Incident](row["doc"]); err != nil {
			return false
		}
	case "repairs":
		if _, err := decode[domain.Repair](row["doc"]); err != nil {
			return false
		}
	default:
		return true
	}
	err := json.Unmarshal([]byte(row["doc"]), &doc)
	return err == nil && doc.ID == row["id"] && doc.State == row["state"] && fmt.Sprint(doc.Repo.ID) == row["repo_id"]
}

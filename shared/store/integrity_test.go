package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

func problems(i store.Integrity) []string {
	var list []string
	for _, p := range i.Problems {
		list = append(list, fmt.Sprintf("%s: %d %v", p.Check, p.Rows, p.Examples))
	}
	return list
}

func integrity(t *testing.T, s *store.Store) store.Integrity {
	t.Helper()
	return must[store.Integrity](t)(s.Integrity(t.Context()))
}

func TestASoundDatabaseHasNoProblems(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		same(t, "problems of an empty one", []string(nil), problems(integrity(t, s)))
		fill(t, s, 1, 10, start)
		fill(t, s, 2, 20, at(48*time.Hour))
		// What is under way: an open event, claimed work, a lease, a moving repair.
		ok(t, put(t, s, domain.Outcome{
			Incidents: []domain.Incident{incident("inc-open")}, Repairs: []domain.Repair{repair("rep-open", "inc-open", 1)},
			Events: []domain.Envelope{envelope("e", "detect", "notify"), envelope("none")}, Later: []domain.Work{{Kind: "detect.diagnose", Key: "k"}},
		}))
		ok(t, handle(t, s, "detect", "e"))
		claimOne(t, s, "detect", start)
		must[bool](t)(s.AcquireLease(t.Context(), "l", "me", start, time.Minute))

		whole := integrity(t, s)
		same(t, "problems", []string(nil), problems(whole))
		want := map[string]int64{}
		for table, n := range store.RowCounts(t, s) {
			want[table] = int64(n)
		}
		same(t, "rows", want, whole.Rows)
		same(t, "schema", whole.Latest, whole.Schema)
		same(t, "bodies", map[string]int64{"": 2}, whole.Bodies)

		// Retention and uninstalling leave a sound database.
		ok(t, s.Expire(t.Context(), at(24*time.Hour)))
		same(t, "problems after the expiry", []string(nil), problems(integrity(t, s)))
		ok(t, s.DeleteInstallation(t.Context(), 2))
		same(t, "problems after the uninstalling", []string(nil), problems(integrity(t, s)))
	})
}

func TestDigestsTellWhetherRowsAreTheSame(t *testing.T) {
	t.Parallel()
	// The audit log's ids are random, so it is copied rather than made twice.
	digests := map[string]map[string]string{}
	for name, url := range databases {
		target := escaped(url(t))
		s := migrated(t, target)
		empty := integrity(t, s).Digests
		// Ids whose order depends on the language: a, B, _.
		for _, id := range []string{"inc-a", "inc-B", "inc-_", "inc-é"} {
			ok(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{incident(id)}, Repairs: []domain.Repair{repair("rep-"+id, id, 1)}}))
		}
		full := integrity(t, s).Digests
		digests[name] = map[string]string{"incidents": full["incidents"], "repairs": full["repairs"]}
		same(t, name+" read twice", full, integrity(t, s).Digests)
		if name == "postgres" {
			// A database that sorts by a language, as most do.
			store.Exec(t, s, `ALTER TABLE incidents ALTER COLUMN id TYPE TEXT COLLATE "und-x-icu"`)
			s = open(t, target) // whose connections haven't prepared anything
			same(t, "sorted by a language", full, integrity(t, s).Digests)
		}

		ok(t, put(t, s, domain.Outcome{Audit: []domain.AuditEntry{{Object: "x"}}}))
		audited := integrity(t, s).Digests
		inc := incident("inc-a")
		inc.Version, inc.Occurrences = 1, 2
		ok(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{inc}}))
		changed := integrity(t, s).Digests
		for _, tc := range []struct {
			what           string
			before, after  map[string]string
			differ, equals []string
		}{
			{"filled", empty, full, []string{"incidents", "repairs"}, []string{"audit"}},
			{"audited", full, audited, []string{"audit"}, []string{"incidents", "repairs"}},
			{"an incident changed", audited, changed, []string{"incidents"}, []string{"audit", "repairs"}},
		} {
			for _, table := range tc.differ {
				if tc.before[table] == tc.after[table] {
					t.Errorf("%s, %s: the digest of %s stayed", name, tc.what, table)
				}
			}
			for _, table := range tc.equals {
				if tc.before[table] != tc.after[table] {
					t.Errorf("%s, %s: the digest of %s changed", name, tc.what, table)
				}
			}
		}
	}
	same(t, "SQLite and Postgres", digests["postgres"], digests["sqlite"])
}

// After a rollback the older program meets the newer one's schema.
func TestANewerSchemaIsNoProblem(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		fill(t, s, 1, 10, start)
		store.Exec(t, s, `INSERT INTO schema_version (version_id, is_applied) VALUES (99, ?)`, true)
		found := integrity(t, s)
		same(t, "schema", int64(99), found.Schema)
		same(t, "problems", []string(nil), problems(found))
		same(t, "incidents", int64(1), found.Rows["incidents"])
	})
}

func TestBrokenInvariantsAreFound(t *testing.T) {
	tests := map[string]struct {
		breaks []string
		want   string
	}{
		"lost event":         {[]string{`DELETE FROM outbox WHERE id = 'd'`}, "delivery without an event: 1 [d]"},
		"miscounted event":   {[]string{`UPDATE outbox SET waiting = 1 WHERE id = 'd'`}, "event whose waiting consumers are miscounted: 1 [d]"},
		"event half closed":  {[]string{`UPDATE outbox SET closed_at = 5 WHERE id = 'd'`}, "event whose waiting consumers are miscounted: 1 [d]"},
		"waits for nothing":  {[]string{`INSERT INTO handled VALUES ('detect', 'd', 't', 1)`}, "event that waits for who has handled it: 1 [d]"},
		"unknown state":      {[]string{`UPDATE incidents SET state = 'lost' WHERE id = 'inc-b'`}, "incident in an unknown state, or closed without being resolved: 1 [inc-b]"},
		"closed too early":   {[]string{`UPDATE incidents SET closed_at = 5 WHERE id = 'inc-b'`}, "incident in an unknown state, or closed without being resolved: 1 [inc-b]"},
		"two of one place":   {[]string{`DROP INDEX incidents_standing`, `UPDATE incidents SET fingerprint = 'f'`}, "two standing incidents of one place: 1 [inc-a]"},
		"dropped index":      {[]string{`DROP INDEX repairs_live_plan`}, "missing index: 1 [repairs_live_plan]"},
		"unknown repair":     {[]string{`UPDATE repairs SET state = 'lost' WHERE id = 'rep-a'`}, "repair in an unknown state: 1 [rep-a]"},
		"lost incident":      {[]string{`DELETE FROM incidents WHERE id = 'inc-a'`}, "repair that can still move without its incident: 4 [rep-a rep-a2 rep-a3 rep-a4]"},
		"lost root":          {[]string{`UPDATE repairs SET root = 'gone' WHERE id = 'rep-a'`}, "repair that can still move without its incident: 1 [rep-a]"},
		"attempt 0":          {[]string{`UPDATE repairs SET attempt = 0 WHERE id = 'rep-a'`}, "repair with a number that is no attempt's, or taken: 1 [rep-a]"},
		"attempt taken":      {[]string{`DROP INDEX repairs_attempt`, `UPDATE repairs SET attempt = 1 WHERE id = 'rep-a2'`}, "repair with a number that is no attempt's, or taken: 1 [rep-a]"},
		"too many attempts":  {[]string{`UPDATE repairs SET state = 'rejected'`}, "more rejected attempts than are allowed: 1 [inc-a]"},
		"one edit twice":     {[]string{`DROP INDEX repairs_live_plan`, `UPDATE repairs SET plan_key = 'k'`}, "equal edits on one base under way twice: 1 [rep-a]"},
		"work of nobody":     {[]string{`UPDATE work SET owner = 'repair'`}, "work of nobody: 1 [detect.diagnose]"},
		"lease without end":  {[]string{`UPDATE work SET lease = 'x'`}, "work of nobody: 1 [detect.diagnose]"},
		"held for years":     {[]string{`INSERT INTO leases VALUES ('l', 'h', 9000000000000000)`}, "work or lease that is held for days: 1 [l]"},
		"dead nothing":       {[]string{`INSERT INTO dead_letters VALUES ('x', 0, 'detect', '', '', '', '', '', '', 0, '', 1)`}, "dead letter of nothing: 1 [x]"},
		"negative count":     {[]string{`INSERT INTO counters VALUES ('n', '{}', -1)`}, "negative count: 1 [n]"},
		"another's document": {[]string{`UPDATE incidents SET doc = (SELECT doc FROM incidents WHERE id = 'inc-a') WHERE id = 'inc-b'`}, "document that can't be read, or is another row's: 1 [incidents inc-b]"},
		"cut document":       {[]string{`UPDATE repairs SET doc = substr(doc, 1, 20) WHERE id = 'rep-a'`}, "document that can't be read, or is another row's: 1 [repairs rep-a]"},
		"cut report":         {[]string{`UPDATE run_reports SET doc = ''`}, "document that can't be read, or is another row's: 1 [run_reports 11]"},
		"old schema":         {[]string{`DELETE FROM schema_version WHERE version_id > 1`}, "schema of an older version: 1 [1 instead of 3]"},
	}
	t.Parallel()
	for _, database := range []string{"postgres", "memory"} {
		for name, tc := range tests {
			t.Run(database+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := migrated(t, databases[database](t))
				must[bool](t)(s.AcceptDelivery(t.Context(), delivery("d"), envelope("d", "detect", "notify")))
				var repairs []domain.Repair
				for i, id := range []string{"rep-a", "rep-a2", "rep-a3", "rep-a4"} {
					repairs = append(repairs, repair(id, "inc-a", i+1))
				}
				ok(t, put(t, s, domain.Outcome{
					Incidents: []domain.Incident{incident("inc-a"), incident("inc-b")}, Repairs: repairs,
					Reports: []domain.RunReport{{Repo: repo, Run: domain.Run{ID: 11, Attempt: 1}}},
					Later:   []domain.Work{{Kind: "detect.diagnose", Key: "k"}},
				}))
				same(t, "problems at first", []string(nil), problems(integrity(t, s)))
				for _, statement := range tc.breaks {
					store.Exec(t, s, statement)
				}
				if got := problems(integrity(t, s)); !slices.Contains(got, tc.want) {
					t.Errorf("found %q, want %q among them", got, tc.want)
				}
			})
		}
	}
}

package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

// fill stores something of everything for an installation and its repository,
// all of it over at a time.
func fill(t *testing.T, s *store.Store, installation, repoID int64, when time.Time) {
	t.Helper()
	name := func(what string) string { return fmt.Sprint(what, "-", installation) }
	r := domain.Repo{InstallationID: installation, ID: repoID}
	payload := fmt.Appendf(nil, `{"installation_id":%d}`, installation)
	event := domain.Envelope{ID: name("event"), Type: "x", Consumers: []string{"repair"}, JSON: fmt.Appendf(nil, `{"data":{"installation_id":%d}}`, installation)}

	d := domain.Delivery{ID: name("delivery"), Event: "workflow_run", InstallationID: installation, RepoID: repoID, Body: []byte("{}"), ReceivedAt: when}
	must[bool](t)(s.AcceptDelivery(t.Context(), d, domain.Envelope{ID: d.ID, Type: "x", JSON: []byte(`{}`)}))
	inc, rep := incident(name("inc")), repair(name("rep"), name("inc"), 1)
	inc.Repo, inc.OpenedAt, inc.LastSeenAt, rep.Repo, rep.CreatedAt = r, when, when, r, when
	commit := func(out domain.Outcome) {
		t.Helper()
		ok(t, s.Commit(t.Context(), store.Cause{}, out, when))
	}
	commit(domain.Outcome{
		Incidents: []domain.Incident{inc}, Repairs: []domain.Repair{rep}, Events: []domain.Envelope{event},
		Reports:  []domain.RunReport{{Repo: r, Run: domain.Run{ID: installation, Attempt: 1}}},
		Later:    []domain.Work{{Kind: "repair.bury", Key: name("bury"), Payload: payload}, {Kind: name("keep") + ".x", Key: name("keep"), Payload: payload}},
		Switches: []domain.Switch{{RepoID: repoID, State: domain.SwitchStopped, At: when}},
		Audit:    []domain.AuditEntry{{InstallationID: installation, Object: name("object")}},
		Counts:   []domain.Count{{Name: name("counter"), Add: 1}},
	})
	ok(t, s.DeadLetter(t.Context(), "repair", event, "dead", when))
	w := must[[]domain.Work](t)(s.ClaimWork(t.Context(), "repair", when, time.Minute, 1))[0]
	ok(t, s.BuryWork(t.Context(), w, "dead"))
	for v, state := range []domain.RepairState{domain.RepairProposed, domain.RepairVerified, domain.RepairLanded} {
		rep.Version, rep.State, rep.EndedAt = int64(v+1), state, when
		commit(domain.Outcome{Repairs: []domain.Repair{rep}})
	}
	inc.Version, inc.State, inc.ClosedAt = 1, domain.IncidentResolved, when
	commit(domain.Outcome{Incidents: []domain.Incident{inc}})
}

func TestDeleteInstallationLeavesNothingOfIt(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		empty := store.RowCounts(t, s)
		fill(t, s, 2, 20, start)
		one := store.RowCounts(t, s)
		fill(t, s, 1, 10, start)
		ok(t, s.DeleteInstallation(t.Context(), 0)) // nobody's
		ok(t, s.DeleteInstallation(t.Context(), 1))

		// What remains of installation 1 holds no repository's data: counters, and
		// which of our own event ids were handled.
		want := one
		want["counters"]++
		want["handled"]++
		if diff := cmp.Diff(want, store.RowCounts(t, s)); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
		for table, n := range one {
			if n == empty[table] && table != "leases" && table != "slots" && table != "histograms" && table != "gauges" && table != "outbox_waiting" {
				t.Errorf("the test put nothing into %s", table)
			}
		}
		_, err := s.Incident(t.Context(), "inc-2")
		ok(t, err)
	})
}

// The event that tells of the uninstalling must reach all its consumers although
// the first of them deletes everything.
func TestDeleteInstallationKeepsItsOwnEventUntilItIsHandled(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		d := domain.Delivery{ID: "gone", Event: "installation", Action: "deleted", InstallationID: 1, Body: []byte("{}"), ReceivedAt: start}
		must[bool](t)(s.AcceptDelivery(t.Context(), d, domain.Envelope{ID: "gone", Type: "com.github.installation.deleted", Consumers: []string{"a", "b"}, JSON: []byte(`{}`)}))
		ok(t, s.DeleteInstallation(t.Context(), 1))
		same(t, "open", []string{"gone[a b]"}, openIDs(t, s, at(time.Second)))
		if got := must[domain.Delivery](t)(s.Delivery(t.Context(), "gone")); got.Body != nil {
			t.Error("the body is still there")
		}
		if stored := must[bool](t)(s.AcceptDelivery(t.Context(), d, envelope("gone", "a"))); stored {
			t.Error("a redelivery of the uninstalling is taken for a new one")
		}
		ok(t, handle(t, s, "a", "gone"))
		ok(t, handle(t, s, "b", "gone"))
		ok(t, s.DeleteInstallation(t.Context(), 1))
		_, err := s.Delivery(t.Context(), "gone")
		wantNotFound(t, err)
	})
}

func TestExpireDeletesWhatIsOver(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		fill(t, s, 1, 10, start)
		fill(t, s, 2, 20, at(48*time.Hour))
		must[bool](t)(s.AcquireLease(t.Context(), "old", "x", start, time.Minute))
		must[time.Time](t)(s.TakeSlot(t.Context(), "old", start, time.Second))
		before := store.RowCounts(t, s)
		ok(t, s.Expire(t.Context(), at(24*time.Hour)))

		want := before
		// Two events: the delivery's and its own. Two dead letters, but the one of
		// work died at the clock's time, and so did installation 2's.
		for table, gone := range map[string]int{
			"deliveries": 1, "outbox": 2, "handled": 1, "dead_letters": 3, "incidents": 1, "repairs": 1, "run_reports": 1,
			"audit": 1, "leases": 1, "slots": 1,
		} {
			want[table] -= gone
		}
		if diff := cmp.Diff(want, store.RowCounts(t, s)); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
		same(t, "record", domain.Record{Landed: 2}, must[domain.Record](t)(s.OutcomeCounts(t.Context(), "cuda-oom", "halve-batch-size", 0)))
	})
}

func TestExpireKeepsWhatIsNotOver(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		// An open event, one of whose consumers has handled it.
		d := delivery("d")
		must[bool](t)(s.AcceptDelivery(t.Context(), d, envelope("d", "detect", "notify")))
		ok(t, handle(t, s, "detect", "d"))
		// An incident that stands, and one whose pull request is still open.
		open, closed := incident("inc-open"), incident("inc-closed")
		rep := repair("rep", "inc-closed", 1)
		ok(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{open, closed}, Repairs: []domain.Repair{rep}, Later: []domain.Work{{Kind: "a.b", Key: "c"}}}))
		rep.Version, rep.State = 1, domain.RepairProposed
		closed.Version, closed.State, closed.ClosedAt = 1, domain.IncidentResolved, start
		ok(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{closed}, Repairs: []domain.Repair{rep}}))

		before := store.RowCounts(t, s)
		ok(t, s.Expire(t.Context(), at(1000*time.Hour)))
		same(t, "rows", before, store.RowCounts(t, s))
		same(t, "open", []string{"d[notify]"}, openIDs(t, s, at(time.Hour)))
		if err := handle(t, s, "detect", "d"); err == nil {
			t.Error("the event could be handled twice")
		}
	})
}

func TestExpireWorksInBatches(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		var out domain.Outcome
		for i := range 2100 {
			out.Audit = append(out.Audit, domain.AuditEntry{At: start, Object: fmt.Sprint(i)})
		}
		ok(t, put(t, s, out))
		ok(t, s.Expire(t.Context(), at(time.Second)))
		same(t, "left", 0, store.RowCounts(t, s)["audit"])
	})
}

func FuzzInstallationOf(f *testing.F) {
	for _, doc := range []string{`{"installation_id":7}`, `{"data":{"installation_id":7}}`, `{"repo":{"installation_id":7}}`, `{"data":{"repo":{"installation_id":7}}}`, `{"installation_id":"7"}`, `[]`, `{`, ``, `{"repo":"a","installation_id":7}`} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(_ *testing.T, doc []byte) { store.InstallationOf(doc) })
}

func TestInstallationOf(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]int64{
		`{"installation_id":7}`:                     7,
		`{"data":{"installation_id":7}}`:            7,
		`{"repo":{"installation_id":7}}`:            7,
		`{"data":{"repo":{"installation_id":7}}}`:   7,
		`{"repo":"octo/train","installation_id":7}`: 7, // a repository by its name
		`{"installation_id":"7"}`:                   0,
		`{"other":{"installation_id":7}}`:           0,
		`7`:                                         0,
		``:                                          0,
	} {
		same(t, doc, want, store.InstallationOf([]byte(doc)))
	}
}

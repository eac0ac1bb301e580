package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

var repo = domain.Repo{InstallationID: 1, ID: 7, FullName: "octo/train", DefaultBranch: "main"}

func incident(id string) domain.Incident {
	return domain.Incident{
		ID: id, State: domain.IncidentOpen, Repo: repo, Branch: "main", WorkflowPath: ".github/workflows/train.yml", Fingerprint: "f-" + id,
		Finding: domain.Finding{Category: "cuda-oom", Facts: map[string]string{"gpu": "0"}}, Run: domain.Run{ID: 11, Attempt: 1},
		Occurrences: 1, OpenedAt: start, LastSeenAt: start,
	}
}

func repair(id, root string, attempt int) domain.Repair {
	return domain.Repair{
		ID: id, State: domain.RepairIntended, IncidentID: root, Root: root, Repo: repo, Attempt: attempt, Rule: "cuda-oom",
		Plan:    domain.Plan{Strategy: "halve-batch-size", Action: domain.ActionEdit, Edits: []domain.Edit{{Path: "train.yml", Splices: []domain.Splice{{Start: 1, Old: "8", New: "4"}}}}},
		PlanKey: "key-" + id, Branch: "mlops-bot/" + id, BaseBranch: "main", CreatedAt: start,
	}
}

func put(t *testing.T, s *store.Store, out domain.Outcome) error {
	t.Helper()
	return s.Commit(t.Context(), store.Cause{}, out, start)
}

func TestCommitStoresAllOfAnOutcome(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		inc, rep := incident("inc-1"), repair("rep-1", "inc-1", 1)
		report := domain.RunReport{Repo: repo, Run: domain.Run{ID: 11, Attempt: 2, HeadSHA: "abc", WorkflowPath: inc.WorkflowPath}, Problems: []string{"no log"}}
		sw := domain.Switch{RepoID: repo.ID, State: domain.SwitchStopped, By: "mona", At: start}
		out := domain.Outcome{
			Incidents: []domain.Incident{inc}, Repairs: []domain.Repair{rep}, Reports: []domain.RunReport{report},
			Events: []domain.Envelope{envelope("e2", "notify")}, Later: []domain.Work{{Kind: "repair.plan", Key: "inc-1", NotBefore: at(time.Hour)}},
			Switches: []domain.Switch{sw},
			Audit:    []domain.AuditEntry{{At: start, Actor: "detect", Action: "incident.opened", Object: "inc-1", Why: "cuda-oom", RepoID: 7, InstallationID: 1}},
			Counts:   []domain.Count{{Name: "findings", Labels: map[string]string{"rule": "cuda-oom"}, Add: 2}},
		}
		ok(t, s.Commit(t.Context(), store.Cause{Consumer: "detect", EventID: "e1", EventType: "x", Duration: time.Second, Result: "ok"}, out, start))

		inc.Version, rep.Version = 1, 1
		same(t, "incident", inc, must[domain.Incident](t)(s.Incident(t.Context(), "inc-1")))
		same(t, "repair", rep, must[domain.Repair](t)(s.Repair(t.Context(), "rep-1")))
		same(t, "report", report, must[domain.RunReport](t)(s.Report(t.Context(), 7, 11, 2)))
		same(t, "switch", sw, must[domain.Switch](t)(s.Switch(t.Context(), 7)))
		same(t, "outbox", []string{"e2[notify]"}, openIDs(t, s, at(time.Second)))
		audit := must[[]store.AuditRecord](t)(s.Audit(t.Context(), store.Filter{RepoID: 7}))
		if diff := cmp.Diff([]store.AuditRecord{{AuditEntry: out.Audit[0]}}, audit, cmpopts.IgnoreFields(store.AuditRecord{}, "ID")); diff != "" {
			t.Errorf("audit: %s", diff)
		}
		same(t, "counters", []store.Counter{{Name: "findings", Labels: map[string]string{"rule": "cuda-oom"}, Value: 2}}, must[[]store.Counter](t)(s.Counters(t.Context())))
		if due, found, err := s.NextDue(t.Context()); err != nil || !found || !due.Equal(at(time.Hour)) {
			t.Errorf("NextDue = %v, %v, %v", due, found, err)
		}
	})
}

// A failure anywhere in an outcome leaves nothing of it: each case breaks one
// part of an outcome that holds all of them.
func TestCommitIsAllOrNothing(t *testing.T) {
	tests := map[string]func(*store.Cause, *domain.Outcome){
		"handled before":    func(c *store.Cause, _ *domain.Outcome) { c.EventID = "known" },
		"lease lost":        func(c *store.Cause, _ *domain.Outcome) { c.Work.Lease = "another" },
		"incident moved on": func(_ *store.Cause, o *domain.Outcome) { o.Incidents[0].Version = 3 },
		"impossible state":  func(_ *store.Cause, o *domain.Outcome) { o.Repairs[0].State = domain.RepairLanded },
		"repair is there":   func(_ *store.Cause, o *domain.Outcome) { o.Repairs[0].ID = "rep-known" },
		"event without id":  func(_ *store.Cause, o *domain.Outcome) { o.Events[0].ID = "" },
		"broken payload":    func(_ *store.Cause, o *domain.Outcome) { o.Later[0].Payload = []byte("{") },
		"falling counter":   func(_ *store.Cause, o *domain.Outcome) { o.Counts[0].Add = -1 },
	}
	onEach(t, func(t *testing.T, s *store.Store) {
		ok(t, handle(t, s, "repair", "known"))
		ok(t, put(t, s, domain.Outcome{Repairs: []domain.Repair{repair("rep-known", "inc-known", 1)}}))
		ok(t, s.AddWork(t.Context(), domain.Work{Kind: "repair.plan", Key: "k"}))
		work := must[[]domain.Work](t)(s.ClaimWork(t.Context(), "repair", start, time.Hour, 1))[0]
		for name, corrupt := range tests {
			t.Run(name, func(t *testing.T) {
				held := work
				cause := store.Cause{Consumer: "repair", EventID: "fresh", Work: &held, Result: "ok"}
				out := domain.Outcome{
					Incidents: []domain.Incident{incident("inc-new")}, Repairs: []domain.Repair{repair("rep-new", "inc-new", 1)},
					Reports: []domain.RunReport{{Repo: repo, Run: domain.Run{ID: 5}}}, Events: []domain.Envelope{envelope("e-new", "x")},
					Later: []domain.Work{{Kind: "other.x", Key: "new"}}, Switches: []domain.Switch{{RepoID: 9, State: "stopped"}},
					Audit: []domain.AuditEntry{{Object: "new"}}, Counts: []domain.Count{{Name: "n", Add: 1}},
				}
				corrupt(&cause, &out)
				if err := s.Commit(t.Context(), cause, out, start); err == nil {
					t.Fatal("the commit succeeded")
				}
				_, err := s.Incident(t.Context(), "inc-new")
				wantNotFound(t, err)
				_, err = s.Repair(t.Context(), "rep-new")
				wantNotFound(t, err)
				_, err = s.Report(t.Context(), 7, 5, 0)
				wantNotFound(t, err)
				if must[bool](t)(s.Handled(t.Context(), "repair", "fresh")) {
					t.Error("the event counts as handled")
				}
				same(t, "outbox", []string(nil), openIDs(t, s, at(time.Hour)))
				same(t, "switch", "", must[domain.Switch](t)(s.Switch(t.Context(), 9)).State)
				if n := len(must[[]store.AuditRecord](t)(s.Audit(t.Context(), store.Filter{Object: "new"}))); n != 0 {
					t.Errorf("%d audit entries", n)
				}
				same(t, "due owners", []string(nil), must[[]string](t)(s.DueOwners(t.Context(), start)))
				same(t, "counters", 0, len(must[[]store.Counter](t)(s.Counters(t.Context()))))
				same(t, "histograms", 0, len(must[[]store.Histogram](t)(s.Histograms(t.Context()))))
			})
		}
		// The work is still held: the right commit goes through.
		ok(t, s.Commit(t.Context(), store.Cause{Consumer: "repair", Work: &work}, domain.Outcome{}, start))
	})
}

func TestAnEventIsHandledOncePerConsumer(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		const callers = 10
		var won, lost atomic.Int32
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				err := s.Commit(t.Context(), store.Cause{Consumer: "detect", EventID: "e"}, domain.Outcome{
					Audit: []domain.AuditEntry{{Object: "once", Why: fmt.Sprint(i)}},
				}, start)
				switch {
				case err == nil:
					won.Add(1)
				case errors.Is(err, store.ErrHandled) && errors.Is(err, domain.ErrConflict):
					lost.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || lost.Load() != callers-1 {
			t.Errorf("%d commits won and %d lost", won.Load(), lost.Load())
		}
		if n := len(must[[]store.AuditRecord](t)(s.Audit(t.Context(), store.Filter{}))); n != 1 {
			t.Errorf("%d audit entries, want one", n)
		}
		ok(t, handle(t, s, "notify", "e")) // another consumer handles it for itself
	})
}

func TestIncidentsAreUniqueWhileTheyStand(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		a, b := incident("inc-a"), incident("inc-b")
		b.Fingerprint = a.Fingerprint
		ok(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{a}}))
		wantConflict(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{b}}))

		a.Version, a.State = 1, domain.IncidentHandedOff
		ok(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{a}}))
		wantConflict(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{b}}))

		elsewhere := b
		elsewhere.ID, elsewhere.Branch = "inc-c", "dev"
		ok(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{elsewhere}}))

		a.Version, a.State, a.ClosedAt = 2, domain.IncidentResolved, at(time.Hour)
		ok(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{a}}))
		ok(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{b}}))

		a.Version = 3
		same(t, "last resolved", a, func() domain.Incident {
			got, found, err := s.LastResolved(t.Context(), 7, "main", a.WorkflowPath, a.Fingerprint, at(time.Hour))
			if err != nil || !found {
				t.Errorf("LastResolved = %v, %v", found, err)
			}
			return got
		}())
		if _, found, err := s.LastResolved(t.Context(), 7, "main", a.WorkflowPath, a.Fingerprint, at(2*time.Hour)); err != nil || found {
			t.Errorf("LastResolved after its time = %v, %v", found, err)
		}
		if got, found, err := s.StandingIncident(t.Context(), 7, "main", a.WorkflowPath, a.Fingerprint); err != nil || !found || got.ID != "inc-b" {
			t.Errorf("StandingIncident = %s, %v, %v", got.ID, found, err)
		}
	})
}

func TestVersionsAndStatesAreChecked(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		inc, rep := incident("inc-1"), repair("rep-1", "inc-1", 1)
		ok(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{inc}, Repairs: []domain.Repair{rep}}))
		wantConflict(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{inc}})) // inserting again
		wantConflict(t, put(t, s, domain.Outcome{Repairs: []domain.Repair{rep}}))
		twin := repair("rep-2", "inc-1", 1) // the same attempt
		wantConflict(t, put(t, s, domain.Outcome{Repairs: []domain.Repair{twin}}))

		inc.Version, rep.Version = 2, 2
		wantConflict(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{inc}}))
		wantConflict(t, put(t, s, domain.Outcome{Repairs: []domain.Repair{rep}}))
		missing := incident("inc-missing")
		missing.Version = 1
		wantConflict(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{missing}}))

		inc.Version, rep.Version = 1, 1
		rep.State = domain.RepairLanded // not from intended
		wantKind(t, put(t, s, domain.Outcome{Repairs: []domain.Repair{rep}}), domain.Bug)
		inc.State = domain.IncidentResolved
		ok(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{inc}}))
		inc.Version, inc.State = 2, domain.IncidentOpen // a resolved one stays so
		wantKind(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{inc}}), domain.Bug)
		fresh := incident("inc-2")
		fresh.State = domain.IncidentResolved
		wantKind(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{fresh}}), domain.Bug)
	})
}

func TestOfWritersAtOnceOneWins(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		inc := incident("inc-1")
		ok(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{inc}}))
		inc.Version = 1
		const callers = 8
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				mine := inc
				mine.Occurrences = 100 + i
				switch err := s.Commit(t.Context(), store.Cause{}, domain.Outcome{Incidents: []domain.Incident{mine}}, start); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, domain.ErrConflict):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got := must[domain.Incident](t)(s.Incident(t.Context(), "inc-1"))
		if won.Load() != 1 || got.Version != 2 || got.Occurrences < 100 {
			t.Errorf("%d writers won, version %d, occurrences %d", won.Load(), got.Version, got.Occurrences)
		}
	})
}

func TestEqualEditsOnOneBaseAreOneLiveRepair(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		a, b := repair("rep-a", "inc-a", 1), repair("rep-b", "inc-b", 1)
		b.PlanKey = a.PlanKey
		ok(t, put(t, s, domain.Outcome{Repairs: []domain.Repair{a}}))
		wantConflict(t, put(t, s, domain.Outcome{Repairs: []domain.Repair{b}}))

		// Reruns of two workflows of one commit have one key and are two repairs.
		b.Plan.Action, a.Plan.Action = domain.ActionRerun, domain.ActionRerun
		a.ID, a.Root = "rep-c", "inc-c"
		ok(t, put(t, s, domain.Outcome{Repairs: []domain.Repair{b, a}}))
	})
}

func TestWhatIsTooLargeIsRefused(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		inc := incident("inc-1")
		inc.Problems = []string{strings.Repeat("x", 1<<20)}
		err := put(t, s, domain.Outcome{Incidents: []domain.Incident{inc}})
		wantKind(t, err, domain.Invalid)
		if !errors.Is(err, domain.ErrTooLarge) {
			t.Error(err)
		}
		payload := []byte(`"` + strings.Repeat("x", 64<<10) + `"`)
		wantKind(t, put(t, s, domain.Outcome{Later: []domain.Work{{Kind: "a.b", Key: "k", Payload: payload}}}), domain.Bug)
		event := envelope("e", "x")
		event.JSON = []byte(`"` + strings.Repeat("x", 96<<10) + `"`)
		wantKind(t, put(t, s, domain.Outcome{Events: []domain.Envelope{event}}), domain.Bug)
		for i := range 3 { // a label set that a stranger's text got into
			labels := map[string]string{"rule": strings.Repeat("x", 201)}
			if i > 0 {
				labels = map[string]string{}
				for j := range 9 {
					labels[fmt.Sprint(j)] = ""
				}
			}
			wantKind(t, put(t, s, domain.Outcome{Counts: []domain.Count{{Name: "n", Labels: labels, Add: 1}}}), domain.Bug)
		}
	})
}

func TestCountersAndHistograms(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		const callers = 6
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				err := s.Commit(t.Context(), store.Cause{
					Consumer: "detect", EventID: fmt.Sprint(i), EventType: "run.v1",
					Duration: time.Duration(i) * 100 * time.Millisecond, Result: "ok",
				}, domain.Outcome{Counts: []domain.Count{
					{Name: "b", Add: 0.5}, {Name: "a", Labels: map[string]string{"y": "1", "x": "2"}, Add: 1},
					{Name: "a", Labels: map[string]string{"x": "2", "y": "1"}, Add: 2},
				}}, start)
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		ok(t, s.Commit(t.Context(), store.Cause{Consumer: "detect", Work: nil, EventType: "run.v1", Duration: time.Hour, Result: "ok"}, domain.Outcome{}, start))
		same(t, "counters", []store.Counter{
			{Name: "a", Labels: map[string]string{"x": "2", "y": "1"}, Value: 3 * callers},
			{Name: "b", Labels: map[string]string{}, Value: 0.5 * callers},
		}, must[[]store.Counter](t)(s.Counters(t.Context())))

		// 0, 100 … 500 ms and an hour.
		list := must[[]store.Histogram](t)(s.Histograms(t.Context()))
		if len(list) != 1 {
			t.Fatalf("%d histograms", len(list))
		}
		h := list[0]
		same(t, "labels", map[string]string{"function": "detect", "cause": "run.v1", "result": "ok"}, h.Labels)
		got := map[float64]uint64{}
		for i, b := range h.Buckets {
			got[b.UpperBound] = b.Count
			if i > 0 && (b.UpperBound <= h.Buckets[i-1].UpperBound || b.Count < h.Buckets[i-1].Count) {
				t.Errorf("bucket %v doesn't follow %v", b, h.Buckets[i-1])
			}
		}
		want := map[float64]uint64{0.005: 1, 0.01: 1, 0.025: 1, 0.05: 1, 0.1: 2, 0.25: 3, 0.5: 6, 1: 6, 2.5: 6, 5: 6, 10: 6, 30: 6, 60: 6, 120: 6, 240: 6}
		same(t, "buckets", want, got)
		if h.Name != store.HandlerDuration || h.Count != 7 || h.Sum < 3601.49 || h.Sum > 3601.51 {
			t.Errorf("%s: count %d, sum %v", h.Name, h.Count, h.Sum)
		}
	})
}

func TestSwitchesAreSetAndRemoved(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		same(t, "at first", domain.Switch{RepoID: 7}, must[domain.Switch](t)(s.Switch(t.Context(), 7)))
		for _, state := range []string{domain.SwitchUnchecked, domain.SwitchStopped, ""} {
			ok(t, put(t, s, domain.Outcome{Switches: []domain.Switch{{RepoID: 7, State: state, By: "mona", At: start}}}))
			same(t, "state", state, must[domain.Switch](t)(s.Switch(t.Context(), 7)).State)
		}
	})
}

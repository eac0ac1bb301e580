package store_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

const lease = 330 * time.Second

func claim(t *testing.T, s *store.Store, owner string, now time.Time) []domain.Work {
	t.Helper()
	return must[[]domain.Work](t)(s.ClaimWork(t.Context(), owner, now, lease, 0))
}

// claimOne claims what must be a single piece of work.
func claimOne(t *testing.T, s *store.Store, owner string, now time.Time) domain.Work {
	t.Helper()
	list := claim(t, s, owner, now)
	if len(list) != 1 {
		t.Fatalf("claimed %d pieces of work, want 1", len(list))
	}
	return list[0]
}

func done(t *testing.T, s *store.Store, w domain.Work, out domain.Outcome) error {
	t.Helper()
	return s.Commit(t.Context(), store.Cause{Consumer: "repair", Work: &w}, out, start)
}

func TestWorkIsClaimedWhenItIsDue(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		payload := json.RawMessage(`{"id": "inc-1"}`)
		ok(t, s.AddWork(t.Context(),
			domain.Work{Kind: "repair.plan", Key: "later", NotBefore: at(time.Hour)},
			domain.Work{Kind: "repair.plan", Key: "now", Payload: payload, TraceParent: "00-a-b-01", CreatedAt: at(-time.Minute)},
			domain.Work{Kind: "detect.diagnose", Key: "now"},
		))
		same(t, "due owners", []string{"detect", "repair"}, must[[]string](t)(s.DueOwners(t.Context(), start)))
		w := claimOne(t, s, "repair", start)
		if w.Lease == "" {
			t.Error("claimed without a lease")
		}
		want := domain.Work{
			Kind: "repair.plan", Key: "now", NotBefore: at(-time.Minute), Payload: payload, Attempts: 1, Lease: w.Lease,
			TraceParent: "00-a-b-01", CreatedAt: at(-time.Minute),
		}
		same(t, "work", want, w)
		same(t, "while it is held", 0, len(claim(t, s, "repair", start)))
		same(t, "owners while it is held", []string{"detect"}, must[[]string](t)(s.DueOwners(t.Context(), start)))
		ok(t, done(t, s, w, domain.Outcome{}))
		wantConflict(t, done(t, s, w, domain.Outcome{})) // it can't be done twice
		same(t, "later", "later", claimOne(t, s, "repair", at(time.Hour)).Key)
	})
}

func TestWorkOfManyClaimersGoesToOneEach(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		const items, claimers = 60, 20
		var list []domain.Work
		for i := range items {
			list = append(list, domain.Work{Kind: "repair.plan", Key: fmt.Sprint(i)})
		}
		ok(t, s.AddWork(t.Context(), list...))
		var mu sync.Mutex
		taken := map[string]int{}
		var wg sync.WaitGroup
		for range claimers {
			wg.Go(func() {
				for {
					got, err := s.ClaimWork(t.Context(), "repair", start, lease, 2)
					if err != nil {
						t.Error(err)
						return
					}
					if len(got) == 0 {
						return
					}
					if len(got) > 2 {
						t.Errorf("claimed %d pieces, asked for 2", len(got))
					}
					mu.Lock()
					for _, w := range got {
						taken[w.Key]++
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		// A claimer ends early when others hold what it would take, so something may
		// be left, but nothing was given twice.
		for _, w := range claim(t, s, "repair", start) {
			taken[w.Key]++
		}
		for i := range items {
			if n := taken[fmt.Sprint(i)]; n != 1 {
				t.Errorf("item %d was claimed %d times", i, n)
			}
		}
	})
}

func TestAddingWorkTwiceIsAddingItOnce(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		add := func(d time.Duration, payload string) {
			ok(t, s.AddWork(t.Context(), domain.Work{Kind: "repair.plan", Key: "k", NotBefore: at(d), Payload: json.RawMessage(payload)}))
		}
		due := func() time.Time {
			next, _, err := s.NextDue(t.Context())
			ok(t, err)
			return next
		}
		add(time.Hour, "1")
		add(2*time.Hour, "2")
		same(t, "a later one changes nothing", at(time.Hour), due())
		add(time.Minute, "3")
		same(t, "an earlier one pulls", at(time.Minute), due())
		w := claimOne(t, s, "repair", at(time.Minute))
		same(t, "payload", "1", string(w.Payload))
		if _, found, err := s.NextDue(t.Context()); err != nil || !found {
			t.Errorf("NextDue while it is held = %v, %v", found, err)
		}
		same(t, "a held piece is due when its lease ends", at(time.Minute+lease), due())
	})
}

// Whoever does a piece of work may have read the state from before somebody
// asked for it again.
func TestWorkAskedForWhileItIsDoneIsDoneAgain(t *testing.T) {
	tests := map[string]struct {
		end  func(t *testing.T, s *store.Store, w domain.Work) error
		want time.Time
	}{
		"done": {func(t *testing.T, s *store.Store, w domain.Work) error { return done(t, s, w, domain.Outcome{}) }, at(time.Minute)},
		"again later": {func(t *testing.T, s *store.Store, w domain.Work) error {
			return done(t, s, w, domain.Outcome{Again: at(time.Hour)})
		}, at(time.Minute)},
		"again sooner": {func(t *testing.T, s *store.Store, w domain.Work) error {
			return done(t, s, w, domain.Outcome{Again: at(time.Second)})
		}, at(time.Second)},
		"failed": {func(t *testing.T, s *store.Store, w domain.Work) error {
			return s.FailWork(t.Context(), w, at(time.Hour), "no answer")
		}, at(time.Minute)},
	}
	onEach(t, func(t *testing.T, s *store.Store) {
		for name, tc := range tests {
			t.Run(name, func(t *testing.T) {
				w := domain.Work{Kind: "repair.plan", Key: name}
				ok(t, s.AddWork(t.Context(), w))
				w = claimOne(t, s, "repair", start)
				w2 := w
				for _, d := range []time.Duration{2 * time.Minute, time.Minute, 3 * time.Minute} {
					w2.NotBefore = at(d)
					ok(t, s.AddWork(t.Context(), w2))
				}
				same(t, "while it is held", 0, len(claim(t, s, "repair", at(time.Second))))
				ok(t, tc.end(t, s, w))
				next, found, err := s.NextDue(t.Context())
				if err != nil || !found || !next.Equal(tc.want) {
					t.Errorf("NextDue = %v, %v, %v; want %v", next, found, err, tc.want)
				}
				ok(t, done(t, s, claimOne(t, s, "repair", tc.want), domain.Outcome{}))
				same(t, "at last", 0, len(claim(t, s, "repair", at(24*time.Hour))))
			})
		}
	})
}

func TestWorkThatAddsItselfStays(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		ok(t, s.AddWork(t.Context(), domain.Work{Kind: "repair.plan", Key: "k"}))
		w := claimOne(t, s, "repair", start)
		ok(t, done(t, s, w, domain.Outcome{Later: []domain.Work{{Kind: "repair.plan", Key: "k", NotBefore: at(time.Minute)}}}))
		same(t, "attempts", 1, claimOne(t, s, "repair", at(time.Minute)).Attempts)
	})
}

func TestAgainKeepsWorkWithoutCountingAFailure(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		ok(t, s.AddWork(t.Context(), domain.Work{Kind: "detect.diagnose", Key: "k", Payload: json.RawMessage(`1`)}))
		w := claimOne(t, s, "detect", start)
		ok(t, s.FailWork(t.Context(), w, start, "time-out"))
		w = claimOne(t, s, "detect", start)
		same(t, "attempts after a failure", 2, w.Attempts)
		ok(t, done(t, s, w, domain.Outcome{Again: at(time.Minute)}))
		same(t, "before it is due", 0, len(claim(t, s, "detect", start)))
		w = claimOne(t, s, "detect", at(time.Minute))
		same(t, "attempts and payload", "1 1", fmt.Sprint(w.Attempts, " ", string(w.Payload)))
		ok(t, done(t, s, w, domain.Outcome{Again: at(time.Hour), AgainPayload: json.RawMessage(`{"page":2}`)}))
		same(t, "payload", `{"page":2}`, string(claimOne(t, s, "detect", at(time.Hour)).Payload))
	})
}

// A process that dies between claim and commit loses its work to another one,
// and can't commit if it wasn't dead after all.
func TestWorkOfADeadHolderIsTakenOver(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		ok(t, s.AddWork(t.Context(), domain.Work{Kind: "repair.plan", Key: "k"}))
		dead := claimOne(t, s, "repair", start)
		same(t, "within the lease", 0, len(claim(t, s, "repair", at(lease-time.Microsecond))))
		same(t, "owners within the lease", 0, len(must[[]string](t)(s.DueOwners(t.Context(), at(lease-time.Microsecond)))))
		heir := claimOne(t, s, "repair", at(lease))
		same(t, "attempts", 2, heir.Attempts)

		wantConflict(t, done(t, s, dead, domain.Outcome{Audit: []domain.AuditEntry{{Object: "ghost"}}}))
		wantConflict(t, done(t, s, dead, domain.Outcome{Again: at(time.Hour)}))
		wantConflict(t, s.FailWork(t.Context(), dead, start, "late"))
		wantConflict(t, s.BuryWork(t.Context(), dead, "late"))
		same(t, "audit", 0, len(must[[]store.AuditRecord](t)(s.Audit(t.Context(), store.Filter{}))))
		ok(t, done(t, s, heir, domain.Outcome{}))
	})
}

func TestBadWorkIsABug(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		for name, w := range map[string]domain.Work{
			"no verb":     {Kind: "repair", Key: "k"},
			"empty verb":  {Kind: "repair.", Key: "k"},
			"no function": {Kind: ".plan", Key: "k"},
			"no key":      {Kind: "repair.plan"},
			"no JSON":     {Kind: "repair.plan", Key: "k", Payload: json.RawMessage("{")},
		} {
			t.Run(name, func(t *testing.T) { wantKind(t, s.AddWork(t.Context(), w), domain.Bug) })
		}
		wantKind(t, done(t, s, domain.Work{Kind: "repair.plan", Key: "k"}, domain.Outcome{}), domain.Bug) // not claimed
		ok(t, s.AddWork(t.Context()))
		if _, found, err := s.NextDue(t.Context()); err != nil || found {
			t.Errorf("NextDue without work = %v, %v", found, err)
		}
	})
}

func TestDeadLettersOfWorkCanBeReplayed(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		ok(t, s.AddWork(t.Context(), domain.Work{Kind: "repair.plan", Key: "k", Payload: json.RawMessage(`{"installation_id":1}`), TraceParent: "tp"}))
		ok(t, s.BuryWork(t.Context(), claimOne(t, s, "repair", start), "denied"))
		same(t, "claimable", 0, len(claim(t, s, "repair", at(24*time.Hour))))
		dead := must[[]store.DeadLetter](t)(s.DeadLetters(t.Context(), 10))
		if len(dead) != 1 || dead[0].Work == nil || dead[0].Event != nil {
			t.Fatalf("dead letters: %+v", dead)
		}
		want := domain.Work{Kind: "repair.plan", Key: "k", Payload: json.RawMessage(`{"installation_id":1}`), Attempts: 1, TraceParent: "tp"}
		same(t, "work", want, *dead[0].Work)
		same(t, "letter", fmt.Sprint("repair denied ", start), fmt.Sprint(dead[0].Consumer, " ", dead[0].Reason, " ", dead[0].At))

		ok(t, s.Replay(t.Context(), dead[0].ID))
		same(t, "attempts", 1, claimOne(t, s, "repair", start).Attempts)
		wantNotFound(t, s.Replay(t.Context(), dead[0].ID))
	})
}

func TestDeadLettersOfEventsCanBeReplayed(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		env := envelope("e", "detect", "notify")
		ok(t, put(t, s, domain.Outcome{Events: []domain.Envelope{env}}))
		ok(t, handle(t, s, "detect", "e"))
		ok(t, s.DeadLetter(t.Context(), "detect", env, "too late", start)) // handled already: not dead
		same(t, "dead", 0, len(must[[]store.DeadLetter](t)(s.DeadLetters(t.Context(), 10))))

		ok(t, s.DeadLetter(t.Context(), "notify", env, "no channel", start))
		same(t, "open", []string(nil), openIDs(t, s, at(time.Hour)))
		if !must[bool](t)(s.Handled(t.Context(), "notify", "e")) {
			t.Error("a dead letter is not handled")
		}
		dead := must[[]store.DeadLetter](t)(s.DeadLetters(t.Context(), 10))
		if len(dead) != 1 || dead[0].Event == nil || dead[0].Work != nil {
			t.Fatalf("dead letters: %+v", dead)
		}
		env.Consumers = []string{"notify"}
		same(t, "event", env, *dead[0].Event)
		ok(t, s.Replay(t.Context(), dead[0].ID))
		same(t, "open after the replay", []string{"e[notify]"}, openIDs(t, s, at(time.Hour)))
		ok(t, handle(t, s, "notify", "e"))
		same(t, "open at last", []string(nil), openIDs(t, s, at(2*time.Hour)))
	})
}

// A person may look at the dead letters long after retention took the event.
func TestAnExpiredEventIsReplayedFromItsDeadLetter(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		env := envelope("e", "detect", "notify")
		ok(t, s.Commit(t.Context(), store.Cause{}, domain.Outcome{Events: []domain.Envelope{env}}, at(-time.Hour)))
		ok(t, s.Commit(t.Context(), store.Cause{Consumer: "detect", EventID: "e"}, domain.Outcome{}, at(-time.Hour)))
		ok(t, s.DeadLetter(t.Context(), "notify", env, "no channel", at(-time.Minute)))
		store.ForgetEvents(t, s)
		dead := must[[]store.DeadLetter](t)(s.DeadLetters(t.Context(), 10))
		same(t, "dead letters", 1, len(dead))
		ok(t, s.Replay(t.Context(), dead[0].ID))
		same(t, "open", []string{"e[notify]"}, openIDs(t, s, at(time.Hour)))
		ok(t, handle(t, s, "notify", "e"))
		same(t, "open at last", []string(nil), openIDs(t, s, at(2*time.Hour)))
	})
}

func TestAnOversizedDeadLetterIsCutShort(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		env := domain.Envelope{ID: "e", Type: "t", JSON: slices.Repeat([]byte("x"), 1<<20)}
		ok(t, s.DeadLetter(t.Context(), "detect", env, "unreadable", start))
		dead := must[[]store.DeadLetter](t)(s.DeadLetters(t.Context(), 10))
		if len(dead) != 1 || len(dead[0].Event.JSON) > 3000 || !json.Valid(dead[0].Event.JSON) {
			t.Errorf("dead letters: %d", len(dead))
		}
	})
}

func TestLeasesHaveOneHolder(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		acquire := func(holder string, now time.Time) bool {
			return must[bool](t)(s.AcquireLease(t.Context(), "repo/7", holder, now, time.Minute))
		}
		var held int
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				got, err := s.AcquireLease(t.Context(), "race", fmt.Sprint(i), start, time.Minute)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if got {
					held++
				}
			})
		}
		wg.Wait()
		same(t, "holders", 1, held)

		same(t, "a takes it", true, acquire("a", start))
		same(t, "b waits", false, acquire("b", at(time.Second)))
		same(t, "a renews", true, acquire("a", at(30*time.Second)))
		same(t, "b waits for the renewed one", false, acquire("b", at(time.Minute+time.Second)))
		ok(t, s.ReleaseLease(t.Context(), "repo/7", "b")) // not b's to release
		same(t, "b still waits", false, acquire("b", at(time.Minute+time.Second)))
		same(t, "b takes it over", true, acquire("b", at(90*time.Second)))
		ok(t, put(t, s, domain.Outcome{Release: []domain.Lease{{Name: "repo/7", Holder: "a"}}})) // not a's either
		same(t, "a waits", false, acquire("a", at(90*time.Second)))
		ok(t, s.ReleaseLease(t.Context(), "repo/7", "b"))
		same(t, "a takes what was released", true, acquire("a", at(91*time.Second)))
		ok(t, put(t, s, domain.Outcome{Release: []domain.Lease{{Name: "repo/7", Holder: "a"}}}))
		same(t, "b takes what a commit released", true, acquire("b", at(91*time.Second)))
	})
}

func TestSlotsAreApart(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		const callers = 10
		var mu sync.Mutex
		var slots []time.Time
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				slot, err := s.TakeSlot(t.Context(), "installation/1", start, time.Second)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				slots = append(slots, slot)
			})
		}
		wg.Wait()
		slices.SortFunc(slots, time.Time.Compare)
		for i, slot := range slots {
			same(t, "slot", at(time.Duration(i)*time.Second), slot)
		}
		later := must[time.Time](t)(s.TakeSlot(t.Context(), "installation/1", at(time.Hour), time.Second))
		same(t, "after a pause", at(time.Hour), later)
		same(t, "of another", start, must[time.Time](t)(s.TakeSlot(t.Context(), "installation/2", start, time.Second)))
	})
}

// Pieces that are claimed together are done at once, so a lease of one is not the
// other's.
func TestWorkClaimedTogetherHoldsItsOwnLeases(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		ok(t, s.AddWork(t.Context(), domain.Work{Kind: "repair.plan", Key: "a"}, domain.Work{Kind: "repair.plan", Key: "b"}))
		both := claim(t, s, "repair", start)
		if len(both) != 2 {
			t.Fatalf("claimed %d pieces of work, want 2", len(both))
		}
		same(t, "the first", true, must[bool](t)(s.AcquireLease(t.Context(), "plan/7", both[0].Holder(), start, lease)))
		same(t, "the second", false, must[bool](t)(s.AcquireLease(t.Context(), "plan/7", both[1].Holder(), start, lease)))
		same(t, "the first again", true, must[bool](t)(s.AcquireLease(t.Context(), "plan/7", both[0].Holder(), start, lease)))
	})
}

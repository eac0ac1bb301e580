package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

func deadLetters(t *testing.T, s *store.Store) []store.DeadLetter {
	t.Helper()
	return must[[]store.DeadLetter](t)(s.DeadLetters(t.Context(), 0))
}

// The cluster's broker reports an event late, twice, or one that was handled.
func TestADeadLetterIsStoredOnceAndNeverForWhatWasHandled(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		env := envelope("e", "detect", "notify")
		ok(t, put(t, s, domain.Outcome{Events: []domain.Envelope{env}}))
		ok(t, handle(t, s, "detect", "e"))
		ok(t, s.DeadLetter(t.Context(), "detect", env, "timed out", start))
		same(t, "of what was handled", 0, must[store.OpenCounts](t)(s.Open(t.Context())).DeadLetters)

		ok(t, s.DeadLetter(t.Context(), "notify", env, "first", start))
		ok(t, s.DeadLetter(t.Context(), "notify", env, "second", at(time.Hour)))
		dead := deadLetters(t, s)
		if len(dead) != 1 || dead[0].Reason != "first" {
			t.Errorf("dead letters: %+v", dead)
		}
		// The handler that was given up on finishes after all: nothing is done twice.
		if err := handle(t, s, "notify", "e"); !errors.Is(err, store.ErrHandled) {
			t.Errorf("handled after it died: %v", err)
		}
		same(t, "problems", []string(nil), problems(integrity(t, s)))
	})
}

func TestADeadLetterOfAnUnknownEvent(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		ping := domain.Envelope{ID: "ping-1", Type: "dev.knative.sources.ping", JSON: []byte(`{"id":"ping-1"}`)}
		ok(t, s.DeadLetter(t.Context(), "detect", ping, "500", start))
		same(t, "open", store.OpenCounts{DeadLetters: 1, Work: map[string]int{}}, must[store.OpenCounts](t)(s.Open(t.Context())))
		ok(t, s.Replay(t.Context(), deadLetters(t, s)[0].ID))
		same(t, "open after the replay", []string{"ping-1[detect]"}, openIDs(t, s, at(time.Second)))
		ok(t, handle(t, s, "detect", "ping-1"))
		same(t, "open at last", store.OpenCounts{Work: map[string]int{}}, must[store.OpenCounts](t)(s.Open(t.Context())))
		same(t, "problems", []string(nil), problems(integrity(t, s)))

		for name, id := range map[string]string{"no id": "", "a long id": strings.Repeat("x", 5000)} {
			ping.ID = id
			t.Run(name, func(t *testing.T) {
				wantKind(t, s.DeadLetter(t.Context(), "detect", ping, "500", start), domain.Invalid)
			})
		}
		wantKind(t, s.DeadLetter(t.Context(), "", envelope("e"), "500", start), domain.Invalid)
		same(t, "stored", 0, len(deadLetters(t, s)))
	})
}

func TestWhatIsReplayedCanDieAndBeReplayedAgain(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		env := envelope("e", "detect", "notify")
		ok(t, put(t, s, domain.Outcome{Events: []domain.Envelope{env}}))
		for round := range 3 {
			ok(t, s.DeadLetter(t.Context(), "notify", env, fmt.Sprint("round ", round), start))
			// Published long ago, and due again by the replay.
			ok(t, s.MarkPublished(t.Context(), []string{"e"}, at(time.Hour)))
			id := deadLetters(t, s)[0].ID
			ok(t, s.Replay(t.Context(), id))
			wantNotFound(t, s.Replay(t.Context(), id))
			same(t, "open", []string{"e[detect notify]"}, openIDs(t, s, at(time.Second)))
			same(t, "problems", []string(nil), problems(integrity(t, s)))
		}
		ok(t, handle(t, s, "detect", "e"))
		ok(t, handle(t, s, "notify", "e"))
		same(t, "open at last", []string(nil), openIDs(t, s, at(time.Hour)))
	})
}

func TestReplaysAtOnceAreOne(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		env := envelope("e", "detect", "notify")
		ok(t, put(t, s, domain.Outcome{Events: []domain.Envelope{env}}))
		ok(t, handle(t, s, "detect", "e"))
		ok(t, s.DeadLetter(t.Context(), "notify", env, "x", start))
		id := deadLetters(t, s)[0].ID
		var replayed atomic.Int32
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				switch err := s.Replay(t.Context(), id); {
				case err == nil:
					replayed.Add(1)
				case !errors.Is(err, domain.ErrNotFound) && domain.KindOf(err) != domain.Transient:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		same(t, "replays", int32(1), replayed.Load())
		same(t, "open", []string{"e[notify]"}, openIDs(t, s, at(time.Second)))
		same(t, "problems", []string(nil), problems(integrity(t, s)))
	})
}

func TestReplayAllOfAConsumer(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		const n = 600 // more than a page
		var out domain.Outcome
		for i := range n {
			out.Later = append(out.Later, domain.Work{Kind: "repair.plan", Key: fmt.Sprintf("%03d", i)})
		}
		ok(t, put(t, s, out))
		for range 2 {
			for _, w := range must[[]domain.Work](t)(s.ClaimWork(t.Context(), "repair", start, time.Minute, 500)) {
				ok(t, s.BuryWork(t.Context(), w, "denied"))
			}
		}
		for _, consumer := range []string{"repair", "notify"} {
			ok(t, s.DeadLetter(t.Context(), consumer, envelope("e", consumer), "x", start))
		}
		huge := domain.Envelope{ID: "huge", Type: "t", JSON: slices.Repeat([]byte("x"), 1<<20)}
		ok(t, s.DeadLetter(t.Context(), "repair", huge, "x", start))
		ok(t, s.DeadLetter(t.Context(), "repair", envelope("later", "repair"), "x", at(time.Second))) // after this call began

		same(t, "replayed", store.Replayed{Replayed: n + 1, Kept: 1}, must[store.Replayed](t)(s.ReplayAll(t.Context(), "repair")))
		same(t, "open", store.OpenCounts{DeadLetters: 3, Outbox: 1, Work: map[string]int{"repair": n}}, must[store.OpenCounts](t)(s.Open(t.Context())))
		same(t, "again", store.Replayed{Kept: 1}, must[store.Replayed](t)(s.ReplayAll(t.Context(), "repair")))
		same(t, "of everybody", store.Replayed{Replayed: 1, Kept: 1}, must[store.Replayed](t)(s.ReplayAll(t.Context(), "")))
		same(t, "of nobody", store.Replayed{}, must[store.Replayed](t)(s.ReplayAll(t.Context(), "console")))
		same(t, "problems", []string(nil), problems(integrity(t, s)))
	})
}

func TestWhatWasNotKeptWholeIsDiscarded(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		for id, body := range map[string][]byte{
			"huge": slices.Repeat([]byte("x"), 1<<20), "no JSON": []byte("{"), "no event": []byte(`[]`),
		} {
			ok(t, s.DeadLetter(t.Context(), "detect", domain.Envelope{ID: id, Type: "t", JSON: body}, "unreadable", start))
			dead := deadLetters(t, s)
			if len(dead) != 1 {
				t.Fatalf("%s: %d dead letters", id, len(dead))
			}
			wantKind(t, s.Replay(t.Context(), dead[0].ID), domain.Invalid)
			same(t, id+" is still there", 1, len(deadLetters(t, s)))
			same(t, "published", []string(nil), openIDs(t, s, at(time.Hour)))
			ok(t, s.Discard(t.Context(), dead[0].ID))
			wantNotFound(t, s.Discard(t.Context(), dead[0].ID))
			wantNotFound(t, s.Replay(t.Context(), dead[0].ID))
		}
		if !must[bool](t)(s.Handled(t.Context(), "detect", "huge")) {
			t.Error("what was discarded would be handled")
		}
	})
}

func TestReplayAndDiscardAreAudited(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		ok(t, s.DeadLetter(t.Context(), "notify", envelope("e", "notify"), "no channel", start))
		ok(t, put(t, s, domain.Outcome{Later: []domain.Work{{Kind: "repair.plan", Key: "k", Payload: json.RawMessage(`{"installation_id":5}`)}}}))
		ok(t, s.BuryWork(t.Context(), claimOne(t, s, "repair", start), "denied"))
		for _, d := range deadLetters(t, s) {
			if d.Work != nil {
				ok(t, s.Discard(t.Context(), d.ID))
			} else {
				ok(t, s.Replay(t.Context(), d.ID))
			}
		}
		var got []string
		for _, e := range must[[]store.AuditRecord](t)(s.Audit(t.Context(), store.Filter{})) {
			got = append(got, fmt.Sprint(e.Actor, " ", e.Action, " ", e.InstallationID, " ", e.Why))
		}
		slices.Sort(got)
		same(t, "audit", []string{"operator dead_letter.discarded 5 repair: denied", "operator dead_letter.replayed 1 notify: no channel"}, got)
	})
}

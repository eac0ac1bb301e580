package store_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

func delivery(id string) domain.Delivery {
	return domain.Delivery{ID: id, Event: "workflow_run", Action: "completed", InstallationID: 1, RepoID: 7, Body: []byte(`{"a":"\u0000"}`), ReceivedAt: start}
}

func envelope(id string, consumers ...string) domain.Envelope {
	return domain.Envelope{ID: id, Type: "com.github.workflow_run.completed", Consumers: consumers, JSON: fmt.Appendf(nil, `{"id":%q,"data":{"installation_id":1}}`, id)}
}

func TestAcceptDeliveryStoresItOnceWithItsEvent(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		d, env := delivery("d1"), envelope("d1", "repair", "detect")
		if stored, err := s.AcceptDelivery(t.Context(), d, env); err != nil || !stored {
			t.Fatalf("AcceptDelivery = %v, %v", stored, err)
		}
		other := d
		other.Body = []byte("another body")
		if stored, err := s.AcceptDelivery(t.Context(), other, env); err != nil || stored {
			t.Fatalf("the second AcceptDelivery = %v, %v", stored, err)
		}
		same(t, "delivery", d, must[domain.Delivery](t)(s.Delivery(t.Context(), "d1")))
		env.Consumers = []string{"detect", "repair"}
		same(t, "outbox", []domain.Envelope{env}, must[[]domain.Envelope](t)(s.OpenOutbox(t.Context(), start, 10)))
		_, err := s.Delivery(t.Context(), "unknown")
		wantNotFound(t, err)
	})
}

func TestAcceptDeliveryAtOnceStoresOne(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		const ids, callers = 5, 8
		var stored [ids]atomic.Int32
		var wg sync.WaitGroup
		for range callers {
			for i := range ids {
				wg.Go(func() {
					id := fmt.Sprint("d", i)
					yes, err := s.AcceptDelivery(t.Context(), delivery(id), envelope(id, "detect"))
					if err != nil {
						t.Error(err)
					}
					if yes {
						stored[i].Add(1)
					}
				})
			}
		}
		wg.Wait()
		for i := range stored {
			if n := stored[i].Load(); n != 1 {
				t.Errorf("delivery %d was stored by %d callers", i, n)
			}
		}
		if open := must[[]domain.Envelope](t)(s.OpenOutbox(t.Context(), start, 100)); len(open) != ids {
			t.Errorf("%d events in the outbox, want %d", len(open), ids)
		}
	})
}

func TestAcceptDeliveryIsBounded(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		d := delivery("big")
		d.Body = make([]byte, 25<<20+1)
		_, err := s.AcceptDelivery(t.Context(), d, envelope("big", "detect"))
		wantKind(t, err, domain.Invalid)
		// An event that can't be stored takes its delivery with it: stored without
		// its event, the delivery would be a duplicate for ever.
		bad := envelope("bad", "detect")
		bad.JSON = []byte("{")
		_, err = s.AcceptDelivery(t.Context(), delivery("bad"), bad)
		wantKind(t, err, domain.Bug)
		_, err = s.Delivery(t.Context(), "bad")
		wantNotFound(t, err)
	})
}

func TestExpireDeliveryBodiesKeepsTheIDs(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		for i := range 4 {
			d := delivery(fmt.Sprint("d", i))
			d.ReceivedAt = at(time.Duration(i) * time.Hour)
			must[bool](t)(s.AcceptDelivery(t.Context(), d, envelope(d.ID)))
		}
		if n, err := s.ExpireDeliveryBodies(t.Context(), at(2*time.Hour)); err != nil || n != 2 {
			t.Errorf("expired %d, %v; want 2", n, err)
		}
		for i, want := range []bool{false, false, true, true} {
			if d := must[domain.Delivery](t)(s.Delivery(t.Context(), fmt.Sprint("d", i))); (d.Body != nil) != want {
				t.Errorf("delivery %d has its body: %v, want %v", i, d.Body != nil, want)
			}
		}
		if stored, err := s.AcceptDelivery(t.Context(), delivery("d0"), envelope("d0")); err != nil || stored {
			t.Errorf("a redelivery after the expiry: %v, %v", stored, err)
		}
	})
}

func openIDs(t *testing.T, s *store.Store, before time.Time) []string {
	t.Helper()
	var ids []string
	for _, e := range must[[]domain.Envelope](t)(s.OpenOutbox(t.Context(), before, 0)) {
		ids = append(ids, fmt.Sprint(e.ID, e.Consumers))
	}
	return ids
}

func handle(t *testing.T, s *store.Store, consumer, id string) error {
	t.Helper()
	return s.Commit(t.Context(), store.Cause{Consumer: consumer, EventID: id, EventType: "t"}, domain.Outcome{}, start)
}

func TestOutboxClosesWhenAllConsumersHaveHandled(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		ok(t, s.Commit(t.Context(), store.Cause{}, domain.Outcome{Events: []domain.Envelope{
			envelope("a", "detect", "notify", "detect"), envelope("b", "notify"), envelope("none"),
		}}, start))
		same(t, "at first", []string{"a[detect notify]", "b[notify]"}, openIDs(t, s, at(time.Second)))

		ok(t, handle(t, s, "detect", "a"))
		ok(t, handle(t, s, "stranger", "b")) // handling what is not one's own closes nothing
		same(t, "after detect", []string{"a[notify]", "b[notify]"}, openIDs(t, s, at(time.Second)))

		ok(t, s.MarkPublished(t.Context(), []string{"b", "a", "unknown"}, at(time.Minute)))
		same(t, "published", []string(nil), openIDs(t, s, at(time.Minute)))
		same(t, "due again", []string{"a[notify]", "b[notify]"}, openIDs(t, s, at(2*time.Minute)))

		ok(t, handle(t, s, "notify", "a"))
		ok(t, handle(t, s, "notify", "b"))
		same(t, "at last", []string(nil), openIDs(t, s, at(time.Hour)))

		if handled := must[bool](t)(s.Handled(t.Context(), "notify", "a")); !handled {
			t.Error("notify has handled a, but it isn't known")
		}
		if handled := must[bool](t)(s.Handled(t.Context(), "repair", "a")); handled {
			t.Error("repair has not handled a")
		}
		// The same event again is no new one.
		ok(t, s.Commit(t.Context(), store.Cause{}, domain.Outcome{Events: []domain.Envelope{envelope("a", "detect")}}, start))
		same(t, "sent again", []string(nil), openIDs(t, s, at(time.Hour)))
	})
}

// Of consumers that commit at once the last one closes the event, whichever it
// is.
func TestOutboxClosesForConsumersAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		consumers := []string{"console", "detect", "notify", "repair"}
		for round := range 5 {
			id := fmt.Sprint("e", round)
			ok(t, s.Commit(t.Context(), store.Cause{}, domain.Outcome{Events: []domain.Envelope{envelope(id, consumers...)}}, start))
			var wg sync.WaitGroup
			for _, consumer := range consumers {
				wg.Go(func() {
					if err := handle(t, s, consumer, id); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			same(t, "open", []string(nil), openIDs(t, s, at(time.Hour)))
			// Closed is more than nobody missing: only a closed row expires.
			ok(t, s.Expire(t.Context(), at(time.Hour)))
			if n := store.RowCounts(t, s); n["outbox"] != 0 || n["handled"] != 0 {
				t.Errorf("after the expiry there are %d events and %d handled", n["outbox"], n["handled"])
			}
		}
	})
}

func TestOpenOutboxIsBoundedAndFair(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		for i := range 5 {
			ok(t, s.Commit(t.Context(), store.Cause{}, domain.Outcome{Events: []domain.Envelope{envelope(fmt.Sprint("e", i), "a", "b")}}, at(time.Duration(i)*time.Microsecond)))
		}
		seen := map[string]int{}
		for i := range 5 {
			page := must[[]domain.Envelope](t)(s.OpenOutbox(t.Context(), at(time.Hour), 2))
			if len(page) != 2 || len(page[0].Consumers) != 2 {
				t.Fatalf("page %d has %d events", i, len(page))
			}
			for j, e := range page {
				seen[e.ID]++
				ok(t, s.MarkPublished(t.Context(), []string{e.ID}, at(time.Duration(2*i+j+1)*time.Second)))
			}
		}
		for i := range 5 {
			if n := seen[fmt.Sprint("e", i)]; n != 2 {
				t.Errorf("event %d came %d times in 5 pages of 2, want 2", i, n)
			}
		}
	})
}

func BenchmarkAcceptDelivery(b *testing.B) {
	for _, name := range []string{"postgres", "sqlite"} {
		b.Run(name, func(b *testing.B) {
			s := migrated(b, escaped(databases[name](b)))
			body := make([]byte, 12<<10) // a workflow_run payload's usual size
			var n atomic.Int64
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					id := fmt.Sprint("d", n.Add(1))
					d := delivery(id)
					d.Body = body
					if stored, err := s.AcceptDelivery(b.Context(), d, envelope(id, "detect")); err != nil || !stored {
						b.Errorf("AcceptDelivery = %v, %v", stored, err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}

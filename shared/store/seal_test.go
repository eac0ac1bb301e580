package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/seal"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

func keyring(tb testing.TB, current byte, previous ...byte) *seal.Keyring {
	tb.Helper()
	var others [][]byte
	for _, b := range previous {
		others = append(others, bytes.Repeat([]byte{b}, seal.KeySize))
	}
	k, err := seal.New(bytes.Repeat([]byte{current}, seal.KeySize), others...)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// keyed opens a database with keys; nil has none.
func keyed(tb testing.TB, url string, k *seal.Keyring) *store.Store {
	tb.Helper()
	s, err := store.Open(tb.Context(), url, store.Options{Now: func() time.Time { return start }, Timeout: time.Minute, Sealer: k})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// onEachFile runs one test on a migrated database of each kind that several
// stores can open.
func onEachFile(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Parallel()
	for name, url := range databases {
		if name == "memory" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := escaped(url(t))
			migrated(t, target)
			test(t, target)
		})
	}
}

func accept(t *testing.T, s *store.Store, id string, body []byte) {
	t.Helper()
	d := delivery(id)
	d.Body = body
	if !must[bool](t)(s.AcceptDelivery(t.Context(), d, envelope(id, "detect"))) {
		t.Fatalf("%s is known already", id)
	}
}

func TestBodiesAreSealed(t *testing.T) {
	onEachFile(t, func(t *testing.T, url string) {
		s := keyed(t, url, keyring(t, 1))
		body := []byte(`{"sender":{"login":"mona"}}`)
		long := []byte(strings.Repeat(`{"sender":"mona"}`, 10_000))
		accept(t, s, "short", body)
		accept(t, s, "long", long)
		accept(t, s, "empty", []byte{})
		for id, want := range map[string][]byte{"short": body, "long": long, "empty": {}} {
			raw := store.RawBody(t, s, id)
			if !seal.Sealed(raw) || bytes.Contains(raw, []byte("mona")) {
				t.Errorf("%s is stored as %.60q", id, raw)
			}
			d := must[domain.Delivery](t)(s.Delivery(t.Context(), id))
			if !bytes.Equal(d.Body, want) || d.Body == nil {
				t.Errorf("%s is read as %.40q", id, d.Body)
			}
		}
		if raw := store.RawBody(t, s, "long"); len(raw) > len(long)/4 {
			t.Errorf("%d bytes take %d", len(long), len(raw))
		}
		must[int64](t)(s.ExpireDeliveryBodies(t.Context(), at(time.Hour)))
		if d := must[domain.Delivery](t)(s.Delivery(t.Context(), "short")); d.Body != nil {
			t.Errorf("an expired body is read as %q", d.Body)
		}
	})
}

func TestABodyThatCannotBeOpenedIsAnError(t *testing.T) {
	onEachFile(t, func(t *testing.T, url string) {
		accept(t, keyed(t, url, keyring(t, 1)), "a", []byte("{}"))
		for name, k := range map[string]*seal.Keyring{"no key": nil, "another key": keyring(t, 2)} {
			s := keyed(t, url, k)
			d, err := s.Delivery(t.Context(), "a")
			wantKind(t, err, domain.Transient)
			if !errors.Is(err, seal.ErrKeyMissing) || d.Body != nil {
				t.Errorf("%s: %q, %v", name, d.Body, err)
			}
		}
		// The body of one delivery in another's row.
		s := keyed(t, url, keyring(t, 1))
		accept(t, s, "b", []byte("{}"))
		store.SetRawBody(t, s, "b", store.RawBody(t, s, "a"))
		_, err := s.Delivery(t.Context(), "b")
		wantKind(t, err, domain.Invalid)
		if !errors.Is(err, seal.ErrCorrupt) {
			t.Error(err)
		}
	})
}

func TestResealRotatesTheKey(t *testing.T) {
	onEachFile(t, func(t *testing.T, url string) {
		plain, old := keyed(t, url, nil), keyed(t, url, keyring(t, 1))
		lost, both := keyed(t, url, keyring(t, 9)), keyed(t, url, keyring(t, 2, 1))
		body := func(id string) []byte { return []byte(`{"id":"` + id + `"}`) }
		var ids []string
		for i := range 4 {
			for name, s := range map[string]*store.Store{"plain": plain, "old": old} {
				id := fmt.Sprint(name, i)
				accept(t, s, id, body(id))
				ids = append(ids, id)
			}
		}
		accept(t, lost, "lost", body("lost"))
		accept(t, both, "new", body("new"))
		accept(t, plain, "empty", []byte{})
		accept(t, plain, "expired", nil)
		wasNew := store.RawBody(t, both, "new")

		_, err := plain.Reseal(t.Context(), 0)
		wantKind(t, err, domain.Invalid)

		first := must[store.Resealed](t)(both.Reseal(t.Context(), 3))
		same(t, "first call", 3, first.Rows)
		same(t, "more after the first call", true, first.More)
		rest := must[store.Resealed](t)(both.Reseal(t.Context(), 0))
		same(t, "rest", store.Resealed{Rows: 6, Unreadable: 1}, rest)
		same(t, "again", store.Resealed{Unreadable: 1}, must[store.Resealed](t)(both.Reseal(t.Context(), 0)))

		next := keyed(t, url, keyring(t, 2))
		for _, id := range ids {
			same(t, id, body(id), must[domain.Delivery](t)(next.Delivery(t.Context(), id)).Body)
		}
		same(t, "empty", []byte{}, must[domain.Delivery](t)(next.Delivery(t.Context(), "empty")).Body)
		same(t, "expired", []byte(nil), must[domain.Delivery](t)(next.Delivery(t.Context(), "expired")).Body)
		same(t, "unreadable", body("lost"), must[domain.Delivery](t)(lost.Delivery(t.Context(), "lost")).Body)
		if !bytes.Equal(wasNew, store.RawBody(t, both, "new")) {
			t.Error("what was sealed with the current key was written again")
		}

		// The integrity check tells which keys are needed.
		report := must[store.Integrity](t)(next.Integrity(t.Context()))
		same(t, "bodies", map[string]int64{keyring(t, 2).IDs()[0]: 10, keyring(t, 9).IDs()[0]: 1}, report.Bodies)
		same(t, "problems", []string{"sealed with a key that is not set: 1 [" + keyring(t, 9).IDs()[0] + "]"}, problems(report))
	})
}

// More rows than a page, and one that can't be read in each.
func TestResealGoesThroughAllPages(t *testing.T) {
	t.Parallel()
	url := "sqlite://" + t.TempDir() + "/bot.db"
	plain := migrated(t, url)
	const n = 1100
	for i := range n {
		accept(t, plain, fmt.Sprintf("d%04d", i), []byte("{}"))
	}
	s := keyed(t, url, keyring(t, 1))
	damaged := append(seal.Magic(), "cut"...)
	for _, id := range []string{"d0000", "d0499", "d0500", "d1099"} {
		store.SetRawBody(t, s, id, damaged)
	}
	same(t, "resealed", store.Resealed{Rows: n - 4, Unreadable: 4}, must[store.Resealed](t)(s.Reseal(t.Context(), 0)))
}

package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/seal"
)

func secret(b byte) []byte { return bytes.Repeat([]byte{b}, seal.KeySize) }

func ring(tb testing.TB, current byte, previous ...byte) *seal.Keyring {
	tb.Helper()
	var others [][]byte
	for _, b := range previous {
		others = append(others, secret(b))
	}
	k, err := seal.New(secret(current), others...)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func sealed(tb testing.TB, k *seal.Keyring, value []byte, place ...string) []byte {
	tb.Helper()
	b, err := k.Seal(value, place...)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func wantError(t *testing.T, err, is error, kind domain.ErrKind) {
	t.Helper()
	if err == nil || domain.KindOf(err) != kind || (is != nil && !errors.Is(err, is)) {
		t.Errorf("error %v is %q, want %q and %v", err, domain.KindOf(err), kind, is)
	}
}

func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestWhatIsSealedOpens(t *testing.T) {
	t.Parallel()
	k := ring(t, 1)
	for name, value := range map[string][]byte{
		"empty":            {},
		"short":            []byte("ghs_token"),
		"JSON":             []byte(`{"a":1}`),
		"looks sealed":     sealed(t, k, []byte("inner")),
		"compressible":     bytes.Repeat([]byte(`{"action":"completed"}`), 1000),
		"not compressible": noise(100_000),
		"at the threshold": noise(1 << 10),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := bytes.Clone(value)
			a, b := sealed(t, k, value, "t", "c", "r"), sealed(t, k, value, "t", "c", "r")
			if bytes.Equal(a, b) {
				t.Error("sealed twice it looks the same")
			}
			if len(value) > 4 && bytes.Contains(a, value) {
				t.Error("the value can be read")
			}
			if len(a) > len(value)+seal.Overhead {
				t.Errorf("%d bytes grew to %d, by more than %d", len(value), len(a), seal.Overhead)
			}
			if !seal.Sealed(a) || !k.Current(a) || seal.KeyID(a) != k.IDs()[0] || !bytes.HasPrefix(a, k.Header()) || !bytes.HasPrefix(a, seal.Magic()) {
				t.Errorf("sealed %v, current %v, by %s of %v", seal.Sealed(a), k.Current(a), seal.KeyID(a), k)
			}
			got, err := k.Open(a, "t", "c", "r")
			if err != nil || !bytes.Equal(got, value) || got == nil {
				t.Errorf("opened: %.40q, %v", got, err)
			}
			if !bytes.Equal(before, value) {
				t.Error("sealing changed the value")
			}
		})
	}
	if long := bytes.Repeat([]byte("{}"), 10_000); len(sealed(t, k, long)) > len(long)/10 {
		t.Error("a long text is not made smaller")
	}
}

func TestKeysAreRotated(t *testing.T) {
	t.Parallel()
	value := []byte("body")
	old, both, later := ring(t, 1), ring(t, 2, 1), ring(t, 2)
	was := sealed(t, old, value, "p")
	if got, err := both.Open(was, "p"); err != nil || !bytes.Equal(got, value) {
		t.Errorf("the previous key opens %q, %v", got, err)
	}
	if both.Current(was) {
		t.Error("what the previous key sealed is taken for current")
	}
	now := sealed(t, both, value, "p")
	if seal.KeyID(now) != later.IDs()[0] || seal.KeyID(now) == seal.KeyID(was) {
		t.Errorf("sealed by %s with the keys %v", seal.KeyID(now), both)
	}
	if got, err := later.Open(now, "p"); err != nil || !bytes.Equal(got, value) {
		t.Errorf("without the previous key: %q, %v", got, err)
	}
	_, err := later.Open(was, "p")
	wantError(t, err, seal.ErrKeyMissing, domain.Transient)
	if err != nil && !strings.Contains(err.Error(), old.IDs()[0]) {
		t.Errorf("%v doesn't name the key %v", err, old)
	}
}

func TestWithoutAKeyValuesStayAsTheyAre(t *testing.T) {
	t.Parallel()
	var none *seal.Keyring
	k := ring(t, 1)
	plain := []byte(`{"a":1}`)
	if got := sealed(t, none, plain, "p"); !bytes.Equal(got, plain) || !none.Current(got) || none.Header() != nil {
		t.Errorf("got %q", got)
	}
	for name, ring := range map[string]*seal.Keyring{"none": none, "a key": k} {
		for _, value := range [][]byte{plain, nil, {}, []byte("\x00seal")} {
			if got, err := ring.Open(value, "p"); err != nil || !bytes.Equal(got, value) || (got == nil) != (value == nil) {
				t.Errorf("%s opens %q as %q, %v", name, value, got, err)
			}
		}
	}
	if k.Current(plain) || seal.KeyID(plain) != "" {
		t.Error("a plain value is taken for a sealed one")
	}
	s := sealed(t, k, plain, "p")
	_, err := none.Open(s, "p")
	wantError(t, err, seal.ErrKeyMissing, domain.Transient)
	if none.Current(s) {
		t.Error("without keys a sealed value is taken for current")
	}
	_, err = none.Seal(s, "p")
	wantError(t, err, nil, domain.Invalid)
}

func TestWhatWasTamperedWithDoesNotOpen(t *testing.T) {
	t.Parallel()
	k := ring(t, 1, 2)
	value := []byte("a body of a delivery")
	whole := sealed(t, k, value, "deliveries", "body", "1")
	for name, place := range map[string][]string{
		"another row": {"deliveries", "body", "2"}, "another table": {"cache", "body", "1"},
		"joined": {"deliveries", "body1"}, "none": nil, "more": {"deliveries", "body", "1", ""},
	} {
		_, err := k.Open(whole, place...)
		if err == nil {
			t.Errorf("it opens in %s", name)
		}
		wantError(t, err, seal.ErrCorrupt, domain.Invalid)
	}
	const magic = 7
	for i := magic; i < len(whole); i++ {
		b := bytes.Clone(whole)
		b[i] ^= 0x40
		got, err := k.Open(b, "deliveries", "body", "1")
		if err == nil {
			t.Fatalf("byte %d changed, and it opens as %q", i, got)
		}
		if i >= seal.HeaderSize {
			wantError(t, err, seal.ErrCorrupt, domain.Invalid)
		} else {
			wantError(t, err, seal.ErrKeyMissing, domain.Transient)
		}
	}
	for n := magic; n < len(whole); n++ {
		if _, err := k.Open(whole[:n], "deliveries", "body", "1"); !errors.Is(err, seal.ErrCorrupt) {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
	}
	// The other key's id on this value.
	b := bytes.Clone(whole)
	id, err := hex.DecodeString(k.IDs()[1])
	if err != nil {
		t.Fatal(err)
	}
	copy(b[magic:], id)
	_, err = k.Open(b, "deliveries", "body", "1")
	wantError(t, err, seal.ErrCorrupt, domain.Invalid)
}

func TestValuesAreBounded(t *testing.T) {
	t.Parallel()
	k := ring(t, 1)
	_, err := k.Seal(make([]byte, seal.MaxValue+1))
	wantError(t, err, domain.ErrTooLarge, domain.Invalid)
	largest := sealed(t, k, make([]byte, seal.MaxValue))
	if got, err := k.Open(largest); err != nil || len(got) != seal.MaxValue {
		t.Errorf("opened %d bytes, %v", len(got), err)
	}
}

func TestKeysAreRead(t *testing.T) {
	t.Parallel()
	a, b := base64.StdEncoding.EncodeToString(secret(1)), base64.StdEncoding.EncodeToString(secret(2))
	for name, tc := range map[string]struct {
		current  string
		previous []string
		ids      []string
		fails    bool
	}{
		"none":                {"", []string{""}, []string{}, false},
		"one":                 {a, nil, ring(t, 1).IDs(), false},
		"with a line end":     {a + "\n", []string{"", " "}, ring(t, 1).IDs(), false},
		"two":                 {b, []string{a}, ring(t, 2, 1).IDs(), false},
		"only a previous one": {"", []string{a}, nil, true},
		"no base64":           {"hunter2!", nil, nil, true},
		"too short":           {"aHVudGVyMg==", nil, nil, true},
		"a short previous":    {a, []string{"aHVudGVyMg=="}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, err := seal.Parse(tc.current, tc.previous...)
			if tc.fails {
				wantError(t, err, nil, domain.Invalid)
				if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "aHVudGVyMg")) {
					t.Errorf("%v shows the key", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.ids, k.IDs()); diff != "" {
				t.Error(diff)
			}
			if len(tc.ids) == 0 && k != nil {
				t.Error("without keys there is a keyring")
			}
		})
	}
}

func TestAKeyringIsNotPrinted(t *testing.T) {
	t.Parallel()
	k := ring(t, 'A')
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if text := fmt.Sprintf(verb, k); strings.Contains(text, "AAAA") || strings.Contains(text, "4141") || strings.Contains(text, "65 65") || !strings.Contains(text, k.IDs()[0]) {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

// What this version stores must open in later ones.
func TestStoredValuesStillOpen(t *testing.T) {
	t.Parallel()
	for stored, want := range map[string]string{
		"AHNlYWwxAIC9yrdqq/RHV30E2/zWdxbZsOm8kwKiho8/JSowr78bh4tyBS3Q3oPvAzTEMQ2PgkQCSVV9dE8YGP0bFzjZBvM=":                                 `{"a":1}`,
		"AHNlYWwxAIC9yrdqq/RHHJ/0z5qMlin8U9nc9xT7m3rHAW7lta1zfTa8V4gLLEX3SQYkQCOm2m2DBw1TnwuwiZ2CzPhDwlbyYy8Ibqu3wxIPTpxkUi9Wo99w1oQlhjM=": strings.Repeat("{}", 1000),
	} {
		value, err := base64.StdEncoding.DecodeString(stored)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ring(t, 2, 1).Open(value, "deliveries", "body", "1"); err != nil || string(got) != want {
			t.Errorf("opened %.40q, %v; want %.40q", got, err, want)
		}
	}
}

func FuzzOpen(f *testing.F) {
	k := ring(f, 1, 2)
	for _, value := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("{}"), 2000)} {
		s := sealed(f, k, value, "p")
		f.Add(s)
		f.Add(s[:len(s)-1])
		f.Add(value)
	}
	f.Add([]byte("\x00seal1\x00"))
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := k.Open(value, "another place")
		switch {
		case !seal.Sealed(value):
			if err != nil || !bytes.Equal(got, value) {
				t.Errorf("a plain value opens as %q, %v", got, err)
			}
		case err == nil:
			t.Errorf("%q opens as %q", value, got)
		case !errors.Is(err, seal.ErrCorrupt) && !errors.Is(err, seal.ErrKeyMissing):
			t.Errorf("an untyped error: %v", err)
		}
		if len(value) <= seal.MaxValue {
			s := sealed(t, k, value, "p")
			if back, err := k.Open(s, "p"); err != nil || !bytes.Equal(back, value) {
				t.Errorf("sealed and opened: %q, %v", back, err)
			}
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	k := ring(b, 1)
	body := bytes.Repeat([]byte(`{"action":"completed","workflow_run":{"id":123456}}`), 240)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := k.Seal(body, "deliveries", "body", "1"); err != nil {
			b.Fatal(err)
		}
	}
}

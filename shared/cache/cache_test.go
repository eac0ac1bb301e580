package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/mlops-bot/mlops-bot/shared/cache"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/github"
	"github.com/mlops-bot/mlops-bot/shared/seal"
	"github.com/mlops-bot/mlops-bot/test/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func closed(tb testing.TB, c *cache.Cache, err error) *cache.Cache {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

func embedded(tb testing.TB) *cache.Cache {
	tb.Helper()
	c, err := cache.Embedded()
	return closed(tb, c, err)
}

func onRedis(tb testing.TB) *cache.Cache {
	tb.Helper()
	c, err := cache.Open(servers.Redis(tb), "")
	return closed(tb, c, err)
}

// onEach runs one test on a real Redis and on the embedded one.
func onEach(t *testing.T, test func(t *testing.T, c *cache.Cache)) {
	t.Helper()
	t.Parallel()
	for name, open := range map[string]func(testing.TB) *cache.Cache{"redis": onRedis, "embedded": embedded} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err error, want domain.ErrKind) {
	t.Helper()
	if _, typed := errors.AsType[*domain.Error](err); !typed || domain.KindOf(err) != want {
		t.Errorf("error %v is %q, want %q", err, domain.KindOf(err), want)
	}
}

func get(t *testing.T, c *cache.Cache, key string) (string, bool) {
	t.Helper()
	v, found, err := c.Get(t.Context(), key)
	ok(t, err)
	return string(v), found
}

func TestValuesAreKeptAndDeleted(t *testing.T) {
	onEach(t, func(t *testing.T, c *cache.Cache) {
		ok(t, c.Ping(t.Context()))
		for name, tc := range map[string]struct{ key, value string }{
			"plain":        {"etag/1", "W/\"abc\""},
			"empty":        {"empty", ""},
			"binary":       {"binary", "\x00\xff\r\n=="},
			"long key":     {strings.Repeat("k", 5000), "a"},
			"longer key":   {strings.Repeat("k", 5001), "b"},
			"strange key":  {"a\r\nFLUSHALL\r\n", "c"},
			"largest":      {"largest", strings.Repeat("x", cache.MaxValue)},
			"looks absent": {"=", "="},
		} {
			t.Run(name, func(t *testing.T) {
				if _, found := get(t, c, tc.key); found {
					t.Error("it is there already")
				}
				ok(t, c.Set(t.Context(), tc.key, []byte(tc.value), time.Minute))
				if v, found := get(t, c, tc.key); !found || v != tc.value {
					t.Errorf("got %.30q, %v", v, found)
				}
			})
		}
		ok(t, c.Set(t.Context(), "etag/1", []byte("new"), time.Minute))
		if v, _ := get(t, c, "etag/1"); v != "new" {
			t.Errorf("got %q after it was set again", v)
		}
		ok(t, c.Delete(t.Context(), "etag/1"))
		ok(t, c.Delete(t.Context(), "never there"))
		if _, found := get(t, c, "etag/1"); found {
			t.Error("it is there after it was deleted")
		}
	})
}

var _ github.Cache = (*cache.Cache)(nil)

func keyring(t *testing.T, current byte, previous ...byte) *seal.Keyring {
	t.Helper()
	var others [][]byte
	for _, b := range previous {
		others = append(others, bytes.Repeat([]byte{b}, seal.KeySize))
	}
	k, err := seal.New(bytes.Repeat([]byte{current}, seal.KeySize), others...)
	ok(t, err)
	return k
}

func TestSealedValuesCannotBeReadOnTheServer(t *testing.T) {
	onEach(t, func(t *testing.T, c *cache.Cache) {
		sealed := c.Sealed(keyring(t, 1))
		for name, value := range map[string]string{
			"token": "ghs_0123456789", "empty": "", "answer": strings.Repeat(`{"login":"ghs_0123456789"}`, 100),
			"largest": strings.Repeat("ghs_0123456789..", cache.MaxValue/16), "noise": string(noise(cache.MaxValue)),
		} {
			ok(t, sealed.Set(t.Context(), name, []byte(value), time.Minute))
			if v, found := get(t, sealed, name); !found || v != value {
				t.Errorf("%s: got %.30q, %v", name, v, found)
			}
			if raw := cache.Raw(t, c, name); strings.Contains(raw, "ghs_") || !seal.Sealed([]byte(raw[1:])) {
				t.Errorf("%s is kept as %.60q", name, raw)
			}
			if v, found := get(t, c, name); found {
				t.Errorf("%s is there without a key, as %.30q", name, v)
			}
		}
		err := sealed.Set(t.Context(), "k", make([]byte, cache.MaxValue+1), time.Minute)
		wantKind(t, err, domain.Invalid)
		ok(t, sealed.Delete(t.Context(), "token"))
		if _, found := get(t, sealed, "token"); found {
			t.Error("it is there after it was deleted")
		}
	})
}

// Who can write to the server must not make the bot believe it.
func TestOnlyWhatItsKeysSealedForThatKeyIsThere(t *testing.T) {
	onEach(t, func(t *testing.T, c *cache.Cache) {
		old, both, later := c.Sealed(keyring(t, 1)), c.Sealed(keyring(t, 2, 1)), c.Sealed(keyring(t, 2))
		ok(t, c.Set(t.Context(), "plain", []byte("token"), time.Minute))
		if _, found := get(t, old, "plain"); found {
			t.Error("a value that nobody sealed is there")
		}
		ok(t, old.Set(t.Context(), "token/1", []byte("of 1"), time.Minute))
		cache.SetRaw(t, c, "token/2", cache.Raw(t, c, "token/1"))
		if v, found := get(t, old, "token/2"); found {
			t.Errorf("another key's value is there: %q", v)
		}
		raw := cache.Raw(t, c, "token/1")
		cache.SetRaw(t, c, "cut", raw[:len(raw)-1])
		if _, found := get(t, old, "cut"); found {
			t.Error("a cut value is there")
		}
		if v, found := get(t, both, "token/1"); !found || v != "of 1" {
			t.Errorf("with the previous key: %q, %v", v, found)
		}
		if _, found := get(t, later, "token/1"); found {
			t.Error("a value of a key that is not set is there")
		}
		err := c.Set(t.Context(), "sealed", []byte(raw[1:]), time.Minute)
		wantKind(t, err, domain.Invalid) // it would look sealed
	})
}

func noise(n int) []byte {
	b := make([]byte, n)
	for i, seed := 0, uint32(1); i < n; i++ {
		seed = seed*1664525 + 1013904223
		b[i] = byte(seed >> 24)
	}
	return b
}

func TestValuesExpire(t *testing.T) {
	onEach(t, func(t *testing.T, c *cache.Cache) {
		ok(t, c.Set(t.Context(), "short", []byte("x"), time.Millisecond))
		ok(t, c.Set(t.Context(), "long", []byte("x"), 365*24*time.Hour)) // more than MaxTTL
		for {
			if _, found := get(t, c, "short"); !found {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if _, found := get(t, c, "long"); !found {
			t.Error("the long-lived value went with the short-lived one")
		}
		if ttl := cache.TTL(t, c, "long"); ttl > cache.MaxTTL {
			t.Errorf("kept for %s, more than %s", ttl, cache.MaxTTL)
		}
	})
}

func TestWhatIsOutOfBoundsIsRefused(t *testing.T) {
	onEach(t, func(t *testing.T, c *cache.Cache) {
		err := c.Set(t.Context(), "k", make([]byte, cache.MaxValue+1), time.Minute)
		wantKind(t, err, domain.Invalid)
		if !errors.Is(err, domain.ErrTooLarge) {
			t.Error(err)
		}
		wantKind(t, c.Set(t.Context(), "k", nil, 0), domain.Invalid)
		wantKind(t, c.Set(t.Context(), "k", nil, -time.Second), domain.Invalid)
		if _, found := get(t, c, "k"); found {
			t.Error("it was stored all the same")
		}
		for _, limit := range [][2]int{{0, 1}, {1, 0}, {-1, 5}, {5, -1}} {
			allowed, _, err := c.Allow(t.Context(), "k", limit[0], limit[1])
			wantKind(t, err, domain.Invalid)
			if allowed {
				t.Errorf("%v allows", limit)
			}
		}
	})
}

// A shared server can hold what this package didn't write.
func TestForeignValuesAreNotThere(t *testing.T) {
	t.Parallel()
	url := servers.Redis(t)
	c, err := cache.Open(url, "")
	closed(t, c, err)
	opts, err := redis.ParseURL(url)
	ok(t, err)
	other := redis.NewClient(opts)
	t.Cleanup(func() { _ = other.Close() })
	for name, value := range map[string][]byte{
		"foreign": []byte("no mark"),
		"huge":    append([]byte("="), bytes.Repeat([]byte("x"), 3<<20)...),
	} {
		ok(t, other.Set(t.Context(), "mlops-bot:value:"+name, value, 0).Err())
		if v, found := get(t, c, name); found {
			t.Errorf("%s: got %d bytes", name, len(v))
		}
	}
	ok(t, other.LPush(t.Context(), "mlops-bot:limit:list", 1).Err())
	_, _, err = c.Allow(t.Context(), "list", 1, 1)
	wantKind(t, err, domain.Transient)
}

func TestAllowLetsABurstThrough(t *testing.T) {
	onEach(t, func(t *testing.T, c *cache.Cache) {
		allow := func(key string, burst int) (bool, time.Duration) {
			allowed, retry, err := c.Allow(t.Context(), key, 1, burst)
			ok(t, err)
			return allowed, retry
		}
		var got []bool
		for range 5 {
			allowed, retry := allow("a", 3)
			got = append(got, allowed)
			if allowed != (retry == 0) || retry > time.Minute {
				t.Errorf("allowed %v, retry after %s", allowed, retry)
			}
		}
		if diff := cmp.Diff([]bool{true, true, true, false, false}, got); diff != "" {
			t.Error(diff)
		}
		if allowed, _ := allow("b", 3); !allowed {
			t.Error("one key's flood keeps another one out")
		}
		// A limit that was lowered holds at once, though the bucket was larger.
		for range 2 {
			allow("c", 100)
		}
		if allowed, _ := allow("c", 1); !allowed {
			t.Error("a lowered limit lets nothing through")
		}
		if allowed, _ := allow("c", 1); allowed {
			t.Error("a lowered limit lets the old burst through")
		}
		if ttl := cache.LimitTTL(t, c, "a"); ttl <= 0 || ttl > 3*time.Minute+time.Second {
			t.Errorf("the key of a bucket of 3 minutes lives for %s", ttl)
		}
	})
}

func TestAllowGainsATokenWhenItSays(t *testing.T) {
	onEach(t, func(t *testing.T, c *cache.Cache) {
		for {
			allowed, retry, err := c.Allow(t.Context(), "k", 6000, 1) // one in 10 ms
			ok(t, err)
			if allowed {
				continue
			}
			if retry <= 0 || retry > 10*time.Millisecond {
				t.Errorf("retry after %s, want at most 10 ms", retry)
			}
			time.Sleep(retry)
			if allowed, _, err := c.Allow(t.Context(), "k", 6000, 1); err != nil || !allowed {
				t.Errorf("after that time: %v, %v", allowed, err)
			}
			return
		}
	})
}

func TestAllowIsAtomic(t *testing.T) {
	onEach(t, func(t *testing.T, c *cache.Cache) {
		const callers, calls, burst = 16, 10, 37
		var allowed atomic.Int32
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range calls {
					yes, _, err := c.Allow(t.Context(), "k", 1, burst)
					if err != nil {
						t.Error(err)
					}
					if yes {
						allowed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if n := allowed.Load(); n != burst {
			t.Errorf("%d of %d calls were allowed, want %d", n, callers*calls, burst)
		}
	})
}

func TestTroubleIsTransient(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	nobody := l.Addr().String()
	ok(t, l.Close())
	// A server that takes connections and says nothing.
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	t.Cleanup(func() { _ = mute.Close() })
	gone, err := cache.Embedded()
	ok(t, err)
	ok(t, gone.Close())
	ok(t, gone.Close()) // again is no error
	down, err := cache.Open("redis://:hunter2@"+nobody, "")
	closed(t, down, err)
	silent, err := cache.Open("redis://"+mute.Addr().String(), "")
	closed(t, silent, err)

	for name, tc := range map[string]struct {
		patience time.Duration
		c        *cache.Cache
	}{
		"nobody there": {time.Minute, down},
		"no answer":    {20 * time.Millisecond, silent},
		"closed":       {time.Minute, gone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := func() context.Context {
				ctx, cancel := context.WithTimeout(t.Context(), tc.patience)
				t.Cleanup(cancel)
				return ctx
			}
			_, found, err := tc.c.Get(ctx(), "k")
			wantKind(t, err, domain.Transient)
			if found || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("found %v, error %v", found, err)
			}
			wantKind(t, tc.c.Set(ctx(), "k", []byte("v"), time.Minute), domain.Transient)
			wantKind(t, tc.c.Delete(ctx(), "k"), domain.Transient)
			wantKind(t, tc.c.Ping(ctx()), domain.Transient)
			allowed, _, err := tc.c.Allow(ctx(), "k", 1, 1)
			wantKind(t, err, domain.Transient)
			if allowed {
				t.Error("allowed without an answer")
			}
		})
	}
}

func TestOpenRefusesOtherURLs(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "http://:hunter2@host", "redis://:hunter2@host:port", "redis://:hunter2@host/notanumber"} {
		_, err := cache.Open(url, "")
		wantKind(t, err, domain.Invalid)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: error %v is missing or shows the password", url, err)
		}
	}
}

func TestOpenRefusesABadCAFile(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "ca.crt")
	ok(t, os.WriteFile(empty, []byte("no certificate"), 0o600))
	for url, file := range map[string]string{"rediss://host": "/nowhere/ca.crt", "rediss://other": empty, "redis://plain": empty} {
		_, err := cache.Open(url, file)
		wantKind(t, err, domain.Invalid)
	}
}

func TestTheEmbeddedServerIsBounded(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	value := make([]byte, cache.MaxValue)
	const values = 64 + 8
	for i := range values {
		ok(t, c.Set(t.Context(), fmt.Sprint(i), value, time.Hour))
	}
	kept := 0
	for i := range values {
		if _, found := get(t, c, fmt.Sprint(i)); found {
			kept++
		}
	}
	if kept == 0 || kept > 64 {
		t.Errorf("%d MiB of %d are kept, want at most 64", kept, values)
	}
}

func BenchmarkAllow(b *testing.B) {
	for name, open := range map[string]func(testing.TB) *cache.Cache{"redis": onRedis, "embedded": embedded} {
		b.Run(name, func(b *testing.B) {
			c := open(b)
			for b.Loop() {
				if _, _, err := c.Allow(b.Context(), "k", 60, 10); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func FuzzKeys(f *testing.F) {
	for _, key := range []string{"", "a", "a:b", "\x00\xff\r\n", strings.Repeat("k", 201)} {
		f.Add(key)
	}
	c := embedded(f)
	f.Fuzz(func(t *testing.T, key string) {
		ok(t, c.Set(t.Context(), key, []byte(key[:min(len(key), 10)]), time.Minute))
		if v, found := get(t, c, key); !found || v != key[:min(len(key), 10)] {
			t.Errorf("%q holds %q, %v", key, v, found)
		}
	})
}

// Package cache is the bot's Redis: rate limits, HTTP answers and tokens, and
// nothing that may not vanish at any moment. What must be kept belongs to the
// store.
//
// Every error of the server is a *domain.Error of the kind Transient: callers go
// on without the cache. Embedded is the same thing within the process, for one
// machine without a Redis.
package cache

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/seal"
)

const (
	// MaxValue bounds a cached value in bytes.
	MaxValue = 1 << 20
	// MaxTTL bounds how long a value is kept.
	MaxTTL = 24 * time.Hour

	// callTimeout bounds a call. What a cache saves is less than that.
	callTimeout = 2 * time.Second
	// maxKey is the length up to which a key is kept readable.
	maxKey = 200

	// What the embedded server holds before it forgets everything.
	maxEmbeddedBytes = 64 << 20
	maxEmbeddedKeys  = 100_000
)

// Cache is a connection to a Redis. It is safe for concurrent use.
type Cache struct {
	client   *redis.Client
	embedded *embedded // nil for a server of its own
	sealer   *seal.Keyring
}

// Open makes a Cache of a Redis' URL, redis://user:password@host:port/number or
// rediss:// for TLS; caFile names a file (PEM) with the CAs that the server's
// certificate is checked with, "" for the system's. It doesn't connect: a Redis
// that is down is no reason not to start. The error is Invalid, and never shows
// the URL, which may hold a password.
func Open(url, caFile string) (*Cache, error) {
	const op = "open the cache"
	opts, err := redis.ParseURL(url)
	if err != nil {
		return nil, domain.Errorf(domain.Invalid, op, "the URL is not one of redis://host:port/number, rediss://… or unix://…")
	}
	if caFile != "" {
		if opts.TLSConfig == nil {
			return nil, domain.Errorf(domain.Invalid, op, "a CA file is set, but the URL doesn't begin with rediss://")
		}
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, domain.Errorf(domain.Invalid, op, "read the CA file: %w", err)
		}
		opts.TLSConfig.RootCAs = x509.NewCertPool()
		if !opts.TLSConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, domain.Errorf(domain.Invalid, op, "the CA file %s holds no certificate", caFile)
		}
	}
	return &Cache{client: redis.NewClient(bounded(opts))}, nil
}

func bounded(opts *redis.Options) *redis.Options {
	opts.DialTimeout = time.Second
	opts.ReadTimeout = time.Second
	opts.WriteTimeout = time.Second
	opts.PoolTimeout = time.Second
	opts.MaxRetries = 1
	opts.ContextTimeoutEnabled = true
	// Without CLIENT SETINFO and the handshake of version 3, which older servers
	// don't know.
	opts.DisableIdentity = true
	opts.Protocol = 2
	return opts
}

// Embedded starts a Redis within the process, on a loopback port. It forgets
// everything when it holds more than 64 MiB or 100,000 keys, and its keys
// expire up to a quarter of a second late.
func Embedded() (*Cache, error) {
	server, err := miniredis.Run()
	if err != nil {
		return nil, domain.Errorf(domain.Transient, "start the embedded cache", "%w", err)
	}
	ctx, stop := context.WithCancel(context.Background()) // until Close
	c := &Cache{
		client:   redis.NewClient(bounded(&redis.Options{Addr: server.Addr()})),
		embedded: &embedded{server: server, stop: stop},
	}
	c.embedded.done.Go(func() { c.embedded.run(ctx, c.client) })
	return c, nil
}

// Close ends all connections, and the embedded server.
func (c *Cache) Close() error {
	if c.embedded != nil {
		c.embedded.close()
	}
	err := c.client.Close()
	if err != nil && !errors.Is(err, redis.ErrClosed) {
		return domain.Errorf(domain.Transient, "close the cache", "%w", err)
	}
	return nil
}

// Sealed returns the same cache with values encrypted, so that the tokens and
// answers in it are of no use to who can read the server. What it gets it also
// believes: a value that isn't sealed by one of the keys for that very key is not
// there. A key that was rotated away costs what was cached, no more. With nil keys
// values are kept as they are. Close the one or the other, not both.
func (c *Cache) Sealed(keys *seal.Keyring) *Cache {
	return &Cache{client: c.client, embedded: c.embedded, sealer: keys}
}

// Ping asks whether the server answers.
func (c *Cache) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return failed("reach the cache", c.client.Ping(ctx).Err())
}

// present begins every stored value: an absent key and an empty value look the
// same to GETRANGE.
const present = "="

// Get returns a value, and false where there is none (any more).
func (c *Cache) Get(ctx context.Context, key string) (value []byte, ok bool, err error) {
	const op = "read from the cache"
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// A range, since whatever else writes to a shared server is not bounded by us.
	stored, err := c.client.GetRange(ctx, name("value", key), 0, int64(len(present)+MaxValue+seal.Overhead)).Bytes()
	if err != nil {
		return nil, false, failed(op, err)
	}
	if len(stored) == 0 || string(stored[:1]) != present || seal.Sealed(stored[1:]) != (c.sealer != nil) {
		return nil, false, nil
	}
	if value, err = c.sealer.Open(stored[1:], place(key)...); err != nil || len(value) > MaxValue {
		return nil, false, nil // damaged, or of a key that is no more: it may as well have vanished
	}
	return value, true, nil
}

// place binds a sealed value to its key, so that one can't be put in another's
// stead.
func place(key string) []string { return []string{"cache", "value", key} }

// Set keeps a value for a while, MaxTTL at most. The error is Invalid for a value
// that is larger than MaxValue and for a ttl that is not positive.
func (c *Cache) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	const op = "write to the cache"
	if len(value) > MaxValue {
		return domain.Errorf(domain.Invalid, op, "the value has %d bytes, more than %d: %w", len(value), MaxValue, domain.ErrTooLarge)
	}
	if ttl < time.Millisecond {
		return domain.Errorf(domain.Invalid, op, "a value must live for a millisecond at least, not for %s", ttl)
	}
	value, err := c.sealer.Seal(value, place(key)...)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if c.embedded != nil {
		c.embedded.add(len(key) + len(value))
	}
	return failed(op, c.client.Set(ctx, name("value", key), present+string(value), min(ttl, MaxTTL)).Err())
}

// Delete forgets a value.
func (c *Cache) Delete(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return failed("delete from the cache", c.client.Del(ctx, name("value", key)).Err())
}

// bucket is a token bucket, kept as the time it has saved up: a token costs
// per_token microseconds, and the bucket holds full of them. Time is the
// server's, so that the clocks of pods don't matter. The script answers how many
// microseconds there are until the next token, 0 meaning that one was taken. The
// key lives until the bucket is full again, when no key means the same.
var bucket = redis.NewScript(`
local per_token = tonumber(ARGV[1])
local full = per_token * tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local state = redis.call('HMGET', KEYS[1], 'saved', 'at')
local saved = math.min(tonumber(state[1]) or full, full)
local at = tonumber(state[2]) or now
if now > at then
  saved = math.min(full, saved + now - at)
  at = now
end
local wait = 0
if saved >= per_token then
  saved = saved - per_token
else
  wait = per_token - saved
end
redis.call('HSET', KEYS[1], 'saved', string.format('%.0f', saved), 'at', string.format('%.0f', at))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((full - saved) / 1000) + 1))
return wait
`)

// maxBurst keeps the script's numbers exact.
const maxBurst = 1_000_000

// Allow takes a token from a key's bucket, which holds burst of them (a million
// at most) and gains perMinute a minute. Where there is none it reports false and
// when there will be one. The error is Invalid for a limit that lets nothing
// through.
func (c *Cache) Allow(ctx context.Context, key string, perMinute, burst int) (allowed bool, retryAfter time.Duration, err error) {
	const op = "check the rate limit"
	if perMinute < 1 || burst < 1 {
		return false, 0, domain.Errorf(domain.Invalid, op, "%d a minute with a burst of %d lets nothing through", perMinute, burst)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	perToken := max(time.Minute.Microseconds()/int64(perMinute), 1)
	wait, err := bucket.Run(ctx, c.client, []string{name("limit", key)}, perToken, min(burst, maxBurst)).Int64()
	if err != nil {
		return false, 0, failed(op, err)
	}
	return wait == 0, time.Duration(wait) * time.Microsecond, nil
}

// name is a key as the server has it. Keys can come from strangers: a long one
// is hashed.
func name(kind, key string) string {
	if len(key) > maxKey {
		sum := sha256.Sum256([]byte(key))
		key = "sha256:" + hex.EncodeToString(sum[:])
	}
	return fmt.Sprintf("mlops-bot:%s:%s", kind, key)
}

func failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return domain.Errorf(domain.Transient, op, "%w", err)
}

// embedded is the server of Embedded. It was made for tests, so that its time
// stands still and nothing bounds it; run does what a Redis does by itself.
type embedded struct {
	server *miniredis.Miniredis
	bytes  atomic.Int64 // that were set since everything was forgotten
	stop   context.CancelFunc
	done   sync.WaitGroup
}

func (e *embedded) add(n int) {
	if e.bytes.Add(int64(n)) > maxEmbeddedBytes {
		e.forget()
	}
}

func (e *embedded) forget() {
	e.bytes.Store(0)
	e.server.FlushAll()
}

// embeddedTick is how late a key of the embedded server may expire.
const embeddedTick = 250 * time.Millisecond

func (e *embedded) run(ctx context.Context, client *redis.Client) {
	ticker := time.NewTicker(embeddedTick)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			e.server.FastForward(now.Sub(last))
			last = now
			// Every caller has a key for its rate, and strangers make callers up.
			if n, err := client.DBSize(ctx).Result(); err == nil && n > maxEmbeddedKeys {
				e.forget()
			}
		}
	}
}

func (e *embedded) close() {
	e.stop()
	e.done.Wait()
	e.server.Close()
}

package cache

import (
	"testing"
	"time"
)

// TTL returns how long a value will be kept.
func TTL(t *testing.T, c *Cache, key string) time.Duration {
	t.Helper()
	return ttl(t, c, name("value", key))
}

// LimitTTL returns how long a rate limit's bucket will be kept.
func LimitTTL(t *testing.T, c *Cache, key string) time.Duration {
	t.Helper()
	return ttl(t, c, name("limit", key))
}

// Raw returns a value as the server has it.
func Raw(t *testing.T, c *Cache, key string) string {
	t.Helper()
	raw, err := c.client.Get(t.Context(), name("value", key)).Result()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// SetRaw makes the server have a value.
func SetRaw(t *testing.T, c *Cache, key, raw string) {
	t.Helper()
	if err := c.client.Set(t.Context(), name("value", key), raw, time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
}

func ttl(t *testing.T, c *Cache, key string) time.Duration {
	t.Helper()
	d, err := c.client.PTTL(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

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

func ttl(t *testing.T, c *Cache, key string) time.Duration {
	t.Helper()
	d, err := c.client.PTTL(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

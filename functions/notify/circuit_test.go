package notify

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// network answers for hosts without a server.
type network func(*http.Request) (int, error)

func (f network) RoundTrip(r *http.Request) (*http.Response, error) {
	status, err := f(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

// TestOutageOfAChannel: a host that is down is left alone for a while, and the
// other channels don't notice.
func TestOutageOfAChannel(t *testing.T) {
	t.Parallel()
	broken := map[string]network{
		"5xx":        func(*http.Request) (int, error) { return http.StatusServiceUnavailable, nil },
		"connection": func(*http.Request) (int, error) { return 0, errors.New("connection refused") },
		"time-out":   func(r *http.Request) (int, error) { <-r.Context().Done(); return 0, r.Context().Err() },
	}
	for name, fail := range broken {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				down, asked := true, 0
				client := NewClient(ClientSettings{})
				client.http.Transport = network(func(r *http.Request) (int, error) {
					if r.URL.Host != "hooks.example.com" {
						return http.StatusOK, nil
					}
					if asked++; down {
						return fail(r)
					}
					return http.StatusOK, nil
				})
				channels, err := NewChannels([]Settings{
					{Provider: "slack", URL: "https://hooks.example.com" + secretPath},
					{Provider: "webhook", URL: "https://other.example.com" + secretPath, Secret: signSecret},
				}, Tools{Client: client})
				if err != nil {
					t.Fatal(err)
				}
				m := message(stories()["verified"])
				notify := func(c Channel) error { _, _, err := c.Notify(t.Context(), m, "key-1"); return err }
				for i := range outageAfter {
					if err := notify(channels[0]); domain.KindOf(err) != domain.Transient {
						t.Fatalf("send %d: %v", i, err)
					}
				}
				for range 2 {
					err := notify(channels[0])
					at, ok := domain.RetryAt(err)
					if domain.KindOf(err) != domain.RateLimited || !ok || time.Until(at) != outagePause || asked != outageAfter {
						t.Errorf("after %d sends: %v, again at %s", asked, err, at)
					}
					noSecret(t, err)
				}
				if err := notify(channels[1]); err != nil {
					t.Errorf("another channel: %v", err)
				}
				// One tries after the pause, in vain; then one succeeds.
				time.Sleep(outagePause + time.Millisecond)
				if err := notify(channels[0]); domain.KindOf(err) != domain.Transient {
					t.Error(err)
				}
				if err := notify(channels[0]); domain.KindOf(err) != domain.RateLimited || asked != outageAfter+1 {
					t.Errorf("after %d sends: %v", asked, err)
				}
				down = false
				time.Sleep(outagePause + time.Millisecond)
				for range 2 {
					if err := notify(channels[0]); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// TestNoOutageOfAChannel: refusals, limits and callers who leave say nothing
// about the host.
func TestNoOutageOfAChannel(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"400": 400, "403": 403, "404": 404, "429": 429, "the caller leaves": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				client := NewClient(ClientSettings{})
				client.http.Transport = network(func(r *http.Request) (int, error) {
					if asked++; status == 0 {
						<-r.Context().Done()
						return 0, r.Context().Err()
					}
					return status, nil
				})
				channels, err := NewChannels([]Settings{{Provider: "slack", URL: "https://hooks.example.com" + secretPath}}, Tools{Client: client})
				if err != nil {
					t.Fatal(err)
				}
				for range 2 * outageAfter {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					if _, _, err := channels[0].Notify(ctx, message(stories()["verified"]), "key-1"); err == nil {
						t.Error("no error")
					}
					cancel()
				}
				if asked != 2*outageAfter {
					t.Errorf("%d sends", asked)
				}
			})
		})
	}
}

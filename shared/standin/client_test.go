package standin

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"))
}

const (
	org  = "octo-labs"
	full = org + "/trainer"
	repo = "repos/" + full
)

// server starts a stand-in that is closed with the test.
func server(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// unlimited are limits that don't come into a test's way.
func unlimited() Limits {
	return Limits{PerHour: -1, MutationsPerMinute: -1, ConcurrentMutations: -1}
}

// claims make a JWT of the App's.
func (s *Server) jwt(t *testing.T, claims obj) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(obj{"alg": "RS256", "typ": "JWT"}) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func (s *Server) goodJWT(t *testing.T) string {
	t.Helper()
	now := s.now()
	return s.jwt(t, obj{"iss": fmt.Sprint(s.AppID()), "iat": now.Add(-30 * time.Second).Unix(), "exp": now.Add(5 * time.Minute).Unix()})
}

// client talks to a stand-in with one credential.
type client struct {
	t     *testing.T
	base  string
	token string
}

type reply struct {
	status int
	header http.Header
	body   []byte
}

func (s *Server) client(t *testing.T, token string) client {
	t.Helper()
	return client{t, s.URL(), token}
}

// token mints a token that is narrowed as in says; nil asks for all.
func (s *Server) token(t *testing.T, installation int64, in obj) client {
	t.Helper()
	a := s.client(t, s.goodJWT(t)).do("POST", fmt.Sprintf("app/installations/%d/access_tokens", installation), in)
	if a.status != http.StatusCreated {
		t.Fatalf("no token: %d %s", a.status, a.body)
	}
	return s.client(t, a.str("token"))
}

var direct = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// do makes a request of a path below the API's root, or of a whole URL.
func (c client) do(method, path string, body any, headers ...string) reply {
	c.t.Helper()
	a, err := c.try(method, path, body, headers...)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

func (c client) try(method, path string, body any, headers ...string) (reply, error) {
	var content io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(body)
	default:
		b, err := json.Marshal(body)
		if err != nil {
			return reply{}, err
		}
		content = bytes.NewReader(b)
	}
	if !strings.HasPrefix(path, "http") {
		path = c.base + path
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, path, content)
	if err != nil {
		return reply{}, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := direct.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, b}, err
}

// want does a request whose status must be this one.
func (c client) want(status int, method, path string, body any, headers ...string) reply {
	c.t.Helper()
	a := c.do(method, path, body, headers...)
	if a.status != status {
		c.t.Fatalf("%s %s: %d %s, want %d", method, path, a.status, a.body, status)
	}
	return a
}

// at is what is at a path of keys and list indexes, "workflow_runs.0.id".
func (a reply) at(path string) any {
	var v any
	if json.Unmarshal(a.body, &v) != nil {
		return nil
	}
	for key := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[key]
		case []any:
			var i int
			if _, err := fmt.Sscan(key, &i); err != nil || i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

func (a reply) str(path string) string {
	s, _ := a.at(path).(string)
	return s
}

func (a reply) num(path string) int64 {
	n, _ := a.at(path).(float64)
	return int64(n)
}

func (s *Server) idleFor(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Idle(ctx); err != nil {
		t.Fatal(err)
	}
}

package github

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

const logPath = "GET /repos/octo/train/actions/jobs/5/logs"

// TestJobLogGoesWithoutTheToken: the log's host sees neither the token nor where
// the request came from.
func TestJobLogGoesWithoutTheToken(t *testing.T) {
	t.Parallel()
	headers := make(chan http.Header, 2)
	hop := 0
	blob := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers <- r.Header.Clone()
		if hop++; hop == 1 {
			http.Redirect(w, r, "/second?sig=s3cret", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, "2026-11-05T12:00:00.0000000Z hello\n")
	}))
	defer blob.Close()
	a := newAPI(t, map[string]http.HandlerFunc{logPath: answer(302, "", "Location", blob.URL+"/log?sig=s3cret")})
	log, err := a.client(t).JobLog(t.Context(), testRepo, 5)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(log)
	if err != nil || string(b) != "2026-11-05T12:00:00.0000000Z hello\n" {
		t.Errorf("%q %v", b, err)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		h := <-headers
		if h.Get("Authorization") != "" || h.Get("Referer") != "" || strings.Contains(fmt.Sprint(h), theToken) {
			t.Errorf("the log's host was told %v", h)
		}
	}
}

func TestJobLogOutcomes(t *testing.T) {
	t.Parallel()
	blob := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/404":
			w.WriteHeader(http.StatusNotFound)
		case "/410":
			w.WriteHeader(http.StatusGone)
		case "/403":
			w.WriteHeader(http.StatusForbidden)
		case "/abroad":
			http.Redirect(w, r, "https://evil.example/", http.StatusFound)
		case "/circle":
			http.Redirect(w, r, "/circle", http.StatusFound)
		case "/long":
			_, _ = io.WriteString(w, strings.Repeat("x", 101))
		case "/cut":
			w.Header().Set("Content-Length", "50")
			_, _ = io.WriteString(w, "half")
		case "/slow":
			_, _ = io.WriteString(w, "begins")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	}))
	t.Cleanup(blob.Close)
	to := func(u string) http.HandlerFunc { return answer(302, "", "Location", u) }
	cases := map[string]struct {
		answer http.HandlerFunc
		kind   domain.ErrKind
		is     error
		calls  int
	}{
		"not there yet":         {answer(404, `{"message":"Not Found"}`), domain.Transient, domain.ErrNotFound, 1},
		"expired":               {answer(410, `{"message":"Gone"}`), domain.Invalid, domain.ErrGone, 1},
		"permission":            {answer(403, `{"message":"Resource not accessible by integration"}`), domain.Denied, nil, 1},
		"limit":                 {answer(429, ``), domain.RateLimited, nil, 1},
		"500":                   {answer(500, ``), domain.Transient, nil, 3},
		"streamed by the API":   {answer(200, "hello"), "", nil, 1},
		"blob not there yet":    {to(blob.URL + "/404"), domain.Transient, domain.ErrNotFound, 1},
		"blob expired":          {to(blob.URL + "/410"), domain.Invalid, domain.ErrGone, 1},
		"address expired":       {to(blob.URL + "/403"), domain.Transient, nil, 3},
		"evil host":             {to("https://evil.example/log?sig=s3cret"), domain.Denied, nil, 1},
		"metadata service":      {to("http://169.254.169.254/latest/"), domain.Denied, nil, 1},
		"clear text":            {to("http://productionresultssa1.blob.core.windows.net/x"), domain.Denied, nil, 1},
		"a stranger's account":  {to("https://mallory.blob.core.windows.net/x"), domain.Denied, nil, 1},
		"another port":          {to("https://productionresultssa1.blob.core.windows.net:8443/x"), domain.Denied, nil, 1},
		"credentials in it":     {to("https://a:b@productionresultssa1.blob.core.windows.net/x"), domain.Denied, nil, 1},
		"a file":                {to("file:///etc/passwd"), domain.Denied, nil, 1},
		"abroad on the 2nd hop": {to(blob.URL + "/abroad"), domain.Denied, nil, 1},
		"circle":                {to(blob.URL + "/circle"), domain.Transient, nil, 3},
		"no address":            {answer(302, ""), domain.Transient, nil, 3},
		"too long":              {to(blob.URL + "/long"), domain.Unsupported, domain.ErrTooLarge, 1},
		"too long from the API": {answer(200, strings.Repeat("x", 101)), domain.Unsupported, domain.ErrTooLarge, 1},
		"cut off":               {to(blob.URL + "/cut"), domain.Transient, nil, 1},
		"never ends":            {to(blob.URL + "/slow"), domain.Transient, nil, 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, map[string]http.HandlerFunc{logPath: tc.answer})
			log, err := a.client(t, func(c *Config) {
				c.MaxLogBytes = 100
				if name == "never ends" {
					c.LogTimeout = 50 * time.Millisecond
				}
			}).JobLog(t.Context(), testRepo, 5)
			if err == nil {
				var b []byte
				b, err = io.ReadAll(log)
				if len(b) > 100 {
					t.Errorf("%d bytes came through", len(b))
				}
				_ = log.Close()
			}
			if domain.KindOf(err) != tc.kind || tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("got %s: %v", domain.KindOf(err), err)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error leaks the address: %v", err)
			}
			if n := len(a.requests()); n != tc.calls {
				t.Errorf("%d calls, want %d", n, tc.calls)
			}
		})
	}
}

func TestHostMatches(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		pattern, host string
		want          bool
	}{
		"same":               {"logs.example.com", "LOGS.example.com", true},
		"other":              {"logs.example.com", "logs.example.com.evil.org", false},
		"part of a label":    {"productionresultssa*.blob.core.windows.net", "productionresultssa12.blob.core.windows.net", true},
		"empty part":         {"productionresultssa*.blob.core.windows.net", "productionresultssa.blob.core.windows.net", false},
		"a label":            {"*.actions.githubusercontent.com", "pipelines.actions.githubusercontent.com", true},
		"two labels":         {"*.actions.githubusercontent.com", "a.b.actions.githubusercontent.com", false},
		"the domain itself":  {"*.actions.githubusercontent.com", "actions.githubusercontent.com", false},
		"suffix without dot": {"*.example.com", "evilexample.com", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := hostMatches(tc.pattern, tc.host); got != tc.want {
				t.Errorf("%s against %s: %v", tc.host, tc.pattern, got)
			}
		})
	}
}

package github

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	gh "github.com/google/go-github/v62/github"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// defaultLogHosts are where GitHub keeps logs. Anybody can have a name under
// blob.core.windows.net, so only GitHub's own accounts are listed.
func defaultLogHosts() []string {
	return []string{"productionresultssa*.blob.core.windows.net", "*.actions.githubusercontent.com"}
}

// JobLog returns a job's log as GitHub stored it, as a stream that the caller
// closes. GitHub redirects to a signed address: it is followed without the token,
// to allowed hosts only. Reading ends with an error (Unsupported, ErrTooLarge)
// after Config.MaxLogBytes, and with a Transient one after Config.LogTimeout.
//
// An error that wraps ErrNotFound is Transient: logs lag behind the webhook, so
// the caller asks again later. One that wraps ErrGone and is Invalid says that
// the log has expired.
func (c *Client) JobLog(ctx context.Context, repo domain.Repo, jobID int64) (io.ReadCloser, error) {
	k := on("read the job's log", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.LogTimeout)
	body, err := retry(ctx, c, k, func() (body io.ReadCloser, err error) {
		err = c.authorized(k, func(api *gh.Client) (err error) {
			body, err = c.openLog(ctx, k, api, repoPath(repo, "actions", "jobs", strconv.FormatInt(jobID, 10), "logs"))
			return err
		})
		if err != nil {
			return nil, c.fail(k, err)
		}
		return body, nil
	})
	if err != nil {
		cancel()
		return nil, err
	}
	return &logStream{boundedBody: boundedBody{body: body, left: c.cfg.MaxLogBytes}, cancel: cancel, fail: func(err error) error { return c.fail(k, err) }}, nil
}

// openLog gets to the first byte of a log within the time-out of two calls. Its
// context ends with the returned body.
func (c *Client) openLog(ctx context.Context, k call, api *gh.Client, path string) (_ io.ReadCloser, err error) {
	caller := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	slow := time.AfterFunc(2*c.cfg.Timeout, func() { cancel(context.DeadlineExceeded) })
	defer func() {
		if !slow.Stop() && err != nil {
			err = context.DeadlineExceeded
		}
		if err != nil {
			cancel(nil)
		}
	}()
	req, err := api.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	var resp *gh.Response
	err = c.attempt(caller, k, func() (err error) {
		// The bound of the log itself is logStream's.
		resp, err = api.BareDo(withBodyLimit(ctx, c.cfg.MaxLogBytes+1), req)
		return err
	})
	if err == nil { // some servers don't redirect
		return &canceledBody{resp.Body, cancel}, nil
	}
	if resp == nil || resp.Response == nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect:
	case http.StatusNotFound:
		return nil, domain.Errorf(domain.Transient, k.op, "GitHub has no log yet: %w", domain.ErrNotFound)
	default:
		return nil, err
	}
	next, err := req.URL.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" {
		return nil, domain.Errorf(domain.Transient, k.op, "GitHub redirects to something that is no URL")
	}
	body, err := c.download(ctx, k, next)
	if err != nil {
		return nil, err
	}
	return &canceledBody{body, cancel}, nil
}

// download fetches a signed address. It is given nothing but the address: no
// token, no header that says where it came from.
func (c *Client) download(ctx context.Context, k call, u *url.URL) (io.ReadCloser, error) {
	if err := c.checkLogURL(k, u); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, domain.Errorf(domain.Transient, k.op, "GitHub redirects to something that is no URL")
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	web := &http.Client{Transport: c.base, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return domain.Errorf(domain.Transient, k.op, "the log's host redirects in circles")
		}
		next.Header.Del("Referer")
		return c.checkLogURL(k, next.URL)
	}}
	resp, err := web.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	_ = resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotFound:
		return nil, domain.Errorf(domain.Transient, k.op, "the log's host doesn't have it yet: %w", domain.ErrNotFound)
	case http.StatusGone:
		return nil, domain.Errorf(domain.Invalid, k.op, "the log has expired: %w", domain.ErrGone)
	}
	// A 403 is an address that has expired: the next try gets a new one.
	return nil, domain.Errorf(domain.Transient, k.op, "the log's host answered %d", resp.StatusCode)
}

// checkLogURL refuses to be sent elsewhere than where logs are kept: https at an
// allowed host, the API's own origin (its host where AllowInsecureHTTP is set), or
// loopback when the API is there too.
func (c *Client) checkLogURL(k call, u *url.URL) error {
	switch {
	case u.User != nil:
	case sameOrigin(u, c.api):
		return nil
	case loopback(u.Hostname()) && loopback(c.api.Hostname()) && (u.Scheme == "http" || u.Scheme == "https"):
		return nil
	case c.cfg.AllowInsecureHTTP && u.Scheme == "http" && u.Hostname() == c.api.Hostname():
		return nil // an instance made for tests
	case u.Scheme == "https" && (u.Port() == "" || u.Port() == "443"):
		for _, pattern := range c.logHosts {
			if hostMatches(pattern, u.Hostname()) {
				return nil
			}
		}
	}
	return domain.Errorf(domain.Denied, k.op, "GitHub redirects to %s, which is no allowed host for logs", clean(u.Scheme+"://"+u.Host))
}

// hostMatches compares a host with a pattern whose one * stands for characters
// within a label.
func hostMatches(pattern, host string) bool {
	pattern, host = strings.ToLower(pattern), strings.ToLower(host)
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == host
	}
	if len(host) <= len(before)+len(after) || !strings.HasPrefix(host, before) || !strings.HasSuffix(host, after) {
		return false
	}
	return !strings.Contains(host[len(before):len(host)-len(after)], ".")
}

// canceledBody ends its request's context when it is closed.
type canceledBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (b *canceledBody) Close() error {
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// logStream is a bounded log whose errors are typed.
type logStream struct {
	boundedBody
	cancel context.CancelFunc
	fail   func(error) error
}

func (s *logStream) Read(p []byte) (int, error) {
	n, err := s.boundedBody.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = s.fail(err)
	}
	return n, err
}

func (s *logStream) Close() error {
	err := s.boundedBody.Close()
	s.cancel()
	return err
}

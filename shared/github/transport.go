package github

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// maxRedirects is how many renames in a row are followed.
const maxRedirects = 3

// guard stands between authentication and the network. It lets a request that
// carries a token go to the API's own address only, follows GitHub's redirects
// for renamed repositories there with method and body as they were (net/http
// would turn a redirected POST into a GET), bounds every answer, and reports the
// rate limit.
type guard struct {
	base         http.RoundTripper
	api, graphql *url.URL
	userAgent    string
	limits       *limitReporter
	installation int64 // whose limit the requests count against
}

var _ http.RoundTripper = (*guard)(nil)

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	req = req.Clone(ctx) // a RoundTripper leaves the caller's request alone
	req.Header.Set("User-Agent", g.userAgent)
	for hops := 0; ; hops++ {
		if !g.owns(req.URL) {
			if req.Body != nil {
				_ = req.Body.Close()
			}
			return nil, domain.Errorf(domain.Denied, "send a token", "%s is not the API's address", req.URL.Host)
		}
		resp, err := g.base.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		g.report(req, resp)
		next, ok := g.renamed(req, resp)
		if !ok || hops == maxRedirects {
			resp.Body = &boundedBody{body: resp.Body, left: bodyLimit(ctx)}
			return resp, nil
		}
		_, _ = io.CopyN(io.Discard, resp.Body, 4096) // so that the connection is used again
		_ = resp.Body.Close()
		follow := req.Clone(ctx)
		follow.URL, follow.Host = next, ""
		if req.GetBody != nil {
			if follow.Body, err = req.GetBody(); err != nil {
				return nil, fmt.Errorf("send the body again after a redirect: %w", err)
			}
		}
		req = follow
	}
}

// report passes on what is left of the rate limit. Tokens are minted on the App's
// own account.
func (g *guard) report(req *http.Request, resp *http.Response) {
	of := g.installation
	if strings.HasSuffix(req.URL.Path, "/access_tokens") {
		of = 0
	}
	g.limits.report(of, resp.Header)
}

// renamed returns where resp says that the resource is now, when a token may
// follow it there. A 302 is none: GitHub answers it for downloads.
func (g *guard) renamed(req *http.Request, resp *http.Response) (*url.URL, bool) {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, false
	}
	if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return nil, false
	}
	next, err := req.URL.Parse(resp.Header.Get("Location"))
	if err != nil || !g.owns(next) {
		return nil, false
	}
	return next, true
}

// owns reports whether u is part of the API, so that a token may go there.
func (g *guard) owns(u *url.URL) bool {
	if u.User != nil {
		return false
	}
	if sameOrigin(u, g.graphql) && u.Path == g.graphql.Path {
		return true
	}
	return sameOrigin(u, g.api) && strings.HasPrefix(path.Clean(u.Path)+"/", g.api.Path)
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Host, b.Host)
}

type bodyLimitKey struct{}

// withBodyLimit lets the answers to ctx's requests be longer than an answer in
// JSON may be.
func withBodyLimit(ctx context.Context, n int64) context.Context {
	return context.WithValue(ctx, bodyLimitKey{}, n)
}

func bodyLimit(ctx context.Context) int64 {
	if n, ok := ctx.Value(bodyLimitKey{}).(int64); ok {
		return n
	}
	return maxBody
}

// boundedBody fails, rather than ends, when there is more than left: what was cut
// must not pass for the whole.
type boundedBody struct {
	body io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.body.Read(p)
	if int64(n) > b.left {
		n, err = int(b.left), domain.Errorf(domain.Unsupported, "read the answer", "%w", domain.ErrTooLarge)
	}
	b.left -= int64(n)
	return n, err
}

func (b *boundedBody) Close() error { return b.body.Close() }

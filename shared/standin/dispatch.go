package standin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

const maxRequest = 40 << 20 // bytes; GitHub takes blobs of this size

// call is one request on its way through the stand-in. Handlers run with the
// Server's lock held.
type call struct {
	s     *Server
	r     *http.Request
	body  []byte
	app   bool   // authenticated as the App
	token *token // authenticated as an installation
	repo  *repository
}

// actor is who acts.
func (c *call) actor() *account { return c.s.bot() }

func (c *call) int(name string) int64 {
	n, err := strconv.ParseInt(c.r.PathValue(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// decode reads the request's body into v; no body is an empty object.
func (c *call) decode(v any) (answer, bool) {
	if len(bytes.TrimSpace(c.body)) == 0 {
		return answer{}, false
	}
	var wrong *json.UnmarshalTypeError
	switch err := json.Unmarshal(c.body, v); {
	case errors.As(err, &wrong):
		return refuse(http.StatusUnprocessableEntity, "Invalid request.\n\nFor '"+wrong.Field+"', "+wrong.Value+" is not of the right type."), true
	case err != nil:
		return refuse(http.StatusBadRequest, "Problems parsing JSON"), true
	}
	return answer{}, false
}

func mutating(method string) bool { return method != http.MethodGet && method != http.MethodHead }

// handler is the API's: faults, then identification, limits and the routes.
func (s *Server) handler() http.Handler {
	api := http.StripPrefix(s.opts.Prefix, s.router())
	return s.recorded(s.faulty(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-GitHub-Request-Id", "STAND:"+strconv.FormatInt(s.now().UnixNano(), 16))
		h.Set("X-GitHub-Media-Type", "github.v3; format=json")
		switch rest, in := strings.CutPrefix(r.URL.Path, s.opts.Prefix); {
		case strings.HasPrefix(r.URL.Path, "/stand-in/web/"):
			answer{status: http.StatusOK, raw: []byte("This page stands for GitHub's " + r.URL.Path + "\n"), kind: "text/plain; charset=utf-8"}.write(w, r)
		case !in || !strings.HasPrefix(rest, "/"):
			notFound().write(w, r)
		case r.UserAgent() == "":
			refuse(http.StatusForbidden, "Request forbidden by administrative rules. Please make sure your request has a User-Agent header.").write(w, r)
		case !acceptable(r.Header.Get("Accept")):
			refuse(http.StatusUnsupportedMediaType, "Unsupported 'Accept' header. Must accept 'application/json'.").write(w, r)
		default:
			api.ServeHTTP(w, r)
		}
	})))
}

func acceptable(accept string) bool {
	if accept == "" {
		return true
	}
	for one := range strings.SplitSeq(accept, ",") {
		kind, _, _ := strings.Cut(strings.TrimSpace(one), ";")
		if kind == "*/*" || kind == "application/*" || kind == "application/json" || strings.HasPrefix(kind, "application/vnd.github") {
			return true
		}
	}
	return false
}

func (s *Server) run(w http.ResponseWriter, r *http.Request, rt route) {
	c := &call{s: s, r: r}
	release, a, done := s.admit(c, rt, w)
	defer release()
	if !done {
		a = s.perform(c, rt)
	}
	a.write(w, r)
}

// perform reads the request and runs its handler under the lock.
func (s *Server) perform(c *call, rt route) answer {
	var err error
	if c.body, err = io.ReadAll(io.LimitReader(c.r.Body, maxRequest+1)); err != nil {
		return refuse(http.StatusBadRequest, "Problems parsing the request")
	}
	if len(c.body) > maxRequest {
		return refuse(http.StatusRequestEntityTooLarge, "The request is too large")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, refused := c.authorize(rt); refused {
		return a
	}
	a := rt.handle(c)
	if mutating(c.r.Method) && a.status < 300 && c.token != nil && len(s.mutations) < maxMutations {
		s.mutations = append(s.mutations, Mutation{
			At: s.now(), Method: c.r.Method, Path: c.r.URL.Path, Status: a.status, InstallationID: c.token.Installation.ID, Body: string(c.body),
		})
	}
	return a
}

// authorize holds the token to its repositories and permissions.
func (c *call) authorize(rt route) (answer, bool) {
	switch {
	case rt.access == asApp && !c.app:
		return unauthorized("A JSON web token could not be decoded"), true
	case rt.access == asInstallation && c.token == nil && c.app:
		return refuse(http.StatusForbidden, "Resource not accessible by integration"), true
	case rt.access == asInstallation && c.token == nil:
		return unauthorized("Requires authentication"), true
	}
	name := c.r.PathValue("owner") + "/" + c.r.PathValue("repo")
	if rt.access != asInstallation || name == "/" {
		return answer{}, false
	}
	r := c.s.find(name)
	if r == nil || !c.sees(r) && r.Private {
		return notFound(), true
	}
	if !strings.EqualFold(r.full(), name) {
		rest := strings.TrimPrefix(c.r.URL.EscapedPath(), "/repos/"+c.r.PathValue("owner")+"/"+c.r.PathValue("repo"))
		to := c.s.link("/repositories/%d%s", r.ID, rest)
		if c.r.URL.RawQuery != "" {
			to += "?" + c.r.URL.RawQuery
		}
		status := http.StatusMovedPermanently
		if mutating(c.r.Method) {
			status = http.StatusTemporaryRedirect
		}
		return redirect(status, to), true
	}
	c.repo = r
	inaccessible := refuse(http.StatusForbidden, "Resource not accessible by integration")
	inaccessible.header = http.Header{"X-Accepted-Github-Permissions": {strings.NewReplacer(":", "=", "|", "; ").Replace(rt.needs)}}
	switch {
	case c.sees(r) && !c.token.allows(rt.needs), !c.sees(r) && mutating(c.r.Method):
		return inaccessible, true
	case r.Archived && mutating(c.r.Method):
		return refuse(http.StatusForbidden, "Repository was archived so is read-only."), true
	}
	return answer{}, false
}

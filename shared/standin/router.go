package standin

import (
	"net/http"
	"net/url"
	"strings"
)

// match says whether a request is for a route, and sets its path values if so.
// The standard multiplexer refuses GitHub's overlapping paths; here the first
// route that matches is taken. The segments {id}, {number} and {attempt} are
// numbers, and {name...} is all of the rest.
func (rt route) match(r *http.Request, path []string) bool {
	method, pattern, _ := strings.Cut(rt.pattern, " ")
	if method != r.Method && (method != http.MethodGet || r.Method != http.MethodHead) {
		return false
	}
	want := strings.Split(strings.TrimPrefix(pattern, "/"), "/")
	values := map[string]string{}
	for i, w := range want {
		name, variable := strings.CutPrefix(w, "{")
		name = strings.TrimSuffix(name, "}")
		if rest, all := strings.CutSuffix(name, "..."); variable && all {
			if i > len(path) {
				return false
			}
			values[rest] = strings.Join(path[i:], "/")
			break
		}
		switch {
		case i >= len(path), !variable && path[i] != w, variable && path[i] == "":
			return false
		case variable && (name == "id" || name == "number" || name == "attempt") && strings.Trim(path[i], "0123456789") != "":
			return false
		case variable:
			values[name] = path[i]
		}
		if i == len(want)-1 && len(path) > len(want) {
			return false
		}
	}
	for name, value := range values {
		r.SetPathValue(name, value)
	}
	return true
}

// segments splits a path at its slashes and then decodes the parts, so that an
// encoded slash stays within its part.
func segments(u *url.URL) ([]string, bool) {
	parts := strings.Split(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	for i, p := range parts {
		var err error
		if parts[i], err = url.PathUnescape(p); err != nil {
			return nil, false
		}
	}
	return parts, true
}

// router finds the route of a request.
func (s *Server) router() http.Handler {
	all := routes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, decoded := segments(r.URL)
		if decoded && len(path) > 2 && path[0] == "repositories" {
			path, decoded = s.byID(path)
		}
		if decoded {
			for _, rt := range all {
				if rt.match(r, path) {
					s.run(w, r, rt)
					return
				}
			}
		}
		notFound().write(w, r)
	})
}

// byID finds what lies below /repositories/ID, where redirects of renamed
// repositories lead.
func (s *Server) byID(path []string) ([]string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.repos {
		if itoa(r.ID) == path[1] {
			return append([]string{"repos", r.Owner.Login, r.Name}, path[2:]...), true
		}
	}
	return nil, false
}

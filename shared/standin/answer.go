package standin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// obj is a JSON object.
type obj = map[string]any

// answer is what a handler answers: a status and a body that is written as JSON,
// or raw bytes with their own type.
type answer struct {
	status int
	header http.Header
	body   any
	raw    []byte
	kind   string // of raw
}

func ok(body any) answer      { return answer{status: http.StatusOK, body: body} }
func created(body any) answer { return answer{status: http.StatusCreated, body: body} }
func noContent() answer       { return answer{status: http.StatusNoContent} }

func redirect(status int, to string) answer {
	return answer{status: status, header: http.Header{"Location": {to}}, body: obj{"message": "Moved Permanently", "url": to, "documentation_url": docs}}
}

const docs = "https://docs.github.com/rest"

// refuse answers with GitHub's error body.
func refuse(status int, message string) answer {
	return answer{status: status, body: obj{"message": message, "documentation_url": docs, "status": strconv.Itoa(status)}}
}

func notFound() answer { return refuse(http.StatusNotFound, "Not Found") }

// invalid is a 422 with one error about a field of a resource.
func invalid(resource, field, code, message string) answer {
	e := obj{"resource": resource, "code": code}
	if field != "" {
		e["field"] = field
	}
	if message != "" {
		e["message"] = message
	}
	return answer{status: http.StatusUnprocessableEntity, body: obj{
		"message": "Validation Failed", "errors": []obj{e}, "documentation_url": docs, "status": "422",
	}}
}

// missing is the 422 for parameters that were not given.
func missing(names ...string) answer {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = strconv.Quote(n)
	}
	what := " wasn't supplied."
	if len(names) > 1 {
		what = " weren't supplied."
	}
	return refuse(http.StatusUnprocessableEntity, "Invalid request.\n\n"+strings.Join(quoted, ", ")+what)
}

// write sends a to w. r decides whether its body is wanted.
func (a answer) write(w http.ResponseWriter, r *http.Request) {
	for k, vs := range a.header {
		w.Header()[k] = vs
	}
	body, kind := a.raw, a.kind
	if kind == "" && a.body != nil {
		var err error
		if body, err = json.Marshal(a.body); err != nil {
			http.Error(w, `{"message":"Server Error"}`, http.StatusInternalServerError)
			return
		}
		kind = "application/json; charset=utf-8"
	}
	if kind != "" {
		w.Header().Set("Content-Type", kind)
	}
	if r.Method == http.MethodGet && a.status == http.StatusOK {
		sum := sha256.Sum256(body)
		tag := `W/"` + hex.EncodeToString(sum[:]) + `"`
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	w.WriteHeader(a.status)
	if a.status != http.StatusNoContent {
		_, _ = w.Write(body)
	}
}

const maxPerPage = 100

// page cuts the requested page out of all and says in the header where the
// others are.
func page[T any](c *call, all []T) ([]T, http.Header) {
	q := c.r.URL.Query()
	number := func(key string, otherwise int) int {
		n, err := strconv.Atoi(q.Get(key))
		if err != nil || n < 1 {
			return otherwise
		}
		return n
	}
	size := min(number("per_page", 30), maxPerPage)
	last := max((len(all)+size-1)/size, 1)
	at := number("page", 1)
	header := http.Header{}
	var links []string
	add := func(rel string, n int) {
		u := url.URL{Path: c.r.URL.Path, RawPath: c.r.URL.RawPath}
		values := c.r.URL.Query()
		values.Set("page", strconv.Itoa(n))
		u.RawQuery = values.Encode()
		links = append(links, fmt.Sprintf(`<%s%s>; rel="%s"`, c.s.apiURL, u.RequestURI(), rel))
	}
	if at > 1 {
		add("prev", min(at-1, last))
	}
	if at < last {
		add("next", at+1)
		add("last", last)
	}
	if at > 1 {
		add("first", 1)
	}
	if len(links) > 0 {
		header.Set("Link", strings.Join(links, ", "))
	}
	if at > last {
		return []T{}, header
	}
	return append([]T{}, all[(at-1)*size:min(at*size, len(all))]...), header
}

// list answers with a page of all, each rendered.
func list[T any](c *call, all []T, render func(T) obj) answer {
	items, header := page(c, all)
	a := ok(rendered(items, render))
	a.header = header
	return a
}

// counted answers with a page within an object that counts all.
func counted[T any](c *call, name string, all []T, render func(T) obj) answer {
	items, header := page(c, all)
	a := ok(obj{"total_count": len(all), name: rendered(items, render)})
	a.header = header
	return a
}

func rendered[T any](items []T, render func(T) obj) []obj {
	out := make([]obj, 0, len(items))
	for _, i := range items {
		out = append(out, render(i))
	}
	return out
}

// stamp is a time as GitHub writes it, or null.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

// orNull is s, or null where it is empty.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// Package console is the bot's read side, which is always on: the status page,
// one page per incident, and the JSON API. It reads what is stored and changes
// nothing.
//
// The API, all GET and JSON:
//
//	/api/v1                 what there is
//	/api/v1/incidents       {"incidents": [Incident …], "next": "…"}
//	/api/v1/incidents/{id}  {"incident": Incident, "repairs": [Repair …], "timeline": [AuditEntry …]}
//	/api/v1/repairs         {"repairs": [Repair …], "next": "…"}
//
// Lists are newest first. Their parameters are state, repo (a numeric id), limit
// (1 to 100, 20 without) and before (a list's "next", which is absent on the last
// page). Incident, Repair and AuditEntry are package domain's, as stored: in an
// Incident, "finding" has "why" (a clause: why this is the cause and not something
// else), "change" is what happened since the last green run, with the suspected
// commits, and "flaky" the evidence that the failure comes and goes; each is
// absent where nothing is known. Errors are {"error": "…"} with 400, 401, 404, 500
// or 503.
package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"errors"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// readTimeout bounds what one request reads.
const readTimeout = 10 * time.Second

// Store is what the console reads.
type Store interface {
	// Incidents lists incidents by OpenedAt, the newest first.
	Incidents(context.Context, Filter) ([]domain.Incident, error)
	Incident(ctx context.Context, id string) (domain.Incident, error)
	// Repairs lists repairs by CreatedAt, the newest first.
	Repairs(context.Context, Filter) ([]domain.Repair, error)
	Repair(ctx context.Context, id string) (domain.Repair, error)
	// RepairsOfRoot lists the repairs of an incident chain by their attempt.
	RepairsOfRoot(ctx context.Context, root string) ([]domain.Repair, error)
	// Audit lists what was done to an object (an incident's or a repair's id), the
	// newest first.
	Audit(ctx context.Context, object string, limit int) ([]domain.AuditEntry, error)
}

// Filter narrows a list. Zero fields don't narrow.
type Filter struct {
	RepoID int64
	State  string
	// Before and BeforeID are the time and the id of the last item of the page
	// before.
	Before   time.Time
	BeforeID string
	Limit    int
}

// Deps are what the console needs.
type Deps struct {
	Store Store
	// Token, when set, is asked for on every request: as a bearer, or as the
	// password of basic authentication, for which browsers ask.
	Token   string
	Version string
	Now     func() time.Time // the wall clock when nil
	Log     *slog.Logger
}

//go:embed templates static
var files embed.FS

// csp allows what the page loads from its own origin, and no inline code.
const csp = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

type console struct {
	Deps
	pages *template.Template
}

// New returns the console's handler. It serves /, /incidents/{id}, /static/ and
// /api/v1. The error is a Bug: templates are embedded.
func New(d Deps) (http.Handler, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	pages, err := template.New("").Funcs(template.FuncMap{
		"show": show, "line": oneLine, "web": web, "own": own, "attempt": attemptOf, "short": short, "at": at, "minute": minute, "stamp": stamp, "outcome": outcome, "words": words,
	}).ParseFS(files, "templates/*.html")
	if err != nil {
		return nil, domain.Errorf(domain.Bug, "parse the console's templates", "%w", err)
	}
	static, err := fs.Sub(files, "static")
	if err != nil {
		return nil, domain.Errorf(domain.Bug, "open the console's files", "%w", err)
	}
	c := &console{d, pages}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", c.page(c.list))
	mux.HandleFunc("GET /incidents/{id}", c.page(c.incident))
	mux.HandleFunc("GET /api/v1", c.api(func(context.Context, *http.Request) (any, error) { return index, nil }))
	mux.HandleFunc("GET /api/v1/incidents", c.api(c.apiIncidents))
	mux.HandleFunc("GET /api/v1/incidents/{id}", c.api(c.apiIncident))
	mux.HandleFunc("GET /api/v1/repairs", c.api(c.apiRepairs))
	mux.Handle("GET /static/", http.StripPrefix("/static/", cached(http.FileServerFS(static))))
	return c.guard(mux), nil
}

// guard sets the security headers and asks for the token.
func (c *console) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", csp)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		if c.Token != "" && !c.allowed(r) {
			h.Set("WWW-Authenticate", `Basic realm="mlops-bot", charset="UTF-8"`)
			http.Error(w, "The console asks for its token: as a bearer, or as the password with any user name.", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allowed compares in constant time; hashing hides the length.
func (c *console) allowed(r *http.Request) bool {
	_, got, _ := r.BasicAuth()
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "bearer") {
		got = token
	}
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(c.Token))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// cached lets browsers keep the static files, whose names carry no version, for
// an hour.
func cached(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "private, max-age=3600")
		next.ServeHTTP(w, r)
	})
}

// view is a template and its data.
type view struct {
	template string
	data     any
}

// page renders a whole page or nothing: what fails half-way must not look done.
func (c *console) page(read func(context.Context, *http.Request) (view, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
		defer cancel()
		status := http.StatusOK
		v, err := read(ctx, r)
		if err != nil {
			var text string
			status, text = c.failed(r, err)
			v = view{"error.html", errorPage{layout: c.layout(text), Status: status, Text: text}}
		}
		var b bytes.Buffer
		if err := c.pages.ExecuteTemplate(&b, v.template, v.data); err != nil {
			c.Log.ErrorContext(ctx, "cannot render the page", "template", v.template, "error", err.Error())
			http.Error(w, "The page can't be shown; the log says why.", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Vary", "HX-Request")
		w.WriteHeader(status)
		_, _ = w.Write(b.Bytes()) // the client is gone: nobody is left to tell
	}
}

// failed maps an error to a status and a sentence for people, and logs what is
// not the asker's doing.
func (c *console) failed(r *http.Request, err error) (int, string) {
	switch {
	case errors.Is(err, domain.ErrNotFound):
		return http.StatusNotFound, "There is no such thing here. It may have been deleted with its installation."
	case domain.KindOf(err) == domain.Invalid:
		return http.StatusBadRequest, oneLine(err.Error(), 200)
	}
	c.Log.ErrorContext(r.Context(), "cannot answer", "path", r.URL.Path, "error", err.Error())
	if domain.KindOf(err) == domain.Transient {
		return http.StatusServiceUnavailable, "The database does not answer. Try again in a moment."
	}
	return http.StatusInternalServerError, "Something is wrong with the bot; its log says what."
}

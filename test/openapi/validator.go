// Package openapi holds what is said to GitHub and what GitHub's stand-in answers
// against GitHub's own descriptions: its OpenAPI document and its example webhook
// payloads, which npm delivers (make test-deps). Tests use it; nothing else does.
package openapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// Exchange is one request to the REST API and its answer.
type Exchange struct {
	Method string
	// Path is below the API's root, escaped as it was sent, with the query.
	Path   string
	Header http.Header // of the request
	Body   []byte      // of the request

	Status       int
	AnswerHeader http.Header
	Answer       []byte
}

// Validator checks exchanges against GitHub's description of its REST API. It is
// safe for concurrent use.
type Validator struct {
	doc    *openapi3.T
	routes []template
}

// template is a path of the description, cut into segments.
type template struct {
	path     string
	segments []string
	item     *openapi3.PathItem
}

// loadErr names what is missing and how to get it.
func loadErr(path string, err error) error {
	return fmt.Errorf("read %s (is it installed? run `make test-deps`): %w", path, err)
}

// Load reads GitHub's description from the folder that holds this package's
// node_modules. It takes some seconds: load once per test program.
func Load(folder string) (*Validator, error) {
	file := filepath.Join(folder, "node_modules", "@octokit", "openapi", "generated", "api.github.com.json")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, loadErr(file, err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", file, err)
	}
	if err := amend(doc); err != nil {
		return nil, fmt.Errorf("amend %s: %w", file, err)
	}
	v := &Validator{doc: doc}
	for path, item := range doc.Paths.Map() {
		v.routes = append(v.routes, template{path, strings.Split(strings.Trim(path, "/"), "/"), item})
	}
	// The description has /pulls/{pull_number}/merge beside /pulls/{pull_number}:
	// what has more literal segments is tried first.
	slices.SortFunc(v.routes, func(a, b template) int {
		if n := b.literals() - a.literals(); n != 0 {
			return n
		}
		return strings.Compare(a.path, b.path)
	})
	return v, nil
}

// amend puts right where the description (23.0.2) contradicts GitHub's own words.
func amend(doc *openapi3.T) error {
	// An account is a user or an enterprise; the list's copy of the schema wants it
	// to be both.
	list := answerSchema(doc.Paths.Value("/app/installations"))
	if list == nil || list.Items == nil || list.Items.Value.Properties["account"] == nil {
		return errors.New("the schema of an installation's account is not where it was")
	}
	account := list.Items.Value.Properties["account"].Value
	account.AnyOf, account.AllOf = slices.Concat(account.AnyOf, account.AllOf), nil
	// "You can also pass an array of labels directly", says the text.
	labels := doc.Paths.Value("/repos/{owner}/{repo}/issues/{issue_number}/labels")
	if labels == nil || labels.Post == nil || labels.Post.RequestBody == nil {
		return errors.New("the schema of the labels to add is not where it was")
	}
	body := labels.Post.RequestBody.Value.Content.Get("application/json").Schema.Value
	body.OneOf = append(body.OneOf, openapi3.NewArraySchema().WithItems(openapi3.NewStringSchema()).NewRef())
	return nil
}

func answerSchema(item *openapi3.PathItem) *openapi3.Schema {
	if item == nil || item.Get == nil || item.Get.Responses.Status(http.StatusOK) == nil {
		return nil
	}
	media := item.Get.Responses.Status(http.StatusOK).Value.Content.Get("application/json")
	if media == nil || media.Schema == nil {
		return nil
	}
	return media.Schema.Value
}

func (t template) literals() int {
	n := 0
	for _, s := range t.segments {
		if !strings.HasPrefix(s, "{") {
			n++
		}
	}
	return n
}

// multi are the parameters whose values hold slashes, which GitHub takes
// unescaped.
var multi = []string{"{path}", "{ref}", "{basehead}", "{branch}"}

// match fits a template to an escaped path and returns its parameters.
func (t template) match(segments []string) (map[string]string, bool) {
	params := map[string]string{}
	for i, s := range t.segments {
		last := i == len(t.segments)-1
		switch {
		case i >= len(segments):
			return nil, false
		case last && slices.Contains(multi, s):
			params[strings.Trim(s, "{}")] = unescape(strings.Join(segments[i:], "/"))
			return params, true
		case strings.HasPrefix(s, "{"):
			params[strings.Trim(s, "{}")] = unescape(segments[i])
		case s != segments[i]:
			return nil, false
		}
	}
	return params, len(segments) == len(t.segments)
}

func unescape(s string) string {
	u, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return u
}

// named undoes /repositories/ID/…, which the description doesn't know: GitHub's
// redirects lead there.
func named(path string) string {
	rest, ok := strings.CutPrefix(path, "/repositories/")
	if !ok {
		return path
	}
	_, rest, below := strings.Cut(rest, "/")
	if !below {
		return "/repos/owner/repo"
	}
	return "/repos/owner/repo/" + rest
}

func (v *Validator) find(method, escaped string) (template, map[string]string, *openapi3.Operation) {
	segments := strings.Split(strings.Trim(named(escaped), "/"), "/")
	for _, t := range v.routes {
		params, ok := t.match(segments)
		if !ok {
			continue
		}
		if op := t.item.GetOperation(method); op != nil {
			return t, params, op
		}
	}
	return template{}, nil, nil
}

// Check returns what is wrong with an exchange, each as one line that begins with
// the request; nil when GitHub's description allows all of it. Answers of 5xx and
// of GitHub's limits, which the description leaves out of most operations, are
// only asked to be GitHub's error object.
func (v *Validator) Check(ctx context.Context, e Exchange) []string {
	where := e.Method + " " + e.Path
	u, err := url.Parse("https://api.github.com" + e.Path)
	if err != nil {
		return []string{where + ": the path is no URL"}
	}
	if u.Path == "/graphql" {
		return v.checkGraphQL(where, e)
	}
	t, params, op := v.find(e.Method, u.EscapedPath())
	if op == nil {
		return []string{where + ": GitHub has no such operation"}
	}
	req, err := http.NewRequestWithContext(ctx, e.Method, u.String(), bytes.NewReader(e.Body))
	if err != nil {
		return []string{where + ": " + err.Error()}
	}
	if e.Header != nil {
		req.Header = e.Header.Clone()
	}
	// go-github's clients send null for no options, which GitHub takes.
	if body := bytes.TrimSpace(e.Body); len(body) == 0 || string(body) == "null" {
		e.Body, req.Body, req.ContentLength = nil, http.NoBody, 0
	}
	route := &routers.Route{Spec: v.doc, Path: t.path, PathItem: t.item, Method: e.Method, Operation: op}
	in := &openapi3filter.RequestValidationInput{
		Request: req, PathParams: params, Route: route,
		Options: &openapi3filter.Options{MultiError: true, IncludeResponseStatus: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	var problems []string
	add := func(side string, err error) {
		for _, one := range flatten(err) {
			problems = append(problems, where+": "+side+": "+one)
		}
	}
	if e.Status < 400 { // what was refused may well have been wrong
		add("request", openapi3filter.ValidateRequest(ctx, in))
		add("request", unknownQuery(u, t, op))
		add("request", unknownBody(e.Body, op))
	}
	add(fmt.Sprintf("answer %d", e.Status), v.checkAnswer(ctx, in, op, e))
	return problems
}

func (v *Validator) checkAnswer(ctx context.Context, in *openapi3filter.RequestValidationInput, op *openapi3.Operation, e Exchange) error {
	if e.Status == http.StatusNotModified {
		if len(e.Answer) > 0 {
			return errors.New("a 304 has no body")
		}
		return nil
	}
	if op.Responses.Status(e.Status) == nil {
		switch {
		case e.Status >= 400:
			return errorObject(e.Answer)
		case e.Status == http.StatusMovedPermanently || e.Status == http.StatusTemporaryRedirect:
			if e.AnswerHeader.Get("Location") == "" {
				return errors.New("a redirect without a Location")
			}
			return nil
		}
		return errors.New("GitHub has no such status here")
	}
	raw := !strings.HasPrefix(e.AnswerHeader.Get("Content-Type"), "application/json")
	if raw && e.Status < 300 && len(e.Answer) > 0 {
		return nil // a raw media type, which the description leaves open
	}
	if e.Status >= 300 && e.Status < 400 {
		if e.AnswerHeader.Get("Location") == "" {
			return errors.New("a redirect without a Location")
		}
		return nil
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: e.Status, Header: e.AnswerHeader, Options: in.Options}
	out.SetBodyBytes(e.Answer)
	return openapi3filter.ValidateResponse(ctx, out)
}

// errorObject holds an error's body to GitHub's basic-error.
func errorObject(body []byte) error {
	var o struct {
		Message       *string `json:"message"`
		Documentation *string `json:"documentation_url"`
	}
	if err := json.Unmarshal(body, &o); err != nil {
		return fmt.Errorf("the error's body is not GitHub's: %w", err)
	}
	if o.Message == nil || o.Documentation == nil {
		return errors.New("the error's body lacks message or documentation_url")
	}
	return nil
}

// unknownQuery finds parameters that GitHub would ignore without a word.
func unknownQuery(u *url.URL, t template, op *openapi3.Operation) error {
	known := map[string]bool{}
	for _, list := range []openapi3.Parameters{t.item.Parameters, op.Parameters} {
		for _, p := range list {
			if p.Value != nil && p.Value.In == openapi3.ParameterInQuery {
				known[p.Value.Name] = true
			}
		}
	}
	var errs openapi3.MultiError
	for name := range u.Query() {
		if !known[name] {
			errs = append(errs, fmt.Errorf("GitHub knows no query parameter %q here", name))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return errs
}

// unknownBody finds top-level fields that GitHub would ignore without a word.
func unknownBody(body []byte, op *openapi3.Operation) error {
	if len(body) == 0 || op.RequestBody == nil || op.RequestBody.Value == nil {
		return nil
	}
	media := op.RequestBody.Value.Content.Get("application/json")
	if media == nil || media.Schema == nil {
		return nil
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		return nil //nolint:nilerr // a list or a text: its schema was checked
	}
	known := map[string]bool{}
	open := properties(media.Schema.Value, known)
	var errs openapi3.MultiError
	for name := range fields {
		if !known[name] && !open {
			errs = append(errs, fmt.Errorf("GitHub knows no field %q here", name))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return errs
}

// properties collects the names of a schema's properties and reports whether any
// name is allowed by it.
func properties(s *openapi3.Schema, into map[string]bool) (open bool) {
	if s == nil {
		return true
	}
	for name := range s.Properties {
		into[name] = true
	}
	parts := slices.Concat(s.OneOf, s.AnyOf, s.AllOf)
	for _, p := range parts {
		if p.Value != nil && (len(p.Value.Properties) > 0 || len(p.Value.OneOf)+len(p.Value.AnyOf)+len(p.Value.AllOf) > 0) {
			open = properties(p.Value, into) || open
		}
	}
	return open || len(into) == 0
}

func (v *Validator) checkGraphQL(where string, e Exchange) []string {
	var in struct {
		Query *string `json:"query"`
	}
	if e.Method != http.MethodPost || json.Unmarshal(e.Body, &in) != nil || in.Query == nil {
		return []string{where + ": a GraphQL request is POST with a query"}
	}
	var out struct {
		Data   json.RawMessage `json:"data"`
		Errors []struct {
			Message *string `json:"message"`
		} `json:"errors"`
	}
	if e.Status == http.StatusOK && (json.Unmarshal(e.Answer, &out) != nil || out.Data == nil && len(out.Errors) == 0) {
		return []string{where + ": a GraphQL answer has data or errors"}
	}
	return nil
}

// flatten makes a line of each error in err.
func flatten(err error) []string {
	if err == nil {
		return nil
	}
	var multi openapi3.MultiError
	if errors.As(err, &multi) {
		var out []string
		for _, one := range multi {
			out = append(out, flatten(one)...)
		}
		return out
	}
	var schema *openapi3.SchemaError
	if errors.As(err, &schema) {
		if inner := new(openapi3.MultiError); errors.As(schema.Origin, inner) {
			return flatten(*inner)
		}
		return []string{"/" + strings.Join(schema.JSONPointer(), "/") + ": " + schema.Reason}
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return []string{line}
}

// Recorder checks exchanges as they come and keeps what is wrong. It is safe for
// concurrent use.
type Recorder struct {
	validator *Validator
	root      string // of the API, a URL's path without a trailing slash

	mu       sync.Mutex
	problems []string
	seen     map[string]int // by operation
}

// Recorder makes a recorder for an API whose root has this path.
func (v *Validator) Recorder(root string) *Recorder {
	return &Recorder{validator: v, root: strings.TrimRight(root, "/"), seen: map[string]int{}}
}

// Record checks an exchange whose path still has the API's root before it; others
// are left alone.
func (r *Recorder) Record(ctx context.Context, e Exchange) {
	path, ok := strings.CutPrefix(e.Path, r.root)
	if !ok || e.Status == 0 {
		return
	}
	e.Path = path
	problems := r.validator.Check(ctx, e)
	u, err := url.Parse(path)
	if err != nil {
		return
	}
	t, _, _ := r.validator.find(e.Method, u.EscapedPath())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, problems...)
	r.seen[e.Method+" "+t.path]++
}

// Problems returns what was wrong so far.
func (r *Recorder) Problems() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.problems)
}

// Operations counts the exchanges of each operation, "GET /repos/{owner}/{repo}".
func (r *Recorder) Operations() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]int, len(r.seen))
	for k, n := range r.seen {
		out[k] = n
	}
	return out
}

// Transport records what passes through base.
func (r *Recorder) Transport(base http.RoundTripper) http.RoundTripper {
	return transport{r, base}
}

type transport struct {
	recorder *Recorder
	base     http.RoundTripper
}

const maxBody = 32 << 20

// RoundTrip records the exchange; the bodies that pass are as they were.
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	e := Exchange{Method: req.Method, Path: req.URL.RequestURI(), Header: req.Header.Clone()}
	if req.Body != nil {
		body, err := io.ReadAll(io.LimitReader(req.Body, maxBody))
		if err := errors.Join(err, req.Body.Close()); err != nil {
			return nil, fmt.Errorf("read the request: %w", err)
		}
		e.Body = body
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	e.Answer, err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(e.Answer))
	e.Status, e.AnswerHeader = resp.StatusCode, resp.Header.Clone()
	t.recorder.Record(req.Context(), e)
	return resp, nil
}

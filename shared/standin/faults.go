package standin

import (
	"bytes"
	"io"
	"net/http"
	"time"
)

// Fault is what happens to a request instead of what should.
type Fault struct {
	Status int
	Header http.Header
	Body   string // "" is GitHub's error body for Status
	// Hang answers nothing until the client gives up; Drop closes the connection
	// without an answer.
	Hang, Drop bool
	// After lets the request have its effect first: only its answer is lost.
	After bool
}

// maxMutations bounds what is kept of them: tests look at few.
const maxMutations = 100_000

// Mutation is a mutating request of an installation that was not refused.
type Mutation struct {
	At             time.Time
	Method         string
	Path           string // without the prefix
	Status         int
	InstallationID int64
	Body           string
}

// Exchange is a request and its answer, as they were on the wire.
type Exchange struct {
	Method       string
	URL          string // with the prefix and the query
	Header       http.Header
	Body         []byte
	Status       int // 0 when there was no answer
	AnswerHeader http.Header
	Answer       []byte
}

// SetFault has every request shown to fn before it is answered; fn reports
// whether a Fault shall happen to it. fn must not read the request's body. nil
// removes it.
func (s *Server) SetFault(fn func(*http.Request) (Fault, bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fn
}

// SetRecorder has every exchange with the API reported to fn, which must be safe
// for concurrent use. nil removes it.
func (s *Server) SetRecorder(fn func(Exchange)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record = fn
}

// Mutations returns the mutating requests that were not refused, in their order.
func (s *Server) Mutations() []Mutation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Mutation(nil), s.mutations...)
}

func (s *Server) faulty(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		fn := s.fault
		s.mu.Unlock()
		if fn == nil {
			next.ServeHTTP(w, r)
			return
		}
		f, hit := fn(r)
		if !hit {
			next.ServeHTTP(w, r)
			return
		}
		if f.After {
			next.ServeHTTP(&lost{header: http.Header{}}, r)
		}
		if f.Hang {
			// The server notices that the client is gone only once the body is read.
			_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, maxRequest))
			<-r.Context().Done()
		}
		if f.Hang || f.Drop {
			drop(w)
			return
		}
		a := refuse(f.Status, http.StatusText(f.Status))
		a.header = f.Header
		if f.Body != "" {
			a.raw, a.kind = []byte(f.Body), "application/json; charset=utf-8"
		}
		a.write(w, r)
	})
}

// drop closes the connection without an answer.
func drop(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close()
	}
}

// lost is a ResponseWriter whose answer nobody gets.
type lost struct{ header http.Header }

func (l *lost) Header() http.Header         { return l.header }
func (l *lost) Write(b []byte) (int, error) { return len(b), nil }
func (l *lost) WriteHeader(int)             {}

func (s *Server) recorded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		fn := s.record
		s.mu.Unlock()
		if fn == nil {
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		e := Exchange{Method: r.Method, URL: r.URL.String(), Header: r.Header.Clone(), Body: body}
		rw := &recording{ResponseWriter: w}
		next.ServeHTTP(rw, r)
		e.Status, e.AnswerHeader, e.Answer = rw.status, w.Header().Clone(), rw.body.Bytes()
		fn(e)
	})
}

type recording struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (r *recording) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recording) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recording) Write(b []byte) (int, error) {
	r.body.Write(b)
	return r.ResponseWriter.Write(b)
}

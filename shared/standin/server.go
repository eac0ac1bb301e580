package standin

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Options are what a stand-in is made with. The zero value is a strict one on
// free ports of loopback that executes nothing.
type Options struct {
	// Listen and BlobListen are the addresses of the API and of the host that logs
	// are downloaded from; "" is a free port on 127.0.0.1.
	Listen, BlobListen string
	// URL and BlobURL are how clients reach those addresses where it isn't by the
	// address itself, without a path.
	URL, BlobURL string
	// Prefix is the path that the REST API is served under; "" is "/stand-in/rest".
	// It is not the root, so that clients which build absolute paths are found out.
	Prefix string

	AppID         int64  // 0 is 1001
	AppSlug       string // "" is "mlops-bot"
	PrivateKeyPEM []byte // PKCS #1; nil makes a key
	WebhookSecret string // "" makes one

	// Execute runs the `run:` steps of the repositories' workflows on this host.
	// New refuses it together with an address that isn't on loopback.
	Execute bool
	// Parallel is how many jobs are executed at once; 0 is 2.
	Parallel int

	Limits   Limits
	Lag      Lag
	Webhooks WebhookOptions

	Now func() time.Time // nil is time.Now
	// JWTNow is the clock that the App's JWTs are held against; nil is Now. Clients
	// that can't be given a clock sign with the real one.
	JWTNow func() time.Time
	Logger *slog.Logger // nil discards
}

// Lag is how far GitHub's parts are behind each other.
type Lag struct {
	// LogRequests is how often each job's log is answered 404 before it is there.
	LogRequests int
	// LogDelay is how long after its job's end a log is answered 404.
	LogDelay time.Duration
	// LogRetention is how long after its job's end a log expires and is answered
	// 410; 0 is never.
	LogRetention time.Duration
}

// Server is a stand-in for GitHub. It is safe for concurrent use.
type Server struct {
	opts   Options
	key    *rsa.PrivateKey
	secret []byte // signs the addresses of logs
	log    *slog.Logger
	now    func() time.Time

	ctx  context.Context //nolint:containedctx // the life of the server's goroutines
	stop context.CancelFunc
	work sync.WaitGroup

	api, blob         *http.Server
	apiURL, blobURL   string // without a trailing slash; apiURL with the prefix
	origin            string
	jobSlots, senders chan struct{}
	sender            *http.Client // sends webhooks

	mu            sync.Mutex // guards all that follows
	started       bool
	closed        bool
	nextID        int64
	accounts      map[string]*account // by lower-case login
	repos         map[int64]*repository
	names         map[string]int64 // lower-case full name, former names too
	installations map[int64]*installation
	tokens        map[string]*token
	deliveries    []*delivery // oldest first
	webhookURL    string
	fault         func(*http.Request) (Fault, bool)
	record        func(Exchange)
	script        func(Trigger) (ScriptedAttempt, bool)
	mutations     []Mutation
	usage         map[int64]*usage // by installation
	pending       int              // runs and webhooks under way
	idle          chan struct{}    // closed when pending gets to 0
}

// New makes a stand-in. It listens once Start is called.
func New(o Options) (*Server, error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.BlobListen == "" {
		o.BlobListen = "127.0.0.1:0"
	}
	if o.Execute {
		for _, addr := range []string{o.Listen, o.BlobListen} {
			if !loopback(addr) {
				return nil, fmt.Errorf("set up the stand-in: it executes repositories' code, so it listens on loopback only, not on %q", addr)
			}
		}
	}
	if o.Prefix == "" {
		o.Prefix = "/stand-in/rest"
	}
	o.Prefix = "/" + strings.Trim(o.Prefix, "/")
	if o.Prefix == "/" {
		return nil, errors.New("set up the stand-in: the prefix must not be the root")
	}
	if o.AppID == 0 {
		o.AppID = 1001
	}
	if o.AppSlug == "" {
		o.AppSlug = "mlops-bot"
	}
	if o.WebhookSecret == "" {
		o.WebhookSecret = rand.Text()
	}
	if o.Parallel <= 0 {
		o.Parallel = 2
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.JWTNow == nil {
		o.JWTNow = o.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		opts: o, log: o.Logger, now: o.Now, nextID: 5000, secret: []byte(rand.Text()),
		accounts: map[string]*account{}, repos: map[int64]*repository{}, names: map[string]int64{},
		installations: map[int64]*installation{}, tokens: map[string]*token{}, usage: map[int64]*usage{},
		jobSlots: make(chan struct{}, o.Parallel), senders: make(chan struct{}, 16),
		sender: &http.Client{
			// A connection for each delivery, as GitHub's many senders make: a spare one
			// would keep a receiver that shuts down waiting for five seconds.
			Transport:     &http.Transport{DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if err := s.setKey(o.PrivateKeyPEM); err != nil {
		return nil, fmt.Errorf("set up the stand-in: %w", err)
	}
	return s, nil
}

func (s *Server) setKey(text []byte) (err error) {
	if text == nil {
		s.key, err = rsa.GenerateKey(rand.Reader, 2048)
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New("the App's key is not PEM")
	}
	if s.key, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
		return fmt.Errorf("read the App's key: %w", err)
	}
	return nil
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Start listens and serves until Close.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started {
		return errors.New("start the stand-in: it was started before")
	}
	var lc net.ListenConfig
	api, err := lc.Listen(context.Background(), "tcp", s.opts.Listen)
	if err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	blob, err := lc.Listen(context.Background(), "tcp", s.opts.BlobListen)
	if err != nil {
		_ = api.Close()
		return fmt.Errorf("listen for logs: %w", err)
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.started = true
	s.origin = origin(s.opts.URL, api)
	s.apiURL = s.origin + s.opts.Prefix
	s.blobURL = origin(s.opts.BlobURL, blob)
	base := func(net.Listener) context.Context { return s.ctx }
	s.api = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second, BaseContext: base}
	s.blob = &http.Server{Handler: http.HandlerFunc(s.serveBlob), ReadHeaderTimeout: 10 * time.Second, BaseContext: base}
	s.work.Go(func() { s.serve(s.api, api) })
	s.work.Go(func() { s.serve(s.blob, blob) })
	return nil
}

func (s *Server) serve(srv *http.Server, l net.Listener) {
	if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		s.log.Error("the stand-in stopped serving", "error", err)
	}
}

func origin(given string, l net.Listener) string {
	if given != "" {
		return strings.TrimRight(given, "/")
	}
	return "http://" + l.Addr().String()
}

// Close ends everything that the stand-in runs, jobs too, and returns when it has
// ended.
func (s *Server) Close() error {
	s.mu.Lock()
	if !s.started || s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.stop()
	s.mu.Unlock()
	err := errors.Join(s.api.Close(), s.blob.Close())
	s.work.Wait()
	s.sender.CloseIdleConnections()
	return err
}

// URL is the root of the REST API, with a trailing slash.
func (s *Server) URL() string { return s.apiURL + "/" }

// GraphQLURL is the GraphQL endpoint.
func (s *Server) GraphQLURL() string { return s.apiURL + "/graphql" }

// AppID is the id of the App.
func (s *Server) AppID() int64 { return s.opts.AppID }

// BotLogin is the login that the App writes under.
func (s *Server) BotLogin() string { return s.opts.AppSlug + "[bot]" }

// PrivateKeyPEM is the App's private key in PKCS #1, as GitHub hands it out.
func (s *Server) PrivateKeyPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(s.key)})
}

// WebhookSecret is what deliveries are signed with.
func (s *Server) WebhookSecret() string { return s.opts.WebhookSecret }

// SetWebhookURL says where deliveries go from now on; "" is nowhere.
func (s *Server) SetWebhookURL(u string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.webhookURL = u
}

// begin counts something that Idle waits for; the caller holds the lock.
func (s *Server) begin() { s.pending++ }

// end is begin's other half; the caller holds the lock.
func (s *Server) end() {
	s.pending--
	if s.pending == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// Idle returns when no run is being executed and no webhook is on its way, or
// with ctx's error.
func (s *Server) Idle(ctx context.Context) error {
	s.mu.Lock()
	if s.pending == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	idle := s.idle
	s.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the stand-in to be idle: %w", ctx.Err())
	}
}

// id makes a new id; the caller holds the lock.
func (s *Server) id() int64 {
	s.nextID++
	return s.nextID
}

// link is an address in the API; segments are escaped by the caller where needed.
func (s *Server) link(format string, args ...any) string {
	return s.apiURL + fmt.Sprintf(format, args...)
}

// web is the address of a page.
func (s *Server) web(format string, args ...any) string {
	return s.origin + "/stand-in/web" + fmt.Sprintf(format, args...)
}

func escapePath(p string) string {
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

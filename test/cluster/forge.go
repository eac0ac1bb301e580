package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/standin"
)

// forge is the stand-in for GitHub on the host's side of the node. It executes
// the workflows of its repositories, and so listens on loopback only; a relay on
// the host's address lets the pods reach it, and a proxy brings its webhooks to
// the cluster's ingress under the name that the ingress routes by.
type forge struct {
	*standin.Server
	relays  []*relay
	hooks   *http.Server
	ingress *url.URL

	mu    sync.Mutex
	host  string // that the ingress routes by
	codes map[int]int
	slow  time.Duration // the longest that a delivery took
	ids   map[string]int64
	down  bool // drops deliveries, as a network between GitHub and us would
}

// secondaryLimits are GitHub's: one mutation at a time and 80 a minute.
var secondaryLimits = standin.Limits{RetryAfter: 20 * time.Second}

func newForge(hostIP, ingress string) (_ *forge, err error) {
	f := &forge{codes: map[int]int{}, ids: map[string]int64{}}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if f.ingress, err = url.Parse(ingress); err != nil {
		return nil, err
	}
	var back [2]string // loopback addresses
	var front [2]string
	for i := range back {
		if back[i], err = freePort(); err != nil {
			return nil, err
		}
		r, err := newRelay(hostIP, back[i])
		if err != nil {
			return nil, err
		}
		f.relays = append(f.relays, r)
		front[i] = "http://" + r.Addr().String()
	}
	f.Server, err = standin.New(standin.Options{
		Listen: back[0], BlobListen: back[1], URL: front[0], BlobURL: front[1], Execute: true, Limits: secondaryLimits,
	})
	if err != nil {
		return nil, err
	}
	if err := f.Start(); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // nothing to wait for
	if err != nil {
		return nil, err
	}
	f.hooks = &http.Server{Handler: http.HandlerFunc(f.forward), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = f.hooks.Serve(listener) }() // ends with close
	f.SetWebhookURL("http://" + listener.Addr().String() + "/webhooks/github")
	return f, nil
}

// route names the host that webhooks are sent to.
func (f *forge) route(host string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.host = host
}

// cut makes all deliveries fail, or lets them through again.
func (f *forge) cut(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = on
}

// forward brings one webhook to the ingress.
func (f *forge) forward(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	host, down := f.host, f.down
	f.mu.Unlock()
	if down {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	began := time.Now()
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(f.ingress)
			p.Out.Host = host
		},
		ModifyResponse: func(resp *http.Response) error { f.count(resp.StatusCode, time.Since(began)); return nil },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			f.count(http.StatusBadGateway, time.Since(began))
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	proxy.ServeHTTP(w, r)
}

func (f *forge) count(code int, took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.codes[code]++
	f.slow = max(f.slow, took)
}

// answers returns and forgets how deliveries were answered.
func (f *forge) answers() (codes map[int]int, slowest time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	codes, slowest = f.codes, f.slow
	f.codes, f.slow = map[int]int{}, 0
	return codes, slowest
}

func (f *forge) close() {
	if f.hooks != nil {
		_ = f.hooks.Close()
	}
	if f.Server != nil {
		_ = f.Close()
	}
	for _, r := range f.relays {
		r.close()
	}
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // nothing to wait for
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// relay carries TCP connections from an address to another.
type relay struct {
	net.Listener
	to     string
	ctx    context.Context //nolint:containedctx // the relay's life
	cancel context.CancelFunc
}

func newRelay(ip, to string) (*relay, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0")) //nolint:noctx // nothing to wait for
	if err != nil {
		return nil, fmt.Errorf("listen on %s, which the pods have to reach (-host-ip): %w", ip, err)
	}
	r := &relay{Listener: l, to: to}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	go r.serve()
	return r, nil
}

func (r *relay) serve() {
	for {
		in, err := r.Accept()
		if err != nil {
			return
		}
		go func() {
			defer in.Close()
			out, err := (&net.Dialer{}).DialContext(r.ctx, "tcp", r.to)
			if err != nil {
				return
			}
			defer out.Close()
			stop := context.AfterFunc(r.ctx, func() { _, _ = in.Close(), out.Close() })
			defer stop()
			done := make(chan struct{}, 2)
			for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
				go func() {
					_, _ = io.Copy(way[0], way[1])
					if c, ok := way[0].(*net.TCPConn); ok {
						_ = c.CloseWrite()
					}
					done <- struct{}{}
				}()
			}
			<-done
			<-done
		}()
	}
}

func (r *relay) close() {
	r.cancel()
	if err := r.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return
	}
}

const policy = `version: 1
mode: heal
limits:
  open_pulls: 20
  repairs_per_day: 100
`

// alias is a repository whose workflow really fails when it is run, and which a
// pull request heals: an alias that NumPy removed. NumPy is made up, since there
// is no package index here.
func alias(branch string) map[string]string {
	return map[string]string{
		".github/workflows/ci.yml": `name: ci
on: [push, pull_request]
jobs:
  test:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v4
      - name: Test
        run: PYTHONPATH=site-packages python3 -S -E model.py
`,
		"site-packages/numpy/__init__.py": `def __getattr__(name):
    raise AttributeError(f"module 'numpy' has no attribute '{name}'.\n` + "`np.{name}` was a deprecated alias for the builtin `{name}`" + `.")
`,
		// Branches differ, as people's do: one commit on two branches would be one.
		"model.py": "# " + branch + "\nimport sys\n\nsys.path.insert(0, 'site-packages')\nimport numpy as np\n\n\ndef weight():\n    return np.float(3)\n\n\nprint(weight())\n",
	}
}

// addRepo makes a repository.
func (f *forge) addRepo(name string) error {
	repo, err := f.CreateRepo(standin.NewRepo{FullName: name, Organization: true, Files: standin.Files(map[string]string{
		"README.md": "# Training\n", ".github/mlops-bot.yml": policy, // the default branch's policy counts
	})})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ids[name] = repo.ID
	return nil
}

// id is a repository's number.
func (f *forge) id(name string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ids[name]
}

// fail pushes what fails to a branch.
func (f *forge) fail(repo, branch string) error {
	_, err := f.Push(repo, branch, "mona", "Train", standin.Files(alias(branch)))
	return err
}

// botPulls are the pull requests that the bot opened, over all repositories.
func (f *forge) botPulls(repos []string) (all []standin.PullRequest) {
	for _, r := range repos {
		for _, p := range f.PullRequests(r) {
			if p.Author == f.BotLogin() {
				all = append(all, p)
			}
		}
	}
	return all
}

// doubled lists the branches that the bot opened more than one pull request
// for, and the sticky comments that stand twice.
func (f *forge) doubled(repos []string) (twice []string) {
	for _, r := range repos {
		bases := map[string]int{}
		for _, p := range f.PullRequests(r) {
			if p.Author != f.BotLogin() {
				continue
			}
			if bases[p.BaseBranch]++; bases[p.BaseBranch] == 2 {
				twice = append(twice, r+" "+p.BaseBranch)
			}
			var comments int
			for _, c := range p.Comments {
				if c.Author == f.BotLogin() && strings.Contains(c.Body, "<!--") {
					comments++
				}
			}
			if comments > 1 {
				twice = append(twice, fmt.Sprintf("%s#%d has %d comments", r, p.Number, comments))
			}
		}
	}
	slices.Sort(twice)
	return twice
}

package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

const release = "mlops-bot"

// world is the cluster, the stand-in beside it and what is known of both.
type world struct {
	s settings
	cluster
	forge  *forge
	inbox  *inbox
	report report

	refs, newRefs map[string]string // image references by name
	dir           string            // for values and keys
	token         string            // of the console
	began         time.Time
	valuesFile    string
	followed      map[string]bool // the blocks of the operations page that were run
}

func newWorld(ctx context.Context, s settings) (*world, error) {
	w := &world{
		s: s, cluster: cluster{kubeconfig: s.kubeconfig, namespace: s.namespace, tools: s.tools},
		token: rand.Text(), began: time.Now(), followed: map[string]bool{},
	}
	var err error
	if w.refs, err = references(s.images); err != nil {
		return nil, err
	}
	if s.newImages != "" {
		if w.newRefs, err = references(s.newImages); err != nil {
			return nil, err
		}
	}
	if w.dir, err = os.MkdirTemp("", "mlops-bot-e2e-"); err != nil {
		return nil, err
	}
	if w.forge, err = newForge(s.hostIP, s.ingress); err != nil {
		return nil, err
	}
	if w.inbox, err = newInbox(s.hostIP); err != nil {
		return nil, err
	}
	w.forge.route(release + "-webhook." + s.namespace + "." + s.domain)
	w.describe(ctx)
	return w, nil
}

func (w *world) close() {
	w.forge.close()
	w.inbox.close()
	_ = os.RemoveAll(w.dir)
}

func (w *world) logf(format string, args ...any) {
	fmt.Printf("%6.1f  %s\n", time.Since(w.began).Seconds(), fmt.Sprintf(format, args...))
}

// describe fills in what the report says of the cluster.
func (w *world) describe(ctx context.Context) {
	said := func(tool string, args ...string) string {
		out, err := w.run(ctx, "", tool, args...)
		if err != nil {
			return "unknown"
		}
		return strings.TrimSpace(out)
	}
	label := `jsonpath={.metadata.labels.app\.kubernetes\.io/version}`
	var version struct {
		Server struct {
			GitVersion string `json:"gitVersion"`
		} `json:"serverVersion"`
	}
	_ = json.Unmarshal([]byte(said("kubectl", "version", "-o", "json")), &version) // unknown stays empty
	commit, _ := exec.CommandContext(ctx, "git", "rev-parse", "--short=12", "HEAD").Output()
	w.report = report{
		Commit: strings.TrimSpace(string(commit)), At: time.Now(), Images: map[string]string{},
		Versions: map[string]string{
			"Kubernetes":       version.Server.GitVersion,
			"Knative Serving":  said("kubectl", "-n", "knative-serving", "get", "deploy", "controller", "-o", label),
			"Knative Eventing": said("kubectl", "-n", "knative-eventing", "get", "deploy", "eventing-controller", "-o", label),
			"Helm":             said("helm", "version", "--short"),
			"Go":               runtime.Version(),
		},
		Node: map[string]string{
			"CPUs":   said("kubectl", "get", "nodes", "-o", "jsonpath={.items[*].status.capacity.cpu}"),
			"Memory": said("kubectl", "get", "nodes", "-o", "jsonpath={.items[*].status.capacity.memory}"),
		},
	}
	for name, ref := range w.refs {
		w.report.Images[name] = ref[strings.LastIndex(ref, "@")+1:]
	}
}

// references reads what tools/images printed.
func references(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the image references (tools/images prints them): %w", err)
	}
	defer f.Close()
	refs := map[string]string{}
	for scan := bufio.NewScanner(f); scan.Scan(); {
		ref := strings.TrimSpace(scan.Text())
		if ref == "" {
			continue
		}
		name, _, digest := strings.Cut(filepath.Base(ref), "@")
		name, _, _ = strings.Cut(name, ":")
		if !digest {
			return nil, fmt.Errorf("%s: %q has no digest", path, ref)
		}
		refs[name] = ref
	}
	return refs, nil
}

// inbox receives the JSON webhook's messages.
type inbox struct {
	server *http.Server
	url    string
	mu     sync.Mutex
	msgs   []string
}

func newInbox(hostIP string) (*inbox, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(hostIP, "0")) //nolint:noctx // nothing to wait for
	if err != nil {
		return nil, err
	}
	in := &inbox{url: "http://" + l.Addr().String() + "/messages"}
	in.server = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err == nil {
			in.mu.Lock()
			in.msgs = append(in.msgs, string(b))
			in.mu.Unlock()
		}
	})}
	go func() { _ = in.server.Serve(l) }() // ends with close
	return in, nil
}

func (in *inbox) close() { _ = in.server.Close() }

// about counts the messages that hold a text.
func (in *inbox) about(text string) (n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, m := range in.msgs {
		if strings.Contains(m, text) {
			n++
		}
	}
	return n
}

// get asks the ingress for a path of a Knative Service.
func (w *world) get(ctx context.Context, service, path string) (status int, took time.Duration, err error) {
	return w.send(ctx, http.MethodGet, service, path, nil, nil)
}

// send makes a request through the ingress, on a connection of its own.
func (w *world) send(ctx context.Context, method, service, path string, header http.Header, body io.Reader) (int, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, w.s.ingress+path, body)
	if err != nil {
		return 0, 0, err
	}
	if header != nil {
		req.Header = header
	}
	req.Host = service + "." + w.namespace + "." + w.s.domain
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return 0, time.Since(began), err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, time.Since(began), err
}

// dump keeps what helps to find out why a scenario failed.
func (w *world) dump(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	for _, args := range [][]string{
		{"get", "pods,ksvc,broker,triggers,pingsource,jobs", "-o", "wide"},
		{"get", "events", "--sort-by=.lastTimestamp"},
	} {
		out, err := w.kubectl(ctx, args...)
		if err == nil {
			path := filepath.Join(os.TempDir(), "mlops-bot-e2e-"+name+"-"+strings.ReplaceAll(args[1], ",", "-")[:4]+".txt")
			if os.WriteFile(path, []byte(out), 0o600) == nil {
				w.logf("   see %s", path)
			}
		}
	}
}

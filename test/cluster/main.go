// Command cluster shows the bot on a real Knative cluster, from `helm install`
// to a restored backup, and writes a report. It speaks to the cluster as an
// operator does, with kubectl, helm and kn, and plays GitHub with the stand-in on
// this host.
//
//	make e2e KUBECONFIG=… REGISTRY=… INGRESS=… HOST_IP=…
//
// The cluster needs Knative Serving and Eventing, a registry that this host can
// push to and the nodes can pull from, an address of this host that pods can
// reach, and the images of Postgres and Redis that -stores names. Everything
// happens in one namespace, which is deleted first.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

// settings are the flags.
type settings struct {
	kubeconfig, tools, namespace       string
	registry, ingress, domain, hostIP  string
	images, newImages, stores, volumes string
	report, page, only                 string
}

func run(ctx context.Context, args []string) error {
	var s settings
	fs := flag.NewFlagSet("cluster", flag.ContinueOnError)
	fs.StringVar(&s.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "kubeconfig of the cluster")
	fs.StringVar(&s.tools, "tools", "", "folder with kubectl, helm and kn; none is PATH")
	fs.StringVar(&s.namespace, "namespace", "mlops-bot-e2e", "namespace, which is deleted first")
	fs.StringVar(&s.registry, "registry", "", "registry with the images, e.g. 10.250.0.1:5000")
	fs.StringVar(&s.images, "images", "", "file that tools/images printed, one reference by digest a line")
	fs.StringVar(&s.newImages, "new-images", "", "the same of the version to upgrade to")
	fs.StringVar(&s.stores, "stores", "", "repository of the images postgres, redis and redis-exporter; none is the chart's own")
	fs.StringVar(&s.volumes, "volumes", "", "folder on the node for the stores' volumes, for a cluster without a StorageClass")
	fs.StringVar(&s.ingress, "ingress", "", "URL of the ingress, e.g. http://10.252.0.80")
	fs.StringVar(&s.domain, "domain", "knative.test", "Knative's domain")
	fs.StringVar(&s.hostIP, "host-ip", "", "address of this host that pods can reach")
	fs.StringVar(&s.report, "report", "docs/benchmarks.json", "file for the report")
	fs.StringVar(&s.page, "page", "", "write this page from the report and do nothing else")
	fs.StringVar(&s.only, "run", "", "regular expression of the scenarios to run; the first, install, always runs")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if s.page != "" {
		return writePage(s.report, s.page)
	}
	only, err := regexp.Compile(s.only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	for name, v := range map[string]string{"-kubeconfig": s.kubeconfig, "-registry": s.registry, "-images": s.images, "-ingress": s.ingress, "-host-ip": s.hostIP} {
		if v == "" {
			return fmt.Errorf("%s is needed", name)
		}
	}
	w, err := newWorld(ctx, s)
	if err != nil {
		return err
	}
	defer w.close()

	began := time.Now()
	var failed []string
	done := func(r *result, err error) {
		r.Took = round(time.Since(r.began))
		r.Passed = err == nil
		if err == nil {
			w.logf("   %s passed after %.0f s: %v %v", r.Name, r.Took, r.Counts, r.Seconds)
			return
		}
		r.Problem = err.Error()
		failed = append(failed, r.Name)
		w.logf("   %s FAILED after %.0f s: %v", r.Name, r.Took, err)
		w.dump(ctx, r.Name)
	}
	finish := func() {
		for _, r := range w.report.Scenarios {
			if r.finish != nil {
				w.logf("== %s: its end", r.Name)
				err := r.finish(ctx)
				r.finish = nil
				done(r, err)
			}
		}
	}
	for _, sc := range scenarios {
		if !only.MatchString(sc.name) && sc.name != "install" {
			continue
		}
		if sc.alone {
			finish()
		}
		w.logf("== %s: %s", sc.name, sc.shows)
		r := &result{Name: sc.name, Shows: sc.shows, Counts: map[string]int{}, Seconds: map[string]float64{}, began: time.Now()}
		w.report.Scenarios = append(w.report.Scenarios, r)
		err := sc.run(ctx, w, r)
		if err != nil {
			r.finish = nil
		}
		if r.finish == nil {
			done(r, err)
		}
		if sc.name == "install" && err != nil {
			break // nothing else can be shown
		}
		if ctx.Err() != nil {
			break
		}
	}
	finish()
	if s.only == "" && len(failed) == 0 {
		left, err := w.unfollowed()
		if err != nil {
			return err
		}
		if len(left) > 0 {
			return fmt.Errorf("%s: blocks that no scenario runs: %s", operations, strings.Join(left, ", "))
		}
	}
	w.report.Took = round(time.Since(began))
	if err := writeReport(s.report, w.report); err != nil {
		return err
	}
	w.logf("report: %s, %.0f s in all", s.report, w.report.Took)
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	}
	return nil
}

// scenario is one statement about the bot on a cluster.
type scenario struct {
	name  string
	shows string
	alone bool // needs the others to be over
	run   func(ctx context.Context, w *world, r *result) error
}

// result is what a scenario found; counts come from the database and the
// stand-in.
type result struct {
	Name    string             `json:"name"`
	Shows   string             `json:"shows"`
	Passed  bool               `json:"passed"`
	Problem string             `json:"problem,omitempty"`
	Took    float64            `json:"took_seconds"`
	Counts  map[string]int     `json:"counts,omitempty"`
	Seconds map[string]float64 `json:"seconds,omitempty"`
	Notes   []string           `json:"notes,omitempty"`

	// finish is the scenario's end where it takes minutes of waiting, in which
	// others can run.
	finish func(ctx context.Context) error
	began  time.Time
}

// report is the whole run.
type report struct {
	Commit    string            `json:"commit"`
	At        time.Time         `json:"at"`
	Versions  map[string]string `json:"versions"`
	Node      map[string]string `json:"node"`
	Images    map[string]string `json:"images"`
	Took      float64           `json:"took_seconds"`
	Scenarios []*result         `json:"scenarios"`
}

func writeReport(path string, r report) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644) //nolint:gosec // a report is for everybody
}

func round(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

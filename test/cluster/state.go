package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/standin"
)

// addInstallation installs the App on an account.
func (w *world) addInstallation(account string) error {
	_, err := w.forge.AddInstallation(standin.NewInstallation{Account: account})
	return err
}

// deliveries are the answers that the stand-in got to its webhooks, by status.
func (w *world) deliveries() map[string]int {
	n := map[string]int{}
	for _, d := range w.forge.Deliveries() {
		n[fmt.Sprint(d.Code)]++
	}
	return n
}

// in is the repositories' ids for a query.
func (w *world) in(repos []string) string {
	ids := make([]string, len(repos))
	for i, r := range repos {
		ids[i] = fmt.Sprint(w.forge.id(r))
	}
	return "(" + strings.Join(ids, ",") + ")"
}

// outcomes counts the incidents of repositories by the state of their last
// repair; "none" has none yet.
func (w *world) outcomes(ctx context.Context, repos []string) (map[string]int, error) {
	n := map[string]int{}
	err := w.sql(ctx, &n, `SELECT coalesce(json_object_agg(s, n), '{}') FROM (
		SELECT coalesce(r.state, 'none') AS s, count(*) AS n FROM incidents i
		LEFT JOIN LATERAL (SELECT state FROM repairs WHERE incident_id = i.id ORDER BY attempt DESC LIMIT 1) r ON true
		WHERE i.repo_id IN `+w.in(repos)+` GROUP BY 1) x`)
	return n, err
}

// settled waits until there are so many incidents and each has come to an
// outcome that only a person or GitHub changes.
func (w *world) settled(ctx context.Context, patience time.Duration, repos []string, incidents int) error {
	return until(ctx, patience, fmt.Sprintf("%d incidents with an outcome", incidents), func(ctx context.Context) (bool, string, error) {
		n, err := w.outcomes(ctx, repos)
		all, under := 0, 0
		for state, k := range n {
			all += k
			if slices.Contains([]string{"none", "intended", "proposed"}, state) {
				under += k
			}
		}
		return err == nil && all >= incidents && under == 0, fmt.Sprint(n), err
	})
}

// tally takes the counts from the database and the stand-in and says what is
// wrong with them.
func (w *world) tally(ctx context.Context, r *result, repos []string) error {
	n, err := w.outcomes(ctx, repos)
	if err != nil {
		return err
	}
	for state, k := range n {
		r.Counts["incidents whose repair is "+state] = k
	}
	r.Counts["pull requests"] = len(w.forge.botPulls(repos))
	var open struct{ Dead, Outbox, Work, Events int }
	err = w.sql(ctx, &open, `SELECT json_build_object(
		'Dead', (SELECT count(*) FROM dead_letters),
		'Outbox', (SELECT count(*) FROM outbox WHERE closed_at = 0),
		'Events', (SELECT coalesce(sum(value), 0) FROM counters WHERE name = 'bot_events_processed_total'))`)
	if err != nil {
		return err
	}
	r.Counts["dead letters"], r.Counts["events open in the outbox"], r.Counts["events processed, ever"] = open.Dead, open.Outbox, open.Events
	codes, slowest := w.forge.answers()
	r.Counts["deliveries answered 2xx"], r.Counts["deliveries answered otherwise"] = good(codes), bad(codes)
	r.Seconds["slowest delivery (GitHub waits 10)"] = round(slowest)
	if twice := w.forge.doubled(repos); len(twice) > 0 {
		return fmt.Errorf("done twice: %s", strings.Join(twice, ", "))
	}
	if verified, pulls := n["verified"], r.Counts["pull requests"]; verified > pulls {
		return fmt.Errorf("%d verified repairs and only %d pull requests", verified, pulls)
	}
	for state := range n {
		if state != "verified" && state != "refused" {
			return fmt.Errorf("outcomes are %v: every one of these failures can be repaired, or is refused for a reason", n)
		}
	}
	if open.Dead > 0 {
		return fmt.Errorf("%d dead letters", open.Dead)
	}
	return nil
}

// watchScale follows the pods until the returned function is called, which gives
// the most that there was of each: pods of a function, and memory (MiB) and CPU
// (thousandths of a core) of one container.
func (w *world) watchScale(ctx context.Context) func() map[string]int {
	ctx, cancel := context.WithCancel(ctx)
	most := map[string]int{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for sleep(ctx, 2*time.Second) == nil {
			n, err := w.pods(ctx)
			if err != nil {
				continue
			}
			for f, k := range n {
				most["pods of "+f] = max(most["pods of "+f], k)
			}
			w.watchUsage(ctx, most)
		}
	})
	return func() map[string]int { cancel(); wg.Wait(); return maps.Clone(most) }
}

// watchUsage asks the kubelets what the namespace's containers use.
func (w *world) watchUsage(ctx context.Context, most map[string]int) {
	nodes, err := w.run(ctx, "", "kubectl", "get", "nodes", "-o", "jsonpath={.items[*].metadata.name}")
	if err != nil {
		return
	}
	for node := range strings.FieldsSeq(nodes) {
		out, err := w.run(ctx, "", "kubectl", "get", "--raw", "/api/v1/nodes/"+node+"/proxy/stats/summary")
		if err != nil {
			continue
		}
		var stats struct {
			Pods []struct {
				PodRef     struct{ Namespace string }
				Containers []struct {
					Name   string
					Memory struct{ WorkingSetBytes int }
					CPU    struct{ UsageNanoCores int }
				}
			}
		}
		if json.Unmarshal([]byte(out), &stats) != nil {
			continue
		}
		for _, p := range stats.Pods {
			for _, c := range p.Containers {
				if p.PodRef.Namespace != w.namespace || c.Name == "queue-proxy" {
					continue
				}
				memory, cpu := "memory of "+c.Name+", MiB", "CPU of "+c.Name+", millicores"
				most[memory] = max(most[memory], c.Memory.WorkingSetBytes>>20)
				// The kubelet reckons CPU from a counter that begins anew with a container:
				// what no machine has is no measurement.
				if used := c.CPU.UsageNanoCores / 1e6; used < 1e6 {
					most[cpu] = max(most[cpu], used)
				}
			}
		}
	}
}

// serviceAtZero waits until a Knative Service has no pod.
func (w *world) serviceAtZero(ctx context.Context, service string) error {
	return until(ctx, 4*time.Minute, service+" at zero", func(ctx context.Context) (bool, string, error) {
		out, err := w.kubectl(ctx, "get", "deploy", "-l", "serving.knative.dev/service="+service, "-o",
			`jsonpath={range .items[*]}{.spec.replicas}{.status.replicas} {end}`)
		return err == nil && strings.Trim(out, "0 ") == "" && out != "", out, err
	})
}

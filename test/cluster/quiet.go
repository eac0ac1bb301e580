package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// idleFor holds one tick of the default schedule.
const idleFor = 5 * time.Minute

// idle counts how long the functions are at zero while nothing happens but ticks
// and scrapes, with the windows that Knative has by default.
func idle(ctx context.Context, w *world, r *result) (err error) {
	const windows = `jsonpath={.data.stable-window},{.data.scale-to-zero-grace-period}`
	before, err := w.run(ctx, "", "kubectl", "-n", "knative-serving", "get", "cm", "config-autoscaler", "-o", windows)
	if err != nil {
		return err
	}
	set := func(ctx context.Context, window, grace string) error {
		patch := func(v string) string {
			if v == "" {
				return "null"
			}
			return `"` + v + `"`
		}
		_, err := w.run(ctx, "", "kubectl", "-n", "knative-serving", "patch", "cm", "config-autoscaler", "--type=merge", "-p",
			fmt.Sprintf(`{"data":{"stable-window":%s,"scale-to-zero-grace-period":%s}}`, patch(window), patch(grace)))
		return err
	}
	// The clock as the chart has it.
	if _, err := w.kubectl(ctx, "patch", "pingsource", release+"-tick", "--type=merge", "-p", `{"spec":{"schedule":"*/5 * * * *"}}`); err != nil {
		return err
	}
	if _, err := w.atZero(ctx, 5*time.Minute); err != nil {
		return err
	}
	if err := set(ctx, "60s", "30s"); err != nil {
		return err
	}
	defer func() {
		window, grace, _ := strings.Cut(before, ",")
		err = errors.Join(err, set(context.WithoutCancel(ctx), window, grace))
	}()
	looks, at := 0, map[string]int{}
	end := time.Now().Add(idleFor)
	for scrape := time.Now(); time.Now().Before(end); {
		n, err := w.pods(ctx)
		if err != nil {
			return err
		}
		looks++
		for _, f := range functions {
			if n[f] == 0 {
				at[f]++
			}
		}
		if !time.Now().Before(scrape) {
			if _, err := w.metrics(ctx); err != nil {
				return err
			}
			scrape = scrape.Add(15 * time.Second)
			r.Counts["scrapes"]++
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
	r.Seconds["stretch"] = idleFor.Seconds()
	for _, f := range functions {
		r.Counts[f+" at zero, percent of the looks"] = 100 * at[f] / looks
		if 2*at[f] < looks {
			err = errors.Join(err, fmt.Errorf("%s was at zero for %d of %d looks", f, at[f], looks))
		}
	}
	if at["detect"] == looks {
		err = errors.Join(err, errors.New("no tick woke detect"))
	}
	return err
}

// metrics reads the console's metrics through the API server, as no address in
// the cluster has to be reachable from here.
func (w *world) metrics(ctx context.Context) (string, error) {
	return w.run(ctx, "", "kubectl", "get", "--raw", "/api/v1/namespaces/"+w.namespace+"/services/mlops-bot-service:9090/proxy/metrics")
}

// isolation tries to reach what only the bot may reach from another namespace.
func isolation(ctx context.Context, w *world, r *result) error {
	other := w.namespace + "-stranger"
	stranger := w.cluster
	stranger.namespace = other
	if _, err := w.run(ctx, "", "kubectl", "create", "namespace", other); err != nil {
		return err
	}
	defer func() {
		_, _ = w.run(context.WithoutCancel(ctx), "", "kubectl", "delete", "namespace", other, "--wait=false")
	}()
	inside := []string{"postgres-service." + w.namespace + ".svc:5432", "redis-service." + w.namespace + ".svc:6379", "mlops-bot-service." + w.namespace + ".svc:9090"}
	ips, err := w.kubectl(ctx, "get", "pods", "-l", "serving.knative.dev/service="+release+"-detect", "-o", "jsonpath={range .items[*]}{.status.podIP} {end}")
	if err != nil {
		return err
	}
	for ip := range strings.FieldsSeq(ips) {
		inside = append(inside, ip+":8012")
	}
	// A policy that denies everything tells whether the cluster enforces any.
	if err := stranger.apply(ctx, `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: control}
spec: {podSelector: {matchLabels: {control: "yes"}}, policyTypes: [Egress]}
`); err != nil {
		return err
	}
	control, err := stranger.dial(ctx, w.refs["hello"], "control", inside[:1])
	if err != nil {
		return err
	}
	reached, err := stranger.dial(ctx, w.refs["hello"], "stranger", inside)
	if err != nil {
		return err
	}
	r.Counts["addresses tried"], r.Counts["addresses reached"] = len(inside), strings.Count(reached, "open ")
	if strings.Contains(control, "open ") {
		r.Notes = append(r.Notes, "This cluster doesn't enforce NetworkPolicies (a pod whose policy denies all egress reached "+inside[0]+
			"): the chart's policies are validated by its tests only.")
		return nil
	}
	if strings.Contains(reached, "open ") {
		return fmt.Errorf("a stranger's pod reached: %s", reached)
	}
	return nil
}

// dial runs a pod that tries addresses and returns what it says.
func (c *cluster) dial(ctx context.Context, image, name string, addresses []string) (string, error) {
	args := `"` + strings.Join(addresses, `","`) + `"`
	err := c.apply(ctx, `apiVersion: v1
kind: Pod
metadata: {name: `+name+`, labels: {control: "`+map[bool]string{true: "yes", false: "no"}[name == "control"]+`"}}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  containers: [{name: dial, image: "`+image+`", args: [`+args+`]}]
`)
	if err != nil {
		return "", err
	}
	if _, err := c.kubectl(ctx, "wait", "pod/"+name, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s"); err != nil {
		return "", err
	}
	return c.kubectl(ctx, "logs", name)
}

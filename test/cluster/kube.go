package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// commandTimeout bounds a single call of a command line tool that doesn't wait
// for something by itself.
const commandTimeout = 2 * time.Minute

// cluster is the cluster under test, spoken to as an operator does: with
// kubectl, helm and kn.
type cluster struct {
	kubeconfig string
	namespace  string
	tools      string // a folder with kubectl, helm and kn; "" is PATH
}

// run runs a tool and returns its standard output. The error carries standard
// error.
func (c *cluster) run(ctx context.Context, stdin, tool string, args ...string) (string, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, commandTimeout)
		defer cancel()
	}
	path := tool
	if c.tools != "" {
		path = c.tools + "/" + tool
	}
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // the operator's own tools
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", tool, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// kubectl runs kubectl in the namespace under test.
func (c *cluster) kubectl(ctx context.Context, args ...string) (string, error) {
	return c.run(ctx, "", "kubectl", append([]string{"-n", c.namespace}, args...)...)
}

// apply applies YAML in the namespace under test.
func (c *cluster) apply(ctx context.Context, yaml string) error {
	_, err := c.run(ctx, yaml, "kubectl", "-n", c.namespace, "apply", "-f", "-")
	return err
}

// sql asks the chart's Postgres through its pod, so that no port has to be
// reachable from here, and decodes the one JSON value that the query selects.
func (c *cluster) sql(ctx context.Context, into any, query string) error {
	out, err := c.kubectl(ctx, "exec", "postgres-0", "-c", "postgres", "--",
		"psql", "-h", "/var/run/postgresql", "-U", "bot_user", "-d", "mlops_bot_prod", "-qtAX", "-v", "ON_ERROR_STOP=1", "-c", query)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(strings.TrimSpace(out)), into); err != nil {
		return fmt.Errorf("decode the answer to %q: %w (%.200q)", query, err, out)
	}
	return nil
}

// functions are the four Knative Services.
var functions = []string{"webhook", "detect", "repair", "notify"}

// pods counts the pods that a function is wanted to have. A pod that goes away
// drains for a while, which isn't "up".
func (c *cluster) pods(ctx context.Context) (map[string]int, error) {
	out, err := c.kubectl(ctx, "get", "deploy", "-l", "serving.knative.dev/service", "-o",
		`jsonpath={range .items[*]}{.metadata.labels.serving\.knative\.dev/service} {.spec.replicas} {.status.replicas}{"\n"}{end}`)
	if err != nil {
		return nil, err
	}
	n := map[string]int{}
	for line := range strings.Lines(out) {
		var service string
		var wanted, have int
		if _, err := fmt.Sscan(line, &service, &wanted, &have); err != nil && service == "" {
			continue
		}
		for _, f := range functions {
			if strings.HasSuffix(service, "-"+f) {
				n[f] += max(wanted, have)
			}
		}
	}
	return n, nil
}

// atZero waits until no function has a pod and returns how long that took.
func (c *cluster) atZero(ctx context.Context, patience time.Duration) (time.Duration, error) {
	began := time.Now()
	err := until(ctx, patience, "all functions at zero", func(ctx context.Context) (bool, string, error) {
		n, err := c.pods(ctx)
		return n["webhook"]+n["detect"]+n["repair"]+n["notify"] == 0, fmt.Sprint(n), err
	})
	return time.Since(began), err
}

// until asks again and again until the answer is yes. Errors of single questions
// are part of what is tested (databases restart); the last one is told in the
// end.
func until(ctx context.Context, patience time.Duration, what string, ask func(context.Context) (done bool, seen string, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var seen string
	var err error
	for {
		var done bool
		if done, seen, err = ask(ctx); done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s; last seen: %s: %w", what, patience, seen, errors.Join(err, ctx.Err()))
		case <-time.After(500 * time.Millisecond):
		}
	}
}

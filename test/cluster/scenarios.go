package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// scenarios are what `make e2e` shows, in this order.
var scenarios = []scenario{
	{name: "install", run: install, shows: "`helm install` goes from nothing to ready, and every function to zero"},
	{name: "heal", run: heal, shows: "a signed webhook of a failing run wakes the functions from zero; a pull request appears, is verified, and a message arrives"},
	{name: "cold", run: cold, shows: "how long a function at zero takes to answer through the ingress, beside a hello-world service in the same namespace"},
	{name: "burst", run: burst, shows: "200 incidents of 10 installations at once, with GitHub's secondary limits enforced: each comes to a stated outcome, none twice, the functions scale out and back to zero"},
	{name: "faults", run: faults, shows: "a function's pods, the broker's pods, Redis and Postgres are killed in mid-work: nothing is lost and nothing happens twice"},
	{name: "upgrade", run: upgrade, shows: "`helm upgrade` to another version and `helm rollback` under load lose no delivery"},
	{name: "missed", run: missed, shows: "deliveries that never arrived are redelivered on request of the tick"},
	{name: "operations", run: manual, shows: "the rest of the operations page: doctor, scaling, rotation of every secret, replay"},
	{name: "restore", run: restore, alone: true, shows: "backup, wipe, restore: the same incidents and repairs as before, and the integrity check says so"},
	{name: "isolation", run: isolation, shows: "a pod of another namespace can't reach the stores or the internal functions"},
	{name: "idle", run: idle, alone: true, shows: "with Knative's default windows every function is at zero for at least half of an idle stretch with ticks and scrapes on"},
}

// heal is the whole way of one failure, from zero.
func heal(ctx context.Context, w *world, r *result) error {
	const repo = "octo-labs/train"
	if err := w.forge.addRepo(repo); err != nil {
		return err
	}
	if err := w.addInstallation("octo-labs"); err != nil {
		return err
	}
	// The installation's own delivery woke webhook.
	if _, err := w.atZero(ctx, 3*time.Minute); err != nil {
		return err
	}
	w.forge.answers()
	began := time.Now()
	if err := w.forge.fail(repo, "main"); err != nil {
		return err
	}
	err := until(ctx, 2*time.Minute, "a pull request on the stand-in", func(context.Context) (bool, string, error) {
		n := len(w.forge.botPulls([]string{repo}))
		return n > 0, fmt.Sprintf("%d pull requests, deliveries answered %v", n, w.deliveries()), nil
	})
	if err != nil {
		return err
	}
	r.Seconds["from the push to the pull request, every function at zero before"] = round(time.Since(began))
	if err := w.settled(ctx, 3*time.Minute, []string{repo}, 1); err != nil {
		return err
	}
	r.Seconds["from the push to the verified repair"] = round(time.Since(began))
	err = until(ctx, 2*time.Minute, "a message that says so", func(context.Context) (bool, string, error) {
		n := w.inbox.about("verified")
		return n > 0, fmt.Sprintf("%d messages", n), nil
	})
	if err != nil {
		return err
	}
	r.Seconds["from the push to the message"] = round(time.Since(began))
	codes, slowest := w.forge.answers()
	r.Counts["deliveries answered 2xx"] = good(codes)
	r.Seconds["slowest delivery (GitHub waits 10)"] = round(slowest)
	if bad := bad(codes); bad > 0 || slowest > 10*time.Second {
		return fmt.Errorf("deliveries were answered %v, the slowest after %s", codes, slowest)
	}
	zero, err := w.atZero(ctx, 3*time.Minute)
	r.Seconds["from the message to zero"] = round(zero)
	return err
}

const coldStarts = 5

// cold measures cold and warm answers beside a service that does nothing.
func cold(ctx context.Context, w *world, r *result) error {
	const hello = "hello"
	if err := w.apply(ctx, `apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec:
  template:
    spec:
      containers: [{image: "`+w.refs[hello]+`", resources: {requests: {cpu: 10m, memory: 16Mi}}}]
`); err != nil {
		return err
	}
	defer func() { _, _ = w.kubectl(context.WithoutCancel(ctx), "delete", "ksvc", hello, "--wait=false") }()
	if _, err := w.kubectl(ctx, "wait", "ksvc/"+hello, "--for=condition=Ready", "--timeout=90s"); err != nil {
		return err
	}
	webhook := release + "-webhook"
	ask := map[string]func() (int, time.Duration, error){
		"hello":   func() (int, time.Duration, error) { return w.get(ctx, hello, "/") },
		"webhook": func() (int, time.Duration, error) { return w.ping(ctx, webhook) },
	}
	times := map[string][]float64{}
	for i := range coldStarts {
		for _, name := range slices.Sorted(maps.Keys(ask)) {
			if err := w.serviceAtZero(ctx, map[string]string{"hello": hello, "webhook": webhook}[name]); err != nil {
				return err
			}
			status, took, err := ask[name]()
			if err != nil || status != http.StatusOK {
				return fmt.Errorf("cold request %d to %s: status %d: %w", i, name, status, err)
			}
			times[name+" cold"] = append(times[name+" cold"], round(took))
			for range 20 {
				status, took, err := ask[name]()
				if err != nil || status != http.StatusOK {
					return fmt.Errorf("warm request to %s: status %d: %w", name, status, err)
				}
				times[name+" warm"] = append(times[name+" warm"], round(took))
			}
		}
	}
	for what, list := range times {
		slices.Sort(list)
		r.Seconds[what+", median"] = list[len(list)/2]
		r.Seconds[what+", slowest"] = list[len(list)-1]
	}
	r.Counts["cold starts each"] = coldStarts
	return nil
}

// ping sends a signed ping, which webhook verifies and answers 200.
func (w *world) ping(ctx context.Context, service string) (int, time.Duration, error) {
	body := []byte(`{"zen":"Keep it logically awesome.","hook_id":1}`)
	mac := hmac.New(sha256.New, []byte(w.forge.WebhookSecret()))
	mac.Write(body)
	h := http.Header{
		"Content-Type": {"application/json"}, "X-Github-Event": {"ping"}, "X-Github-Delivery": {rand.Text()},
		"X-Hub-Signature-256": {"sha256=" + hex.EncodeToString(mac.Sum(nil))},
	}
	return w.send(ctx, http.MethodPost, service, "/webhooks/github", h, bytes.NewReader(body))
}

const (
	installations  = 10
	reposEach      = 2 // with four, the outage guard would rightly wait
	branchesEach   = 10
	burstIncidents = installations * reposEach * branchesEach
)

// burst fails many workflows at once.
func burst(ctx context.Context, w *world, r *result) error {
	var repos []string
	for i := range installations {
		org := fmt.Sprintf("burst-%d", i)
		for j := range reposEach {
			repos = append(repos, fmt.Sprintf("%s/train-%d", org, j))
			if err := w.forge.addRepo(repos[len(repos)-1]); err != nil {
				return err
			}
		}
		if err := w.addInstallation(org); err != nil {
			return err
		}
	}
	began := time.Now()
	for _, repo := range repos {
		for b := range branchesEach {
			if err := w.forge.fail(repo, fmt.Sprintf("branch-%d", b)); err != nil {
				return err
			}
		}
	}
	r.Seconds["to push all"] = round(time.Since(began))
	most := w.watchScale(ctx)
	err := w.settled(ctx, 15*time.Minute, repos, burstIncidents)
	for f, n := range most() {
		r.Counts["most "+f] = n
	}
	if err != nil {
		return err
	}
	r.Seconds["from the first push to the last outcome"] = round(time.Since(began))
	if err := w.tally(ctx, r, repos); err != nil {
		return err
	}
	if r.Counts["most pods of detect"] < 2 && r.Counts["most pods of repair"] < 2 {
		return errors.New("neither detect nor repair scaled out")
	}
	zero, err := w.atZero(ctx, 5*time.Minute)
	r.Seconds["from the last outcome to zero"] = round(zero)
	return err
}

// load fails the workflows of some repositories, one after the other, until stop
// is called, and returns their names then.
func (w *world) load(ctx context.Context, org string, every time.Duration) (stop func() ([]string, error)) {
	ctx, cancel := context.WithCancel(ctx)
	type outcome struct {
		repos []string
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		for i := 0; o.err == nil; i++ {
			// Few repositories of one installation, or the outage guard rightly waits.
			name := fmt.Sprintf("%s-%d", org, i/10)
			repo := fmt.Sprintf("%s/train-%d", name, i%10/4)
			if i%10%4 == 0 {
				o.err = w.forge.addRepo(repo)
				o.repos = append(o.repos, repo)
			}
			if i%10 == 0 && o.err == nil {
				o.err = w.addInstallation(name)
			}
			if o.err == nil {
				o.err = w.forge.fail(repo, fmt.Sprintf("branch-%d", i%10))
			}
			select {
			case <-ctx.Done():
				done <- o
				return
			case <-time.After(every):
			}
		}
		done <- o
	}()
	return func() ([]string, error) { cancel(); o := <-done; return o.repos, o.err }
}

// failed counts the branches of the repositories that were made to fail.
func (w *world) failed(repos []string) (n int) {
	for _, r := range repos {
		for ref := range w.forge.Refs(r) {
			if strings.Contains(ref, "/branch-") {
				n++
			}
		}
	}
	return n
}

// faults kills what can be killed, one after the other, under load.
func faults(ctx context.Context, w *world, r *result) error {
	stop := w.load(ctx, "faulty", time.Second)
	kill := func(what string, args ...string) error {
		if err := sleep(ctx, 8*time.Second); err != nil {
			return err
		}
		w.logf("   killing %s", what)
		_, err := w.run(ctx, "", "kubectl", append(args, "--grace-period=0", "--force", "--wait=false")...)
		r.Counts["killed: "+what]++
		return err
	}
	ns := "--namespace=" + w.namespace
	err := errors.Join(
		kill("all pods of repair", "delete", "pod", ns, "-l", "serving.knative.dev/service="+release+"-repair"),
		kill("all pods of detect", "delete", "pod", ns, "-l", "serving.knative.dev/service="+release+"-detect"),
		kill("the broker's ingress and filter", "delete", "pod", "--namespace=knative-eventing", "-l", "eventing.knative.dev/brokerRole in (ingress,filter)"),
		kill("the broker's channel", "delete", "pod", "--namespace=knative-eventing", "-l", "messaging.knative.dev/role=dispatcher"),
		kill("Redis", "delete", "pod", ns, "redis-0", "--ignore-not-found"),
		kill("Postgres", "delete", "pod", ns, "postgres-0"),
		sleep(ctx, 8*time.Second),
	)
	repos, lerr := stop()
	if err := errors.Join(err, lerr); err != nil {
		return err
	}
	if _, err := w.kubectl(ctx, "rollout", "status", "statefulset/postgres", "--timeout=2m"); err != nil {
		return err
	}
	// What a killed pod had begun is taken up when its lease runs out, after 330 s.
	began, incidents := time.Now(), w.failed(repos)
	r.finish = func(ctx context.Context) error {
		if err := w.settled(ctx, 12*time.Minute, repos, incidents); err != nil {
			return err
		}
		r.Seconds["from the last kill to the last outcome, at most"] = round(time.Since(began))
		return w.tally(ctx, r, repos)
	}
	return nil
}

// missed drops deliveries on their way and waits for the bot to ask for them.
func missed(ctx context.Context, w *world, r *result) error {
	const repo = "missed-labs/train"
	if err := w.forge.addRepo(repo); err != nil {
		return err
	}
	if err := w.addInstallation("missed-labs"); err != nil {
		return err
	}
	w.forge.cut(true)
	began := time.Now()
	if err := w.forge.fail(repo, "main"); err != nil {
		return err
	}
	err := until(ctx, time.Minute, "the run's end", func(context.Context) (bool, string, error) {
		n := 0
		for _, d := range w.forge.Deliveries() {
			if d.Event == "workflow_run" && d.Action == "completed" && d.Code == http.StatusBadGateway {
				n++
			}
		}
		r.Counts["failed deliveries"] = n
		return n > 0, fmt.Sprintf("%d failed deliveries", n), nil
	})
	w.forge.cut(false)
	if err != nil {
		return err
	}
	if err := w.settled(ctx, 8*time.Minute, []string{repo}, 1); err != nil {
		return err
	}
	r.Seconds["from the lost delivery to the verified repair"] = round(time.Since(began))
	return w.tally(ctx, r, []string{repo})
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func good(codes map[int]int) (n int) {
	for c, k := range codes {
		if c/100 == 2 {
			n += k
		}
	}
	return n
}

func bad(codes map[int]int) (n int) {
	for c, k := range codes {
		if c/100 != 2 {
			n += k
		}
	}
	return n
}

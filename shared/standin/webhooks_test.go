package standin

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// events lists what was delivered, "event.action", sorted.
func (f fixture) events(t *testing.T) []string {
	t.Helper()
	f.s.idleFor(t)
	var out []string
	for _, d := range f.s.Deliveries() {
		out = append(out, strings.TrimSuffix(d.Event+"."+d.Action, "."))
	}
	slices.Sort(out)
	return out
}

func TestDeliveriesAreSigned(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{WebhookSecret: "s3cret"})
	hook := newReceiver(t, 202)
	f.s.SetWebhookURL(hook.URL + "/webhooks/github")
	f.push(t, "main", touch("1"))
	f.s.idleFor(t)
	hook.mu.Lock()
	defer hook.mu.Unlock()
	if len(hook.got) != 1 {
		t.Fatalf("%d deliveries", len(hook.got))
	}
	req, body := hook.got[0], hook.bodies[0]
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write([]byte(body))
	if got, want := req.Header.Get("X-Hub-Signature-256"), "sha256="+hex.EncodeToString(mac.Sum(nil)); got != want {
		t.Errorf("the signature is %s, want %s", got, want)
	}
	for key, want := range map[string]string{
		"X-GitHub-Event": "push", "Content-Type": "application/json", "X-GitHub-Hook-Installation-Target-Type": "integration",
		"X-GitHub-Hook-Installation-Target-ID": fmt.Sprint(f.s.AppID()),
	} {
		if got := req.Header.Get(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if guid := req.Header.Get("X-GitHub-Delivery"); len(guid) != 36 || guid != f.s.Deliveries()[0].GUID {
		t.Errorf("the GUID is %q", guid)
	}
	if !strings.HasPrefix(req.UserAgent(), "GitHub-Hookshot/") {
		t.Errorf("the user agent is %s", req.UserAgent())
	}
	var payload struct {
		Ref          string
		Repository   struct{ ID int64 }
		Installation struct{ ID int64 }
	}
	if err := json.Unmarshal([]byte(body), &payload); err != nil {
		t.Fatal(err)
	}
	if payload.Ref != "refs/heads/main" || payload.Repository.ID != f.repo.ID || payload.Installation.ID != f.installation {
		t.Errorf("the payload is %s", body)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	run := []string{"check_run.completed", "workflow_run.completed", "workflow_run.in_progress", "workflow_run.requested"}
	for name, c := range map[string]struct {
		do   func(t *testing.T, f fixture)
		want []string
	}{
		"ping": {func(_ *testing.T, f fixture) { f.s.Ping() }, []string{"ping"}},
		"push": {func(t *testing.T, f fixture) { f.push(t, "topic", touch("1")) }, append([]string{"push"}, run...)},
		"a scripted run": {func(t *testing.T, f fixture) {
			if _, err := f.s.ScriptRun(full, ScriptedRun{ScriptedAttempt: ScriptedAttempt{Jobs: []ScriptedJob{{Name: "a"}}}}); err != nil {
				t.Error(err)
			}
		}, run},
		"an issue": {func(_ *testing.T, f fixture) {
			n := f.all.want(201, "POST", repo+"/issues", obj{"title": "t", "labels": []string{"bug"}}).num("number")
			f.all.want(201, "POST", fmt.Sprintf("%s/issues/%d/comments", repo, n), obj{"body": "b"})
			f.all.want(200, "PATCH", fmt.Sprintf("%s/issues/%d", repo, n), obj{"state": "closed"})
		}, []string{"issues.opened", "issue_comment.created", "issues.closed"}},
		"uninstalling": {func(t *testing.T, f fixture) {
			if err := f.s.Uninstall(f.installation); err != nil {
				t.Error(err)
			}
		}, []string{"installation.deleted"}},
		"a person's comment": {func(t *testing.T, f fixture) {
			n := f.all.want(201, "POST", repo+"/issues", obj{"title": "t"}).num("number")
			if _, err := f.s.Comment(full, int(n), "maintainer", "/mlops-bot stop"); err != nil {
				t.Error(err)
			}
		}, []string{"issues.opened", "issue_comment.created"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, Options{Limits: unlimited()})
			f.s.SetScript(func(Trigger) (ScriptedAttempt, bool) {
				return ScriptedAttempt{Jobs: []ScriptedJob{{Name: "test"}}}, true
			})
			f.s.SetWebhookURL(newReceiver(t, 202).URL)
			c.do(t, f)
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, f.events(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPullRequestEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Limits: unlimited()})
	f.push(t, "topic", touch("1"))
	f.s.SetWebhookURL(newReceiver(t, 202).URL)
	a := f.all.want(201, "POST", repo+"/pulls", obj{"title": "t", "head": "topic", "base": "main", "draft": true})
	n := a.num("number")
	f.all.want(200, "POST", fmt.Sprintf("%s/issues/%d/labels", repo, n), obj{"labels": []string{"mlops-bot"}})
	f.all.want(405, "PUT", fmt.Sprintf("%s/pulls/%d/merge", repo, n), nil)
	if a := f.all.want(200, "POST", "graphql", obj{
		"query":     "mutation($id: ID!) { markPullRequestReadyForReview(input: {pullRequestId: $id}) { pullRequest { isDraft } } }",
		"variables": obj{"id": a.str("node_id")},
	}); a.at("data.markPullRequestReadyForReview.pullRequest.isDraft") != false {
		t.Errorf("GraphQL answers %s", a.body)
	}
	f.push(t, "topic", touch("2"))
	if _, err := f.s.Merge(full, int(n)); err != nil {
		t.Fatal(err)
	}
	want := []string{"pull_request.closed", "pull_request.labeled", "pull_request.opened", "pull_request.ready_for_review", "pull_request.synchronize", "push", "push"}
	if diff := cmp.Diff(want, f.events(t)); diff != "" {
		t.Error(diff)
	}
	if a := f.all.want(200, "GET", fmt.Sprintf("%s/pulls/%d", repo, n), nil); a.at("merged") != true || a.str("merged_by.login") != org {
		t.Errorf("it is %s", a.body)
	}
	if got := f.all.want(200, "GET", repo+"/contents/touched", nil, "Accept", "application/vnd.github.raw+json"); string(got.body) != "2" {
		t.Errorf("main has %q", got.body)
	}
}

// TestFailedDeliveriesStayFailed asks for a delivery to be sent again, as only
// the App can.
func TestFailedDeliveriesStayFailed(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	hook := newReceiver(t, 503)
	f.s.SetWebhookURL(hook.URL)
	f.push(t, "main", touch("1"))
	f.s.idleFor(t)
	app := f.s.client(t, f.s.goodJWT(t))
	a := app.want(200, "GET", "app/hook/deliveries", nil)
	if a.num("0.status_code") != 503 || a.at("0.redelivery") != false || a.at("1") != nil || a.str("0.event") != "push" {
		t.Fatalf("the deliveries are %s", a.body)
	}
	hook.answer(202)
	app.want(202, "POST", fmt.Sprintf("app/hook/deliveries/%d/attempts", a.num("0.id")), nil)
	f.s.idleFor(t)
	b := app.want(200, "GET", "app/hook/deliveries", nil)
	if b.num("0.status_code") != 202 || b.at("0.redelivery") != true || b.str("0.guid") != a.str("0.guid") || b.num("0.id") == a.num("0.id") {
		t.Errorf("the deliveries are %s", b.body)
	}
	one := app.want(200, "GET", fmt.Sprintf("app/hook/deliveries/%d", b.num("0.id")), nil)
	if one.str("request.payload.ref") != "refs/heads/main" || one.str("request.headers.X-Github-Event") != "push" {
		t.Errorf("the delivery is %s", one.body)
	}
	app.want(404, "POST", "app/hook/deliveries/7/attempts", nil)
	f.all.want(401, "GET", "app/hook/deliveries", nil)
}

func TestDeliveriesArePaged(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	f.s.SetWebhookURL(newReceiver(t, 202).URL)
	for range 5 {
		f.s.Ping()
	}
	f.s.idleFor(t)
	app := f.s.client(t, f.s.goodJWT(t))
	var ids []int64
	next := f.s.URL() + "app/hook/deliveries?per_page=2"
	for next != "" {
		a := app.want(200, "GET", next, nil)
		for i := range 2 {
			if n := a.num(fmt.Sprintf("%d.id", i)); n != 0 {
				ids = append(ids, n)
			}
		}
		u, _, _ := strings.Cut(a.header.Get("Link"), ">")
		next = strings.TrimPrefix(u, "<")
	}
	if len(ids) != 5 || !slices.IsSortedFunc(ids, func(a, b int64) int { return int(b - a) }) {
		t.Errorf("the ids are %v", ids)
	}
}

func TestDeliveriesMisbehave(t *testing.T) {
	t.Parallel()
	commented := make(chan struct{})
	release := sync.OnceFunc(func() { close(commented) })
	defer release()
	f := newFixture(t, Options{Limits: unlimited(), Webhooks: WebhookOptions{
		Delay: func(event, _ string) time.Duration {
			if event == "issues" {
				<-commented
			}
			return 0
		},
		Duplicate: func(event, _ string) bool { return event == "issue_comment" },
	}})
	hook := newReceiver(t, 202)
	f.s.SetWebhookURL(hook.URL)
	n := f.all.want(201, "POST", repo+"/issues", obj{"title": "t"}).num("number")
	f.all.want(201, "POST", fmt.Sprintf("%s/issues/%d/comments", repo, n), obj{"body": "b"})
	for f.s.Deliveries()[1].Code == 0 || f.s.Deliveries()[2].Code == 0 {
		time.Sleep(time.Millisecond)
	}
	release()
	if diff := cmp.Diff([]string{"issue_comment.created", "issue_comment.created", "issues.opened"}, f.events(t)); diff != "" {
		t.Error(diff)
	}
	all := f.s.Deliveries()
	if all[1].GUID != all[2].GUID {
		t.Error("the two copies have different GUIDs")
	}
	hook.mu.Lock()
	defer hook.mu.Unlock()
	if got := hook.got[2].Header.Get("X-GitHub-Event"); got != "issues" {
		t.Errorf("the last to arrive is %s", got)
	}
}

func TestNobodyIsTold(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Limits: unlimited()})
	hook := newReceiver(t, 202)
	f.s.SetWebhookURL(hook.URL)
	hook.Close() // nothing answers
	f.push(t, "main", touch("1"))
	f.s.idleFor(t)
	if all := f.s.Deliveries(); len(all) != 1 || all[0].Code != 0 {
		t.Errorf("the deliveries are %+v", all)
	}
	if a := f.s.client(t, f.s.goodJWT(t)).want(200, "GET", "app/hook/deliveries", nil); a.str("0.status") != "failed to connect to host" {
		t.Errorf("the delivery is %s", a.body)
	}
}

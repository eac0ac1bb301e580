package standin

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRolesOfPeople(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	for role, want := range map[string]string{"admin": "admin", "maintain": "write", "write": "write", "triage": "read", "read": "read", "": "none"} {
		if err := f.s.Grant(full, "mona", role); err != nil {
			t.Fatal(err)
		}
		a := f.all.want(200, "GET", repo+"/collaborators/mona/permission", nil)
		if got := a.str("permission"); got != want {
			t.Errorf("%q has the permission %q, want %q", role, got, want)
		}
	}
	if err := f.s.Grant(full, "mona", "king"); err == nil {
		t.Error("an unknown role was granted")
	}
}

func TestPeopleChangeRepositories(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	f.push(t, "topic", map[string]File{"README.md": {Content: "better\n"}})
	n, err := f.s.OpenPull(full, NewPull{Title: "Better", Head: "topic", Base: "main", Author: "mona"})
	if err != nil {
		t.Fatal(err)
	}
	issue, err := f.s.OpenIssue(full, "mona", "Help", "It is red.")
	if err != nil {
		t.Fatal(err)
	}
	id, err := f.s.Comment(full, n, "mona", "please")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.s.LabelPull(full, n, "urgent"); err != nil {
		t.Fatal(err)
	}
	head := f.s.Refs(full)["refs/heads/topic"]
	want := []PullRequest{{
		Number: n, Title: "Better", State: "open", Author: "mona", HeadBranch: "topic", HeadSHA: head, BaseBranch: "main",
		MergeSHA: f.s.Refs(full)[fmt.Sprintf("refs/pull/%d/merge", n)], Labels: []string{"urgent"}, Comments: []Comment{{id, "mona", "please"}},
	}}
	if diff := cmp.Diff(want, f.s.PullRequests(full)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Issue{{Number: issue, Title: "Help", Body: "It is red.", State: "open", Author: "mona"}}, f.s.Issues(full)); diff != "" {
		t.Error(diff)
	}
	if err := f.s.ClosePull(full, n); err != nil {
		t.Fatal(err)
	}
	if _, err := f.s.Merge(full, n); err == nil {
		t.Error("a closed pull request was merged")
	}
	files, err := f.s.Tree(full, "topic")
	if err != nil || files["README.md"].Content != "better\n" || files["run.sh"].Mode != modeExecutable {
		t.Errorf("the tree is %v, %v", files, err)
	}
	f.push(t, "topic", map[string]File{"README.md": Deleted()})
	if files, err := f.s.Tree(full, "topic"); err != nil || len(files) != 3 {
		t.Errorf("the tree is %v, %v", files, err)
	}
	if err := f.s.Archive(full, true); err != nil {
		t.Fatal(err)
	}
	f.all.want(403, "POST", repo+"/issues", obj{"title": "t"})
	for what, err := range map[string]error{
		"a pull request":  f.s.ClosePull(full, 99),
		"an issue":        f.s.LabelPull(full, 99, "l"),
		"a repository":    f.s.Protect("no/where", "main"),
		"an installation": f.s.Suspend(1, true),
		"a job":           f.s.Expire(full, 1),
	} {
		if err == nil {
			t.Errorf("%s that is not there was changed", what)
		}
	}
}

// TestAPushCanMerge is a maintainer who merges at home and pushes.
func TestAPushCanMerge(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	head := f.push(t, "topic", map[string]File{"README.md": {Content: "better\n"}})
	if _, err := f.s.OpenPull(full, NewPull{Title: "Better", Head: "topic", Base: "main"}); err != nil {
		t.Fatal(err)
	}
	f.all.want(200, "PATCH", repo+"/git/refs/heads/main", obj{"sha": head})
	if p := f.s.PullRequests(full)[0]; !p.Merged || p.State != "closed" || p.MergeSHA != head {
		t.Errorf("the pull request is %+v", p)
	}
}

func TestInstallationsChange(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	if _, err := f.s.CreateRepo(NewRepo{FullName: org + "/other", Files: Files(map[string]string{"a": "1"})}); err != nil {
		t.Fatal(err)
	}
	hook := newReceiver(t, 202)
	f.s.SetWebhookURL(hook.URL)
	if err := f.s.Select(f.installation, []string{full, org + "/other"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := f.s.Select(f.installation, nil, []string{org + "/other"}); err != nil {
		t.Fatal(err)
	}
	f.all.want(404, "GET", "repos/"+org+"/other", nil)
	f.all.want(200, "GET", repo, nil)
	if err := f.s.SetPermissions(f.installation, map[string]string{"contents": "read"}); err != nil {
		t.Fatal(err)
	}
	f.all.want(200, "GET", repo+"/branches/main", nil)
	f.all.want(403, "GET", repo+"/actions/runs", nil)
	f.s.idleFor(t)
	var got []string
	for _, d := range f.s.Deliveries() {
		got = append(got, d.Event+" "+d.Action)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"installation new_permissions_accepted", "installation_repositories added", "installation_repositories removed"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestScriptedRunsAreRerun follows a script from attempt to attempt, and ends as
// the last one did where the script has no more.
func TestScriptedRunsAreRerun(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Limits: unlimited()})
	red := []ScriptedJob{{Name: "train", Conclusion: "failure", Log: "boom"}, {Name: "lint", Log: "fine"}}
	n, err := f.s.ScriptRun(full, ScriptedRun{
		ScriptedAttempt: ScriptedAttempt{Jobs: red},
		Reruns:          []ScriptedAttempt{{Jobs: red}, {Jobs: []ScriptedJob{{Name: "train", Log: "learned"}, {Name: "lint"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if n.Conclusion != "failure" || len(n.Jobs) != 2 || !strings.HasSuffix(n.Jobs[0].Log, "Z boom\n") {
		t.Fatalf("the run is %+v", n)
	}
	lint := n.Jobs[1].Log
	path := fmt.Sprintf("%s/actions/runs/%d", repo, n.ID)
	for attempt, want := range []string{2: "failure", 3: "success"} {
		if want == "" {
			continue
		}
		f.all.want(201, "POST", path+"/rerun-failed-jobs", nil)
		f.s.idleFor(t)
		got := f.s.Runs(full)[0]
		if got.Attempt != attempt || got.Conclusion != want || got.Jobs[1].Log != lint {
			t.Errorf("attempt %d: %+v", attempt, got)
		}
	}
	f.all.want(403, "POST", path+"/rerun-failed-jobs", nil)
	f.all.want(201, "POST", path+"/rerun", nil)
	f.s.idleFor(t)
	if got := f.s.Runs(full)[0]; got.Attempt != 4 || got.Conclusion != "success" {
		t.Errorf("after the script's end: %+v", got)
	}
	if got := f.all.want(200, "GET", path+"/jobs?filter=all", nil).num("total_count"); got != 8 {
		t.Errorf("%v jobs of all attempts, want 8", got)
	}
	if got := f.all.want(200, "GET", path+"/attempts/1", nil).str("conclusion"); got != "failure" {
		t.Errorf("the first attempt ended in %q", got)
	}
}

func TestLogsLag(t *testing.T) {
	t.Parallel()
	clock := newClock()
	f := newFixture(t, Options{Now: clock.now, Lag: Lag{LogRequests: 1, LogDelay: time.Minute, LogRetention: 24 * time.Hour}})
	n, err := f.s.ScriptRun(full, ScriptedRun{ScriptedAttempt: ScriptedAttempt{Jobs: []ScriptedJob{{Name: "a", Log: "said"}, {Name: "silent"}}}})
	if err != nil {
		t.Fatal(err)
	}
	logs := func(job int) string { return fmt.Sprintf("%s/actions/jobs/%d/logs", repo, n.Jobs[job].ID) }
	f.all.want(404, "GET", logs(0), nil)
	clock.add(2 * time.Minute)
	f.all.want(404, "GET", logs(0), nil) // the first time that it could be there
	f.all.want(302, "GET", logs(0), nil)
	f.all.want(404, "GET", logs(1), nil)
	if err := f.s.Expire(full, n.Jobs[0].ID); err != nil {
		t.Fatal(err)
	}
	f.all.want(410, "GET", logs(0), nil)
}

func TestGraphQLKnowsOneMutation(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Limits: unlimited()})
	f.push(t, "topic", map[string]File{"README.md": {Content: "better\n"}})
	n, err := f.s.OpenPull(full, NewPull{Title: "Better", Head: "topic", Base: "main", Draft: true})
	if err != nil {
		t.Fatal(err)
	}
	id := f.all.want(200, "GET", fmt.Sprintf("%s/pulls/%d", repo, n), nil).str("node_id")
	ask := func(c client, id string) reply {
		return c.want(200, "POST", "graphql", obj{
			"query":     `mutation($id: ID!) { markPullRequestReadyForReview(input: {pullRequestId: $id}) { pullRequest { isDraft } } }`,
			"variables": obj{"id": id},
		})
	}
	f.all.want(400, "POST", "graphql", obj{"query": "query { viewer { login } }"})
	if got := ask(f.all, "PR_none").str("errors.0.type"); got != "NOT_FOUND" {
		t.Errorf("the error is %q", got)
	}
	weak := f.s.token(t, f.installation, obj{"permissions": obj{"pull_requests": "write"}})
	if got := ask(weak, id).str("errors.0.type"); got != "FORBIDDEN" {
		t.Errorf("the error is %q", got)
	}
	if !f.s.PullRequests(full)[0].Draft {
		t.Fatal("it is no draft any more")
	}
	if got := ask(f.all, id); strings.Contains(string(got.body), "errors") {
		t.Errorf("the answer is %s", got.body)
	}
	if f.s.PullRequests(full)[0].Draft {
		t.Error("it is still a draft")
	}
}

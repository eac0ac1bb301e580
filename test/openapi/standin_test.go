package openapi_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-github/v62/github"

	"github.com/mlops-bot/mlops-bot/shared/standin"
	"github.com/mlops-bot/mlops-bot/test/openapi"
)

// description is GitHub's, read once for all tests.
var description = sync.OnceValues(func() (*openapi.Validator, error) { return openapi.Load(".") })

const (
	owner    = "octo-labs"
	name     = "trainer"
	fullName = owner + "/" + name

	workflow = `name: ci
on: [push, pull_request, workflow_dispatch]
jobs:
  test:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v4
      - run: ./test.sh
`
)

// forge is a stand-in whose every exchange is held against GitHub's description.
type forge struct {
	*standin.Server
	t         *testing.T
	recorder  *openapi.Recorder
	repo      standin.Repo
	install   int64
	app, inst *github.Client
	base      string
}

func newForge(t *testing.T) *forge {
	t.Helper()
	v, err := description()
	if err != nil {
		t.Fatal(err)
	}
	s, err := standin.New(standin.Options{Execute: true, Limits: standin.Limits{MutationsPerMinute: -1, ConcurrentMutations: -1}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	f := &forge{Server: s, t: t, recorder: v.Recorder(strings.TrimRight(urlPath(t, s.URL()), "/")), base: s.URL()}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	s.SetRecorder(func(e standin.Exchange) {
		f.recorder.Record(context.Background(), openapi.Exchange{
			Method: e.Method, Path: e.URL, Header: e.Header, Body: e.Body, Status: e.Status, AnswerHeader: e.AnswerHeader, Answer: e.Answer,
		})
	})
	f.repo, err = s.CreateRepo(standin.NewRepo{FullName: fullName, Organization: true, Files: map[string]standin.File{
		"README.md":                {Content: "A trainer.\n"},
		"src/train.py":             {Content: "print('training')\n"},
		"test.sh":                  {Content: "#!/bin/sh\ntest ! -e broken\n", Mode: "100755"},
		"link":                     {Content: "README.md", Mode: "120000"},
		".github/workflows/ci.yml": {Content: workflow},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if f.install, err = s.AddInstallation(standin.NewInstallation{Account: owner}); err != nil {
		t.Fatal(err)
	}
	appTransport, err := ghinstallation.NewAppsTransport(http.DefaultTransport, s.AppID(), s.PrivateKeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	appTransport.BaseURL = strings.TrimRight(s.URL(), "/")
	f.app = f.client(appTransport)
	f.inst = f.client(ghinstallation.NewFromAppsTransport(appTransport, f.install))
	return f
}

func (f *forge) client(transport http.RoundTripper) *github.Client {
	c := github.NewClient(&http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }})
	c.BaseURL = mustParse(f.t, f.base)
	return c
}

// idle waits until no run and no delivery is under way.
func (f *forge) idle() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	if err := f.Idle(ctx); err != nil {
		f.t.Fatal(err)
	}
}

// checked reports all that GitHub's description doesn't allow.
func (f *forge) checked() {
	f.t.Helper()
	problems := f.recorder.Problems()
	slices.Sort(problems)
	for _, p := range slices.Compact(problems) {
		f.t.Error(p)
	}
}

// push makes a commit of a person's.
func (f *forge) push(branch string, files map[string]standin.File) {
	f.t.Helper()
	if _, err := f.Push(fullName, branch, "", "A change", files); err != nil {
		f.t.Fatal(err)
	}
}

func must[T any](t *testing.T) func(v T, resp *github.Response, err error) T {
	return func(v T, _ *github.Response, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// operations are those that the stand-in must have been asked for: what the bot
// uses, and what the bot's tests look at.
var operations = []string{
	"GET /app", "GET /app/installations", "GET /app/installations/{installation_id}", "POST /app/installations/{installation_id}/access_tokens",
	"GET /repos/{owner}/{repo}/installation", "GET /installation/repositories", "GET /rate_limit",
	"GET /repos/{owner}/{repo}", "GET /repos/{owner}/{repo}/branches", "GET /repos/{owner}/{repo}/branches/{branch}",
	"GET /repos/{owner}/{repo}/commits", "GET /repos/{owner}/{repo}/commits/{ref}", "GET /repos/{owner}/{repo}/compare/{basehead}",
	"GET /repos/{owner}/{repo}/commits/{commit_sha}/pulls", "GET /repos/{owner}/{repo}/contents/{path}",
	"GET /repos/{owner}/{repo}/collaborators/{username}/permission",
	"GET /repos/{owner}/{repo}/git/ref/{ref}", "GET /repos/{owner}/{repo}/git/matching-refs/{ref}", "POST /repos/{owner}/{repo}/git/refs",
	"PATCH /repos/{owner}/{repo}/git/refs/{ref}", "DELETE /repos/{owner}/{repo}/git/refs/{ref}",
	"GET /repos/{owner}/{repo}/git/blobs/{file_sha}", "POST /repos/{owner}/{repo}/git/blobs", "GET /repos/{owner}/{repo}/git/trees/{tree_sha}",
	"POST /repos/{owner}/{repo}/git/trees", "GET /repos/{owner}/{repo}/git/commits/{commit_sha}", "POST /repos/{owner}/{repo}/git/commits",
	"POST /repos/{owner}/{repo}/pulls", "GET /repos/{owner}/{repo}/pulls", "GET /repos/{owner}/{repo}/pulls/{pull_number}",
	"PATCH /repos/{owner}/{repo}/pulls/{pull_number}", "GET /repos/{owner}/{repo}/pulls/{pull_number}/files",
	"GET /repos/{owner}/{repo}/pulls/{pull_number}/commits", "PUT /repos/{owner}/{repo}/pulls/{pull_number}/merge",
	"POST /repos/{owner}/{repo}/issues", "GET /repos/{owner}/{repo}/issues", "GET /repos/{owner}/{repo}/issues/{issue_number}",
	"PATCH /repos/{owner}/{repo}/issues/{issue_number}", "GET /repos/{owner}/{repo}/issues/{issue_number}/comments",
	"POST /repos/{owner}/{repo}/issues/{issue_number}/comments", "GET /repos/{owner}/{repo}/issues/comments/{comment_id}",
	"PATCH /repos/{owner}/{repo}/issues/comments/{comment_id}", "DELETE /repos/{owner}/{repo}/issues/comments/{comment_id}",
	"GET /repos/{owner}/{repo}/labels", "POST /repos/{owner}/{repo}/labels", "GET /repos/{owner}/{repo}/labels/{name}",
	"GET /repos/{owner}/{repo}/issues/{issue_number}/labels", "POST /repos/{owner}/{repo}/issues/{issue_number}/labels",
	"DELETE /repos/{owner}/{repo}/issues/{issue_number}/labels/{name}",
	"GET /repos/{owner}/{repo}/actions/workflows", "GET /repos/{owner}/{repo}/actions/workflows/{workflow_id}",
	"GET /repos/{owner}/{repo}/actions/workflows/{workflow_id}/runs", "POST /repos/{owner}/{repo}/actions/workflows/{workflow_id}/dispatches",
	"GET /repos/{owner}/{repo}/actions/runs", "GET /repos/{owner}/{repo}/actions/runs/{run_id}",
	"GET /repos/{owner}/{repo}/actions/runs/{run_id}/attempts/{attempt_number}", "GET /repos/{owner}/{repo}/actions/runs/{run_id}/jobs",
	"GET /repos/{owner}/{repo}/actions/runs/{run_id}/attempts/{attempt_number}/jobs", "GET /repos/{owner}/{repo}/actions/jobs/{job_id}",
	"GET /repos/{owner}/{repo}/actions/jobs/{job_id}/logs", "GET /repos/{owner}/{repo}/actions/runs/{run_id}/logs",
	"POST /repos/{owner}/{repo}/actions/runs/{run_id}/rerun", "POST /repos/{owner}/{repo}/actions/runs/{run_id}/rerun-failed-jobs",
	"POST /repos/{owner}/{repo}/actions/jobs/{job_id}/rerun",
	"GET /app/hook/deliveries", "GET /app/hook/deliveries/{delivery_id}", "POST /app/hook/deliveries/{delivery_id}/attempts",
}

// TestStandinSpeaksAsGitHubDoes drives every endpoint of the stand-in with the
// client that the bot uses, and holds each request and answer against GitHub's
// description.
func TestStandinSpeaksAsGitHubDoes(t *testing.T) {
	t.Parallel()
	f := newForge(t)
	hook := newHook(t)
	f.SetWebhookURL(hook.URL)
	f.apps()
	f.reads()
	head := f.writes()
	f.pulls(head)
	f.issues()
	f.actions()
	f.hooks()
	f.checked()
	seen := f.recorder.Operations()
	for _, op := range operations {
		if seen[op] == 0 {
			t.Errorf("%s was not asked for", op)
		}
	}
}

func (f *forge) apps() {
	ctx, t := f.t.Context(), f.t
	app := must[*github.App](t)(f.app.Apps.Get(ctx, ""))
	if app.GetID() != f.AppID() || app.GetSlug()+"[bot]" != f.BotLogin() {
		t.Errorf("the App is %d %q", app.GetID(), app.GetSlug())
	}
	if all := must[[]*github.Installation](t)(f.app.Apps.ListInstallations(ctx, nil)); len(all) != 1 || all[0].GetID() != f.install {
		t.Errorf("the installations are %v", all)
	}
	must[*github.Installation](t)(f.app.Apps.GetInstallation(ctx, f.install))
	must[*github.Installation](t)(f.app.Apps.FindRepositoryInstallation(ctx, owner, name))
	tok := must[*github.InstallationToken](t)(f.app.Apps.CreateInstallationToken(ctx, f.install, &github.InstallationTokenOptions{
		RepositoryIDs: []int64{f.repo.ID}, Permissions: &github.InstallationPermissions{Contents: github.String("read")},
	}))
	if got := tok.GetPermissions().GetContents(); got != "read" || tok.GetPermissions().Issues != nil {
		t.Errorf("the token may %v", tok.GetPermissions())
	}
	if repos := must[*github.ListRepositories](t)(f.inst.Apps.ListRepos(ctx, nil)); repos.GetTotalCount() != 1 {
		t.Errorf("the installation has %d repositories", repos.GetTotalCount())
	}
	must[*github.RateLimits](t)(f.inst.RateLimit.Get(ctx))
}

func (f *forge) reads() {
	ctx, t, api := f.t.Context(), f.t, f.inst
	must[*github.Repository](t)(api.Repositories.Get(ctx, owner, name))
	must[*github.Repository](t)(api.Repositories.GetByID(ctx, f.repo.ID))
	must[[]*github.Branch](t)(api.Repositories.ListBranches(ctx, owner, name, nil))
	must[*github.Branch](t)(api.Repositories.GetBranch(ctx, owner, name, "main", 0))
	must[[]*github.RepositoryCommit](t)(api.Repositories.ListCommits(ctx, owner, name, nil))
	c := must[*github.RepositoryCommit](t)(api.Repositories.GetCommit(ctx, owner, name, "main", nil))
	if c.GetSHA() != f.repo.Head {
		t.Errorf("main is at %s, want %s", c.GetSHA(), f.repo.Head)
	}
	must[*github.Reference](t)(api.Git.GetRef(ctx, owner, name, "heads/main"))
	must[[]*github.Reference](t)(api.Git.ListMatchingRefs(ctx, owner, name, &github.ReferenceListOptions{Ref: "heads/ma"}))
	tree := must[*github.Tree](t)(api.Git.GetTree(ctx, owner, name, f.repo.Head, true))
	must[*github.Tree](t)(api.Git.GetTree(ctx, owner, name, f.repo.Head, false))
	for _, e := range tree.Entries {
		if e.GetType() == "blob" {
			must[*github.Blob](t)(api.Git.GetBlob(ctx, owner, name, e.GetSHA()))
		}
	}
	must[*github.Commit](t)(api.Git.GetCommit(ctx, owner, name, f.repo.Head))
	for _, path := range []string{"README.md", "src", "src/train.py", "link"} {
		if _, _, _, err := api.Repositories.GetContents(ctx, owner, name, path, &github.RepositoryContentGetOptions{Ref: "main"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, ref := range []string{"main", "gone"} {
		_, _, _, err := api.Repositories.GetContents(ctx, owner, name, "no/such.file", &github.RepositoryContentGetOptions{Ref: ref})
		wantStatus(t, err, http.StatusNotFound)
	}
	must[*github.RepositoryPermissionLevel](t)(api.Repositories.GetPermissionLevel(ctx, owner, name, owner))
	_, _, err := api.Repositories.GetPermissionLevel(ctx, owner, name, "nobody-there")
	wantStatus(t, err, http.StatusNotFound)
	_, _, err = api.Repositories.Get(ctx, owner, "another")
	wantStatus(t, err, http.StatusNotFound)
}

// writes commits a change through the Git Data API and returns its branch.
func (f *forge) writes() (branch string) {
	ctx, t, api := f.t.Context(), f.t, f.inst
	base := must[*github.Commit](t)(api.Git.GetCommit(ctx, owner, name, f.repo.Head))
	blob := must[*github.Blob](t)(api.Git.CreateBlob(ctx, owner, name, &github.Blob{Content: github.String("AAE="), Encoding: github.String("base64")}))
	tree := must[*github.Tree](t)(api.Git.CreateTree(ctx, owner, name, base.Tree.GetSHA(), []*github.TreeEntry{
		{Path: github.String("src/train.py"), Mode: github.String("100644"), Type: github.String("blob"), Content: github.String("print('trained')\n")},
		{Path: github.String("model.bin"), Mode: github.String("100644"), Type: github.String("blob"), SHA: blob.SHA},
		{Path: github.String("link"), Mode: github.String("120000"), Type: github.String("blob")}, // without content or sha: deleted
	}))
	made := must[*github.Commit](t)(api.Git.CreateCommit(ctx, owner, name, &github.Commit{
		Message: github.String("Train better"), Tree: &github.Tree{SHA: tree.SHA}, Parents: []*github.Commit{{SHA: base.SHA}},
	}, nil))
	if !made.GetVerification().GetVerified() {
		t.Error("a bot's commit is not verified")
	}
	at := func(ref, sha string) *github.Reference {
		return &github.Reference{Ref: github.String(ref), Object: &github.GitObject{SHA: &sha}}
	}
	must[*github.Reference](t)(api.Git.CreateRef(ctx, owner, name, at("refs/heads/mlops-bot/one", base.GetSHA())))
	_, _, err := api.Git.CreateRef(ctx, owner, name, at("refs/heads/mlops-bot/one", base.GetSHA()))
	wantStatus(t, err, http.StatusUnprocessableEntity)
	must[*github.Reference](t)(api.Git.UpdateRef(ctx, owner, name, at("refs/heads/mlops-bot/one", made.GetSHA()), false))
	_, _, err = api.Git.UpdateRef(ctx, owner, name, at("refs/heads/mlops-bot/one", base.GetSHA()), false)
	wantStatus(t, err, http.StatusUnprocessableEntity)
	must[*github.Reference](t)(api.Git.CreateRef(ctx, owner, name, at("refs/heads/mlops-bot/two", base.GetSHA())))
	if _, err := api.Git.DeleteRef(ctx, owner, name, "heads/mlops-bot/two"); err != nil {
		t.Fatal(err)
	}
	must[*github.CommitsComparison](t)(api.Repositories.CompareCommits(ctx, owner, name, "main", "mlops-bot/one", nil))
	return "mlops-bot/one"
}

func (f *forge) pulls(head string) {
	ctx, t, api := f.t.Context(), f.t, f.inst
	n := &github.NewPullRequest{Title: github.String("Train better"), Body: github.String("It was bad."), Head: &head, Base: github.String("main"), Draft: github.Bool(true)}
	p := must[*github.PullRequest](t)(api.PullRequests.Create(ctx, owner, name, n))
	_, _, err := api.PullRequests.Create(ctx, owner, name, n)
	wantStatus(t, err, http.StatusUnprocessableEntity)
	must[[]*github.PullRequest](t)(api.PullRequests.List(ctx, owner, name, &github.PullRequestListOptions{State: "all", Head: owner + ":" + head}))
	must[[]*github.CommitFile](t)(api.PullRequests.ListFiles(ctx, owner, name, p.GetNumber(), nil))
	must[[]*github.RepositoryCommit](t)(api.PullRequests.ListCommits(ctx, owner, name, p.GetNumber(), nil))
	must[[]*github.PullRequest](t)(api.PullRequests.ListPullRequestsWithCommit(ctx, owner, name, p.GetHead().GetSHA(), nil))
	must[*github.PullRequest](t)(api.PullRequests.Edit(ctx, owner, name, p.GetNumber(), &github.PullRequest{State: github.String("closed")}))
	must[*github.PullRequest](t)(api.PullRequests.Edit(ctx, owner, name, p.GetNumber(), &github.PullRequest{State: github.String("open")}))
	must[[]*github.Label](t)(api.Issues.AddLabelsToIssue(ctx, owner, name, p.GetNumber(), []string{"mlops-bot", "bug"}))
	f.idle()
	_, _, err = api.PullRequests.Merge(ctx, owner, name, p.GetNumber(), "", nil) // a draft
	wantStatus(t, err, http.StatusMethodNotAllowed)
	req, err := api.NewRequest(http.MethodPost, f.GraphQLURL(), map[string]any{
		"query":     `mutation($id: ID!) { markPullRequestReadyForReview(input: {pullRequestId: $id}) { pullRequest { isDraft } } }`,
		"variables": map[string]string{"id": p.GetNodeID()},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.Do(ctx, req, nil); err != nil {
		t.Fatal(err)
	}
	if p = must[*github.PullRequest](t)(api.PullRequests.Get(ctx, owner, name, p.GetNumber())); p.GetDraft() {
		t.Error("the pull request is still a draft")
	}
	must[*github.PullRequestMergeResult](t)(api.PullRequests.Merge(ctx, owner, name, p.GetNumber(), "", &github.PullRequestOptions{SHA: p.GetHead().GetSHA()}))
	if p = must[*github.PullRequest](t)(api.PullRequests.Get(ctx, owner, name, p.GetNumber())); !p.GetMerged() {
		t.Error("the pull request is not merged")
	}
	f.idle()
}

func (f *forge) issues() {
	ctx, t, api := f.t.Context(), f.t, f.inst
	i := must[*github.Issue](t)(api.Issues.Create(ctx, owner, name, &github.IssueRequest{Title: github.String("It stays red"), Body: github.String("three attempts"), Labels: &[]string{"mlops-bot"}}))
	_, _, err := api.Issues.Create(ctx, owner, name, &github.IssueRequest{Title: github.String("")})
	wantStatus(t, err, http.StatusUnprocessableEntity)
	must[*github.Issue](t)(api.Issues.Get(ctx, owner, name, i.GetNumber()))
	for _, creator := range []string{f.BotLogin(), owner} {
		must[[]*github.Issue](t)(api.Issues.ListByRepo(ctx, owner, name, &github.IssueListByRepoOptions{State: "all", Creator: creator, Labels: []string{"mlops-bot"}}))
	}
	c := must[*github.IssueComment](t)(api.Issues.CreateComment(ctx, owner, name, i.GetNumber(), &github.IssueComment{Body: github.String("one")}))
	must[*github.IssueComment](t)(api.Issues.EditComment(ctx, owner, name, c.GetID(), &github.IssueComment{Body: github.String("two")}))
	must[*github.IssueComment](t)(api.Issues.GetComment(ctx, owner, name, c.GetID()))
	must[[]*github.IssueComment](t)(api.Issues.ListComments(ctx, owner, name, i.GetNumber(), nil))
	if _, err := api.Issues.DeleteComment(ctx, owner, name, c.GetID()); err != nil {
		t.Fatal(err)
	}
	must[[]*github.Label](t)(api.Issues.ListLabels(ctx, owner, name, nil))
	must[*github.Label](t)(api.Issues.CreateLabel(ctx, owner, name, &github.Label{Name: github.String("healed"), Color: github.String("00ff00"), Description: github.String("by the bot")}))
	_, _, err = api.Issues.CreateLabel(ctx, owner, name, &github.Label{Name: github.String("healed"), Color: github.String("00ff00")})
	wantStatus(t, err, http.StatusUnprocessableEntity)
	must[*github.Label](t)(api.Issues.GetLabel(ctx, owner, name, "healed"))
	must[[]*github.Label](t)(api.Issues.AddLabelsToIssue(ctx, owner, name, i.GetNumber(), []string{"healed"}))
	must[[]*github.Label](t)(api.Issues.ListLabelsByIssue(ctx, owner, name, i.GetNumber(), nil))
	if _, err := api.Issues.RemoveLabelForIssue(ctx, owner, name, i.GetNumber(), "healed"); err != nil {
		t.Fatal(err)
	}
	must[*github.Issue](t)(api.Issues.Edit(ctx, owner, name, i.GetNumber(), &github.IssueRequest{State: github.String("closed"), StateReason: github.String("completed")}))
}

func (f *forge) actions() {
	ctx, t, api := f.t.Context(), f.t, f.inst
	f.push("main", map[string]standin.File{"broken": {Content: "yes\n"}})
	f.idle()
	must[*github.Workflows](t)(api.Actions.ListWorkflows(ctx, owner, name, nil))
	must[*github.Workflow](t)(api.Actions.GetWorkflowByFileName(ctx, owner, name, "ci.yml"))
	must[*github.WorkflowRuns](t)(api.Actions.ListWorkflowRunsByFileName(ctx, owner, name, "ci.yml", nil))
	runs := must[*github.WorkflowRuns](t)(api.Actions.ListRepositoryWorkflowRuns(ctx, owner, name, &github.ListWorkflowRunsOptions{Branch: "main", Event: "push", Status: "failure"}))
	if runs.GetTotalCount() != 1 {
		t.Fatalf("%d runs on main failed, want 1", runs.GetTotalCount())
	}
	run := runs.WorkflowRuns[0]
	must[*github.WorkflowRun](t)(api.Actions.GetWorkflowRunByID(ctx, owner, name, run.GetID()))
	must[*github.WorkflowRun](t)(api.Actions.GetWorkflowRunAttempt(ctx, owner, name, run.GetID(), 1, nil))
	must[*github.Jobs](t)(api.Actions.ListWorkflowJobs(ctx, owner, name, run.GetID(), &github.ListWorkflowJobsOptions{Filter: "all"}))
	jobs := must[*github.Jobs](t)(api.Actions.ListWorkflowJobsAttempt(ctx, owner, name, run.GetID(), 1, nil))
	job := jobs.Jobs[0]
	must[*github.WorkflowJob](t)(api.Actions.GetWorkflowJobByID(ctx, owner, name, job.GetID()))
	u, _, err := api.Actions.GetWorkflowJobLogs(ctx, owner, name, job.GetID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if log := fetch(t, u.String()); !strings.Contains(log, "##[error]Process completed with exit code 1.") {
		t.Errorf("the log is %q", log)
	}
	if u, _, err = api.Actions.GetWorkflowRunLogs(ctx, owner, name, run.GetID(), 0); err != nil {
		t.Fatal(err)
	}
	if zip := fetch(t, u.String()); !strings.HasPrefix(zip, "PK") {
		t.Errorf("the run's logs are no zip archive: %.20q", zip)
	}
	for what, rerun := range map[string]func() (*github.Response, error){
		"the failed jobs": func() (*github.Response, error) {
			return api.Actions.RerunFailedJobsByID(ctx, owner, name, run.GetID())
		},
		"the run": func() (*github.Response, error) { return api.Actions.RerunWorkflowByID(ctx, owner, name, run.GetID()) },
		"the job": func() (*github.Response, error) {
			return api.Actions.RerunJobByID(ctx, owner, name, f.latestJob(run.GetID()))
		},
	} {
		if _, err := rerun(); err != nil {
			t.Fatalf("rerun %s: %v", what, err)
		}
		f.idle()
	}
	if run = must[*github.WorkflowRun](t)(api.Actions.GetWorkflowRunByID(ctx, owner, name, run.GetID())); run.GetRunAttempt() != 4 {
		t.Errorf("the run has %d attempts, want 4", run.GetRunAttempt())
	}
	if _, err := api.Actions.CreateWorkflowDispatchEventByFileName(ctx, owner, name, "ci.yml", github.CreateWorkflowDispatchEventRequest{Ref: "main"}); err != nil {
		t.Fatal(err)
	}
	f.idle()
}

func (f *forge) latestJob(run int64) int64 {
	jobs := must[*github.Jobs](f.t)(f.inst.Actions.ListWorkflowJobs(f.t.Context(), owner, name, run, nil))
	return jobs.Jobs[0].GetID()
}

func (f *forge) hooks() {
	ctx, t := f.t.Context(), f.t
	cursor, all := "", 0
	var last *github.HookDelivery
	for range 20 {
		page, resp, err := f.app.Apps.ListHookDeliveries(ctx, &github.ListCursorOptions{PerPage: 10, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		all += len(page)
		last = page[len(page)-1]
		if cursor = resp.Cursor; cursor == "" {
			break
		}
	}
	if want := len(f.Deliveries()); all != want {
		t.Errorf("%d deliveries are listed, want %d", all, want)
	}
	must[*github.HookDelivery](t)(f.app.Apps.GetHookDelivery(ctx, last.GetID()))
	var accepted *github.AcceptedError
	if _, _, err := f.app.Apps.RedeliverHookDelivery(ctx, last.GetID()); err != nil && !errors.As(err, &accepted) {
		t.Fatal(err)
	}
	f.idle()
}

// TestWebhooksHaveTheShapesOfGitHubs holds every payload that the stand-in sends
// against GitHub's examples.
func TestWebhooksHaveTheShapesOfGitHubs(t *testing.T) {
	t.Parallel()
	shapes, err := openapi.LoadShapes(".")
	if err != nil {
		t.Fatal(err)
	}
	f := newForge(t)
	hook := newHook(t)
	f.SetWebhookURL(hook.URL)
	f.Ping()
	f.pulls(f.writes())
	f.issues()
	f.push("main", map[string]standin.File{"broken": {Content: "yes\n"}})
	f.idle()
	for _, err := range []error{
		f.Select(f.install, []string{fullName}, nil), f.Select(f.install, nil, []string{fullName}), f.Suspend(f.install, true), f.Uninstall(f.install),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f.idle()
	seen := map[string]bool{}
	for _, d := range f.Deliveries() {
		seen[strings.TrimSuffix(d.Event+"."+d.Action, ".")] = true
		for _, p := range shapes.Check(d.Event, d.Payload) {
			t.Errorf("%s of %s", p, d.Action)
		}
	}
	for _, event := range []string{
		"ping", "push", "pull_request.opened", "pull_request.labeled", "pull_request.closed", "pull_request.ready_for_review",
		"issues.opened", "issues.closed", "issue_comment.created", "issue_comment.edited", "issue_comment.deleted",
		"workflow_run.requested", "workflow_run.in_progress", "workflow_run.completed", "check_run.completed",
		"installation_repositories.added", "installation_repositories.removed", "installation.suspend", "installation.deleted",
	} {
		if !seen[event] {
			t.Errorf("%s was not sent", event)
		}
	}
}

func TestShapesFindWhatIsWrong(t *testing.T) {
	t.Parallel()
	shapes, err := openapi.LoadShapes(".")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		event, payload string
		want           []string
	}{
		"right":         {"push", `{"ref": "refs/heads/main", "created": true, "commits": []}`, nil},
		"no such event": {"pull", `{}`, []string{"pull: GitHub has no such event"}},
		"no JSON":       {"push", `{`, []string{"push: the payload is no JSON"}},
		"no such key":   {"push", `{"branch": "main"}`, []string{"push has branch, GitHub's has not"}},
		"wrong type":    {"push", `{"created": "yes"}`, []string{"push.created is a string, GitHub's is a bool"}},
		"deep":          {"push", `{"commits": [{"id": 1}]}`, []string{"push.commits[0].id is a number, GitHub's is a string"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, shapes.Check(c.event, []byte(c.payload))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestValidatorFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	v, err := description()
	if err != nil {
		t.Fatal(err)
	}
	asJSON := http.Header{"Content-Type": {"application/json"}}
	for name, c := range map[string]struct {
		exchange openapi.Exchange
		want     string // within the one problem; "" for none
	}{
		"right":             {openapi.Exchange{Method: "GET", Path: "/repos/o/r/labels?per_page=1", Status: 200, AnswerHeader: asJSON, Answer: []byte(`[]`)}, ""},
		"by id":             {openapi.Exchange{Method: "GET", Path: "/repositories/7/labels", Status: 200, AnswerHeader: asJSON, Answer: []byte(`[]`)}, ""},
		"slashes in a ref":  {openapi.Exchange{Method: "DELETE", Path: "/repos/o/r/git/refs/heads/a/b", Status: 204}, ""},
		"no such operation": {openapi.Exchange{Method: "PUT", Path: "/repos/o/r/labels", Status: 200}, "no such operation"},
		"unknown query":     {openapi.Exchange{Method: "GET", Path: "/repos/o/r/labels?size=1", Status: 200, AnswerHeader: asJSON, Answer: []byte(`[]`)}, `query parameter "size"`},
		"unknown field": {openapi.Exchange{
			Method: "PUT", Path: "/repos/o/r/pulls/1/merge", Header: asJSON, Body: []byte(`{"force": true}`), Status: 200, AnswerHeader: asJSON,
			Answer: []byte(`{"sha": "s", "merged": true, "message": "m"}`),
		}, `field "force"`},
		"field missing in the request": {openapi.Exchange{
			Method: "POST", Path: "/repos/o/r/git/refs", Header: asJSON, Body: []byte(`{"ref": "refs/heads/x"}`), Status: 201, AnswerHeader: asJSON,
			Answer: []byte(`{"ref": "refs/heads/x", "node_id": "n", "url": "https://x/", "object": {"type": "commit", "sha": "` + strings.Repeat("a", 40) + `", "url": "https://x/"}}`),
		}, `"sha" is missing`},
		"field missing in the answer":  {openapi.Exchange{Method: "GET", Path: "/repos/o/r/labels", Status: 200, AnswerHeader: asJSON, Answer: []byte(`[{"id": 1}]`)}, "is missing"},
		"wrong type":                   {openapi.Exchange{Method: "PUT", Path: "/repos/o/r/pulls/1/merge", Status: 200, AnswerHeader: asJSON, Answer: []byte(`{"sha": "s", "merged": "yes", "message": "m"}`)}, "/merged"},
		"no error object":              {openapi.Exchange{Method: "GET", Path: "/repos/o/r/labels", Status: 403, AnswerHeader: asJSON, Answer: []byte(`{"error": "no"}`)}, "lacks message"},
		"redirect without a target":    {openapi.Exchange{Method: "GET", Path: "/repos/o/r/actions/jobs/1/logs", Status: 302}, "without a Location"},
		"a status that isn't GitHub's": {openapi.Exchange{Method: "GET", Path: "/repos/o/r/labels", Status: 201, AnswerHeader: asJSON, Answer: []byte(`[]`)}, "no such status"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := v.Check(t.Context(), c.exchange)
			switch {
			case c.want == "" && len(got) > 0:
				t.Errorf("found %q, want nothing", got)
			case c.want != "" && !slices.ContainsFunc(got, func(p string) bool { return strings.Contains(p, c.want) }):
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

func TestLoadSaysWhatToInstall(t *testing.T) {
	t.Parallel()
	_, err := openapi.Load(t.TempDir())
	_, err2 := openapi.LoadShapes(t.TempDir())
	for _, err := range []error{err, err2} {
		if err == nil || !strings.Contains(err.Error(), "make test-deps") {
			t.Errorf("the error is %v", err)
		}
	}
}

// newHook takes deliveries.
func newHook(t *testing.T) *httptest.Server {
	t.Helper()
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
	t.Cleanup(h.Close)
	return h
}

func fetch(t *testing.T, address string) string {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", resp.Status, err, b)
	}
	return string(b)
}

func wantStatus(t *testing.T, err error, status int) {
	t.Helper()
	var e *github.ErrorResponse
	if !errors.As(err, &e) || e.Response.StatusCode != status {
		t.Errorf("the error is %v, want status %d", err, status)
	}
}

func mustParse(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func urlPath(t *testing.T, raw string) string { t.Helper(); return mustParse(t, raw).Path }

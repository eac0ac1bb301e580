package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/standin"
)

// missing is a repository that imports what its requirements don't name.
func missing(t testing.TB, modules ...string) map[string]string {
	files := failures(t)["missing requirement"].files
	var b strings.Builder
	for _, m := range modules {
		fmt.Fprintf(&b, "import %s\n", m)
	}
	files["test_train.py"] = b.String()
	files["ci/fake_pip.py"] = strings.Replace(files["ci/fake_pip.py"], `{"scikit-learn": "sklearn"}`,
		`{"scikit-learn": "sklearn", "beautifulsoup4": "bs4", "python-dotenv": "dotenv", "PyYAML": "yaml"}`, 1)
	return files
}

func sqlite(t testing.TB) string { return "sqlite:" + t.TempDir() + "/bot.db" }

// TestAnotherFindingIsProgress: the first fix works and brings the next failure
// to light; the second fix stands on the first and replaces its pull request.
func TestAnotherFindingIsProgress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t), standin.Options{})
	b := w.start(nil)
	defer b.end(t)
	w.install()
	w.push("main", "Break it", missing(t, "sklearn", "bs4"))
	r := until(w, "the second repair", func() (domain.Repair, bool) {
		list := w.repairs()
		if len(list) < 2 {
			return domain.Repair{}, false
		}
		return list[0], list[0].State == domain.RepairVerified
	})
	if r.Attempt != 2 || r.Root == r.IncidentID {
		t.Errorf("repair %+v", r)
	}
	first, err := w.db.Repair(t.Context(), domain.RepairID(r.Root, 1))
	if err != nil || first.State != domain.RepairRejected || first.HeadSHA != r.BaseSHA {
		t.Errorf("the first repair %+v, %v", first, err)
	}
	until(w, "the first pull request's end", func() (string, bool) {
		s := w.forge.PullRequests(repoName)[0].State
		return s, s == "closed"
	})
	if p := w.forge.PullRequests(repoName)[1]; p.BaseBranch != "main" || p.State != "open" {
		t.Errorf("the second pull request %+v", p)
	}
	tree, err := w.forge.Tree(repoName, r.HeadSHA)
	if err != nil {
		t.Fatal(err)
	}
	if got := tree["requirements.txt"].Content; !strings.Contains(got, "scikit-learn") || !strings.Contains(got, "beautifulsoup4") {
		t.Errorf("requirements:\n%s", got)
	}
}

// TestThreeRejectedAttempts end with one issue and no fourth pull request.
func TestThreeRejectedAttempts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t), standin.Options{})
	b := w.start(nil)
	defer b.end(t)
	w.install()
	w.push("main", "Break it", missing(t, "sklearn", "bs4", "dotenv", "yaml"))
	issues := until(w, "the issue", func() ([]standin.Issue, bool) {
		list := w.forge.Issues(repoName)
		return list, len(list) > 0
	})
	until(w, "the hand-over", func() (int, bool) {
		open := 0
		for _, i := range w.incidents() {
			if i.State == domain.IncidentOpen && i.ParentID == "" {
				open++
			}
		}
		return open, open == 0
	})
	if len(issues) != 1 || !strings.Contains(issues[0].Body, "What was tried") || issues[0].Author != w.forge.BotLogin() {
		t.Errorf("issues %+v", issues)
	}
	if n := len(w.forge.PullRequests(repoName)); n != domain.MaxAttempts {
		t.Errorf("%d pull requests", n)
	}
}

// TestARerunThatDoesNotHelp: two reruns at most, then a person is asked.
func TestARerunThatDoesNotHelp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t), standin.Options{})
	b := w.start(nil)
	defer b.end(t)
	w.install()
	files := failures(t)["network"].files
	files[".github/workflows/ci.yml"] = strings.Replace(files[".github/workflows/ci.yml"], `[ "$GITHUB_RUN_ATTEMPT" = 1 ]`, "true", 1)
	w.push("main", "Break it", files)
	until(w, "the issue", func() (int, bool) { n := len(w.forge.Issues(repoName)); return n, n == 1 })
	if run := w.forge.Runs(repoName)[0]; run.Attempt != 3 {
		t.Errorf("the run had %d attempts", run.Attempt)
	}
}

// TestSuggestsByDefault: without a policy file pull requests are drafts, and an
// approval is for one commit by somebody who may write.
func TestSuggestsByDefault(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t), standin.Options{})
	b := w.start(nil)
	defer b.end(t)
	w.install()
	if err := w.forge.Grant(repoName, "mona", "write"); err != nil {
		t.Fatal(err)
	}
	files := failures(t)["removed NumPy alias"].files
	delete(files, ".github/mlops-bot.yml")
	w.push("main", "Break it", files)
	r := w.repair(domain.RepairVerified)
	draft := func() bool { return w.forge.PullRequests(repoName)[0].Draft }
	if !draft() || !r.Draft {
		t.Fatal("the pull request is no draft")
	}
	say := func(who, text string) {
		t.Helper()
		if _, err := w.forge.Comment(repoName, r.PullNumber, who, text); err != nil {
			t.Fatal(err)
		}
	}
	audited := func(action string) {
		t.Helper()
		until(w, action, func() (any, bool) { return nil, w.audited(action) })
	}
	say("stranger", "/mlops-bot approve "+r.HeadSHA)
	audited("command.refused")
	say("mona", "/mlops-bot approve 0000000")
	audited("command.refused")
	if !draft() {
		t.Fatal("it was approved by a stranger, or for another commit")
	}
	say("mona", "/mlops-bot approve "+r.HeadSHA[:10])
	until(w, "the approval", func() (any, bool) { return nil, !draft() })
}

// TestKillSwitch: a maintainer's stop holds; a stranger's doesn't outlast the
// check of who they are.
func TestKillSwitch(t *testing.T) {
	t.Parallel()
	for who, stops := range map[string]bool{"mona": true, "stranger": false} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, sqlite(t), standin.Options{})
			b := w.start(nil)
			defer b.end(t)
			w.install()
			if err := w.forge.Grant(repoName, "mona", "maintain"); err != nil {
				t.Fatal(err)
			}
			issue, err := w.forge.OpenIssue(repoName, "mona", "Stop", "please")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.forge.Comment(repoName, issue, who, "/mlops-bot stop\nthank you"); err != nil {
				t.Fatal(err)
			}
			until(w, "the check", func() (any, bool) {
				return nil, w.audited("command.stop") || w.audited("command.refused")
			})
			w.push("main", "Break it", failures(t)["removed NumPy alias"].files)
			if !stops {
				w.repair(domain.RepairVerified)
				return
			}
			if r := w.repair(domain.RepairRefused); r.Refusal.Code != domain.RefusedStopped || !strings.Contains(r.Refusal.Reason, "mona") {
				t.Errorf("refusal %+v", r.Refusal)
			}
			if n := len(w.forge.PullRequests(repoName)); n != 0 {
				t.Errorf("%d pull requests", n)
			}
		})
	}
}

// TestRefusals: what is not done has a reason that people can read, and leaves
// no branch behind.
func TestRefusals(t *testing.T) {
	t.Parallel()
	alias := func(t *testing.T) map[string]string { return failures(t)["removed NumPy alias"].files }
	tests := map[string]struct {
		setUp  func(t *testing.T, w *world)
		code   domain.RefusalCode
		reason string
	}{
		"invalid policy": {func(t *testing.T, w *world) {
			files := alias(t)
			files[".github/mlops-bot.yml"] = "version: 1\nmood: heal\n"
			w.push("main", "Break it", files)
		}, domain.RefusedBadPolicy, "mood"},
		"observe": {func(t *testing.T, w *world) {
			files := alias(t)
			files[".github/mlops-bot.yml"] = "version: 1\nmode: observe\n"
			w.push("main", "Break it", files)
		}, domain.RefusedMode, "observe"},
		"the failing branch's own policy doesn't count": {func(t *testing.T, w *world) {
			w.push("main", "Watch only", map[string]string{".github/mlops-bot.yml": "version: 1\nmode: observe\n"})
			files := alias(t)
			files[".github/workflows/ci.yml"] = strings.Replace(files[".github/workflows/ci.yml"], "branches: [main]", "branches: ['**']", 1)
			w.push("dev", "Break it and allow it", files)
		}, domain.RefusedMode, "observe"},
		"dependabot's branch": {func(t *testing.T, w *world) {
			files := alias(t)
			files[".github/workflows/ci.yml"] = strings.Replace(files[".github/workflows/ci.yml"], "branches: [main]", "branches: ['**']", 1)
			w.push("dependabot/pip/numpy-2", "Bump numpy", files)
		}, domain.RefusedBranchOwner, "dependabot"},
		"unknown cause": {func(_ *testing.T, w *world) {
			w.push("main", "Break it", map[string]string{".github/workflows/ci.yml": "name: ci\n" + onBoth + "jobs:\n  test:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: exit 3\n"})
		}, domain.RefusedHuman, "does not guess"},
		"no permission to edit workflows": {func(t *testing.T, w *world) {
			perms := standin.DefaultPermissions()
			delete(perms, "workflows")
			if err := w.forge.SetPermissions(w.installation, perms); err != nil {
				t.Fatal(err)
			}
			w.push("main", "Break it", failures(t)["deprecated action"].files)
		}, domain.RefusedPermission, "workflows"},
		"a cap of none": {func(t *testing.T, w *world) {
			files := alias(t)
			files[".github/mlops-bot.yml"] = "version: 1\nmode: heal\nlimits:\n  open_pulls: 0\n"
			w.push("main", "Break it", files)
		}, domain.RefusedOpenPulls, "limit"},
		"a fork's pull request": {func(t *testing.T, w *world) {
			files := alias(t)
			broken := files["model.py"]
			files["model.py"] = "print(1)\n"
			w.push("main", "Start", files)
			if _, err := w.forge.Fork(repoName, "hubot"); err != nil {
				t.Fatal(err)
			}
			if _, err := w.forge.Push("hubot/train", "patch", "hubot", "Break it", standin.Files(map[string]string{"model.py": broken})); err != nil {
				t.Fatal(err)
			}
			if _, err := w.forge.OpenPull(repoName, standin.NewPull{Title: "Patch", Head: "hubot:patch", Base: "main", Author: "hubot"}); err != nil {
				t.Fatal(err)
			}
		}, domain.RefusedFork, "fork"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, sqlite(t), standin.Options{})
			b := w.start(nil)
			defer b.end(t)
			w.install()
			tt.setUp(t, w)
			r := w.repair(domain.RepairRefused)
			if r.Refusal.Code != tt.code || !strings.Contains(r.Refusal.Reason, tt.reason) {
				t.Errorf("refusal %+v", r.Refusal)
			}
			for ref := range w.forge.Refs(repoName) {
				if domain.OwnBranch(strings.TrimPrefix(ref, "refs/heads/")) {
					t.Errorf("a branch %s was made", ref)
				}
			}
			until(w, "the message with the reason", func() (any, bool) { return nil, w.inbox.contains(tt.reason) })
		})
	}
}

// TestFaults makes GitHub fail in every way that it does, at the first request to
// each of its addresses, reads and writes alike, and expects the healing all the
// same.
func TestFaults(t *testing.T) {
	t.Parallel()
	soon := func(h http.Header) http.Header { h.Set("Retry-After", "1"); return h }
	tests := map[string]standin.Fault{
		"500":             {Status: 500},
		"502":             {Status: 502, Body: "<html>"},
		"no answer":       {Drop: true},
		"lost answer":     {Drop: true, After: true},
		"429":             {Status: 429, Header: soon(http.Header{})},
		"secondary limit": {Status: 403, Header: soon(http.Header{}), Body: `{"message":"You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}`},
	}
	for name, fault := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, sqlite(t), standin.Options{})
			var mu sync.Mutex
			asked := map[string]bool{}
			w.forge.SetFault(func(r *http.Request) (standin.Fault, bool) {
				mu.Lock()
				defer mu.Unlock()
				first := !asked[r.Method+r.URL.Path]
				asked[r.Method+r.URL.Path] = true
				return fault, first
			})
			b := w.start(nil)
			defer b.end(t)
			w.install()
			w.push("main", "Break it", failures(t)["removed NumPy alias"].files)
			stop := w.hurry()
			defer stop()
			r := w.repair(domain.RepairVerified)
			w.comment(r.PullNumber, "verified")
			if len(w.incidents()) != 1 || len(w.repairs()) != 1 || len(w.forge.PullRequests(repoName)) != 1 || len(w.comments(r.PullNumber)) != 1 {
				t.Errorf("%d incidents, %d repairs, pull requests %+v", len(w.incidents()), len(w.repairs()), w.forge.PullRequests(repoName))
			}
		})
	}
}

// hurry sets the bot's clock forward while a test waits for backoffs.
func (w *world) hurry() (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
				w.advance(time.Second)
			}
		}
	}()
	return func() { close(done); <-ended }
}

// TestWhatIsGone: the repository or the installation disappears while the bot is
// at it; it says so and goes on.
func TestWhatIsGone(t *testing.T) {
	t.Parallel()
	log := "2026-11-22T11:00:02.0000000Z ModuleNotFoundError: No module named 'pandas'\n##[error]Process completed with exit code 1.\n"
	tests := map[string]struct {
		change func(w *world) error
		audit  string
	}{
		"deleted repository":   {func(w *world) error { return w.forge.Delete(repoName) }, "run.unreadable"},
		"revoked installation": {func(w *world) error { return w.forge.Suspend(w.installation, true) }, "run.unreadable"},
		"renamed repository":   {func(w *world) error { return w.forge.Rename(repoName, "trained") }, "incident.detected"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, sqlite(t), standin.Options{})
			w.install()
			w.forge.SetWebhookURL("http://127.0.0.1:1/") // nobody listens yet
			w.push("main", "Start", map[string]string{".github/workflows/ci.yml": "name: ci\non: workflow_dispatch\njobs:\n  test:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: true\n"})
			if _, err := w.forge.ScriptRun(repoName, standin.ScriptedRun{ScriptedAttempt: standin.ScriptedAttempt{Jobs: []standin.ScriptedJob{{Name: "test", Conclusion: "failure", Log: log}}}}); err != nil {
				t.Fatal(err)
			}
			if err := w.forge.Idle(t.Context()); err != nil {
				t.Fatal(err)
			}
			delivery := w.completed()
			if err := tt.change(w); err != nil {
				t.Fatal(err)
			}
			b := w.start(nil)
			defer b.end(t)
			w.deliver(b, delivery)
			until(w, tt.audit, func() (any, bool) { return nil, w.audited(tt.audit) })
			if letters, err := w.db.DeadLetters(t.Context(), 5); err != nil || len(letters) != 0 {
				t.Errorf("dead letters %+v, %v", letters, err)
			}
		})
	}
}

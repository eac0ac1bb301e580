package e2e

import (
	"io"
	"net/http"
	"path"
	"strings"
	"testing"

	"github.com/mlops-bot/mlops-bot/shared/app"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/standin"
)

// TestNamesTheCommit breaks a green branch by one of two commits that come with
// the same run: the pull request, the message and the page name that one, with
// its reason.
func TestNamesTheCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite:"+t.TempDir()+"/bot.db", standin.Options{})
	github := description(t).Recorder(strings.TrimSuffix(path.Clean(urlPath(t, w.forge.URL())), "/"))
	b := w.start(func(o *app.Options) { o.Transport = github.Transport(http.DefaultTransport) })
	defer b.end(t)
	w.install()

	files := failures(t)["missing requirement"].files
	broken := files["test_train.py"]
	files["test_train.py"] = strings.Replace(broken, "import sklearn\n", "", 1)
	green := w.push("main", "Train", files)
	until(w, "the green run", func() (string, bool) {
		for _, run := range w.forge.Runs(repoName) {
			if run.SHA == green && run.Status == "completed" {
				return run.Conclusion, run.Conclusion == "success"
			}
		}
		return "", false
	})
	culprit := w.push("main", "Score with scikit-learn [skip ci]", map[string]string{"test_train.py": broken})
	head := w.push("main", "Explain the training", map[string]string{"README.md": "# Training\n\nIt scores.\n"})

	r := w.repair(domain.RepairVerified)
	inc := w.incident()
	if inc.Run.HeadSHA != head || inc.Change == nil || inc.Change.GreenSHA != green || inc.Change.Commits != 2 || inc.Finding.Why == "" {
		t.Fatalf("incident %+v, change %+v", inc, inc.Change)
	}
	if len(inc.Change.Suspects) != 1 || inc.Change.Suspects[0].SHA != culprit {
		t.Fatalf("suspects %+v, want %s alone", inc.Change.Suspects, culprit)
	}

	const reason = "imports `sklearn` in `test_train.py`"
	pulls := w.forge.PullRequests(repoName)
	if len(pulls) != 1 {
		t.Fatalf("pull requests %+v", pulls)
	}
	_, section, _ := strings.Cut(pulls[0].Body, "### What changed since it was green\n")
	section, _, _ = strings.Cut(section, "\n### ")
	for _, want := range []string{"2 commits came since the last green run", "commit " + green[:7], "[" + culprit[:7] + "](", "Score with scikit-learn", reason} {
		if !strings.Contains(section, want) {
			t.Errorf("the pull request says of what changed\n%s\nwhich lacks %q", section, want)
		}
	}
	if strings.Contains(section, head[:7]) {
		t.Errorf("the pull request suspects the other commit too:\n%s", section)
	}
	if !strings.Contains(pulls[0].Body, "Why this is the cause: ") {
		t.Errorf("the pull request does not say why it is the cause:\n%s", pulls[0].Body)
	}

	plain := strings.ReplaceAll(reason, "`", "")
	until(w, "the message that names the commit", func() (any, bool) { return nil, w.inbox.contains(plain) })
	page := w.page(b, "/incidents/"+inc.ID)
	for _, want := range []string{"What changed since it was green", culprit[:7], "Score with scikit-learn", "Why this is the cause"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page of the incident lacks %q", want)
		}
	}
	w.comment(r.PullNumber, "verified")
	if problems := github.Problems(); len(problems) > 0 {
		t.Errorf("against GitHub's description:\n%s", strings.Join(problems, "\n"))
	}
}

// page is a page of the console.
func (w *world) page(b *bot, at string) string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, b.page+at, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatalf("the page is answered %s: %v", resp.Status, err)
	}
	return string(body)
}

package github

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/standin"
)

func greenRun(id int, change ...string) string {
	run := fmt.Sprintf(`{"id":%d,"run_attempt":1,"path":".github/workflows/ci.yml","status":"completed","conclusion":"success","head_sha":%q,
		"head_branch":"main","head_repository":{"id":22},"created_at":"2026-11-05T10:00:00Z"}`, id, shaA)
	for i := 0; i+1 < len(change); i += 2 {
		run = strings.ReplaceAll(run, change[i], change[i+1])
	}
	return run
}

func TestGreenRuns(t *testing.T) {
	t.Parallel()
	const route = "GET /repos/octo/train/actions/workflows/ci.yml/runs"
	q := domain.RunQuery{Workflow: ".github/workflows/ci.yml", Branch: "main", HeadRepoID: 22, Before: testNow, BeforeID: 5, Limit: 2}
	t.Run("what a filter let through is left out", func(t *testing.T) {
		t.Parallel()
		var asked string
		a := newAPI(t, map[string]http.HandlerFunc{route: func(w http.ResponseWriter, r *http.Request) {
			asked = r.URL.RawQuery
			runs := []string{
				greenRun(9, `"success"`, `"failure"`), greenRun(8, `"main"`, `"dev"`), greenRun(7, `{"id":22}`, `{"id":99}`),
				greenRun(6, "ci.yml", "other.yml"), greenRun(5, "10:00", "12:00"), greenRun(4, shaA, "nothing"),
				greenRun(3, "10:00", "12:00"), greenRun(2), greenRun(1),
			}
			_, _ = fmt.Fprintf(w, `{"workflow_runs":[%s]}`, strings.Join(runs, ","))
		}})
		got, err := a.client(t).GreenRuns(t.Context(), testRepo, q)
		if err != nil || len(got) != 2 || got[0].ID != 3 || got[1].ID != 2 {
			t.Fatalf("%+v, %v", got, err)
		}
		for _, want := range []string{"branch=main", "status=success"} {
			if !strings.Contains(asked, want) {
				t.Errorf("asked for %s, without %s", asked, want)
			}
		}
	})
	t.Run("looks through three pages", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, map[string]http.HandlerFunc{route: func(w http.ResponseWriter, _ *http.Request) {
			forks := make([]string, runsPerPage)
			for i := range forks {
				forks[i] = greenRun(100+i, `{"id":22}`, `{"id":99}`)
			}
			_, _ = fmt.Fprintf(w, `{"workflow_runs":[%s]}`, strings.Join(forks, ","))
		}})
		got, err := a.client(t).GreenRuns(t.Context(), testRepo, q)
		if err != nil || len(got) != 0 || len(a.requests()) != maxRunPages {
			t.Errorf("%d runs after %d requests, %v", len(got), len(a.requests()), err)
		}
	})
	for name, tt := range map[string]struct {
		change func(*domain.RunQuery)
		is     error
	}{
		"a workflow without a file": {func(q *domain.RunQuery) { q.Workflow = "dynamic/pages/pages-build-deployment" }, nil},
		"a path out of the folder":  {func(q *domain.RunQuery) { q.Workflow = ".github/workflows/../../x.yml" }, nil},
		"no branch":                 {func(q *domain.RunQuery) { q.Branch = "" }, nil},
		"a workflow that is gone":   {func(q *domain.RunQuery) { q.Workflow = ".github/workflows/gone.yml" }, domain.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := q
			tt.change(&q)
			_, err := newAPI(t, nil).client(t).GreenRuns(t.Context(), testRepo, q)
			if domain.KindOf(err) != domain.Invalid || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func comparedCommit(n int, message string) string {
	return fmt.Sprintf(`{"sha":"%040d","html_url":"https://github.test/c","author":{"login":"ada"},"parents":[{"sha":"x"}],"commit":{"message":%q,"author":{"name":"Ada"}}}`, n, message)
}

// pagedCompare serves a comparison of total commits, numbered from 1 in the order
// of time.
func pagedCompare(total int, files string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		var commits []string
		for n := (page-1)*perPage + 1; n <= min(page*perPage, total); n++ {
			commits = append(commits, comparedCommit(n, "Do it\n\nand more"))
		}
		if page > 1 {
			files = "[]"
		}
		_, _ = fmt.Fprintf(w, `{"status":"ahead","total_commits":%d,"commits":[%s],"files":%s}`, total, strings.Join(commits, ","), files)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	route := "GET /repos/octo/train/compare/" + shaA + "..." + shaB
	t.Run("a small change", func(t *testing.T) {
		t.Parallel()
		files := `[{"filename":"a.py","status":"renamed","previous_filename":"b.py","patch":"@@ -1 +1 @@\n-a\n+b","changes":2},{"filename":"big.lock","status":"modified","changes":9}]`
		a := newAPI(t, map[string]http.HandlerFunc{route: pagedCompare(1, files)})
		got, err := a.client(t).Compare(t.Context(), testRepo, shaA, shaB)
		if err != nil {
			t.Fatal(err)
		}
		want := domain.Comparison{
			Status: "ahead", Total: 1,
			Commits: []domain.ChangedCommit{{SHA: fmt.Sprintf("%040d", 1), Author: "ada", Subject: "Do it", HTMLURL: "https://github.test/c", Parents: 1}},
			Files: []domain.ChangedFile{
				{Path: "a.py", Previous: "b.py", Status: "renamed", Patch: "@@ -1 +1 @@\n-a\n+b"},
				{Path: "big.lock", Status: "modified", PatchCut: true},
			},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
	for name, tt := range map[string]struct {
		total, requests int
		first, last     int
	}{
		"none":             {0, 1, 0, 0},
		"one full page":    {100, 1, 1, 100},
		"a bit more":       {130, 2, 31, 130},
		"full pages":       {300, 3, 201, 300},
		"very many of all": {1234, 3, 1135, 1234},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, map[string]http.HandlerFunc{route: pagedCompare(tt.total, `[{"filename":"a.py"}]`)})
			got, err := a.client(t).Compare(t.Context(), testRepo, shaA, shaB)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(a.requests()); n != tt.requests || got.Total != tt.total || len(got.Files) != 1 {
				t.Errorf("%d requests, total %d, %d files", n, got.Total, len(got.Files))
			}
			if tt.total == 0 {
				return
			}
			if first, last := got.Commits[0].SHA, got.Commits[len(got.Commits)-1].SHA; first != fmt.Sprintf("%040d", tt.first) || last != fmt.Sprintf("%040d", tt.last) {
				t.Errorf("commits %s to %s, want %d to %d", first, last, tt.first, tt.last)
			}
		})
	}
	t.Run("patches are bounded", func(t *testing.T) {
		t.Parallel()
		patch := strings.Repeat("+0123456789012345678901234567890123456789012345678901234567890\\n", 1100)
		files := make([]string, 200)
		for i := range files {
			files[i] = fmt.Sprintf(`{"filename":"f%d","changes":1100,"patch":"%s"}`, i, patch)
		}
		a := newAPI(t, map[string]http.HandlerFunc{route: pagedCompare(1, "["+strings.Join(files, ",")+"]")})
		got, err := a.client(t).Compare(t.Context(), testRepo, shaA, shaB)
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		for _, f := range got.Files {
			if len(f.Patch) > maxPatch || !f.PatchCut || f.Patch != "" && !strings.HasSuffix(f.Patch, "\n") {
				t.Fatalf("%s has a patch of %d bytes, cut: %v", f.Path, len(f.Patch), f.PatchCut)
			}
			size += len(f.Patch)
		}
		if size > maxPatches || size < maxPatches/2 {
			t.Errorf("%d bytes of patches", size)
		}
	})
	for name, tt := range map[string]struct {
		base, body string
		kind       domain.ErrKind
	}{
		"no object id":     {"main", `{}`, domain.Invalid},
		"an empty answer":  {shaA, `{}`, domain.Transient},
		"an odd commit":    {shaA, `{"status":"ahead","total_commits":1,"commits":[{"sha":"no"}]}`, domain.Transient},
		"another's status": {shaA, `{"status":"sideways"}`, domain.Transient},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := newAPI(t, map[string]http.HandlerFunc{route: answer(200, tt.body)}).client(t).Compare(t.Context(), testRepo, tt.base, shaB)
			if domain.KindOf(err) != tt.kind {
				t.Errorf("the error is %v", err)
			}
		})
	}
	if _, err := newAPI(t, nil).client(t).Compare(t.Context(), testRepo, shaA, shaB); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("a commit that is gone: %v", err)
	}
}

func TestChangedFiles(t *testing.T) {
	t.Parallel()
	route := "GET /repos/octo/train/commits/" + shaA
	body := `{"sha":"` + shaA + `","files":[{"filename":"a.py","status":"added","patch":"@@ -0,0 +1 @@\n+a","changes":1},{"filename":"` + strings.Repeat("x", maxPath+1) + `"}]}`
	files, cut, err := newAPI(t, map[string]http.HandlerFunc{route: answer(200, body)}).client(t).ChangedFiles(t.Context(), testRepo, shaA)
	want := []domain.ChangedFile{{Path: "a.py", Status: "added", Patch: "@@ -0,0 +1 @@\n+a"}}
	if diff := cmp.Diff(want, files); diff != "" || err != nil || !cut {
		t.Errorf("cut %v, %v, %s", cut, err, diff)
	}
	more := answer(200, `{"sha":"`+shaA+`","files":[]}`, "Link", `<https://github.test/?page=2>; rel="next"`)
	if _, cut, err = newAPI(t, map[string]http.HandlerFunc{route: more}).client(t).ChangedFiles(t.Context(), testRepo, shaA); err != nil || !cut {
		t.Errorf("with further pages: cut %v, %v", cut, err)
	}
	other := answer(200, `{"sha":"`+shaB+`"}`)
	if _, _, err = newAPI(t, map[string]http.HandlerFunc{route: other}).client(t).ChangedFiles(t.Context(), testRepo, shaA); domain.KindOf(err) != domain.Transient {
		t.Errorf("another commit: %v", err)
	}
}

func TestPullOfCommit(t *testing.T) {
	t.Parallel()
	pull := func(number int, base string, repo int, merged string) string {
		return fmt.Sprintf(`{"number":%d,"merged_at":%s,"base":{"ref":%q,"repo":{"id":%d}}}`, number, merged, base, repo)
	}
	const yes, no = `"2026-11-05T10:00:00Z"`, "null"
	for name, tt := range map[string]struct {
		pulls []string
		want  int
	}{
		"none":                        {nil, 0},
		"merged here":                 {[]string{pull(3, "main", 22, yes), pull(9, "main", 22, no)}, 3},
		"merged elsewhere, open here": {[]string{pull(3, "dev", 22, yes), pull(9, "main", 22, no)}, 9},
		"another repository's":        {[]string{pull(3, "main", 23, yes)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, map[string]http.HandlerFunc{"GET /repos/octo/train/commits/" + shaA + "/pulls": answer(200, "["+strings.Join(tt.pulls, ",")+"]")})
			got, err := a.client(t).PullOfCommit(t.Context(), testRepo, shaA, "main")
			if err != nil || got != tt.want {
				t.Errorf("#%d, %v; want #%d", got, err, tt.want)
			}
		})
	}
}

// TestHistoryOfTheStandIn reads a history that really is one: runs, commits with
// their diffs, and a merged pull request.
func TestHistoryOfTheStandIn(t *testing.T) {
	t.Parallel()
	s, repo := forge(t)
	c, err := New(Config{AppID: s.AppID(), PrivateKey: Secret(s.PrivateKeyPEM()), APIURL: s.URL(), GraphQLURL: s.GraphQLURL()})
	if err != nil {
		t.Fatal(err)
	}
	const workflow = ".github/workflows/ci.yml"
	push := func(branch, message string, files map[string]standin.File) string {
		t.Helper()
		sha, err := s.Push(repo.FullName, branch, "ada", message, files)
		if err != nil {
			t.Fatal(err)
		}
		return sha
	}
	run := func(sha, conclusion string) int64 {
		t.Helper()
		r, err := s.ScriptRun(repo.FullName, standin.ScriptedRun{Workflow: workflow, SHA: sha, ScriptedAttempt: standin.ScriptedAttempt{
			Jobs: []standin.ScriptedJob{{Name: "test", Conclusion: conclusion, Log: "hello"}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	first := push("main", "Begin", map[string]standin.File{workflow: {Content: "on: push\njobs:\n  test:\n    runs-on: x\n    steps:\n      - run: x\n"}, "a.txt": {Content: "1\n2\n3\n"}})
	old, green := run(first, "success"), run(first, "success")
	run(first, "failure")
	second := push("topic", "Change it\n\nbecause", map[string]standin.File{"a.txt": {Content: "1\ntwo\n3\n"}})
	number, err := s.OpenPull(repo.FullName, standin.NewPull{Title: "t", Head: "topic", Base: "main"})
	if err != nil {
		t.Fatal(err)
	}
	merged, err := s.Merge(repo.FullName, number)
	if err != nil {
		t.Fatal(err)
	}

	q := domain.RunQuery{Workflow: workflow, Branch: "main", HeadRepoID: repo.ID, Before: time.Now().Add(time.Minute), Limit: 5}
	runs, err := c.GreenRuns(t.Context(), repo, q)
	if err != nil || len(runs) != 2 || runs[0].ID != green || runs[1].ID != old {
		t.Fatalf("%+v, %v; want runs %d and %d", runs, err, green, old)
	}
	q.Before = time.Now().Add(-time.Hour)
	if runs, err = c.GreenRuns(t.Context(), repo, q); err != nil || len(runs) != 0 {
		t.Errorf("before there was any: %+v, %v", runs, err)
	}
	diff, err := c.Compare(t.Context(), repo, first, merged)
	if err != nil {
		t.Fatal(err)
	}
	change := []domain.ChangedFile{{Path: "a.txt", Status: "modified", Patch: "@@ -1,3 +1,3 @@\n 1\n-2\n+two\n 3"}}
	if diff.Status != "ahead" || diff.Total != 2 || diff.Commits[0].SHA != second || diff.Commits[0].Author != "ada" || diff.Commits[0].Subject != "Change it" || diff.Commits[1].Parents != 2 {
		t.Errorf("%+v", diff)
	}
	if d := cmp.Diff(change, diff.Files); d != "" {
		t.Error(d)
	}
	files, cut, err := c.ChangedFiles(t.Context(), repo, second)
	if d := cmp.Diff(change, files); d != "" || cut || err != nil {
		t.Errorf("cut %v, %v, %s", cut, err, d)
	}
	if got, err := c.PullOfCommit(t.Context(), repo, second, "main"); err != nil || got != number {
		t.Errorf("#%d, %v", got, err)
	}
	if back, err := c.Compare(t.Context(), repo, merged, first); err != nil || back.Status != "behind" || back.Total != 0 {
		t.Errorf("backwards: %+v, %v", back, err)
	}
	if same, err := c.Compare(t.Context(), repo, first, first); err != nil || same.Status != "identical" {
		t.Errorf("the same: %+v, %v", same, err)
	}
}

func FuzzBounded(f *testing.F) {
	f.Add("Do it")
	f.Add("ääääääääää")
	f.Add("\xff\xfe")
	f.Fuzz(func(t *testing.T, text string) {
		got := bounded(text, 11)
		if !utf8.ValidString(got) || len(got) > 3*11 {
			t.Errorf("%q becomes %q", text, got)
		}
		if len(text) <= 11 && utf8.ValidString(text) && got != text {
			t.Errorf("%q becomes %q without need", text, got)
		}
	})
}

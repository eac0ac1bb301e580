package detect

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// touched is a commit that changed files, each told as "path" or "path|patch".
func touched(sha string, files ...string) domain.ChangedCommit {
	c := domain.ChangedCommit{SHA: sha, Parents: 1, Read: true}
	for _, f := range files {
		p, patch, _ := strings.Cut(f, "|")
		status := "modified"
		if rest, added := strings.CutPrefix(p, "+"); added {
			p, status = rest, "added"
		}
		c.Files = append(c.Files, domain.ChangedFile{Path: p, Status: status, Patch: patch})
	}
	return c
}

func between(commits ...domain.ChangedCommit) domain.Comparison {
	d := domain.Comparison{Status: "ahead", Total: len(commits), Commits: commits}
	for _, c := range commits {
		d.Files = append(d.Files, c.Files...)
	}
	return d
}

func finding(category string, facts ...string) domain.Finding {
	f := domain.Finding{Category: category, Remedy: domain.RemedyHuman, Workflow: ".github/workflows/ci.yml", Facts: map[string]string{}}
	for i := 0; i+1 < len(facts); i += 2 {
		f.Facts[facts[i]] = facts[i+1]
	}
	return f
}

// told is a suspect as "sha: reason; reason".
func told(list []domain.Suspect) []string {
	var out []string
	for _, s := range list {
		var why []string
		for _, r := range s.Reasons {
			w := strings.TrimSpace(r.Does + " " + r.Name)
			if r.In != "" {
				w += " in " + r.In
			}
			why = append(why, w)
		}
		out = append(out, s.SHA+": "+strings.Join(why, "; "))
	}
	return out
}

func TestSuspects(t *testing.T) {
	t.Parallel()
	other := touched("other", "docs/a.md|@@ -1 +1 @@\n-pandas\n+numpy")
	text := func(f domain.Finding, text string) domain.Finding { f.Text = text; return f }
	remedy := func(f domain.Finding, r domain.Remedy) domain.Finding { f.Remedy = r; return f }
	for name, tt := range map[string]struct {
		finding domain.Finding
		diff    domain.Comparison
		want    []string // likeliest first
	}{
		"the file of the traceback": {
			finding("code-error", "file", "src/train.py", "line", "12"),
			between(touched("a", "src/train.py|@@ -10,3 +10,3 @@\n def f():\n-    x = 1\n+    x = y\n"), touched("b", "src/train.py|@@ -90 +90 @@\n-a\n+b"), touched("c", "lib/train.pyx"), other),
			[]string{"b: changes src/train.py", "a: changes src/train.py"},
		},
		"the failing line": {
			finding("code-error", "file", "src/train.py", "line", "12"),
			between(touched("b", "src/train.py|@@ -90 +90 @@\n-a\n+b"), touched("a", "src/train.py|@@ -10,3 +10,3 @@\n def f():\n-    x = 1\n+    x = y\n"), other),
			[]string{"a: changes lines at the failing one in src/train.py", "b: changes src/train.py"},
		},
		"an absolute path of a runner's": {
			finding("code-error", "file", "/home/runner/work/trainer/trainer/src/train.py"), between(touched("a", "src/train.py"), other), []string{"a: changes src/train.py"},
		},
		"a path of Windows": {finding("lint", "file", `D:\a\trainer\trainer\src\train.py`), between(touched("a", "+src/train.py"), other), []string{"a: adds src/train.py"}},
		"a path below a folder that the job changed to": {
			finding("type-check", "file", "pkg/model.py"), between(touched("a", "python/pkg/model.py"), touched("b", "python/model.py"), other), []string{"a: changes python/pkg/model.py"},
		},
		"a name that many files have": {finding("code-error", "file", "__init__.py"), between(touched("a", "src/x/__init__.py"), other), nil},
		"an installed package's file": {
			finding("code-error", "file", "/opt/hostedtoolcache/Python/3.11.9/x64/lib/python3.11/site-packages/torch/nn.py"), between(touched("a", "torch/nn.py"), other), nil,
		},
		"several files": {finding("format", "files", "a.py, src/b.py"), between(touched("a", "src/b.py"), touched("b", "a.py"), other), []string{"b: changes a.py", "a: changes src/b.py"}},
		"the requirement before other requirements": {
			finding("missing-module", "module", "sklearn.linear_model"),
			between(touched("a", "requirements/dev.txt|@@ -1,2 +1,2 @@\n-pytest\n+pytest==8"), touched("b", "requirements.txt|@@ -1,2 +1 @@\n numpy\n-scikit_learn>=1.2"), other),
			[]string{"b: changes the requirement scikit-learn in requirements.txt; changes what is installed, by requirements.txt", "a: changes what is installed, by requirements/dev.txt"},
		},
		"a package whose name begins like another's": {
			finding("api-change", "package", "torch"),
			between(touched("a", "pyproject.toml|@@ -1 +1 @@\n-torchvision = \"1\"\n+torch-geometric = \"2\""), touched("b", "environment.yml|@@ -1 +1 @@\n-  - pytorch::torch=2.0\n+  - pytorch::torch=2.1")),
			[]string{"b: changes the requirement torch in environment.yml; changes what is installed, by environment.yml", "a: changes what is installed, by pyproject.toml"},
		},
		"a lock file's stanza": {
			finding("api-change", "package", "numpy"),
			between(touched("a", "uv.lock|@@ -1,4 +1,4 @@\n [[package]]\n name = \"numpy\"\n-version = \"1.26.4\"\n+version = \"2.0.0\"\n"), touched("b", "uv.lock|@@ -9,4 +9,4 @@\n [[package]]\n name = \"rich\"\n-version = \"1\"\n+version = \"2\"\n [[package]]\n name = \"numpy\"")),
			[]string{"a: changes the requirement numpy in uv.lock; changes what is installed, by uv.lock", "b: changes what is installed, by uv.lock"},
		},
		"a package that a workflow installs": {
			finding("no-matching-distribution", "package", "tensorflow"), between(touched("a", ".github/workflows/ci.yml|@@ -1 +1 @@\n-      - run: pip install tensorflow\n+      - run: pip install tensorflow==1.15"), other),
			[]string{"a: changes the requirement tensorflow in .github/workflows/ci.yml; changes the workflow .github/workflows/ci.yml"},
		},
		"a new import": {
			finding("missing-module", "module", "pandas"), between(touched("a", "src/io.py|@@ -1 +1,2 @@\n import os\n+import json, pandas as pd"), touched("b", "src/io2.py|@@ -1 +1,2 @@\n+import pandas_profiling\n+# pandas"), other),
			[]string{"a: imports pandas in src/io.py"},
		},
		"an import from a submodule": {finding("missing-module", "module", "google.protobuf"), between(touched("a", "a.py|@@ -0,0 +1 @@\n+from google.protobuf import text_format"), other), []string{"a: imports google in a.py"}},
		"an alias that was removed": {
			finding("numpy-removed-alias", "alias", "np.float"), between(touched("a", "src/m.py|@@ -1 +1 @@\n-x = float(3)\n+x = np.float(3)"), touched("b", "src/m.py|@@ -1 +1 @@\n+x = np.float64(3)")),
			[]string{"a: adds a line with np.float in src/m.py"},
		},
		"the workflow": {
			finding("deprecated-action", "action", "actions/upload-artifact", "version", "v2"),
			between(touched("a", ".github/workflows/ci.yml|@@ -1 +1 @@\n-on: push\n+on: [push]"), touched("b", ".github/workflows/ci.yml|@@ -9 +9 @@\n+      - uses: actions/upload-artifact@v2"), touched("c", ".github/workflows/docs.yml"), touched("d", ".github/actions/setup/action.yml"), other),
			[]string{
				"b: adds a line with actions/upload-artifact in .github/workflows/ci.yml; changes the workflow .github/workflows/ci.yml",
				"a: changes the workflow .github/workflows/ci.yml", "d: changes the action .github/actions/setup/action.yml", "c: changes another workflow, .github/workflows/docs.yml",
			},
		},
		"the workflow of any failure, at the end": {
			finding("test-failure", "tests", "tests/test_model.py::test_fit[1-a b]"),
			between(touched("a", ".github/workflows/ci.yml"), touched("b", "src/model.py"), touched("c", "tests/test_model.py|@@ -1 +1 @@\n-def test_fit():\n+def test_fit(n):"), other),
			[]string{"c: changes tests/test_model.py; removes a line with test_fit in tests/test_model.py", "b: changes what the failed test is named after, src/model.py", "a: changes the workflow .github/workflows/ci.yml"},
		},
		"a batch size": {
			finding("cuda-oom", "asked_bytes", "1"), between(touched("a", "conf/train.yaml|@@ -1 +1 @@\n-batch_size: 8\n+batch_size: 64"), touched("b", "conf/train.yaml|@@ -1 +1 @@\n-epochs: 8\n+epochs: 64"), touched("c", "run.sh|@@ -1 +1 @@\n+python t.py --per-device-train-batch-size 64"), other),
			[]string{"c: changes the setting per-device-train-batch-size in run.sh", "a: changes the setting batch_size in conf/train.yaml"},
		},
		"a learning rate": {
			finding("nan-loss"), between(touched("a", "train.py|@@ -1 +1 @@\n-    lr=1e-3,\n+    lr=1e-1,"), touched("b", "train.py|@@ -1 +1 @@\n+    url = 3"), other), []string{"a: changes the setting lr in train.py"},
		},
		"a key of the configuration": {
			finding("config-missing", "key", "DATABASE_URL", "file", "settings.toml"), between(touched("a", "app.py|@@ -1 +1 @@\n+url = os.environ[\"DATABASE_URL\"]"), touched("b", "settings.toml|@@ -1 +0,0 @@\n-DATABASE_URL = 1"), touched("c", "app.py|@@ -1 +1 @@\n+TEST_DATABASE_URL = 1"), other),
			[]string{"b: changes settings.toml; removes a line with DATABASE_URL in settings.toml", "a: adds a line with DATABASE_URL in app.py"},
		},
		"a name of the message": {
			text(finding("code-error"), "ImportError: cannot import name 'load_model' from 'trainer.io'"), between(touched("a", "trainer/io.py|@@ -1 +1 @@\n-def load_model():\n+def load():"), touched("b", "README.md|@@ -1 +1 @@\n+load_model"), other),
			[]string{"a: removes a line with load_model in trainer/io.py"},
		},
		"data that is tracked": {finding("data-missing", "path", "data/train.csv"), between(touched("a", "data/train.csv.dvc"), other), []string{"a: changes data/train.csv.dvc"}},
		"a service that is down": {
			remedy(finding("transient-network", "host", "files.example.org"), domain.RemedyRetry), between(touched("a", ".github/workflows/ci.yml", "requirements.txt|@@ -1 +1 @@\n+numpy")), nil,
		},
		"a service that a commit brought": {
			remedy(finding("transient-network", "host", "files.example.org:443"), domain.RemedyRetry), between(touched("a", "get.sh|@@ -0,0 +1 @@\n+curl https://files.example.org/x"), other), []string{"a: adds a line with files.example.org in get.sh"},
		},
		"nothing that is named":     {finding("missing-module", "module", "pandas"), between(other, touched("b", "src/x.py|@@ -1 +1 @@\n+x = 1")), nil},
		"the only commit":           {finding("missing-module", "module", "pandas"), between(other), []string{"other: is the only commit since then"}},
		"an unknown cause":          {finding(domain.Unknown), between(touched("a", ".github/workflows/ci.yml"), other), []string{"a: changes the workflow .github/workflows/ci.yml"}},
		"no commit":                 {finding("missing-module", "module", "pandas"), domain.Comparison{Status: "identical"}, nil},
		"one commit, files unread":  {finding("lint", "file", "a.py"), domain.Comparison{Total: 1, Commits: []domain.ChangedCommit{{SHA: "a"}}, Files: []domain.ChangedFile{{Path: "a.py"}}}, []string{"a: changes a.py"}},
		"commits that are not read": {finding("lint", "file", "a.py"), domain.Comparison{Total: 9, Commits: []domain.ChangedCommit{touched("z", "b.py")}, Files: []domain.ChangedFile{{Path: "a.py"}, {Path: "b.py"}}}, []string{": changes a.py"}},
		"a merge beside what it merges": {
			finding("lint", "file", "a.py"), between(domain.ChangedCommit{SHA: "m", Parents: 2, Read: true, Files: []domain.ChangedFile{{Path: "a.py"}}}, touched("a", "a.py"), other), []string{"a: changes a.py"},
		},
		"only a merge": {
			finding("lint", "file", "a.py"), between(domain.ChangedCommit{SHA: "m", Parents: 2, Read: true, Files: []domain.ChangedFile{{Path: "a.py"}}}), []string{"m: changes a.py"},
		},
		"a lock file without a diff": {
			finding("dependency-conflict", "packages", "torch, numpy<2"), domain.Comparison{Total: 2, Commits: []domain.ChangedCommit{{SHA: "l", Parents: 1, Read: true, Files: []domain.ChangedFile{{Path: "poetry.lock", PatchCut: true}}}, other}},
			[]string{"l: changes so much that the diff is not shown in poetry.lock"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, told(Suspects(tt.finding, tt.diff))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSuspectsAreBoundedAndMasked(t *testing.T) {
	t.Parallel()
	var all []domain.ChangedCommit
	for i := range 20 {
		c := touched(fmt.Sprintf("c%02d", i), "requirements.txt|@@ -1 +1 @@\n+pandas", "a/requirements.txt|@@ -1 +1 @@\n+pandas", "a.py|@@ -1 +1 @@\n+import pandas", "b.py|@@ -1 +1 @@\n+import pandas")
		c.Subject = "Use ghp_" + strings.Repeat("a1B2", 9) + "\x1b[31m"
		all = append(all, c)
	}
	diff := between(all...)
	first := fmt.Sprintf("%+v", diff)
	got := Suspects(finding("missing-module", "module", "pandas"), diff)
	if len(got) != domain.MaxSuspects || got[0].SHA != "c19" {
		t.Fatalf("%d suspects, the first one %s", len(got), got[0].SHA)
	}
	for _, s := range got {
		if len(s.Reasons) != domain.MaxReasons || strings.Contains(s.Subject, "a1B2") || strings.Contains(s.Subject, "\x1b") {
			t.Errorf("%+v", s)
		}
	}
	if fmt.Sprintf("%+v", diff) != first {
		t.Error("the comparison was changed")
	}
}

func TestDiffLines(t *testing.T) {
	t.Parallel()
	patch := "no hunk\n@@ -3,4 +7,4 @@ def f():\n a\n-b\n+c\n\\ No newline at end of file\n@@ -20 +24,2 @@\n+d\r\n+e"
	var got []string
	for l := range newTrail(domain.Finding{}).lines(patch) {
		got = append(got, fmt.Sprintf("%c%d%s", l.kind, l.number, l.text))
	}
	if diff := cmp.Diff([]string{" 7a", "-0b", "+8c", "+24d", "+25e"}, got); diff != "" {
		t.Error(diff)
	}
	n := 0
	for range newTrail(domain.Finding{}).lines("@@ -1 +1 @@\n" + strings.Repeat("+x\n", 2*maxDiffLines)) {
		n++
	}
	if n > maxDiffLines {
		t.Errorf("%d lines", n)
	}
}

func FuzzSuspects(f *testing.F) {
	f.Add("requirements.txt", "@@ -1 +1 @@\n-pandas\n+pandas==2", "pandas", "src/a.py", "x 'pandas'")
	f.Add("uv.lock", "@@ -1,3 +1,3 @@\n [[package]]\n name = \"pandas\"\n+v", "pandas", `C:\a\b\c\d.py`, "")
	f.Add("a\xff.py", "@@ -999999999 +999999999 @@\n+\n\n-", "..", "/", "\x00")
	f.Fuzz(func(t *testing.T, name, patch, fact, file, text string) {
		for category := range areas {
			fd := finding(category, "package", fact, "module", fact, "tests", file+" "+fact, "file", file, "files", file, "line", fact, "key", fact, "packages", text)
			fd.Text = text
			c := domain.ChangedCommit{SHA: "s", Subject: text, Author: fact, Read: true, Files: []domain.ChangedFile{{Path: name, Previous: file, Patch: patch}}}
			for _, s := range Suspects(fd, domain.Comparison{Status: "ahead", Total: 2, Commits: []domain.ChangedCommit{c, {SHA: "t"}}, Files: c.Files}) {
				if len(s.Reasons) == 0 || len(s.Reasons) > domain.MaxReasons || s.Score <= 0 {
					t.Fatalf("%+v", s)
				}
				for _, r := range s.Reasons {
					if len(r.Name) > 4*maxReasonName || !utf8.ValidString(r.Name+r.In) {
						t.Fatalf("reason %+v", r)
					}
				}
			}
		}
	})
}

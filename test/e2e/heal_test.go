package e2e

import (
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mlops-bot/mlops-bot/shared/app"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/standin"
	"github.com/mlops-bot/mlops-bot/test/openapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	healPolicy = "version: 1\nmode: heal\n"
	onBoth     = "on:\n  push:\n    branches: [main]\n  pull_request:\n"
)

// failing is a repository whose workflow really fails when it is run, and what
// heals it.
type failing struct {
	files    map[string]string
	category string
	strategy string
	diff     string // a line that the commit adds, "" for a rerun
}

func failures(t testing.TB) map[string]failing {
	training := sampleTraining(t)
	return map[string]failing{
		"missing requirement": {
			files: map[string]string{
				".github/mlops-bot.yml": healPolicy,
				".github/workflows/ci.yml": "name: ci\n" + onBoth + `
jobs:
  test:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v4
      - name: Install
        run: |
          # There is no package index here: what is required is made up.
          pip() { python3 ci/fake_pip.py "$@"; }
          pip install -r requirements.txt
      - name: Test
        run: PYTHONPATH=site-packages python3 -S test_train.py
`,
				"ci/fake_pip.py": `import pathlib, sys
names = {"scikit-learn": "sklearn"}
for line in pathlib.Path(sys.argv[-1]).read_text().splitlines():
    name = line.split("=")[0].split(">")[0].strip()
    folder = pathlib.Path("site-packages", names.get(name, name))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text("")
`,
				"requirements.txt": "numpy>=1.26\npandas>=2.2\n",
				"test_train.py":    "import numpy\nimport pandas\nimport sklearn\n\nprint('trained')\n",
			},
			category: "missing-module", strategy: "add-requirement", diff: "scikit-learn",
		},
		"removed NumPy alias": {
			files: map[string]string{
				".github/mlops-bot.yml": healPolicy,
				".github/workflows/ci.yml": "name: ci\n" + onBoth + `
jobs:
  test:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v4
      - name: Test
        run: PYTHONPATH=site-packages python3 model.py
`,
				"site-packages/numpy/__init__.py": `def __getattr__(name):
    raise AttributeError(f"module 'numpy' has no attribute '{name}'.\n\x60np.{name}\x60 was a deprecated alias for the builtin \x60{name}\x60.")
`,
				"model.py": "import numpy as np\n\n\ndef weight():\n    return np.float(3)  # np.float stays in comments\n\n\nprint(weight())\n",
			},
			category: "numpy-removed-alias", strategy: "replace-numpy-alias", diff: "    return float(3)  # np.float stays in comments",
		},
		"deprecated action": {
			files: map[string]string{
				".github/mlops-bot.yml": healPolicy,
				".github/workflows/ci.yml": "name: ci\n" + onBoth + `
jobs:
  test:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v4
      - run: echo report > report.txt
      - uses: actions/upload-artifact@v3
        with:
          name: report
          path: report.txt
`,
			},
			category: "deprecated-action", strategy: "bump-action", diff: "      - uses: actions/upload-artifact@v4",
		},
		"out of memory": {files: training, category: "oom-killed", strategy: "halve-batch-size", diff: `  "batch_size": 2048,`},
		"network": {
			files: map[string]string{
				".github/workflows/ci.yml": "name: ci\n" + onBoth + `
jobs:
  test:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v4
      - name: Fetch
        run: |
          if [ "$GITHUB_RUN_ATTEMPT" = 1 ]; then
            echo "curl: (6) Could not resolve host: files.datahub.io"
            exit 6
          fi
`,
			},
			category: "transient-network", strategy: "rerun-failed",
		},
	}
}

// TestHeals is the main job, for each first strategy on both databases: nothing
// in it is scripted but the first push.
func TestHeals(t *testing.T) {
	t.Parallel()
	for name, tt := range failures(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			databases(t, func(t *testing.T, dbURL string) {
				w := newWorld(t, dbURL, standin.Options{})
				github := description(t).Recorder(strings.TrimSuffix(path.Clean(urlPath(t, w.forge.URL())), "/"))
				b := w.start(func(o *app.Options) { o.Transport = github.Transport(http.DefaultTransport) })
				defer b.end(t)
				defer func() {
					// Every request of the bot's and every answer is as GitHub describes them.
					if problems := github.Problems(); len(problems) > 0 || len(github.Operations()) < 5 {
						t.Errorf("%d operations; against GitHub's description:\n%s", len(github.Operations()), strings.Join(problems, "\n"))
					}
				}()
				w.install()
				base := w.push("main", "Break it", tt.files)

				inc := w.incident()
				if inc.Finding.Category != tt.category || inc.Run.HeadSHA != base || inc.Branch != "main" {
					t.Fatalf("incident %+v", inc)
				}
				r := w.repair(domain.RepairVerified)
				if r.Plan.Strategy != tt.strategy || len(r.Proofs) == 0 {
					t.Errorf("repair %+v", r)
				}
				until(w, "the message", func() (any, bool) {
					return nil, w.inbox.contains("verified") || tt.diff == "" && w.inbox.contains("resolved")
				})
				if tt.diff == "" {
					checkRerun(t, w, r)
					return
				}
				checkPull(t, w, r, tt, base)
				if _, err := w.forge.Merge(repoName, r.PullNumber); err != nil {
					t.Fatal(err)
				}
				w.repair(domain.RepairLanded)
				until(w, "the resolution", func() (domain.IncidentState, bool) {
					s := w.incidents()[0].State
					return s, s == domain.IncidentResolved
				})
			})
		})
	}
}

// description is GitHub's own description of its API, loaded once.
func description(t testing.TB) *openapi.Validator {
	t.Helper()
	v, err := loadDescription()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var loadDescription = sync.OnceValues(func() (*openapi.Validator, error) { return openapi.Load("../openapi") })

func urlPath(t testing.TB, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Path
}

// checkPull looks at the pull request as its receiver would.
func checkPull(t *testing.T, w *world, r domain.Repair, tt failing, base string) {
	t.Helper()
	pulls := w.forge.PullRequests(repoName)
	if len(pulls) != 1 || pulls[0].Number != r.PullNumber {
		t.Fatalf("pull requests %+v", pulls)
	}
	p := pulls[0]
	if p.Draft || p.BaseBranch != "main" || p.HeadBranch != r.Branch || p.HeadSHA != r.HeadSHA || p.Author != w.forge.BotLogin() {
		t.Errorf("pull request %+v", p)
	}
	for _, want := range []string{"What failed", "Line ", "What this changes", "How it will be verified", "/mlops-bot stop"} {
		if !strings.Contains(p.Body, want) {
			t.Errorf("the description lacks %q", want)
		}
	}
	before, err := w.forge.Tree(repoName, base)
	if err != nil {
		t.Fatal(err)
	}
	after, err := w.forge.Tree(repoName, r.HeadSHA)
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for path, f := range after {
		if before[path].Content != f.Content {
			changed++
			if !strings.Contains("\n"+f.Content, "\n"+tt.diff) {
				t.Errorf("%s became\n%s", path, f.Content)
			}
		}
	}
	if changed != 1 || len(before) != len(after) {
		t.Errorf("%d files changed", changed)
	}
	w.comment(r.PullNumber, "verified")
}

func checkRerun(t *testing.T, w *world, r domain.Repair) {
	t.Helper()
	if len(w.forge.PullRequests(repoName)) != 0 || r.Proofs[0].Attempt != 2 {
		t.Errorf("repair %+v, pull requests %+v", r, w.forge.PullRequests(repoName))
	}
	until(w, "the resolution", func() (domain.IncidentState, bool) {
		s := w.incidents()[0].State
		return s, s == domain.IncidentResolved
	})
}

// TestWithoutTheEditItStaysRed shows that the demo's proof is one: with the bot's
// edit undone on the bot's own branch, the same workflow fails.
func TestWithoutTheEditItStaysRed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite:"+t.TempDir()+"/bot.db", standin.Options{})
	b := w.start(nil)
	defer b.end(t)
	w.install()
	files := sampleTraining(t)
	w.push("main", "Train on larger batches", files)
	r := w.repair(domain.RepairVerified)
	undone := w.push(r.Branch, "Undo it", map[string]string{"config/train.json": files["config/train.json"]})
	got := until(w, "the run of the undone commit", func() (string, bool) {
		for _, run := range w.forge.Runs(repoName) {
			if run.SHA == undone && run.Status == "completed" {
				return run.Conclusion, true
			}
		}
		return "", false
	})
	if got != "failure" {
		t.Errorf("with the edit undone the run is %s", got)
	}
}

// TestOneDeliveryFiveTimesAtOnce: GitHub may deliver twice, and brokers do.
func TestOneDeliveryFiveTimesAtOnce(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, dbURL string) {
		w := newWorld(t, dbURL, standin.Options{Webhooks: standin.WebhookOptions{Duplicate: func(string, string) bool { return true }}})
		var calls atomic.Int64
		b := w.start(func(o *app.Options) {
			o.Chaos = func(domain.Envelope, string) (int, time.Duration) {
				i := calls.Add(1)
				return 1 + int(i)%3, time.Duration(i%7) * time.Millisecond
			}
		})
		defer b.end(t)
		w.install()
		w.push("main", "Break it", failures(t)["removed NumPy alias"].files)
		r := w.repair(domain.RepairVerified)
		w.comment(r.PullNumber, "verified")
		if err := w.forge.Idle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(w.forge.PullRequests(repoName)); n != 1 || len(w.incidents()) != 1 || len(w.repairs()) != 1 {
			t.Errorf("%d pull requests, %d incidents, %d repairs", n, len(w.incidents()), len(w.repairs()))
		}
	})
}

package standin

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// workflowOf is a workflow of one job that runs on pushes.
func workflowOf(steps string) map[string]File {
	return map[string]File{
		"README.md": {Content: "hello\n"},
		".github/workflows/ci.yml": {Content: "name: ci\non: [push, pull_request, workflow_dispatch]\njobs:\n  test:\n    runs-on: ubuntu-24.04\n" +
			"    steps:\n      - uses: actions/checkout@v4\n" + steps},
	}
}

// executed pushes a change to main and returns the run that came of it.
func (f fixture) executed(t *testing.T, files map[string]File) Run {
	t.Helper()
	before := len(f.s.Runs(full))
	f.push(t, "main", files)
	f.s.idleFor(t)
	runs := f.s.Runs(full)
	if len(runs) != before+1 {
		t.Fatalf("%d runs, want one more than %d", len(runs), before)
	}
	return runs[before]
}

func touch(content string) map[string]File { return map[string]File{"touched": {Content: content}} }

var logLine = regexp.MustCompile(`^\x{feff}?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z `)

// TestWorkflowsAreExecuted runs real steps on this machine.
func TestWorkflowsAreExecuted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		steps      string
		conclusion string
		job        []string // steps, in part
		log        []string // within, in this order
		not        string   // not within the log
	}{
		"green": {
			"      - name: Say it\n        run: echo \"hello from $GITHUB_REF_NAME\"\n", "success",
			[]string{"Set up job: success", "Run actions/checkout@v4: success", "Say it: success", "Complete job: success"},
			[]string{"##[group]Run echo", "shell: /usr/bin/bash -e {0}", "##[endgroup]", "hello from main", "Cleaning up orphan processes"}, "##[error]",
		},
		"red": {
			"      - run: |\n          echo before\n          exit 3\n      - run: echo never\n", "failure",
			[]string{"Run echo before: failure", "Run echo never: skipped"},
			[]string{"before", "##[error]Process completed with exit code 3."}, "Run echo never",
		},
		"bash stops at the first error": {
			"      - run: |\n          false\n          echo never-here | cat\n", "failure", nil, []string{"##[error]Process completed with exit code 1."}, "Z never-here",
		},
		"explicit bash fails in a pipe": {
			"      - shell: bash\n        run: false | cat\n", "failure", nil, []string{"shell: /usr/bin/bash --noprofile --norc -e -o pipefail {0}", "##[error]"}, "",
		},
		"python": {
			"      - shell: python\n        run: |\n          import os\n          print('python sees', os.environ['GITHUB_ACTIONS'], 'and', os.environ['GITHUB_REF'])\n", "success", nil,
			[]string{"python sees true and refs/heads/main"}, "",
		},
		"always and failure": {
			"      - run: exit 1\n      - if: always()\n        run: echo cleaning\n      - if: failure()\n        run: echo reporting\n      - if: success()\n        run: echo never\n", "failure",
			[]string{"Run echo cleaning: success", "Run echo reporting: success", "Run echo never: skipped"}, []string{"cleaning", "reporting"}, "",
		},
		"continue on error": {
			"      - run: exit 1\n        continue-on-error: true\n      - run: echo goes on\n", "success", []string{"Run echo goes on: success"}, []string{"goes on"}, "",
		},
		"environment": {
			"      - env:\n          GREETING: hey\n        run: |\n          echo \"$GREETING $HOME ${{ env.GREETING }}\"\n          test \"$HOME\" != /root\n", "success", nil, []string{"GREETING: hey", "hey /"}, "",
		},
		"steps speak to each other": {
			"      - run: |\n          echo ANSWER=42 >> \"$GITHUB_ENV\"\n          echo \"$PWD/bin\" >> \"$GITHUB_PATH\"\n          mkdir bin; printf '#!/bin/sh\\necho tool' > bin/tool; chmod +x bin/tool\n      - run: echo \"$ANSWER $(tool)\"\n", "success", nil, []string{"42 tool"}, "",
		},
		"deprecated action": {
			"      - uses: actions/upload-artifact@v3\n", "failure", []string{"Set up job: failure"},
			[]string{"##[error]This request has been automatically failed because it uses a deprecated version of `actions/upload-artifact: v3`."}, "Run actions/checkout",
		},
		"unknown action": {
			"      - uses: nobody/nothing@v1\n", "failure", []string{"Set up job: failure"}, []string{"##[error]Unable to resolve action"}, "",
		},
		"accepted actions": {
			"      - uses: actions/setup-python@v5\n        with:\n          python-version: '3.11'\n      - uses: actions/cache@v4\n        with:\n          path: x\n          key: y\n", "success",
			[]string{"Run actions/setup-python@v5: success", "Post Run actions/checkout@v4: success"}, []string{"python-version: 3.11"}, "",
		},
		"out of memory": {
			"      - run: |\n          ulimit -v 200000\n          python3 -c 'bytearray(400 * 1024 * 1024)'\n", "failure", nil, []string{"MemoryError", "##[error]Process completed with exit code 1."}, "",
		},
		"annotations and colours": {
			"      - run: printf '\\033[31mred\\033[0m\\n::warning::careful\\n'\n", "success", nil, []string{"\x1b[31mred", "##[warning]careful"}, "",
		},
		"binary noise": {
			"      - run: head -c 3000 /dev/urandom\n", "success", nil, []string{"##[endgroup]"}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixtureWith(t, Options{Execute: true}, workflowOf(c.steps))
			run := f.executed(t, touch("1"))
			if run.Conclusion != c.conclusion || len(run.Jobs) != 1 || run.Jobs[0].Conclusion != c.conclusion {
				t.Errorf("it ended as %s, want %s", run.Conclusion, c.conclusion)
			}
			job := run.Jobs[0]
			for _, want := range c.job {
				if !slices.Contains(job.Steps, want) {
					t.Errorf("the steps are %q, want %q", job.Steps, want)
				}
			}
			rest := job.Log
			for _, want := range c.log {
				at := strings.Index(rest, want)
				if at < 0 {
					t.Fatalf("%q does not come in\n%s", want, job.Log)
				}
				rest = rest[at+len(want):]
			}
			if c.not != "" && strings.Contains(job.Log, c.not) {
				t.Errorf("%q is in\n%s", c.not, job.Log)
			}
			for line := range strings.SplitSeq(strings.TrimSuffix(job.Log, "\n"), "\n") {
				if !logLine.MatchString(line) {
					t.Fatalf("%q has no timestamp", line)
				}
			}
		})
	}
}

func TestPullRequestsRunOnTheMergedTree(t *testing.T) {
	t.Parallel()
	f := newFixtureWith(t, Options{Execute: true, Limits: unlimited()}, workflowOf("      - run: cat a b && git --version >/dev/null\n"))
	f.push(t, "topic", map[string]File{"b": {Content: "topic\n"}})
	f.push(t, "main", map[string]File{"a": {Content: "main\n"}})
	number := f.all.want(201, "POST", repo+"/pulls", obj{"title": "Add b", "head": "topic", "base": "main"}).num("number")
	f.s.idleFor(t)
	for _, run := range f.s.Runs(full) {
		want := "failure" // alone, neither branch has both files
		if run.Event == "pull_request" {
			want = "success"
		}
		if run.Conclusion != want {
			t.Errorf("the %s run of %s ended as %s, want %s: %s", run.Event, run.Branch, run.Conclusion, want, run.Jobs[0].Log)
		}
	}
	a := f.all.want(200, "GET", repo+"/actions/runs?event=pull_request", nil)
	if a.num("total_count") != 1 || a.num("workflow_runs.0.pull_requests.0.number") != number || a.num("workflow_runs.0.head_repository.id") != f.repo.ID {
		t.Errorf("the run is %s", a.body)
	}
	pull := f.all.want(200, "GET", fmt.Sprintf("%s/pulls/%d", repo, number), nil)
	if a.str("workflow_runs.0.head_sha") != pull.str("head.sha") {
		t.Error("the run's head is not the pull request's")
	}
	if got := f.all.want(200, "GET", fmt.Sprintf("%s/git/ref/pull/%d/merge", repo, number), nil).str("object.sha"); got != pull.str("merge_commit_sha") {
		t.Errorf("refs/pull/%d/merge is %s", number, got)
	}
}

func TestMatrixFailsFast(t *testing.T) {
	t.Parallel()
	text := func(strategy string) map[string]File {
		return map[string]File{".github/workflows/ci.yml": {Content: `name: ci
on: push
jobs:
  test:
    runs-on: ubuntu-24.04
    strategy:
` + strategy + `
      matrix:
        python: ["3.11", "3.12"]
    steps:
      - run: |
          if [ "${{ matrix.python }}" = 3.12 ]; then sleep ${{ matrix.nap || '0' }}; else exit 1; fi
  after:
    needs: test
    runs-on: ubuntu-24.04
    steps: [{run: echo never}]
  report:
    needs: [test]
    if: always()
    runs-on: ubuntu-24.04
    steps: [{run: "echo result ${{ needs.test.result }}"}]
`}}
	}
	for name, c := range map[string]struct {
		strategy string
		second   string
		log      string
	}{
		"fails fast":    {"      fail-fast: true", "", "result failure"},
		"runs them all": {"      fail-fast: false", "success", "result failure"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixtureWith(t, Options{Execute: true}, text(c.strategy))
			run := f.executed(t, touch("1"))
			got := map[string]Job{}
			for _, j := range run.Jobs {
				got[j.Name] = j
			}
			if run.Conclusion != "failure" || got["test (3.11)"].Conclusion != "failure" || got["after"].Conclusion != "skipped" || got["report"].Conclusion != "success" {
				t.Errorf("the run is %+v", run)
			}
			if c.second != "" && got["test (3.12)"].Conclusion != c.second {
				t.Errorf("the second leg ended as %s", got["test (3.12)"].Conclusion)
			}
			if !strings.Contains(got["report"].Log, c.log) {
				t.Errorf("the report says %s", got["report"].Log)
			}
		})
	}
}

func TestSiblingsAreCancelled(t *testing.T) {
	t.Parallel()
	f := newFixtureWith(t, Options{Execute: true}, map[string]File{".github/workflows/ci.yml": {Content: `name: ci
on: push
jobs:
  test:
    runs-on: ubuntu-24.04
    strategy: {matrix: {leg: [red, slow]}}
    steps:
      - run: if [ ${{ matrix.leg }} = red ]; then exit 1; else sleep 600; fi
`}})
	run := f.executed(t, touch("1"))
	if run.Conclusion != "failure" || run.Jobs[0].Conclusion != "failure" || run.Jobs[1].Conclusion != "cancelled" {
		t.Errorf("the run is %+v", run)
	}
	if !strings.Contains(run.Jobs[1].Log, "##[error]The operation was canceled.") {
		t.Errorf("the cancelled leg says %s", run.Jobs[1].Log)
	}
}

// alive reports whether the process that wrote its id to a file still runs. One
// that ended and waits to be collected doesn't, nor one that never got so far.
func alive(pidFile string) bool {
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// TestTimeoutsAreReportedAsCancelled also looks whether a job's processes end with
// it, those that it left in the background too.
func TestTimeoutsAreReportedAsCancelled(t *testing.T) {
	t.Parallel()
	pid := filepath.Join(t.TempDir(), "pid")
	f := newFixtureWith(t, Options{Execute: true}, map[string]File{".github/workflows/ci.yml": {Content: `name: ci
on: push
jobs:
  test:
    runs-on: ubuntu-24.04
    timeout-minutes: 0.01
    steps:
      - run: |
          sleep 600 &
          echo $! > ` + pid + `
          wait
      - run: echo never
      - if: always()
        run: echo never either
`}})
	run := f.executed(t, touch("1"))
	if run.Conclusion != "cancelled" || run.Jobs[0].Conclusion != "cancelled" {
		t.Errorf("it ended as %s", run.Conclusion)
	}
	if !strings.Contains(run.Jobs[0].Log, "has exceeded the maximum execution time") {
		t.Errorf("the log says %s", run.Jobs[0].Log)
	}
	if alive(pid) {
		t.Error("the job's process lives on")
	}
}

// TestCloseEndsWhatRuns closes a stand-in in the midst of a job.
func TestCloseEndsWhatRuns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pid, begun := filepath.Join(dir, "pid"), filepath.Join(dir, "begun")
	if err := syscall.Mkfifo(begun, 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFixtureWith(t, Options{Execute: true}, workflowOf("      - run: |\n          echo $$ > "+pid+"\n          echo > "+begun+"\n          sleep 600\n"))
	f.push(t, "main", touch("1"))
	if _, err := os.ReadFile(begun); err != nil { // until the step writes to it
		t.Fatal(err)
	}
	if !alive(pid) {
		t.Fatal("the step has begun, but doesn't run")
	}
	if err := f.s.Close(); err != nil {
		t.Fatal(err)
	}
	if run := f.s.Runs(full)[0]; run.Conclusion != "cancelled" {
		t.Errorf("it ended as %s", run.Conclusion)
	}
	if alive(pid) {
		t.Error("the job's process lives on")
	}
}

func TestScriptedRuns(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Limits: unlimited()})
	run, err := f.s.ScriptRun(full, ScriptedRun{ScriptedAttempt: ScriptedAttempt{Conclusion: "startup_failure"}})
	if err != nil || run.Conclusion != "startup_failure" || len(run.Jobs) != 0 {
		t.Errorf("it is %+v, %v", run, err)
	}
	red := ScriptedAttempt{Jobs: []ScriptedJob{{Name: "lint"}, {Name: "test", Conclusion: "failure", Steps: []ScriptedStep{{"Set up job", ""}, {"Run pytest", "failure"}}, Log: "boom\n"}}}
	green := ScriptedAttempt{Jobs: []ScriptedJob{{Name: "lint"}, {Name: "test", Log: "fine\n"}}}
	run, err = f.s.ScriptRun(full, ScriptedRun{ScriptedAttempt: red, Reruns: []ScriptedAttempt{green}})
	if err != nil || run.Conclusion != "failure" {
		t.Fatalf("it is %+v, %v", run, err)
	}
	if diff := cmp.Diff([]string{"Set up job: success", "Run pytest: failure"}, run.Jobs[1].Steps); diff != "" {
		t.Error(diff)
	}
	path := fmt.Sprintf("%s/actions/runs/%d", repo, run.ID)
	for attempt, want := range []string{"success", "success"} { // the last one is repeated
		f.all.want(201, "POST", path+"/rerun", nil)
		f.s.idleFor(t)
		if got := f.s.Runs(full)[1]; got.Conclusion != want || got.Attempt != attempt+2 {
			t.Errorf("attempt %d ended as %s", got.Attempt, got.Conclusion)
		}
	}
	for name, in := range map[string]ScriptedRun{
		"no such commit":       {SHA: strings.Repeat("ab", 20)},
		"no such branch":       {Branch: "none"},
		"no such pull request": {Pull: 9},
		"no workflow's path":   {Workflow: "README.md"},
	} {
		if run, err := f.s.ScriptRun(full, in); err == nil {
			t.Errorf("%s: it is %+v", name, run)
		}
	}
	if _, err := f.s.ScriptRun("no/where", ScriptedRun{}); err == nil {
		t.Error("a repository that isn't there has a run")
	}
}

func TestRerunsRunWhatFailed(t *testing.T) {
	t.Parallel()
	f := newFixtureWith(t, Options{Execute: true, Limits: unlimited()}, map[string]File{".github/workflows/ci.yml": {Content: `name: ci
on: push
jobs:
  good:
    runs-on: ubuntu-24.04
    steps: [{run: echo good}]
  flaky:
    runs-on: ubuntu-24.04
    steps: [{run: 'test "$GITHUB_RUN_ATTEMPT" -gt 1'}]
`}})
	first := f.executed(t, touch("1"))
	if first.Conclusion != "failure" {
		t.Fatalf("it ended as %s", first.Conclusion)
	}
	path := fmt.Sprintf("%s/actions/runs/%d", repo, first.ID)
	f.all.want(201, "POST", path+"/rerun-failed-jobs", nil)
	f.s.idleFor(t)
	again := f.s.Runs(full)[0]
	if again.ID != first.ID || again.Attempt != 2 || again.Conclusion != "success" {
		t.Errorf("the second attempt is %+v", again)
	}
	if again.Jobs[0].Log != first.Jobs[0].Log {
		t.Error("the green job ran again")
	}
	f.all.want(403, "POST", path+"/rerun-failed-jobs", nil)
	if a := f.all.want(200, "GET", path+"/attempts/1", nil); a.str("conclusion") != "failure" || a.num("run_attempt") != 1 {
		t.Errorf("the first attempt is %s", a.body)
	}
	for query, want := range map[string]int64{"/jobs": 2, "/jobs?filter=all": 4, "/attempts/1/jobs": 2, "/attempts/2/jobs": 2} {
		if a := f.all.want(200, "GET", path+query, nil); a.num("total_count") != want {
			t.Errorf("%s has %d, want %d", query, a.num("total_count"), want)
		}
	}
	f.all.want(404, "GET", path+"/attempts/3", nil)
}

func TestBrokenWorkflowsFailToStart(t *testing.T) {
	t.Parallel()
	f := newFixtureWith(t, Options{Execute: true}, map[string]File{".github/workflows/ci.yml": {Content: "on: push\njobs:\n  a:\n    steps: [\n"}})
	run := f.executed(t, touch("1"))
	if run.Conclusion != "startup_failure" || len(run.Jobs) != 0 {
		t.Errorf("the run is %+v", run)
	}
}

// TestExecutionStaysOnLoopback is about who could have code executed here.
func TestExecutionStaysOnLoopback(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"all addresses": {Execute: true, Listen: ":0"},
		"any IPv4":      {Execute: true, Listen: "0.0.0.0:0"},
		"any IPv6":      {Execute: true, Listen: "[::]:0"},
		"a name":        {Execute: true, Listen: "example.com:80"},
		"the logs":      {Execute: true, BlobListen: "0.0.0.0:0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := New(o); err == nil || !strings.Contains(err.Error(), "loopback") {
				t.Errorf("the error is %v", err)
			}
			o.Execute = false
			if _, err := New(o); err != nil {
				t.Errorf("without execution: %v", err)
			}
		})
	}
	for _, o := range []Options{{Execute: true, Listen: "127.0.0.1:0"}, {Execute: true, Listen: "[::1]:0"}, {Execute: true, Listen: "localhost:0"}} {
		if _, err := New(o); err != nil {
			t.Error(err)
		}
	}
}

func FuzzParseWorkflow(f *testing.F) {
	for _, file := range workflowOf("      - run: echo ${{ matrix.x }}\n") {
		f.Add([]byte(file.Content))
	}
	f.Add([]byte("on: {push: {branches: [main]}}\njobs: {a: {runs-on: x, strategy: {matrix: {x: [1, 2], include: [{x: 3}]}}, steps: [{run: a}]}}"))
	f.Add([]byte("on: push\njobs: &a\n  b: *a\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		w, err := parseWorkflow(text)
		if err != nil {
			return
		}
		for _, j := range w.Jobs {
			if len(j.Legs) > maxLegs+len(text) {
				t.Fatalf("%d legs", len(j.Legs))
			}
			for _, s := range j.Steps {
				_, _ = scope{}.expand(s.Run, status{})
				_, _ = scope{}.condition(s.If, status{})
			}
		}
	})
}

func TestExpressions(t *testing.T) {
	t.Parallel()
	v := scope{"matrix.os": "linux", "env.EMPTY": "", "github.ref": "refs/heads/main"}
	for text, want := range map[string]string{
		"plain": "plain", "${{ matrix.os }}": "linux", "a-${{matrix.os}}-b": "a-linux-b", "${{ env.EMPTY || 'other' }}": "other",
		"${{ matrix.os == 'LINUX' }}": "true", "${{ matrix.os != 'linux' && true }}": "false", "${{ startsWith(github.ref, 'refs/heads/') }}": "true",
		"${{ !contains(github.ref, 'main') }}": "false", "${{ 'it''s' }}": "it's", "${{ 3 > 2 }}": "true", "${{ unknown.name }}": "", "${{ matrix['os'] }}": "linux",
	} {
		got, err := v.expand(text, status{})
		if err != nil || got != want {
			t.Errorf("%s is %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"${{ open", "${{ 'open }}", "${{ f( }}", "${{ a b }}", "${{ }}", "${{ " + strings.Repeat("(", 100) + " }}"} {
		if got, err := v.expand(text, status{}); err == nil {
			t.Errorf("%s is %q, want an error", text, got)
		}
	}
}

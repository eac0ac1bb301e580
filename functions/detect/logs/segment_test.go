package logs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ran is one step of a made-up job's log.
func ran(heading string, output ...string) string {
	return "##[group]Run " + heading + "\n##[endgroup]\n" + strings.Join(append(output, ""), "\n")
}

// states lists the steps of a log and what became of them.
func states(r *Reader) []string {
	var out []string
	for _, s := range r.Segments() {
		name := s.Step
		if s.Job != "" {
			name = s.Job + "/" + name
		}
		out = append(out, fmt.Sprintf("%s: %s", name, [...]string{"unclear", "green", "failed", "cascade", "stopped"}[s.State]))
	}
	return out
}

// TestCauseOrCascade tells failures that ended a job from those that it was
// allowed to have, and from what ran afterwards.
func TestCauseOrCascade(t *testing.T) {
	t.Parallel()
	const (
		one     = "##[error]Process completed with exit code 1."
		stopped = "##[error]The operation was canceled."
		post    = "Post job cleanup.\nCleaning up orphan processes\n"
	)
	for name, tc := range map[string]struct {
		log  string
		want []string
	}{
		"allowed to fail, then an installation, then the tests fail": {
			ran("ruff check .", "F401", one) + ran("pip install -r requirements.txt", "ok") + ran("pytest -q", "E", one) + post,
			[]string{"Run ruff check .: green", "Run pip install -r requirements.txt: green", "Run pytest -q: failed", "Post job cleanup: cascade"},
		},
		"allowed to fail, and nothing else fails": {
			ran("ruff check .", "F401", one) + ran("actions/setup-python@v5", "ok") + ran("pytest -q", "3 passed") + post,
			[]string{"Run ruff check .: green", "Run actions/setup-python@v5: green", "Run pytest -q: green", "Post job cleanup: green"},
		},
		"the same, but the log's end is missing": {
			ran("ruff check .", "F401", one) + ran("actions/setup-python@v5", "ok"),
			[]string{"Run ruff check .: failed", "Run actions/setup-python@v5: cascade"},
		},
		"a check fails, and so do the tests": {
			ran("ruff check .", "F401", one) + ran("python -m pytest", "E", one) + post,
			[]string{"Run ruff check .: cascade", "Run python -m pytest: failed", "Post job cleanup: cascade"},
		},
		"tests that pass behind a failed check don't make it green": {
			ran("ruff check .", "F401", one) + ran("pytest", "3 passed") + post,
			[]string{"Run ruff check .: failed", "Run pytest: cascade", "Post job cleanup: cascade"},
		},
		"an upload that is always tried fails": {
			ran("pytest", "E", one) + ran("actions/upload-artifact@v4", "##[error]No files were found") + post,
			[]string{"Run pytest: failed", "Run actions/upload-artifact@v4: cascade", "Post job cleanup: cascade"},
		},
		"a script that reports the failure fails": {
			ran("pytest", "E", one) + ran("./notify.sh", "E", one) + post,
			[]string{"Run pytest: failed", "Run ./notify.sh: cascade", "Post job cleanup: cascade"},
		},
		"the outcome is looked at in the end": {
			ran("pytest", "E", one) + ran("docker/setup-buildx-action@v3", "ok") + ran("exit 1", one) + post,
			[]string{"Run pytest: failed", "Run docker/setup-buildx-action@v3: cascade", "Run exit 1: cascade", "Post job cleanup: cascade"},
		},
		"two allowed failures before the real one": {
			ran("ruff check .", one) + ran("npm ci", "ok") + ran("mypy .", one) + ran("docker/build-push-action@v6", "ok", "##[error]buildx failed") + post,
			[]string{"Run ruff check .: green", "Run npm ci: green", "Run mypy .: green", "Run docker/build-push-action@v6: failed", "Post job cleanup: cascade"},
		},
		"cancelled: what was reported before was survived": {
			ran("brew install x", "##[error]brew: x") + ran("pytest", stopped) + post,
			[]string{"Run brew install x: green", "Run pytest: stopped", "Post job cleanup: cascade"},
		},
		"cancelled because a sibling failed": {
			ran("pip install x", "ok") + ran("pytest", `##[error]The strategy configuration was canceled because "test._3_10" failed`, stopped),
			[]string{"Run pip install x: green", "Run pytest: stopped"},
		},
		"at its time limit": {
			ran("actions/setup-python@v5", "##[error]brew: x", "1", "2", "3", "4") + ran("python train.py", "##[error]The job has exceeded the maximum execution time of 6h0m0s", stopped),
			[]string{"Run actions/setup-python@v5: green", "Run python train.py: failed"},
		},
		"the time limit of a step": {
			ran("./a.sh", "##[error]annotated", "1", "2", "3", "4") + ran("./b.sh", "##[error]The action './b.sh' has timed out after 10 minutes.") + post,
			[]string{"Run ./a.sh: green", "Run ./b.sh: failed", "Post job cleanup: cascade"},
		},
		"a composite action's script fails": {
			ran("./.github/actions/train") + ran("pip install x", "ok") + ran("python train.py", one) + post,
			[]string{"Run ./.github/actions/train: green", "Run pip install x: green", "Run python train.py: failed", "Post job cleanup: cascade"},
		},
		"logs of services follow": {
			ran("pytest", one) + "Print service container logs: pg\n##[command]/usr/bin/docker logs pg\nFATAL: x\nStop and remove container: pg\nCleaning up orphan processes\n",
			[]string{"Run pytest: failed", "Post job cleanup: cascade"},
		},
		"two jobs one after the other": {
			"Current runner version: '2.330.0'\n" + ran("pytest", one) + post + "Current runner version: '2.330.0'\n" + ran("make", "ok") + ran("mypy", one) + post,
			[]string{": green", "Run pytest: failed", "Post job cleanup: cascade", ": green", "Run make: green", "Run mypy: failed", "Post job cleanup: cascade"},
		},
		"a rerun in one file": {
			"a\tSet up job\t" + stampA + "Current runner version: '2.330.0'\na\tTest\t" + stampA + "##[group]Run pytest\na\tTest\t" + stampA + one + "\n" +
				"a\tSet up job\t" + stampA + "Current runner version: '2.330.0'\na\tTest\t" + stampA + "##[group]Run pytest\na\tTest\t" + stampA + one + "\n",
			[]string{"a/Set up job: green", "a/Test: failed", "a/Set up job: green", "a/Test: failed"},
		},
		"names of steps in columns": {
			"a\tLint\t" + stampA + one + "\na\tInstall dependencies\t" + stampA + "ok\na\tUpload build report\t" + stampA + one + "\na\tRun tests\t" + stampA + one + "\na\tPost Checkout\t" + stampA + "x\n",
			[]string{"a/Lint: green", "a/Install dependencies: green", "a/Upload build report: cascade", "a/Run tests: failed", "a/Post Checkout: cascade"},
		},
		"names that hide": {
			"a\u202e\x1b[2Jb\tste\u200bp\t" + stampA + "x\n",
			[]string{"ab/step: unclear"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, r := read(t, strings.NewReader(tc.log), Options{})
			if diff := cmp.Diff(tc.want, states(r)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTitlesAreBounded(t *testing.T) {
	t.Parallel()
	_, r := read(t, strings.NewReader(ran(strings.Repeat("ü", 9000), "x")), Options{})
	if n := len(r.Segments()[0].Step); n > maxTitle || n < maxTitle-4 {
		t.Errorf("%d bytes", n)
	}
}

func TestLineNumbers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		log  string
		want []string
	}{
		"of a page":       {"1\ta\n2\tb\n3\t\n4\td\n5\te\n6\tf", []string{"a", "b", "", "d", "e", "f"}},
		"of an editor":    {"    1 a\n    2   b\n    3\n    4 d\n    5 e\n", []string{"a", "  b", "", "d", "e"}},
		"of grep, CRLF":   {"1:a\r\n2:b\r\n3:\r\n4:d\r\n5:e\r\n", []string{"a", "b", "", "d", "e"}},
		"with a mark":     {"\ufeff1 a\n2 b\n3 c\n4 d\n5 e\n", []string{"a", "b", "c", "d", "e"}},
		"a line without":  {"1 a\n2 b\n3 c\n4 d\n5 e\nx\n7 g\n", []string{"a", "b", "c", "d", "e", "x", "g"}},
		"not from one":    {"2 a\n3 b\n4 c\n5 d\n6 e\n", []string{"2 a", "3 b", "4 c", "5 d", "6 e"}},
		"counted to four": {"1 a\n2 b\n3 c\n4 d\nx\n", []string{"1 a", "2 b", "3 c", "4 d", "x"}},
		"of tests":        {"1/5 a\n2/5 b\n3/5 c\n4/5 d\n5/5 e\n", []string{"1/5 a", "2/5 b", "3/5 c", "4/5 d", "5/5 e"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines, _ := read(t, strings.NewReader(tc.log), Options{})
			var got []string
			for _, l := range lines {
				got = append(got, l.Text)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
	long := strings.Repeat("x", 200_000)
	lines, _ := read(t, strings.NewReader("1 a\n2 b\n3 c\n4 d\n5 e\n6 "+long+"\n7 g\n"), Options{})
	if len(lines) != 7 || lines[5].Text != long[:DefaultMaxLine] || lines[6].Text != "g" {
		t.Errorf("%d lines, then %q", len(lines), lines[len(lines)-1].Text)
	}
}

// FuzzSegments feeds what the runner writes in any order.
func FuzzSegments(f *testing.F) {
	f.Add([]byte("ruff\x01pip install x\x01\x02\x03"))
	words := []string{
		"##[group]Run ruff", "##[group]Run pip install x", "##[group]Run pytest", "##[group]Run a/setup-b@v1", "##[group]Run exit 1", "##[endgroup]",
		"##[error]Process completed with exit code 1.", "##[error]The operation was canceled.", "##[error]x", "Post job cleanup.", "Current runner version: '2'",
		"a\tInstall\t" + stampA + "x", "b\tPost x\t" + stampA + "##[error]y", "text",
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var b strings.Builder
		for _, c := range data[:min(len(data), 500)] {
			b.WriteString(words[int(c)%len(words)] + "\n")
		}
		_, r := read(t, strings.NewReader(b.String()), Options{})
		type key struct {
			job    string
			runner int
		}
		failed := map[key]int{}
		for _, s := range r.Segments() {
			if s.State == Failed {
				failed[key{s.Job, s.runner}]++
			}
		}
		for k, n := range failed {
			if n > 1 {
				t.Fatalf("%d steps of %v failed first", n, k)
			}
		}
	})
}

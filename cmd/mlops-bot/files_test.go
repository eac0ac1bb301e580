package main

import (
	"archive/zip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

const oomLog = "##[group]Run python train.py\n##[endgroup]\nTraceback (most recent call last):\n  File \"train.py\", line 9, in <module>\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 14.58 GiB\n##[error]Process completed with exit code 1.\n"

// runLogs are the logs of a run: a job's file, and another job's steps, of which
// the second failed.
func runLogs() map[string]string {
	stamped := func(log string) string {
		var b strings.Builder
		for line := range strings.Lines(log) {
			b.WriteString("2026-01-02T03:04:05.1234567Z " + line)
		}
		return b.String()
	}
	return map[string]string{
		"0_train (3.11).txt":       stamped(oomLog),
		"test/1_Set up job.txt":    "\ufeff" + stamped("Current runner version: '2.330.0'\nComplete job name: test\n"),
		"test/2_Run tests.txt":     stamped("##[group]Run pytest\n##[endgroup]\n" + moduleLog),
		"test/3_Upload report.txt": stamped("##[group]Run actions/upload-artifact@v4\n##[endgroup]\n##[error]No files were found\n"),
		"test/system.txt":          "nothing",
	}
}

func writeZip(t *testing.T, name string, files map[string]string) string {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	for _, n := range sortedKeys(files) {
		w, err := z.Create(n)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[n]); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return name
}

type shown struct {
	File, Category, Job, Step string
	Line                      int
	At                        *place
}

func diagnoses(t *testing.T, out string) []shown {
	t.Helper()
	var all []shown
	dec := json.NewDecoder(strings.NewReader(out))
	for dec.More() {
		var s shown
		if err := dec.Decode(&s); err != nil {
			t.Fatal(err)
		}
		s.File = filepath.Base(filepath.Dir(s.File)) + "/" + filepath.Base(s.File)
		all = append(all, s)
	}
	return all
}

func TestDiagnoseRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	archive := writeZip(t, filepath.Join(dir, "run-logs.zip"), runLogs())
	folder := filepath.Join(dir, "unpacked")
	for name, text := range runLogs() {
		write(t, filepath.Join(folder, name), text)
	}
	for _, path := range []string{archive, folder} {
		code, out, errs := exec(t, "", nil, "diagnose", "--output", "json", path)
		if code != exitOK || errs != "" {
			t.Fatalf("exit %d, %s", code, errs)
		}
		base := filepath.Base(path)
		want := []shown{
			{base + "/0_train (3.11).txt", "cuda-oom", "train (3.11)", "Run python train.py", 5, nil},
			{base + "/test", "missing-module", "test", "Run tests", 9, &place{"2_Run tests.txt", 7}},
		}
		if diff := cmp.Diff(want, diagnoses(t, out)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", base, diff)
		}
	}
	// One job's folder, and one step's file.
	job := filepath.Join(folder, "test")
	code, out, errs := exec(t, "", nil, "diagnose", "--output", "json", job, filepath.Join(job, "2_Run tests.txt"))
	want := []shown{
		{"unpacked/test", "missing-module", "test", "Run tests", 9, &place{"2_Run tests.txt", 7}},
		{"test/2_Run tests.txt", "missing-module", "test", "Run pytest", 7, nil},
	}
	if diff := cmp.Diff(want, diagnoses(t, out)); code != exitOK || diff != "" {
		t.Errorf("exit %d, %s (-want +got):\n%s", code, errs, diff)
	}
	code, out, errs = exec(t, "", nil, "diagnose", "--job", "test", archive)
	if code != exitOK || !strings.Contains(out, "line 7 of 2_Run tests.txt, job test, step Run tests") || strings.Contains(out, "cuda") {
		t.Errorf("exit %d\n%s\n%s", code, out, errs)
	}
	code, out, errs = exec(t, "", nil, "diagnose", "--job", "deploy", "--job", "test", archive)
	if code != exitError || !strings.Contains(errs, `no log of job "deploy"; there are train (3.11), test`) || !strings.Contains(out, "missing-module") {
		t.Errorf("exit %d\n%s\n%s", code, out, errs)
	}
	write(t, filepath.Join(dir, "repo/requirements.txt"), "numpy\n")
	write(t, filepath.Join(dir, "repo/.github/workflows/ci.yml"), "on: push\njobs:\n  test:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: pip install -r requirements.txt\n")
	if code, out, errs = exec(t, "", nil, "plan", "--repo", filepath.Join(dir, "repo"), "--log", job); code != exitOK || !strings.Contains(out, "+pandas") {
		t.Errorf("exit %d\n%s\n%s", code, out, errs)
	}
}

// TestDiagnoseBadInput gives what can't be read: each is told by name, and the
// good log beside them is diagnosed.
func TestDiagnoseBadInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := write(t, filepath.Join(dir, "good.log"), moduleLog)
	damaged := writeZip(t, filepath.Join(dir, "damaged.zip"), runLogs())
	b, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(b), "0_train (3.11).txt") + len("0_train (3.11).txt")
	copy(b[at:], "\xff\xff\xff\xff\xff\xff")
	write(t, damaged, string(b))
	tests := map[string]struct {
		path string
		out  string
		err  string
	}{
		"no file":             {filepath.Join(dir, "none.log"), "", "no such file"},
		"an empty archive":    {writeZip(t, filepath.Join(dir, "empty.zip"), nil), "", "not the logs of a run"},
		"an archive, cut":     {write(t, filepath.Join(dir, "cut.zip"), "PK\x03\x04 and then nothing"), "", "not a valid zip file"},
		"an archive, damaged": {damaged, "missing-module", "damaged.zip/0_train (3.11).txt"},
		"a folder of others":  {filepath.Dir(write(t, filepath.Join(dir, "none/a.md"), "x")), "", "not the logs of a run"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := exec(t, "", nil, "diagnose", tt.path, good)
			if code != exitError || !strings.Contains(errs, tt.err) || !strings.Contains(out, tt.out) || !strings.Contains(out, "good.log\n  missing-module") {
				t.Errorf("exit %d\n%s\n%s", code, out, errs)
			}
		})
	}
	// A link in a folder isn't followed.
	links := filepath.Join(dir, "links")
	write(t, filepath.Join(links, "0_a.txt"), "nothing\n")
	if err := os.Symlink(good, filepath.Join(links, "1_b.txt")); err != nil {
		t.Fatal(err)
	}
	if _, out, _ := exec(t, "", nil, "diagnose", links); strings.Contains(out, "missing-module") {
		t.Errorf("the link was followed:\n%s", out)
	}
}

// TestDiagnoseShowsNoCommands puts what a terminal obeys, and credentials, in
// every place of a log that is shown.
func TestDiagnoseShowsNoCommands(t *testing.T) {
	t.Parallel()
	evil := "\x1b]8;;http://x\x1b\\\x1b[2J\u009b31m\x9b31m\u202e\u200b\x07"
	secret := "ghp_" + strings.Repeat("aB3", 14)
	stamp := "2026-01-02T03:04:05.1234567Z "
	log := "jo" + evil + "b " + secret + "\tste" + evil + "p " + secret + "\t" + stamp + "Traceback (most recent call last):\n" +
		"jo" + evil + "b " + secret + "\tste" + evil + "p " + secret + "\t" + stamp + "ModuleNotFoundError: No module named 'pan" + evil + "das" + secret + "'\n" +
		"jo" + evil + "b " + secret + "\tste" + evil + "p " + secret + "\t" + stamp + "##[error]Process completed with exit code 1.\n"
	dir := t.TempDir()
	for _, path := range []string{
		write(t, filepath.Join(dir, "job.log"), log),
		write(t, filepath.Join(dir, "title.log"), "##[group]Run x "+evil+secret+"\n##[endgroup]\n"+moduleLog),
		writeZip(t, filepath.Join(dir, "run.zip"), map[string]string{"0_jo" + evil + "b " + secret + ".txt": log, "st" + evil + "/1_Run " + evil + secret + ".txt": moduleLog, "st" + evil + "/2_Run.txt": ""}),
	} {
		for _, args := range [][]string{{"--explain"}, {"--output", "json"}} {
			code, out, errs := exec(t, "", nil, append([]string{"diagnose", path}, args...)...)
			if code != exitOK || !strings.Contains(out, "missing-module") {
				t.Errorf("%s: exit %d\n%q\n%s", filepath.Base(path), code, out, errs)
			}
			if strings.Contains(out+errs, secret) {
				t.Errorf("%s %s: the credential is shown:\n%s", filepath.Base(path), args, out)
			}
			for _, r := range out + errs {
				if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
					t.Fatalf("%s %s: %U is shown:\n%q", filepath.Base(path), args, r, out)
				}
			}
		}
	}
}

// TestDiagnoseGreen: a log without a failure is not called unknown.
func TestDiagnoseGreen(t *testing.T) {
	t.Parallel()
	code, out, errs := exec(t, "##[group]Run pytest\n##[endgroup]\n3 passed in 0.1s\nPost job cleanup.\nCleaning up orphan processes\n", nil, "diagnose", "-")
	if code != exitOK || !strings.Contains(out, "nothing failed") || strings.Contains(out, "unknown") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}

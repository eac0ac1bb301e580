package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

const moduleLog = "Collecting tests\nTraceback (most recent call last):\n  File \"train.py\", line 3, in <module>\n    import pandas as pd\nModuleNotFoundError: No module named 'pandas'\n##[error]Process completed with exit code 1.\n"

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func exec(t *testing.T, stdin string, environ []string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, console{strings.NewReader(stdin), &o, &e, environ})
	return code, o.String(), e.String()
}

func TestUsage(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		code int
		out  string
		err  string
	}{
		"nothing":         {nil, exitOK, "diagnose", ""},
		"help":            {[]string{"--help"}, exitOK, "Exit codes", ""},
		"help of one":     {[]string{"plan", "--help"}, exitOK, "--finding", ""},
		"unknown command": {[]string{"heal"}, exitUsage, "", "heal"},
		"unknown flag":    {[]string{"version", "--nope"}, exitUsage, "", "--nope"},
		"wrong value":     {[]string{"diagnose", "--output", "xml", "-"}, exitUsage, "", "xml"},
		"plan on nothing": {[]string{"plan", "--repo", "."}, exitUsage, "", "--finding"},
		"version":         {[]string{"version"}, exitOK, "mlops-bot ", ""},
		"no settings":     {[]string{"serve"}, exitError, "", "GITHUB_APP_ID"},
		"validate":        {[]string{"config", "validate"}, exitError, "", "GITHUB_WEBHOOK_SECRET"},
		"console's":       {[]string{"config", "validate", "--program", "console"}, exitOK, "complete", ""},
		"manifest":        {[]string{"app", "manifest", "--url", "https://bot.example.com"}, exitOK, "https://bot.example.com/webhooks/github", ""},
		"manifest's URL":  {[]string{"app", "manifest", "--url", "bot"}, exitError, "", "bot"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := exec(t, "", nil, tt.args...)
			if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(errs, tt.err) || (tt.err == "" && errs != "") {
				t.Errorf("exit %d\n%s\n%s", code, out, errs)
			}
		})
	}
}

func TestDiagnose(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "job.log"), moduleLog)
	odd := write(t, filepath.Join(dir, "odd.log"), "nothing to see\n")
	code, out, errs := exec(t, moduleLog, nil, "diagnose", "--output", "json", file, odd, "-")
	if code != exitOK || errs != "" {
		t.Fatalf("exit %d, %s", code, errs)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines", len(lines))
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"file", "category", "rule", "remedy", "confidence", "job", "step", "line", "end_line", "text", "facts", "secondary"} {
		if _, ok := got[key]; !ok {
			t.Errorf("%s is missing", key)
		}
	}
	if got["category"] != "missing-module" || got["line"] != 5.0 || !cmp.Equal(got["facts"], map[string]any{"module": "pandas"}) {
		t.Errorf("got %v", got)
	}
	if !strings.Contains(lines[1], `"category":"unknown"`) || !strings.Contains(lines[2], `"file":"-"`) {
		t.Errorf("got %s", out)
	}
	code, out, errs = exec(t, "", nil, "diagnose", filepath.Join(dir, "none.log"), file)
	if code != exitError || !strings.Contains(errs, "none.log") || !strings.Contains(out, "missing-module") {
		t.Errorf("exit %d\n%s\n%s", code, out, errs)
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	repo := filepath.Join(dir, "repo")
	write(t, filepath.Join(repo, ".github/workflows/ci.yml"), "on: push\njobs:\n  test:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: pip install -r requirements.txt\n      - run: python train.py\n")
	write(t, filepath.Join(repo, "requirements.txt"), "numpy==2.0.0\n")
	write(t, filepath.Join(repo, "train.py"), "import numpy\n\nimport pandas as pd\n")
	finding := func(f domain.Finding) string {
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	missing := finding(domain.Finding{Category: "missing-module", Remedy: domain.RemedyFix, Workflow: ".github/workflows/ci.yml", Job: "test", Facts: map[string]string{"module": "pandas"}})
	tests := map[string]struct {
		stdin string
		args  []string
		code  int
		out   string
		err   string
	}{
		"a fix":               {missing, []string{"--finding", "-"}, exitOK, "+pandas", "add-requirement"},
		"a log":               {moduleLog, []string{"--log", "-"}, exitOK, "+pandas", ""},
		"for a person":        {finding(domain.Finding{Category: "test-failure"}), []string{"--finding", "-"}, exitNoPlan, "", "no plan"},
		"unknown":             {"nothing\n", []string{"--log", "-"}, exitNoPlan, "", "no plan for unknown"},
		"a rerun has no diff": {finding(domain.Finding{Category: "transient-network", Remedy: domain.RemedyRetry}), []string{"--finding", "-"}, exitNoPlan, "", "no diff"},
		"no JSON":             {"x", []string{"--finding", "-"}, exitError, "", "no finding"},
		"no category":         {"{}", []string{"--finding", "-"}, exitError, "", "no category"},
		"no file":             {"", []string{"--finding", filepath.Join(dir, "none.json")}, exitError, "", "none.json"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := exec(t, tt.stdin, nil, append([]string{"plan", "--repo", repo}, tt.args...)...)
			if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(errs, tt.err) || (tt.code != exitOK && out != "") {
				t.Errorf("exit %d\n%s\n%s", code, out, errs)
			}
		})
	}
}

func TestMigrateAndPolicy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	code, out, errs := exec(t, "", []string{"DATABASE_URL=sqlite:" + filepath.Join(dir, "new/bot.db")}, "migrate")
	if code != exitOK || !strings.Contains(out, "schema version") {
		t.Errorf("exit %d\n%s\n%s", code, out, errs)
	}
	good := write(t, filepath.Join(dir, "good.yml"), "version: 1\nmode: heal\n")
	if code, out, errs = exec(t, "", nil, "config", "validate", "--policy", good); code != exitOK || !strings.Contains(out, "heal") {
		t.Errorf("exit %d\n%s\n%s", code, out, errs)
	}
	bad := write(t, filepath.Join(dir, "bad.yml"), "version: 1\nmood: heal\n")
	if code, _, errs = exec(t, "", nil, "config", "validate", "--policy", bad); code != exitError || !strings.Contains(errs, "mood") {
		t.Errorf("exit %d\n%s", code, errs)
	}
}

func TestDoctorSaysWhatToDo(t *testing.T) {
	t.Parallel()
	code, out, _ := exec(t, "", []string{"DATABASE_URL=sqlite:" + filepath.Join(t.TempDir(), "bot.db")}, "doctor")
	for _, want := range []string{"FAIL  settings", "GITHUB_APP_ID", "mlops-bot migrate", "ok    cache", "FAIL  GitHub App", "→ make an App"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not said in\n%s", want, out)
		}
	}
	if code != exitError {
		t.Errorf("exit %d", code)
	}
}

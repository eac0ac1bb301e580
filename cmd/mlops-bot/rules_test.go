package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const seatsRule = `version: 1
rules:
  - id: own/license-seats
    title: The license server has no free seats
    category: license-exhausted
    remedy: retry
    rank: setup
    patterns: ['License server (?P<server>[\w.-]+) has no free seats']
    keys: [server]
    examples:
      match: [License server lm1 has no free seats]
      nomatch: [License server lm1 has 3 free seats]
`

const seatsLog = "solving\n##[error]日本 License server lm9 has no free seats\x1b[2J token=ghp_abcdefghijklmnopqrstuvwxyz0123456789\n" + moduleLog

func TestRulesList(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	installed := filepath.Join(dir, "rules")
	write(t, filepath.Join(installed, "seats.yml"), seatsRule)
	mine := write(t, filepath.Join(dir, "mine.yml"), strings.ReplaceAll(seatsRule, "own/license-seats", "own/mine")+"mode: heal\n")
	code, out, errs := exec(t, "", []string{"RULES_DIR=" + installed}, "rules", "list", "--rules", mine)
	if code != exitOK || errs != "" {
		t.Fatalf("exit %d, %s", code, errs)
	}
	for _, want := range []string{"ID ", "cuda-oom ", "own/license-seats ", "own/mine ", "license-exhausted", "The disk is full"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not said in\n%s", want, out)
		}
	}
	_, out, _ = exec(t, "", nil, "rules", "list", "--rules", mine, "--output", "json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var last listed
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last != (listed{"own/mine", "license-exhausted", "retry", "medium", "The license server has no free seats", false}) {
		t.Errorf("got %+v, %v", last, err)
	}

	write(t, filepath.Join(installed, "bad.yml"), "version: 1\nrules: [{id: x}]\n")
	code, out, errs = exec(t, "", []string{"RULES_DIR=" + installed}, "rules", "list")
	if code != exitError || !strings.Contains(errs, "bad.yml: line 2") || !strings.Contains(out, "own/license-seats") {
		t.Errorf("with a wrong file: exit %d\n%s\n%s", code, out, errs)
	}
}

func TestRulesShow(t *testing.T) {
	t.Parallel()
	file := write(t, filepath.Join(t.TempDir(), "r.yml"), seatsRule)
	tests := map[string]struct {
		args []string
		code int
		says []string
	}{
		"built in": {[]string{"missing-module"}, exitOK, []string{"missing-module: ", "remedy: fix", "facts: module", "(?P<module>", "  matches (", "  does not match (", "ModuleNotFoundError"}},
		"own": {[]string{"own/license-seats", "--rules", file}, exitOK, []string{"category: license-exhausted", "rank: 60", "by: server", "(?P<server>",
			"  matches (line 11):\n    License server lm1 has no free seats\n  does not match (line 12):\n    License server lm1 has 3"}},
		"none":       {[]string{"own/license-seats"}, exitError, []string{"there is no rule \"own/license-seats\""}},
		"wrong file": {[]string{"missing-module", "--rules", file + "x"}, exitError, []string{"r.ymlx"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := exec(t, "", nil, append([]string{"rules", "show"}, tt.args...)...)
			if code != tt.code {
				t.Errorf("exit %d\n%s\n%s", code, out, errs)
			}
			for _, want := range tt.says {
				if !strings.Contains(out+errs, want) {
					t.Errorf("%q is not said in\n%s%s", want, out, errs)
				}
			}
		})
	}
}

func TestRulesTest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "r.yml"), seatsRule+strings.TrimPrefix(strings.ReplaceAll(strings.ReplaceAll(seatsRule, "license-seats", "other"), "License", "Other"), "version: 1\nrules:\n"))
	code, out, errs := exec(t, seatsLog, nil, "rules", "test", "-", "--rules", file)
	want := `-
  line 2: own/license-seats (primary)
    ##[error]日本 License server lm9 has no free seats token=***
                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    server: lm9
  line 7: missing-module (secondary)
    ModuleNotFoundError: No module named 'pandas'
    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    module: pandas
  primary: own/license-seats (license-exhausted) at line 2, confidence `
	rest, ok := strings.CutPrefix(out, want)
	if code != exitOK || errs != "" || !ok || !strings.HasSuffix(rest, "\nown/other matched nothing\n") {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}

	broken := write(t, filepath.Join(dir, "broken.yml"), strings.Replace(seatsRule, "has no free seats]", "has none]", 1))
	log := write(t, filepath.Join(dir, "a.log"), moduleLog)
	tests := map[string]struct {
		stdin string
		args  []string
		code  int
		says  string
	}{
		"nothing to do":     {"", nil, exitUsage, "name logs to try the rules on"},
		"a file of rules":   {"", []string{"--rules", file}, exitOK, "own/other: matches its 1 example, and none of its 1 counter-example\n"},
		"a false example":   {"", []string{"--rules", broken}, exitError, "broken.yml: check the rules: line 11: own/license-seats does not match this example"},
		"a file without":    {"", []string{"--rules", write(t, filepath.Join(dir, "p.yml"), "version: 1\n")}, exitError, "p.yml has no rules"},
		"built-in rules":    {"", []string{log}, exitOK, "primary: missing-module (missing-module) at line 5, confidence"},
		"nothing matched":   {"all is well\n", []string{"-"}, exitOK, "nothing matched: the cause is unknown"},
		"a log not there":   {"", []string{log + "x", log}, exitError, "primary: missing-module"},
		"a log not there 2": {"", []string{log + "x", log}, exitError, "a.logx"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := exec(t, tt.stdin, nil, append([]string{"rules", "test"}, tt.args...)...)
			if code != tt.code || !strings.Contains(out+errs, tt.says) {
				t.Errorf("exit %d\n%s\n%s", code, out, errs)
			}
			if strings.ContainsRune(out+errs, '\x1b') {
				t.Error("an escape got out")
			}
		})
	}
}

func TestOwnRulesInDiagnoseAndValidate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "r.yml"), seatsRule)
	if code, out, errs := exec(t, seatsLog, nil, "diagnose", "-", "--rules", file); code != exitOK || !strings.Contains(out, "license-exhausted (The license server has no free seats)") {
		t.Errorf("exit %d\n%s\n%s", code, out, errs)
	}
	if code, out, errs := exec(t, "", nil, "config", "validate", "--policy", file); code != exitOK {
		t.Errorf("exit %d\n%s\n%s", code, out, errs)
	}
	broken := write(t, filepath.Join(dir, "broken.yml"), strings.Replace(seatsRule, "has no free seats]", "has none]", 1))
	if code, _, errs := exec(t, "", nil, "config", "validate", "--policy", broken); code != exitError || !strings.Contains(errs, "line 11: own/license-seats does not match this example") {
		t.Errorf("exit %d\n%s", code, errs)
	}
}

func TestPen(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		colour bool
		text   string
		spans  [][]int
		want   string
	}{
		"nothing":         {false, "abc", nil, " abc\n"},
		"nothing, colour": {true, "abc", nil, " abc\n"},
		"carets":          {false, "abcabc", [][]int{{1, 2}, {4, 6}}, " abcabc\n  ^  ^^\n"},
		"colour":          {true, "abcabc", [][]int{{1, 2}, {4, 6}}, " a\x1b[1;31mb\x1b[0mca\x1b[1;31mbc\x1b[0m\n"},
		"wide and marks":  {false, "日e\u0301b", [][]int{{6, 7}}, " 日e\u0301b\n    ^\n"},
		"an empty match":  {false, "ab", [][]int{{1, 1}}, " ab\n  ^\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			pen{tt.colour}.mark(&b, " ", tt.text, tt.spans)
			if b.String() != tt.want {
				t.Errorf("got %q, want %q", b.String(), tt.want)
			}
		})
	}
}

func TestColoured(t *testing.T) {
	t.Parallel()
	null, err := os.Open(os.DevNull) // a character device, as terminals are
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	file, err := os.Open(write(t, filepath.Join(t.TempDir(), "f"), ""))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, tt := range map[string]struct {
		c    console
		want bool
	}{
		"a terminal":      {console{out: null}, true},
		"NO_COLOR":        {console{out: null, environ: []string{"NO_COLOR=1"}}, false},
		"NO_COLOR, empty": {console{out: null, environ: []string{"NO_COLOR="}}, true},
		"a dumb terminal": {console{out: null, environ: []string{"TERM=dumb"}}, false},
		"a file":          {console{out: file}, false},
		"no file":         {console{out: &strings.Builder{}}, false},
	} {
		if got := coloured(tt.c); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

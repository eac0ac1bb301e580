package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExpand(t *testing.T) {
	t.Parallel()
	cases, err := parseCases("=== tiny | lint,format | tab | ruff check . && echo done | 3 | noinst nopost\n@@a.py:1:1: F401 x\n!!PIP 2\n!!RUN actions/upload-artifact@v4\n!!JOB other\n!!!! no directive\n!!EXIT 9\n")
	if err != nil {
		t.Fatal(err)
	}
	log, evidence, err := cases[0].expand()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(log), "\n")
	if len(evidence) != 1 || !strings.HasSuffix(lines[evidence[0]-1], "a.py:1:1: F401 x") {
		t.Errorf("evidence %v points at %q", evidence, lines[evidence[0]-1])
	}
	var texts []string
	for _, l := range lines[evidence[0]-1:] {
		if part := strings.SplitN(l, "\t", 3); len(part) == 3 {
			_, text, _ := strings.Cut(part[2], " ")
			texts = append(texts, part[0]+"|"+part[1]+"|"+text)
		}
	}
	want := []string{
		"test (3.10)|Run ruff check .|a.py:1:1: F401 x",
		"test (3.10)|Run ruff check .|  Downloading package_0-1.0.0-cp310-cp310-manylinux_2_17_x86_64.whl.metadata (0.1 kB)",
		"test (3.10)|Run ruff check .|  Downloading package_1-1.1.0-cp310-cp310-manylinux_2_17_x86_64.whl.metadata (1.1 kB)",
		"test (3.10)|Run actions/upload-artifact@v4|##[group]Run actions/upload-artifact@v4",
		"test (3.10)|Run actions/upload-artifact@v4|with:",
		"test (3.10)|Run actions/upload-artifact@v4|  token: ***",
		"test (3.10)|Run actions/upload-artifact@v4|##[endgroup]",
		"other|Set up job|!!!! no directive",
		"other|Set up job|##[error]Process completed with exit code 9.",
		"other|Set up job|##[error]Process completed with exit code 3.",
	}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestBadCases(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, want string }{
		"no heading":     {"a line\n", "heading"},
		"a bad name":     {"=== A b | lint\n", "name"},
		"a name twice":   {"=== a | lint\n=== a | lint\n", "twice"},
		"no category":    {"=== a |  | full\n", "category"},
		"a test's start": {"=== RUN   TestX\n", "heading"},
		"a strange form": {"=== a | lint | pdf\n", "form"},
		"a strange word": {"=== a | lint\n!!MUSIC 3\n", "directive"},
		"no number":      {"=== a | lint\n!!PIP many\n", "number"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cases, err := parseCases(tc.text)
			for _, c := range cases {
				if err == nil {
					_, _, err = c.expand()
				}
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one about %q", err, tc.want)
			}
		})
	}
}

// TestTuned: what rules were mended for stays right. Nothing is wrong there, and
// few logs are unknown.
func TestTuned(t *testing.T) {
	t.Parallel()
	logs, err := readCorpus("corpus/tuned")
	if err != nil {
		t.Fatal(err)
	}
	verdicts, err := judgeAll(t.Context(), source{"tuned", logs})
	if err != nil {
		t.Fatal(err)
	}
	unknown := 0
	for _, v := range verdicts {
		switch {
		case v.unknown:
			unknown++
			t.Logf("%s is unknown instead of %s", v.log.name, v.log.category)
		case !v.right:
			t.Errorf("%s is %s at line %d instead of %s: %s", v.log.name, v.got.Category, v.got.Line, v.log.category, v.got.Text)
		}
	}
	if limit := len(logs) * 3 / 100; len(logs) < 400 || unknown > limit {
		t.Errorf("%d of %d logs are unknown, more than %d", unknown, len(logs), limit)
	}
}

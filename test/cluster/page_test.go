package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestBenchmarksPage holds docs/benchmarks.md to the report that it is made of.
func TestBenchmarksPage(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/benchmarks.json")
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	if page(r) != string(got) {
		t.Error("docs/benchmarks.md is stale: go run ./test/cluster -page docs/benchmarks.md")
	}
	for _, s := range r.Scenarios {
		if !s.Passed {
			t.Errorf("the report's scenario %s failed: %s", s.Name, s.Problem)
		}
	}
	if len(r.Scenarios) != len(scenarios) {
		t.Errorf("the report has %d scenarios, there are %d", len(r.Scenarios), len(scenarios))
	}
}

// TestBlocks checks what can be checked of the operations page without a
// cluster: its blocks are shell, and those that the scenarios follow are there.
func TestBlocks(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../" + operations)
	if err != nil {
		t.Fatal(err)
	}
	all, err := blocks(string(text))
	if err != nil {
		t.Fatal(err)
	}
	marks := strings.Count(string(text), "<!-- run: ") - 1 // the page explains the mark once
	if len(all) != marks {
		t.Errorf("%d blocks are marked, %d found: a mark stands right before its sh block", marks, len(all))
	}
	function := cliFunction.FindString(string(text))
	if function == "" {
		t.Error("the page doesn't define bot()")
	}
	for name, script := range all {
		cmd := exec.CommandContext(t.Context(), "bash", "-n")
		cmd.Stdin = strings.NewReader(function + "\n" + script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("block %s is no shell: %s", name, out)
		}
	}
	followed := regexp.MustCompile(`follow\(ctx, "([a-z-]+)"|\{"([a-z-]+)", (?:nil|\[\]string)`)
	for _, file := range []string{"lifecycle.go", "manual.go"} {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range followed.FindAllStringSubmatch(string(src), -1) {
			if name := m[1] + m[2]; all[name] == "" {
				t.Errorf("%s follows the block %s, which the page doesn't have", file, name)
			}
		}
	}
}

func TestBlocksAreNamedOnce(t *testing.T) {
	t.Parallel()
	const block = "<!-- run: a -->\n```sh\ntrue\n```\n"
	if got, err := blocks(block); err != nil || got["a"] != "true\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := blocks(block + block); err == nil {
		t.Error("two blocks of one name are accepted")
	}
}

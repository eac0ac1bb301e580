package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRepairs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	workflow := "on: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      - run: pip install -r requirements.txt\n"
	finding := `{"category":"missing-module","workflow":".github/workflows/ci.yml","job":"test","facts":{"module":"yaml"}}`
	rows := "id\twhat\texpect\taccept\n"
	for id, tc := range map[string]struct{ expect, finding, before, after string }{
		"same":      {"fix", finding, "a\n", "a\nPyYAML\n"},
		"lines":     {"fix", finding, "a\n", "a\npyyaml>=6\n"},
		"elsewhere": {"fix", finding, "z\na\n", "PyYAML\nz\na\n"},
		"missing":   {"fix", strings.Replace(finding, "yaml", "nobodyknows", 1), "a\n", "a\nx\n"},
		"refused":   {"refuse", strings.Replace(finding, "yaml", "nobodyknows", 1), "a\n", "a\n"},
		"wrongly":   {"refuse", finding, "a\n", "a\n"},
	} {
		rows += id + "\tsaid \"so\"\t" + tc.expect + "\twhat counts as right\n"
		for name, content := range map[string]string{
			"finding.json": tc.finding, "before/requirements.txt": tc.before, "before/.github/workflows/ci.yml": workflow, "after/requirements.txt": tc.after,
		} {
			p := filepath.Join(dir, "repairs", id, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(p), 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "repairs.tsv"), []byte(rows), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := repairs(t.Context(), dir, &out); err != nil {
		t.Fatal(err)
	}
	for id, verdict := range map[string]string{
		"same": verdictSame, "lines": verdictSameLines, "elsewhere": verdictDiffers, "missing": verdictMissing, "refused": verdictRefused, "wrongly": verdictNotRefused,
	} {
		found := false
		for line := range strings.Lines(out.String()) {
			found = found || strings.HasPrefix(line, id+" ") && strings.Contains(line, verdict)
		}
		if !found {
			t.Errorf("%s is not %q in\n%s", id, verdict, out.String())
		}
	}
	if err := repairs(t.Context(), t.TempDir(), &out); err == nil {
		t.Error("no error without the table")
	}
}

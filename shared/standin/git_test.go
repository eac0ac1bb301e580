package standin

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// git runs the git program, which knows the truth, in dir.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	const date = "1700000000 +0000"
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_AUTHOR_DATE="+date,
		"GIT_COMMITTER_NAME=Grace", "GIT_COMMITTER_EMAIL=grace@example.com", "GIT_COMMITTER_DATE="+date)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestObjectIDsAreGits makes the same repository here and with git.
func TestObjectIDsAreGits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	git(t, dir, "init", "-q", "-b", "main")
	files := map[string]string{
		"README.md": "hello\n", "empty": "", "a/b/c.txt": "deep", "a.txt": "sorts before a/", "a-b": "sorts before a.txt", "a0": "sorts after a/",
		"naïve name.txt": "ünïcödé\n", "binary": "\x00\x01\xff",
	}
	o := objects{}
	flat := map[string]entry{}
	for p, content := range files {
		full := filepath.Join(dir, p)
		if err := os.MkdirAll(filepath.Dir(full), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		flat[p] = entry{modeFile, o.put("blob", []byte(content))}
	}
	if err := os.Chmod(filepath.Join(dir, "a0"), 0o700); err != nil {
		t.Fatal(err)
	}
	flat["a0"] = entry{modeExecutable, flat["a0"].SHA}
	if err := os.Symlink("a/b/c.txt", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	flat["link"] = entry{modeLink, o.put("blob", []byte("a/b/c.txt"))}
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "First\n\nwith a body")

	tree := o.build(flat)
	if want := git(t, dir, "rev-parse", "HEAD^{tree}"); tree != want {
		t.Errorf("the tree is %s, git says %s", tree, want)
	}
	when := time.Unix(1700000000, 0)
	first := commit{Tree: tree, Author: person{"Ada", "ada@example.com", when}, Committer: person{"Grace", "grace@example.com", when}, Message: "First\n\nwith a body\n"}
	sha := o.putCommit(first)
	if want := git(t, dir, "rev-parse", "HEAD"); sha != want {
		t.Errorf("the commit is %s, git says %s", sha, want)
	}
	// What was written is read back, and a signed merge too.
	other := o.putCommit(commit{Tree: tree, Author: first.Author, Committer: first.Committer, Message: "Other"})
	for name, c := range map[string]commit{
		"plain":        first,
		"signed merge": {Tree: tree, Parents: []string{sha, other}, Author: first.Author, Committer: first.Committer, Message: "Merge", Signature: strings.TrimSuffix(signatureText, "\n")},
	} {
		c.SHA = o.putCommit(c)
		raw, _ := o.get("commit", c.SHA)
		file := filepath.Join(t.TempDir(), "object")
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if want := git(t, dir, "hash-object", "-t", "commit", "--literally", file); c.SHA != want {
			t.Errorf("%s: the commit is %s, git says %s", name, c.SHA, want)
		}
		got, err := o.commit(c.SHA)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, got); diff != "" {
			t.Errorf("%s: read back:\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(flat, o.flatten(tree)); diff != "" {
		t.Errorf("the tree read back:\n%s", diff)
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		base, ours, theirs map[string]string
		want               map[string]string // nil for a conflict
	}{
		"different files":   {map[string]string{"a": "1", "b": "1"}, map[string]string{"a": "2", "b": "1"}, map[string]string{"a": "1", "b": "2"}, map[string]string{"a": "2", "b": "2"}},
		"same change":       {map[string]string{"a": "1"}, map[string]string{"a": "2"}, map[string]string{"a": "2"}, map[string]string{"a": "2"}},
		"both change":       {map[string]string{"a": "1"}, map[string]string{"a": "2"}, map[string]string{"a": "3"}, nil},
		"deleted there":     {map[string]string{"a": "1", "b": "1"}, map[string]string{"a": "1", "b": "1", "c": "1"}, map[string]string{"b": "1"}, map[string]string{"b": "1", "c": "1"}},
		"deleted here":      {map[string]string{"a": "1", "b": "1"}, map[string]string{"b": "1"}, map[string]string{"a": "1", "b": "2"}, map[string]string{"b": "2"}},
		"deleted, changed":  {map[string]string{"a": "1"}, map[string]string{}, map[string]string{"a": "2"}, nil},
		"added differently": {map[string]string{"a": "1"}, map[string]string{"a": "1", "b": "1"}, map[string]string{"a": "1", "b": "2"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := objects{}
			at := func(files map[string]string, parents ...string) string {
				flat := map[string]entry{}
				for p, content := range files {
					flat[p] = entry{modeFile, o.put("blob", []byte(content))}
				}
				return o.putCommit(commit{Tree: o.build(flat), Parents: parents, Message: strings.Join(parents, " ")})
			}
			base := at(c.base)
			ours, theirs := at(c.ours, base), at(c.theirs, base)
			tree, clean := o.merge(ours, theirs)
			if clean != (c.want != nil) {
				t.Fatalf("clean is %t", clean)
			}
			if !clean {
				return
			}
			got := map[string]string{}
			for p, e := range o.flatten(tree) {
				data, _ := o.get("blob", e.SHA)
				got[p] = string(data)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCountLines(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, after  string
		added, deleted int
	}{
		"same":     {"a\nb\n", "a\nb\n", 0, 0},
		"new":      {"", "a\nb\n", 2, 0},
		"gone":     {"a\nb", "", 0, 2},
		"changed":  {"a\nb\nc\n", "a\nx\nc\n", 1, 1},
		"inserted": {"a\nc\n", "a\nb\nc\n", 1, 0},
		"spread":   {"a\nb\nc\nd\n", "x\nb\ny\nd\nz\n", 3, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if added, deleted := countLines([]byte(c.before), []byte(c.after)); added != c.added || deleted != c.deleted {
				t.Errorf("+%d -%d, want +%d -%d", added, deleted, c.added, c.deleted)
			}
		})
	}
}

// TestPatch has git apply what is shown of a change.
func TestPatch(t *testing.T) {
	t.Parallel()
	const long = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n"
	for name, c := range map[string]struct{ before, after string }{
		"changed":            {long, strings.Replace(long, "8\n", "eight\n", 1)},
		"two hunks":          {long, strings.Replace(strings.Replace(long, "2\n", "", 1), "15\n", "15\n15 b\n", 1)},
		"no newline before":  {"a\nb", "a\nb\n"},
		"no newline after":   {"a\nb\n", "a\nb"},
		"like a file header": {"a\n", "a\n++ b\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, text := range map[string]string{"f": c.before, "patch": "--- a/f\n+++ b/f\n" + patch([]byte(c.before), []byte(c.after)) + "\n"} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			git(t, dir, "apply", "patch")
			if got, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(got) != c.after {
				t.Errorf("git makes it %q, %v", got, err)
			}
		})
	}
	for name, after := range map[string]string{"binary": "a\x00b", "huge": strings.Repeat("x\n", maxPatched/2), "the same": "a\n"} {
		if got := patch([]byte("a\n"), []byte(after)); got != "" {
			t.Errorf("%s: %.60q", name, got)
		}
	}
}

// FuzzTree reads arbitrary bytes as a tree; what can be read is written the same.
func FuzzTree(f *testing.F) {
	f.Add([]byte("100644 a\x00" + strings.Repeat("x", 20)))
	f.Add([]byte("40000 dir\x00" + strings.Repeat("y", 20) + "100755 e\x00" + strings.Repeat("z", 20)))
	f.Add([]byte("100644 short\x00abc"))
	f.Fuzz(func(t *testing.T, data []byte) {
		o := objects{}
		entries, ok := o.tree(o.put("tree", data))
		if !ok {
			return
		}
		again, ok := o.tree(o.putTree(entries))
		if !ok || len(again) != len(entries) {
			t.Fatalf("%d entries became %d", len(entries), len(again))
		}
	})
}

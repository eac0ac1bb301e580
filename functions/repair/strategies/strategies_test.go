package strategies

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func TestCatalogue(t *testing.T) {
	t.Parallel()
	ids := IDs()
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Errorf("the catalogue is not sorted by unique ids: %v", ids)
	}
	for _, s := range All() {
		if s.Applies(domain.Finding{Category: domain.Unknown}) {
			t.Errorf("%s answers a finding that says nothing", s.ID())
		}
	}
	dirs, err := filepath.Glob("testdata/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if base := filepath.Base(d); base != "fuzz" && !slices.Contains(ids, base) {
			t.Errorf("%s holds fixtures of no strategy", d)
		}
	}
}

// planned is a strategy that plans what it is told.
type planned struct {
	plan domain.Plan
	err  error
}

func (planned) ID() string                    { return "planned" }
func (planned) Applies(f domain.Finding) bool { return f.Category != "" }
func (p planned) Plan(context.Context, Tree, domain.Finding) (domain.Plan, error) {
	return p.plan, p.err
}

func TestPropose(t *testing.T) {
	t.Parallel()
	tree := MapTree{"a.yml": []byte("a: 1\n"), ".github/workflows/w.yml": []byte("on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: x\n")}
	edits := func(path string, s ...domain.Splice) planned {
		return planned{plan: domain.Plan{Strategy: "planned", Action: domain.ActionEdit, Edits: []domain.Edit{{Path: path, Splices: s}}}}
	}
	good := edits("a.yml", domain.Splice{Start: 3, Old: "1", New: "2"})
	for name, tc := range map[string]struct {
		category string
		order    []Strategy
		code     domain.RefusalCode // "" for a plan
		words    string
	}{
		"a plan":                       {"x", []Strategy{good}, "", ""},
		"the next one has it":          {"x", []Strategy{planned{err: refuse("no")}, good}, "", ""},
		"a broken file":                {"x", []Strategy{edits("a.yml", domain.Splice{Start: 3, Old: "1", New: "["})}, domain.RefusedBadEdit, "not be valid"},
		"a broken workflow":            {"x", []Strategy{edits(".github/workflows/w.yml", domain.Splice{Start: 0, Old: "on: push", New: "on: pusch"})}, domain.RefusedBadEdit, "actionlint"},
		"planned on another file":      {"x", []Strategy{edits("a.yml", domain.Splice{Start: 3, Old: "7", New: "2"})}, domain.RefusedBadEdit, "does not fit"},
		"nothing changes":              {"x", []Strategy{edits("a.yml", domain.Splice{Start: 3, Old: "1", New: "1"})}, domain.RefusedNoChange, "changes nothing"},
		"no edits":                     {"x", []Strategy{planned{plan: domain.Plan{Action: domain.ActionEdit}}}, domain.RefusedNoChange, "changes nothing"},
		"the first refusal is told":    {"x", []Strategy{planned{err: refuse("one")}, planned{err: refuse("two")}}, domain.RefusedNoChange, "one"},
		"a tree that is too large":     {"x", []Strategy{planned{err: domain.Errorf(domain.Unsupported, "read", "%w", domain.ErrTooLarge)}}, domain.RefusedNoChange, "too large"},
		"no strategy for the category": {"lint", nil, domain.RefusedNoStrategy, `"lint"`},
		"a cause that isn't known":     {domain.Unknown, nil, domain.RefusedHuman, "does not guess"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Propose(t.Context(), tree, domain.Finding{Category: tc.category}, tc.order...)
			refusal, refused := errors.AsType[*domain.Refusal](err)
			switch {
			case tc.code == "" && err != nil, tc.code != "" && !refused:
				t.Errorf("error %v", err)
			case refused && (refusal.Code != tc.code || !strings.Contains(refusal.Reason, tc.words)):
				t.Errorf("refused with %v", refusal)
			}
		})
	}
	broken := errors.New("broken")
	if _, err := Propose(t.Context(), tree, domain.Finding{Category: "x"}, planned{err: broken}, good); !errors.Is(err, broken) {
		t.Errorf("an error of the tree became %v", err)
	}
}

func TestDirTree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret")
	for name, content := range map[string]string{
		filepath.Join(dir, "b", "c.txt"): "c", filepath.Join(dir, "a"): "a", filepath.Join(dir, ".git", "config"): "x", outside: "secret",
		filepath.Join(dir, "large"): strings.Repeat("x", maxFileBytes+1),
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"link": outside, "dirlink": filepath.Dir(outside), "inner": "a"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	paths, err := tree.Paths(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b/c.txt", "large"}, paths); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	if b, err := tree.ReadFile(t.Context(), "b/c.txt"); err != nil || string(b) != "c" {
		t.Errorf("%q, %v", b, err)
	}
	for _, p := range []string{"link", "dirlink/secret", "inner", "b", "none", "../secret", "/etc/passwd", ".git/config", ""} {
		if b, err := tree.ReadFile(t.Context(), p); !errors.Is(err, fs.ErrNotExist) && !strings.Contains(err.Error(), "escapes") {
			t.Errorf("%q: %q, %v", p, b, err)
		}
	}
	if _, err := tree.ReadFile(t.Context(), "large"); !errors.Is(err, domain.ErrTooLarge) {
		t.Errorf("a large file: %v", err)
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"pip install -r a.txt":                   "pip|install|-r|a.txt",
		"a && b; c || d | e & f":                 "a / b / c / d / e / f",
		"pip install \\\n  'x>=1' \"y z\"\nnext": "pip|install|x>=1|y z / next",
		"pip install .[\"dev\"] a'b'c":           "pip|install|.[dev]|abc",
		"x # comment; y\n# z\nw#v":               "x / w#v",
		"echo ${{ matrix.a == 'x y' }}-z":        "echo|${{ matrix.a == 'x y' }}-z",
		"v=$(a b; c \"d\") e":                    "v=$(a b; c \"d\")|e",
		"cat <<EOF > f\nrm -rf /\nEOF\nnext":     "cat|>|f / next",
		"cat <<-'E O'\nx\n":                      "cat",
		"echo \"a $(jq \".x\" f) b\" c":          "echo|a $(jq \".x\" f) b|c",
		"(cd a; b)":                              "cd|a / b",
		"echo \"unfinished":                      "echo|unfinished",
		"a >b 2>&1":                              "a|>|b|2|> / 1",
	} {
		var texts []string
		for _, c := range commands(edit.Lines([]byte(in))) {
			var words []string
			for _, w := range c {
				words = append(words, w.text)
			}
			texts = append(texts, strings.Join(words, "|"))
		}
		if got := strings.Join(texts, " / "); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestJobNames(t *testing.T) {
	t.Parallel()
	w, err := readWorkflow(t.Context(), MapTree{".github/workflows/w.yml": []byte(`
jobs:
  build: {runs-on: x, steps: [{run: make}]}
  test:
    name: Test (${{ matrix.os }} / Python ${{ matrix.python }})
  wheel:
    name: Wheel on ${{ matrix.os }}
  any: {name: "${{ matrix.name }}"}
`)}, ".github/workflows/w.yml")
	if err != nil {
		t.Fatal(err)
	}
	for shown, want := range map[string]string{
		"build": "build", "build (ubuntu-latest, 3.10)": "build", "Test (ubuntu-latest / Python 3.9)": "test", "Wheel on macos-13": "wheel",
		"test": "test", "caller / build": "build", "build / test": "", "other": "", "": "", "Wheel": "",
	} {
		got := ""
		if j, err := w.job(domain.Finding{Job: shown}); err == nil {
			got = j.key
		}
		if got != want {
			t.Errorf("%q is %q, want %q", shown, got, want)
		}
	}
}

func TestCode(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a b":                        "`a b`",
		"a`b":                        "`` a`b ``",
		"```":                        "```` ``` ````",
		"x\n\n# @team\u202e<b>\x1b[": "`x # @team <b> [`",
		"":                           "–",
		strings.Repeat("é", 200):     "`" + strings.Repeat("é", 100) + " …`",
	} {
		if got := code(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestDistributions(t *testing.T) {
	t.Parallel()
	for module, want := range map[string]string{
		"sklearn": "scikit-learn", "yaml": "PyYAML", "jwt": "PyJWT", "numpy": "numpy", "google.protobuf": "protobuf", "google.protobuf.internal": "protobuf",
		"google.cloud.storage.blob": "google-cloud-storage", "ruamel.yaml": "ruamel.yaml",
		"google": "", "sklearn.svm": "", "numpy.core": "", "pkg_resources": "", "nosuchthing": "", "azure": "",
	} {
		got, ok := distribution(module)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q, %v", module, got, ok)
		}
	}
	for module, dist := range distributions {
		if dist != "" {
			if _, err := edit.ParseRequirement(dist); err != nil || !moduleName.MatchString(module) {
				t.Errorf("%s: %q, %v", module, dist, err)
			}
		}
		if standard[module] && dist != "" {
			t.Errorf("%s is in the standard library", module)
		}
	}
}

func FuzzCommands(f *testing.F) {
	f.Add("pip install -r a.txt && echo \"${{ x }}\" # y\ncat <<E\nE\n")
	f.Add("a $(b (c) 'd")
	f.Fuzz(func(t *testing.T, s string) {
		b := []byte(s)
		for _, c := range commands(edit.Lines(b)) {
			at := 0
			for _, w := range c {
				if w.start < at || w.end <= w.start || w.end > len(b) {
					t.Fatalf("word %+v at %d of %d", w, at, len(b))
				}
				at = w.end
			}
		}
	})
}

// FuzzPropose plans every strategy on damaged fixtures: nothing panics, and what
// comes out applies and parses.
func FuzzPropose(f *testing.F) {
	names, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		var workflow []byte
		for _, file := range a.Files {
			if file.Name == "before/.github/workflows/ci.yml" {
				workflow = file.Data
			}
		}
		for _, file := range a.Files {
			if p, ok := strings.CutPrefix(file.Name, "before/"); ok {
				f.Add(workflow, p, file.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, workflow []byte, name string, content []byte) {
		if domain.CheckPath(name) != nil {
			return
		}
		tree := MapTree{name: content, ".github/workflows/ci.yml": workflow}
		for _, finding := range []domain.Finding{
			{Category: "missing-module", Workflow: ".github/workflows/ci.yml", Job: "test", Facts: map[string]string{"module": "tqdm"}},
			{Category: "numpy-removed-alias", Facts: map[string]string{"alias": "np.NINF", "file": "a.py", "line": "2"}},
			{Category: "numpy-removed-alias", Facts: map[string]string{"alias": "np.int", "file": "a.py"}},
			{Category: "deprecated-action", Workflow: ".github/workflows/ci.yml", Facts: map[string]string{"action": "actions/upload-artifact", "version": "v3"}},
			{Category: "deprecated-action", Workflow: ".github/workflows/ci.yml", Facts: map[string]string{"action": "set-output"}},
			{Category: "cuda-oom", Workflow: ".github/workflows/ci.yml", Job: "train", Step: "Train"},
			{Category: "disk-full", Workflow: ".github/workflows/ci.yml", Job: "image"},
			{Category: "numpy-abi", Workflow: ".github/workflows/ci.yml", Job: "test", Text: "_ARRAY_API not found", Facts: map[string]string{"package": "torch"}},
			{Category: "python-version", Workflow: ".github/workflows/ci.yml", Job: "test", Text: "The version '3.7' with architecture 'x64' was not found for Ubuntu 24.04.", Facts: map[string]string{"version": "3.1"}},
			{Category: "runner-image-removed", Workflow: ".github/workflows/ci.yml", Facts: map[string]string{"image": "macos-13"}},
			{Category: "pkg-resources-removed", Workflow: ".github/workflows/ci.yml", Job: "test", Facts: map[string]string{"package": "pkg_resources"}},
		} {
			for _, s := range ForFinding(finding) {
				plan, err := Propose(t.Context(), tree, finding, s)
				refusal, refused := errors.AsType[*domain.Refusal](err)
				switch {
				case refused && refusal.Code == domain.RefusedBadEdit && strings.Contains(refusal.Reason, "does not fit"):
					t.Fatalf("%s plans splices that don't fit: %v", s.ID(), refusal)
				case !refused && err != nil:
					t.Fatalf("%s: %v", s.ID(), err)
				case !refused && strings.ContainsAny(plan.Title, "\n\r"):
					t.Fatalf("%s has the title %q", s.ID(), plan.Title)
				}
			}
		}
	})
}

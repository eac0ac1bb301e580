package strategies

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
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

var update = flag.Bool("update", false, "write want.diff and want.refusal of the fixtures anew")

// fixture is testdata/<strategy>/<name>.txtar: a finding, the tree before, and
// either the diff that must come out or the refusal (its code, then words of its
// reason, a line each).
type fixture struct {
	finding domain.Finding
	before  MapTree
	diff    string
	refusal []string // nil where a plan is wanted
}

func readFixture(t *testing.T, name string) fixture {
	t.Helper()
	a, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{before: MapTree{}}
	for _, file := range a.Files {
		switch p, isBefore := strings.CutPrefix(file.Name, "before/"); {
		case isBefore:
			f.before[p] = file.Data
		case file.Name == "finding.json":
			dec := json.NewDecoder(bytes.NewReader(file.Data))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&f.finding); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		case file.Name == "want.diff":
			f.diff = string(file.Data)
		case file.Name == "want.refusal":
			f.refusal = strings.Split(strings.TrimSpace(string(file.Data)), "\n")
		default:
			t.Fatalf("%s holds %s, which means nothing", name, file.Name)
		}
	}
	return f
}

// apply returns the files that a plan changes, as they are after it.
func apply(t *testing.T, tree MapTree, p domain.Plan) MapTree {
	t.Helper()
	out := MapTree{}
	for _, e := range p.Edits {
		after, err := e.Apply(tree[e.Path])
		if err != nil {
			t.Fatal(err)
		}
		out[e.Path] = after
	}
	return out
}

func diffOf(tree, after MapTree) string {
	var b strings.Builder
	for _, p := range slices.Sorted(mapKeys(after)) {
		b.WriteString(edit.Diff(p, tree[p], after[p]))
	}
	return b.String()
}

func mapKeys(m MapTree) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestFixtures(t *testing.T) {
	t.Parallel()
	for _, s := range All() {
		names, err := filepath.Glob(filepath.Join("testdata", s.ID(), "*.txtar"))
		if err != nil {
			t.Fatal(err)
		}
		plans, refusals := 0, 0
		for _, name := range names {
			f := readFixture(t, name)
			if f.refusal == nil {
				plans++
			} else {
				refusals++
			}
			t.Run(s.ID()+"/"+strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
				t.Parallel()
				runFixture(t, s, name, f)
			})
		}
		if s.ID() != "rerun-failed" && (plans < 2 || refusals < 2) {
			t.Errorf("%s has %d fixtures with a plan and %d with a refusal: each needs two at least", s.ID(), plans, refusals)
		}
	}
}

func runFixture(t *testing.T, s Strategy, name string, f fixture) {
	if !s.Applies(f.finding) {
		t.Fatal("the strategy does not apply to the fixture's finding")
	}
	plan, err := Propose(t.Context(), f.before, f.finding, s)
	if *update {
		updateFixture(t, name, f, plan, err)
		return
	}
	if f.refusal != nil {
		refusal, ok := errors.AsType[*domain.Refusal](err)
		if !ok {
			t.Fatalf("not refused: error %v, plan %q", err, plan.Title)
		}
		if string(refusal.Code) != f.refusal[0] {
			t.Errorf("code %q, want %q", refusal.Code, f.refusal[0])
		}
		for _, words := range f.refusal[1:] {
			if !strings.Contains(refusal.Reason, words) {
				t.Errorf("the reason %q lacks %q", refusal.Reason, words)
			}
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	after := apply(t, f.before, plan)
	if diff := cmp.Diff(f.diff, diffOf(f.before, after)); diff != "" {
		t.Errorf("planned diff (-want +got):\n%s", diff)
	}
	if plan.Strategy != s.ID() || plan.Title == "" || plan.Rationale == "" || plan.Risk == "" || plan.Verify == "" || strings.ContainsAny(plan.Title, "\n`") {
		t.Errorf("an incomplete plan: %+v", plan)
	}
	again, err := Propose(t.Context(), f.before, f.finding, s)
	if err != nil {
		t.Fatalf("planned again: %v", err)
	}
	if diff := cmp.Diff(plan, again); diff != "" {
		t.Errorf("planning twice gives different plans:\n%s", diff)
	}
	if plan.Action == domain.ActionEdit {
		variants(t, s, f, after)
	}
	if s.ID() == "halve-batch-size" || plan.Action == domain.ActionRerun {
		return
	}
	// What is repaired is not repaired again.
	fixed := MapTree{}
	for p, b := range f.before {
		fixed[p] = b
	}
	for p, b := range after {
		fixed[p] = b
	}
	if twice, err := Propose(t.Context(), fixed, f.finding, s); err == nil {
		t.Errorf("the repaired tree is repaired again:\n%s", diffOf(fixed, apply(t, fixed, twice)))
	}
}

// variants plans on the same tree in other clothes: Windows line endings, a byte
// order mark, no final newline. Only what is meant may change there too.
func variants(t *testing.T, s Strategy, f fixture, want MapTree) {
	t.Helper()
	for name, change := range map[string]func(before, after []byte) (newBefore, newAfter []byte){
		"CRLF": func(before, after []byte) ([]byte, []byte) {
			crlf := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) }
			return crlf(before), crlf(after)
		},
		"byte order mark": func(before, after []byte) ([]byte, []byte) {
			return append([]byte("\ufeff"), before...), append([]byte("\ufeff"), after...)
		},
		"no final newline": func(before, after []byte) ([]byte, []byte) {
			return bytes.TrimRight(before, "\n"), bytes.TrimRight(after, "\n")
		},
	} {
		tree, expected := MapTree{}, MapTree{}
		for p, b := range f.before {
			tree[p] = b
			expected[p] = b
			after, changed := want[p]
			if !changed {
				after = b
			}
			// Python reads no TOML with a mark.
			if name != "byte order mark" || changed && filepath.Ext(p) != ".toml" {
				tree[p], expected[p] = change(b, after)
			} else {
				expected[p] = after
			}
			if !changed {
				delete(expected, p)
			}
		}
		plan, err := Propose(t.Context(), tree, f.finding, s)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(expected, apply(t, tree, plan)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func updateFixture(t *testing.T, name string, f fixture, plan domain.Plan, planErr error) {
	t.Helper()
	a, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	a.Files = slices.DeleteFunc(a.Files, func(file txtar.File) bool { return strings.HasPrefix(file.Name, "want.") })
	refusal, refused := errors.AsType[*domain.Refusal](planErr)
	switch {
	case refused && f.refusal != nil && strings.Contains(refusal.Reason, strings.Join(f.refusal[1:], "")):
		a.Files = append(a.Files, txtar.File{Name: "want.refusal", Data: []byte(strings.Join(f.refusal, "\n") + "\n")})
	case refused:
		a.Files = append(a.Files, txtar.File{Name: "want.refusal", Data: []byte(string(refusal.Code) + "\n" + refusal.Reason + "\n")})
	case planErr != nil:
		t.Fatal(planErr)
	default:
		a.Files = append(a.Files, txtar.File{Name: "want.diff", Data: []byte(diffOf(f.before, apply(t, f.before, plan)))})
	}
	if err := os.WriteFile(name, txtar.Format(a), 0o600); err != nil {
		t.Fatal(err)
	}
}

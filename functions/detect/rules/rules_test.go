package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/mlops-bot/mlops-bot/functions/detect/logs"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

var update = flag.Bool("update", false, "rewrite want.json of the fixtures")

// want is what a fixture expects of one of its logs.
type want struct {
	Category string            `json:"category"`
	Line     int               `json:"line"`
	Facts    map[string]string `json:"facts"`
}

func scan(t testing.TB, c *Catalogue, log []byte) ([]Match, []logs.Segment) {
	t.Helper()
	r, err := logs.NewReader(bytes.NewReader(log), logs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := c.NewScanner()
	for {
		l, err := r.Next()
		if errors.Is(err, io.EOF) {
			return s.Finish(), r.Segments()
		}
		if err != nil {
			t.Fatal(err)
		}
		s.Add(l)
	}
}

func catalogueOf(t testing.TB, rules ...*Rule) *Catalogue {
	t.Helper()
	c, err := NewCatalogue(rules)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestFixtures walks every rule: its examples are diagnosed as its category by
// the whole catalogue, at the right line and with the right facts; its
// counter-examples hold its keywords and do not match.
func TestFixtures(t *testing.T) {
	t.Parallel()
	whole := catalogueOf(t, All()...)
	for _, r := range All() {
		t.Run(r.ID, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join("testdata", strings.ReplaceAll(r.ID, "-", "_")+".txtar")
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatalf("every rule needs a fixture: %v", err)
			}
			alone := catalogueOf(t, r)
			wants, got := map[string]want{}, map[string]want{}
			positives, negatives := 0, 0
			for _, f := range archive.Files {
				kind, name, _ := strings.Cut(f.Name, "/")
				switch kind {
				case "match":
					positives++
					matches, segments := scan(t, whole, f.Data)
					chosen := Choose(matches, Context{Segments: segments})
					if len(chosen) == 0 || chosen[0].Standing != Primary {
						t.Errorf("%s: nothing found", f.Name)
						continue
					}
					finding := chosen[0].Finding()
					got[name] = want{finding.Category, finding.Line, finding.Facts}
					if finding.Rule != r.ID {
						t.Errorf("%s: rule %s chosen at line %d", f.Name, finding.Rule, finding.Line)
					}
				case "nomatch":
					negatives++
					if matches, _ := scan(t, alone, f.Data); len(matches) > 0 {
						t.Errorf("%s: matched line %d: %s", f.Name, matches[0].Line, matches[0].Text)
					}
					if !holdsKeyword(f.Data, r.Keywords()) {
						t.Errorf("%s: holds none of the rule's keywords, so it proves nothing", f.Name)
					}
				case "want.json":
					if err := json.Unmarshal(f.Data, &wants); err != nil {
						t.Fatal(err)
					}
				default:
					t.Errorf("unexpected file %s", f.Name)
				}
			}
			if positives == 0 || negatives == 0 {
				t.Errorf("%d examples and %d counter-examples; at least one of each is needed", positives, negatives)
			}
			if *update {
				rewrite(t, file, archive, got)
				return
			}
			if diff := cmp.Diff(wants, got); diff != "" {
				t.Errorf("diagnosis (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEveryPatternHasAnExample tries every rule's patterns on its examples, one
// more at a time: a pattern that adds nothing to what those before it find in
// any of them is either unproven or dead.
func TestEveryPatternHasAnExample(t *testing.T) {
	t.Parallel()
	for _, r := range All() {
		t.Run(r.ID, func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(filepath.Join("testdata", strings.ReplaceAll(r.ID, "-", "_")+".txtar"))
			if err != nil {
				t.Fatal(err)
			}
			found := map[string][]Match{}
			for i, p := range r.Patterns {
				some := *r
				some.Patterns = r.Patterns[:i+1]
				c := catalogueOf(t, &some)
				shown := false
				for _, f := range archive.Files {
					if !strings.HasPrefix(f.Name, "match/") {
						continue
					}
					matches, _ := scan(t, c, f.Data)
					shown = shown || !cmp.Equal(found[f.Name], matches, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Match{}, "Rule"))
					found[f.Name] = matches
				}
				if !shown {
					t.Errorf("no example for pattern %d: %s", i, p)
				}
			}
		})
	}
}

func holdsKeyword(log []byte, words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return bytes.Contains(log, []byte(w)) })
}

func rewrite(t *testing.T, file string, a *txtar.Archive, got map[string]want) {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(got); err != nil {
		t.Fatal(err)
	}
	a.Files = slices.DeleteFunc(a.Files, func(f txtar.File) bool { return f.Name == "want.json" })
	a.Files = append(a.Files, txtar.File{Name: "want.json", Data: b.Bytes()})
	if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestCatalogue checks what must hold for every rule.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	all := All()
	if !slices.IsSortedFunc(all, func(a, b *Rule) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("All is not sorted by id")
	}
	fixtures, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(fixtures) != len(all) {
		t.Errorf("%d fixtures for %d rules (%v)", len(fixtures), len(all), err)
	}
	seen := map[string]bool{}
	for _, r := range all {
		if seen[r.ID] {
			t.Errorf("%s occurs twice", r.ID)
		}
		seen[r.ID] = true
		if r.Title == "" || r.Category == "" || r.Severity == "" || r.Remedy == "" || r.Rank == 0 || len(r.Patterns) == 0 {
			t.Errorf("%s is incomplete", r.ID)
		}
		for _, k := range r.Keys {
			if k != domain.KeyPlace && k != domain.KeyText && !slices.Contains(r.Facts(), k) {
				t.Errorf("%s: key %s is no fact", r.ID, k)
			}
		}
		for _, p := range r.Patterns {
			// The keywords come from the pattern, so a line without one can't match.
			if words := literals(p); shortest(words) < minLiteral {
				t.Errorf("%s: %q requires only %q", r.ID, p, words)
			}
		}
	}
}

package rules

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLiterals(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string][]string{
		`abc`:                 {"abc"},
		`^abc[01]+def$`:       {"abc0", "abc1"},
		`a(?:bc|de)f`:         {"abcf", "adef"},
		`(?:abc|\w+)x?`:       nil,
		`x*longer`:            {"longer"},
		`ab{2,}c?`:            {"abb"},
		`\.py:[1-3]\d*`:       {".py:1", ".py:2", ".py:3"},
		`[Ff]ailed`:           {"Failed", "failed"},
		`(?i)no`:              {"NO", "No", "nO", "no"},
		`(?:one [12]|two) or`: {"one 1 or", "one 2 or", "two or"},
		`.*`:                  nil,
		`(?:ab){3}c`:          {"abababc"},
		`(?:ab){2,3}c`:        {"abab"},
		`a{0,3}`:              nil,
		`x{20}y`:              {"xxxxxxxx"},
		`(?:abc)?`:            nil,
	} {
		got := literals(regexp.MustCompile(pattern))
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", pattern, diff)
		}
	}
}

func TestRequirements(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string][][]string{
		`abcdef`:                                  nil,
		`abcdef.*xyz`:                             {{"xyz"}},
		`keyword .*(?i:Missing|absent) X`:         {{" x"}, {"abse", "miss"}}, // the first four letters of each
		`keyword.*word`:                           nil,                        // holds it already
		`keyword (?:abc|abcd)\d+ef`:               {{"ef"}},                   // longer keywords are made of the rest
		`keyword.+a.+b`:                           nil,                        // too short
		`keyword.+(?:aa|bb|cc|dd|ee|ff|gg|hh|ii)`: nil,                        // too many
	} {
		_, got := requirements(regexp.MustCompile(pattern))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", pattern, diff)
		}
	}
}

// TestRequirementsOfMatches looks at everything that matches a pattern of the
// catalogue in the fixtures: none may lack what the pattern is said to require.
func TestRequirementsOfMatches(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d fixtures, %v", len(files), err)
	}
	var lines [][]byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, bytes.Split(b, []byte("\n"))...)
	}
	matches := 0
	for _, r := range All() {
		c, err := NewCatalogue([]*Rule{r})
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range c.patterns {
			keywords := literals(r.Patterns[i])
			for _, l := range lines {
				if !p.re.Match(l) {
					continue
				}
				matches++
				if !slices.ContainsFunc(keywords, func(w string) bool { return strings.Contains(string(l), w) }) {
					t.Errorf("%s: %q matches %q, which holds none of %q", r.ID, p.re, l, keywords)
				}
				if !p.possible(lower(nil, l)) {
					t.Errorf("%s: %q matches %q, which lacks one of %q", r.ID, p.re, l, p.also)
				}
			}
		}
	}
	if matches < len(files) {
		t.Errorf("only %d matches", matches)
	}
}

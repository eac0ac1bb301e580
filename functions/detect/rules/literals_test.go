package rules

import (
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLiterals(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string][]string{
		`abc`:                     {"abc"},
		`^abc\d+def$`:             {"abc"},
		`a(?:bc|de)f`:             {"abcf", "adef"},
		`(?:abc|\d+)x?`:           nil,
		`x*longer`:                {"longer"},
		`ab{2,}c?`:                {"abb"},
		`\.py:[1-3]\d*`:           {".py:1", ".py:2", ".py:3"},
		`[Ff]ailed`:               {"Failed", "failed"},
		`(?i)no`:                  {"NO", "No", "nO", "no"},
		`(?:one \d|two) or three`: {" or three"},
		`.*`:                      nil,
		`(?:abc)?`:                nil,
	} {
		got := literals(regexp.MustCompile(pattern))
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", pattern, diff)
		}
	}
}

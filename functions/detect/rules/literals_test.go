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
		`(?:abc)?`:            nil,
	} {
		got := literals(regexp.MustCompile(pattern))
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", pattern, diff)
		}
	}
}

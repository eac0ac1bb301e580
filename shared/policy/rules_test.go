package policy

import (
	"fmt"
	"regexp/syntax"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

const seats = `version: 1
rules:
  - id: own/license-seats
    title: The license server has no free seats
    category: license-exhausted
    severity: low
    remedy: retry
    rank: setup
    patterns:
      - 'License server (?P<server>[\w.-]+) has no free (?P<what>seats)'
      - 'seat (?<number>\d+) of (?P<server>\S+) is taken'
    keys: [server]
    examples:
      match:
        - |
          Starting the solver
          License server lm1 has no free seats
        - "seat 3 of lm2 is taken"
      nomatch: [License server lm1 has 3 free seats]
`

// minimal is a rule with everything that it must have, and more lines behind it.
func minimal(more string) string {
	return "version: 1\nrules:\n- id: own/a\n  title: A\n  category: a\n  patterns: ['abc']\n  examples: {match: [abc], nomatch: [ab]}\n" + more
}

func TestParseRules(t *testing.T) {
	t.Parallel()
	want := []Rule{{
		ID: "own/license-seats", Title: "The license server has no free seats", Category: "license-exhausted",
		Severity: "low", Remedy: domain.RemedyRetry, Rank: "setup",
		Patterns: []Text{{`License server (?P<server>[\w.-]+) has no free (?P<what>seats)`, 10}, {`seat (?<number>\d+) of (?P<server>\S+) is taken`, 11}},
		Facts:    []string{"server", "what", "number"}, Keys: []string{"server"},
		Match:   []Text{{"Starting the solver\nLicense server lm1 has no free seats\n", 15}, {"seat 3 of lm2 is taken", 18}},
		NoMatch: []Text{{"License server lm1 has 3 free seats", 19}},
		Line:    3,
	}}
	got, err := ParseRules([]byte(seats))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	p, err := Parse([]byte(seats + "mode: heal\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, p.Rules); diff != "" {
		t.Errorf("the policy's rules (-want +got):\n%s", diff)
	}
	if got, err = ParseRules([]byte(minimal(""))); err != nil || got[0].Severity != "medium" || got[0].Remedy != domain.RemedyHuman || got[0].Rank != "fit" || got[0].Keys != nil {
		t.Errorf("defaults: %+v, %v", got, err)
	}
}

func TestParseRulesRefuses(t *testing.T) {
	t.Parallel()
	with := func(key, value string) string {
		lines := strings.Split(minimal(""), "\n")
		for i, l := range lines {
			if _, rest, ok := strings.Cut(l, key+": "); ok && rest != "" {
				lines[i] = l[:strings.Index(l, key+": ")] + key + ": " + value
				return strings.Join(lines, "\n")
			}
		}
		return minimal("  " + key + ": " + value + "\n")
	}
	many := "version: 1\nrules:\n"
	for i := range MaxRules + 1 {
		many += fmt.Sprintf("- {id: own/r%d}\n", i)
	}
	for name, tc := range map[string]struct{ in, want string }{
		"an empty file":            {"", `write "version: 1"`},
		"no version":               {strings.TrimPrefix(minimal(""), "version: 1\n"), `"version" is missing`},
		"a policy's key":           {minimal("mode: heal\n"), `line 8: the file has no key "mode"; it may have version, rules`},
		"no rules":                 {"version: 1\n", "the file has no rules"},
		"an empty list":            {"version: 1\nrules: []\n", "the file has no rules"},
		"no list":                  {"version: 1\nrules: {}\n", "line 2: rules must be a list"},
		"an anchor":                {"version: 1\nrules: &a []\n", "rules must be a list"},
		"a string for a rule":      {"version: 1\nrules: [abc]\n", "line 2: a rule must be a mapping"},
		"too many rules":           {many, "there are 51 rules, more than 50"},
		"an unknown key":           {with("regex", "x"), `a rule has no key "regex"; it may have id, title, category`},
		"an id without the prefix": {with("id", "disk-full"), `line 3: "disk-full" is no id of a rule of one's own: write own/name`},
		"an id in capitals":        {with("id", "own/Disk"), "no id"},
		"a long id":                {with("id", "own/"+strings.Repeat("a", 41)), "no id"},
		"an id of a number":        {with("id", "12"), "no id"},
		"an id twice":              {minimal(strings.TrimPrefix(minimal(""), "version: 1\nrules:\n")), "line 8: the rule own/a is there already, at line 3"},
		"a title of two lines":     {with("title", `"a\nb"`), "a title is one line"},
		"a title with HTML":        {with("title", "'<img>'"), "plain text"},
		"a title that hides":       {with("title", `"a\u202eb"`), "plain text"},
		"a long title":             {with("title", strings.Repeat("a", 101)), "1 to 100 bytes"},
		"the category unknown":     {with("category", "unknown"), `"unknown" is no category`},
		"a category with a space":  {with("category", "a b"), `"a b" is no category`},
		"a severity":               {with("severity", "worst"), `severity must be one of low, medium, high, not "worst"`},
		"a remedy":                 {with("remedy", "revert"), `remedy must be one of fix, retry, human, none, not "revert"`},
		"a rank":                   {with("rank", "80"), "rank must be one of aftermath, style"},
		"no patterns":              {with("patterns", "[]"), `the rule "own/a" has no patterns`},
		"patterns as a string":     {with("patterns", "abc"), "patterns must be a list"},
		"too many patterns":        {with("patterns", "["+strings.Repeat("abc, ", 9)+"]"), "patterns has more than 8 entries"},
		"a long pattern":           {with("patterns", "["+strings.Repeat("a", 1001)+"]"), "an entry of patterns has 1001 bytes, more than 1000"},
		"an empty pattern":         {with("patterns", `[""]`), "an entry of patterns is empty"},
		"a broken pattern":         {with("patterns", `["abc("]`), `line 6: patterns: "abc(" is no regular expression of RE2`},
		"a pattern that hides":     {with("patterns", `["abc\x1b[31m"]`), "holds characters that can't be seen"},
		"a lookahead":              {with("patterns", `["abc(?=d)"]`), "no lookarounds"},
		"a back reference":         {with("patterns", `['(a)\1']`), "no back references"},
		"nested repetition":        {with("patterns", `["abc(?:(?:a{1,30}){1,30}){1,1}"]`), "more than 1000 instructions"},
		"repetition of much":       {with("patterns", `["abc(?:`+strings.Repeat(`\\pL`, 100)+`){500}"]`), "more than 1000 instructions"},
		"a group in capitals":      {with("patterns", `["abc(?P<Name>d)"]`), `the group "Name" is no name of a fact`},
		"too many facts": {with("patterns", `["abc(?P<a>d)(?P<b>d)(?P<c>d)(?P<d>d)(?P<e>d)(?P<f>d)(?P<g>d)(?P<h>d)(?P<i>d)(?P<j>d)(?P<k>d)"]`),
			"name 11 facts, more than 10"},
		"a key that is no fact": {with("keys", "[server]"), `no pattern of own/a has a group named "server"`},
		"keys as a string":      {with("keys", "server"), "keys must be a list"},
		"no examples":           {with("examples", "{}"), `has no examples.match`},
		"no counter-examples":   {with("examples", "{match: [abc]}"), `has no examples.nomatch: add a log with the same words`},
		"a long example":        {with("examples", "{match: ["+strings.Repeat("a", 8193)+"]}"), "8193 bytes, more than 8192"},
		"an unknown example":    {with("examples", "{matches: [abc]}"), `examples has no key "matches"`},
		"too large":             {strings.Repeat("#", MaxBytes+1), "larger than 64 KiB"},
		"all problems at once":  {with("rank", "first\n  severity: worst"), "rank must be one of aftermath, style, test, code, fit, setup, resource, runner, not \"first\"; line 9: severity"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseRules([]byte(tc.in))
			if err == nil {
				t.Fatalf("no error for\n%s", tc.in)
			}
			if domain.KindOf(err) != domain.Invalid {
				t.Errorf("kind %q", domain.KindOf(err))
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %q lacks %q", err, tc.want)
			}
		})
	}
}

// TestInstructions holds that the estimate is never below what the compiler
// makes of a pattern, without compiling those that are refused.
func TestInstructions(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{
		``, `a`, `abc`, `[a-z]`, `a*`, `a+?b?`, `(?:ab|cd|ef)+`, `a{3}`, `a{3,}`, `a{2,5}`, `(?:a{2}b{3,4}){2,6}`, `(?i)abc`, `^a$|\bb\B`, `(?P<x>.*) (\d{1,3})`, `a{0}b`, `(?s).{100}x{0,50}`,
	} {
		tree, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		prog, err := syntax.Compile(tree.Simplify())
		if err != nil {
			t.Fatal(err)
		}
		// Each program begins with a fail and ends with a match.
		if got, want := Instructions(tree), len(prog.Inst)-2; got < want {
			t.Errorf("%q: %d is less than the %d that it compiles to", pattern, got, want)
		}
	}
	deep, err := syntax.Parse("(?:(?:x{1,10}){1,10}){1,10}", syntax.Perl)
	if err != nil {
		t.Fatal(err)
	}
	if got := Instructions(deep); got < 1000 {
		t.Errorf("nested repetitions count as %d", got)
	}
}

func FuzzParseRules(f *testing.F) {
	f.Add([]byte(seats))
	f.Add([]byte(minimal("")))
	f.Add([]byte("version: 1\nrules:\n- &a [*a]\n"))
	f.Add([]byte("version: 1\nrules: [{patterns: ['(?:(?:a{9}){9}){9}']}]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		rules, err := ParseRules(b)
		if err != nil {
			if domain.KindOf(err) != domain.Invalid {
				t.Errorf("kind %q of %v", domain.KindOf(err), err)
			}
			return
		}
		if len(rules) == 0 || len(rules) > MaxRules {
			t.Errorf("%d rules", len(rules))
		}
		for _, r := range rules {
			if !strings.HasPrefix(r.ID, OwnPrefix) || len(r.Patterns) == 0 || len(r.Patterns) > maxPatterns || len(r.Facts) > maxFacts || len(r.Match) == 0 || len(r.NoMatch) == 0 {
				t.Errorf("out of bounds: %+v", r)
			}
		}
		if _, err := Parse(b); err != nil {
			t.Errorf("a file of rules is no policy: %v", err)
		}
	})
}

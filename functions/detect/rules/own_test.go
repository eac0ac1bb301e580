package rules

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/policy"
)

const seatsRule = `- id: own/license-seats
  title: The license server has no free seats
  category: license-exhausted
  severity: high
  remedy: retry
  rank: setup
  patterns: ['License server (?P<server>[\w.-]+) has no free seats']
  keys: [server]
  examples:
    match: ["License server lm1 has no free seats"]
    nomatch: ["License server lm1 has 3 free seats"]
`

// specs reads a list of rules.
func specs(t testing.TB, list string) []policy.Rule {
	t.Helper()
	out, err := policy.ParseRules([]byte("version: 1\nrules:\n" + list))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ruleOf writes a rule of which only some lines matter.
func ruleOf(id, patterns, match, nomatch, more string) string {
	return fmt.Sprintf("- id: own/%s\n  title: A title\n  category: own-kind\n  patterns: %s\n  examples:\n    match: %s\n    nomatch: %s\n%s", id, patterns, match, nomatch, more)
}

func TestOwn(t *testing.T) {
	t.Parallel()
	c, err := Own(specs(t, seatsRule), nil)
	if err != nil {
		t.Fatal(err)
	}
	matches, segments := scan(t, c, []byte("solving\nLicense server lm7.example has no free seats\nLicense server lm7.example has no free seats\n##[error]Process completed with exit code 1.\n"))
	chosen := Choose(matches, Context{Segments: segments})
	if len(chosen) != 1 {
		t.Fatalf("%d matches", len(chosen))
	}
	got := chosen[0].Finding()
	want := domain.Finding{
		Category: "license-exhausted", Rule: "own/license-seats", Title: "The license server has no free seats", Remedy: domain.RemedyRetry,
		Line: 2, EndLine: 2, Text: "License server lm7.example has no free seats", Facts: map[string]string{"server": "lm7.example"}, Keys: []string{"server"},
		Confidence: got.Confidence,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("finding (-want +got):\n%s", diff)
	}
	if r := chosen[0].Rule; r.Rank != RankSetup || r.Severity != High || chosen[0].Count != 2 {
		t.Errorf("rank %d, severity %s, %d lines", r.Rank, r.Severity, chosen[0].Count)
	}

	both, err := Own(specs(t, ruleOf("other", `["abc(?P<n>d)"]`, "[abcd]", "[abc]", "")), c)
	if err != nil {
		t.Fatal(err)
	}
	if ids := idsOf(both); !slices.Equal(ids, []string{"own/license-seats", "own/other"}) || len(c.Rules()) != 1 {
		t.Errorf("rules %v beside %v", ids, idsOf(c))
	}
	if keys := both.Rules()[1].Keys; !slices.Equal(keys, []string{domain.KeyPlace, domain.KeyText}) {
		t.Errorf("without keys: %v", keys)
	}
	fix := strings.ReplaceAll(ruleOf("fix", "[abcd]", "[abcd]", "[abc]", "  remedy: fix\n"), "own-kind", "missing-module")
	if c, err := Own(specs(t, fix), nil); err != nil || c.Rules()[0].Remedy != domain.RemedyFix {
		t.Errorf("a rule for what the bot can repair: %v", err)
	}
	if none, err := Own(nil, nil); none != nil || err != nil {
		t.Errorf("no rules: %v, %v", none, err)
	}
}

func idsOf(c *Catalogue) []string {
	var ids []string
	for _, r := range c.Rules() {
		ids = append(ids, r.ID)
	}
	return ids
}

func TestOwnRefuses(t *testing.T) {
	t.Parallel()
	beside, err := Own(specs(t, seatsRule), nil)
	if err != nil {
		t.Fatal(err)
	}
	short := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(ruleOf(fmt.Sprint("r", i), fmt.Sprintf("['(?i)x%c%cy?']", 'a'+i%26, 'a'+i/26), fmt.Sprintf("[x%c%c]", 'a'+i%26, 'a'+i/26), "[none]", ""))
		}
		return b.String()
	}
	for name, tc := range map[string]struct{ in, want string }{
		"an id of another file":            {seatsRule, "line 3: own/license-seats is the id of another file's rule"},
		"a repair that there is not":       {ruleOf("a", "[abcd]", "[abcd]", "[abc]", "  remedy: fix\n"), "line 3: own/a: the bot has no repair for the category own-kind"},
		"a kind without a repair":          {strings.ReplaceAll(ruleOf("a", "[abcd]", "[abcd]", "[abc]", "  remedy: fix\n"), "own-kind", "test-failure"), "the bot has no repair for the category test-failure"},
		"no fixed word":                    {ruleOf("a", `['\w+ failed|\d+']`, "[a failed]", "[abc]", ""), "line 6: a pattern of own/a can match a line that holds none of a few fixed words"},
		"a word that may be missing":       {ruleOf("a", `['(?:error )?\d+']`, "[error 1]", "[abc]", ""), "write a word of at least 3 bytes"},
		"an example that does not match":   {ruleOf("a", "[abcd]", "[abcd, abc]", "[ab]", ""), "line 8: own/a does not match this example"},
		"an example that only warns":       {ruleOf("a", "[abcd]", "['abcd', 'cat > f <<E', '##[debug]abcd', 'WARNING: retrying, abcd']", "[ab]", ""), "does not match this example"},
		"a counter-example that matches":   {ruleOf("a", "[abcd]", "[abcd]", "[\"x\\nabcd\"]", ""), "line 9: own/a matches line 2 of this counter-example"},
		"all examples at once":             {ruleOf("a", "[abcd]", "[abc]", "[abcd]", ""), "line 8: own/a does not match this example: mend its patterns or the example (mlops-bot rules test shows what matches; a line that only quotes, echoes or warns does not); line 9: own/a matches line 1"},
		"too many short words in any case": {short(50), "need too many short words"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Own(specs(t, tc.in), beside)
			if err == nil || c != nil {
				t.Fatal("no error")
			}
			if domain.KindOf(err) != domain.Invalid || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %q (%s) lacks %q", err, domain.KindOf(err), tc.want)
			}
		})
	}
}

func TestOwnIsBounded(t *testing.T) {
	t.Parallel()
	var c *Catalogue
	for file := 0; ; file++ {
		var b strings.Builder
		for i := range policy.MaxRules {
			b.WriteString(ruleOf(fmt.Sprintf("r%d-%d", file, i), fmt.Sprintf("[word%d]", i), fmt.Sprintf("[word%d]", i), "[none]", ""))
		}
		next, err := Own(specs(t, b.String()), c)
		if err != nil {
			if n := len(c.Rules()); n != MaxInstalled+policy.MaxRules {
				t.Errorf("refused beside %d rules: %v", n, err)
			}
			break
		}
		c = next
	}
}

// TestOwnNames holds that what files may say is what the catalogue knows.
func TestOwnNames(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(slices.Sorted(slices.Values(policy.Ranks)), slices.Sorted(maps.Keys(ranks))); diff != "" {
		t.Errorf("ranks (-policy +catalogue):\n%s", diff)
	}
	for i := 1; i < len(policy.Ranks); i++ {
		if ranks[policy.Ranks[i]] <= ranks[policy.Ranks[i-1]] {
			t.Errorf("%s stands behind %s", policy.Ranks[i], policy.Ranks[i-1])
		}
	}
	if diff := cmp.Diff(policy.Severities, []string{string(Low), string(Medium), string(High)}); diff != "" {
		t.Error(diff)
	}
	for _, r := range All() {
		if strings.HasPrefix(r.ID, policy.OwnPrefix) {
			t.Errorf("%s is built in", r.ID)
		}
		if !IsBuiltIn(r.Category) {
			t.Errorf("%s is no built-in category", r.Category)
		}
	}
	if IsBuiltIn("license-exhausted") {
		t.Error("a category that nobody knows is built in")
	}
}

// TestOwnBesideBuiltIn holds that own rules leave the built-in ones' matches
// alone, however many lines they match.
func TestOwnBesideBuiltIn(t *testing.T) {
	t.Parallel()
	whole := catalogueOf(t, All()...)
	greedy, err := Own(specs(t, ruleOf("greedy", `['.*(?:line|Error|No module|rror).*']`, "[a line]", "[none]", "  rank: runner\n")), nil)
	if err != nil {
		t.Fatal(err)
	}
	log := []byte(strings.Repeat("a line of no account\n", 5000) + "ModuleNotFoundError: No module named 'pandas'\n##[error]Process completed with exit code 1.\n")
	before, _ := scan(t, whole, log)
	mine, segments := scan(t, greedy, log)
	after, _ := scan(t, whole, log)
	if diff := cmp.Diff(idsAndLines(before), idsAndLines(after)); diff != "" || len(before) == 0 {
		t.Errorf("built-in matches (-before +after):\n%s", diff)
	}
	if len(mine) == 0 || len(mine) > maxPerRule {
		t.Errorf("%d own matches", len(mine))
	}
	verdicts := Choose(append(slices.Clone(before), mine...), Context{Segments: segments})
	if !slices.ContainsFunc(verdicts, func(v Verdict) bool { return v.Rule.ID == before[0].Rule.ID }) {
		t.Error("the built-in finding was lost")
	}
}

func idsAndLines(matches []Match) []string {
	var out []string
	for _, m := range matches {
		out = append(out, fmt.Sprint(m.Rule.ID, " ", m.Line))
	}
	return out
}

func TestSpans(t *testing.T) {
	t.Parallel()
	r := &Rule{Patterns: patterns(`none of it`, `b(?P<x>c+)`, `a`)}
	if diff := cmp.Diff([][]int{{1, 3}, {4, 7}}, r.Spans("abcdbcca")); diff != "" {
		t.Error(diff)
	}
	anchored := &Rule{Patterns: patterns(`^abc`)}
	for text, want := range map[string][][]int{"abc": {{0, 3}}, "##[error]abc": {{9, 12}}, "::error file=a.py,line=3::abc": {{26, 29}}, "#8 0.201 abc": {{9, 12}}, "x abc": nil} {
		if diff := cmp.Diff(want, anchored.Spans(text)); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	if got := r.Spans("xyz"); got != nil {
		t.Errorf("got %v", got)
	}
	if got := r.Spans(strings.Repeat("a", 100)); len(got) != maxSpans {
		t.Errorf("%d spans", len(got))
	}
}

// TestOwnPatternsAreBounded holds that a pattern's size is counted: one that takes
// many steps for a byte is tried on fewer of them.
func TestOwnPatternsAreBounded(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		pattern string
		least   int // lines that are looked at
		most    int
	}{
		"a small one": {`[abcd]`, maxRefined, maxRefined},
		"a large one": {`["(?:a?b?c?d?e?){30}abcd(?:a?b?c?d?e?){30}$"]`, 1, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Own(specs(t, ruleOf("a", tc.pattern, "[abcd]", "[none]", "")), nil)
			if err != nil {
				t.Fatal(err)
			}
			line := strings.Repeat("abcde", 200) + "abcd"
			matches, _ := scan(t, c, []byte(strings.Repeat(line+"\n", 20000)))
			if len(matches) != 1 || matches[0].Count < tc.least || matches[0].Count > tc.most {
				t.Errorf("%d matches of %d lines", len(matches), matches[0].Count)
			}
		})
	}
}

// TestDocumentedRule keeps docs/own-rules.md honest: its example is a rule that
// can be used.
func TestDocumentedRule(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/own-rules.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "```yaml\n")
	example, _, ok := strings.Cut(example, "```")
	if !ok {
		t.Fatal("docs/own-rules.md has no YAML example")
	}
	list, err := policy.ParseRules([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Own(list, nil); err != nil {
		t.Error(err)
	}
}

func FuzzOwn(f *testing.F) {
	f.Add([]byte("version: 1\nrules:\n" + seatsRule))
	f.Add([]byte("version: 1\nrules:\n" + ruleOf("a", `['(?i)(?:ab|cd)+ef{2,}', 'x{3}[yz]']`, "[abef]", "[none]", "")))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := policy.ParseRules(b)
		if err != nil {
			return
		}
		c, err := Own(list, nil)
		if err != nil {
			if domain.KindOf(err) != domain.Invalid {
				t.Errorf("kind %q of %v", domain.KindOf(err), err)
			}
			return
		}
		for i, r := range c.Rules() {
			if shortest(r.Keywords()) < minLiteral {
				t.Errorf("%s has the keywords %q", r.ID, r.Keywords())
			}
			for _, e := range list[i].Match {
				for _, m := range tryExample(c, e.Value) {
					m.Rule.Spans(m.Finding().Text)
				}
			}
		}
	})
}

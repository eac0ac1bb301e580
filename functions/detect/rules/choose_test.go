package rules

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/functions/detect/logs"
)

func TestChoose(t *testing.T) {
	t.Parallel()
	setup := &Rule{ID: "setup", Rank: RankSetup}
	test := &Rule{ID: "test", Rank: RankTest}
	code := &Rule{ID: "code", Rank: RankCode, Last: true}
	seg := func(states ...logs.State) []logs.Segment {
		var out []logs.Segment
		for i, s := range states {
			out = append(out, logs.Segment{State: s, First: 100*i + 1, Last: 100*i + 100, ExitLine: 100*i + 100})
		}
		return out
	}
	match := func(r *Rule, line, segment int) Match {
		return Match{Rule: r, Line: line, LastLine: line, Segment: segment, Count: 1}
	}
	weak := match(setup, 12, 0)
	weak.Weak = true
	tested := match(code, 20, 0)
	tested.Tested = true
	known := match(setup, 10, 0)
	known.Familiar = 3
	facts := match(test, 30, 0)
	facts.Facts = map[string]string{"tests": "x"}
	for name, tc := range map[string]struct {
		matches []Match
		context Context
		want    []int // lines in order
	}{
		"nothing":                              {nil, Context{}, nil},
		"a green job has no failures":          {[]Match{match(setup, 5, 0)}, Context{Segments: seg(logs.Unclear), Green: true}, nil},
		"the cause before what it explains":    {[]Match{match(test, 10, 0), match(setup, 20, 0)}, Context{Segments: seg(logs.Failed)}, []int{20, 10}},
		"a green step explains nothing":        {[]Match{match(setup, 10, 0), match(test, 110, 1)}, Context{Segments: seg(logs.Green, logs.Failed)}, []int{110}},
		"the failed step before its cascade":   {[]Match{match(setup, 110, 1), match(test, 10, 0)}, Context{Segments: seg(logs.Failed, logs.Cascade)}, []int{10, 110}},
		"a cancelled leg behind the failed":    {[]Match{match(setup, 10, 0), match(test, 110, 1)}, Context{Segments: seg(logs.Stopped, logs.Failed)}, []int{110, 10}},
		"weak evidence last":                   {[]Match{weak, match(test, 40, 0)}, Context{Segments: seg(logs.Failed)}, []int{40, 12}},
		"weak evidence alone":                  {[]Match{weak}, Context{Segments: seg(logs.Failed)}, []int{12}},
		"the first of equals":                  {[]Match{match(test, 30, 0), match(test, 10, 0)}, Context{Segments: seg(logs.Failed)}, []int{10, 30}},
		"the last one where survived ones are": {[]Match{match(code, 50, 0), match(code, 90, 0)}, Context{Segments: seg(logs.Failed)}, []int{90, 50}},
		"the first failing test":               {[]Match{tested, match(code, 10, 0)}, Context{Segments: seg(logs.Failed)}, []int{20, 10}},
		"an exception that the script outlived": {
			[]Match{match(code, 10, 0), match(test, 95, 0)}, Context{Segments: seg(logs.Failed)}, []int{95, 10},
		},
		"a line of green runs too": {[]Match{known, match(test, 40, 0)}, Context{Segments: seg(logs.Failed)}, []int{40, 10}},
		"the first job":            {[]Match{match(test, 110, 1), match(test, 20, 0)}, Context{Segments: seg(logs.Failed, logs.Failed)}, []int{20, 110}},
		"the more specific":        {[]Match{match(test, 30, 0), facts}, Context{Segments: seg(logs.Failed)}, []int{30, 30}},
		"a foreign segment":        {[]Match{match(test, 30, 7)}, Context{Segments: seg(logs.Failed)}, []int{30}},
		"no segments are known":    {[]Match{match(test, 30, 0)}, Context{}, []int{30}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 5 { // the order that matches come in doesn't matter
				shuffled := slices.Clone(tc.matches)
				rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
				verdicts := Choose(shuffled, tc.context)
				var got []int
				for i, v := range verdicts {
					if v.Standing != Excluded {
						got = append(got, v.Line)
					}
					if v.Why == "" || (v.Standing == Primary || v.Standing == Doubtful) != (i == 0 && v.Standing != Excluded) {
						t.Errorf("verdict %d: %s: %q", i, v.Standing, v.Why)
					}
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Fatalf("order (-want +got):\n%s", diff)
				}
				if len(verdicts) != len(tc.matches) {
					t.Errorf("%d of %d matches are explained", len(verdicts), len(tc.matches))
				}
			}
		})
	}
	chosen := Choose([]Match{match(test, 30, 0), facts}, Context{Segments: seg(logs.Failed)})
	if chosen[0].Facts == nil {
		t.Error("the match with fewer facts was preferred")
	}
}

// TestConfidence: what was fitted can be read, and means what its names say.
func TestConfidence(t *testing.T) {
	t.Parallel()
	f := fitted()
	if f.Matches < 100 || f.Groups < 50 || len(f.Weights) == 0 {
		t.Fatalf("fitted on %d matches of %d groups with %d weights: run `make calibrate`", f.Matches, f.Groups, len(f.Weights))
	}
	for name := range f.Weights {
		if !slices.Contains(EvidenceNames, name) {
			t.Errorf("a weight for %q, which nothing measures: run `make calibrate`", name)
		}
	}
	for id := range f.Rules {
		if !slices.ContainsFunc(All(), func(r *Rule) bool { return r.ID == id }) {
			t.Errorf("a term for %q, which is no rule: run `make calibrate`", id)
		}
	}
	best, worst := Certain("missing-module"), Evidence{"not_a_failure": 1, "off_failed_step": 1, "rivals": 1}.Confidence("missing-module")
	if best < 0.9 || best >= 1 || worst >= best || worst <= 0 {
		t.Errorf("the clearest match has confidence %.3f, the weakest %.3f", best, worst)
	}
}

// TestDoubtful: what is more likely wrong than right is not said to be the cause.
func TestDoubtful(t *testing.T) {
	t.Parallel()
	m := Match{Rule: &Rule{ID: "x", Category: "x"}, Weak: true, Segment: 0, Count: 1, Line: 1}
	e := weigh([]ranked{{Match: m, tier: behindFailure, force: notAFailure}}, 0, Context{})
	verdicts := Choose([]Match{m}, Context{Segments: []logs.Segment{{State: logs.Cascade}}})
	want := Primary
	if e.Confidence("x") < MinConfidence {
		want = Doubtful
	}
	if v := verdicts[0]; v.Standing != want || v.Confidence != e.Confidence("x") {
		t.Errorf("%s with %.3f, want %s with %.3f", v.Standing, v.Confidence, want, e.Confidence("x"))
	}
}

// TestPrefilter compares the automaton with a plain search.
func TestPrefilter(t *testing.T) {
	t.Parallel()
	words := [][]string{{"he", "she"}, {"hers"}, {"his", "is a"}, {"\x00\xff"}, {"aaa"}, {"aab", "aa"}}
	p := newPrefilter(words)
	r := rand.New(rand.NewPCG(1, 2))
	hits := make([]bool, len(words))
	for range 3000 {
		text := make([]byte, r.IntN(30))
		for i := range text {
			text[i] = "heris a\x00\xffb"[r.IntN(10)]
		}
		list := p.scan(text, hits, nil)
		for i, ws := range words {
			want := slices.ContainsFunc(ws, func(w string) bool { return bytes.Contains(text, []byte(w)) })
			if hits[i] != want || slices.Contains(list, i) != want {
				t.Fatalf("%q in %q: %v", ws, text, hits[i])
			}
			hits[i] = false
		}
	}
}

// TestScanIsBounded feeds more matches than are kept.
func TestScanIsBounded(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 20_000 {
		b.WriteString("--- FAIL: Test" + strings.Repeat("x", i%500) + " (0.00s)\n")
	}
	matches, _ := scan(t, catalogueOf(t, All()...), []byte(b.String()))
	if len(matches) == 0 || len(matches) > maxPerRule {
		t.Errorf("%d matches were kept", len(matches))
	}
}

func FuzzScan(f *testing.F) {
	c, err := NewCatalogue(All())
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\nModuleNotFoundError: No module named 'x'\n"))
	f.Add([]byte("=== FAILURES ===\n____ test ____\nE   AssertionError: assert 1 == 2\n\na.py:1: AssertionError\n"))
	f.Add([]byte("ERROR: Cannot install a and b because these package versions have conflicting dependencies.\nThe conflict is caused by:\n    a 1 depends on c>=1\n"))
	f.Fuzz(func(t *testing.T, log []byte) {
		matches, segments := scan(t, c, log)
		for _, v := range Choose(matches, Context{Segments: segments}) {
			finding := v.Finding()
			if finding.Line < 1 || finding.Line > bytes.Count(log, []byte("\n"))+1 {
				t.Fatalf("line %d", finding.Line)
			}
			if len(finding.Text) > MaxText {
				t.Fatalf("%d bytes of text", len(finding.Text))
			}
		}
	})
}

package rules

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/mlops-bot/mlops-bot/functions/detect/logs"
)

// scanned runs rules over a log and returns the scanner, which counts its work.
func scanned(t *testing.T, log io.Reader, rules ...*Rule) *Scanner {
	t.Helper()
	r, err := logs.NewReader(log, logs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := catalogueOf(t, rules...).NewScanner()
	for {
		l, err := r.Next()
		if errors.Is(err, io.EOF) {
			s.Finish()
			return s
		}
		if err != nil {
			t.Fatal(err)
		}
		s.Add(l)
	}
}

// TestTriesAreBounded feeds more lines with keywords than patterns may be tried
// on.
func TestTriesAreBounded(t *testing.T) {
	t.Parallel()
	line := "keyword " + strings.Repeat("no match in here ", 200) + "\n"
	rule := &Rule{ID: "x", Category: "x", Patterns: patterns(`keyword [^!]*!$`, `keyword.*\d$`)}
	s := scanned(t, strings.NewReader(strings.Repeat(line, maxEvaluated/len(line)+1000)), rule)
	if s.tried[0] < maxEvaluated || s.tried[0] > maxEvaluated+maxMatched {
		t.Errorf("tried on %d bytes", s.tried[0])
	}
}

// TestNothingIsTried feeds logs that hold no keyword, or nothing else that the
// pattern requires: no expression runs on them.
func TestNothingIsTried(t *testing.T) {
	t.Parallel()
	rule := &Rule{ID: "x", Category: "x", Patterns: patterns(`^keyword .*\bother\b`)}
	for name, log := range map[string]string{
		"no keyword":      strings.Repeat("other key words\n", 1000),
		"NULs":            strings.Repeat("\x00", 1<<20),
		"one long line":   strings.Repeat("other ", 1<<20),
		"keyword cut off": strings.Repeat(" ", logs.DefaultMaxLine-3) + "keyword other",
	} {
		if s := scanned(t, strings.NewReader(log), rule); s.tried[0] != 0 || len(s.matches) != 0 {
			t.Errorf("%s: tried on %d bytes", name, s.tried[0])
		}
	}
	p := catalogueOf(t, rule).patterns[0]
	if p.possible([]byte("keyword without it")) || !p.possible([]byte("keyword and other")) {
		t.Error("the other literal is not looked for")
	}
}

// TestKeywordsAtEachPlace moves a keyword through a line: the prefilter looks at
// several places at once, and at the line's end in another way.
func TestKeywordsAtEachPlace(t *testing.T) {
	t.Parallel()
	p := newPrefilter([][]string{{"abc"}, {"abcd"}, {"needle in hay"}})
	for before := range 40 {
		for after := range 12 {
			for i, w := range []string{"abc", "abcd", "needle in hay"} {
				text := bytes.Join([][]byte{bytes.Repeat([]byte("."), before), []byte(w), bytes.Repeat([]byte("."), after)}, nil)
				hits := make([]bool, 3)
				p.scan(text, hits, nil)
				if !hits[i] || hits[0] != (i < 2) || hits[2] != (i == 2) || hits[1] != (i == 1) {
					t.Fatalf("%q: %v", text, hits)
				}
			}
		}
	}
}

// BenchmarkPrefilter measures the first look alone, over a log that hardly ever
// fails.
func BenchmarkPrefilter(b *testing.B) {
	c, err := NewCatalogue(All())
	if err != nil {
		b.Fatal(err)
	}
	lines := [][]byte{
		[]byte("Collecting numpy<2.0,>=1.22 (from -r requirements/test.txt (line 12))"),
		[]byte("tests/test_pipeline.py::TestLoader::test_batches[case-7] PASSED            [ 41%]"),
		[]byte("epoch 3/10 step 1200/5000 loss=0.1234 lr=0.0003 throughput=812 samples/s"),
		[]byte("-- Performing Test COMPILER_HAS_HIDDEN_VISIBILITY - Success"),
	}
	hits, n := make([]bool, len(c.patterns)+1), 0
	for _, l := range lines {
		n += len(l)
	}
	b.SetBytes(int64(n))
	var list []int
	for b.Loop() {
		for _, l := range lines {
			list = c.filter.scan(l, hits, list[:0])
			for _, i := range list {
				hits[i] = false
			}
		}
	}
}

package detect

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestNormalise(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		a, b string
		same bool
	}{
		"durations":                        {"done in 12.31s", "done in 950ms", true},
		"durations with a blank":           {"took 3 minutes", "took 12 seconds", true},
		"clock times":                      {"[12:01:02,345] retry", "[09:59:59,001] retry", true},
		"dates":                            {"2026-11-05 12:00:00 WARN x", "2026-12-24 01:02:03 WARN x", true},
		"dates with a T":                   {"at 2026-11-05T12:00:00.123Z x", "at 2026-12-24T01:02:03Z x", true},
		"sizes":                            {"read 1.2 MB of 20 MiB", "read 900 kB of 3 GiB", true},
		"long numbers":                     {"pid 12345", "pid 2345", true},
		"hashes":                           {"at 3f2a91c08b77", "at 9c0de12ab344", true},
		"a hash that begins with a letter": {"at abc1234", "at fed9876", true},
		"addresses":                        {"<object at 0x7f3a2b1c>", "<object at 0x7fff0012>", true},
		"temporary names":                  {"open /tmp/tmpab12cd34/x.json", "open /var/tmp/tmpzz99yy88/x.json", true},
		"folders":                          {"in /home/runner/work/a/a/m.py: bad", "in /__w/a/a/m.py: bad", true},
		"folders of Windows":               {`in D:\a\b\m.py`, `in C:\x\m.py`, true},
		"ids":                              {"id 123e4567-e89b-12d3-a456-426614174000", "id 00112233-4455-6677-8899-aabbccddeeff", true},
		"blanks":                           {"  a \t b ", "a b", true},
		"losses":                           {"loss 0.5312", "loss 0.0017", true},
		"nothing and something":            {"0 failed", "3 failed", false},
		"a size of nothing":                {"read 0 bytes", "read 12 bytes", false},
		"short numbers":                    {"1 failed", "3 failed", false},
		"exit codes":                       {"exit code 1", "exit code 137", false},
		"statuses":                         {"HTTP 200", "HTTP 500", false},
		"versions":                         {"numpy 1.26.4", "numpy 2.0.0", false},
		"short versions":                   {"python 3.11", "python 3.12", false},
		"files":                            {"in /a/b/m.py", "in /a/b/n.py", false},
		"relative paths":                   {"src/a/m.py", "src/b/m.py", false},
		"numbers in names":                 {"test_a1 passed", "test_a2 passed", false},
		"nan":                              {"loss nan", "loss 0.123", false},
		"words that are hex":               {"decade", "facade", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := string(normalise(nil, []byte(tt.a))), string(normalise(nil, []byte(tt.b)))
			if (a == b) != tt.same {
				t.Errorf("%q and %q", a, b)
			}
		})
	}
}

func TestSeenInGreenLogs(t *testing.T) {
	t.Parallel()
	g := newGreenLines()
	stamp := "2026-11-22T11:00:00.0000000Z "
	for i, log := range []string{
		stamp + "##[group]Run echo 'never said'\n" + stamp + "never said\n" + stamp + "##[endgroup]\n" + stamp + "\x1b[31mERROR: gave up after 1.5s\x1b[0m\n" + stamp + "ERROR: gave up after 7s\n",
		stamp + "ERROR: gave up after 3s\n" + stamp + "only here\n",
		stamp + "all is well\n",
		stamp + "one log too many\n",
	} {
		if err := g.add(t.Context(), strings.NewReader(log)); err != nil {
			t.Fatalf("log %d: %v", i, err)
		}
	}
	for text, want := range map[string]int{
		"ERROR: gave up after 12.25s": 2, "only here": 1, "all is well": 1, "never said": 0, "one log too many": 0, "ERROR: gave up": 0, "": 0, " ": 0,
		strings.Repeat("x", 3*maxGreenLine): 0,
	} {
		if got := g.Seen(text); got != want {
			t.Errorf("%.40q was seen in %d logs, want %d", text, got, want)
		}
	}
}

func TestGreenLinesAreBounded(t *testing.T) {
	t.Parallel()
	// Letters, since numbers are masked.
	word := func(i int) string {
		return strings.Map(func(r rune) rune { return 'g' + r - '0' }, fmt.Sprintf("%07d", i))
	}
	r, w := io.Pipe()
	go func() {
		for i := range 2 * maxGreenLines {
			if _, err := fmt.Fprintf(w, "line %s\n", word(i)); err != nil {
				return
			}
		}
		w.Close()
	}()
	g := newGreenLines()
	if err := g.add(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if len(g.lines) != maxGreenLines || g.Seen("line "+word(1)) != 1 || g.Seen("line "+word(2*maxGreenLines-1)) != 0 {
		t.Errorf("%d lines are kept", len(g.lines))
	}
}

func TestGreenLogThatBreaksOff(t *testing.T) {
	t.Parallel()
	broken := errors.New("lost")
	g := newGreenLines()
	err := g.add(t.Context(), io.MultiReader(strings.NewReader("what was said\n"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || g.Seen("what was said") != 1 {
		t.Errorf("%v, seen %d", err, g.Seen("what was said"))
	}
}

func FuzzNormalise(f *testing.F) {
	for _, s := range []string{"2026-11-05T12:00:00Z done in 3.2s 0x7fff", `C:\a\b "x" /tmp/tmpabcd1234 3f2a91c 1e-05 12:`, "\xff0:00/", "0123456789abcdef 9 s"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := string(text)
		got := normalise(nil, text)
		if string(text) != before {
			t.Fatal("the text was changed")
		}
		// The longest mask stands for one character ("/" cut off by a bound), so the
		// result is bounded as well.
		if len(got) > 9*len(text)+9 {
			t.Fatalf("%d bytes of %d", len(got), len(text))
		}
		if string(normalise(nil, text)) != string(got) {
			t.Fatal("twice differs")
		}
	})
}

func BenchmarkGreenLines(b *testing.B) {
	log := strings.Repeat("2026-11-22T11:00:00.0000000Z tests/test_model.py::test_fit PASSED [ 45%] in 0.12s at /home/runner/work/a/a/tests (pid 12345)\n", 20000)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		if err := newGreenLines().add(b.Context(), strings.NewReader(log)); err != nil {
			b.Fatal(err)
		}
	}
}

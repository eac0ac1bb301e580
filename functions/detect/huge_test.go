package detect

import (
	"io"
	"runtime"
	"strings"
	"testing"
)

// repeated yields a text again and again until n bytes were read.
type repeated struct {
	text string
	at   int
	n    int64
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.n <= 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(int64(len(p)), r.n)], r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	r.n -= int64(n)
	return n, nil
}

// TestAHugeLog reads 500 MB as a stream and finds the cause at its end, in a
// small part of that memory.
func TestAHugeLog(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 500 MB")
	}
	green := strings.Repeat("2026-11-22T11:00:01.0000000Z epoch 3: step 1200 loss 0.1234 lr 0.0003 throughput 812 samples/s\n", 4096)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	d, ex, err := Diagnose(t.Context(), Input{Log: io.MultiReader(&repeated{text: green, n: 500_000_000}, strings.NewReader("\n"+moduleLog))})
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if d.Primary.Category != "missing-module" || d.Primary.Fact("module") != "pandas" || ex.Lines < 5_000_000 {
		t.Errorf("%+v in %d lines", d.Primary, ex.Lines)
	}
	if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); kept > 32<<20 {
		t.Errorf("%d MiB are kept", kept>>20)
	}
}

// TestHugeLines reads 100 MB without a newline: what is kept of it is bounded,
// and the cause behind it is found.
func TestHugeLines(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"words":    "loss=0.125 Error: no such file or directory: ",
		"NULs":     strings.Repeat("\x00", 4096),
		"escapes":  "\x1b[31mError\x1b[0m: \x1b]0;",
		"no ASCII": strings.Repeat("\xff\xfe\x80é", 512),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, ex, err := Diagnose(t.Context(), Input{Log: io.MultiReader(strings.NewReader("first\n"), &repeated{text: text, n: 100_000_000}, strings.NewReader("\n"+moduleLog))})
			if err != nil {
				t.Fatal(err)
			}
			if d.Primary.Category != "missing-module" || ex.CutLines != 1 || ex.Lines != 2+strings.Count(moduleLog, "\n") {
				t.Errorf("%s, %d of %d lines cut", d.Primary.Category, ex.CutLines, ex.Lines)
			}
			for _, c := range ex.Considered {
				if len(c.Text) > 4096 {
					t.Errorf("%d bytes of evidence", len(c.Text))
				}
			}
		})
	}
}

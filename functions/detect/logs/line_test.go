package logs

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFirstControl compares the search of eight bytes at a time with a plain one.
func TestFirstControl(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	alphabet := []byte("ab \t~\x7f\x80\xa0\xff\x00\x1b\x1f")
	for range 20_000 {
		b := make([]byte, r.IntN(40))
		for i := range b {
			b[i] = alphabet[r.IntN(4)]
			if r.IntN(20) == 0 {
				b[i] = alphabet[r.IntN(len(alphabet))]
			}
		}
		want := slices.IndexFunc(b, func(c byte) bool { return c != '\t' && c < 0x20 || c == 0x7f })
		if got := firstControl(b); got != want {
			t.Fatalf("%q: %d, want %d", b, got, want)
		}
	}
}

func TestStamps(t *testing.T) {
	t.Parallel()
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for name, tt := range map[string]struct {
		lines []string
		text  string // of the last one
		want  time.Time
	}{
		"fraction":        {[]string{"2026-01-02T03:04:05.1234567Z a"}, "a", at("2026-01-02T03:04:05.1234567Z")},
		"no fraction":     {[]string{"2026-01-02T03:04:05Z a"}, "a", at("2026-01-02T03:04:05Z")},
		"nanoseconds":     {[]string{"2026-01-02T03:04:05.123456789Z a"}, "a", at("2026-01-02T03:04:05.123456789Z")},
		"more digits":     {[]string{"2026-01-02T03:04:05.123456789012Z a"}, "a", at("2026-01-02T03:04:05.123456789Z")},
		"no blank":        {[]string{"2026-01-02T03:04:05.1Z"}, "", at("2026-01-02T03:04:05.1Z")},
		"same minute":     {[]string{"2026-01-02T03:04:05.9Z a", "2026-01-02T03:04:59.1Z b"}, "b", at("2026-01-02T03:04:59.1Z")},
		"next minute":     {[]string{"2026-01-02T03:04:05.9Z a", "2026-01-02T03:05:00.1Z b"}, "b", at("2026-01-02T03:05:00.1Z")},
		"back":            {[]string{"2026-01-02T03:04:05Z a", "2026-01-02T03:05:00Z b", "2026-01-02T03:04:06Z c"}, "c", at("2026-01-02T03:04:06Z")},
		"kept":            {[]string{"2026-01-02T03:04:05Z a", "b"}, "b", at("2026-01-02T03:04:05Z")},
		"a program's own": {[]string{"2026-01-02T03:04:05Z a", "2026-01-02T03:04:06 b"}, "2026-01-02T03:04:06 b", at("2026-01-02T03:04:05Z")},
		"cut":             {[]string{"2026-01-02T03:04:05Z a", "2026-01-02T03:04:"}, "2026-01-02T03:04:", at("2026-01-02T03:04:05Z")},
		"no zone":         {[]string{"2026-01-02T03:04:05.123"}, "2026-01-02T03:04:05.123", time.Time{}},
		"NULs":            {[]string{strings.Repeat("\x00", minuteLen) + "05Z a"}, "05Z a", time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := NewReader(strings.NewReader(strings.Join(tt.lines, "\n")), Options{})
			if err != nil {
				t.Fatal(err)
			}
			var last Line
			for range tt.lines {
				if last, err = r.Next(); err != nil {
					t.Fatal(err)
				}
			}
			if string(last.Text) != tt.text || !last.Time.Equal(tt.want) {
				t.Errorf("%q at %s, want %q at %s", last.Text, last.Time, tt.text, tt.want)
			}
		})
	}
}

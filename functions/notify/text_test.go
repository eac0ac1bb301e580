package notify

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ in, want string }{
		"plain":         {"loss: 0.3", "loss: 0.3"},
		"colours":       {"\x1b[1;31merror\x1b[0m", "error"},
		"window title":  {"\x1b]0;evil\x07x", "x"},
		"bell":          {"a\x07b", `a\x07b`},
		"right to left": {"a\u202eb", `a\u202eb`},
		"zero width":    {"pay\u200bload", `pay\u200bload`},
		"invalid":       {"a\xffb", "a\uFFFDb"},
		"lines":         {"a\r\nb\n\n", "a\nb"},
		"tab":           {"\tx", "    x"},
		"nbsp":          {"a\u00a0b\u2028c", "a b c"},
		"long":          {strings.Repeat("x", 50), strings.Repeat("x", 20) + "…"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := clean(tt.in, 20); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMarkdownCode(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"x": "`x`", "a`b": "`` a`b ``", "```": "```` ``` ````", "": "",
	} {
		if got := mdCode(in); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
	if got := mdBlock("a\n````\nb"); got != "`````text\na\n````\nb\n`````" {
		t.Errorf("got %q", got)
	}
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		300 * time.Millisecond: "under 1 s", 15 * time.Second: "15 s", 250 * time.Second: "4 min 10 s",
		6*time.Hour + 31*time.Minute: "6 h 31 min", 76 * time.Hour: "3 days", 4 * time.Minute: "4 min", 7 * time.Hour: "7 h",
	} {
		if got := span(d); got != want {
			t.Errorf("%s is said as %q, want %q", d, got, want)
		}
	}
}

func FuzzEscapes(f *testing.F) {
	for _, s := range mean {
		f.Add(s[:min(len(s), 2000)])
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, limit := range []int{1, 40, maxExcerpt} {
			c := clean(s, limit)
			if !utf8.ValidString(c) || utf8.RuneCountInString(c) > limit+1 {
				t.Fatalf("clean gives %q", c)
			}
			if strings.ContainsAny(c, "\x00\x1b\r\u009b\u202e\u2066\u200b\ufeff") {
				t.Fatalf("clean leaves something invisible: %q", c)
			}
			if strings.ContainsAny(slackText(c), "<>*`~") {
				t.Fatalf("slackText gives %q", slackText(c))
			}
		}
		one := plain(s, 200)
		if strings.ContainsAny(one, "\n") {
			t.Fatalf("plain gives %q", one)
		}
		if code := mdCode(one); one != "" {
			fence := code[:len(code)-len(strings.TrimLeft(code, "`"))]
			if inner := strings.Trim(code, "`"); backticks(inner) >= len(fence) {
				t.Fatalf("the span %q can be left", code)
			}
		}
		text := clean(s, 200)
		block := mdBlock(text)
		if fence, _, _ := strings.Cut(block, "text\n"); backticks(text) >= len(fence) || strings.Trim(fence, "`") != "" {
			t.Fatalf("the block %q can be left", block)
		}
	})
}

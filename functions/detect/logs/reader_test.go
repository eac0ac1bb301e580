package logs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// text is a Line as tests compare it.
type text struct {
	Number int
	Marker string
	Text   string
}

func read(t testing.TB, log io.Reader, opts Options) ([]text, *Reader) {
	t.Helper()
	r, err := NewReader(log, opts)
	if err != nil {
		t.Fatal(err)
	}
	var out []text
	for {
		l, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, r
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, text{l.Number, l.Marker, string(l.Text)})
	}
}

func encode16(s string, order binary.ByteOrder, mark bool) string {
	if mark {
		s = "\ufeff" + s
	}
	var b bytes.Buffer
	for _, u := range utf16.Encode([]rune(s)) {
		_ = binary.Write(&b, order, u)
	}
	return b.String()
}

func TestLines(t *testing.T) {
	t.Parallel()
	plain := "first\nsecond — ü\nthird\n"
	three := []text{{1, "", "first"}, {2, "", "second — ü"}, {3, "", "third"}}
	for name, tc := range map[string]struct {
		log  string
		want []text
	}{
		"empty":             {"", nil},
		"no newline":        {"only", []text{{1, "", "only"}}},
		"plain":             {plain, three},
		"crlf":              {strings.ReplaceAll(plain, "\n", "\r\n"), three},
		"doubled cr":        {strings.ReplaceAll(plain, "\n", "\r\r\n"), three},
		"utf-8 mark":        {"\ufeff" + plain, three},
		"utf-16le":          {encode16(plain, binary.LittleEndian, true), three},
		"utf-16be":          {encode16(plain, binary.BigEndian, true), three},
		"utf-16le, no mark": {encode16(plain, binary.LittleEndian, false), three},
		"utf-16be, no mark": {encode16(plain, binary.BigEndian, false), three},
		"empty lines":       {"a\n\n\nb", []text{{1, "", "a"}, {2, "", ""}, {3, "", ""}, {4, "", "b"}}},
		"timestamp":         {"2026-01-02T03:04:05.1234567Z hello", []text{{1, "", "hello"}}},
		"timestamp only":    {"2026-01-02T03:04:05.1234567Z", []text{{1, "", ""}}},
		"timestamp, mark":   {"\ufeff2026-01-02T03:04:05.1234567Z hello", []text{{1, "", "hello"}}},
		"not a timestamp":   {"2026-01-02T03:04:05 hello", []text{{1, "", "2026-01-02T03:04:05 hello"}}},
		"tab format":        {"build\tRun tests\t2026-01-02T03:04:05.1Z hello\tworld", []text{{1, "", "hello\tworld"}}},
		"tab format, mark":  {"build\tRun tests\t\ufeff2026-01-02T03:04:05.1Z hello", []text{{1, "", "hello"}}},
		"tabs":              {"a\tb\tc", []text{{1, "", "a\tb\tc"}}},
		"colours":           {"\x1b[1;31mred\x1b[0m \x1b[38;5;9mtoo\x1b[K", []text{{1, "", "red too"}}},
		"title and link":    {"\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b\x1b]8;;\x1b\\", []text{{1, "", "ab"}}},
		"open title":        {"\x1b]0;everything after", []text{{1, "", "0;everything after"}}},
		"cut escape":        {"a\x1b[31", []text{{1, "", "a"}}},
		"controls":          {"a\x00b\x07c\x7fd\x08e", []text{{1, "", "abcde"}}},
		"invalid utf-8":     {"a\xffb", []text{{1, "", "a\xffb"}}},
		"progress bar":      {" 10%\r 90%\r100%\nnext", []text{{1, "", " 10%"}, {1, "", " 90%"}, {1, "", "100%"}, {2, "", "next"}}},
		"error":             {"##[error]Process completed", []text{{1, "##[error]", "Process completed"}}},
		"coloured error":    {"\x1b[31m##[error]x\x1b[0m", []text{{1, "##[error]", "x"}}},
		"command":           {"::error file=a.py,line=3::broken::here", []text{{1, "##[error]", "broken::here"}}},
		"warning command":   {"::warning::careful", []text{{1, "##[warning]", "careful"}}},
		"unknown command":   {"::notify::x", []text{{1, "", "::notify::x"}}},
		"group and section": {"##[group]Run x\n##[endgroup]\n##[section]Starting: y", []text{{1, "##[group]", "Run x"}, {2, "##[endgroup]", ""}, {3, "##[section]", "Starting: y"}}},
		"caret notation":    {"^[[36;1mecho^[[0m", []text{{1, "", "^[[36;1mecho^[[0m"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for how, r := range map[string]io.Reader{
				"whole":     strings.NewReader(tc.log),
				"bytewise":  iotest.OneByteReader(strings.NewReader(tc.log)),
				"data, EOF": iotest.DataErrReader(strings.NewReader(tc.log)),
			} {
				got, _ := read(t, r, Options{})
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", how, diff)
				}
			}
		})
	}
}

func TestTime(t *testing.T) {
	t.Parallel()
	r, err := NewReader(strings.NewReader("2026-01-02T03:04:05.1234567Z a\nb\n2026-01-02T03:04:06Z c\n"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []time.Time{
		time.Date(2026, 1, 2, 3, 4, 5, 123456700, time.UTC),
		time.Date(2026, 1, 2, 3, 4, 5, 123456700, time.UTC), // the last one seen
		time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC),
	} {
		l, err := r.Next()
		if err != nil || !l.Time.Equal(want) {
			t.Errorf("line %d at %v, want %v (%v)", l.Number, l.Time, want, err)
		}
	}
}

// endless yields a pattern for ever.
type endless struct {
	pattern string
	at      int
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.pattern[e.at%len(e.pattern)]
		e.at++
	}
	return len(p), nil
}

func TestBounds(t *testing.T) {
	t.Parallel()
	t.Run("one line of 100 MB", func(t *testing.T) {
		t.Parallel()
		const size = 100 << 20
		log := io.MultiReader(io.LimitReader(&endless{pattern: "x"}, size), strings.NewReader("\nafter\n"))
		r, err := NewReader(log, Options{})
		if err != nil {
			t.Fatal(err)
		}
		l, err := r.Next()
		if err != nil || len(l.Text) != DefaultMaxLine || l.Cut != size-DefaultMaxLine {
			t.Errorf("kept %d bytes, dropped %d (%v)", len(l.Text), l.Cut, err)
		}
		l, err = r.Next()
		if err != nil || string(l.Text) != "after" || l.Number != 2 {
			t.Errorf("then line %d %q (%v)", l.Number, l.Text, err)
		}
		if _, lines := r.Truncated(); lines != 1 {
			t.Errorf("%d cut lines counted", lines)
		}
	})
	t.Run("a log without an end", func(t *testing.T) {
		t.Parallel()
		got, r := read(t, &endless{pattern: "0123456789abcde\n"}, Options{MaxBytes: 1 << 20})
		if cut, _ := r.Truncated(); !cut || len(got) != 1<<16 {
			t.Errorf("%d lines, truncated %v", len(got), cut)
		}
	})
	t.Run("a log as long as its limit", func(t *testing.T) {
		t.Parallel()
		got, r := read(t, strings.NewReader("abc\ndef\n"), Options{MaxBytes: 8})
		if cut, _ := r.Truncated(); cut || len(got) != 2 {
			t.Errorf("%d lines, truncated %v", len(got), cut)
		}
	})
	t.Run("binary noise", func(t *testing.T) {
		t.Parallel()
		noise := &endless{pattern: "\x7fELF\x02\x01\x00\xff\xfe\x1b]\x00\r\n\x9d\x1b[\xe2\x82"}
		if _, r := read(t, io.LimitReader(noise, 4<<20), Options{}); r.Lines() == 0 {
			t.Error("no lines")
		}
	})
	t.Run("more steps than are kept", func(t *testing.T) {
		t.Parallel()
		got, r := read(t, strings.NewReader(strings.Repeat("##[group]Run x\n##[endgroup]\n", 3*maxSegments)), Options{})
		if n := len(r.Segments()); n != maxSegments || len(got) != 6*maxSegments {
			t.Errorf("%d segments, %d lines", n, len(got))
		}
	})
}

func TestReaderErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection lost")
	if _, err := NewReader(iotest.ErrReader(broken), Options{}); !errors.Is(err, broken) {
		t.Errorf("at the start: %v", err)
	}
	long := strings.Repeat("line\n", 1000)
	r, err := NewReader(io.MultiReader(strings.NewReader(long), iotest.ErrReader(broken)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		_, err = r.Next()
		if err != nil {
			break
		}
		n++
	}
	if n != 1000 || !errors.Is(err, broken) {
		t.Errorf("%d lines, then %v", n, err)
	}
}

// step is a Segment as tests compare it.
type step struct {
	Job, Step string
	Number    int
	First     int
	State     State
	ExitCode  int
}

func TestSegments(t *testing.T) {
	t.Parallel()
	at := func(sec int) time.Time { return time.Date(2026, 1, 2, 3, 4, sec, 0, time.UTC) }
	for name, tc := range map[string]struct {
		log  string
		opts Options
		want []step
	}{
		"a script fails, clean-up follows": {
			log: "Requested labels: ubuntu-24.04\n##[group]Run actions/checkout@v4\n##[endgroup]\n##[group]Run python -m pytest\n  exec pytest -q || echo '##[error]x'\n##[endgroup]\nE\n##[error]Process completed with exit code 1.\n##[group]Run actions/upload-artifact@v4\n##[endgroup]\n##[error]No files were found\nPost job cleanup.\nCleaning up orphan processes\n",
			want: []step{
				{"", "", 0, 1, Green, 0},
				{"", "Run actions/checkout@v4", 0, 2, Green, 0},
				{"", "Run python -m pytest", 0, 4, Failed, 1},
				{"", "Run actions/upload-artifact@v4", 0, 9, Cascade, 0},
				{"", "Post job cleanup", 0, 12, Cascade, 0},
			},
		},
		"problem matchers mark lines of a script that goes on": {
			log: "##[group]Run npx tsc || true\n##[endgroup]\n##[error]src/a.ts(1,1): error TS1: x\n##[group]Run npm test\n##[endgroup]\n##[error]Process completed with exit code 1.\n",
			want: []step{
				{"", "Run npx tsc || true", 0, 1, Green, 0},
				{"", "Run npm test", 0, 4, Failed, 1},
			},
		},
		"tab format, two jobs, one cancelled": {
			log: "a\tTest\t2026-01-02T03:04:05.1Z ##[group]Run pytest\na\tTest\t2026-01-02T03:04:05.1Z ##[endgroup]\na\tTest\t2026-01-02T03:04:05.1Z ##[error]Process completed with exit code 2.\nb\tTest\t2026-01-02T03:04:05.1Z ##[group]Run pytest\nb\tTest\t2026-01-02T03:04:05.1Z ##[error]The operation was canceled.\n",
			want: []step{
				{"a", "Test", 0, 1, Failed, 2},
				{"b", "Test", 0, 4, Stopped, 0},
			},
		},
		"tab format without step names": {
			log: "a\tUNKNOWN STEP\t2026-01-02T03:04:05.1Z ##[group]Run pip install .\na\tUNKNOWN STEP\t2026-01-02T03:04:05.1Z ##[endgroup]\na\tUNKNOWN STEP\t2026-01-02T03:04:06.1Z ##[group]Run pytest\na\tUNKNOWN STEP\t2026-01-02T03:04:06.1Z ##[error]Process completed with exit code 2.\n",
			want: []step{
				{"a", "Run pip install .", 0, 1, Green, 0},
				{"a", "Run pytest", 0, 3, Failed, 2},
			},
		},
		"as copied from the page": {
			log:  "Run pytest\nE   boom\nError: Process completed with exit code 1.\n",
			want: []step{{"", "", 0, 1, Failed, 1}},
		},
		"nothing is known": {
			log:  "E   boom\n",
			want: []step{{"", "", 0, 1, Unclear, 0}},
		},
		"steps from the API": {
			opts: Options{Job: "test", Steps: []domain.Step{
				{Number: 1, Name: "Set up job", Conclusion: domain.Success, StartedAt: at(0), CompletedAt: at(1)},
				{Number: 2, Name: "Install", Conclusion: domain.Success, StartedAt: at(1), CompletedAt: at(3)},
				{Number: 3, Name: "Only on main", Conclusion: domain.Skipped, StartedAt: at(3), CompletedAt: at(3)},
				{Number: 4, Name: "Train", Conclusion: domain.Failure, StartedAt: at(3), CompletedAt: at(9)},
				{Number: 5, Name: "Report", Conclusion: domain.Failure, StartedAt: at(9), CompletedAt: at(10)},
			}},
			log: "2026-01-02T03:04:00.1Z Requested labels\n2026-01-02T03:04:01.2Z ##[group]Run pip install .\n2026-01-02T03:04:02.2Z ##[group]Run inner/action@v1\n2026-01-02T03:04:03.2Z ##[group]Run python train.py\n2026-01-02T03:04:08.2Z Traceback\n2026-01-02T03:04:09.0Z ##[error]Process completed with exit code 1.\n2026-01-02T03:04:09.2Z ##[group]Run ./report.sh\n2026-01-02T03:04:09.9Z ##[error]Process completed with exit code 3.\n",
			want: []step{
				{"test", "", 0, 1, Green, 0},
				{"test", "Install", 2, 2, Green, 0},
				{"test", "Train", 4, 4, Failed, 1},
				{"test", "Report", 5, 7, Cascade, 3},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, r := read(t, strings.NewReader(tc.log), tc.opts)
			var got []step
			for _, s := range r.Segments() {
				got = append(got, step{s.Job, s.Step, s.StepNumber, s.First, s.State, s.ExitCode})
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("segments (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEcho(t *testing.T) {
	t.Parallel()
	r, err := NewReader(strings.NewReader("before\n##[group]Run echo oom\necho 'CUDA out of memory'\nenv:\n##[endgroup]\nafter\n##[group]other\ninside\n"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"before": false, "Run echo oom": true, "echo 'CUDA out of memory'": true, "env:": true, "": false, "after": false, "other": false, "inside": false}
	for {
		l, err := r.Next()
		if err != nil {
			break
		}
		if l.Echo != want[string(l.Text)] {
			t.Errorf("%q: echo %v", l.Text, l.Echo)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("2026-01-02T03:04:05.1234567Z ##[group]Run x\r\n\x1b[31mE\x1b[0m\r\n##[error]Process completed with exit code 1.\n"), uint16(64))
	f.Add([]byte("a\tb\t2026-01-02T03:04:05.1Z ::error::x\n\rPost job cleanup.\n"), uint16(3))
	f.Add([]byte(encode16("Grüße\n", binary.LittleEndian, true)), uint16(1))
	f.Add(bytes.Repeat([]byte("x\r"), 50), uint16(10))
	f.Fuzz(func(t *testing.T, log []byte, maxLine uint16) {
		r, err := NewReader(bytes.NewReader(log), Options{MaxLine: int(maxLine)})
		if err != nil {
			t.Fatal(err)
		}
		last, limit := 0, r.opts.MaxLine
		for {
			l, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if l.Number != last && l.Number != last+1 {
				t.Fatalf("line %d follows %d", l.Number, last)
			}
			last = l.Number
			if len(l.Text) > limit {
				t.Fatalf("%d bytes of a line were kept", len(l.Text))
			}
			for _, c := range l.Text {
				if c < 0x20 && c != '\t' || c == 0x7f {
					t.Fatalf("control character %#x in %q", c, l.Text)
				}
			}
		}
		for i, s := range r.Segments() {
			if s.First > s.Last || i > 0 && s.First < r.Segments()[i-1].First {
				t.Fatalf("segment %+v", s)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	var log bytes.Buffer
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := 0; log.Len() < 8<<20; i++ {
		at = at.Add(1234567)
		stamp := at.Format("2006-01-02T15:04:05.0000000Z ")
		switch i % 200 {
		case 0:
			fmt.Fprintf(&log, "%s##[group]Run step %d\n%s\x1b[36;1mpython train.py\x1b[0m\n%s##[endgroup]\n", stamp, i, stamp, stamp)
		case 1, 2, 3:
			fmt.Fprintf(&log, "%s\x1b[32mPASSED\x1b[0m tests/test_%d.py::test_case[%d]\n", stamp, i, i)
		default:
			fmt.Fprintf(&log, "%s  Downloading package_%d-1.%d.0-cp311-cp311-manylinux_2_17_x86_64.whl.metadata (12.3 kB)\n", stamp, i, i%70)
		}
	}
	b.SetBytes(int64(log.Len()))
	b.ReportAllocs()
	for b.Loop() {
		r, err := NewReader(bytes.NewReader(log.Bytes()), Options{})
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := r.Next(); err != nil {
				break
			}
		}
	}
}

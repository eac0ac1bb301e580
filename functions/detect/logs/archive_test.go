package logs

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

const stampA = "2026-01-02T03:04:05.1234567Z "

type zipped struct{ name, text string }

func archive(t testing.TB, files ...zipped) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		w, err := z.Create(f.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// jobText is a JobLog as tests compare it.
type jobText struct{ Job, Text string }

func texts(t testing.TB, run *Run) []jobText {
	t.Helper()
	var out []jobText
	for _, j := range run.Logs {
		rc, err := j.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(rc)
		if err != nil {
			t.Fatal(err)
		}
		if err := rc.Close(); err != nil {
			t.Error(err)
		}
		out = append(out, jobText{j.Job, string(b)})
	}
	return out
}

// TestRun opens the same files as an archive and as a folder.
func TestRun(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		files []zipped
		want  []jobText
	}{
		"jobs": {
			[]zipped{{"1_lint.txt", "b\n"}, {"0_build (3.11).txt", "a\n"}, {"10_z.txt", "d"}, {"2_call _ test.txt", "c"}},
			[]jobText{{"build (3.11)", "a\n"}, {"lint", "b\n"}, {"call _ test", "c"}, {"z", "d"}},
		},
		"jobs and their steps": {
			[]zipped{{"0_build.txt", "whole\n"}, {"build/1_Set up job.txt", "part\n"}, {"build/system.txt", "no log\n"}, {"lint/10_Complete job.txt", "last\n"}, {"lint/2_Run ruff.txt", "second"}, {"lint/1_Set up job.txt", "first\n"}, {"lint/system.txt", "no log\n"}},
			[]jobText{{"build", "whole\n"}, {"lint", "first\nsecond\nlast\n"}},
		},
		"steps with timestamps": {
			[]zipped{{"a/1_Set up job.txt", "\ufeff" + stampA + "x\nno stamp\n"}, {"a/2_Run tests.txt", "∩╗┐" + stampA + "y\r\n" + stampA + "z"}, {"a/3_Empty.txt", ""}},
			[]jobText{{"a", "a\tSet up job\t" + stampA + "x\nno stamp\na\tRun tests\t" + stampA + "y\r\na\tRun tests\t" + stampA + "z\n"}},
		},
		"in a folder of its own": {
			[]zipped{{"logs_42/0_build.txt", "a"}, {"logs_42/build/1_Set up job.txt", "no"}, {"logs_42/1_lint.txt", "b"}},
			[]jobText{{"build", "a"}, {"lint", "b"}},
		},
		"one job's folder": {
			[]zipped{{"build/1_Set up job.txt", "a\n"}, {"build/2_Run make.txt", "b\n"}},
			[]jobText{{"build", "a\nb\n"}},
		},
		"one job's steps": {
			[]zipped{{"2_Run make.txt", "b\n"}, {"1_Set up job.txt", "a\n"}},
			[]jobText{{"job", "a\nb\n"}},
		},
		"the first job is missing": {
			[]zipped{{"1_lint.txt", "a"}, {"2_test.txt", "b"}},
			[]jobText{{"lint", "a"}, {"test", "b"}},
		},
		"a job without a place": {
			[]zipped{{"-9223372036854775808_odd.txt", "b"}, {"0_test.txt", "a"}},
			[]jobText{{"test", "a"}, {"odd", "b"}},
		},
		"two jobs of one name": {
			[]zipped{{"0_test.txt", "a"}, {"1_test.txt", "b"}},
			[]jobText{{"test", "a"}, {"test", "b"}},
		},
		"saved under other names": {
			[]zipped{{"ci.log", "a"}, {"more/failed_log.txt", "b"}, {"notes.md", "no"}, {".hidden.txt", "no"}},
			[]jobText{{"", "a"}, {"", "b"}},
		},
		"names that hide": {
			[]zipped{{"0_a\u202eb\x1b[31m.txt", "x"}},
			[]jobText{{"ab[31m", "x"}},
		},
		"UTF-16": {
			[]zipped{{"a/1_Set up job.txt", encode16(stampA+"x\n", binary.LittleEndian, true)}, {"a/2_Run.txt", "y\n"}},
			[]jobText{{"a", "a\tSet up job\t" + stampA + "x\ny\n"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := archive(t, tc.files...)
			run, err := OpenArchive(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, texts(t, run)); diff != "" {
				t.Errorf("archive (-want +got):\n%s", diff)
			}
			folder := fstest.MapFS{}
			for _, f := range tc.files {
				folder[f.name] = &fstest.MapFile{Data: []byte(f.text)}
			}
			if run, err = OpenFolder(folder, "job"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, texts(t, run)); diff != "" {
				t.Errorf("folder (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	run, err := OpenFolder(fstest.MapFS{
		"a/1_Set up job.txt": {Data: []byte("1\n2\n")},
		"a/2_Run x.txt":      {Data: []byte("3\n4\n5")},
		"a/3_Run y.txt":      {Data: []byte("6\n")},
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	texts(t, run)
	for line, want := range map[int]string{1: "a/1_Set up job.txt:1", 2: "a/1_Set up job.txt:2", 3: "a/2_Run x.txt:1", 5: "a/2_Run x.txt:3", 6: "a/3_Run y.txt:1"} {
		file, at := run.Logs[0].Place(line)
		if got := fmt.Sprintf("%s:%d", file, at); got != want {
			t.Errorf("line %d is %s, want %s", line, got, want)
		}
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 89) + "abc"
	b := archive(t, zipped{"0_call  test.txt", "a"}, zipped{"1_" + long[:len(long)-2] + ".txt", "b"})
	run, err := OpenArchive(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for job, want := range map[string]bool{"call / test": true, "call: test": false, long: true, "deploy": false, "": false} {
		if got := run.Find(job) != nil; got != want {
			t.Errorf("%q: %v", job, got)
		}
	}
}

func TestBadArchives(t *testing.T) {
	t.Parallel()
	var many []zipped
	for i := range maxJobs + 1 {
		many = append(many, zipped{fmt.Sprintf("%d_x.txt", i), ""})
	}
	var crowd []zipped
	for i := range maxEntries + 1 {
		crowd = append(crowd, zipped{fmt.Sprintf("%d.md", i), ""})
	}
	good := archive(t, zipped{"0_a.txt", strings.Repeat("line\n", 1000)})
	for name, tc := range map[string]struct {
		data []byte
		err  error
	}{
		"nothing":          {nil, zip.ErrFormat},
		"text":             {[]byte("not a zip"), zip.ErrFormat},
		"cut":              {good[:len(good)-30], zip.ErrFormat},
		"no entries":       {archive(t), ErrNotRun},
		"no logs":          {archive(t, zipped{"a.md", "x"}, zipped{"system.txt", "x"}), ErrNotRun},
		"too many jobs":    {archive(t, many...), ErrNotRun},
		"too many entries": {archive(t, crowd...), ErrNotRun},
		// The end record says that the list of entries begins at the file's start.
		"a huge directory": {append(make([]byte, maxDirectory+1<<17), "PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00"...), ErrNotRun},
	} {
		if _, err := OpenArchive(bytes.NewReader(tc.data), int64(len(tc.data))); !errors.Is(err, tc.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenFolder(fstest.MapFS{"a.md": {}}, ""); !errors.Is(err, ErrNotRun) {
		t.Errorf("a folder without logs: %v", err)
	}
}

// TestBomb unpacks a small archive of much: what is read of one run is bounded
// over all of its jobs.
func TestBomb(t *testing.T) {
	t.Parallel()
	zeros := strings.Repeat("\x00", 1<<20)
	b := archive(t, zipped{"0_a.txt", zeros}, zipped{"b/1_Set up job.txt", zeros}, zipped{"b/2_Run x.txt", zeros})
	run, err := OpenArchive(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	run.left = 3 << 19
	total := 0
	for _, j := range run.Logs {
		rc, err := j.Open()
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, rc)
		total += int(n)
		if j.Job == "b" && !errors.Is(err, ErrTooMuch) {
			t.Errorf("%d bytes, %v", n, err)
		}
		if err := rc.Close(); err != nil {
			t.Error(err)
		}
	}
	if total > 3<<19+100 {
		t.Errorf("%d bytes were unpacked", total)
	}
}

// TestDamaged reads an archive whose data doesn't fit its checksum: the one job
// fails, the others can be read.
func TestDamaged(t *testing.T) {
	t.Parallel()
	b := archive(t, zipped{"0_a.txt", "a"}, zipped{"1_b.txt", "b"})
	at := bytes.Index(b, []byte("0_a.txt")) + len("0_a.txt")
	for i := range 6 {
		b[at+i] ^= 0xff
	}
	run, err := OpenArchive(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var failed []bool
	for _, j := range run.Logs {
		rc, err := j.Open()
		if err == nil {
			_, err = io.ReadAll(rc)
			_ = rc.Close()
		}
		failed = append(failed, err != nil)
	}
	if diff := cmp.Diff([]bool{true, false}, failed); diff != "" {
		t.Error(diff)
	}
}

func TestJobOf(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"3_build.txt": "build", "logs/0_test (3.11).txt": "test (3.11)", "build": "build", "failed_log.txt": "", "run.log": "", "-": "", "": "",
		"build/2_Run tests.txt": "build", `logs\build\1_Set up job.txt`: "build", "2_Run tests.txt": "Run tests", "logs/2_lint.txt": "lint", "a\x1b[2Jb": "a[2Jb",
	} {
		if got := JobOf(name); got != want {
			t.Errorf("JobOf(%q) = %q, want %q", name, got, want)
		}
	}
}

func FuzzArchive(f *testing.F) {
	f.Add(archive(f, zipped{"0_build.txt", "a\n"}, zipped{"build/1_Set up job.txt", stampA + "x"}))
	f.Add(archive(f, zipped{"x/y/1_a.txt", "\ufeff"}, zipped{"x/y/2_b.txt", "b"}, zipped{"../../0_c.txt", "c"}))
	f.Add([]byte("PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		run, err := OpenArchive(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		run.left = 1 << 20
		for _, j := range run.Logs {
			for _, r := range j.Job {
				if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
					t.Fatalf("job %q", j.Job)
				}
			}
			if !utf8.ValidString(j.Job) || len(j.Job) > maxTitle {
				t.Fatalf("job %q", j.Job)
			}
			rc, err := j.Open()
			if err != nil {
				continue
			}
			b, err := io.ReadAll(rc)
			if err == nil {
				lines := bytes.Count(b, []byte{'\n'}) + 1
				for line := 1; line <= lines; line++ {
					if file, at := j.Place(line); at < 1 || file == "" {
						t.Fatalf("line %d is %s:%d", line, file, at)
					}
				}
			}
			_ = rc.Close()
		}
	})
}

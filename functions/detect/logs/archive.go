package logs

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Bounds of a Run. GitHub's own limit is 256 jobs a matrix and some hundred steps
// a job.
const (
	maxEntries   = 20_000
	maxJobs      = 2_000
	maxDirectory = 8 << 20 // bytes of a zip file's list of entries
	maxRunBytes  = 4 << 30 // that are unpacked of one Run in all
	maxJobName   = 90      // UTF-16 units of a job's name in an archive
)

// ErrNotRun is the error for what holds no logs, or more than any run has.
var ErrNotRun = errors.New("these are not the logs of a run")

// ErrTooMuch is the error of reading behind what is unpacked of one Run.
var ErrTooMuch = errors.New("the logs unpack to more than is read")

// Run is the logs of a run's jobs as GitHub's archive has them, zipped or
// unpacked: one file a job at the top ("0_build.txt") and, in older ones, a
// folder a job with one file a step ("build/2_Run tests.txt"). Jobs that were
// skipped, and those whose runner was lost, are missing. A Run is not safe for
// concurrent use.
type Run struct {
	Logs []*JobLog
	left int64 // bytes that may still be read
}

// JobLog is the log of one job: a file, or the files of its steps.
type JobLog struct {
	// Job is the job's name as far as the archive has it (some characters can't
	// stand in a file's name), "" where a file says nothing of a job.
	Job string
	// Files are the names of the files that make up the log, in order.
	Files []string

	run   *Run
	open  []opener
	steps bool
	ends  []int // line numbers of the files' last lines, as far as they were read
}

type opener func() (io.ReadCloser, error)

// entry is one file of a run.
type entry struct {
	name string
	open opener
}

// OpenArchive reads the directory of a zip file.
func OpenArchive(r io.ReaderAt, size int64) (*Run, error) {
	if err := checkDirectory(r, size); err != nil {
		return nil, fmt.Errorf("open the run's archive: %w", err)
	}
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("open the run's archive: %w", err)
	}
	if len(z.File) > maxEntries {
		return nil, fmt.Errorf("open the run's archive: %d entries: %w", len(z.File), ErrNotRun)
	}
	var entries []entry
	for _, f := range z.File {
		if f.Mode().IsRegular() {
			entries = append(entries, entry{strings.ReplaceAll(f.Name, `\`, "/"), f.Open})
		}
	}
	return newRun(entries, "")
}

// checkDirectory bounds the list of entries before anything is made of it: the
// reader of the standard library believes whatever stands there.
func checkDirectory(r io.ReaderAt, size int64) error {
	const endLen, maxComment = 22, 1 << 16
	tail := make([]byte, min(size, endLen+maxComment))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	at := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if at < 0 || len(tail)-at < endLen {
		return zip.ErrFormat
	}
	end := size - int64(len(tail)) + int64(at)
	length := int64(binary.LittleEndian.Uint32(tail[at+12:]))
	offset := int64(binary.LittleEndian.Uint32(tail[at+16:]))
	if size-min(offset, end-length) > maxDirectory+endLen+maxComment {
		return fmt.Errorf("its directory is longer than %d MiB: %w", maxDirectory>>20, ErrNotRun)
	}
	return nil
}

// OpenFolder reads the names of the logs in a folder: an archive that was
// unpacked, the files of one job's steps, or files that were saved one by one.
// A job that the folder itself stands for is called name.
func OpenFolder(fsys fs.FS, name string) (*Run, error) {
	var entries []entry
	seen := 0
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if seen++; seen > maxEntries {
			return fmt.Errorf("more than %d files: %w", maxEntries, ErrNotRun)
		}
		if d.IsDir() && p != "." && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if d.Type().IsRegular() {
			entries = append(entries, entry{p, func() (io.ReadCloser, error) { return fsys.Open(p) }})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the folder: %w", err)
	}
	return newRun(entries, name)
}

// newRun sorts files into jobs.
func newRun(entries []entry, name string) (*Run, error) {
	entries = slices.DeleteFunc(entries, func(e entry) bool { return !isLog(e.name) })
	entries = withoutRoot(entries)
	run := &Run{left: maxRunBytes}
	folders := map[string]*JobLog{}
	flat := stepsAtTop(entries)
	var whole []*JobLog
	for _, e := range entries {
		dir, base := path.Split(e.name)
		dir = strings.Trim(dir, "/")
		if fileNumber(base) < 0 || dir == "" && !flat {
			// A job's file, or one that was saved under any name.
			job := ""
			if fileNumber(base) >= 0 {
				job = JobOf(base)
			}
			whole = append(whole, &JobLog{Job: job, Files: []string{e.name}, open: []opener{e.open}, run: run})
			continue
		}
		j := folders[dir]
		if j == nil {
			j = &JobLog{Job: cmp.Or(printable(dir), printable(name), "job"), run: run, steps: true}
			folders[dir] = j
			run.Logs = append(run.Logs, j)
		}
		j.Files, j.open = append(j.Files, e.name), append(j.open, e.open)
	}
	for _, j := range run.Logs {
		j.sortSteps()
	}
	// A job's own file has all that the files of its steps have.
	run.Logs = slices.DeleteFunc(run.Logs, func(j *JobLog) bool {
		return slices.ContainsFunc(whole, func(w *JobLog) bool { return w.Job != "" && archived(w.Job) == archived(j.Job) })
	})
	run.Logs = append(whole, run.Logs...)
	slices.SortStableFunc(run.Logs, func(a, b *JobLog) int {
		return cmp.Or(cmp.Compare(a.number(), b.number()), cmp.Compare(a.Files[0], b.Files[0]))
	})
	switch {
	case len(run.Logs) == 0:
		return nil, fmt.Errorf("no log in it: %w", ErrNotRun)
	case len(run.Logs) > maxJobs:
		return nil, fmt.Errorf("%d jobs: %w", len(run.Logs), ErrNotRun)
	}
	return run, nil
}

// isLog tells logs from what else lies beside them: the archive's notes about
// the runner, the files of the system that zipped it.
func isLog(name string) bool {
	base := path.Base(name)
	switch path.Ext(base) {
	case ".txt", ".log", ".out":
	default:
		return false
	}
	return base != "system.txt" && !strings.HasPrefix(base, ".") && !strings.HasPrefix(name, "__MACOSX/")
}

// withoutRoot takes away the folder that holds everything, where an archive was
// unpacked into one and zipped again. Files of jobs are numbered from 0 and those
// of steps from 1.
func withoutRoot(entries []entry) []entry {
	for {
		root := ""
		deeper := false
		for _, e := range entries {
			top, rest, ok := strings.Cut(e.name, "/")
			if !ok || root != "" && top != root {
				return entries
			}
			root = top
			deeper = deeper || strings.Contains(rest, "/") || fileNumber(rest) == 0
		}
		if !deeper {
			return entries
		}
		for i := range entries {
			entries[i].name = entries[i].name[len(root)+1:]
		}
	}
}

// stepsAtTop tells whether the numbered files at the top are a job's steps
// rather than a run's jobs.
func stepsAtTop(entries []entry) bool {
	steps := false
	for _, e := range entries {
		if strings.Contains(e.name, "/") || fileNumber(e.name) == 0 {
			return false
		}
		steps = steps || fileNumber(e.name) > 0 && runnersStep(stepOf(e.name))
	}
	return steps
}

// runnersStep tells names that the runner gives to steps.
func runnersStep(name string) bool {
	switch name {
	case "Set up job", "Complete job", "Set up runner", "Initialize containers", "Stop containers":
		return true
	}
	return strings.HasPrefix(name, "Run ") || strings.HasPrefix(name, "Post ") || strings.HasPrefix(name, "Pre ")
}

// number is the job's place in the run, as far as its file's name tells.
func (j *JobLog) number() int {
	if j.steps {
		return maxNumber
	}
	return fileNumber(j.Files[0])
}

// sortSteps brings the files of steps into the order in which the steps ran.
func (j *JobLog) sortSteps() {
	order := make([]int, len(j.Files))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(fileNumber(j.Files[a]), fileNumber(j.Files[b])), cmp.Compare(j.Files[a], j.Files[b]))
	})
	files, open := make([]string, len(order)), make([]opener, len(order))
	for i, k := range order {
		files[i], open[i] = j.Files[k], j.open[k]
	}
	j.Files, j.open = files, open
}

// Find returns the log of a job, nil where the run has none. Names are compared
// as they stand in archives.
func (r *Run) Find(job string) *JobLog {
	for _, j := range r.Logs {
		if j.Job != "" && archived(j.Job) == archived(job) {
			return j
		}
	}
	return nil
}

// archived is a job's name as a file's: without the characters that can't stand
// there, and cut.
func archived(name string) string {
	name = strings.TrimSpace(strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|`, r) {
			return -1
		}
		return r
	}, name))
	if units := utf16.Encode([]rune(name)); len(units) > maxJobName {
		name = string(utf16.Decode(units[:maxJobName]))
	}
	return name
}

// Open returns the job's log: its file, or the files of its steps one after the
// other in the form of `gh run view --log`, so that a Reader knows the steps.
func (j *JobLog) Open() (io.ReadCloser, error) {
	j.ends = j.ends[:0]
	if !j.steps {
		rc, err := j.open[0]()
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", printable(j.Files[0]), err)
		}
		return &rationed{rc, j.run}, nil
	}
	return &steps{log: j}, nil
}

// Place tells where a line of the log that was read stands: in which of its files
// and at which line there.
func (j *JobLog) Place(line int) (file string, at int) {
	first := 0
	for i, end := range j.ends {
		if line <= end {
			return j.Files[i], line - first
		}
		first = end
	}
	i := min(len(j.ends), len(j.Files)-1)
	return j.Files[i], line - first
}

// rationed reads what is left to a Run.
type rationed struct {
	io.ReadCloser
	run *Run
}

func (r *rationed) Read(p []byte) (int, error) {
	if r.run.left <= 0 {
		return 0, ErrTooMuch
	}
	n, err := r.ReadCloser.Read(p[:min(int64(len(p)), r.run.left)])
	r.run.left -= int64(n)
	return n, err
}

// steps reads the files of a job's steps one after the other, each opened when
// it is due, with the columns of the job and the step in front of lines that have
// a timestamp.
type steps struct {
	log   *JobLog
	next  int // file
	file  io.Closer
	in    *bufio.Reader
	out   []byte // read, not yet handed on
	start bool   // of a line
	begun bool   // a line, whose end was not read yet
	mark  []byte // the columns
	lines int    // read so far
}

func (s *steps) Read(p []byte) (int, error) {
	for len(s.out) == 0 {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.out)
	s.out = s.out[n:]
	return n, nil
}

// fill takes the next piece: columns, or a line or what the buffer holds of it.
func (s *steps) fill() error {
	if s.file == nil {
		if s.next == len(s.log.Files) {
			return io.EOF
		}
		if err := s.openNext(); err != nil {
			return err
		}
	}
	if s.start {
		s.start = false
		head, _ := s.in.Peek(40)
		if bare := trimMark(head); stampLen(bare) > 0 {
			s.out = s.mark
			_, err := s.in.Discard(len(head) - len(bare))
			return err
		}
	}
	line, err := s.in.ReadSlice('\n')
	switch {
	case err == nil:
		s.start, s.begun = true, false
		s.lines++
	case errors.Is(err, bufio.ErrBufferFull):
		s.begun = true
	case errors.Is(err, io.EOF):
		// The next file begins a line of its own.
		if len(line) > 0 || s.begun {
			line = append(slices.Clone(line), '\n')
			s.lines++
		}
		s.log.ends = append(s.log.ends, s.lines)
		if err := s.Close(); err != nil {
			return err
		}
	default:
		return fmt.Errorf("read %s: %w", printable(s.log.Files[s.next-1]), err)
	}
	s.out = line
	return nil
}

func (s *steps) openNext() error {
	name := s.log.Files[s.next]
	rc, err := s.log.open[s.next]()
	if err != nil {
		return fmt.Errorf("open %s: %w", printable(name), err)
	}
	text, err := decode(&rationed{rc, s.log.run})
	if err != nil {
		_ = rc.Close()
		return fmt.Errorf("read %s: %w", printable(name), err)
	}
	s.file, s.next, s.start, s.begun = rc, s.next+1, true, false
	column := func(text string) string { return cmp.Or(strings.ReplaceAll(printable(text), "\t", " "), "-") }
	s.mark = []byte(column(s.log.Job) + "\t" + column(stepOf(name)) + "\t")
	s.in = bufio.NewReader(text)
	return nil
}

// Close closes the file that is being read.
func (s *steps) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// JobOf is the job that a log's file name speaks of: "3_build.txt" of a run's
// archive is the job "build", and so is "build/2_Run tests.txt". Other names are
// a job's name themselves, unless they look like a file's.
func JobOf(name string) string {
	slashed := strings.ReplaceAll(name, `\`, "/")
	base := path.Base(slashed)
	if strings.HasSuffix(base, ".txt") && fileNumber(base) >= 0 {
		if dir := path.Base(path.Dir(slashed)); fileNumber(base) > 0 && runnersStep(stepOf(base)) && dir != "." && dir != "/" {
			return printable(dir)
		}
		return printable(stepOf(base))
	}
	switch path.Ext(base) {
	case ".txt", ".log", ".zip", ".out":
		return ""
	}
	if name == "-" {
		return ""
	}
	return printable(name)
}

// stepOf is the name behind a file's number.
func stepOf(name string) string {
	stem := strings.TrimSuffix(path.Base(name), path.Ext(name))
	_, step, _ := strings.Cut(stem, "_")
	return step
}

// fileNumber is the number that a file's name begins with, -1 without one. Jobs
// whose place isn't known have negative ones in archives; those come last.
func fileNumber(name string) int {
	digits, _, ok := strings.Cut(path.Base(name), "_")
	if !ok {
		return -1
	}
	n, err := strconv.Atoi(digits)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange), strings.HasPrefix(digits, "+"):
		return -1
	case err != nil || n < 0 || n > maxNumber:
		return maxNumber
	}
	return n
}

const maxNumber = 1_000_000

package logs

import (
	"archive/zip"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// maxEntries bounds the files of an archive that are looked at.
const maxEntries = 20_000

// Archive is the zip file with the logs of a run, as GitHub serves it: one file
// a job at the top ("0_build.txt") and, in older ones, a folder a job with one
// file a step ("build/2_Run tests.txt").
type Archive struct {
	jobs []archiveJob
}

type archiveJob struct {
	name  string
	whole *zip.File
	steps []*zip.File
}

// OpenArchive reads the directory of a zip file.
func OpenArchive(r io.ReaderAt, size int64) (*Archive, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("open the run's archive: %w", err)
	}
	a := &Archive{}
	index := map[string]int{}
	job := func(name string) *archiveJob {
		i, ok := index[name]
		if !ok {
			i = len(a.jobs)
			index[name] = i
			a.jobs = append(a.jobs, archiveJob{name: name})
		}
		return &a.jobs[i]
	}
	for i, f := range z.File {
		if i >= maxEntries {
			break
		}
		dir, base := path.Split(strings.ReplaceAll(f.Name, `\`, "/"))
		if !strings.HasSuffix(base, ".txt") || base == "system.txt" {
			continue
		}
		if dir == "" {
			job(JobOf(base)).whole = f
		} else {
			j := job(strings.Trim(dir, "/"))
			j.steps = append(j.steps, f)
		}
	}
	for i := range a.jobs {
		slices.SortStableFunc(a.jobs[i].steps, func(x, y *zip.File) int {
			return cmp.Or(cmp.Compare(fileNumber(x.Name), fileNumber(y.Name)), cmp.Compare(x.Name, y.Name))
		})
	}
	return a, nil
}

// Jobs lists the jobs that the archive has a log of, in its order.
func (a *Archive) Jobs() []string {
	names := make([]string, len(a.jobs))
	for i, j := range a.jobs {
		names[i] = j.name
	}
	return names
}

// ErrNoLog is the error of Archive.Open for a job without a log.
var ErrNoLog = errors.New("the archive has no log of the job")

// Open returns the log of a job: its file, or the files of its steps one after
// the other. Characters that can't stand in a file name are missing from the
// archive's names, so names are compared without them.
func (a *Archive) Open(job string) (io.ReadCloser, error) {
	for _, j := range a.jobs {
		if plainName(j.name) != plainName(job) {
			continue
		}
		if j.whole != nil {
			return j.whole.Open()
		}
		return &parts{files: j.steps}, nil
	}
	return nil, fmt.Errorf("open the log of %q: %w", job, ErrNoLog)
}

// Missing lists those of the names that the archive has no log of.
func (a *Archive) Missing(names []string) []string {
	var missing []string
	for _, n := range names {
		if !slices.ContainsFunc(a.jobs, func(j archiveJob) bool { return plainName(j.name) == plainName(n) }) {
			missing = append(missing, n)
		}
	}
	return missing
}

func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|`, r) {
			return -1
		}
		return r
	}, name)
}

// parts reads files one after the other, each of them opened when it is due.
type parts struct {
	files []*zip.File
	cur   io.ReadCloser
}

func (p *parts) Read(b []byte) (int, error) {
	for {
		if p.cur == nil {
			if len(p.files) == 0 {
				return 0, io.EOF
			}
			rc, err := p.files[0].Open()
			if err != nil {
				return 0, fmt.Errorf("open %q in the archive: %w", p.files[0].Name, err)
			}
			p.cur, p.files = rc, p.files[1:]
		}
		n, err := p.cur.Read(b)
		if errors.Is(err, io.EOF) {
			err = p.Close()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Close closes the file that is being read.
func (p *parts) Close() error {
	if p.cur == nil {
		return nil
	}
	err := p.cur.Close()
	p.cur = nil
	return err
}

// JobOf is the job that a log's file name speaks of: "3_build.txt" of a run's
// archive is the job "build". Other names are a job's name themselves, unless
// they look like a file's.
func JobOf(name string) string {
	base := path.Base(strings.ReplaceAll(name, `\`, "/"))
	if stem, ok := strings.CutSuffix(base, ".txt"); ok && fileNumber(base) >= 0 {
		_, job, _ := strings.Cut(stem, "_")
		return job
	}
	switch path.Ext(base) {
	case ".txt", ".log", ".zip", ".out":
		return ""
	}
	if name == "-" {
		return ""
	}
	return name
}

// fileNumber is the number that a file's name begins with, -1 without one.
func fileNumber(name string) int {
	digits, _, ok := strings.Cut(path.Base(strings.ReplaceAll(name, `\`, "/")), "_")
	if !ok || digits == "" || len(digits) > 6 {
		return -1
	}
	n := 0
	for _, c := range digits {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mlops-bot/mlops-bot/functions/detect"
	"github.com/mlops-bot/mlops-bot/functions/detect/logs"
	"github.com/mlops-bot/mlops-bot/functions/detect/rules"
	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
	"github.com/mlops-bot/mlops-bot/functions/repair/strategies"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

type diagnoseCommand struct {
	ownFlag
	Files   []string `arg:"" name:"file" help:"Logs of jobs, archives of runs (zip), folders with either; - is standard input."`
	Job     []string `help:"Only the jobs of these names, of archives and folders." placeholder:"NAME"`
	Output  string   `enum:"text,json" default:"text" help:"text, or json: one object per log, one a line."`
	Explain bool     `help:"Say why this and not something else (text only)."`
}

// diagnosed is the JSON form of one log's diagnosis.
type diagnosed struct {
	// File is the log: a file, or one within an archive or a folder.
	File string `json:"file"`
	domain.Finding
	// At is where the finding's line stands, where the log is made of the files of
	// a job's steps: Finding.Line counts over all of them.
	At        *place           `json:"at,omitempty"`
	Secondary []domain.Finding `json:"secondary"`
}

type place struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

// opened is one log of what was named on the command line.
type opened struct {
	label string // for people
	name  string // for detect.Input
	job   *logs.JobLog
	open  func() (io.ReadCloser, error)
}

// answer is what became of one log.
type answer struct {
	opened
	diagnosis domain.Diagnosis
	why       detect.Explanation
}

// Run diagnoses every log; what can't be read is told and makes the exit code 1,
// and the others are diagnosed all the same.
func (d diagnoseCommand) Run(ctx context.Context, c console) error {
	own, failed, err := d.load(c)
	if err != nil {
		return err
	}
	for _, name := range d.Files {
		err := eachLog(name, d.Job, c.in, func(log opened) error {
			a, err := log.diagnose(ctx, own.catalogue)
			if err != nil {
				fmt.Fprintf(c.err, "mlops-bot: %s: %s\n", log.label, rules.Mask(err.Error()))
				failed = exitCode(exitError)
				return ctx.Err()
			}
			return d.print(c.out, a)
		})
		if err != nil && ctx.Err() != nil {
			return err
		}
		if err != nil {
			fmt.Fprintf(c.err, "mlops-bot: %s: %v\n", name, err)
			failed = exitCode(exitError)
		}
	}
	return failed
}

// eachLog calls do for the log in a file, or for each log in an archive or
// folder; wanted, where there are some, are the jobs to take of those.
func eachLog(name string, wanted []string, stdin io.Reader, do func(opened) error) error {
	if name == "-" {
		return do(opened{label: name, name: name, open: func() (io.ReadCloser, error) { return io.NopCloser(stdin), nil }})
	}
	info, err := os.Stat(name)
	if err != nil {
		return errors.Unwrap(err)
	}
	if info.IsDir() {
		root, err := os.OpenRoot(name) // a link in the folder can't lead out of it
		if err != nil {
			return errors.Unwrap(err)
		}
		defer root.Close()
		return eachJob(name, wanted, func() (*logs.Run, error) { return logs.OpenFolder(root.FS(), folderName(name)) }, do)
	}
	f, err := os.Open(name)
	if err != nil {
		return errors.Unwrap(err)
	}
	defer f.Close()
	var magic [4]byte
	if info.Mode().IsRegular() {
		if _, err := f.ReadAt(magic[:], 0); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	if m := string(magic[:]); m == "PK\x03\x04" || m == "PK\x05\x06" {
		return eachJob(name, wanted, func() (*logs.Run, error) { return logs.OpenArchive(f, info.Size()) }, do)
	}
	return do(opened{label: name, name: name, open: func() (io.ReadCloser, error) { return io.NopCloser(f), nil }})
}

// folderName is what a folder is called, "." included.
func folderName(name string) string {
	if abs, err := filepath.Abs(name); err == nil {
		name = abs
	}
	return filepath.Base(name)
}

func eachJob(name string, wanted []string, open func() (*logs.Run, error), do func(opened) error) error {
	run, err := open()
	if err != nil {
		return err
	}
	jobs := run.Logs
	var missing error
	if len(wanted) > 0 {
		jobs = nil
		for _, w := range wanted {
			if j := run.Find(w); j != nil {
				jobs = append(jobs, j)
			} else {
				missing = errors.Join(missing, fmt.Errorf("no log of job %q; there are %s", w, jobNames(run)))
			}
		}
	}
	for _, j := range jobs {
		file := j.Files[0]
		if len(j.Files) > 1 {
			file = path.Dir(file)
		}
		err := do(opened{label: path.Join(filepath.ToSlash(name), rules.Mask(file)), name: j.Job, job: j, open: j.Open})
		if err != nil {
			return err
		}
	}
	return missing
}

// maxNamed is how many of a run's jobs a message lists.
const maxNamed = 20

func jobNames(run *logs.Run) string {
	var names []string
	for _, j := range run.Logs {
		if j.Job != "" && len(names) < maxNamed {
			names = append(names, rules.Mask(j.Job))
		}
	}
	if len(names) == 0 {
		return "no jobs' names in it"
	}
	return strings.Join(names, ", ")
}

func (o opened) diagnose(ctx context.Context, own *rules.Catalogue) (answer, error) {
	log, err := o.open()
	if err != nil {
		return answer{}, err
	}
	defer log.Close()
	a := answer{opened: o}
	in := detect.Input{Log: log, Name: o.name, Own: own}
	if o.job != nil {
		in.Job = &domain.Job{Name: o.job.Job}
	}
	a.diagnosis, a.why, err = detect.Diagnose(ctx, in)
	return a, err
}

// at tells where a line stands in the files of a job's steps, nil for a log that
// is one file.
func (o opened) at(line int) *place {
	if o.job == nil || len(o.job.Files) < 2 || line == 0 {
		return nil
	}
	file, n := o.job.Place(line)
	return &place{rules.Mask(path.Base(file)), n}
}

func (d diagnoseCommand) print(w io.Writer, a answer) error {
	p := a.diagnosis.Primary
	if d.Output == "json" {
		if a.diagnosis.Secondary == nil {
			a.diagnosis.Secondary = []domain.Finding{}
		}
		return json.NewEncoder(w).Encode(diagnosed{a.label, p, a.at(p.Line), a.diagnosis.Secondary})
	}
	if err := d.printText(w, a); err != nil || !d.Explain {
		return err
	}
	return explain(w, a.why)
}

func (d diagnoseCommand) printText(w io.Writer, a answer) error {
	p := a.diagnosis.Primary
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", a.label)
	if p.Category == domain.Unknown {
		if a.why.Green {
			fmt.Fprintf(&b, "  nothing failed: the log is there to its end and reports no error\n")
		} else {
			fmt.Fprintf(&b, "  unknown: the log doesn't show a cause that the bot is sure of\n")
		}
		_, err := io.WriteString(w, b.String())
		return err
	}
	fmt.Fprintf(&b, "  %s (%s), confidence %.0f %%, remedy: %s\n", p.Category, rules.Mask(p.Title), p.Confidence*100, p.Remedy)
	where := a.line(p.Line)
	if p.Job != "" {
		where += ", job " + rules.Mask(p.Job)
	}
	if p.Step != "" {
		where += ", step " + rules.Mask(p.Step)
	}
	fmt.Fprintf(&b, "  %s\n    %s\n", where, p.Text)
	for _, k := range sortedKeys(p.Facts) {
		fmt.Fprintf(&b, "  %s: %s\n", k, p.Facts[k])
	}
	for i, s := range a.diagnosis.Secondary {
		same := func(o domain.Finding) bool { return o.Category == s.Category }
		if slices.IndexFunc(a.diagnosis.Secondary, same) < i {
			continue
		}
		fmt.Fprintf(&b, "  also: %s, %s", s.Category, a.line(s.Line))
		more := -1
		for _, o := range a.diagnosis.Secondary {
			if same(o) {
				more++
			}
		}
		if more > 0 {
			fmt.Fprintf(&b, " and %d more", more)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// line names a line for people.
func (o opened) line(n int) string {
	if at := o.at(n); at != nil {
		return fmt.Sprintf("line %d of %s", at.Line, at.File)
	}
	return fmt.Sprintf("line %d", n)
}

type planCommand struct {
	Log     string `xor:"what" required:"" help:"A log, archive or folder to diagnose first; - is standard input." placeholder:"FILE"`
	Finding string `xor:"what" required:"" help:"A finding as 'diagnose --output json' prints it; - is standard input." placeholder:"FILE"`
	Repo    string `required:"" help:"The repository's tree at the commit that failed." type:"existingdir" placeholder:"DIR"`
}

const maxFindingBytes = 1 << 20

// Run prints the unified diff of the plan; without a plan it says why and exits
// with 3.
func (p planCommand) Run(ctx context.Context, c console) error {
	finding, err := p.finding(ctx, c.in)
	if err != nil {
		return err
	}
	tree, err := strategies.OpenDir(p.Repo)
	if err != nil {
		return err
	}
	defer tree.Close()
	plan, err := strategies.Propose(ctx, tree, finding)
	if refusal, ok := errors.AsType[*domain.Refusal](err); ok {
		fmt.Fprintf(c.err, "mlops-bot: no plan for %s: %s\n", finding.Category, refusal.Reason)
		return exitCode(exitNoPlan)
	}
	if err != nil {
		return err
	}
	if plan.Action != domain.ActionEdit {
		fmt.Fprintf(c.err, "mlops-bot: no diff for %s: the plan is to %s\n", finding.Category, plan.Title)
		return exitCode(exitNoPlan)
	}
	for _, e := range plan.Edits {
		before, err := tree.ReadFile(ctx, e.Path)
		if err != nil {
			return err
		}
		after, err := e.Apply(before)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(c.out, edit.Diff(e.Path, before, after)); err != nil {
			return err
		}
	}
	fmt.Fprintf(c.err, "%s (%s, risk %s)\n", plan.Title, plan.Strategy, plan.Risk)
	return nil
}

func (p planCommand) finding(ctx context.Context, stdin io.Reader) (domain.Finding, error) {
	if p.Log != "" {
		return firstCause(ctx, p.Log, stdin)
	}
	in := stdin
	if p.Finding != "-" {
		f, err := os.Open(p.Finding)
		if err != nil {
			return domain.Finding{}, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxFindingBytes+1))
	if err != nil {
		return domain.Finding{}, fmt.Errorf("read the finding: %w", err)
	}
	if len(b) > maxFindingBytes {
		return domain.Finding{}, fmt.Errorf("%s is larger than a finding can be (%d MiB)", p.Finding, maxFindingBytes>>20)
	}
	var f domain.Finding
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&f); err != nil {
		return f, fmt.Errorf("%s is no finding: %w (see 'mlops-bot diagnose --output json')", p.Finding, err)
	}
	if f.Category == "" {
		return f, fmt.Errorf("%s names no category (see 'mlops-bot diagnose --output json')", p.Finding)
	}
	return f, nil
}

// firstCause is the finding of the first log that shows a cause, else of the
// first one.
func firstCause(ctx context.Context, name string, stdin io.Reader) (domain.Finding, error) {
	var first *domain.Finding
	err := eachLog(name, nil, stdin, func(log opened) error {
		if first != nil && first.Category != domain.Unknown {
			return nil
		}
		a, err := log.diagnose(ctx, nil)
		if err != nil {
			return err
		}
		if p := a.diagnosis.Primary; first == nil || p.Category != domain.Unknown {
			first = &p
		}
		return nil
	})
	if err != nil {
		return domain.Finding{}, fmt.Errorf("%s: %w", name, err)
	}
	return *first, nil
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mlops-bot/mlops-bot/functions/detect"
	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
	"github.com/mlops-bot/mlops-bot/functions/repair/strategies"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

type diagnoseCommand struct {
	Files  []string `arg:"" name:"file" help:"Log files; - is standard input."`
	Output string   `enum:"text,json" default:"text" help:"text, or json: one object per file, one a line."`
}

// diagnosed is the JSON form of one file's diagnosis.
type diagnosed struct {
	File string `json:"file"`
	domain.Finding
	Secondary []domain.Finding `json:"secondary"`
}

// Run diagnoses every file; what can't be read is told and makes the exit code 1,
// and the others are diagnosed all the same.
func (d diagnoseCommand) Run(ctx context.Context, c console) error {
	var failed error
	for _, name := range d.Files {
		diagnosis, err := diagnoseFile(ctx, name, c.in)
		if err != nil {
			fmt.Fprintf(c.err, "mlops-bot: %s: %v\n", name, err)
			failed = exitCode(exitError)
			continue
		}
		if err := d.print(c.out, name, diagnosis); err != nil {
			return err
		}
	}
	return failed
}

func diagnoseFile(ctx context.Context, name string, stdin io.Reader) (domain.Diagnosis, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return domain.Diagnosis{}, errors.Unwrap(err)
		}
		defer f.Close()
		in = f
	}
	diagnosis, _, err := detect.Diagnose(ctx, detect.Input{Log: in, Name: name})
	return diagnosis, err
}

func (d diagnoseCommand) print(w io.Writer, name string, diagnosis domain.Diagnosis) error {
	p := diagnosis.Primary
	if d.Output == "json" {
		if diagnosis.Secondary == nil {
			diagnosis.Secondary = []domain.Finding{}
		}
		return json.NewEncoder(w).Encode(diagnosed{name, p, diagnosis.Secondary})
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", name)
	if p.Category == domain.Unknown {
		fmt.Fprintf(&b, "  unknown: the log doesn't show a cause that the bot is sure of\n")
		_, err := io.WriteString(w, b.String())
		return err
	}
	fmt.Fprintf(&b, "  %s (%s), confidence %.0f %%, remedy: %s\n", p.Category, p.Title, p.Confidence*100, p.Remedy)
	where := fmt.Sprintf("line %d", p.Line)
	if p.Job != "" {
		where += ", job " + p.Job
	}
	if p.Step != "" {
		where += ", step " + p.Step
	}
	fmt.Fprintf(&b, "  %s\n    %s\n", where, p.Text)
	for _, k := range sortedKeys(p.Facts) {
		fmt.Fprintf(&b, "  %s: %s\n", k, p.Facts[k])
	}
	for _, s := range diagnosis.Secondary {
		fmt.Fprintf(&b, "  also: %s, line %d\n", s.Category, s.Line)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

type planCommand struct {
	Log     string `xor:"what" required:"" help:"A log to diagnose first; - is standard input." placeholder:"FILE"`
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
		d, err := diagnoseFile(ctx, p.Log, stdin)
		return d.Primary, err
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

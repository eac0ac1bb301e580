// Package detect finds out why a workflow run failed. Diagnose reads one log;
// the event handler on top of it reads the logs of a run's failed jobs and
// stores incidents.
package detect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/mlops-bot/mlops-bot/functions/detect/logs"
	"github.com/mlops-bot/mlops-bot/functions/detect/rules"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// MaxSecondary is how many findings besides the primary one a Diagnosis holds.
const MaxSecondary = 20

// Input is one log and what is known besides it. Only Log is required.
type Input struct {
	Log io.Reader
	// Name is the name of the job or of the log's file: names of a run's archive
	// ("3_build.txt") say the job.
	Name string
	// Job is the job that the log belongs to, as the jobs API lists it: its name,
	// conclusion, times and steps are used where they are set. May be nil.
	Job *domain.Job
	// Workflow is the path of the workflow file, which findings repeat.
	Workflow string
	// MaxBytes is where reading stops; 0 means logs.DefaultMaxBytes.
	MaxBytes int64
}

// Explanation says how a diagnosis came about.
type Explanation struct {
	// Reasons are about each match, the primary finding's first.
	Reasons []rules.Reason `json:"reasons"`
	// FailedStep is the first step that failed, as far as it is known, and
	// FailedJob its job.
	FailedJob  string `json:"failed_job,omitempty"`
	FailedStep string `json:"failed_step,omitempty"`
	// Lines is how many lines the log had; Truncated tells that it was longer
	// than what was read, CutLines how many lines were cut.
	Lines     int  `json:"lines"`
	Truncated bool `json:"truncated,omitempty"`
	CutLines  int  `json:"cut_lines,omitempty"`
}

var catalogue = sync.OnceValues(func() (*rules.Catalogue, error) { return rules.NewCatalogue(rules.All()) })

// Diagnose reads a log and says why the job failed: category "unknown" with
// confidence 0 where nothing in the log shows it. It fails only where the
// reader fails or ctx ends, never for what the log holds.
func Diagnose(ctx context.Context, in Input) (domain.Diagnosis, Explanation, error) {
	job := domain.Job{Name: logs.JobOf(in.Name)}
	if in.Job != nil {
		job = *in.Job
	}
	reader, err := logs.NewReader(in.Log, logs.Options{Job: job.Name, Steps: job.Steps, MaxBytes: in.MaxBytes})
	if err != nil {
		return domain.Diagnosis{}, Explanation{}, err
	}
	cat, err := catalogue()
	if err != nil {
		return domain.Diagnosis{}, Explanation{}, domain.Errorf(domain.Bug, "prepare the catalogue", "%w", err)
	}
	scanner := cat.NewScanner()
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return domain.Diagnosis{}, Explanation{}, fmt.Errorf("read the log: %w", context.Cause(ctx))
		}
		line, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return domain.Diagnosis{}, Explanation{}, err
		}
		scanner.Add(line)
	}
	segments := reader.Segments()
	matches, reasons := rules.Choose(scanner.Finish(), rules.Context{Segments: segments, Green: green(job, segments)})

	var ex Explanation
	ex.Reasons, ex.Lines = reasons, reader.Lines()
	ex.Truncated, ex.CutLines = reader.Truncated()
	failed := failedSegment(segments)
	if failed != nil {
		ex.FailedJob, ex.FailedStep = failed.Job, failed.Step
	}

	var findings []domain.Finding
	seen := map[string]bool{}
	add := func(f domain.Finding) {
		key := f.Fingerprint() + f.Job
		if !seen[key] && len(findings) <= MaxSecondary {
			seen[key] = true
			findings = append(findings, f)
		}
	}
	if f, ok := timedOut(job, segments); ok && (len(matches) == 0 || matches[0].Weak || matches[0].Rule.Rank < rules.RankResource) {
		add(f)
		ex.Reasons = append([]rules.Reason{{Rule: f.Rule, Line: f.Line, Why: "the job was ended at its limit, as its times show"}}, ex.Reasons...)
	}
	for _, m := range matches {
		f := m.Finding()
		if m.Weak {
			f.Confidence /= 2
		}
		s := segments[m.Segment]
		f.Job, f.Step, f.StepNumber = s.Job, s.Step, s.StepNumber
		f.Python = scanner.Python(s.Job)
		add(f)
	}
	if len(findings) == 0 {
		findings = append(findings, unknown(job, failed))
	}
	for i := range findings {
		findings[i].Workflow = in.Workflow
		if findings[i].Job == "" {
			findings[i].Job = job.Name
		}
	}
	return domain.Diagnosis{Primary: findings[0], Secondary: findings[1:]}, ex, nil
}

// unknown is the finding of a log that shows no cause; it points at the place
// where the failure was noticed.
func unknown(job domain.Job, failed *logs.Segment) domain.Finding {
	f := domain.Finding{
		Category: domain.Unknown, Title: "The log does not show the cause",
		Remedy: domain.RemedyHuman, Job: job.Name, Facts: map[string]string{},
	}
	if failed != nil {
		f.Job, f.Step, f.StepNumber = failed.Job, failed.Step, failed.StepNumber
		f.Line = failed.Exit()
		f.EndLine = f.Line
		if failed.ExitCode != 0 {
			f.Text = "Process completed with exit code " + strconv.Itoa(failed.ExitCode) + "."
		}
	}
	return f
}

func failedSegment(segments []logs.Segment) *logs.Segment {
	for i := range segments {
		if segments[i].State == logs.Failed {
			return &segments[i]
		}
	}
	return nil
}

// green tells a job that succeeded: the API says so, or the log is whole (it
// has the runner's clean-up at its end) and reports no error.
func green(job domain.Job, segments []logs.Segment) bool {
	switch job.Conclusion {
	case domain.Success, domain.Skipped, domain.Neutral:
		return true
	case "":
	default:
		return false
	}
	if len(segments) == 0 {
		return false
	}
	for _, s := range segments {
		if s.Errors > 0 || s.Cancelled {
			return false
		}
	}
	return segments[len(segments)-1].Post
}

// limits are the time limits at which GitHub ends jobs most often: the default
// and maximum of six hours on hosted runners, and five days on others.
var limits = []time.Duration{6 * time.Hour, 120 * time.Hour}

// timedOut recognises a job that GitHub ended at its limit and reports as
// cancelled: its duration is a limit, within a minute.
func timedOut(job domain.Job, segments []logs.Segment) (domain.Finding, bool) {
	if job.StartedAt.IsZero() || job.CompletedAt.IsZero() {
		return domain.Finding{}, false
	}
	ran := job.CompletedAt.Sub(job.StartedAt)
	hit := job.Conclusion == domain.TimedOut
	if job.Conclusion == domain.Cancelled {
		for _, l := range limits {
			hit = hit || ran >= l-15*time.Second && ran <= l+2*time.Minute
		}
	}
	if !hit {
		return domain.Finding{}, false
	}
	f := rules.JobTimeout(int(ran.Round(time.Minute) / time.Minute))
	f.Job = job.Name
	for _, s := range segments {
		if s.Cancelled {
			f.Job, f.Step, f.StepNumber, f.Line, f.EndLine = s.Job, s.Step, s.StepNumber, s.CancelLine, s.CancelLine
			f.Text = "The operation was canceled."
			break
		}
	}
	return f, true
}

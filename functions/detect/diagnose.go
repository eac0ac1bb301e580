// Package detect finds out why a workflow run failed. Diagnose reads one log;
// the event handler on top of it reads the logs of a run's failed jobs and
// stores incidents.
package detect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/mlops-bot/mlops-bot/functions/detect/logs"
	"github.com/mlops-bot/mlops-bot/functions/detect/rules"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

const (
	// MaxSecondary is how many findings besides the primary one a Diagnosis holds.
	MaxSecondary = 20
	// maxConsidered is how many matches an Explanation lists.
	maxConsidered = 100
)

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
	// Own are rules besides the built-in ones; may be nil.
	Own *rules.Catalogue
	// Baseline knows the logs of the job's last green runs; may be nil.
	Baseline Baseline
	// MaxBytes is where reading stops; 0 means logs.DefaultMaxBytes.
	MaxBytes int64
}

// Baseline tells in how many logs of green runs a line occurs as well.
type Baseline interface {
	Seen(text string) int
}

// Considered is one match and what was made of it, for people.
type Considered struct {
	Rule     string         `json:"rule"`
	Category string         `json:"category"`
	Standing rules.Standing `json:"standing"`
	// Confidence is how likely it is the cause, 0 to 1, and Evidence what that was
	// computed from.
	Confidence float64        `json:"confidence"`
	Evidence   rules.Evidence `json:"evidence,omitempty"`
	Job        string         `json:"job,omitempty"`
	Step       string         `json:"step,omitempty"`
	Line       int            `json:"line"`
	// Text is the evidence without secrets.
	Text string `json:"text"`
	// Count is how many lines of the step said the same.
	Count int    `json:"count"`
	Why   string `json:"why"`
}

// Explanation says how a diagnosis came about.
type Explanation struct {
	// Considered are all matches, the primary one first, those that can't be the
	// cause last.
	Considered []Considered `json:"considered"`
	// FailedStep is the first step that failed, as far as it is known, and
	// FailedJob its job.
	FailedJob  string `json:"failed_job,omitempty"`
	FailedStep string `json:"failed_step,omitempty"`
	// Green tells that the job is known to have passed: nothing in its log is a
	// failure.
	Green bool `json:"green,omitempty"`
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
	// Rules of one's own are run beside the built-in ones, whose matches they
	// can't change.
	var own *rules.Scanner
	if in.Own != nil {
		own = in.Own.NewScanner()
	}
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
		if own != nil {
			own.Add(line)
		}
	}
	segments := reader.Segments()
	matches := scanner.Finish()
	if own != nil {
		matches = append(matches, own.Finish()...)
	}
	if in.Baseline != nil {
		for i := range matches {
			matches[i].Familiar = in.Baseline.Seen(matches[i].Text)
		}
	}
	passed := green(job, segments)
	verdicts := rules.Choose(matches, rules.Context{Segments: segments, Green: passed})
	if v, ok := timedOut(job, segments); ok && !explainsTimeOut(verdicts) {
		verdicts = slices.Insert(demoted(verdicts), 0, v)
	}

	ex := Explanation{Green: passed, Lines: reader.Lines()}
	ex.Truncated, ex.CutLines = reader.Truncated()
	failed := failedSegment(segments)
	if failed != nil {
		ex.FailedJob, ex.FailedStep = rules.Mask(failed.Job), rules.Mask(failed.Step)
	}

	var findings []domain.Finding
	if len(verdicts) == 0 || verdicts[0].Standing != rules.Primary {
		findings = append(findings, unknown(job, failed))
	}
	seen := map[string]bool{}
	for i, v := range verdicts {
		if i >= maxConsidered {
			break // masking thousands of them would take seconds
		}
		f := v.Finding()
		s := segmentAt(segments, v.Segment)
		f.Job, f.Step, f.StepNumber = rules.Mask(s.Job), rules.Mask(s.Step), s.StepNumber
		f.Python = scanner.Python(s.Job)
		ex.Considered = append(ex.Considered, Considered{
			Rule: f.Rule, Category: f.Category, Standing: v.Standing, Confidence: f.Confidence, Evidence: v.Evidence,
			Job: f.Job, Step: f.Step, Line: f.Line, Text: f.Text, Count: v.Count, Why: v.Why,
		})
		if v.Standing == rules.Primary {
			f.Why = v.Why
		}
		key := f.Fingerprint() + f.Job
		if v.Standing != rules.Excluded && !seen[key] && len(findings) <= MaxSecondary {
			seen[key] = true
			findings = append(findings, f)
		}
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
		f.Job, f.Step, f.StepNumber = rules.Mask(failed.Job), rules.Mask(failed.Step), failed.StepNumber
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
func timedOut(job domain.Job, segments []logs.Segment) (rules.Verdict, bool) {
	if job.StartedAt.IsZero() || job.CompletedAt.IsZero() {
		return rules.Verdict{}, false
	}
	ran := job.CompletedAt.Sub(job.StartedAt)
	hit := job.Conclusion == domain.TimedOut
	if job.Conclusion == domain.Cancelled {
		for _, l := range limits {
			hit = hit || ran >= l-15*time.Second && ran <= l+2*time.Minute
		}
	}
	if !hit {
		return rules.Verdict{}, false
	}
	v := rules.TimedOut(int(ran.Round(time.Minute) / time.Minute))
	for i, s := range segments {
		if s.Cancelled {
			v.Segment, v.Line, v.EndLine, v.Text = i, s.CancelLine, s.CancelLine, "The operation was canceled."
			break
		}
	}
	return v, true
}

// explainsTimeOut tells whether what was found in the log is why the job did not
// end: memory, a disk, a runner.
func explainsTimeOut(verdicts []rules.Verdict) bool {
	return len(verdicts) > 0 && verdicts[0].Standing == rules.Primary && !verdicts[0].Weak && verdicts[0].Rule.Rank >= rules.RankResource
}

// demoted puts the verdicts behind a cause that is certain without the log.
func demoted(verdicts []rules.Verdict) []rules.Verdict {
	for i := range verdicts {
		if verdicts[i].Standing != rules.Excluded {
			verdicts[i].Standing, verdicts[i].Why = rules.Secondary, "the job was ended at its limit, as its times show"
			verdicts[i].Confidence = 0
		}
	}
	return verdicts
}

func segmentAt(segments []logs.Segment, i int) logs.Segment {
	if i < 0 || i >= len(segments) {
		return logs.Segment{}
	}
	return segments[i]
}

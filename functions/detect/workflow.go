package detect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/rhysd/actionlint"

	"github.com/mlops-bot/mlops-bot/functions/detect/rules"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// maxWorkflowBytes bounds the workflow file that is diagnosed.
const maxWorkflowBytes = 512 << 10

// diagnoseWorkflow answers a startup_failure: such a run has no jobs and no log,
// so the workflow file of the failing commit is what there is to read.
func (s *sighting) diagnoseWorkflow(ctx context.Context) error {
	job := domain.Job{Name: "", Conclusion: domain.StartupFailure, HTMLURL: s.run.HTMLURL}
	finding := unknownFinding(s.run, job)
	content, err := s.f.GitHub.File(ctx, s.repo, s.run.HeadSHA, s.run.WorkflowPath, maxWorkflowBytes)
	switch {
	case errors.Is(err, domain.ErrNotFound), errors.Is(err, domain.ErrTooLarge), domain.KindOf(err) == domain.Denied:
		s.problem("the workflow did not start and %s could not be read: %v", s.run.WorkflowPath, err)
	case err != nil:
		return fmt.Errorf("read the workflow: %w", err)
	default:
		if p, found := lintWorkflow(s.run.WorkflowPath, content); found {
			finding = p
		} else {
			s.problem("the workflow did not start, and nothing is wrong with %s by itself", s.run.WorkflowPath)
		}
	}
	s.legs = append(s.legs, leg{job: job, diagnosis: &domain.Diagnosis{Primary: finding}})
	return nil
}

// lintWorkflow returns the first error of actionlint's that keeps GitHub from
// starting a workflow: broken YAML, unknown keys, expressions that don't parse,
// jobs that need what doesn't exist. Matters of style and shell are left out.
func lintWorkflow(path string, content []byte) (domain.Finding, bool) {
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	if err != nil {
		return domain.Finding{}, false
	}
	problems, err := linter.Lint(path, content, nil)
	if err != nil {
		return domain.Finding{}, false
	}
	for _, p := range problems {
		switch p.Kind {
		case "syntax-check", "expression", "job-needs", "workflow-call", "events", "id", "matrix":
			return domain.Finding{
				Category: "workflow-invalid", Rule: "workflow-invalid", Title: "The workflow file is invalid", Remedy: domain.RemedyFix,
				Confidence: rules.Certain("workflow-invalid"), Workflow: path, Line: p.Line, EndLine: p.Line, Text: rules.Mask(p.Message),
				Facts: map[string]string{"file": path, "line": strconv.Itoa(p.Line)}, Keys: []string{"file"},
			}, true
		}
	}
	return domain.Finding{}, false
}

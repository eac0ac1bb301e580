package github

import (
	"context"
	"net/url"
	"strconv"
	"strings"

	gh "github.com/google/go-github/v62/github"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// maxJobs is how many jobs of one attempt are listed.
const maxJobs = maxPages * perPage

// maxAuthor is how many bytes of a commit author's name are kept.
const maxAuthor = 200

// workflowRun is a run with the field that go-github v62 lacks.
type workflowRun struct {
	gh.WorkflowRun
	Path string `json:"path"`
}

// Run returns one attempt of a workflow run; attempt 0 is the latest.
func (c *Client) Run(ctx context.Context, repo domain.Repo, runID int64, attempt int) (domain.Run, error) {
	k := on("read the workflow run", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return domain.Run{}, err
	}
	path := repoPath(repo, "actions", "runs", strconv.FormatInt(runID, 10))
	if attempt > 0 {
		path += "/attempts/" + strconv.Itoa(attempt)
	}
	r, err := read(ctx, c, k, func(ctx context.Context, api *gh.Client) (*workflowRun, error) {
		r, _, err := get[workflowRun](ctx, api, path)
		return r, err
	})
	if err != nil {
		return domain.Run{}, err
	}
	run := toRun(repo, r)
	if run.ID != runID || run.HeadSHA == "" || attempt > 0 && run.Attempt != attempt {
		return domain.Run{}, incomplete(k.op)
	}
	return run, nil
}

// RunsForSHA returns the latest attempt of every run on a commit, newest first, at
// most 1,000.
func (c *Client) RunsForSHA(ctx context.Context, repo domain.Repo, sha string) ([]domain.Run, error) {
	k := on("list the commit's runs", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return nil, err
	}
	if err := checkSHA(k.op, sha); err != nil {
		return nil, err
	}
	type answer struct {
		Runs []*workflowRun `json:"workflow_runs"`
	}
	rs, _, err := pages(ctx, c, k, maxPages, func(ctx context.Context, api *gh.Client, o gh.ListOptions) ([]*workflowRun, *gh.Response, error) {
		q := url.Values{"head_sha": {sha}, "page": {strconv.Itoa(o.Page)}, "per_page": {strconv.Itoa(o.PerPage)}}
		a, resp, err := get[answer](ctx, api, repoPath(repo, "actions", "runs")+"?"+q.Encode())
		if err != nil {
			return nil, resp, err
		}
		return a.Runs, resp, nil
	})
	if err != nil {
		return nil, err
	}
	runs := make([]domain.Run, 0, len(rs))
	for _, r := range rs {
		// A server that doesn't know the filter answers with every run.
		if run := toRun(repo, r); run.HeadSHA == sha {
			runs = append(runs, run)
		}
	}
	return runs, nil
}

// Jobs returns all jobs of one attempt, counted from 1. The error is Unsupported above 1,000:
// judging a run by some of its jobs would be a guess.
func (c *Client) Jobs(ctx context.Context, repo domain.Repo, runID int64, attempt int) ([]domain.Job, error) {
	k := on("list the run's jobs", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return nil, err
	}
	js, more, err := pages(ctx, c, k, maxPages, func(ctx context.Context, api *gh.Client, o gh.ListOptions) ([]*gh.WorkflowJob, *gh.Response, error) {
		jobs, resp, err := api.Actions.ListWorkflowJobsAttempt(ctx, repo.Owner(), repo.Name(), runID, int64(attempt), &o)
		if err != nil {
			return nil, resp, err
		}
		return jobs.Jobs, resp, nil
	})
	if err != nil {
		return nil, err
	}
	if more {
		return nil, domain.Errorf(domain.Unsupported, k.op, "the run has more than %d jobs: %w", maxJobs, domain.ErrTooLarge)
	}
	jobs := make([]domain.Job, 0, len(js))
	for _, j := range js {
		jobs = append(jobs, toJob(j))
	}
	return jobs, nil
}

// RerunFailedJobs has GitHub run an attempt's failed jobs again. The error wraps
// ErrExists when the run is running already.
func (c *Client) RerunFailedJobs(ctx context.Context, repo domain.Repo, runID int64) error {
	k := on("rerun the failed jobs", repo, scopeActions)
	if err := checkRepo(k.op, repo); err != nil {
		return err
	}
	_, err := write(ctx, c, k, func(ctx context.Context, api *gh.Client) (struct{}, error) {
		_, err := api.Actions.RerunFailedJobsByID(ctx, repo.Owner(), repo.Name(), runID)
		return struct{}{}, err
	})
	return err
}

func toRun(repo domain.Repo, r *workflowRun) domain.Run {
	// The path of a run from another ref is "path@ref".
	path, _, _ := strings.Cut(r.Path, "@")
	author := r.GetHeadCommit().GetAuthor()
	run := domain.Run{
		ID:           r.GetID(),
		Attempt:      max(r.GetRunAttempt(), 1),
		WorkflowPath: path,
		WorkflowName: r.GetName(),
		Event:        r.GetEvent(),
		Status:       r.GetStatus(),
		Conclusion:   domain.Conclusion(r.GetConclusion()),
		HeadSHA:      r.GetHeadSHA(),
		HeadBranch:   r.GetHeadBranch(),
		HeadRepoID:   r.GetHeadRepository().GetID(), // 0 when a fork was deleted
		Actor:        r.GetActor().GetLogin(),
		Author:       author.GetName()[:min(len(author.GetName()), maxAuthor)],
		HTMLURL:      r.GetHTMLURL(),
		CreatedAt:    r.GetCreatedAt().Time,
		StartedAt:    r.GetRunStartedAt().Time,
		UpdatedAt:    r.GetUpdatedAt().Time,
	}
	if mail := strings.ToLower(strings.TrimSpace(author.GetEmail())); mail != "" {
		// GitHub's own addresses exist with and without the account's id before a +.
		if _, login, found := strings.Cut(mail, "+"); found && strings.HasSuffix(mail, "@users.noreply.github.com") {
			mail = login
		}
		run.AuthorMark = domain.Hash("author", mail)[:16]
	}
	for _, p := range r.PullRequests {
		if p.GetBase().GetRepo().GetID() == repo.ID {
			run.PullRequests = append(run.PullRequests, p.GetNumber())
		}
	}
	return run
}

func toJob(j *gh.WorkflowJob) domain.Job {
	job := domain.Job{
		ID:          j.GetID(),
		Name:        j.GetName(),
		Status:      j.GetStatus(),
		Conclusion:  domain.Conclusion(j.GetConclusion()),
		Labels:      j.Labels,
		HTMLURL:     j.GetHTMLURL(),
		StartedAt:   j.GetStartedAt().Time,
		CompletedAt: j.GetCompletedAt().Time,
	}
	for _, s := range j.Steps {
		job.Steps = append(job.Steps, domain.Step{
			Number:      int(s.GetNumber()),
			Name:        s.GetName(),
			Status:      s.GetStatus(),
			Conclusion:  domain.Conclusion(s.GetConclusion()),
			StartedAt:   s.GetStartedAt().Time,
			CompletedAt: s.GetCompletedAt().Time,
		})
	}
	return job
}

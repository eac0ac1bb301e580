package standin

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Statuses and conclusions of runs, jobs and steps.
const (
	statusQueued     = "queued"
	statusInProgress = "in_progress"
	statusCompleted  = "completed"

	concludedSuccess        = "success"
	concludedFailure        = "failure"
	concludedCancelled      = "cancelled"
	concludedSkipped        = "skipped"
	concludedStartupFailure = "startup_failure"
)

const suiteOffset = 1 << 32 // from a run's id to its check suite's

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

type workflow struct {
	ID        int64
	Name      string
	Path      string
	State     string
	CreatedAt time.Time
}

// run is the latest attempt of a workflow run; Past holds those before.
type run struct {
	ID         int64
	Number     int
	Attempt    int
	Workflow   *workflow
	Event      string
	HeadBranch string
	HeadSHA    string
	HeadRepo   *repository
	Tree       string // the commit that is checked out: a pull request's test merge
	Ref        string // refs/heads/… or refs/pull/N/merge
	Title      string
	Inputs     map[string]string
	Actor      *account // of the attempt
	First      *account // of the run
	Pull       *pull
	Status     string
	Conclusion string
	Jobs       []*job
	CreatedAt  time.Time
	StartedAt  time.Time
	UpdatedAt  time.Time
	Past       []*run
	Script     []ScriptedAttempt // of the attempts to come
}

type job struct {
	ID          int64
	Key         string // within its attempt: tells which one runs again
	Name        string
	Attempt     int
	Status      string
	Conclusion  string
	Labels      []string
	Steps       []step
	Log         []byte
	Expired     bool
	Asked       int // how often its log was asked for
	CreatedAt   time.Time
	StartedAt   time.Time
	CompletedAt time.Time
}

type step struct {
	Number      int
	Name        string
	Status      string
	Conclusion  string
	StartedAt   time.Time
	CompletedAt time.Time
}

// attempt returns one attempt of a run.
func (n *run) attempt(number int) *run {
	if number == n.Attempt {
		return n
	}
	for _, p := range n.Past {
		if p.Attempt == number {
			return p
		}
	}
	return nil
}

func (s *Server) workflowJSON(r *repository, w *workflow) obj {
	return obj{
		"id": w.ID, "node_id": nodeID("W", w.ID), "name": w.Name, "path": w.Path, "state": w.State, "created_at": stamp(w.CreatedAt), "updated_at": stamp(w.CreatedAt),
		"url": s.link("/repos/%s/actions/workflows/%d", r.full(), w.ID), "html_url": s.web("/%s/blob/%s/%s", r.full(), r.DefaultBranch, w.Path),
		"badge_url": s.web("/%s/workflows/%s/badge.svg", r.full(), escapePath(w.Name)),
	}
}

// runPullsJSON lists a run's pull requests. Those from forks aren't.
func (s *Server) runPullsJSON(r *repository, n *run) []obj {
	if n.Pull == nil || n.HeadRepo != r {
		return []obj{}
	}
	short := obj{"id": r.ID, "url": s.link("/repos/%s", r.full()), "name": r.Name}
	p := n.Pull
	return []obj{{
		"id": p.ID, "number": p.Number, "url": s.link("/repos/%s/pulls/%d", r.full(), p.Number),
		"head": obj{"ref": p.HeadBranch, "sha": p.HeadSHA, "repo": short}, "base": obj{"ref": p.BaseBranch, "sha": p.BaseSHA, "repo": short},
	}}
}

func (s *Server) runJSON(r *repository, n *run) obj {
	u := s.link("/repos/%s/actions/runs/%d", r.full(), n.ID)
	var previous any
	if n.Attempt > 1 {
		previous = u + "/attempts/" + strconv.Itoa(n.Attempt-1)
	}
	o := obj{
		"id": n.ID, "name": n.Workflow.Name, "node_id": nodeID("WFR", n.ID), "head_branch": orNull(n.HeadBranch), "head_sha": n.HeadSHA, "path": n.Workflow.Path,
		"display_title": n.Title, "run_number": n.Number, "event": n.Event, "status": n.Status, "conclusion": orNull(n.Conclusion), "workflow_id": n.Workflow.ID,
		"check_suite_id": n.ID + suiteOffset, "check_suite_node_id": nodeID("CS", n.ID), "url": u, "html_url": s.runPage(r, n), "pull_requests": s.runPullsJSON(r, n),
		"created_at": stamp(n.CreatedAt), "updated_at": stamp(n.UpdatedAt), "actor": s.userJSON(n.First), "run_attempt": n.Attempt,
		"run_started_at": stamp(n.StartedAt), "triggering_actor": s.userJSON(n.Actor), "jobs_url": u + "/jobs", "logs_url": u + "/logs",
		"check_suite_url": s.link("/repos/%s/check-suites/%d", r.full(), n.ID+suiteOffset), "artifacts_url": u + "/artifacts", "cancel_url": u + "/cancel",
		"rerun_url": u + "/rerun", "previous_attempt_url": previous, "workflow_url": s.link("/repos/%s/actions/workflows/%d", r.full(), n.Workflow.ID),
		"head_commit": nil, "repository": s.minimalRepoJSON(r), "head_repository": nil,
	}
	if n.HeadRepo != nil {
		o["head_repository"] = s.minimalRepoJSON(n.HeadRepo)
	}
	if c, err := r.Objects.commit(n.HeadSHA); err == nil {
		o["head_commit"] = obj{
			"id": c.SHA, "tree_id": c.Tree, "message": c.Message, "timestamp": stamp(c.Committer.When),
			"author": obj{"name": c.Author.Name, "email": c.Author.Email}, "committer": obj{"name": c.Committer.Name, "email": c.Committer.Email},
		}
	}
	return o
}

func (s *Server) runPage(r *repository, n *run) string {
	return s.web("/%s/actions/runs/%d", r.full(), n.ID)
}

func (s *Server) jobPage(r *repository, n *run, j *job) string {
	return s.web("/%s/actions/runs/%d/job/%d", r.full(), n.ID, j.ID)
}

func (s *Server) jobJSON(r *repository, n *run) func(*job) obj {
	return func(j *job) obj {
		started := j.StartedAt
		if started.IsZero() {
			started = j.CreatedAt
		}
		steps := make([]obj, 0, len(j.Steps))
		for _, t := range j.Steps {
			steps = append(steps, obj{
				"name": t.Name, "status": t.Status, "conclusion": orNull(t.Conclusion), "number": t.Number,
				"started_at": stamp(t.StartedAt), "completed_at": stamp(t.CompletedAt),
			})
		}
		o := obj{
			"id": j.ID, "run_id": n.ID, "run_url": s.link("/repos/%s/actions/runs/%d", r.full(), n.ID), "run_attempt": j.Attempt, "node_id": nodeID("CR", j.ID),
			"head_sha": n.HeadSHA, "head_branch": orNull(n.HeadBranch), "workflow_name": n.Workflow.Name, "url": s.link("/repos/%s/actions/jobs/%d", r.full(), j.ID),
			"html_url": s.jobPage(r, n, j), "status": j.Status, "conclusion": orNull(j.Conclusion), "created_at": stamp(j.CreatedAt), "started_at": stamp(started),
			"completed_at": stamp(j.CompletedAt), "name": j.Name, "steps": steps, "check_run_url": s.link("/repos/%s/check-runs/%d", r.full(), j.ID), "labels": j.Labels,
			"runner_id": nil, "runner_name": nil, "runner_group_id": nil, "runner_group_name": nil,
		}
		if !j.StartedAt.IsZero() {
			o["runner_id"], o["runner_name"], o["runner_group_id"], o["runner_group_name"] = 1, "GitHub Actions 1", 0, "GitHub Actions"
		}
		return o
	}
}

// workflow finds the workflow of a request, by id or by file name.
func (c *call) workflow() *workflow {
	name := c.r.PathValue("workflow")
	for _, w := range c.repo.Workflows {
		if itoa(w.ID) == name || w.Path == name || strings.HasSuffix(w.Path, "/"+name) {
			return w
		}
	}
	return nil
}

func listWorkflows(c *call) answer {
	return counted(c, "workflows", c.repo.Workflows, func(w *workflow) obj { return c.s.workflowJSON(c.repo, w) })
}

func getWorkflow(c *call) answer {
	w := c.workflow()
	if w == nil {
		return notFound()
	}
	return ok(c.s.workflowJSON(c.repo, w))
}

func listRuns(c *call) answer {
	q := c.r.URL.Query()
	var of *workflow
	if c.r.PathValue("workflow") != "" {
		if of = c.workflow(); of == nil {
			return notFound()
		}
	}
	var in []*run
	for _, n := range c.repo.Runs {
		status := q.Get("status")
		switch {
		case of != nil && n.Workflow != of:
		case q.Get("head_sha") != "" && n.HeadSHA != q.Get("head_sha"):
		case q.Get("branch") != "" && n.HeadBranch != q.Get("branch"):
		case q.Get("event") != "" && n.Event != q.Get("event"):
		case q.Get("actor") != "" && !strings.EqualFold(n.First.Login, q.Get("actor")):
		case status != "" && n.Status != status && n.Conclusion != status:
		default:
			in = append(in, n)
		}
	}
	slices.SortFunc(in, func(a, b *run) int { return cmp.Compare(b.ID, a.ID) })
	return counted(c, "workflow_runs", in, func(n *run) obj { return c.s.runJSON(c.repo, n) })
}

func (c *call) run() *run {
	id := c.int("id")
	for _, n := range c.repo.Runs {
		if n.ID == id {
			if c.r.PathValue("attempt") != "" {
				return n.attempt(int(c.int("attempt")))
			}
			return n
		}
	}
	return nil
}

// job finds the job of a request and its run's attempt.
func (c *call) job() (*run, *job) {
	id := c.int("id")
	for _, n := range c.repo.Runs {
		for _, a := range append(slices.Clone(n.Past), n) {
			for _, j := range a.Jobs {
				if j.ID == id {
					return a, j
				}
			}
		}
	}
	return nil, nil
}

func getRun(c *call) answer {
	n := c.run()
	if n == nil {
		return notFound()
	}
	return ok(c.s.runJSON(c.repo, n))
}

func listJobs(c *call) answer {
	n := c.run()
	if n == nil {
		return notFound()
	}
	jobs := n.Jobs
	if c.r.URL.Query().Get("filter") == "all" && c.r.PathValue("attempt") == "" {
		jobs = nil
		for _, a := range append(slices.Clone(n.Past), n) {
			jobs = append(jobs, a.Jobs...)
		}
	}
	return counted(c, "jobs", jobs, c.s.jobJSON(c.repo, n))
}

func getJob(c *call) answer {
	n, j := c.job()
	if j == nil {
		return notFound()
	}
	return ok(c.s.jobJSON(c.repo, n)(j))
}

// rerunnable refuses to run again what can't be.
func (c *call) rerunnable(n *run) (answer, bool) {
	switch {
	case n == nil:
		return notFound(), true
	case n.Status != statusCompleted:
		return refuse(http.StatusForbidden, "This workflow is already running"), true
	case c.s.now().Sub(n.CreatedAt) > 30*24*time.Hour:
		return refuse(http.StatusForbidden, "Unable to retry this workflow run because it was created over a month ago"), true
	}
	return answer{}, false
}

func rerun(c *call) answer {
	n := c.run()
	if a, refused := c.rerunnable(n); refused {
		return a
	}
	c.s.again(c.repo, n, c.actor(), func(*job) bool { return true })
	return created(obj{})
}

func rerunFailed(c *call) answer {
	n := c.run()
	if a, refused := c.rerunnable(n); refused {
		return a
	}
	if n.Conclusion == concludedSuccess || !slices.ContainsFunc(n.Jobs, (*job).red) {
		return refuse(http.StatusForbidden, "This workflow run has no failed jobs to rerun")
	}
	c.s.again(c.repo, n, c.actor(), (*job).red)
	return created(obj{})
}

// red reports whether "rerun failed jobs" runs the job again.
func (j *job) red() bool { return j.Conclusion != concludedSuccess }

func rerunJob(c *call) answer {
	past, j := c.job()
	if j == nil {
		return notFound()
	}
	at := slices.IndexFunc(c.repo.Runs, func(n *run) bool { return n.ID == past.ID })
	n := c.repo.Runs[at]
	if a, refused := c.rerunnable(n); refused {
		return a
	}
	c.s.again(c.repo, n, c.actor(), func(other *job) bool { return other.Key == j.Key })
	return created(obj{})
}

func dispatch(c *call) answer {
	w := c.workflow()
	if w == nil {
		return notFound()
	}
	var in struct {
		Ref    string
		Inputs map[string]any
	}
	if a, bad := c.decode(&in); bad {
		return a
	}
	if in.Ref == "" {
		return missing("ref")
	}
	branch := strings.TrimPrefix(in.Ref, "refs/heads/")
	sha := c.repo.head(branch)
	if sha == "" {
		return refuse(http.StatusUnprocessableEntity, "No ref found for: "+in.Ref)
	}
	f, err := c.s.workflowAt(c.repo, sha, w.Path)
	if err != nil || !f.On.Dispatch {
		return refuse(http.StatusUnprocessableEntity, "Workflow does not have 'workflow_dispatch' trigger")
	}
	inputs := map[string]string{}
	for k, v := range in.Inputs {
		inputs[k] = fmt.Sprint(v)
	}
	c.s.startRun(c.repo, &run{
		Workflow: w, Event: "workflow_dispatch", HeadBranch: branch, HeadSHA: sha, HeadRepo: c.repo, Tree: sha, Ref: "refs/heads/" + branch, Title: w.Name,
		Inputs: inputs, Actor: c.actor(),
	})
	return noContent()
}

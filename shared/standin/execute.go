package standin

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const defaultTimeout = 360.0 // minutes, of a job

// leg is one job of an execution: a job of the workflow with its matrix values.
type leg struct {
	spec *jobSpec
	vars map[string]string
	job  *job
	kept bool // from the attempt before
	soft bool // its failure doesn't fail the run
}

// execute runs the workflow of n, without the lock, and says how it ended.
func (s *Server) execute(r *repository, n *run, keep map[string]*job) string {
	s.mu.Lock()
	f, err := s.workflowAt(r, n.Tree, n.Workflow.Path)
	if err != nil {
		s.mu.Unlock()
		s.log.Info("a workflow does not start", "workflow", n.Workflow.Path, "error", err)
		return concludedStartupFailure
	}
	e := &execution{s: s, r: r, n: n, file: f, github: s.githubScope(r, n), groups: map[string]*group{}}
	e.readFiles()
	for _, spec := range f.Jobs {
		e.addGroup(spec, keep)
	}
	s.mu.Unlock()
	defer e.cleanUp()
	var all sync.WaitGroup
	for _, spec := range f.Jobs {
		g := e.groups[spec.Key]
		all.Go(func() {
			defer close(g.done)
			e.runGroup(g)
		})
	}
	all.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	tolerated := map[*job]bool{}
	for _, g := range e.groups {
		for _, l := range g.legs {
			tolerated[l.job] = l.soft
		}
	}
	return conclude(n.Jobs, tolerated)
}

// execution is one attempt that is being executed.
type execution struct {
	s      *Server
	r      *repository
	n      *run
	file   *workflowFile
	github scope
	groups map[string]*group
	files  map[string]checkoutFile
}

type checkoutFile struct {
	mode string
	data []byte
}

// group is all legs of one job of the workflow.
type group struct {
	spec   *jobSpec
	legs   []*leg
	done   chan struct{}
	result string // of all legs
}

// readFiles reads what will be checked out; the caller holds the lock.
func (e *execution) readFiles() {
	e.files = map[string]checkoutFile{}
	if c, err := e.r.Objects.commit(e.n.Tree); err == nil {
		for p, at := range e.r.Objects.flatten(c.Tree) {
			data, _ := e.r.Objects.get("blob", at.SHA)
			e.files[p] = checkoutFile{at.Mode, data}
		}
	}
}

// addGroup makes the job records of one job; the caller holds the lock.
func (e *execution) addGroup(spec *jobSpec, keep map[string]*job) {
	g := &group{spec: spec, done: make(chan struct{})}
	e.groups[spec.Key] = g
	for _, vars := range spec.Legs {
		v := e.vars(vars)
		name, err := v.expand(cmp.Or(spec.Name, spec.Key), status{})
		if err != nil {
			name = spec.Key
		}
		if !strings.Contains(spec.Name, "matrix.") {
			name += spec.legName(vars)
		}
		key := spec.Key + spec.legName(vars)
		l := &leg{spec: spec, vars: vars}
		soft, err := v.expand(spec.ContinueOnError, status{})
		l.soft = err == nil && soft == "true"
		if l.job = keep[key]; l.job != nil {
			l.kept = true
		} else {
			l.job = &job{ID: e.s.id(), Key: key, Name: name, Attempt: e.n.Attempt, Status: statusQueued, CreatedAt: e.s.now()}
			for _, label := range spec.RunsOn {
				if label, err = v.expand(label, status{}); err == nil {
					l.job.Labels = append(l.job.Labels, label)
				}
			}
		}
		g.legs = append(g.legs, l)
		e.n.Jobs = append(e.n.Jobs, l.job)
	}
}

// vars is what a job's expressions see.
func (e *execution) vars(matrix map[string]string) scope {
	v := maps.Clone(e.github)
	for k, x := range matrix {
		v["matrix."+k] = x
	}
	for k, x := range e.file.Env {
		if x, err := v.expand(x, status{}); err == nil {
			v["env."+k] = x
		}
	}
	return v
}

func (s *Server) githubScope(r *repository, n *run) scope {
	v := scope{
		"github.sha": n.Tree, "github.ref": n.Ref, "github.ref_name": strings.TrimPrefix(strings.TrimPrefix(n.Ref, "refs/heads/"), "refs/"),
		"github.event_name": n.Event, "github.repository": r.full(), "github.repository_owner": r.Owner.Login, "github.run_id": itoa(n.ID),
		"github.run_number": strconv.Itoa(n.Number), "github.run_attempt": strconv.Itoa(n.Attempt), "github.workflow": n.Workflow.Name,
		"github.actor": n.First.Login, "github.triggering_actor": n.Actor.Login, "github.server_url": s.origin, "github.api_url": s.apiURL,
		"runner.os": "Linux", "runner.arch": "X64", "runner.name": "GitHub Actions 1",
	}
	if n.Pull != nil {
		v["github.head_ref"], v["github.base_ref"] = n.Pull.HeadBranch, n.Pull.BaseBranch
		v["github.event.number"], v["github.event.pull_request.number"] = strconv.Itoa(n.Pull.Number), strconv.Itoa(n.Pull.Number)
		v["github.event.pull_request.head.sha"] = n.Pull.HeadSHA
	}
	for k, x := range n.Inputs {
		v["inputs."+k], v["github.event.inputs."+k] = x, x
	}
	return v
}

// runGroup waits for what a job needs and runs its legs.
func (e *execution) runGroup(g *group) {
	st := status{}
	v := e.vars(nil)
	for _, need := range g.spec.Needs {
		before := e.groups[need]
		<-before.done
		v["needs."+need+".result"] = before.result
		st.failed = st.failed || before.result != concludedSuccess
		st.cancelled = st.cancelled || before.result == concludedCancelled
	}
	wanted, err := v.condition(g.spec.If, st)
	if err != nil {
		wanted = false
	}
	if !wanted || e.s.ctx.Err() != nil {
		e.skip(g)
		return
	}
	ctx, cancel := context.WithCancelCause(e.s.ctx)
	defer cancel(nil)
	failFast := g.spec.Strategy.FailFast != "false" && len(g.legs) > 1
	var all sync.WaitGroup
	for _, l := range g.legs {
		if l.kept {
			continue
		}
		all.Go(func() {
			select {
			case e.s.jobSlots <- struct{}{}:
				defer func() { <-e.s.jobSlots }()
			case <-e.s.ctx.Done():
			}
			conclusion := e.runLeg(ctx, l, maps.Clone(v))
			if failFast && conclusion == concludedFailure && !l.soft {
				cancel(siblingFailed{l.job.Key})
			}
		})
	}
	all.Wait()
	jobs := make([]*job, 0, len(g.legs))
	tolerated := map[*job]bool{}
	for _, l := range g.legs {
		jobs = append(jobs, l.job)
		tolerated[l.job] = l.soft
	}
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	g.result = conclude(jobs, tolerated)
}

// siblingFailed is why the other legs of a matrix are cancelled.
type siblingFailed struct{ key string }

func (f siblingFailed) Error() string {
	return `The strategy configuration was canceled because "` + strings.NewReplacer(" (", ".", ", ", "_", ")", "", ".", "_").Replace(f.key) + `" failed`
}

func (e *execution) skip(g *group) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	g.result = concludedSkipped
	for _, l := range g.legs {
		if l.kept {
			continue
		}
		now := e.s.now()
		l.job.Status, l.job.Conclusion, l.job.StartedAt, l.job.CompletedAt = statusCompleted, concludedSkipped, now, now
		l.job.Labels = []string{}
	}
}

func (e *execution) cleanUp() {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	for _, j := range e.n.Jobs {
		if j.Status != statusCompleted {
			j.Status, j.Conclusion, j.CompletedAt = statusCompleted, concludedCancelled, e.s.now()
		}
	}
}

// beginStep marks a step of a job as running and returns its place.
func (e *execution) beginStep(j *job, name string) int {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	j.Steps = append(j.Steps, step{Number: len(j.Steps) + 1, Name: name, Status: statusInProgress, StartedAt: e.s.now()})
	return len(j.Steps) - 1
}

func (e *execution) endStep(j *job, at int, conclusion string) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	j.Steps[at].Status, j.Steps[at].Conclusion, j.Steps[at].CompletedAt = statusCompleted, conclusion, e.s.now()
}

func durationOf(minutes float64) time.Duration {
	return time.Duration(minutes * float64(time.Minute))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

package standin

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ScriptedStep is a step of a ScriptedJob.
type ScriptedStep struct {
	Name       string
	Conclusion string // "" is success
}

// ScriptedJob is a job whose end is told instead of executed.
type ScriptedJob struct {
	Name       string
	Conclusion string // "" is success
	Steps      []ScriptedStep
	// Log is the job's log. Lines get GitHub's timestamps where the first one has
	// none. "" is a log that never comes.
	Log string
	// Expired answers the log with 410.
	Expired bool
	Labels  []string // nil is ubuntu-latest
}

// ScriptedAttempt is one attempt of a ScriptedRun.
type ScriptedAttempt struct {
	Jobs       []ScriptedJob
	Conclusion string // "" follows from the jobs
}

// ScriptedRun is a run whose end is told instead of executed.
type ScriptedRun struct {
	Workflow string // its path; "" is the repository's first
	Event    string // "" is push
	Branch   string // "" is the default branch
	SHA      string // "" is the branch's head
	Pull     int    // for the event pull_request: its number
	ScriptedAttempt
	// Reruns are the attempts that follow when somebody reruns it. Without them a
	// rerun ends as the attempt before did.
	Reruns []ScriptedAttempt
}

// Trigger is what a workflow would run for.
type Trigger struct {
	Repo     string
	Workflow string // path
	Event    string
	Branch   string
	SHA      string
	Attempt  int
	Files    map[string]string // what would be checked out, by path
}

// SetScript has fn tell how triggered workflows end, instead of executing them;
// it reports false for those that shall be. nil removes it.
func (s *Server) SetScript(fn func(Trigger) (ScriptedAttempt, bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = fn
}

// Run is what tests see of the latest attempt of a run.
type Run struct {
	ID         int64
	Attempt    int
	Workflow   string // path
	Event      string
	Branch     string
	SHA        string
	Status     string
	Conclusion string
	Jobs       []Job
}

// Job is what tests see of a job.
type Job struct {
	ID         int64
	Name       string
	Conclusion string
	Steps      []string // "name: conclusion"
	Log        string
}

func (n *run) view() Run {
	v := Run{ID: n.ID, Attempt: n.Attempt, Workflow: n.Workflow.Path, Event: n.Event, Branch: n.HeadBranch, SHA: n.HeadSHA, Status: n.Status, Conclusion: n.Conclusion}
	for _, j := range n.Jobs {
		one := Job{ID: j.ID, Name: j.Name, Conclusion: j.Conclusion, Log: string(j.Log)}
		for _, t := range j.Steps {
			one.Steps = append(one.Steps, t.Name+": "+t.Conclusion)
		}
		v.Jobs = append(v.Jobs, one)
	}
	return v
}

// Runs returns a repository's runs, oldest first.
func (s *Server) Runs(repo string) []Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.find(repo)
	if r == nil {
		return nil
	}
	out := make([]Run, 0, len(r.Runs))
	for _, n := range r.Runs {
		out = append(out, n.view())
	}
	return out
}

// ScriptRun makes a run that ends as it is told, and returns it once it has.
func (s *Server) ScriptRun(repo string, in ScriptedRun) (Run, error) {
	s.mu.Lock()
	n, done, err := s.scriptRun(repo, in)
	s.mu.Unlock()
	if err != nil {
		return Run{}, fmt.Errorf("script a run in %s: %w", repo, err)
	}
	<-done
	s.mu.Lock()
	defer s.mu.Unlock()
	return n.view(), nil
}

func (s *Server) scriptRun(repo string, in ScriptedRun) (*run, <-chan struct{}, error) {
	r, err := s.named(repo)
	if err != nil {
		return nil, nil, err
	}
	n := &run{
		Event: cmp.Or(in.Event, "push"), HeadBranch: cmp.Or(in.Branch, r.DefaultBranch), HeadRepo: r, Actor: r.Owner,
		Script: append([]ScriptedAttempt{in.ScriptedAttempt}, in.Reruns...),
	}
	n.HeadSHA = cmp.Or(in.SHA, r.head(n.HeadBranch))
	n.Ref = "refs/heads/" + n.HeadBranch
	if in.Pull != 0 {
		p := r.Pulls[in.Pull]
		if p == nil {
			return nil, nil, fmt.Errorf("there is no pull request %d", in.Pull)
		}
		n.Event, n.Pull, n.HeadRepo, n.HeadBranch, n.HeadSHA = "pull_request", p, p.HeadRepo, p.HeadBranch, cmp.Or(in.SHA, p.HeadSHA)
		n.Ref = fmt.Sprintf("refs/pull/%d/merge", p.Number)
	}
	if !r.has("commit", n.HeadSHA) {
		return nil, nil, fmt.Errorf("find %q: %w", n.HeadSHA, errNoCommit)
	}
	n.Tree = n.HeadSHA
	switch {
	case in.Workflow != "":
		n.Workflow = s.workflow(r, n.HeadSHA, in.Workflow)
	case len(r.Workflows) > 0:
		n.Workflow = r.Workflows[0]
	}
	if n.Workflow == nil {
		return nil, nil, fmt.Errorf("there is no workflow %q", in.Workflow)
	}
	return n, s.startRun(r, n), nil
}

// runsWorkflows says whether triggers come to anything.
func (s *Server) runsWorkflows() bool { return s.opts.Execute || s.script != nil }

func (s *Server) triggerPush(r *repository, branch, sha string, by *account) {
	c, err := r.Objects.commit(sha)
	if err != nil || !s.runsWorkflows() || skips(c.Message) {
		return
	}
	var changed []string
	for _, f := range r.changes(c) {
		changed = append(changed, f.Path)
	}
	for _, p := range slices.Sorted(maps.Keys(workflowFiles(r.Objects, c.Tree))) {
		w := s.workflow(r, sha, p)
		if w == nil {
			continue
		}
		if f, err := s.workflowAt(r, sha, p); err == nil && (f.On.Push == nil || !f.On.Push.matches(branch, changed)) {
			continue
		}
		title, _, _ := strings.Cut(c.Message, "\n")
		s.startRun(r, &run{Workflow: w, Event: "push", HeadBranch: branch, HeadSHA: sha, HeadRepo: r, Tree: sha, Ref: "refs/heads/" + branch, Title: title, Actor: by})
	}
}

func skips(message string) bool {
	for _, word := range []string{"[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]"} {
		if strings.Contains(message, word) {
			return true
		}
	}
	return false
}

// triggerPull starts the workflows of a pull request on its test merge. None
// run while it has a conflict.
func (s *Server) triggerPull(r *repository, p *pull, by *account, action string) {
	c, err := r.Objects.commit(p.MergeSHA)
	if err != nil || !s.runsWorkflows() {
		return
	}
	var changed []string
	for _, f := range s.pullFiles(r, p) {
		changed = append(changed, f.Path)
	}
	for _, path := range slices.Sorted(maps.Keys(workflowFiles(r.Objects, c.Tree))) {
		w := s.workflow(r, c.SHA, path)
		f, err := s.workflowAt(r, c.SHA, path)
		if w == nil || err != nil || f.On.Pull == nil || !f.On.Pull.matches(p.BaseBranch, changed) {
			continue
		}
		types := f.On.Pull.Types
		if len(types) == 0 {
			types = []string{"opened", "synchronize", "reopened"}
		}
		if !slices.Contains(types, action) {
			continue
		}
		s.startRun(r, &run{
			Workflow: w, Event: "pull_request", HeadBranch: p.HeadBranch, HeadSHA: p.HeadSHA, HeadRepo: p.HeadRepo, Tree: c.SHA,
			Ref: fmt.Sprintf("refs/pull/%d/merge", p.Number), Title: p.Title, Actor: by, Pull: p,
		})
	}
}

// startRun makes n a run and starts it; the caller holds the lock. The channel is
// closed once it has ended.
func (s *Server) startRun(r *repository, n *run) <-chan struct{} {
	n.ID, n.Number, n.Attempt = s.id(), 1, 1
	for _, other := range r.Runs {
		if other.Workflow == n.Workflow {
			n.Number++
		}
	}
	n.CreatedAt, n.First = s.now(), n.Actor
	if n.Title == "" {
		n.Title = n.Workflow.Name
	}
	r.Runs = append(r.Runs, n)
	return s.launch(r, n, nil)
}

// again starts a run's next attempt, in which the jobs that which picks run again
// and the others stay as they are; the caller holds the lock.
func (s *Server) again(r *repository, n *run, by *account, which func(*job) bool) {
	past := *n
	past.Past = nil
	n.Past = append(n.Past, &past)
	n.Attempt, n.Actor, n.Jobs = n.Attempt+1, by, nil
	keep := map[string]*job{}
	for _, j := range past.Jobs {
		if !which(j) {
			kept := *j
			kept.ID, kept.Attempt = s.id(), n.Attempt
			keep[j.Key] = &kept
		}
	}
	s.launch(r, n, keep)
}

// launch runs an attempt in the background; the caller holds the lock.
func (s *Server) launch(r *repository, n *run, keep map[string]*job) <-chan struct{} {
	done := make(chan struct{})
	n.Status, n.Conclusion, n.StartedAt, n.UpdatedAt = statusQueued, "", s.now(), s.now()
	s.emitRun(r, n, "requested")
	if s.closed || !s.started {
		close(done)
		return done
	}
	script := s.script
	trigger := s.trigger(r, n)
	s.begin()
	s.work.Go(func() {
		defer close(done)
		s.attempt(r, n, keep, script, trigger)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.end()
	})
	return done
}

func (s *Server) trigger(r *repository, n *run) Trigger {
	t := Trigger{Repo: r.full(), Workflow: n.Workflow.Path, Event: n.Event, Branch: n.HeadBranch, SHA: n.HeadSHA, Attempt: n.Attempt, Files: map[string]string{}}
	if s.script == nil {
		return t
	}
	if c, err := r.Objects.commit(n.Tree); err == nil {
		for p, e := range r.Objects.flatten(c.Tree) {
			data, _ := r.Objects.get("blob", e.SHA)
			t.Files[p] = string(data)
		}
	}
	return t
}

// attempt runs one attempt to its end, without the lock.
func (s *Server) attempt(r *repository, n *run, keep map[string]*job, script func(Trigger) (ScriptedAttempt, bool), t Trigger) {
	s.mu.Lock()
	n.Status, n.UpdatedAt = statusInProgress, s.now()
	s.emitRun(r, n, "in_progress")
	var told *ScriptedAttempt
	scripted := n.Script != nil
	if len(n.Script) > 0 {
		told = &n.Script[0]
		n.Script = n.Script[1:]
	}
	s.mu.Unlock()
	if !scripted && script != nil {
		if answer, yes := script(t); yes {
			told = &answer
		}
	}
	var conclusion string
	switch {
	case told != nil:
		conclusion = s.follow(n, *told, keep)
	case scripted || !s.opts.Execute:
		conclusion = s.repeat(n, keep)
	default:
		conclusion = s.execute(r, n, keep)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n.Status, n.Conclusion, n.UpdatedAt = statusCompleted, conclusion, s.now()
	for _, j := range n.Jobs {
		if keep[j.Key] != j {
			s.emitCheckRun(r, n, j)
		}
	}
	s.emitRun(r, n, "completed")
}

// follow makes the jobs of a script.
func (s *Server) follow(n *run, told ScriptedAttempt, keep map[string]*job) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range told.Jobs {
		if kept := keep[in.Name]; kept != nil {
			n.Jobs = append(n.Jobs, kept)
			continue
		}
		now := s.now()
		j := &job{
			ID: s.id(), Key: in.Name, Name: in.Name, Attempt: n.Attempt, Status: statusCompleted, Conclusion: cmp.Or(in.Conclusion, concludedSuccess),
			Labels: in.Labels, Expired: in.Expired, CreatedAt: now, StartedAt: now, CompletedAt: now,
		}
		if j.Labels == nil {
			j.Labels = []string{"ubuntu-latest"}
		}
		if in.Log != "" {
			j.Log = stamped(in.Log, now)
		}
		steps := in.Steps
		if len(steps) == 0 {
			steps = []ScriptedStep{{"Set up job", ""}, {"Run", j.Conclusion}, {"Complete job", ""}}
		}
		for i, t := range steps {
			j.Steps = append(j.Steps, step{i + 1, t.Name, statusCompleted, cmp.Or(t.Conclusion, concludedSuccess), now, now})
		}
		n.Jobs = append(n.Jobs, j)
	}
	return cmp.Or(told.Conclusion, conclude(n.Jobs, nil))
}

// repeat ends an attempt as the one before ended.
func (s *Server) repeat(n *run, keep map[string]*job) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(n.Past) == 0 {
		return concludedStartupFailure
	}
	last := n.Past[len(n.Past)-1]
	for _, j := range last.Jobs {
		if kept := keep[j.Key]; kept != nil {
			n.Jobs = append(n.Jobs, kept)
			continue
		}
		one := *j
		one.ID, one.Attempt, one.Asked = s.id(), n.Attempt, 0
		one.CreatedAt, one.StartedAt, one.CompletedAt = s.now(), s.now(), s.now()
		n.Jobs = append(n.Jobs, &one)
	}
	return last.Conclusion
}

// conclude says how a run ended whose jobs ended so. Failures of the tolerated
// jobs don't count.
func conclude(jobs []*job, tolerated map[*job]bool) string {
	seen := map[string]bool{}
	for _, j := range jobs {
		if !tolerated[j] || j.Conclusion == concludedSuccess {
			seen[j.Conclusion] = true
		} else {
			seen[concludedSuccess] = true
		}
	}
	switch {
	case seen[concludedFailure], seen["timed_out"]:
		return concludedFailure
	case seen[concludedCancelled]:
		return concludedCancelled
	case seen[concludedSkipped] && !seen[concludedSuccess]:
		return concludedSkipped
	}
	return concludedSuccess
}

const stampLayout = "2006-01-02T15:04:05.0000000Z"

// stamped puts timestamps before a log's lines where the first one has none.
func stamped(log string, at time.Time) []byte {
	first, _, _ := strings.Cut(strings.TrimPrefix(log, "\ufeff"), " ")
	if _, err := time.Parse(time.RFC3339Nano, first); err == nil {
		return []byte(log)
	}
	var b strings.Builder
	b.WriteString("\ufeff")
	for line := range strings.SplitSeq(strings.TrimSuffix(log, "\n"), "\n") {
		b.WriteString(at.UTC().Format(stampLayout) + " " + line + "\n")
	}
	return []byte(b.String())
}

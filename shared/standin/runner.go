package standin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	maxCommandFile = 1 << 20                // of what a step may write to GITHUB_ENV and the like
	orphanPause    = 500 * time.Millisecond // for output of processes that a step leaves behind
)

var errTimedOut = errors.New("the job has exceeded its maximum execution time")

// runner executes one job on the host.
type runner struct {
	e      *execution
	l      *leg
	log    *jobLog
	vars   scope
	env    map[string]string // of the workflow, the job and GITHUB_ENV
	paths  []string          // from GITHUB_PATH
	st     status
	groups []int // process groups to end with the job

	root, home, temp, bin, workspace string
}

// runLeg executes one job, without the lock, and says how it ended.
func (e *execution) runLeg(ctx context.Context, l *leg, v scope) string {
	e.s.mu.Lock()
	l.job.Status, l.job.StartedAt = statusInProgress, e.s.now()
	e.s.mu.Unlock()
	for k, x := range l.vars {
		v["matrix."+k] = x
	}
	v["github.job"] = l.spec.Key
	r := &runner{e: e, l: l, log: newJobLog(e.s.now), vars: v, env: map[string]string{}}
	limit := defaultTimeout
	if text, err := v.expand(l.spec.TimeoutMinutes, status{}); err == nil {
		limit = minutes(text, defaultTimeout)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, durationOf(limit), errTimedOut)
	defer cancel()
	conclusion := r.run(ctx)
	var sibling siblingFailed
	switch cause := context.Cause(ctx); {
	case conclusion != concludedCancelled:
	case errors.Is(cause, errTimedOut):
		r.log.say(fmt.Sprintf("##[error]The job running on runner GitHub Actions 1 has exceeded the maximum execution time of %g minutes.", limit))
	case errors.As(cause, &sibling):
		r.log.say("##[error]" + sibling.Error())
	}
	if conclusion == concludedCancelled {
		r.log.say("##[error]The operation was canceled.")
	}
	r.cleanUp()
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	l.job.Status, l.job.Conclusion, l.job.CompletedAt, l.job.Log = statusCompleted, conclusion, e.s.now(), r.log.bytes()
	return conclusion
}

func (r *runner) run(ctx context.Context) string {
	if ctx.Err() != nil {
		return concludedCancelled
	}
	at := r.e.beginStep(r.l.job, "Set up job")
	problem := r.setUp()
	if problem != "" {
		r.log.say("##[error]" + problem)
		r.e.endStep(r.l.job, at, concludedFailure)
		return concludedFailure
	}
	r.log.say("Complete job name: " + r.l.job.Name)
	r.e.endStep(r.l.job, at, concludedSuccess)
	var post []stepSpec
	for i := range r.l.spec.Steps {
		s := &r.l.spec.Steps[i]
		conclusion := r.step(ctx, s)
		if s.Uses != "" && conclusion == concludedSuccess && hasPost(s.Uses) {
			post = append(post, *s)
		}
	}
	for _, s := range slices.Backward(post) {
		at := r.e.beginStep(r.l.job, "Post "+s.title(r.vars))
		r.log.say("Post job cleanup.")
		r.e.endStep(r.l.job, at, concludedSuccess)
	}
	at = r.e.beginStep(r.l.job, "Complete job")
	r.log.say("Cleaning up orphan processes")
	r.e.endStep(r.l.job, at, concludedSuccess)
	switch {
	case r.st.cancelled:
		return concludedCancelled
	case r.st.failed:
		return concludedFailure
	}
	return concludedSuccess
}

// setUp prepares the host's side of a job. The problem is what the log says; ""
// for none.
func (r *runner) setUp() (problem string) {
	r.log.say(
		"Current runner version: '2.329.0'",
		"##[group]Operating System", "Ubuntu", "24.04.3", "LTS", "##[endgroup]",
		"##[group]Runner Image", "Image: ubuntu-24.04", "Version: stand-in", "##[endgroup]",
		"##[group]GITHUB_TOKEN Permissions", "Contents: read", "Metadata: read", "Packages: read", "##[endgroup]",
		"Secret source: Actions", "Prepare workflow directory", "Prepare all required actions",
	)
	asked := false
	for _, s := range r.l.spec.Steps {
		if s.Uses == "" {
			continue
		}
		if !asked {
			r.log.say("Getting action download info")
			asked = true
		}
		if problem := resolveAction(s.Uses); problem != "" {
			return problem
		}
		r.log.say(fmt.Sprintf("Download action repository '%s' (SHA:%s)", s.Uses, strings.Repeat("0", 40)))
	}
	var err error
	if r.root, err = os.MkdirTemp("", "standin-job-"); err != nil {
		return "The runner has no working directory: " + err.Error()
	}
	r.home, r.temp, r.bin = filepath.Join(r.root, "home"), filepath.Join(r.root, "temp"), filepath.Join(r.root, "bin")
	r.workspace = filepath.Join(r.root, "work", r.e.r.Name, r.e.r.Name)
	for _, dir := range []string{r.home, r.temp, r.bin, r.workspace} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "The runner has no working directory: " + err.Error()
		}
	}
	// Runners have python; many hosts have it as python3 only.
	if _, err := exec.LookPath("python"); err != nil {
		if at, err := exec.LookPath("python3"); err == nil {
			if err := os.Symlink(at, filepath.Join(r.bin, "python")); err != nil {
				return "The runner has no python: " + err.Error()
			}
		}
	}
	r.vars["github.workspace"], r.vars["runner.temp"] = r.workspace, r.temp
	for _, m := range []map[string]string{r.e.file.Env, r.l.spec.Env} {
		env, err := r.vars.expandAll(m, r.st)
		if err != nil {
			return "The template is not valid. " + err.Error()
		}
		r.setEnv(env)
	}
	return ""
}

func (r *runner) setEnv(env map[string]string) {
	maps.Copy(r.env, env)
	for k, x := range env {
		r.vars["env."+k] = x
	}
}

// step runs one step, or skips it, and says how it ended.
func (r *runner) step(ctx context.Context, s *stepSpec) string {
	at := r.e.beginStep(r.l.job, s.title(r.vars))
	outcome, conclusion := r.tryStep(ctx, s)
	if conclusion == concludedFailure {
		soft, err := r.vars.expand(s.ContinueOnError, r.st)
		if err == nil && soft == "true" {
			conclusion = concludedSuccess
		} else {
			r.st.failed = true
		}
	}
	r.st.cancelled = r.st.cancelled || conclusion == concludedCancelled
	if s.ID != "" {
		r.vars["steps."+s.ID+".outcome"], r.vars["steps."+s.ID+".conclusion"] = outcome, conclusion
	}
	r.e.endStep(r.l.job, at, conclusion)
	return conclusion
}

func (r *runner) tryStep(ctx context.Context, s *stepSpec) (outcome, conclusion string) {
	both := func(c string) (string, string) { return c, c }
	if ctx.Err() != nil {
		if r.st.cancelled {
			return both(concludedSkipped)
		}
		return both(concludedCancelled)
	}
	wanted, err := r.vars.condition(s.If, r.st)
	if err != nil {
		r.log.say("##[error]The template is not valid. " + err.Error())
		return both(concludedFailure)
	}
	if !wanted {
		return both(concludedSkipped)
	}
	env, err := r.vars.expandAll(s.Env, r.st)
	if err != nil {
		r.log.say("##[error]The template is not valid. " + err.Error())
		return both(concludedFailure)
	}
	all := maps.Clone(r.env)
	maps.Copy(all, env)
	if s.Uses != "" {
		return both(r.use(s, all))
	}
	return both(r.shell(ctx, s, all))
}

// use logs an action and does what the job needs of it.
func (r *runner) use(s *stepSpec, env map[string]string) string {
	with, err := r.vars.expandAll(s.With, r.st)
	if err != nil {
		r.log.say("##[error]The template is not valid. " + err.Error())
		return concludedFailure
	}
	name, _, _ := strings.Cut(s.Uses, "@")
	if name == "actions/checkout" && with["repository"] == "" {
		with["repository"] = r.e.github["github.repository"]
	}
	var body []string
	if len(with) > 0 {
		body = append(body, "with:")
		for _, k := range sortedKeys(with) {
			body = append(body, "  "+k+": "+with[k])
		}
	}
	r.log.say(header("Run "+s.Uses, body, "", env)...)
	if name != "actions/checkout" {
		return concludedSuccess
	}
	r.log.say("Syncing repository: " + with["repository"])
	if err := r.checkout(with["path"]); err != nil {
		r.log.say("##[error]" + err.Error())
		return concludedFailure
	}
	r.log.say("##[group]Checking out the ref", "[command]/usr/bin/git checkout --progress --force "+r.e.n.Ref, "##[endgroup]",
		"[command]/usr/bin/git log -1 --format=%H", r.e.n.Tree)
	return concludedSuccess
}

// checkout writes the tree into the workspace. Nothing is written outside of it,
// whatever links the tree holds: files go through a root of the directory.
func (r *runner) checkout(sub string) error {
	if sub != "" && !filepath.IsLocal(sub) {
		return fmt.Errorf("repository path '%s' is not under '%s'", sub, r.workspace)
	}
	dir, err := os.OpenRoot(r.workspace)
	if err != nil {
		return fmt.Errorf("open the workspace: %w", err)
	}
	defer func() { _ = dir.Close() }()
	for _, p := range sortedKeys(r.e.files) {
		f := r.e.files[p]
		at := path.Join(sub, p)
		if err := dir.MkdirAll(path.Dir(at), 0o755); err != nil {
			return fmt.Errorf("check out %s: %w", p, err)
		}
		mode := os.FileMode(0o644)
		switch f.mode {
		case modeSubmodule:
			continue
		case modeLink:
			_ = dir.Remove(at) // it may not be there
			if err := dir.Symlink(string(f.data), at); err != nil {
				return fmt.Errorf("check out %s: %w", p, err)
			}
			continue
		case modeExecutable:
			mode = 0o755
		}
		if err := dir.WriteFile(at, f.data, mode); err != nil {
			return fmt.Errorf("check out %s: %w", p, err)
		}
	}
	return nil
}

// shell runs a `run:` step.
func (r *runner) shell(ctx context.Context, s *stepSpec, env map[string]string) string {
	fail := func(problem string) string {
		r.log.say("##[error]" + problem)
		return concludedFailure
	}
	script, err := r.vars.expand(s.Run, r.st)
	if err != nil {
		return fail("The template is not valid. " + err.Error())
	}
	defaults := []runDefaults{r.l.spec.Defaults, r.e.file.Defaults}
	kind := cmp.Or(s.Shell, defaults[0].Run.Shell, defaults[1].Run.Shell)
	args, extension := shellArgs(kind)
	if args == nil {
		return fail("Second path fragment must not be a drive or UNC name: " + kind)
	}
	program, err := r.lookPath(args[0])
	if err != nil {
		return fail(args[0] + ": command not found")
	}
	in, err := r.vars.expand(cmp.Or(s.WorkingDirectory, defaults[0].Run.WorkingDirectory, defaults[1].Run.WorkingDirectory), r.st)
	if err != nil {
		return fail("The template is not valid. " + err.Error())
	}
	trimmed := strings.TrimSuffix(script, "\n")
	first, _, _ := strings.Cut(trimmed, "\n")
	r.log.say(header("Run "+first, strings.Split(trimmed, "\n"), program+" "+strings.Join(append(slices.Clone(args[1:]), "{0}"), " "), env)...)
	file := filepath.Join(r.temp, newGUID()+extension)
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		return fail(err.Error())
	}
	dir := filepath.Join(r.workspace, in)
	if filepath.IsAbs(in) {
		dir = in
	}
	if s.TimeoutMinutes != "" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, durationOf(minutes(s.TimeoutMinutes, defaultTimeout)))
		defer cancel()
	}
	return r.start(ctx, s, append(append([]string{program}, args[1:]...), file), dir, env)
}

func shellArgs(kind string) (args []string, extension string) {
	switch kind {
	case "":
		return []string{"bash", "-e"}, ".sh"
	case "bash":
		return []string{"bash", "--noprofile", "--norc", "-e", "-o", "pipefail"}, ".sh"
	case "sh":
		return []string{"sh", "-e"}, ".sh"
	case "python":
		return []string{"python"}, ".py"
	}
	return nil, ""
}

func (r *runner) lookPath(name string) (string, error) {
	if at := filepath.Join(r.bin, name); name == "python" {
		if _, err := os.Stat(at); err == nil {
			return at, nil
		}
	}
	return exec.LookPath(name)
}

// start runs a program in a process group of its own and in a clean environment.
func (r *runner) start(ctx context.Context, s *stepSpec, args []string, dir string, env map[string]string) string {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // running the repository's code is the job
	files := map[string]string{}
	for _, name := range []string{"GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY"} {
		files[name] = filepath.Join(r.temp, strings.ToLower(name)+"_"+newGUID())
		if err := os.WriteFile(files[name], nil, 0o600); err != nil {
			r.log.say("##[error]" + err.Error())
			return concludedFailure
		}
	}
	cmd.Dir, cmd.Env = dir, r.environment(env, files)
	cmd.Stdout, cmd.Stderr = r.log, r.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = orphanPause
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		if ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			return concludedCancelled // between two steps
		}
		r.log.say("##[error]An error occurred trying to start process '" + args[0] + "' with working directory '" + dir + "'. " + err.Error())
		return concludedFailure
	}
	r.groups = append(r.groups, cmd.Process.Pid)
	err := cmd.Wait()
	r.log.endOutput()
	if r.e.s.ctx.Err() == nil {
		r.readFiles(s, files)
	}
	switch {
	case ctx.Err() != nil && err != nil && s.TimeoutMinutes != "" && errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		r.log.say("##[error]The action '" + s.title(r.vars) + "' has timed out after " + s.TimeoutMinutes + " minutes.")
		return concludedFailure
	case ctx.Err() != nil && err != nil:
		return concludedCancelled
	case err == nil || errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success():
		return concludedSuccess
	}
	code := cmd.ProcessState.ExitCode()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		code = 128 + int(ws.Signal())
	}
	r.log.say(fmt.Sprintf("##[error]Process completed with exit code %d.", code))
	return concludedFailure
}

// environment is all that a step sees; nothing of the stand-in's own.
func (r *runner) environment(env, files map[string]string) []string {
	all := map[string]string{
		"PATH": strings.Join(append(slices.Clone(r.paths), r.bin, os.Getenv("PATH")), ":"), "HOME": r.home, "LANG": "C.UTF-8", "CI": "true",
		"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": r.workspace, "RUNNER_TEMP": r.temp, "RUNNER_OS": "Linux", "RUNNER_ARCH": "X64", "TMPDIR": r.temp,
		"RUNNER_NAME": "GitHub Actions 1", "RUNNER_ENVIRONMENT": "github-hosted", "PYTHONDONTWRITEBYTECODE": "1",
	}
	for name, key := range map[string]string{
		"GITHUB_SHA": "sha", "GITHUB_REF": "ref", "GITHUB_REF_NAME": "ref_name", "GITHUB_HEAD_REF": "head_ref", "GITHUB_BASE_REF": "base_ref",
		"GITHUB_EVENT_NAME": "event_name", "GITHUB_REPOSITORY": "repository", "GITHUB_REPOSITORY_OWNER": "repository_owner", "GITHUB_RUN_ID": "run_id",
		"GITHUB_RUN_NUMBER": "run_number", "GITHUB_RUN_ATTEMPT": "run_attempt", "GITHUB_WORKFLOW": "workflow", "GITHUB_ACTOR": "actor",
		"GITHUB_JOB": "job", "GITHUB_SERVER_URL": "server_url", "GITHUB_API_URL": "api_url",
	} {
		all[name] = r.vars["github."+key]
	}
	maps.Copy(all, files)
	maps.Copy(all, env)
	out := make([]string, 0, len(all))
	for _, k := range sortedKeys(all) {
		out = append(out, k+"="+all[k])
	}
	return out
}

// readFiles takes over what a step wrote for the steps after it.
func (r *runner) readFiles(s *stepSpec, files map[string]string) {
	read := func(name string) string {
		info, err := os.Lstat(files[name])
		if err != nil || !info.Mode().IsRegular() || info.Size() > maxCommandFile {
			return ""
		}
		b, err := os.ReadFile(files[name])
		if err != nil {
			return ""
		}
		return string(b)
	}
	r.setEnv(assignments(read("GITHUB_ENV")))
	for line := range strings.SplitSeq(read("GITHUB_PATH"), "\n") {
		if line != "" {
			r.paths = append([]string{line}, r.paths...)
		}
	}
	if s.ID != "" {
		for k, x := range assignments(read("GITHUB_OUTPUT")) {
			r.vars["steps."+s.ID+".outputs."+k] = x
		}
	}
}

// cleanUp ends what the job's steps left running and removes its files.
func (r *runner) cleanUp() {
	for _, pgid := range r.groups {
		_ = syscall.Kill(-pgid, syscall.SIGKILL) // mostly there is none left
	}
	if r.root != "" {
		if err := os.RemoveAll(r.root); err != nil {
			r.e.s.log.Warn("a job's directory was not removed", "error", err)
		}
	}
}

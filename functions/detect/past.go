package detect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Past is what detect reads of the time before a failure.
type Past interface {
	// GreenRuns returns the latest successful runs of a workflow on a branch,
	// newest first.
	GreenRuns(ctx context.Context, repo domain.Repo, q domain.RunQuery) ([]domain.Run, error)
	// Pull returns a pull request, of which the base is wanted.
	Pull(ctx context.Context, repo domain.Repo, number int) (domain.Pull, error)
	Compare(ctx context.Context, repo domain.Repo, base, head string) (domain.Comparison, error)
	// ChangedFiles returns what a commit changed; cut tells that it is not all.
	ChangedFiles(ctx context.Context, repo domain.Repo, sha string) (files []domain.ChangedFile, cut bool, err error)
	// PullOfCommit returns the number of the pull request that brought a commit to a
	// branch, 0 for none.
	PullOfCommit(ctx context.Context, repo domain.Repo, sha, branch string) (int, error)
}

const (
	// maxGreenRuns is how many green runs are looked at for the failed job.
	maxGreenRuns = 5
	// maxReadCommits is how many commits' own files are read, the newest ones.
	maxReadCommits = 20
	// maxFresh is for how many new failures of one attempt the past is looked at.
	maxFresh = 4
	// pastTimeout bounds finding the green runs, and again finding out what changed;
	// greenTimeout bounds reading green logs. Together they are half of the time that
	// a handler has.
	pastTimeout  = 30 * time.Second
	greenTimeout = 60 * time.Second
	// pastTries is how often an attempt is reported anew because the past could not
	// be read; then the incident is opened without.
	pastTries = 2
)

// past is what was looked up of the time before a failed run, once for all of its
// failures.
type past struct {
	// runs are the last green runs, newest first, of branch; ofBase tells that it is
	// not the failed run's own.
	runs   []domain.Run
	branch string
	ofBase bool
	jobs   map[int64][]domain.Job // by the run's id
	diffs  map[string]domain.Comparison
	// left is how long reading green logs may still take.
	left time.Duration
}

// lookBack looks at the past of the failures that are new on a branch: it reads
// the diagnosis again where the last green runs' logs hold the same line, and
// finds out what changed since the last green run.
//
// A failure that stands already has been looked at when it was opened; what it
// costs, about 30 calls, is paid once an incident. What can't be read is a problem
// that is stated and never keeps an incident from being opened; only what may go
// away at once is waited for, by reporting the attempt again.
func (s *sighting) lookBack(ctx context.Context, branch string) error {
	fresh, err := s.fresh(ctx, branch)
	if err != nil || len(fresh) == 0 {
		return err
	}
	p, err := s.readPast(ctx, branch)
	if err != nil {
		return s.unreadPast(ctx, err)
	}
	for _, g := range fresh {
		if err := s.weigh(ctx, p, g); err != nil {
			return err
		}
	}
	// Weighing may have told failures apart anew.
	if fresh, err = s.fresh(ctx, branch); err != nil {
		return err
	}
	cctx, cancel := context.WithTimeout(ctx, pastTimeout)
	defer cancel()
	s.changes = map[string]*domain.Change{}
	for _, g := range fresh {
		c, err := s.change(cctx, p, g, branch)
		if err != nil {
			return s.unreadPast(ctx, err)
		}
		s.changes[g.fingerprint] = c
	}
	return nil
}

// fresh are the failures of the attempt that don't stand on the branch yet.
func (s *sighting) fresh(ctx context.Context, branch string) ([]group, error) {
	var out []group
	for _, g := range s.groups() {
		_, standing, err := s.f.Store.StandingIncident(ctx, s.repo.ID, branch, s.run.WorkflowPath, g.fingerprint)
		if err != nil {
			return nil, fmt.Errorf("look up the incident: %w", err)
		}
		if !standing && len(out) < maxFresh {
			out = append(out, g)
		}
	}
	return out, nil
}

// unreadPast decides what an error of reading the past comes to.
func (s *sighting) unreadPast(ctx context.Context, err error) error {
	if ctx.Err() != nil || domain.KindOf(err) == domain.Transient && s.work.Attempts <= pastTries {
		return fmt.Errorf("look up what changed: %w", err)
	}
	s.problem("what changed since the last green run could not be looked up: %v", err)
	return nil
}

// readPast finds the last green runs: of the run's branch, or where it has none of
// the branch that it will be merged into. branch is what incidents of the run
// belong to.
func (s *sighting) readPast(ctx context.Context, branch string) (*past, error) {
	ctx, cancel := context.WithTimeout(ctx, pastTimeout)
	defer cancel()
	p := &past{branch: s.run.HeadBranch, jobs: map[int64][]domain.Job{}, diffs: map[string]domain.Comparison{}, left: greenTimeout}
	find := func(branch string, headRepoID int64) ([]domain.Run, error) {
		return s.f.GitHub.GreenRuns(ctx, s.repo, domain.RunQuery{
			Workflow: s.run.WorkflowPath, Branch: branch, HeadRepoID: headRepoID, Before: s.run.CreatedAt, BeforeID: s.run.ID, Limit: maxGreenRuns,
		})
	}
	ours := s.run.HeadRepoID == s.repo.ID
	base := branch
	// What the bot itself tried is no state that anybody had: the past of its
	// branches is that of what they are to repair.
	if !ours || !domain.OwnBranch(s.run.HeadBranch) {
		var err error
		if s.run.HeadBranch != "" && s.run.HeadRepoID != 0 {
			if p.runs, err = find(p.branch, s.run.HeadRepoID); err != nil {
				return nil, fmt.Errorf("find the last green run: %w", err)
			}
		}
		if len(p.runs) > 0 {
			return p, nil
		}
		if base, err = s.baseBranch(ctx); err != nil {
			return nil, err
		}
	}
	if base == "" || ours && base == p.branch {
		return p, nil
	}
	var err error
	p.branch, p.ofBase = base, true
	if p.runs, err = find(base, s.repo.ID); err != nil {
		return nil, fmt.Errorf("find the last green run of the base: %w", err)
	}
	return p, nil
}

// baseBranch is the branch that the run's is to be merged into, as far as that is
// known: a fork's run doesn't name its pull request.
func (s *sighting) baseBranch(ctx context.Context) (string, error) {
	if !merges(s.run.Event) || len(s.run.PullRequests) == 0 {
		return s.repo.DefaultBranch, nil
	}
	pull, err := s.f.GitHub.Pull(ctx, s.repo, s.run.PullRequests[0])
	if errors.Is(err, domain.ErrNotFound) {
		return s.repo.DefaultBranch, nil
	}
	if err != nil {
		return "", fmt.Errorf("find the pull request's base: %w", err)
	}
	return pull.BaseBranch, nil
}

func merges(event string) bool { return event == "pull_request" || event == "pull_request_target" }

// passedIn returns the job of a name in a green run, if it passed there.
func (s *sighting) passedIn(ctx context.Context, p *past, run domain.Run, name string) (domain.Job, bool, error) {
	jobs, known := p.jobs[run.ID]
	if !known {
		var err error
		if jobs, err = s.f.GitHub.Jobs(ctx, s.repo, run.ID, run.Attempt); err != nil {
			return domain.Job{}, false, fmt.Errorf("list a green run's jobs: %w", err)
		}
		p.jobs[run.ID] = jobs
	}
	for _, j := range jobs {
		if j.Name == name && j.Conclusion == domain.Success {
			return j, true, nil
		}
	}
	return domain.Job{}, false, nil
}

// weigh diagnoses a failure again if its line stands in the job's green logs too.
// It is read twice only then, since only then the answer can differ. Errors are
// problems: the first diagnosis holds.
func (s *sighting) weigh(ctx context.Context, p *past, g group) error {
	primary := g.diagnosis.Primary
	if primary.Category == domain.Unknown || primary.Text == "" || g.job.ID == 0 || p.left <= 0 {
		return nil
	}
	began := s.f.Now()
	defer func() { p.left -= s.f.Now().Sub(began) }()
	gctx, cancel := context.WithTimeout(ctx, p.left)
	defer cancel()
	baseline := newGreenLines()
	for _, run := range p.runs {
		if baseline.logs == greenLogs {
			break
		}
		err := s.readGreen(gctx, p, run, g.job.Name, baseline)
		if ctx.Err() != nil {
			return fmt.Errorf("read the green runs' logs: %w", context.Cause(ctx))
		}
		if err != nil {
			s.problem("the log of job %q in the green run %d could not be compared: %v", g.job.Name, run.ID, err)
			break
		}
	}
	if baseline.Seen(primary.Text) == 0 {
		return nil
	}
	first, err := s.readLog(gctx, g.job, baseline)
	if ctx.Err() != nil {
		return fmt.Errorf("read the log again: %w", context.Cause(ctx))
	}
	if err != nil {
		s.problem("the log of job %q could not be compared with those of green runs: %v", g.job.Name, err)
		return nil
	}
	same := first.Primary.Fingerprint() == g.fingerprint
	for i := range s.legs {
		l := &s.legs[i]
		if !l.failed() || l.diagnosis.Primary.Fingerprint() != g.fingerprint {
			continue
		}
		switch {
		case l.job.ID == g.job.ID:
			l.diagnosis = &first
		case !same:
			// The other legs said the same, so they are read again as well.
			if d, err := s.readLog(gctx, l.job, baseline); err == nil {
				l.diagnosis = &d
			} else if ctx.Err() != nil {
				return fmt.Errorf("read the log again: %w", context.Cause(ctx))
			} else {
				s.problem("the log of job %q could not be compared with those of green runs: %v", l.job.Name, err)
			}
		}
	}
	return nil
}

// readGreen adds the log of a green job to a baseline. Logs that are gone are
// left out: they expire.
func (s *sighting) readGreen(ctx context.Context, p *past, run domain.Run, name string, into *greenLines) error {
	job, passed, err := s.passedIn(ctx, p, run, name)
	if err != nil || !passed {
		return err
	}
	body, err := s.f.GitHub.JobLog(ctx, s.repo, job.ID)
	if errors.Is(err, domain.ErrNotFound) || errors.Is(err, domain.ErrGone) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("download the log: %w", err)
	}
	defer body.Close()
	if err := into.add(ctx, body); err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	return nil
}

// change finds out what lies between the last green run and this one.
func (s *sighting) change(ctx context.Context, p *past, g group, branch string) (*domain.Change, error) {
	c := &domain.Change{HeadSHA: s.run.HeadSHA, Branch: branch, Event: s.run.Event}
	if s.run.Event == "pull_request_target" {
		// It runs what the base has, not what the pull request brings.
		return nil, nil
	}
	if len(p.runs) == 0 {
		return c, nil
	}
	last, found := p.runs[0], g.job.Name == ""
	for _, run := range p.runs {
		if found {
			break
		}
		_, passed, err := s.passedIn(ctx, p, run, g.job.Name)
		if err != nil {
			return nil, err
		}
		if passed {
			last, found = run, true
		}
	}
	c.Green, c.GreenSHA, c.GreenBranch, c.WithoutJob = reference(last), last.HeadSHA, branch, !found
	if p.ofBase {
		c.GreenBranch = p.branch
	}
	if last.HeadSHA == s.run.HeadSHA {
		c.Status = "identical"
		return c, nil
	}
	diff, err := s.compare(ctx, p, last.HeadSHA)
	switch {
	case errors.Is(err, domain.ErrNotFound), errors.Is(err, domain.ErrTooLarge):
		s.problem("the commit could not be compared with the last green one, %s: %v", last.HeadSHA, err)
		return c, nil
	case err != nil:
		return nil, err
	}
	c.Status, c.Commits, c.Files = diff.Status, diff.Total, len(diff.Files)
	c.Truncated = diff.FilesCut || diff.Total > len(diff.Commits)
	if diff.Status == "behind" {
		return c, nil
	}
	c.Suspects = Suspects(g.diagnosis.Primary, diff)
	for i := range c.Suspects {
		if sus := &c.Suspects[i]; sus.SHA != "" {
			// A number more or less is worth no error.
			sus.Pull, _ = s.f.GitHub.PullOfCommit(ctx, s.repo, sus.SHA, p.branch)
		}
	}
	return c, nil
}

// compare compares the run's commit with a green one and reads the files of the
// newest commits between them.
func (s *sighting) compare(ctx context.Context, p *past, green string) (domain.Comparison, error) {
	if diff, known := p.diffs[green]; known {
		return diff, nil
	}
	diff, err := s.f.GitHub.Compare(ctx, s.repo, green, s.run.HeadSHA)
	if err != nil {
		return domain.Comparison{}, fmt.Errorf("compare with the last green run's commit: %w", err)
	}
	if diff.Total > 1 || diff.FilesCut {
		s.readCommits(ctx, diff.Commits)
	}
	p.diffs[green] = diff
	return diff, nil
}

// readCommits reads the files of the newest commits. Merges bring what other
// commits bring; they are read where there is nothing else. A commit that can't be
// read stays unread, which Suspects says.
func (s *sighting) readCommits(ctx context.Context, commits []domain.ChangedCommit) {
	merges := true
	for _, c := range commits {
		merges = merges && c.Parents > 1
	}
	read := 0
	for i := len(commits) - 1; i >= 0 && read < maxReadCommits && ctx.Err() == nil; i-- {
		c := &commits[i]
		if c.Parents > 1 && !merges {
			continue
		}
		read++
		files, cut, err := s.f.GitHub.ChangedFiles(ctx, s.repo, c.SHA)
		if err != nil {
			s.problem("the files of commit %s could not be read: %v", c.SHA, err)
			if domain.KindOf(err) != domain.Invalid {
				return
			}
			continue
		}
		// Of a commit with too many files the comparison knows no less.
		c.Files, c.Read = files, !cut
	}
}

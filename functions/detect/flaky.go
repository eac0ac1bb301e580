package detect

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

const (
	// minCommits and minAuthors are over how many commits and people a failure
	// must come and go: one commit may be unlucky, one person may test something.
	minCommits, minAuthors = 2, 2
	// maxFlips bounds how many flips are weighed, the latest ones.
	maxFlips = 200
)

// History reads the stored reports.
type History interface {
	// FailureHistory returns the reports of the commits on which a workflow failed
	// with a fingerprint since a time, green ones included.
	FailureHistory(ctx context.Context, repoID int64, workflow, fingerprint string, since time.Time) ([]domain.RunReport, error)
}

// FlakySoFar looks up whether a failure comes and goes, the attempt that is
// being reported included, which isn't stored yet. It returns nil where the
// history doesn't show it; the error is the store's.
func FlakySoFar(ctx context.Context, h History, current domain.RunReport, fingerprint string, now time.Time) (*domain.Flakiness, error) {
	reports, err := h.FailureHistory(ctx, current.Repo.ID, current.Run.WorkflowPath, fingerprint, now.Add(-domain.FlakyWindow))
	if err != nil {
		return nil, fmt.Errorf("look up the failure's history: %w", err)
	}
	return Flaky(current.Repo.ID, current.Run.WorkflowPath, fingerprint, append(reports, current), now), nil
}

// Flaky decides from the reports of one workflow whether a failure comes and
// goes without anybody changing anything, and returns the evidence or nil. It is
// pure, and never looks at what a log says.
//
// The same job of the same commit must have failed with the fingerprint and then
// passed, within domain.FlakyWindow before now: in a later attempt of the run, or
// in another run of the same event on the same branch where such a run checks out
// the same files (a pull request's merges its base anew, and who dispatches one
// may give other inputs). Skipped and cancelled is not passed, and neither is
// another leg of the matrix. This must have happened on two commits of two
// people.
//
// An outage that somebody ended, an expired token for instance, looks the same if
// the reruns come after it: then everything failed before one moment and passed
// after it. So the failure must also have come back: one commit's job had passed
// before the other's began to fail.
//
// Forks don't count: whoever writes there could make any failure look flaky. Nor
// do the bot's own branches, whose commits are attempts at the failure. Nor does
// a failure of unknown cause, since nothing tells that it was the same one.
func Flaky(repoID int64, workflow, fingerprint string, reports []domain.RunReport, now time.Time) *domain.Flakiness {
	since := now.Add(-domain.FlakyWindow)
	all := flips(fingerprint, comparables(repoID, workflow, since, reports))
	people := authors(all)
	a, b, found := recurrence(all, people)
	if !found {
		return nil
	}
	commits, persons := map[string]bool{}, map[int]bool{}
	out := &domain.Flakiness{Fingerprint: fingerprint, Since: since, Until: now, Seen: len(all)}
	for i, f := range all {
		commits[f.Commit], persons[people[i]] = true, true
	}
	out.Commits, out.Authors = len(commits), len(persons)
	if out.Commits < minCommits || out.Authors < minAuthors {
		return nil
	}
	out.Flips = []domain.Flip{all[a].Flip, all[b].Flip}
	for i, f := range all {
		if i != a && i != b && len(out.Flips) < domain.MaxFlips {
			out.Flips = append(out.Flips, f.Flip)
		}
	}
	slices.SortStableFunc(out.Flips, latestFirst)
	return out
}

func latestFirst(a, b domain.Flip) int {
	return cmp.Or(b.Green.EndedAt.Compare(a.Green.EndedAt), cmp.Compare(b.Green.RunID, a.Green.RunID), cmp.Compare(a.Job, b.Job))
}

// sameFiles is what attempts must share to run the same job on the same files.
// Of events whose runs are not repetitions of each other it names the run.
type sameFiles struct {
	commit, branch, event string
	run                   int64
}

// repeats tells of events whose runs check out their head commit and nothing
// else, with no other input.
func repeats(event string) bool {
	return event == "push" || event == "schedule" || event == "merge_group"
}

// comparables returns the reports that can show a flip, by what they ran on, in
// the order of time.
func comparables(repoID int64, workflow string, since time.Time, reports []domain.RunReport) map[sameFiles][]domain.RunReport {
	type attempt struct {
		run    int64
		number int
	}
	latest := map[attempt]domain.RunReport{}
	for _, r := range reports {
		run := r.Run
		switch {
		case r.Repo.ID != repoID, run.WorkflowPath != workflow, run.HeadSHA == "":
		case run.HeadRepoID != repoID, domain.OwnBranch(run.HeadBranch):
		case run.StartedAt.Before(since), run.UpdatedAt.Before(run.StartedAt):
		default:
			latest[attempt{run.ID, run.Attempt}] = r
		}
	}
	out := map[sameFiles][]domain.RunReport{}
	for _, r := range latest {
		key := sameFiles{commit: r.Run.HeadSHA, branch: r.Run.HeadBranch, event: r.Run.Event}
		if !repeats(key.event) {
			key.run = r.Run.ID
		}
		out[key] = append(out[key], r)
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b domain.RunReport) int {
			return cmp.Or(a.Run.StartedAt.Compare(b.Run.StartedAt), cmp.Compare(a.Run.ID, b.Run.ID), cmp.Compare(a.Run.Attempt, b.Run.Attempt))
		})
	}
	return out
}

// flip is a domain.Flip with the marks by which its author is known.
type flip struct {
	domain.Flip
	marks []string
}

// flips returns what failed and passed, the latest first, at most maxFlips.
func flips(fingerprint string, groups map[sameFiles][]domain.RunReport) []flip {
	var out []flip
	for key, list := range groups {
		// The first red attempt of each job that no green one has followed yet. A job
		// that is not run again is listed with each later attempt once more, so the
		// first one is when it really failed.
		red := map[string]domain.RunReport{}
		for _, r := range list {
			shown := map[string]bool{}
			for _, leg := range r.Legs {
				if shown[leg.Job] {
					continue
				}
				shown[leg.Job] = true
				before, failed := red[leg.Job]
				switch {
				case shows(leg, fingerprint) && !failed:
					red[leg.Job] = r
				case failed && passed(r, leg.Job) && again(before.Run, r.Run):
					delete(red, leg.Job)
					marks, name := author(r.Run)
					if name == "" {
						continue // nobody's
					}
					out = append(out, flip{domain.Flip{
						Commit: key.commit, Branch: key.branch, Event: key.event, Author: name, Job: leg.Job,
						Red: reference(before.Run), Green: reference(r.Run),
					}, marks})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b flip) int {
		return cmp.Or(latestFirst(a.Flip, b.Flip), cmp.Compare(a.Commit, b.Commit), cmp.Compare(a.Branch, b.Branch), cmp.Compare(a.Event, b.Event))
	})
	return out[:min(len(out), maxFlips)]
}

// shows reports whether a leg failed by itself, and with the fingerprint.
func shows(l domain.LegReport, fingerprint string) bool {
	return fingerprint != "" && l.Fingerprint == fingerprint && l.Category != domain.Unknown &&
		(l.Conclusion == domain.Failure || l.Conclusion == domain.TimedOut)
}

// passed reports whether all jobs of a name were executed and passed.
func passed(r domain.RunReport, job string) bool {
	found := false
	for _, l := range r.Legs {
		if l.Job != job {
			continue
		}
		if l.Conclusion != domain.Success {
			return false
		}
		found = true
	}
	return found
}

// again reports whether one attempt came after another of the same files.
func again(red, green domain.Run) bool {
	if red.ID == green.ID {
		return green.Attempt > red.Attempt
	}
	return !green.StartedAt.Before(red.UpdatedAt)
}

func reference(r domain.Run) domain.AttemptRef {
	return domain.AttemptRef{RunID: r.ID, Attempt: r.Attempt, HTMLURL: r.HTMLURL, StartedAt: r.StartedAt, EndedAt: r.UpdatedAt}
}

// author returns the marks by which a commit's author is known, and a name to
// show; none where nobody is. Who started a scheduled run or pressed the merge
// button says nothing about the commit, so the login counts where a person pushes
// to a pull request, or where a push is all that is known.
func author(r domain.Run) (marks []string, name string) {
	fold := func(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }
	if s := fold(r.Author); s != "" {
		marks, name = append(marks, "name "+s), r.Author
	}
	if r.AuthorMark != "" {
		marks, name = append(marks, "mail "+r.AuthorMark), cmp.Or(name, r.Actor, "somebody")
	}
	if s := fold(r.Actor); s != "" && (r.Event == "pull_request" || len(marks) == 0 && r.Event == "push") {
		marks, name = append(marks, "login "+s), cmp.Or(name, r.Actor)
	}
	return append(marks, "commit "+r.HeadSHA), name
}

// authors numbers the people of the flips: two flips are one person's if they
// share a mark, directly or by way of others.
func authors(all []flip) []int {
	people := make([]int, len(all))
	seen := map[string]int{}
	for i, f := range all {
		people[i] = i
		for _, m := range f.marks {
			known, ok := seen[m]
			if !ok {
				seen[m] = people[i]
				continue
			}
			if from, to := people[i], known; from != to {
				for j := range people[:i+1] {
					if people[j] == from {
						people[j] = to
					}
				}
				for k, v := range seen {
					if v == from {
						seen[k] = to
					}
				}
			}
		}
	}
	return people
}

// recurrence finds two flips of two people of which one was over before the
// other began.
func recurrence(all []flip, people []int) (a, b int, found bool) {
	for a := range all {
		for b := range all {
			if people[a] != people[b] && !all[b].Red.StartedAt.Before(all[a].Green.EndedAt) {
				return a, b, true
			}
		}
	}
	return 0, 0, false
}

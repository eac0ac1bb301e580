package github

import (
	"context"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	gh "github.com/google/go-github/v62/github"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

const (
	// maxRunPages of runsPerPage runs are looked through for green ones: forks'
	// branches of the same name may stand between them, and later runs before them.
	maxRunPages = 3
	runsPerPage = 30
	// maxPatch is how many bytes of one file's diff are kept, maxPatches of all.
	maxPatch   = 64 << 10
	maxPatches = 4 << 20
	// maxSubject is how many bytes of a message's first line are kept, maxPath how
	// many a path may have: a longer one is left out, since it is none when cut.
	maxSubject = 200
	maxPath    = 1024
)

// workflowFile is the name of a workflow's file, by which the API finds it.
var workflowFile = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_. -]{0,200}\.ya?ml$`)

// GreenRuns returns the latest successful runs of a workflow on a branch, newest
// first, that were created before another one. The error is Invalid for a workflow
// that has no file, and wraps ErrNotFound for one that GitHub doesn't know.
func (c *Client) GreenRuns(ctx context.Context, repo domain.Repo, q domain.RunQuery) ([]domain.Run, error) {
	k := on("list the workflow's green runs", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return nil, err
	}
	if err := checkBranch(k.op, q.Branch); err != nil {
		return nil, err
	}
	file := path.Base(q.Workflow)
	if path.Dir(q.Workflow) != ".github/workflows" || !workflowFile.MatchString(file) {
		return nil, domain.Errorf(domain.Invalid, k.op, "%q is not the path of a workflow", clean(q.Workflow))
	}
	type answer struct {
		Runs []*workflowRun `json:"workflow_runs"`
	}
	var green []domain.Run
	for page := 1; page <= maxRunPages && len(green) < q.Limit; page++ {
		values := url.Values{
			"branch": {q.Branch}, "status": {"success"}, "exclude_pull_requests": {"true"}, "page": {strconv.Itoa(page)}, "per_page": {strconv.Itoa(runsPerPage)},
		}
		a, err := read(ctx, c, k, func(ctx context.Context, api *gh.Client) (*answer, error) {
			a, _, err := get[answer](ctx, api, repoPath(repo, "actions", "workflows", file, "runs")+"?"+values.Encode())
			return a, err
		})
		if err != nil {
			return nil, err
		}
		for _, r := range a.Runs {
			// A server that doesn't know a filter answers with every run.
			run := toRun(repo, r)
			if run.Conclusion == domain.Success && run.HeadBranch == q.Branch && run.HeadRepoID == q.HeadRepoID && run.WorkflowPath == q.Workflow &&
				(run.CreatedAt.Before(q.Before) || run.CreatedAt.Equal(q.Before) && run.ID < q.BeforeID) && objectID.MatchString(run.HeadSHA) && len(green) < q.Limit {
				green = append(green, run)
			}
		}
		if len(a.Runs) < runsPerPage {
			break
		}
	}
	return green, nil
}

// Compare returns what head has that base, or where they diverged their common
// ancestor, doesn't. Both are object ids, also of a fork's commits. The error
// wraps ErrNotFound when one of them is gone or they have nothing in common.
func (c *Client) Compare(ctx context.Context, repo domain.Repo, base, head string) (domain.Comparison, error) {
	k := on("compare the commits", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return domain.Comparison{}, err
	}
	for _, sha := range []string{base, head} {
		if err := checkSHA(k.op, sha); err != nil {
			return domain.Comparison{}, err
		}
	}
	fetch := func(page int) (*gh.CommitsComparison, error) {
		return read(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.CommitsComparison, error) {
			q := url.Values{"page": {strconv.Itoa(page)}, "per_page": {strconv.Itoa(perPage)}}
			a, _, err := get[gh.CommitsComparison](ctx, api, repoPath(repo, "compare", base+"..."+head)+"?"+q.Encode())
			return a, err
		})
	}
	first, err := fetch(1)
	if err != nil {
		return domain.Comparison{}, err
	}
	out := domain.Comparison{Status: first.GetStatus(), Total: first.GetTotalCommits()}
	switch out.Status {
	case "ahead", "behind", "identical", "diverged":
	default:
		return domain.Comparison{}, incomplete(k.op)
	}
	// Commits come oldest first, the files with the first page. The newest commits
	// are on the last page and the one before it.
	commits := first.Commits
	if last := (out.Total + perPage - 1) / perPage; last > 1 {
		commits = nil
		for page := last - 1; page <= last; page++ {
			a := first
			if page > 1 {
				if a, err = fetch(page); err != nil {
					return domain.Comparison{}, err
				}
			}
			commits = append(commits, a.Commits...)
		}
	}
	commits = commits[max(0, len(commits)-domain.MaxComparedCommits):]
	for _, rc := range commits {
		if !objectID.MatchString(rc.GetSHA()) {
			return domain.Comparison{}, incomplete(k.op)
		}
		out.Commits = append(out.Commits, toChangedCommit(rc))
	}
	out.Files, out.FilesCut = toChangedFiles(first.Files)
	return out, nil
}

// ChangedFiles returns what a commit changed against its first parent, at most
// 100 files; cut tells that there are more.
func (c *Client) ChangedFiles(ctx context.Context, repo domain.Repo, sha string) (files []domain.ChangedFile, cut bool, err error) {
	k := on("read the commit's files", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return nil, false, err
	}
	if err := checkSHA(k.op, sha); err != nil {
		return nil, false, err
	}
	type answer struct {
		commit *gh.RepositoryCommit
		more   bool
	}
	got, err := read(ctx, c, k, func(ctx context.Context, api *gh.Client) (answer, error) {
		rc, resp, err := api.Repositories.GetCommit(ctx, repo.Owner(), repo.Name(), sha, &gh.ListOptions{PerPage: perPage})
		if err != nil {
			return answer{}, err
		}
		return answer{rc, resp.NextPage > 0}, nil
	})
	if err != nil {
		return nil, false, err
	}
	if got.commit.GetSHA() != sha {
		return nil, false, incomplete(k.op)
	}
	files, cut = toChangedFiles(got.commit.Files)
	return files, cut || got.more, nil
}

// PullOfCommit returns the number of the pull request that brought a commit to a
// branch, and 0 where there is none: of several the merged one into that branch,
// or else the latest.
func (c *Client) PullOfCommit(ctx context.Context, repo domain.Repo, sha, branch string) (int, error) {
	k := on("find the commit's pull request", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return 0, err
	}
	if err := checkSHA(k.op, sha); err != nil {
		return 0, err
	}
	all, err := read(ctx, c, k, func(ctx context.Context, api *gh.Client) ([]*gh.PullRequest, error) {
		ps, _, err := api.PullRequests.ListPullRequestsWithCommit(ctx, repo.Owner(), repo.Name(), sha, &gh.ListOptions{PerPage: perPage})
		return ps, err
	})
	if err != nil {
		return 0, err
	}
	best, brought := 0, false
	for _, p := range all {
		pull := toPull(p)
		if pull.Number <= 0 || p.GetBase().GetRepo().GetID() != repo.ID {
			continue
		}
		in := pull.Merged && pull.BaseBranch == branch
		if in && !brought || in == brought && pull.Number > best {
			best, brought = pull.Number, in
		}
	}
	return best, nil
}

func toChangedCommit(rc *gh.RepositoryCommit) domain.ChangedCommit {
	message := rc.GetCommit().GetMessage()
	subject, _, _ := strings.Cut(strings.TrimSpace(message[:min(len(message), 4*maxSubject)]), "\n")
	author := rc.GetAuthor().GetLogin()
	if author == "" {
		author = rc.GetCommit().GetAuthor().GetName()
	}
	return domain.ChangedCommit{
		SHA: rc.GetSHA(), Author: bounded(author, maxAuthor), Subject: bounded(strings.TrimSpace(subject), maxSubject),
		HTMLURL: rc.GetHTMLURL(), Parents: len(rc.Parents),
	}
}

// bounded cuts text to limit bytes, between characters.
func bounded(text string, limit int) string {
	if len(text) <= limit {
		return strings.ToValidUTF8(text, "\uFFFD")
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}

// toChangedFiles bounds the files of an answer; cut tells that some are missing,
// here or at GitHub.
func toChangedFiles(in []*gh.CommitFile) (files []domain.ChangedFile, cut bool) {
	cut = len(in) >= domain.MaxComparedFiles
	left := maxPatches
	for _, f := range in[:min(len(in), domain.MaxComparedFiles)] {
		name, previous := f.GetFilename(), f.GetPreviousFilename()
		if name == "" || len(name) > maxPath || len(previous) > maxPath {
			cut = true
			continue
		}
		one := domain.ChangedFile{Path: name, Previous: previous, Status: f.GetStatus(), Patch: f.GetPatch()}
		if room := min(maxPatch, left); len(one.Patch) > room {
			one.Patch, one.PatchCut = wholeLines(one.Patch[:room]), true
		}
		// GitHub leaves out the diffs of large files, and says that lines changed.
		one.PatchCut = one.PatchCut || one.Patch == "" && f.GetChanges() > 0
		left -= len(one.Patch)
		files = append(files, one)
	}
	return files, cut
}

// wholeLines cuts what stands behind the last line break.
func wholeLines(text string) string {
	return text[:strings.LastIndexByte(text, '\n')+1]
}

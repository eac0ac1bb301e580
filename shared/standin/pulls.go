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

type pull struct {
	*issue
	ID         int64
	Draft      bool
	HeadRepo   *repository // nil once a fork is deleted
	HeadBranch string
	HeadSHA    string
	BaseBranch string
	BaseSHA    string
	MergeSHA   string // the test merge while open, the merge commit once merged; "" for a conflict
	MergedAt   time.Time
	MergedBy   *account
}

func (p *pull) conflicts() bool { return p.State == stateOpen && p.MergeSHA == "" }

func (s *Server) pullSimpleJSON(r *repository, p *pull) obj {
	repo := s.link("/repos/%s", r.full())
	n := strconv.Itoa(p.Number)
	u, web := repo+"/pulls/"+n, s.web("/%s/pull/%d", r.full(), p.Number)
	issue := repo + "/issues/" + n
	statuses := repo + "/statuses/" + p.HeadSHA
	href := func(to string) obj { return obj{"href": to} }
	side := func(of *repository, branch, sha string) obj {
		o := obj{"label": branch, "ref": branch, "sha": sha, "user": nil, "repo": nil}
		if of != nil {
			o["label"], o["user"], o["repo"] = of.Owner.Login+":"+branch, s.userJSON(of.Owner), s.repoJSON(of)
		}
		return o
	}
	return obj{
		"id": p.ID, "node_id": nodeID("PR", p.ID), "number": p.Number, "state": p.State, "locked": false, "title": p.Title, "body": orNull(p.Body), "user": s.userJSON(p.Author),
		"url": u, "html_url": web, "diff_url": web + ".diff", "patch_url": web + ".patch", "issue_url": issue, "commits_url": u + "/commits",
		"review_comments_url": u + "/comments", "review_comment_url": repo + "/pulls/comments{/number}", "comments_url": issue + "/comments", "statuses_url": statuses,
		"created_at": stamp(p.CreatedAt), "updated_at": stamp(p.UpdatedAt), "closed_at": stamp(p.ClosedAt), "merged_at": stamp(p.MergedAt),
		"merge_commit_sha": orNull(p.MergeSHA), "assignee": nil, "assignees": []obj{}, "requested_reviewers": []obj{}, "requested_teams": []obj{},
		"labels": rendered(p.Labels, s.labelJSON(r)), "milestone": nil, "draft": p.Draft, "author_association": r.association(p.Author),
		"auto_merge": nil, "active_lock_reason": nil,
		"head": side(p.HeadRepo, p.HeadBranch, p.HeadSHA), "base": side(r, p.BaseBranch, p.BaseSHA),
		"_links": obj{
			"self": href(u), "html": href(web), "issue": href(issue), "comments": href(issue + "/comments"), "review_comments": href(u + "/comments"),
			"review_comment": href(repo + "/pulls/comments{/number}"), "commits": href(u + "/commits"), "statuses": href(statuses),
		},
	}
}

func (s *Server) pullJSON(r *repository, p *pull) obj {
	o := s.pullSimpleJSON(r, p)
	files := s.pullFiles(r, p)
	additions, deletions := sum(files)
	state, mergeable := "clean", any(true)
	switch {
	case p.State == stateClosed:
		state, mergeable = "unknown", nil
	case p.conflicts():
		state, mergeable = "dirty", false
	case p.Draft:
		state = "draft"
	}
	for key, v := range (obj{
		"merged": !p.MergedAt.IsZero(), "mergeable": mergeable, "rebaseable": mergeable, "mergeable_state": state, "merged_by": s.userOrNull(p.MergedBy),
		"comments": len(p.Comments), "review_comments": 0, "maintainer_can_modify": false, "commits": len(r.Objects.since(p.BaseSHA, p.HeadSHA)),
		"additions": additions, "deletions": deletions, "changed_files": len(files),
	}) {
		o[key] = v
	}
	return o
}

func (s *Server) pullFiles(r *repository, p *pull) []change {
	common, err := r.Objects.commit(r.Objects.mergeBase(p.BaseSHA, p.HeadSHA))
	if err != nil {
		return nil
	}
	head, err := r.Objects.commit(p.HeadSHA)
	if err != nil {
		return nil
	}
	return r.Objects.diff(common.Tree, head.Tree)
}

func (c *call) pull() *pull { return c.repo.Pulls[int(c.int("number"))] }

func getPull(c *call) answer {
	p := c.pull()
	if p == nil {
		return notFound()
	}
	return ok(c.s.pullJSON(c.repo, p))
}

func listPulls(c *call) answer {
	q := c.r.URL.Query()
	state := cmp.Or(q.Get("state"), stateOpen)
	owner, branch, named := strings.Cut(q.Get("head"), ":")
	var in []*pull
	for _, p := range c.repo.Pulls {
		switch {
		case state != "all" && p.State != state:
		case q.Get("base") != "" && p.BaseBranch != q.Get("base"):
		case named && (p.HeadBranch != branch || p.HeadRepo == nil || !strings.EqualFold(p.HeadRepo.Owner.Login, owner)):
		default:
			in = append(in, p)
		}
	}
	slices.SortFunc(in, func(a, b *pull) int { return cmp.Compare(b.Number, a.Number) })
	if q.Get("direction") == "asc" {
		slices.Reverse(in)
	}
	return list(c, in, func(p *pull) obj { return c.s.pullSimpleJSON(c.repo, p) })
}

// newPull is a pull request to open.
type newPull struct {
	Title, Body, Head, Base string
	Draft                   bool
}

func createPull(c *call) answer {
	var in newPull
	if a, bad := c.decode(&in); bad {
		return a
	}
	switch {
	case in.Head == "":
		return missing("head")
	case in.Base == "":
		return missing("base")
	case strings.TrimSpace(in.Title) == "":
		return missing("title")
	}
	if a, long := tooLong("PullRequest", "title", in.Title, maxTitle); long {
		return a
	}
	if a, long := tooLong("PullRequest", "body", in.Body, maxText); long {
		return a
	}
	p, a, refused := c.s.openPull(c.repo, in, c.actor())
	if refused {
		return a
	}
	return created(c.s.pullJSON(c.repo, p))
}

// headOf finds the repository and the branch of "branch" or "owner:branch".
func (s *Server) headOf(r *repository, head string) (*repository, string) {
	owner, branch, cross := strings.Cut(head, ":")
	if !cross {
		return r, head
	}
	if strings.EqualFold(owner, r.Owner.Login) {
		return r, branch
	}
	for _, other := range s.repos {
		if other.Parent == r && strings.EqualFold(other.Owner.Login, owner) {
			return other, branch
		}
	}
	return nil, branch
}

func (s *Server) openPull(r *repository, n newPull, by *account) (*pull, answer, bool) {
	from, branch := s.headOf(r, n.Head)
	if from == nil || from.head(branch) == "" {
		return nil, invalid("PullRequest", "head", "invalid", ""), true
	}
	base := r.head(n.Base)
	if base == "" {
		return nil, invalid("PullRequest", "base", "invalid", ""), true
	}
	head := from.head(branch)
	for _, p := range r.Pulls {
		if p.State == stateOpen && p.HeadRepo == from && p.HeadBranch == branch && p.BaseBranch == n.Base {
			return nil, invalid("PullRequest", "", "custom", fmt.Sprintf("A pull request already exists for %s:%s.", from.Owner.Login, branch)), true
		}
	}
	switch {
	case len(r.Objects.since(base, head)) == 0:
		return nil, invalid("PullRequest", "", "custom", fmt.Sprintf("No commits between %s and %s", n.Base, branch)), true
	case r.Objects.mergeBase(base, head) == "":
		return nil, invalid("PullRequest", "", "custom", fmt.Sprintf("The %s branch has no history in common with %s", branch, n.Base)), true
	}
	i := s.addIssue(r, n.Title, n.Body, by)
	p := &pull{issue: i, ID: s.id(), Draft: n.Draft, HeadRepo: from, HeadBranch: branch, HeadSHA: head, BaseBranch: n.Base, BaseSHA: base}
	i.Pull = p
	r.Pulls[p.Number] = p
	s.testMerge(r, p)
	s.emitPull(r, p, "opened", by, nil)
	s.triggerPull(r, p, by, "opened")
	return p, answer{}, false
}

// testMerge makes the commit that GitHub runs a pull request's workflows on.
func (s *Server) testMerge(r *repository, p *pull) {
	r.Refs[fmt.Sprintf("refs/pull/%d/head", p.Number)] = p.HeadSHA
	at := fmt.Sprintf("refs/pull/%d/merge", p.Number)
	tree, clean := r.Objects.merge(p.BaseSHA, p.HeadSHA)
	if !clean {
		p.MergeSHA = ""
		delete(r.Refs, at)
		return
	}
	p.MergeSHA = s.mergeCommit(r, tree, []string{p.BaseSHA, p.HeadSHA}, p.Author, fmt.Sprintf("Merge %s into %s", p.HeadSHA, p.BaseSHA))
	r.Refs[at] = p.MergeSHA
}

func (s *Server) mergeCommit(r *repository, tree string, parents []string, by *account, message string) string {
	return r.Objects.putCommit(commit{
		Tree: tree, Parents: parents, Author: person{by.Login, by.email(), s.now()}, Committer: person{"GitHub", "noreply@github.com", s.now()},
		Message: message, Signature: signatureText,
	})
}

func updatePull(c *call) answer {
	p := c.pull()
	if p == nil {
		return notFound()
	}
	var in struct{ Title, Body, State, Base *string }
	if a, bad := c.decode(&in); bad {
		return a
	}
	switch {
	case in.State != nil && *in.State != stateOpen && *in.State != stateClosed:
		return invalid("PullRequest", "state", "invalid", "")
	case in.State != nil && *in.State == stateOpen && !p.MergedAt.IsZero():
		return invalid("PullRequest", "state", "custom", "The pull request is merged.")
	case in.Base != nil && c.repo.head(*in.Base) == "":
		return invalid("PullRequest", "base", "invalid", "")
	}
	if in.Title != nil {
		p.Title = *in.Title
	}
	if in.Body != nil {
		p.Body = *in.Body
	}
	if in.Base != nil {
		p.BaseBranch, p.BaseSHA = *in.Base, c.repo.head(*in.Base)
		c.s.testMerge(c.repo, p)
	}
	p.UpdatedAt = c.s.now()
	if in.State != nil {
		c.s.setPullState(c.repo, p, *in.State, c.actor())
	}
	return ok(c.s.pullJSON(c.repo, p))
}

func (s *Server) setPullState(r *repository, p *pull, state string, by *account) {
	if p.State == state || !p.MergedAt.IsZero() {
		return
	}
	p.State, p.UpdatedAt = state, s.now()
	if state == stateClosed {
		p.ClosedAt, p.ClosedBy = s.now(), by
		s.emitPull(r, p, "closed", by, nil)
		return
	}
	p.ClosedAt, p.ClosedBy = time.Time{}, nil
	s.emitPull(r, p, "reopened", by, nil)
}

func pullFiles(c *call) answer {
	p := c.pull()
	if p == nil {
		return notFound()
	}
	return list(c, c.s.pullFiles(c.repo, p), c.s.changeJSON(c.repo, p.HeadSHA))
}

func pullCommits(c *call) answer {
	p := c.pull()
	if p == nil {
		return notFound()
	}
	var in []commit
	for _, sha := range c.repo.Objects.since(p.BaseSHA, p.HeadSHA) {
		if one, err := c.repo.Objects.commit(sha); err == nil {
			in = append(in, one)
		}
	}
	return list(c, in, func(one commit) obj { return c.s.commitJSON(c.repo, one) })
}

func mergePull(c *call) answer {
	p := c.pull()
	if p == nil {
		return notFound()
	}
	var in struct {
		CommitTitle   string `json:"commit_title"`
		CommitMessage string `json:"commit_message"`
		SHA           string
		MergeMethod   string `json:"merge_method"`
	}
	if a, bad := c.decode(&in); bad {
		return a
	}
	switch {
	case in.SHA != "" && in.SHA != p.HeadSHA:
		return refuse(http.StatusConflict, "Head branch was modified. Review and try the merge again.")
	case c.repo.Protected[p.BaseBranch]:
		return refuse(http.StatusMethodNotAllowed, "At least 1 approving review is required by reviewers with write access.")
	case in.MergeMethod == "rebase":
		return refuse(http.StatusMethodNotAllowed, "Rebase merges are not allowed on this repository.")
	}
	sha, problem := c.s.merge(c.repo, p, in.MergeMethod == "squash", cmp.Or(in.CommitTitle, in.CommitMessage), c.actor())
	if problem != "" {
		return refuse(http.StatusMethodNotAllowed, problem)
	}
	return ok(obj{"sha": sha, "merged": true, "message": "Pull Request successfully merged"})
}

// merge merges a pull request. The problem is GitHub's message; "" for none.
func (s *Server) merge(r *repository, p *pull, squash bool, message string, by *account) (sha, problem string) {
	base := r.head(p.BaseBranch)
	switch {
	case p.State != stateOpen:
		return "", "Pull Request is not mergeable"
	case p.Draft:
		return "", "Pull Request is still a draft"
	}
	tree, clean := r.Objects.merge(base, p.HeadSHA)
	if !clean || base == "" {
		return "", "Pull Request is not mergeable"
	}
	parents := []string{base, p.HeadSHA}
	text := fmt.Sprintf("Merge pull request #%d from %s/%s\n\n%s", p.Number, r.Owner.Login, p.HeadBranch, p.Title)
	if squash {
		parents, text = parents[:1], fmt.Sprintf("%s (#%d)", p.Title, p.Number)
	}
	p.MergeSHA = s.mergeCommit(r, tree, parents, by, cmp.Or(message, text))
	p.State, p.MergedAt, p.MergedBy = stateClosed, s.now(), by
	p.ClosedAt, p.ClosedBy, p.UpdatedAt = p.MergedAt, by, p.MergedAt
	delete(r.Refs, fmt.Sprintf("refs/pull/%d/merge", p.Number))
	s.emitPull(r, p, "closed", by, nil)
	s.setRef(r, "refs/heads/"+p.BaseBranch, p.MergeSHA, by)
	return p.MergeSHA, ""
}

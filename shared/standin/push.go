package standin

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const zeroSHA = "0000000000000000000000000000000000000000"

// setRef moves a ref, with everything that follows from it: the webhook, pull
// requests from and to a branch, and workflow runs. An empty sha deletes it.
func (s *Server) setRef(r *repository, ref, sha string, by *account) {
	before := r.Refs[ref]
	if before == sha {
		return
	}
	if sha == "" {
		delete(r.Refs, ref)
	} else {
		r.Refs[ref] = sha
	}
	r.PushedAt, r.UpdatedAt = s.now(), s.now()
	s.emitPush(r, ref, before, sha, by)
	branch, is := strings.CutPrefix(ref, "refs/heads/")
	if !is {
		return
	}
	if branch == r.DefaultBranch {
		s.readWorkflows(r)
	}
	s.followPulls(r, branch, sha, by)
	if sha != "" {
		s.triggerPush(r, branch, sha, by)
	}
}

// followPulls brings the open pull requests from and to a branch up to date.
func (s *Server) followPulls(r *repository, branch, sha string, by *account) {
	for _, id := range slices.Sorted(maps.Keys(s.repos)) {
		target := s.repos[id]
		for _, n := range slices.Sorted(maps.Keys(target.Pulls)) {
			p := target.Pulls[n]
			from := p.HeadRepo == r && p.HeadBranch == branch
			to := target == r && p.BaseBranch == branch
			switch {
			case p.State != stateOpen || !from && !to:
			case sha == "":
				s.setPullState(target, p, stateClosed, by)
			case to && slices.Contains(r.Objects.ancestors(sha), p.HeadSHA):
				s.closeMerged(target, p, sha, by)
			case from:
				old := p.HeadSHA
				p.HeadSHA, p.UpdatedAt = sha, s.now()
				s.testMerge(target, p)
				s.emitPull(target, p, "synchronize", by, obj{"before": old, "after": sha})
				s.triggerPull(target, p, by, "synchronize")
			default:
				p.BaseSHA = sha
				s.testMerge(target, p)
			}
		}
	}
}

// closeMerged closes a pull request whose commits came to its base by a push.
func (s *Server) closeMerged(r *repository, p *pull, sha string, by *account) {
	p.MergeSHA = sha
	p.State, p.MergedAt, p.MergedBy, p.UpdatedAt = stateClosed, s.now(), by, s.now()
	p.ClosedAt, p.ClosedBy = p.MergedAt, by
	delete(r.Refs, fmt.Sprintf("refs/pull/%d/merge", p.Number))
	s.emitPull(r, p, "closed", by, nil)
}

// Push makes a commit of a person's on a branch, which is made from the default
// branch where it isn't there, and everything follows that follows a push. Files
// maps paths to what they become; see Deleted.
func (s *Server) Push(repo, branch, login, message string, files map[string]File) (sha string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.named(repo)
	if err != nil {
		return "", err
	}
	branch = cmp.Or(branch, r.DefaultBranch)
	by := r.Owner
	if login != "" {
		by = s.account(login, "User")
	}
	parent := cmp.Or(r.head(branch), r.head(r.DefaultBranch))
	sha, err = s.commitFiles(r, parent, message, files, by)
	if err != nil {
		return "", fmt.Errorf("push to %s: %w", repo, err)
	}
	s.setRef(r, "refs/heads/"+branch, sha, by)
	return sha, nil
}

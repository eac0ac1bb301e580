package standin

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// DefaultPermissions are what the bot's manifest asks for, workflows included.
func DefaultPermissions() map[string]string {
	return map[string]string{
		"actions": "write", "checks": "read", "contents": "write", "issues": "write", "metadata": "read", "pull_requests": "write", "workflows": "write",
	}
}

// DefaultEvents are what the bot's manifest subscribes to.
func DefaultEvents() []string {
	return []string{"check_run", "issue_comment", "issues", "pull_request", "push", "workflow_run"}
}

// NewInstallation describes an installation of the App.
type NewInstallation struct {
	Account string // login; made where it isn't known
	// Repos are the full names of selected repositories; none is all of the account.
	Repos       []string
	Permissions map[string]string // nil is DefaultPermissions
	Events      []string          // nil is DefaultEvents
}

// AddInstallation installs the App and returns the installation's id.
func (s *Server) AddInstallation(n NewInstallation) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := &installation{
		Account: s.account(n.Account, "Organization"), All: len(n.Repos) == 0, Repos: map[int64]bool{},
		Permissions: maps.Clone(n.Permissions), Events: slices.Clone(n.Events), CreatedAt: s.now(),
	}
	for _, name := range n.Repos {
		r, err := s.named(name)
		if err != nil {
			return 0, err
		}
		i.Repos[r.ID] = true
	}
	if n.Permissions == nil {
		i.Permissions = DefaultPermissions()
	}
	if n.Events == nil {
		i.Events = DefaultEvents()
	}
	i.Permissions["metadata"] = "read"
	i.ID = s.id()
	s.installations[i.ID] = i
	s.emitInstallation(i, "created")
	return i.ID, nil
}

// changeInstallation runs change on an installation with the lock held.
func (s *Server) changeInstallation(id int64, change func(*installation) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.installations[id]
	if i == nil {
		return fmt.Errorf("find installation %d: there is none", id)
	}
	return change(i)
}

// SetPermissions replaces an installation's permissions, also of its tokens.
func (s *Server) SetPermissions(id int64, permissions map[string]string) error {
	return s.changeInstallation(id, func(i *installation) error {
		i.Permissions = maps.Clone(permissions)
		i.Permissions["metadata"] = "read"
		s.emitInstallation(i, "new_permissions_accepted")
		return nil
	})
}

// Suspend suspends an installation, or ends that.
func (s *Server) Suspend(id int64, on bool) error {
	return s.changeInstallation(id, func(i *installation) error {
		if on {
			i.SuspendedAt = s.now()
			s.emitInstallation(i, "suspend")
			return nil
		}
		i.SuspendedAt = time.Time{}
		s.emitInstallation(i, "unsuspend")
		return nil
	})
}

// Uninstall removes an installation; its tokens are revoked.
func (s *Server) Uninstall(id int64) error {
	return s.changeInstallation(id, func(i *installation) error {
		s.emitInstallation(i, "deleted")
		delete(s.installations, id)
		maps.DeleteFunc(s.tokens, func(_ string, t *token) bool { return t.Installation == i })
		return nil
	})
}

// Select gives repositories to an installation of selected ones, or takes them.
func (s *Server) Select(id int64, add, remove []string) error {
	return s.changeInstallation(id, func(i *installation) error {
		var added, removed []*repository
		for names, to := range map[*[]string]*[]*repository{&add: &added, &remove: &removed} {
			for _, name := range *names {
				r, err := s.named(name)
				if err != nil {
					return err
				}
				*to = append(*to, r)
			}
		}
		i.All = false
		for _, r := range added {
			i.Repos[r.ID] = true
		}
		for _, r := range removed {
			delete(i.Repos, r.ID)
		}
		if len(added) > 0 {
			s.emitInstallationRepos(i, "added", added, nil)
		}
		if len(removed) > 0 {
			s.emitInstallationRepos(i, "removed", nil, removed)
		}
		return nil
	})
}

// change runs fn on a repository with the lock held.
func (s *Server) change(repo string, fn func(*repository) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.named(repo)
	if err != nil {
		return err
	}
	return fn(r)
}

// Protect protects branches: the App may not move them.
func (s *Server) Protect(repo string, branches ...string) error {
	return s.change(repo, func(r *repository) error {
		for _, b := range branches {
			r.Protected[b] = true
		}
		return nil
	})
}

// Archive makes a repository read-only, or ends that.
func (s *Server) Archive(repo string, on bool) error {
	return s.change(repo, func(r *repository) error {
		r.Archived = on
		return nil
	})
}

// Grant gives a person a role in a repository: admin, maintain, write, triage,
// read, or "" for none.
func (s *Server) Grant(repo, login, role string) error {
	return s.change(repo, func(r *repository) error {
		s.account(login, "User")
		if role == "" {
			delete(r.People, strings.ToLower(login))
			return nil
		}
		if !slices.Contains([]string{"admin", "maintain", "write", "triage", "read"}, role) {
			return fmt.Errorf("grant %q: GitHub knows no such role", role)
		}
		r.People[strings.ToLower(login)] = role
		return nil
	})
}

// Rename renames a repository. Its old name is redirected.
func (s *Server) Rename(repo, name string) error {
	return s.change(repo, func(r *repository) error {
		to := r.Owner.Login + "/" + name
		if other := s.find(to); other != nil && other != r && strings.EqualFold(other.full(), to) {
			return fmt.Errorf("rename %s: %s exists", repo, to)
		}
		r.Name = name
		s.names[strings.ToLower(to)] = r.ID
		return nil
	})
}

// Delete deletes a repository. Pull requests from it lose their head.
func (s *Server) Delete(repo string) error {
	return s.change(repo, func(r *repository) error {
		delete(s.repos, r.ID)
		maps.DeleteFunc(s.names, func(_ string, id int64) bool { return id == r.ID })
		for _, other := range s.repos {
			for _, p := range other.Pulls {
				if p.HeadRepo == r {
					p.HeadRepo = nil
				}
			}
			for _, n := range other.Runs {
				if n.HeadRepo == r {
					n.HeadRepo = nil
				}
			}
		}
		return nil
	})
}

// Fork forks a repository to a person's account.
func (s *Server) Fork(repo, login string) (Repo, error) {
	var out Repo
	err := s.change(repo, func(r *repository) error {
		owner := s.account(login, "User")
		if other := s.find(owner.Login + "/" + r.Name); other != nil {
			return fmt.Errorf("fork %s: %s exists", repo, other.full())
		}
		f := &repository{Owner: owner, Name: r.Name, Private: r.Private, DefaultBranch: r.DefaultBranch, Parent: r, Objects: r.Objects}
		s.addRepo(f)
		for _, b := range r.branches() {
			f.Refs["refs/heads/"+b] = r.head(b)
		}
		s.readWorkflows(f)
		out = f.view()
		return nil
	})
	return out, err
}

// NewPull is a pull request that a person opens.
type NewPull struct {
	Title, Body string
	Head, Base  string // Head is "branch" or, of a fork, "owner:branch"
	Author      string // login; "" is the owner
	Draft       bool
}

// OpenPull opens a pull request as a person does and returns its number.
func (s *Server) OpenPull(repo string, n NewPull) (int, error) {
	number := 0
	err := s.change(repo, func(r *repository) error {
		p, a, refused := s.openPull(r, newPull{Title: n.Title, Body: n.Body, Head: n.Head, Base: n.Base, Draft: n.Draft}, s.person(r, n.Author))
		if refused {
			return fmt.Errorf("open a pull request in %s: %v", repo, a.body)
		}
		number = p.Number
		return nil
	})
	return number, err
}

// person is the account of a login, the owner's where it is empty.
func (s *Server) person(r *repository, login string) *account {
	if login == "" {
		return r.Owner
	}
	return s.account(login, "User")
}

func (r *repository) pull(number int) (*pull, error) {
	if p := r.Pulls[number]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("find pull request %d of %s: there is none", number, r.full())
}

// Merge merges a pull request as its repository's owner and returns the merge
// commit.
func (s *Server) Merge(repo string, number int) (sha string, err error) {
	err = s.change(repo, func(r *repository) error {
		p, err := r.pull(number)
		if err != nil {
			return err
		}
		var problem string
		if sha, problem = s.merge(r, p, false, "", r.Owner); problem != "" {
			return fmt.Errorf("merge pull request %d: %s", number, problem)
		}
		return nil
	})
	return sha, err
}

// ClosePull closes a pull request as its repository's owner.
func (s *Server) ClosePull(repo string, number int) error {
	return s.change(repo, func(r *repository) error {
		p, err := r.pull(number)
		if err != nil {
			return err
		}
		s.setPullState(r, p, stateClosed, r.Owner)
		return nil
	})
}

// LabelPull adds a label to an issue or pull request as its repository's owner.
func (s *Server) LabelPull(repo string, number int, name string) error {
	return s.change(repo, func(r *repository) error {
		i := r.Issues[number]
		if i == nil {
			return fmt.Errorf("find issue %d of %s: there is none", number, repo)
		}
		for _, l := range s.label(r, i, []string{name}) {
			s.emitLabelled(r, i, l, r.Owner)
		}
		return nil
	})
}

// OpenIssue opens an issue as a person does and returns its number.
func (s *Server) OpenIssue(repo, login, title, body string) (int, error) {
	number := 0
	err := s.change(repo, func(r *repository) error {
		by := s.person(r, login)
		i := s.addIssue(r, title, body, by)
		s.emitIssue(r, i, "opened", by)
		number = i.Number
		return nil
	})
	return number, err
}

// Comment comments on an issue or pull request as a person does and returns the
// comment's id.
func (s *Server) Comment(repo string, number int, login, body string) (int64, error) {
	var id int64
	err := s.change(repo, func(r *repository) error {
		i := r.Issues[number]
		if i == nil {
			return fmt.Errorf("find issue %d of %s: there is none", number, repo)
		}
		id = s.addComment(r, i, body, s.person(r, login)).ID
		return nil
	})
	return id, err
}

// Expire makes a job's log one that has expired.
func (s *Server) Expire(repo string, jobID int64) error {
	return s.change(repo, func(r *repository) error {
		for _, n := range r.Runs {
			for _, j := range n.Jobs {
				if j.ID == jobID {
					j.Expired = true
					return nil
				}
			}
		}
		return fmt.Errorf("find job %d of %s: there is none", jobID, repo)
	})
}

// PullRequest is what tests see of a pull request.
type PullRequest struct {
	Number     int
	Title      string
	Body       string
	State      string // open or closed
	Merged     bool
	Draft      bool
	Author     string
	HeadBranch string
	HeadSHA    string
	BaseBranch string
	MergeSHA   string
	Labels     []string
	Comments   []Comment
}

// Issue is what tests see of an issue.
type Issue struct {
	Number   int
	Title    string
	Body     string
	State    string
	Author   string
	Labels   []string
	Comments []Comment
}

// Comment is what tests see of a comment.
type Comment struct {
	ID     int64
	Author string
	Body   string
}

func (i *issue) view() Issue {
	v := Issue{Number: i.Number, Title: i.Title, Body: i.Body, State: i.State, Author: i.Author.Login}
	for _, l := range i.Labels {
		v.Labels = append(v.Labels, l.Name)
	}
	for _, m := range i.Comments {
		v.Comments = append(v.Comments, Comment{m.ID, m.Author.Login, m.Body})
	}
	return v
}

// PullRequests returns a repository's pull requests by number.
func (s *Server) PullRequests(repo string) []PullRequest {
	var out []PullRequest
	_ = s.change(repo, func(r *repository) error { // no repository has none
		for _, n := range slices.Sorted(maps.Keys(r.Pulls)) {
			p := r.Pulls[n]
			i := p.view()
			out = append(out, PullRequest{
				Number: n, Title: i.Title, Body: i.Body, State: i.State, Merged: !p.MergedAt.IsZero(), Draft: p.Draft, Author: i.Author,
				HeadBranch: p.HeadBranch, HeadSHA: p.HeadSHA, BaseBranch: p.BaseBranch, MergeSHA: p.MergeSHA, Labels: i.Labels, Comments: i.Comments,
			})
		}
		return nil
	})
	return out
}

// Issues returns a repository's issues, which are not pull requests, by number.
func (s *Server) Issues(repo string) []Issue {
	var out []Issue
	_ = s.change(repo, func(r *repository) error { // no repository has none
		for _, n := range slices.Sorted(maps.Keys(r.Issues)) {
			if r.Issues[n].Pull == nil {
				out = append(out, r.Issues[n].view())
			}
		}
		return nil
	})
	return out
}

// Refs returns a repository's refs and the commits that they are at.
func (s *Server) Refs(repo string) map[string]string {
	out := map[string]string{}
	_ = s.change(repo, func(r *repository) error { // no repository has none
		maps.Copy(out, r.Refs)
		return nil
	})
	return out
}

// Tree returns the files at a ref: a branch, a ref or a commit; "" is the default
// branch.
func (s *Server) Tree(repo, ref string) (map[string]File, error) {
	out := map[string]File{}
	err := s.change(repo, func(r *repository) error {
		c, found := r.resolve(cmp.Or(ref, r.DefaultBranch))
		if !found {
			return fmt.Errorf("read the tree of %q: %w", ref, errNoCommit)
		}
		for p, e := range r.Objects.flatten(c.Tree) {
			data, _ := r.Objects.get("blob", e.SHA)
			out[p] = File{string(data), e.Mode}
		}
		return nil
	})
	return out, err
}

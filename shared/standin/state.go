package standin

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// account is a person, an organization or a bot.
type account struct {
	ID    int64
	Login string
	Kind  string // User, Organization or Bot
}

func (a *account) email() string {
	return fmt.Sprintf("%d+%s@users.noreply.github.com", a.ID, a.Login)
}

type repository struct {
	ID            int64
	Owner         *account
	Name          string
	Private       bool
	Archived      bool
	DefaultBranch string
	Parent        *repository // of a fork
	Objects       objects
	Refs          map[string]string // "refs/heads/main" to a commit
	Protected     map[string]bool   // branches
	People        map[string]string // lower-case login to admin, maintain, write, triage or read
	Labels        []*label
	Issues        map[int]*issue // by number; pull requests are issues too
	Pulls         map[int]*pull
	Workflows     []*workflow
	Runs          []*run // oldest first
	LastNumber    int
	CreatedAt     time.Time
	PushedAt      time.Time
	UpdatedAt     time.Time
}

func (r *repository) full() string { return r.Owner.Login + "/" + r.Name }

func (r *repository) head(branch string) string { return r.Refs["refs/heads/"+branch] }

// own reports whether an object is known to the repository.
func (r *repository) has(kind, sha string) bool {
	_, ok := r.Objects.get(kind, sha)
	return ok
}

type label struct {
	ID          int64
	Name        string
	Color       string
	Description string
}

type installation struct {
	ID          int64
	Account     *account
	All         bool           // all repositories of the account
	Repos       map[int64]bool // where not all
	Permissions map[string]string
	Events      []string
	CreatedAt   time.Time
	SuspendedAt time.Time
}

func (s *Server) covers(i *installation, r *repository) bool {
	return i.All && r.Owner == i.Account || i.Repos[r.ID]
}

// covered lists an installation's repositories by id.
func (s *Server) covered(i *installation) []*repository {
	var out []*repository
	for _, r := range s.repos {
		if s.covers(i, r) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *repository) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// account returns the account of a login, made where there is none.
func (s *Server) account(login, kind string) *account {
	key := strings.ToLower(login)
	if a := s.accounts[key]; a != nil {
		return a
	}
	a := &account{ID: s.id(), Login: login, Kind: kind}
	s.accounts[key] = a
	return a
}

func (s *Server) bot() *account { return s.account(s.BotLogin(), "Bot") }

// find returns the repository of a name that it has or had.
func (s *Server) find(fullName string) *repository {
	return s.repos[s.names[strings.ToLower(fullName)]]
}

// errNoRepo says that there is no repository of a name.
var errNoRepo = errors.New("no such repository")

// named returns the repository of a name or an error that says so.
func (s *Server) named(fullName string) (*repository, error) {
	if r := s.find(fullName); r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("find %s: %w", fullName, errNoRepo)
}

// File is a file of a repository.
type File struct {
	Content string
	// Mode is git's: "100644" where it is empty, "100755" for an executable file,
	// "120000" for a link.
	Mode string
}

// Files makes regular files of contents by path.
func Files(contents map[string]string) map[string]File {
	out := make(map[string]File, len(contents))
	for p, c := range contents {
		out[p] = File{Content: c}
	}
	return out
}

// NewRepo describes a repository to create.
type NewRepo struct {
	FullName      string // "owner/name"
	DefaultBranch string // "" is main
	Public        bool
	// Organization makes the owner an organization where it is not known yet.
	Organization bool
	// Files are the first commit's; without any the repository is empty.
	Files map[string]File
}

// Repo is what tests see of a repository.
type Repo struct {
	ID            int64
	FullName      string
	DefaultBranch string
	Head          string // commit of the default branch; "" for an empty repository
}

func (r *repository) view() Repo {
	return Repo{ID: r.ID, FullName: r.full(), DefaultBranch: r.DefaultBranch, Head: r.head(r.DefaultBranch)}
}

// CreateRepo creates a repository whose first commit is its owner's. No workflow
// runs for that commit and nobody is told.
func (s *Server) CreateRepo(n NewRepo) (Repo, error) {
	owner, name, split := strings.Cut(n.FullName, "/")
	if !split || owner == "" || name == "" || strings.Contains(name, "/") {
		return Repo{}, fmt.Errorf("create the repository %q: its name is not owner/name", n.FullName)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.find(n.FullName); r != nil && strings.EqualFold(r.full(), n.FullName) {
		return Repo{}, fmt.Errorf("create the repository %s: it exists", n.FullName)
	}
	kind := "User"
	if n.Organization {
		kind = "Organization"
	}
	r := &repository{Owner: s.account(owner, kind), Name: name, Private: !n.Public, DefaultBranch: cmp.Or(n.DefaultBranch, "main"), Objects: objects{}}
	s.addRepo(r)
	if len(n.Files) > 0 {
		sha, err := s.commitFiles(r, "", "Initial commit", n.Files, r.Owner)
		if err != nil {
			return Repo{}, fmt.Errorf("create the repository %s: %w", n.FullName, err)
		}
		r.Refs["refs/heads/"+r.DefaultBranch] = sha
		s.readWorkflows(r)
	}
	return r.view(), nil
}

func (s *Server) addRepo(r *repository) {
	now := s.now()
	r.ID = s.id()
	r.Refs, r.Protected = map[string]string{}, map[string]bool{}
	r.People = map[string]string{strings.ToLower(r.Owner.Login): "admin"}
	r.Issues, r.Pulls = map[int]*issue{}, map[int]*pull{}
	r.CreatedAt, r.PushedAt, r.UpdatedAt = now, now, now
	for _, l := range []label{{0, "bug", "d73a4a", "Something isn't working"}, {0, "enhancement", "a2eeef", "New feature or request"}} {
		r.Labels = append(r.Labels, &label{s.id(), l.Name, l.Color, l.Description})
	}
	s.repos[r.ID] = r
	s.names[strings.ToLower(r.full())] = r.ID
}

// commitFiles makes a commit on parent ("" for none) in which files are written;
// a file with Mode "-" is deleted.
func (s *Server) commitFiles(r *repository, parent, message string, files map[string]File, by *account) (string, error) {
	flat := map[string]entry{}
	var parents []string
	if parent != "" {
		c, err := r.Objects.commit(parent)
		if err != nil {
			return "", err
		}
		flat, parents = r.Objects.flatten(c.Tree), []string{parent}
	}
	for _, p := range slices.Sorted(maps.Keys(files)) {
		f := files[p]
		if !validPath(p) {
			return "", fmt.Errorf("write %q: it is no path in a repository", p)
		}
		if f.Mode == deleted {
			remove(flat, p)
			continue
		}
		place(flat, p, entry{cmp.Or(f.Mode, modeFile), r.Objects.put("blob", []byte(f.Content))})
	}
	who := person{by.Login, by.email(), s.now()}
	return r.Objects.putCommit(commit{Tree: r.Objects.build(flat), Parents: parents, Author: who, Committer: who, Message: message}), nil
}

// deleted is the mode of a File that a push removes.
const deleted = "-"

// Deleted is a File that Push removes.
func Deleted() File { return File{Mode: deleted} }

func validPath(p string) bool {
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." || strings.EqualFold(part, ".git") || strings.ContainsRune(part, 0) {
			return false
		}
	}
	return true
}

package domain

import (
	"fmt"
	"strings"
	"time"
)

// Bounds of what a failing commit is compared with.
const (
	// MaxComparedCommits is how many commits a Comparison lists, the newest ones.
	MaxComparedCommits = 100
	// MaxComparedFiles is how many files a Comparison lists, which is as many as
	// GitHub compares.
	MaxComparedFiles = 300
	// MaxSuspects is how many suspects a Change holds.
	MaxSuspects = 5
	// MaxReasons is how many reasons a Suspect holds.
	MaxReasons = 4
)

// RunQuery asks for the successful runs of one workflow on one branch.
type RunQuery struct {
	Workflow string // path of the workflow file
	Branch   string
	// HeadRepoID is the repository that the branch is in: a fork's branch may bear
	// the name of one of the repository's own.
	HeadRepoID int64
	// Before is when the asking run was created and BeforeID its id, which decides
	// between runs of the same second. Later runs don't count.
	Before   time.Time
	BeforeID int64
	Limit    int // how many are wanted
}

// Comparison is what lies between two commits.
type Comparison struct {
	// Status is how the head stands to the base: ahead, behind, identical or
	// diverged.
	Status string
	// Total counts all commits of the head that the base doesn't have, Commits are
	// at most MaxComparedCommits of them, oldest first.
	Total   int
	Commits []ChangedCommit
	// Files are at most MaxComparedFiles files that differ, by GitHub's order.
	Files []ChangedFile
	// FilesCut tells that more files may differ than are listed.
	FilesCut bool
}

// ChangedCommit is one commit of a Comparison. Its texts are strangers'.
type ChangedCommit struct {
	SHA     string
	Author  string // login, or the name that the commit bears
	Subject string // first line of the message, bounded
	HTMLURL string
	Parents int
	// Files are what it changed against its first parent, where Read; a merge's
	// are those of all that it brought.
	Files []ChangedFile
	Read  bool
}

// ChangedFile is one file that differs between two commits.
type ChangedFile struct {
	Path     string
	Previous string // the path before a renaming
	Status   string // added, removed, modified, renamed …
	// Patch is the unified diff without its file header. It is empty for a binary
	// file, and where PatchCut says so it is missing or bounded.
	Patch    string
	PatchCut bool
}

// Change is what happened between the last green run and a failure that is new
// on its branch. It points at commits; that one of them is the cause is a guess
// with reasons.
type Change struct {
	// Green is the last successful run of the workflow that was found, GreenSHA its
	// commit and GreenBranch its branch, which is the base where the branch of the
	// failure has no green run of its own. RunID 0 says that none was found.
	Green       AttemptRef `json:"green,omitzero"`
	GreenSHA    string     `json:"green_sha,omitempty"`
	GreenBranch string     `json:"green_branch,omitempty"`
	HeadSHA     string     `json:"head_sha"`
	Branch      string     `json:"branch"`
	Event       string     `json:"event"`
	// WithoutJob tells that no green run was found in which the failed job passed.
	WithoutJob bool `json:"without_job,omitempty"`

	// Status is how the failing commit stands to the green one: ahead, behind,
	// identical or diverged; empty where they could not be compared.
	Status  string `json:"status,omitempty"`
	Commits int    `json:"commits"` // of the failing side that the green one lacks
	Files   int    `json:"files"`   // that differ, as far as they are listed
	// Truncated tells that there are more commits or files than were looked at.
	Truncated bool `json:"truncated,omitempty"`
	// Suspects are at most MaxSuspects, the likeliest first.
	Suspects []Suspect `json:"suspects,omitempty"`
}

// Suspect is a commit that touches what the finding names, or, with an empty
// SHA, what one of the commits whose files were not read touches.
type Suspect struct {
	SHA     string `json:"sha,omitempty"`
	Author  string `json:"author,omitempty"`
	Subject string `json:"subject,omitempty"`
	HTMLURL string `json:"html_url,omitempty"`
	Pull    int    `json:"pull,omitempty"` // the pull request that brought it; 0 where unknown
	// Score orders suspects of one Change and means nothing else.
	Score   int      `json:"score"`
	Reasons []Reason `json:"reasons"`
}

// Reason is why a commit is suspected: a clause of ours with up to two names that
// are strangers' text.
type Reason struct {
	Does string `json:"does"`           // "changes", "requires another version of"
	Name string `json:"name,omitempty"` // of a file, a package, a setting
	In   string `json:"in,omitempty"`   // the file that it was found in
}

// None reports whether no earlier green run was found to compare with.
func (c Change) None() bool { return c.Green.RunID == 0 }

// Unchanged reports whether the repository's files are those of the last green
// run, so that the cause must lie outside of it. A run of a pull request never
// is: it tests a merge with a base that may have moved on.
func (c Change) Unchanged() bool {
	return !c.None() && c.Status == "identical" && !c.Merges()
}

// Merges reports whether the run tests a merge of the commit with its base, of
// which the comparison shows one side.
func (c Change) Merges() bool { return c.Event == "pull_request" }

// Sentence says for people what changed. Branches' names in it are strangers'
// text without characters that can't be seen, and not escaped for any format.
func (c Change) Sentence() string { return c.sentence(visible, plainLink) }

// Lines are the suspects for people, one line each, the likeliest first. They
// hold strangers' text that is not escaped for any format: that is up to the
// channel.
func (c Change) Lines() []string {
	lines := make([]string, 0, len(c.Suspects))
	for _, s := range c.Suspects {
		lines = append(lines, s.line(visible, plainLink))
	}
	return lines
}

// Markdown is the sentence and the suspects for GitHub. Strangers' text stands in
// code spans, in which it can't form Markdown, HTML or mentions.
func (c Change) Markdown() string {
	var b strings.Builder
	b.WriteString(c.sentence(codeSpan, markdownLink) + "\n")
	if len(c.Suspects) > 0 {
		b.WriteString("\n")
	}
	for _, s := range c.Suspects {
		b.WriteString("- " + s.line(codeSpan, markdownLink) + "\n")
	}
	return b.String()
}

func plainLink(label, _ string) string { return label }

func (c Change) sentence(quote func(string) string, link func(label, u string) string) string {
	if c.None() {
		return fmt.Sprintf("No green run of this workflow was found on %s before this one, so there is nothing to compare with.", quote(c.Branch))
	}
	where := ""
	if c.GreenBranch != c.Branch {
		where = " on " + quote(c.GreenBranch)
	}
	green := fmt.Sprintf("the last green run%s (%s, %s, commit %s)",
		where, link(fmt.Sprintf("run %d", c.Green.RunID), c.Green.HTMLURL), clock(c.Green.EndedAt), short(c.GreenSHA))
	var s string
	switch {
	case c.Status == "":
		s = fmt.Sprintf("It could not be found out what changed since %s.", green)
	case c.Unchanged():
		s = fmt.Sprintf("Nothing in the repository changed since %s: look outside of it, at what the run gets from elsewhere (a dependency's release, the runner's image, a service%s).", green, inputs(c.Event))
	case c.Status == "identical":
		s = fmt.Sprintf("The commit is that of %s. What changed is its base, which the run merges, or lies outside of the repository (a dependency's release, the runner's image, a service).", green)
	case c.Status == "behind":
		s = fmt.Sprintf("The commit is older than that of %s: something was taken back, or an old commit was run again.", green)
	default:
		s = fmt.Sprintf("%s came since %s, and %s.", count(c.Commits, "commit"), green, c.differ())
		if c.Status == "diverged" && !c.Merges() && where == "" {
			s += " The branch was rewritten meanwhile, so commits may be missing that are gone."
		}
		if len(c.Suspects) == 0 {
			s += " None of them is known to touch what the failure names."
		}
		if c.Merges() {
			s += " What came to the base meanwhile is not among them."
		}
	}
	if c.WithoutJob {
		s += " The failed job didn't pass in any green run that was looked at: it may be new."
	}
	return s
}

// differ says how many files differ.
func (c Change) differ() string {
	switch {
	case c.Truncated:
		return fmt.Sprintf("they are too many to be all looked at (%s listed)", count(c.Files, "file"))
	case c.Files == 0:
		return "no file differs"
	case c.Files == 1:
		return "1 file differs"
	}
	return fmt.Sprintf("%d files differ", c.Files)
}

// inputs adds to what comes from outside what the event brings.
func inputs(event string) string {
	if event == "workflow_dispatch" || event == "repository_dispatch" {
		return ", other inputs"
	}
	return ""
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func short(sha string) string { return sha[:min(len(sha), 7)] }

func (s Suspect) line(quote func(string) string, link func(label, u string) string) string {
	reasons := make([]string, 0, len(s.Reasons))
	for _, r := range s.Reasons {
		reasons = append(reasons, r.clause(quote))
	}
	why := strings.Join(reasons, "; ")
	if s.SHA == "" {
		return "a commit whose files were not read " + why
	}
	who := link(short(s.SHA), s.HTMLURL)
	if s.Author != "" {
		who += " by " + quote(s.Author)
	}
	if s.Pull > 0 {
		who += fmt.Sprintf(" (#%d)", s.Pull)
	}
	if s.Subject != "" {
		who += " " + quote(s.Subject)
	}
	return who + ": " + why
}

func (r Reason) clause(quote func(string) string) string {
	out := r.Does
	if r.Name != "" {
		out += " " + quote(r.Name)
	}
	if r.In != "" {
		out += " in " + quote(r.In)
	}
	return out
}

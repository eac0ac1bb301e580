package domain

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Action is what a plan does to the repository.
type Action string

// The actions that the executor knows.
const (
	ActionEdit  Action = "edit"  // a branch, a commit and a pull request
	ActionRerun Action = "rerun" // the failed jobs again
)

// Risk is how much harm a wrong plan can do.
type Risk string

// Risks from harmless to dangerous.
const (
	RiskLow    Risk = "low"
	RiskMedium Risk = "medium"
	RiskHigh   Risk = "high"
)

// Permission is a permission of the GitHub App that is needed to write, as
// GitHub names it in an installation token.
type Permission string

// The permissions that plans ask for.
const (
	PermContents     Permission = "contents"
	PermPullRequests Permission = "pull_requests"
	PermIssues       Permission = "issues"
	PermActions      Permission = "actions"
	PermWorkflows    Permission = "workflows"
)

// Plan is what a strategy proposes. It is a value: executing it is the
// executor's job alone.
type Plan struct {
	Strategy string `json:"strategy"`
	Action   Action `json:"action"`
	// Title is one line in the imperative: the commit's subject and the pull
	// request's title.
	Title string `json:"title"`
	// Rationale is Markdown for people: what was changed and why it is right.
	Rationale string `json:"rationale"`
	Risk      Risk   `json:"risk"`
	// Edits are sorted by path; empty for a rerun.
	Edits []Edit `json:"edits,omitempty"`
	// Verify is a sentence on how the repair will be proved.
	Verify string `json:"verify,omitempty"`
}

// Permissions lists what executing the plan needs to write, sorted.
func (p Plan) Permissions() []Permission {
	if p.Action == ActionRerun {
		return []Permission{PermActions}
	}
	perms := []Permission{PermContents, PermPullRequests}
	if slices.ContainsFunc(p.Edits, func(e Edit) bool { return IsWorkflowPath(e.Path) }) {
		perms = append(perms, PermWorkflows)
	}
	return perms
}

// Key identifies the change on a base commit: equal edits on one base are one
// repair, whichever incidents ask for it.
func (p Plan) Key(baseSHA string) string {
	parts := []string{string(p.Action), baseSHA}
	for _, e := range p.Edits {
		for _, s := range e.Splices {
			parts = append(parts, e.Path, fmt.Sprint(s.Start), s.Old, s.New)
		}
	}
	return Hash(parts...)[:32]
}

// IsWorkflowPath reports whether GitHub guards path with the workflows
// permission.
func IsWorkflowPath(p string) bool { return strings.HasPrefix(p, ".github/workflows/") }

// Edit is a set of byte splices in one existing file. Splices are sorted by
// Start and don't overlap.
type Edit struct {
	Path    string   `json:"path"`
	Splices []Splice `json:"splices"`
}

// Splice replaces the bytes [Start, Start+len(Old)) by New. Old must be what is
// there: an edit that was planned on other content fails instead of damaging.
type Splice struct {
	Start int    `json:"start"`
	Old   string `json:"old"`
	New   string `json:"new"`
}

// Apply returns content with the edit's splices made. The error is Invalid when
// the content isn't the one that was planned on.
func (e Edit) Apply(content []byte) ([]byte, error) {
	var out bytes.Buffer
	at := 0
	for _, s := range e.Splices {
		end := s.Start + len(s.Old)
		if s.Start < at || end > len(content) || string(content[s.Start:end]) != s.Old {
			return nil, Errorf(Invalid, "apply the edit to "+e.Path, "the bytes at offset %d are not the ones that were planned on: plan again on the current tree", s.Start)
		}
		out.Write(content[at:s.Start])
		out.WriteString(s.New)
		at = end
	}
	out.Write(content[at:])
	return out.Bytes(), nil
}

// WholeLines returns the same edit with splices of whole lines, which people can
// read: those on one line are joined. content is what the edit was planned on.
func (e Edit) WholeLines(content []byte) (Edit, error) {
	if _, err := e.Apply(content); err != nil {
		return Edit{}, err
	}
	out := Edit{Path: e.Path}
	for i := 0; i < len(e.Splices); {
		from := bytes.LastIndexByte(content[:e.Splices[i].Start], '\n') + 1
		at, end := from, from
		var text strings.Builder
		for first := true; i < len(e.Splices) && (first || e.Splices[i].Start < end || e.Splices[i].Start == len(content)); first = false {
			s := e.Splices[i]
			text.Write(content[at:s.Start])
			text.WriteString(s.New)
			at = s.Start + len(s.Old)
			end = max(end, lineEnd(content, s))
			i++
		}
		text.Write(content[at:end])
		out.Splices = append(out.Splices, Splice{Start: from, Old: string(content[from:end]), New: text.String()})
	}
	return out, nil
}

// lineEnd is the end of the last line that a splice touches, its newline
// included.
func lineEnd(content []byte, s Splice) int {
	end := s.Start + len(s.Old)
	if len(s.Old) > 0 && s.Old[len(s.Old)-1] == '\n' {
		return end
	}
	if i := bytes.IndexByte(content[end:], '\n'); i >= 0 {
		return end + i + 1
	}
	return len(content)
}

// CheckPath reports why p is no path that the bot may write to a tree: it must
// be relative, clean, without "..", and outside of .git.
func CheckPath(p string) error {
	switch {
	case p == "" || path.IsAbs(p) || path.Clean(p) != p || strings.ContainsAny(p, "\\\x00\n\r"):
		return Errorf(Invalid, "check the path", "%q is not a clean relative path", p)
	case p == ".." || strings.HasPrefix(p, "../"):
		return Errorf(Invalid, "check the path", "%q leaves the repository", p)
	case p == ".git" || strings.HasPrefix(p, ".git/"):
		return Errorf(Invalid, "check the path", "%q is inside of .git", p)
	}
	return nil
}

// Mode is how far the bot may go in a repository.
type Mode string

// The modes of a policy.
const (
	ModeObserve Mode = "observe" // diagnose and record
	ModeSuggest Mode = "suggest" // draft pull requests, reruns of transient failures
	ModeHeal    Mode = "heal"    // ready pull requests
)

package domain

import (
	"strings"
	"time"
)

// Repo is a repository as an installation of the App sees it. ID is what
// identifies it; the name changes.
type Repo struct {
	InstallationID int64  `json:"installation_id"`
	ID             int64  `json:"id"`
	FullName       string `json:"full_name"` // "owner/name"
	DefaultBranch  string `json:"default_branch,omitempty"`
	HTMLURL        string `json:"html_url,omitempty"`
	Archived       bool   `json:"archived,omitempty"`
}

// Owner is the part of FullName before the slash.
func (r Repo) Owner() string { o, _, _ := strings.Cut(r.FullName, "/"); return o }

// Name is the part of FullName after the slash.
func (r Repo) Name() string { _, n, _ := strings.Cut(r.FullName, "/"); return n }

// Conclusion is how GitHub says that a run, a job or a step ended; empty while
// it has not ended.
type Conclusion string

// The conclusions that GitHub's REST API documents.
const (
	Success        Conclusion = "success"
	Failure        Conclusion = "failure"
	Cancelled      Conclusion = "cancelled"
	Skipped        Conclusion = "skipped"
	TimedOut       Conclusion = "timed_out"
	StartupFailure Conclusion = "startup_failure"
	ActionRequired Conclusion = "action_required"
	Neutral        Conclusion = "neutral"
	Stale          Conclusion = "stale"
)

// Run is one attempt of a workflow run.
type Run struct {
	ID           int64      `json:"id"`
	Attempt      int        `json:"attempt"` // from 1
	WorkflowPath string     `json:"workflow_path"`
	WorkflowName string     `json:"workflow_name,omitempty"`
	Event        string     `json:"event"` // push, pull_request, schedule …
	Status       string     `json:"status"`
	Conclusion   Conclusion `json:"conclusion,omitempty"`
	HeadSHA      string     `json:"head_sha"`
	HeadBranch   string     `json:"head_branch"`
	HeadRepoID   int64      `json:"head_repo_id"`    // differs from the repository's own for forks
	Actor        string     `json:"actor,omitempty"` // login of who had the first attempt run
	// Author is the name that the head commit bears, AuthorMark a digest of its
	// e-mail address (the address itself is not kept). Strangers write both.
	Author       string    `json:"author,omitempty"`
	AuthorMark   string    `json:"author_mark,omitempty"`
	HTMLURL      string    `json:"html_url,omitempty"`
	PullRequests []int     `json:"pull_requests,omitempty"` // numbers, of this repository only
	CreatedAt    time.Time `json:"created_at"`
	StartedAt    time.Time `json:"started_at"`
	UpdatedAt    time.Time `json:"updated_at"`
}

// Completed reports whether the run has ended.
func (r Run) Completed() bool { return r.Status == "completed" }

// Job is one job of a run's attempt, a matrix leg being a job of its own.
type Job struct {
	ID          int64      `json:"id"`
	Name        string     `json:"name"`
	Status      string     `json:"status"`
	Conclusion  Conclusion `json:"conclusion,omitempty"`
	Steps       []Step     `json:"steps,omitempty"`
	Labels      []string   `json:"labels,omitempty"` // runner labels, e.g. ubuntu-24.04
	HTMLURL     string     `json:"html_url,omitempty"`
	StartedAt   time.Time  `json:"started_at"`
	CompletedAt time.Time  `json:"completed_at"`
}

// Failed reports whether the job ended red by itself (a cancelled job did not).
func (j Job) Failed() bool { return j.Conclusion == Failure || j.Conclusion == TimedOut }

// Step is one step of a job.
type Step struct {
	Number      int        `json:"number"`
	Name        string     `json:"name"`
	Status      string     `json:"status"`
	Conclusion  Conclusion `json:"conclusion,omitempty"`
	StartedAt   time.Time  `json:"started_at"`
	CompletedAt time.Time  `json:"completed_at"`
}

// RunReport is what detect found out about a completed attempt, kept so that
// repair can judge its own runs from stored state.
type RunReport struct {
	Repo Repo        `json:"repo"`
	Run  Run         `json:"run"`
	Legs []LegReport `json:"legs,omitempty"`
	// Problems are sentences about what could not be read ("log of job 7 is
	// gone: expired"), shown with the evidence.
	Problems []string `json:"problems,omitempty"`
}

// LegReport is one job of a RunReport and what was found in its log.
type LegReport struct {
	JobID      int64      `json:"job_id"`
	Job        string     `json:"job"`
	Conclusion Conclusion `json:"conclusion"`
	// Fingerprint of the primary finding; empty for a leg that did not fail.
	Fingerprint string `json:"fingerprint,omitempty"`
	Category    string `json:"category,omitempty"`
}

package events

import (
	"strconv"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// The types of our own events: past tense and versioned.
const (
	TypeIncidentDetected = "dev.mlopsbot.incident.detected.v1"
	TypeIncidentResolved = "dev.mlopsbot.incident.resolved.v1"
	TypeRunCompleted     = "dev.mlopsbot.run.completed.v1"
	TypeRepairProposed   = "dev.mlopsbot.repair.proposed.v1"
	TypeRepairVerified   = "dev.mlopsbot.repair.verified.v1"
	TypeRepairRejected   = "dev.mlopsbot.repair.rejected.v1"
	TypeRepairLanded     = "dev.mlopsbot.repair.landed.v1"
	TypeRepairAbandoned  = "dev.mlopsbot.repair.abandoned.v1"
	TypeTick             = "dev.mlopsbot.tick.v1"
	TypeWorkDue          = "dev.mlopsbot.work.due.v1"
	// TypePing is what a cluster's PingSource sends, which can't be told a type: it
	// is the tick there.
	TypePing = "dev.knative.sources.ping"
)

// The types of GitHub's events that a function consumes.
const (
	TypeWorkflowRunCompleted = "com.github.workflow_run.completed"
	TypeInstallationDeleted  = "com.github.installation.deleted"
	TypePullRequestClosed    = "com.github.pull_request.closed"
	TypeIssueCommentCreated  = "com.github.issue_comment.created"
)

// GitHub is the projection of a webhook delivery. Its type is
// com.github.<event>[.<action>], after the CloudEvents GitHub adapter; the body
// stays in the store under DeliveryID.
type GitHub struct {
	DeliveryID     string `json:"delivery_id"`
	Event          string `json:"event"`
	Action         string `json:"action,omitempty"`
	InstallationID int64  `json:"installation_id,omitempty"`
	RepoID         int64  `json:"repo_id,omitempty"`
	RepoName       string `json:"repo_name,omitempty"` // "owner/name" at that time
	Sender         string `json:"sender,omitempty"`    // login

	// Of workflow_run:
	RunID      int64             `json:"run_id,omitempty"`
	RunAttempt int               `json:"run_attempt,omitempty"`
	Conclusion domain.Conclusion `json:"conclusion,omitempty"`
	// Of workflow_run, push and pull_request:
	HeadSHA    string `json:"head_sha,omitempty"`
	HeadBranch string `json:"head_branch,omitempty"`
	// Of pull_request, issues and issue_comment:
	Number int  `json:"number,omitempty"`
	Merged bool `json:"merged,omitempty"`
	// Command is the first line of an issue comment that begins with
	// "/mlops-bot", at most 200 bytes; other comments are nobody's business.
	Command string `json:"command,omitempty"`
}

// EventType is com.github.<event>[.<action>].
func (p GitHub) EventType() string {
	if p.Action == "" {
		return "com.github." + p.Event
	}
	return "com.github." + p.Event + "." + p.Action
}

// Subject is the run's id or the pull request's or issue's number.
func (p GitHub) Subject() string {
	switch {
	case p.RunID != 0:
		return strconv.FormatInt(p.RunID, 10)
	case p.Number != 0:
		return strconv.Itoa(p.Number)
	}
	return ""
}

// Incident names an incident; it is the data of the incident events.
type Incident struct {
	InstallationID int64  `json:"installation_id"`
	RepoID         int64  `json:"repo_id"`
	IncidentID     string `json:"incident_id"`
	Category       string `json:"category"`
	// RunID and RunAttempt are the run that showed or resolved it.
	RunID      int64 `json:"run_id"`
	RunAttempt int   `json:"run_attempt"`
}

// Subject is the incident's id.
func (p Incident) Subject() string { return p.IncidentID }

// IncidentDetected says: a run failed and its cause, or that it is unknown, is
// stored. It is sent again when a standing incident is seen in another run.
type IncidentDetected struct{ Incident }

// EventType names the type.
func (IncidentDetected) EventType() string { return TypeIncidentDetected }

// IncidentResolved says: the branch's workflow is green again.
type IncidentResolved struct{ Incident }

// EventType names the type.
func (IncidentResolved) EventType() string { return TypeIncidentResolved }

// RunCompleted says: an attempt of a workflow run has ended and its report is stored.
type RunCompleted struct {
	InstallationID int64             `json:"installation_id"`
	RepoID         int64             `json:"repo_id"`
	RunID          int64             `json:"run_id"`
	RunAttempt     int               `json:"run_attempt"`
	Conclusion     domain.Conclusion `json:"conclusion"`
	HeadSHA        string            `json:"head_sha"`
	HeadBranch     string            `json:"head_branch"`
	WorkflowPath   string            `json:"workflow_path"`
}

// EventType names the type.
func (RunCompleted) EventType() string { return TypeRunCompleted }

// Subject is the run's id and attempt.
func (p RunCompleted) Subject() string {
	return strconv.FormatInt(p.RunID, 10) + "/" + strconv.Itoa(p.RunAttempt)
}

// Repair names a repair; it is the data of the repair events.
type Repair struct {
	InstallationID int64  `json:"installation_id"`
	RepoID         int64  `json:"repo_id"`
	RepairID       string `json:"repair_id"`
	IncidentID     string `json:"incident_id"`
	Strategy       string `json:"strategy,omitempty"`
	PullNumber     int    `json:"pull_number,omitempty"`
}

// Subject is the repair's id.
func (p Repair) Subject() string { return p.RepairID }

// RepairProposed says: the pull request is open, or the rerun was asked for.
type RepairProposed struct{ Repair }

// EventType names the type.
func (RepairProposed) EventType() string { return TypeRepairProposed }

// RepairVerified says: what failed is green on it.
type RepairVerified struct{ Repair }

// EventType names the type.
func (RepairVerified) EventType() string { return TypeRepairVerified }

// RepairRejected says: what failed is still red on it.
type RepairRejected struct{ Repair }

// EventType names the type.
func (RepairRejected) EventType() string { return TypeRepairRejected }

// RepairLanded says: its pull request was merged.
type RepairLanded struct{ Repair }

// EventType names the type.
func (RepairLanded) EventType() string { return TypeRepairLanded }

// RepairAbandoned says: nothing more will be tried by itself; the stored repair or
// incident says why.
type RepairAbandoned struct{ Repair }

// EventType names the type.
func (RepairAbandoned) EventType() string { return TypeRepairAbandoned }

// Tick is the clock's: time to look at what is open and due.
type Tick struct{}

// EventType names the type.
func (Tick) EventType() string { return TypeTick }

// Subject is empty.
func (Tick) Subject() string { return "" }

// WorkDue wakes the owner of due work.
type WorkDue struct {
	Function string `json:"function"`
}

// EventType names the type.
func (WorkDue) EventType() string { return TypeWorkDue }

// Subject is the function's name.
func (p WorkDue) Subject() string { return p.Function }

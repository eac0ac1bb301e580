package domain

import (
	"fmt"
	"slices"
	"time"
)

// IncidentState is where an incident stands.
type IncidentState string

// The states of an incident.
const (
	IncidentOpen      IncidentState = "open"
	IncidentResolved  IncidentState = "resolved"   // the branch's workflow is green again
	IncidentHandedOff IncidentState = "handed_off" // a person was asked
)

// Incident is a failure that lasts: (repository, branch, workflow, fingerprint),
// unique while it is open or handed off.
type Incident struct {
	ID      string        `json:"id"`
	Version int64         `json:"version"` // of the stored row; 0 for a new one
	State   IncidentState `json:"state"`
	Repo    Repo          `json:"repo"`
	// Branch is the branch that failed, which a fix targets.
	Branch       string `json:"branch"`
	WorkflowPath string `json:"workflow_path"`
	Fingerprint  string `json:"fingerprint"`
	// ParentID is the incident whose repair brought this one to light; "" for a
	// root. RepairID is that repair.
	ParentID string `json:"parent_id,omitempty"`
	RepairID string `json:"repair_id,omitempty"`

	Finding   Finding   `json:"finding"`
	Secondary []Finding `json:"secondary,omitempty"`
	Problems  []string  `json:"problems,omitempty"`
	// Flaky is the evidence that the failure comes and goes on commits that nobody
	// changed, nil where the history doesn't show it.
	Flaky *Flakiness `json:"flaky,omitempty"`
	// Change is what happened since the last green run, looked up when the incident
	// was opened; nil where that wasn't known.
	Change *Change `json:"change,omitempty"`

	Run Run `json:"run"` // the latest run that showed it
	Job Job `json:"job"` // the job of the primary finding, without its steps
	// Legs are the names of all jobs with this cause.
	Legs []string `json:"legs,omitempty"`
	// Occurrences counts run attempts that showed it.
	Occurrences int       `json:"occurrences"`
	OpenedAt    time.Time `json:"opened_at"`
	LastSeenAt  time.Time `json:"last_seen_at"`
	ClosedAt    time.Time `json:"closed_at,omitzero"`
}

// IncidentID is the deterministic id of the incident that a run opens.
func IncidentID(repoID int64, branch, workflow, fingerprint string, runID int64) string {
	return "inc-" + Hash(fmt.Sprint(repoID), branch, workflow, fingerprint, fmt.Sprint(runID))[:12]
}

var incidentMoves = map[IncidentState][]IncidentState{
	"":                {IncidentOpen},
	IncidentOpen:      {IncidentOpen, IncidentResolved, IncidentHandedOff},
	IncidentHandedOff: {IncidentHandedOff, IncidentResolved},
	IncidentResolved:  {},
}

// CanMove reports whether an incident may go from s to next. Staying in an open
// state is allowed, since an incident is updated as it is seen again.
func (s IncidentState) CanMove(next IncidentState) bool {
	return slices.Contains(incidentMoves[s], next)
}

// Open reports whether the incident still stands.
func (s IncidentState) Open() bool { return s == IncidentOpen || s == IncidentHandedOff }

// Proof is one run that speaks for or against a repair.
type Proof struct {
	RunID      int64      `json:"run_id"`
	Attempt    int        `json:"attempt"`
	Event      string     `json:"event"`
	Job        string     `json:"job"`
	Conclusion Conclusion `json:"conclusion"`
	HTMLURL    string     `json:"html_url,omitempty"`
}

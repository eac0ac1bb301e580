package domain

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// RepairState is where a repair stands.
type RepairState string

// The states of a repair.
const (
	// RepairIntended: the plan, the attempt and the branch are stored; effects may
	// or may not have begun.
	RepairIntended RepairState = "intended"
	// RepairRefused: a guard or the policy said no; Reason tells.
	RepairRefused RepairState = "refused"
	// RepairProposed: the pull request is open, or the rerun was asked for.
	RepairProposed RepairState = "proposed"
	// RepairVerified: what failed is green on it.
	RepairVerified RepairState = "verified"
	// RepairRejected: what failed is still red on it.
	RepairRejected RepairState = "rejected"
	// RepairUnverifiable: no run came to judge it in time.
	RepairUnverifiable RepairState = "unverifiable"
	// RepairLanded: merged.
	RepairLanded RepairState = "landed"
	// RepairClosed: a person closed the pull request without merging it. (A
	// rejected repair stays rejected when its pull request is closed.)
	RepairClosed RepairState = "closed"
	// RepairRegressed: the same incident came back within 7 days of landing.
	RepairRegressed RepairState = "regressed"
)

var repairMoves = map[RepairState][]RepairState{
	"":                 {RepairIntended, RepairRefused},
	RepairIntended:     {RepairIntended, RepairProposed, RepairRefused},
	RepairProposed:     {RepairProposed, RepairVerified, RepairRejected, RepairUnverifiable, RepairLanded, RepairClosed},
	RepairVerified:     {RepairVerified, RepairLanded, RepairClosed, RepairRejected, RepairRegressed},
	RepairUnverifiable: {RepairVerified, RepairRejected, RepairLanded, RepairClosed},
	RepairRejected:     {RepairLanded, RepairVerified},
	RepairLanded:       {RepairLanded, RepairRegressed},
	RepairRefused:      {},
	RepairClosed:       {},
	RepairRegressed:    {},
}

// CanMove reports whether a repair may go from s to next.
func (s RepairState) CanMove(next RepairState) bool {
	return slices.Contains(repairMoves[s], next)
}

// Live reports whether the repair may still change by itself: intended or
// proposed.
func (s RepairState) Live() bool { return s == RepairIntended || s == RepairProposed }

// RefusalCode is the typed reason of what was not done.
type RefusalCode string

// The reasons that people can read in a comment, on the page and in the audit.
const (
	RefusedMode        RefusalCode = "mode"           // the policy's mode doesn't allow it
	RefusedPolicy      RefusalCode = "policy"         // strategy, path or branch excluded by the policy
	RefusedBadPolicy   RefusalCode = "policy-invalid" // the policy file can't be read; observing only
	RefusedFork        RefusalCode = "fork"           // the failing branch is a fork's
	RefusedBranchOwner RefusalCode = "foreign-branch" // merge queue, dependabot, renovate: observed only
	RefusedBranchTaken RefusalCode = "branch-taken"   // a branch of our name holds somebody else's work
	RefusedBranchMoved RefusalCode = "branch-moved"   // the files changed since the failing run
	RefusedAttempts    RefusalCode = "attempts"       // three attempts were rejected
	RefusedOpenPulls   RefusalCode = "open-pulls"     // cap on open pull requests
	RefusedDaily       RefusalCode = "daily-cap"      // cap on repairs a day
	RefusedOutage      RefusalCode = "outage"         // many repositories fail at once
	RefusedStopped     RefusalCode = "stopped"        // the kill switch is set, or can't be checked
	RefusedPermission  RefusalCode = "permission"     // the App lacks a permission
	RefusedNoStrategy  RefusalCode = "no-strategy"    // nothing in the catalogue answers this finding
	RefusedHuman       RefusalCode = "human"          // the category is for a person
	RefusedNoChange    RefusalCode = "no-change"      // no strategy found an edit that it is sure of
	RefusedBadEdit     RefusalCode = "edit-invalid"   // the edited file would not parse
	RefusedReruns      RefusalCode = "reruns"         // already rerun twice
	RefusedUnavailable RefusalCode = "unavailable"    // the repository or installation is gone
	RefusedArchived    RefusalCode = "archived"       // the repository is read-only
)

// Refusal is why something was not done: a code for machines, a sentence for
// people that says what would change it.
type Refusal struct {
	Code   RefusalCode `json:"code"`
	Reason string      `json:"reason"`
}

func (r Refusal) Error() string { return string(r.Code) + ": " + r.Reason }

// Refuse makes a Refusal.
func Refuse(code RefusalCode, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Reason: fmt.Sprintf(format, args...)}
}

// Repair is one attempt to repair an incident.
type Repair struct {
	ID         string      `json:"id"`
	Version    int64       `json:"version"` // of the stored row; 0 for a new one
	State      RepairState `json:"state"`
	IncidentID string      `json:"incident_id"`
	// Root is the first incident of the chain, on which attempts are counted.
	Root    string `json:"root"`
	Repo    Repo   `json:"repo"`
	Attempt int    `json:"attempt"` // from 1, over the root's chain
	Plan    Plan   `json:"plan"`
	PlanKey string `json:"plan_key"`
	Rule    string `json:"rule"`

	Branch     string `json:"branch,omitempty"`      // ours, "" for a rerun
	BaseBranch string `json:"base_branch,omitempty"` // the branch that failed
	BaseSHA    string `json:"base_sha,omitempty"`    // the commit that ours stands on
	HeadSHA    string `json:"head_sha,omitempty"`    // our commit, or the rerun's commit
	PullNumber int    `json:"pull_number,omitempty"`
	PullURL    string `json:"pull_url,omitempty"`
	Draft      bool   `json:"draft,omitempty"`
	// Labels are the policy's at the time of planning.
	Labels []string `json:"labels,omitempty"`
	// Silent: the policy wants no comment on pull requests.
	Silent bool `json:"silent,omitempty"`
	// Supersedes is the pull request of an earlier attempt that this one replaces.
	Supersedes int `json:"supersedes,omitempty"`

	// RunID and RunAttempt are the run that a rerun repeats and the attempt that
	// judges it.
	RunID      int64 `json:"run_id,omitempty"`
	RunAttempt int   `json:"run_attempt,omitempty"`

	Refusal *Refusal `json:"refusal,omitempty"`
	// Fingerprint is the primary finding's that a rejected repair ended with.
	Fingerprint string  `json:"fingerprint,omitempty"`
	Proofs      []Proof `json:"proofs,omitempty"`
	ApprovedBy  string  `json:"approved_by,omitempty"` // of HeadSHA

	CreatedAt  time.Time `json:"created_at"`
	ProposedAt time.Time `json:"proposed_at,omitzero"`
	JudgedAt   time.Time `json:"judged_at,omitzero"` // verified, rejected or unverifiable
	EndedAt    time.Time `json:"ended_at,omitzero"`  // landed, closed, regressed
}

// BranchPrefix begins the name of every branch that the bot creates.
const BranchPrefix = "mlops-bot/"

// MaxAttempts is how many repairs of one incident may be rejected before a
// person is asked.
const MaxAttempts = 3

// RegressionDays is how long after landing the same incident counts against the
// repair.
const RegressionDays = 7

// RepairID is the deterministic id of an incident's n-th attempt.
func RepairID(rootIncident string, attempt int) string {
	return "rep-" + Hash(rootIncident, fmt.Sprint(attempt))[:12]
}

// BranchName is the deterministic branch of an incident's n-th attempt.
func BranchName(rootIncident string, attempt int) string {
	return fmt.Sprintf("%s%s-%d", BranchPrefix, rootIncident, attempt)
}

// OwnBranch reports whether a branch name is one that the bot gives. A fork can
// use such a name too: compare repository ids before trusting it.
func OwnBranch(branch string) bool { return strings.HasPrefix(branch, BranchPrefix) }

package domain

import (
	"encoding/json"
	"time"
)

// Envelope is an event on its way: its id and type for the outbox, and the
// whole CloudEvent in structured JSON form, which the store keeps as it is.
type Envelope struct {
	ID   string
	Type string
	// Consumers are the functions that must have handled the event before its
	// outbox row closes, from routes.yaml.
	Consumers []string
	JSON      []byte
}

// Work is something to do, now or later. (Kind, Key) is unique among what is
// not done yet: adding it twice is adding it once.
type Work struct {
	Kind string // "<function>.<verb>", e.g. "detect.diagnose": the part before the dot owns it
	Key  string
	// NotBefore is when it is due; the zero time is now.
	NotBefore time.Time
	// Payload is the owner's own JSON, ids rather than bodies, at most 64 KiB.
	Payload json.RawMessage
	// Attempts counts how often it was begun, this time included (set by the
	// store).
	Attempts int
	// Lease is the token of the current holder (set by the store).
	Lease string
	// TraceParent carries the trace of what asked for it.
	TraceParent string
	CreatedAt   time.Time
}

// Holder names this piece of work as the holder of a lease: pieces that were
// claimed together share their Lease.
func (w Work) Holder() string { return w.Kind + "/" + w.Key + "/" + w.Lease }

// Outcome is what handling an event or a piece of work comes to. It is a value:
// the runner commits all of it in one transaction and then publishes the events.
type Outcome struct {
	Incidents []Incident
	Repairs   []Repair
	Reports   []RunReport
	// Events go to the outbox.
	Events []Envelope
	// Later is work to add.
	Later []Work
	// Again, when not zero, keeps the piece of work that was being done and makes
	// it due again then, without counting as a failure.
	Again time.Time
	// AgainPayload, when not nil, replaces the payload of the work kept by Again.
	AgainPayload json.RawMessage
	Switches     []Switch
	// Release are leases to give back once the rest is committed.
	Release []Lease
	Audit   []AuditEntry
	Counts  []Count
}

// Lease names a lease and who holds it.
type Lease struct{ Name, Holder string }

// Switch is a stop that a person set for a repository.
type Switch struct {
	RepoID int64
	// State is SwitchStopped, SwitchUnchecked or "" to remove the switch.
	State string
	By    string
	At    time.Time
}

// The states of a switch.
const (
	SwitchStopped = "stopped"
	// SwitchUnchecked: somebody asked, and whether they may is not known yet.
	// It counts as stopped.
	SwitchUnchecked = "unchecked"
)

// Record is how the repairs of one rule by one strategy in one repository ended.
type Record struct {
	Verified, Rejected, Landed, Closed, Regressed int
}

// Score is the share of good ends, with one good and one bad end assumed so that
// little evidence weighs little (Laplace's rule of succession).
func (r Record) Score() float64 {
	good := r.Verified + r.Landed
	bad := r.Rejected + r.Closed + r.Regressed
	return float64(good+1) / float64(good+bad+2)
}

// AuditEntry records one action: who did what to which object, and why.
type AuditEntry struct {
	At             time.Time `json:"at"`
	InstallationID int64     `json:"installation_id,omitempty"`
	RepoID         int64     `json:"repo_id,omitempty"`
	Actor          string    `json:"actor"`  // a function's name or a login
	Action         string    `json:"action"` // "pull_request.opened", "repair.refused" …
	Object         string    `json:"object"` // an id or a URL
	Why            string    `json:"why,omitempty"`
}

// Count adds to a counter that survives the pod. Labels are few and bounded.
type Count struct {
	Name   string
	Labels map[string]string
	Add    float64
}

// Delivery is a verified webhook delivery as it is stored before it is
// answered.
type Delivery struct {
	ID             string // X-GitHub-Delivery
	Event          string // X-GitHub-Event
	Action         string
	InstallationID int64
	RepoID         int64
	Body           []byte
	ReceivedAt     time.Time
}

package domain

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Unknown is the category of a log that shows no cause.
const Unknown = "unknown"

// Remedy is the class of answer that a category of failure has.
type Remedy string

// The remedy classes of the taxonomy.
const (
	RemedyFix    Remedy = "fix"    // an edit can repair it
	RemedyRetry  Remedy = "retry"  // running again can repair it
	RemedyRevert Remedy = "revert" // taking a commit back can repair it
	RemedyHuman  Remedy = "human"  // a person must look
	RemedyNone   Remedy = "none"   // nothing is wrong (somebody cancelled it)
)

// Finding is what a rule read in a log: the category of the failure and the
// line that shows it. Its JSON form is the one `mlops-bot diagnose` prints and
// `mlops-bot plan --finding` reads.
type Finding struct {
	Category   string  `json:"category"`
	Rule       string  `json:"rule"`
	Title      string  `json:"title,omitempty"` // the rule's title, for people
	Remedy     Remedy  `json:"remedy"`
	Confidence float64 `json:"confidence"`         // 0 to 1
	Workflow   string  `json:"workflow,omitempty"` // path of the workflow file
	Job        string  `json:"job"`
	Step       string  `json:"step"`
	StepNumber int     `json:"step_number,omitempty"`
	Python     string  `json:"python,omitempty"` // version that ran, where the log shows it
	// Line and EndLine count from 1 in the decoded log; 0 when unknown.
	Line    int `json:"line"`
	EndLine int `json:"end_line"`
	// StepLine counts from 1 within the failed step's own log, as GitHub numbers
	// its pages' lines; 0 when unknown.
	StepLine int `json:"step_line,omitempty"`
	// Text is the evidence: the matched line without timestamp, ANSI colours and
	// secrets, at most 1,000 bytes.
	Text string `json:"text"`
	// Why says why this is the cause and not something else that the log shows: a
	// clause for people, without secrets. It is set on primary findings.
	Why string `json:"why,omitempty"`
	// Facts are the rule's named captures, named as the taxonomy names them.
	Facts map[string]string `json:"facts"`
	// Keys are the names of the facts that tell this failure from another of its
	// category; they enter the fingerprint. KeyPlace and KeyText may be among
	// them.
	Keys []string `json:"keys,omitempty"`
}

// Fact returns a fact's value or "".
func (f Finding) Fact(name string) string { return f.Facts[name] }

// Diagnosis is everything that was read in one log: the primary finding (of
// category "unknown" where nothing matched) and the others.
type Diagnosis struct {
	Primary   Finding   `json:"primary"`
	Secondary []Finding `json:"secondary,omitempty"`
}

// Hash is the hex SHA-256 of the parts, each length-delimited so that ("ab",
// "c") and ("a", "bc") differ. All deterministic ids are made with it.
func Hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(strings.ReplaceAll(p, "\x00", "\x00\x00")))
		h.Write([]byte{0, 1})
	}
	return hex.EncodeToString(h.Sum(nil))
}

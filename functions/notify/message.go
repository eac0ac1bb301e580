package notify

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// State is what a message announces.
type State string

// The states that are announced. They follow the incident's and its latest
// repair's, and name what a person can do about it.
const (
	StateDetected     State = "detected"     // red, and nothing was done yet
	StateNotRepaired  State = "not_repaired" // a guard or the policy said no
	StateProposed     State = "proposed"
	StateVerified     State = "verified"
	StateRejected     State = "rejected"
	StateUnverifiable State = "unverifiable"
	StateLanded       State = "landed"
	StateClosed       State = "closed"
	StateRegressed    State = "regressed"
	StateHandedOff    State = "handed_off"
	StateResolved     State = "resolved"
)

// Severity is how a message should look.
type Severity string

// Severities, from good to bad.
const (
	SeverityGood    Severity = "good"
	SeverityInfo    Severity = "info"
	SeverityWarning Severity = "warning"
	SeverityBad     Severity = "bad"
)

// Bounds of what a message quotes.
const (
	maxName      = 120 // runes of a branch, a job, a path
	maxSentence  = 400
	maxAccount   = 800 // of what came before the failure
	maxExcerpt   = 900
	maxLines     = 12
	maxSecondary = 3
	maxFacts     = 6
	maxProofs    = 5
	maxPaths     = 5
	maxPulls     = 3
)

// Message is the current state of an incident and its repair, neutral to the
// channel: its texts are bounded and visible, but not escaped for any format.
// Its JSON form is the body that the webhook channel sends.
type Message struct {
	State    State    `json:"state"`
	Severity Severity `json:"severity"`
	// Title is one line: what is so, and the cause.
	Title string `json:"title"`
	// Next is a sentence on what the reader has to do, or that there is nothing.
	Next string `json:"next"`

	IncidentID  string `json:"incident_id"`
	IncidentURL string `json:"incident_url,omitempty"` // on the console
	RepairID    string `json:"repair_id,omitempty"`

	Repo     string `json:"repo"` // "owner/name"
	RepoURL  string `json:"repo_url,omitempty"`
	Branch   string `json:"branch"`
	Workflow string `json:"workflow"` // path of the workflow's file
	Job      string `json:"job,omitempty"`
	Step     string `json:"step,omitempty"`
	RunURL   string `json:"run_url,omitempty"`
	Seen     int    `json:"seen"` // run attempts that showed it

	Category  string     `json:"category"` // of the taxonomy; "unknown"
	Rule      string     `json:"rule,omitempty"`
	Cause     string     `json:"cause"` // the category for people
	Facts     []Fact     `json:"facts,omitempty"`
	Evidence  Evidence   `json:"evidence"`
	Secondary []Evidence `json:"secondary,omitempty"`
	Problems  []string   `json:"problems,omitempty"` // what could not be read
	Why       string     `json:"why,omitempty"`      // a clause: why this is the cause and not something else in the log

	// Changed is a sentence on what changed since the last green run, absent where
	// that isn't known. Suspect is the commit that most likely brought the failure,
	// with the reasons; it begins with its abbreviated SHA where SuspectURL is set.
	Changed    string `json:"changed,omitempty"`
	Suspect    string `json:"suspect,omitempty"`
	SuspectURL string `json:"suspect_url,omitempty"`
	// Flaky is a sentence with the evidence that the failure comes and goes without
	// a change, absent where the history doesn't show it.
	Flaky string `json:"flaky,omitempty"`

	// Of the repair:
	Action     string           `json:"action,omitempty"` // what was done, the plan's title
	Strategy   string           `json:"strategy,omitempty"`
	Risk       domain.Risk      `json:"risk,omitempty"`
	Paths      []string         `json:"paths,omitempty"` // files that the plan edits
	Verify     string           `json:"verify,omitempty"`
	Attempt    int              `json:"attempt,omitempty"`
	PullNumber int              `json:"pull_number,omitempty"`
	PullURL    string           `json:"pull_url,omitempty"`
	Draft      bool             `json:"draft,omitempty"`
	Superseded int              `json:"superseded_by,omitempty"` // number of the pull request that replaces this one
	Proofs     []domain.Proof   `json:"proofs,omitempty"`
	Refusals   []domain.Refusal `json:"refusals,omitempty"`
	Tried      []Try            `json:"tried,omitempty"` // where a person is asked

	SeenAt   time.Time `json:"seen_at"` // when the incident was opened
	Timeline []Moment  `json:"timeline,omitempty"`

	// Repository and Comments say where the sticky comment belongs; none when it
	// belongs nowhere.
	Repository domain.Repo     `json:"-"`
	Comments   []CommentTarget `json:"-"`

	unmerged bool // the pull request may still be open
}

// Fact is a value that the rule read in the log.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// shown is the fact for people: numbers of bytes get a unit.
func (f Fact) shown() (name, value string) {
	if short, ok := strings.CutSuffix(f.Name, "_bytes"); ok {
		if n, err := strconv.ParseInt(f.Value, 10, 64); err == nil && n >= 0 {
			return label(short), size(n)
		}
	}
	return label(f.Name), f.Value
}

// Evidence is what the log says and where.
type Evidence struct {
	Cause string `json:"cause,omitempty"`
	Text  string `json:"text"`
	Line  int    `json:"line,omitempty"` // in the decoded log, from 1
	URL   string `json:"url,omitempty"`  // of the line in the job's log, or as near as is known
}

// Try is a repair that did not work.
type Try struct {
	Attempt    int    `json:"attempt"`
	Action     string `json:"action"`
	State      string `json:"state"`
	PullNumber int    `json:"pull_number,omitempty"`
	PullURL    string `json:"pull_url,omitempty"`
}

// Moment is something that happened After the incident was opened.
type Moment struct {
	What  string        `json:"what"`
	At    time.Time     `json:"at"`
	After time.Duration `json:"-"`
}

// CommentTarget is an issue or pull request and the hidden marker of the one
// comment on it.
type CommentTarget struct {
	Number int
	Marker string
}

// stateOf tells what is to be announced about an incident and a repair of it
// (nil for none).
func stateOf(inc domain.Incident, rep *domain.Repair) State {
	switch {
	case inc.State == domain.IncidentResolved:
		return StateResolved
	case rep != nil && rep.State == domain.RepairLanded:
		return StateLanded
	case rep != nil && (rep.State == domain.RepairProposed || rep.State == domain.RepairVerified):
		// Even after a person was asked, a repair that stands is the better news.
		return State(rep.State)
	case inc.State == domain.IncidentHandedOff:
		return StateHandedOff
	case rep == nil || rep.State == domain.RepairIntended:
		return StateDetected
	case rep.State == domain.RepairRefused:
		return StateNotRepaired
	default:
		return State(rep.State)
	}
}

// compose renders what is stored. rep is the repair that the message is about,
// one of chain, or nil; chain holds all repairs of the incident's root.
func compose(inc domain.Incident, rep *domain.Repair, chain []domain.Repair, consoleURL string) Message {
	f := inc.Finding
	m := Message{
		State:      stateOf(inc, rep),
		IncidentID: plain(inc.ID, maxName),
		Repo:       plain(inc.Repo.FullName, maxName),
		RepoURL:    link(inc.Repo.HTMLURL),
		Branch:     plain(inc.Branch, maxName),
		Workflow:   plain(inc.WorkflowPath, maxName),
		Job:        plain(f.Job, maxName),
		Step:       plain(f.Step, maxName),
		RunURL:     link(inc.Run.HTMLURL),
		Seen:       inc.Occurrences,
		Category:   plain(f.Category, maxName),
		Rule:       plain(f.Rule, maxName),
		Cause:      cause(f),
		Evidence:   evidence(inc, f),
		Why:        plain(f.Why, maxSentence),
		SeenAt:     inc.OpenedAt.UTC(),
		Repository: inc.Repo,
	}
	if consoleURL != "" {
		m.IncidentURL = link(strings.TrimSuffix(consoleURL, "/") + "/incidents/" + inc.ID)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Facts)) {
		if v := plain(f.Facts[name], maxName); v != "" && len(m.Facts) < maxFacts {
			m.Facts = append(m.Facts, Fact{plain(name, maxName), v})
		}
	}
	// Another reading of the very same line tells people nothing new.
	others := slices.DeleteFunc(slices.Clone(inc.Secondary), func(f domain.Finding) bool { return f.Line == inc.Finding.Line })
	for _, s := range others[:min(len(others), maxSecondary)] {
		e := evidence(inc, s)
		e.Cause = cause(s)
		m.Secondary = append(m.Secondary, e)
	}
	for _, p := range inc.Problems[:min(len(inc.Problems), maxSecondary)] {
		m.Problems = append(m.Problems, plain(p, maxSentence))
	}
	m.lookBack(inc)
	if rep != nil {
		m.describe(inc, *rep, chain)
	}
	if m.State == StateHandedOff {
		for _, r := range chain[max(0, len(chain)-domain.MaxAttempts):] {
			if r.State != domain.RepairRefused {
				m.Tried = append(m.Tried, Try{r.Attempt, plain(r.Plan.Title, maxSentence), string(r.State), r.PullNumber, link(r.PullURL)})
			}
		}
	}
	if m.State == StateResolved && !inc.ClosedAt.IsZero() {
		m.moment(inc, "green again", inc.ClosedAt)
	}
	m.Severity, m.Title, m.Next = m.wording(inc)
	m.Comments = commentTargets(inc, rep)
	return m
}

// lookBack adds what is known of the time before the failure.
func (m *Message) lookBack(inc domain.Incident) {
	if inc.Flaky != nil {
		m.Flaky = plain(inc.Flaky.Sentence(), maxAccount)
	}
	if inc.Change == nil || inc.Change.None() {
		return
	}
	m.Changed = plain(inc.Change.Sentence(), maxAccount)
	if lines := inc.Change.Lines(); len(lines) > 0 {
		m.Suspect = plain(lines[0], maxAccount)
		if inc.Change.Suspects[0].SHA != "" {
			m.SuspectURL = link(inc.Change.Suspects[0].HTMLURL)
		}
	}
}

// explains reports whether people are told why it is the cause and what changed
// before it: once the good news is there, they don't look for that any more.
func (m *Message) explains() bool { return m.Severity != SeverityGood }

// suspect renders the suspect with its SHA as a link.
func (m *Message) suspect(text func(string) string, link func(label, u string) string) string {
	if m.SuspectURL == "" {
		return text(m.Suspect)
	}
	sha, rest, _ := strings.Cut(m.Suspect, " ")
	return link(text(sha), m.SuspectURL) + " " + text(rest)
}

// describe adds what is known of the repair.
func (m *Message) describe(inc domain.Incident, rep domain.Repair, chain []domain.Repair) {
	m.RepairID = plain(rep.ID, maxName)
	if rep.State == domain.RepairRefused && rep.Refusal != nil {
		m.Refusals = append(m.Refusals, domain.Refusal{Code: domain.RefusalCode(plain(string(rep.Refusal.Code), maxName)), Reason: plain(rep.Refusal.Reason, maxSentence)})
	}
	m.Action = plain(rep.Plan.Title, maxSentence)
	m.Strategy = plain(rep.Plan.Strategy, maxName)
	m.Risk = domain.Risk(plain(string(rep.Plan.Risk), maxName))
	m.Verify = plain(rep.Plan.Verify, maxSentence)
	m.Attempt = rep.Attempt
	m.PullNumber = rep.PullNumber
	m.PullURL = link(rep.PullURL)
	m.Draft = rep.Draft
	m.unmerged = rep.State != domain.RepairLanded && rep.State != domain.RepairClosed && rep.State != domain.RepairRegressed
	for _, e := range rep.Plan.Edits {
		if len(m.Paths) == maxPaths {
			m.Paths = append(m.Paths, fmt.Sprintf("and %d more", len(rep.Plan.Edits)-maxPaths))
			break
		}
		m.Paths = append(m.Paths, plain(e.Path, maxName))
	}
	for _, p := range rep.Proofs[max(0, len(rep.Proofs)-maxProofs):] {
		p.Job, p.Event, p.HTMLURL = plain(p.Job, maxName), plain(p.Event, maxName), link(p.HTMLURL)
		p.Conclusion = domain.Conclusion(plain(string(p.Conclusion), maxName))
		m.Proofs = append(m.Proofs, p)
	}
	for _, r := range chain {
		if rep.PullNumber > 0 && r.Supersedes == rep.PullNumber {
			m.Superseded = r.PullNumber
		}
	}
	if !rep.ProposedAt.IsZero() {
		what := "fix proposed"
		if rep.Plan.Action == domain.ActionRerun {
			what = "rerun asked for"
		}
		m.moment(inc, what, rep.ProposedAt)
	}
	if !rep.JudgedAt.IsZero() {
		what := map[domain.RepairState]string{domain.RepairRejected: "rejected", domain.RepairUnverifiable: "given up waiting"}[rep.State]
		if what == "" {
			what = "verified"
			if !slices.ContainsFunc(rep.Proofs, func(p domain.Proof) bool { return p.Conclusion == domain.Success }) {
				what = "judged"
			}
		}
		m.moment(inc, what, rep.JudgedAt)
	}
	if !rep.EndedAt.IsZero() {
		what := map[domain.RepairState]string{domain.RepairLanded: "merged", domain.RepairClosed: "closed", domain.RepairRegressed: "back again"}[rep.State]
		if what == "" {
			what = "ended"
		}
		m.moment(inc, what, rep.EndedAt)
	}
}

func (m *Message) moment(inc domain.Incident, what string, at time.Time) {
	m.Timeline = append(m.Timeline, Moment{What: what, At: at.UTC(), After: max(0, at.Sub(inc.OpenedAt))})
}

// wording says the state in words. It is what somebody reads at 3 a.m. on a
// phone: first what is so, then what it asks of them.
func (m *Message) wording(inc domain.Incident) (Severity, string, string) {
	pull := "The fix"
	if m.PullNumber > 0 {
		pull = fmt.Sprintf("Fix #%d", m.PullNumber)
	}
	rerun := m.PullNumber == 0 && len(m.Paths) == 0 && m.RepairID != ""
	of := func(what string) string { return what + ": " + m.Cause }

	switch m.State {
	case StateProposed:
		if rerun {
			return SeverityInfo, of("Failed jobs run again"), "Nothing to do: the rerun decides."
		}
		return SeverityInfo, of(pull + " proposed"), "Nothing to do yet: the pull request's own run decides whether it works."
	case StateVerified:
		if rerun {
			return SeverityGood, of("Green after a rerun"), "Nothing to do."
		}
		if m.Draft {
			return SeverityGood, of(pull + " verified"), "Review it, mark it as ready and merge it."
		}
		return SeverityGood, of(pull + " verified"), "Review and merge it."
	case StateRejected:
		next := fmt.Sprintf("Nothing to do yet: what else fits is tried, at most %d times; then a person is asked.", domain.MaxAttempts)
		if rerun {
			return SeverityWarning, of("Still red after a rerun"), next
		}
		return SeverityWarning, of(pull + " did not work"), next
	case StateUnverifiable:
		return SeverityWarning, of(pull + " could not be verified"), "No run judged it in time. See whether workflows run for its branch and start one, or review it by hand."
	case StateLanded:
		return SeverityGood, of(pull + " merged"), "Nothing to do: the incident closes when the branch is green again."
	case StateClosed:
		return SeverityWarning, of(pull + " closed without a merge"), "The branch is still red: repair it by hand."
	case StateRegressed:
		return SeverityBad, of("Back again after " + lowerFirst(pull)), "The merged fix did not hold: look at what changed since."
	case StateHandedOff:
		return SeverityBad, of("A person is needed"), "Please look: the bot tries nothing more here until the branch is green again."
	case StateNotRepaired:
		return SeverityWarning, of("Red, not repaired"), "Repair it by hand, or change what the reason names."
	case StateResolved:
		if m.PullNumber > 0 && m.unmerged {
			return SeverityGood, of("Resolved"), fmt.Sprintf("The branch is green again without #%d: close that if it is not needed any more.", m.PullNumber)
		}
		return SeverityGood, of("Resolved"), "Nothing to do: the branch is green again."
	default:
		return SeverityBad, of("Red"), detectedNext(inc.Finding)
	}
}

func detectedNext(f domain.Finding) string {
	switch {
	case f.Category == domain.Unknown || f.Category == "":
		return "The bot knows no cause for what the log shows: please look at it."
	case f.Remedy == domain.RemedyFix || f.Remedy == domain.RemedyRetry || f.Remedy == domain.RemedyRevert:
		return "Nothing to do yet: the bot looks for a repair and says what comes of it."
	case f.Remedy == domain.RemedyNone:
		return "Nothing to do: it was cancelled, nothing is known to be broken."
	default:
		return "This needs a person: the bot has no repair for it."
	}
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

func cause(f domain.Finding) string {
	switch {
	case f.Category == domain.Unknown || f.Category == "":
		return "unknown cause"
	case f.Title != "":
		return plain(f.Title, maxName)
	default:
		return plain(f.Category, maxName)
	}
}

// evidence quotes a finding. GitHub addresses log lines by their number within
// a step; where that isn't known, the link opens the step.
func evidence(inc domain.Incident, f domain.Finding) Evidence {
	e := Evidence{Text: excerpt(f.Text, maxLines, maxExcerpt), Line: f.Line}
	if e.URL = link(inc.Job.HTMLURL); e.URL == "" {
		e.URL = link(inc.Run.HTMLURL)
	} else if f.Job != "" && f.Job != inc.Job.Name {
		e.URL = link(inc.Run.HTMLURL) // of another leg, whose URL isn't stored
	} else if f.StepNumber > 0 {
		e.URL += fmt.Sprintf("#step:%d:%d", f.StepNumber, max(1, f.StepLine))
	}
	return e
}

// quiet are the refusals that a pull request is not told of: the bot was asked
// to be silent there, or the branch is somebody's machine.
var quiet = []domain.RefusalCode{
	domain.RefusedMode, domain.RefusedStopped, domain.RefusedBranchOwner,
	domain.RefusedUnavailable, domain.RefusedArchived, domain.RefusedOutage,
}

// commentTargets says where the sticky comment belongs: on the repair's own
// pull request, or, where nothing could be done, on the pull requests that
// failed. One comment is kept per pull request and workflow there.
func commentTargets(inc domain.Incident, rep *domain.Repair) []CommentTarget {
	if rep == nil || rep.Silent {
		return nil
	}
	if rep.PullNumber > 0 {
		return []CommentTarget{{rep.PullNumber, "<!-- mlops-bot:repair:" + domain.Hash(rep.ID)[:16] + " -->"}}
	}
	if rep.State != domain.RepairRefused || rep.Refusal == nil || slices.Contains(quiet, rep.Refusal.Code) {
		return nil
	}
	var targets []CommentTarget
	for _, n := range inc.Run.PullRequests[:min(len(inc.Run.PullRequests), maxPulls)] {
		if n > 0 {
			targets = append(targets, CommentTarget{n, "<!-- mlops-bot:diagnosis:" + domain.Hash(inc.WorkflowPath)[:16] + " -->"})
		}
	}
	return targets
}

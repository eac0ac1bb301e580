package notify

import (
	"context"
	"fmt"
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// comment keeps one comment on a pull request and edits it as the story goes on.
type comment struct {
	name      string
	commenter Commenter
}

var _ Channel = comment{}

func newComment(s Settings, t Tools) (Channel, error) {
	if t.Commenter == nil {
		return nil, domain.Errorf(domain.Invalid, "set up the comment channel", "it needs the GitHub App")
	}
	return comment{s.Name, t.Commenter}, nil
}

func (c comment) Name() string { return c.name }
func (comment) Sticky() bool   { return true }

func (c comment) Notify(ctx context.Context, m Message, _ string) (string, bool, error) {
	var ref string
	for _, target := range m.Comments {
		u, err := c.commenter.UpsertComment(ctx, m.Repository, target.Number, target.Marker, target.Marker+"\n"+markdown(m))
		if err != nil {
			return "", false, fmt.Errorf("comment on #%d: %w", target.Number, err)
		}
		ref = u
	}
	return ref, len(m.Comments) > 0, nil
}

var marks = map[Severity]string{
	SeverityGood:    "✅",
	SeverityInfo:    "🔧",
	SeverityWarning: "⚠️",
	SeverityBad:     "🔴",
}

// markdown renders a message for GitHub.
func markdown(m Message) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }

	p("### %s %s\n\n", marks[m.Severity], mdText(m.Title))
	p("**Next:** %s\n\n", mdText(m.Next))

	var items []string
	item := func(format string, args ...any) { items = append(items, fmt.Sprintf("- "+format+"\n", args...)) }
	for _, r := range m.Refusals {
		item("**Not done because:** %s (%s)", mdText(r.Reason), mdCode(string(r.Code)))
	}
	if m.Superseded > 0 {
		item("**Replaced by:** #%d", m.Superseded)
	}
	if m.Action != "" && len(m.Refusals) == 0 && len(m.Tried) == 0 {
		change := mdText(m.Action)
		if len(m.Paths) > 0 {
			change += " (" + codeList(m.Paths, mdCode) + ")"
		}
		if m.Risk != "" {
			change += ", " + mdText(string(m.Risk)) + " risk"
		}
		item("**Change:** %s", change)
	}
	for _, t := range m.Tried {
		pull := ""
		if t.PullNumber > 0 {
			pull = fmt.Sprintf(" in #%d", t.PullNumber)
		}
		item("**Tried:** %s%s (%s)", mdText(t.Action), pull, mdText(label(t.State)))
	}
	for _, proof := range m.Proofs {
		item("**Proof:** %s: %s %s, on %s", mdLink(runLabel(proof), proof.HTMLURL), mdCode(proof.Job), mdText(outcome(proof.Conclusion)), mdCode(proof.Event))
	}
	if len(m.Proofs) == 0 && m.State == StateProposed && m.Verify != "" {
		item("**How it is proved:** %s", mdText(m.Verify))
	}
	for _, problem := range m.Problems {
		item("**Could not be read:** %s", mdText(problem))
	}
	if len(items) > 0 {
		p("%s\n", strings.Join(items, ""))
	}

	p("%s in %s failed on %s", mdCode(or(m.Job, "A job")), mdCode(m.Workflow), mdCode(m.Branch))
	if m.Step != "" {
		p(", step %s", mdCode(m.Step))
	}
	if m.Seen > 1 {
		p(", %d times so far", m.Seen)
	}
	p(" (%s):\n\n", mdLink(logLabel(m.Evidence), m.Evidence.URL))
	if m.Evidence.Text != "" {
		p("%s\n\n", mdBlock(m.Evidence.Text))
	}
	var facts []string
	for _, f := range m.Facts {
		name, value := f.shown()
		facts = append(facts, mdText(name)+" "+mdCode(value))
	}
	if len(facts) > 0 {
		p("%s\n\n", strings.Join(facts, " · "))
	}
	if m.Why != "" && m.explains() {
		p("Why this is the cause: %s.\n\n", mdText(m.Why))
	}
	for _, s := range m.Secondary {
		p("Also in the log: %s (%s) %s\n\n", mdText(s.Cause), mdLink(logLabel(s), s.URL), mdCode(plain(s.Text, maxName)))
	}

	if m.Changed != "" && m.explains() {
		p("**What changed:** %s\n\n", mdText(m.Changed))
		if m.Suspect != "" {
			p("**First suspect:** %s\n\n", m.suspect(mdText, mdLink))
		}
	}
	if m.Flaky != "" {
		p("**Flaky:** %s\n\n", mdText(m.Flaky))
	}

	foot := mdText(footer(m))
	if m.IncidentURL != "" {
		foot += " · " + mdLink("the whole story", m.IncidentURL)
	}
	p("<sub>%s</sub>\n", foot)
	return b.String()
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// label makes a fact's name readable.
func label(name string) string { return strings.ReplaceAll(name, "_", " ") }

func logLabel(e Evidence) string {
	if e.Line > 0 {
		return fmt.Sprintf("log, line %d", e.Line)
	}
	return "log"
}

func runLabel(p domain.Proof) string {
	return fmt.Sprintf("run %d, attempt %d", p.RunID, max(1, p.Attempt))
}

func outcome(c domain.Conclusion) string {
	switch c {
	case domain.Success:
		return "is green"
	case domain.Failure, domain.TimedOut, domain.StartupFailure:
		return "is red"
	case "":
		return "has not ended"
	default:
		return "ended as " + label(string(c))
	}
}

func codeList(items []string, code func(string) string) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = code(s)
		if strings.HasPrefix(s, "and ") {
			quoted[i] = s
		}
	}
	return strings.Join(quoted, ", ")
}

// footer is the attempt and the timing in one line.
func footer(m Message) string {
	var parts []string
	if m.Attempt > 0 && m.State != StateNotRepaired {
		parts = append(parts, fmt.Sprintf("attempt %d of %d", m.Attempt, domain.MaxAttempts))
	}
	if !m.SeenAt.IsZero() {
		parts = append(parts, "seen "+m.SeenAt.Format("2 Jan 2006 15:04 UTC"))
	}
	for _, t := range m.Timeline {
		parts = append(parts, t.What+" after "+span(t.After))
	}
	return strings.Join(append(parts, m.IncidentID), " · ")
}

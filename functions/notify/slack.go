package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// slack posts to an incoming webhook. Slack can't be asked what it got, so a
// message may come twice after a crash.
type slack struct {
	name   string
	url    string
	client *Client
}

var _ Channel = slack{}

func newSlack(s Settings, t Tools) (Channel, error) {
	const op = "set up Slack"
	if t.Client == nil {
		return nil, domain.Errorf(domain.Bug, op, "it needs the HTTP client")
	}
	if err := t.Client.check(op, s.URL); err != nil {
		return nil, err
	}
	return slack{s.Name, s.URL, t.Client}, nil
}

func (c slack) Name() string { return c.name }
func (slack) Sticky() bool   { return false }

func (c slack) Notify(ctx context.Context, m Message, _ string) (string, bool, error) {
	body, err := json.Marshal(slackMessage(m))
	if err != nil {
		return "", false, domain.Errorf(domain.Bug, "write the Slack message", "%w", err)
	}
	if err := c.client.postJSON(ctx, "post to Slack", c.url, nil, body); err != nil {
		return "", false, err
	}
	return "", true, nil
}

// Slack's limits on a header and on a section's text, in characters.
const (
	slackHeader  = 150
	slackSection = 3000
	// slackQuote is how much of a longer text goes in: escapes lengthen it at most
	// sixfold.
	slackQuote = 480
)

type slackBody struct {
	Text        string           `json:"text"` // what notifications and screen readers show
	UnfurlLinks bool             `json:"unfurl_links"`
	UnfurlMedia bool             `json:"unfurl_media"`
	Blocks      []slackBlockBody `json:"blocks"`
}

type slackBlockBody struct {
	Type     string       `json:"type"`
	Text     *slackField  `json:"text,omitempty"`
	Elements []slackField `json:"elements,omitempty"`
}

type slackField struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	Emoji    *bool  `json:"emoji,omitempty"`
	Verbatim bool   `json:"verbatim,omitempty"`
}

// slackMessage renders a message as Slack's blocks.
func slackMessage(m Message) slackBody {
	title := marks[m.Severity] + " " + m.Title
	noEmoji := false
	body := slackBody{Text: slackText(m.Title + " in " + m.Repo)}
	section := func(text string) {
		if text == "" {
			return
		}
		body.Blocks = append(body.Blocks, slackBlockBody{Type: "section", Text: &slackField{Type: "mrkdwn", Text: text, Verbatim: true}})
	}
	body.Blocks = append(body.Blocks, slackBlockBody{Type: "header", Text: &slackField{Type: "plain_text", Text: cut(title, slackHeader), Emoji: &noEmoji}})

	where := slackLink("*"+slackText(m.Repo)+"*", m.RepoURL) + " " + slackCode(m.Branch) + " · " +
		slackLink(slackText(or(m.Job, m.Workflow)), m.RunURL)
	if m.Job != "" {
		where += " in " + slackCode(m.Workflow)
	}
	lines := []string{where, "*Next:* " + slackText(m.Next)}
	if m.PullURL != "" && len(m.Tried) == 0 {
		pull := fmt.Sprintf("#%d", m.PullNumber)
		if m.Draft {
			pull += " (draft)"
		}
		lines = append(lines, "*Pull request:* "+slackLink(pull, m.PullURL))
	}
	for _, r := range m.Refusals {
		lines = append(lines, "*Not done because:* "+slackText(r.Reason))
	}
	for _, t := range m.Tried {
		line := "*Tried:* " + slackText(t.Action)
		if t.PullNumber > 0 {
			line += " in " + slackLink(fmt.Sprintf("#%d", t.PullNumber), t.PullURL)
		}
		lines = append(lines, line+" ("+slackText(label(t.State))+")")
	}
	if m.Action != "" && len(m.Refusals) == 0 && len(m.Tried) == 0 {
		line := "*Change:* " + slackText(m.Action)
		if len(m.Paths) > 0 {
			line += " (" + codeList(m.Paths, slackCode) + ")"
		}
		lines = append(lines, line)
	}
	for _, p := range m.Proofs {
		lines = append(lines, "*Proof:* "+slackLink(runLabel(p), p.HTMLURL)+": "+slackText(p.Job)+" "+slackText(outcome(p.Conclusion)))
	}
	section(joinUpTo(lines, slackSection))

	if m.Evidence.Text != "" {
		text := slackBlock(cut(m.Evidence.Text, slackQuote))
		section("*Evidence:* " + slackLink(logLabel(m.Evidence), m.Evidence.URL) + "\n" + text)
	}
	section(joinUpTo(slackAccount(m), slackSection))
	lines = nil
	for _, p := range m.Problems {
		lines = append(lines, "*Could not be read:* "+slackText(p))
	}
	section(joinUpTo(lines, slackSection))

	context := slackText(footer(m))
	if m.IncidentURL != "" {
		context += " · " + slackLink("the whole story", m.IncidentURL)
	}
	body.Blocks = append(body.Blocks, slackBlockBody{Type: "context", Elements: []slackField{{Type: "mrkdwn", Text: context, Verbatim: true}}})
	return body
}

// slackAccount says why it is the cause and what came before it. What holds no
// stranger's text stands first, so that none can push it out.
func slackAccount(m Message) []string {
	text := func(s string) string { return slackText(cut(s, slackQuote)) }
	var lines []string
	if m.Flaky != "" {
		lines = append(lines, "*Flaky:* "+text(m.Flaky))
	}
	if !m.explains() {
		return lines
	}
	if m.Why != "" {
		lines = append(lines, "*Why this is the cause:* "+text(m.Why))
	}
	if m.Changed != "" {
		lines = append(lines, "*What changed:* "+text(m.Changed))
		if m.Suspect != "" {
			lines = append(lines, "*First suspect:* "+m.suspect(text, slackLink))
		}
	}
	return lines
}

// joinUpTo joins whole lines, since half an escape sequence would be none.
func joinUpTo(lines []string, limit int) string {
	var b strings.Builder
	for _, l := range lines {
		if b.Len()+len(l)+1 > limit {
			break
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(l)
	}
	return b.String()
}

func cut(s string, limit int) string {
	r := []rune(s)
	if len(r) <= limit {
		return s
	}
	return string(r[:limit-1]) + "…"
}

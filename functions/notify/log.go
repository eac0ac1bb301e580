package notify

import (
	"context"
	"log/slog"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// logChannel writes each message as one line of the structured log.
type logChannel struct {
	name string
	log  *slog.Logger
}

var _ Channel = logChannel{}

func newLog(s Settings, t Tools) (Channel, error) {
	if t.Log == nil {
		return nil, domain.Errorf(domain.Bug, "set up the log channel", "it needs a logger")
	}
	return logChannel{s.Name, t.Log}, nil
}

func (c logChannel) Name() string { return c.name }
func (logChannel) Sticky() bool   { return false }

func (c logChannel) Notify(ctx context.Context, m Message, key string) (string, bool, error) {
	if err := ctx.Err(); err != nil {
		return "", false, domain.Errorf(domain.Transient, "log the message", "%w", err)
	}
	level := slog.LevelInfo
	if m.Severity == SeverityBad || m.Severity == SeverityWarning {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.String("state", string(m.State)), slog.String("title", m.Title), slog.String("next", m.Next),
		slog.String("repo", m.Repo), slog.String("branch", m.Branch), slog.String("workflow", m.Workflow),
		slog.String("incident_id", m.IncidentID), slog.String("category", m.Category),
		slog.String("evidence", m.Evidence.Text), slog.Int("line", m.Evidence.Line), slog.String("key", key),
	}
	for _, a := range []slog.Attr{
		slog.String("job", m.Job), slog.String("rule", m.Rule), slog.String("repair_id", m.RepairID), slog.String("strategy", m.Strategy),
		slog.String("action", m.Action), slog.String("pull_url", m.PullURL),
		slog.String("why", m.Why), slog.String("changed", m.Changed), slog.String("suspect", m.Suspect), slog.String("flaky", m.Flaky),
	} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	for _, r := range m.Refusals {
		attrs = append(attrs, slog.String("refusal", r.Error()))
	}
	c.log.LogAttrs(ctx, level, "notification", attrs...)
	return "", true, nil
}

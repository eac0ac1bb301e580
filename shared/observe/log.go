// Package observe is how the bot shows what it does: structured logs, traces,
// health endpoints and the metrics that are read from the database. It knows
// nothing of incidents or repairs and never imports another package of the bot.
package observe

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// The keys of the attributes that logs of every package share, so that one
// query finds a failure's whole way. Repositories are written as "owner/name".
const (
	KeyName       = "name"     // the program: webhook, detect, repair …
	KeyTraceID    = "trace_id" // 32 hex digits, W3C
	KeySpanID     = "span_id"  // 16 hex digits, W3C
	KeyDeliveryID = "delivery_id"
	KeyEventID    = "event_id"
	KeyRepo       = "repo"
	KeyRunID      = "run_id"
	KeyIncidentID = "incident_id"
	KeyRepairID   = "repair_id"
	KeyRule       = "rule"
	KeyStrategy   = "strategy"
	KeyChannel    = "channel"
	KeyError      = "error"
)

// NewLogger returns a logger that writes one JSON object a line to w: time,
// level (in lower case), msg, name, the record's attributes and, where the
// context carries a trace, trace_id and span_id. name is the program's.
func NewLogger(w io.Writer, name string, level slog.Leveler) *slog.Logger {
	h := slog.NewJSONHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.LevelKey {
				a.Value = slog.StringValue(strings.ToLower(a.Value.String()))
			}
			return a
		},
	})
	return slog.New(traceHandler{h}).With(KeyName, name)
}

// traceHandler adds the context's trace to each record.
type traceHandler struct{ slog.Handler }

func (h traceHandler) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		r.AddAttrs(slog.String(KeyTraceID, sc.TraceID().String()), slog.String(KeySpanID, sc.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h traceHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return traceHandler{h.Handler.WithAttrs(attrs)}
}

func (h traceHandler) WithGroup(name string) slog.Handler {
	return traceHandler{h.Handler.WithGroup(name)}
}

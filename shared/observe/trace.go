package observe

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// exportTimeout bounds one export of spans: a collector that doesn't answer may
// cost spans, never a handler's time.
const exportTimeout = 5 * time.Second

// TraceSettings are the operator's settings of tracing.
type TraceSettings struct {
	// Endpoint is OTEL_EXPORTER_OTLP_ENDPOINT: the base URL of an OTLP/HTTP
	// collector, to which /v1/traces is appended. Empty switches tracing off.
	Endpoint string
	Service  string // service.name
	Version  string // service.version
}

// Tracing hands out tracers. Use StartTracing to make one and Shutdown to end
// it.
type Tracing struct {
	provider trace.TracerProvider
	shutdown func(context.Context) error
}

// StartTracing begins to export spans to the collector of s. Without an endpoint
// the spans go nowhere, but logs carry their ids and traces are carried on. Exports
// that fail are logged to log and don't disturb anybody.
func StartTracing(ctx context.Context, s TraceSettings, log *slog.Logger) (*Tracing, error) {
	if s.Endpoint == "" {
		p := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
		return &Tracing{provider: p, shutdown: p.Shutdown}, nil
	}
	u, err := url.Parse(s.Endpoint)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "http" && u.Scheme != "https") {
		// The URL isn't repeated: it may carry credentials.
		return nil, fmt.Errorf("read OTEL_EXPORTER_OTLP_ENDPOINT: want http(s)://host[:port][/path] without credentials")
	}
	exporter, err := otlptracehttp.New(ctx,
		otlptracehttp.WithEndpointURL(u.JoinPath("v1", "traces").String()),
		otlptracehttp.WithTimeout(exportTimeout))
	if err != nil {
		return nil, fmt.Errorf("open the trace exporter: %w", err)
	}
	p := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(loggingExporter{exporter, log}, sdktrace.WithExportTimeout(exportTimeout)),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", s.Service),
			attribute.String("service.version", s.Version))),
	)
	return &Tracing{provider: p, shutdown: p.Shutdown}, nil
}

// Tracer returns the tracer of a package, named by its import path's last part.
func (t *Tracing) Tracer(name string) trace.Tracer { return t.provider.Tracer(name) }

// Shutdown sends what is buffered and ends the export. ctx bounds it.
func (t *Tracing) Shutdown(ctx context.Context) error {
	if err := t.shutdown(ctx); err != nil {
		return fmt.Errorf("stop tracing: %w", err)
	}
	return nil
}

// loggingExporter keeps OpenTelemetry from reporting failed exports through its
// process-wide error handler.
type loggingExporter struct {
	sdktrace.SpanExporter
	log *slog.Logger
}

func (e loggingExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := e.SpanExporter.ExportSpans(ctx, spans); err != nil {
		e.log.WarnContext(ctx, "cannot export traces", "spans", len(spans), KeyError, err.Error())
	}
	return nil
}

const traceParentKey = "traceparent"

// Inject returns the W3C traceparent of ctx, which Extract reads on the other
// side of a queue; "" where ctx carries no trace.
func Inject(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[traceParentKey]
}

// Extract returns ctx with the trace that a W3C traceparent names as its remote
// parent. A malformed one, which strangers can send, changes nothing.
func Extract(ctx context.Context, traceParent string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceParentKey: traceParent})
}

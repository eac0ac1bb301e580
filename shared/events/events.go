// Package events owns the bot's CloudEvents: the payload of each type, how it is
// encoded and decoded, and who consumes it (routes.yaml). It doesn't deliver
// them; brokers do.
//
// An event is a wake-up. Its data is a typed projection with ids, at most
// MaxData bytes; bodies, logs and secrets stay in the store, and handlers act on
// what is stored.
package events

import (
	"encoding/json"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// MaxData bounds an event's data in bytes.
const MaxData = 64 << 10

// source is the CloudEvents source of events that concern no repository.
const source = "urn:mlops-bot"

// Payload is the data of one event type. The type's name lives on the payload.
type Payload interface {
	EventType() string
	// Subject is the CloudEvents subject: the object that the event is about.
	Subject() string
}

// Cause is what an event follows from. Ids are a deterministic hash of the cause
// and the type, so that a handler that runs twice sends the same event.
type Cause struct {
	ID     string // of the event, work or state that caused it
	Source string // the repository's URL; "" for none
	Time   time.Time
	// TraceParent is the W3C trace context to carry on; may be empty.
	TraceParent string
}

// New encodes a payload. The error is a Bug: payloads are ours.
func New(c Cause, p Payload) (domain.Envelope, error) {
	return build(domain.Hash(c.ID, p.EventType(), p.Subject())[:32], c, p)
}

// NewGitHub encodes the projection of a webhook delivery; the event's id is the
// delivery's.
func NewGitHub(c Cause, p GitHub) (domain.Envelope, error) {
	return build(p.DeliveryID, c, p)
}

func build(id string, c Cause, p Payload) (domain.Envelope, error) {
	const op = "encode the event"
	e := cloudevents.NewEvent()
	e.SetID(id)
	e.SetType(p.EventType())
	e.SetSource(source)
	if c.Source != "" {
		e.SetSource(c.Source)
	}
	if s := p.Subject(); s != "" {
		e.SetSubject(s)
	}
	e.SetTime(c.Time.UTC())
	if c.TraceParent != "" {
		e.SetExtension("traceparent", c.TraceParent)
	}
	if w, ok := p.(WorkDue); ok {
		e.SetExtension("function", w.Function)
	}
	if err := e.SetData(cloudevents.ApplicationJSON, p); err != nil {
		return domain.Envelope{}, domain.Errorf(domain.Bug, op, "encode the data of %s: %w", p.EventType(), err)
	}
	if n := len(e.Data()); n > MaxData {
		return domain.Envelope{}, domain.Errorf(domain.Bug, op, "data of %s has %d bytes, more than %d", p.EventType(), n, MaxData)
	}
	if err := e.Validate(); err != nil {
		return domain.Envelope{}, domain.Errorf(domain.Bug, op, "%w", err)
	}
	b, err := json.Marshal(e)
	if err != nil {
		return domain.Envelope{}, domain.Errorf(domain.Bug, op, "%w", err)
	}
	return domain.Envelope{ID: id, Type: e.Type(), Consumers: Consumers(e), JSON: b}, nil
}

// Open decodes an envelope into the CloudEvent that it holds.
func Open(env domain.Envelope) (cloudevents.Event, error) {
	e := cloudevents.NewEvent()
	if err := json.Unmarshal(env.JSON, &e); err != nil {
		return e, domain.Errorf(domain.Invalid, "decode the event", "%s: %w", env.ID, err)
	}
	return e, nil
}

// Decode reads an event's data as T. The error is Invalid: an event that another
// version or a stranger sent.
func Decode[T Payload](e cloudevents.Event) (T, error) {
	var p T
	if len(e.Data()) > MaxData {
		return p, domain.Errorf(domain.Invalid, "decode the event", "%s has %d bytes of data, more than %d", e.Type(), len(e.Data()), MaxData)
	}
	if err := json.Unmarshal(e.Data(), &p); err != nil {
		return p, domain.Errorf(domain.Invalid, "decode the event", "%s: %w", e.Type(), err)
	}
	if got := p.EventType(); got != e.Type() {
		return p, domain.Errorf(domain.Invalid, "decode the event", "data of a %s came as %s", got, e.Type())
	}
	return p, nil
}

// TraceParent returns the event's W3C trace context or "".
func TraceParent(e cloudevents.Event) string {
	s, _ := e.Extensions()["traceparent"].(string)
	return s
}

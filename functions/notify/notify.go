// Package notify tells people what became of a failure: on the pull request, in
// Slack, by a signed webhook and in the log. An event only wakes it; what it
// says is the state that is stored when it speaks. It decides nothing about
// incidents and repairs.
package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
)

// KindSend is the kind of the work that sends one message on one channel.
const KindSend = "notify.send"

// ActionTold is the audit action of a message that was sent. Its object is the
// incident, its why the state's key.
const ActionTold = "message.sent"

// CountSent is the counter of sent messages, labelled channel and state.
const CountSent = "bot_notifications_total"

// Store is what notify reads.
type Store interface {
	Incident(ctx context.Context, id string) (domain.Incident, error)
	Repair(ctx context.Context, id string) (domain.Repair, error)
	// RepairsOfRoot lists the repairs of an incident chain in the order of their
	// attempts.
	RepairsOfRoot(ctx context.Context, root string) ([]domain.Repair, error)
	// Told reports whether the audit log holds an entry of the action ActionTold
	// with this incident as its object and key as its why.
	Told(ctx context.Context, incidentID, key string) (bool, error)
	AcquireLease(ctx context.Context, name, holder string, now time.Time, ttl time.Duration) (bool, error)
	ReleaseLease(ctx context.Context, name, holder string) error
}

const (
	// leaseTTL outlives the longest handler; turn is the wait for another's end.
	leaseTTL = 330 * time.Second
	turn     = time.Second
)

// Deps are what a Function needs.
type Deps struct {
	Store    Store
	Channels []Channel // of NewChannels
	// ConsoleURL is the base URL of the status page that messages link to; "" for
	// none.
	ConsoleURL string
	// Settle is how long the news of a failure waits for that of its repair, so
	// that channels without editing say both in one message. Zero tells at once.
	Settle time.Duration
	Now    func() time.Time
	Log    *slog.Logger
}

// Function is the notify function. Use New to make one.
type Function struct {
	deps Deps
	sent map[string]*sentKeys // by channel
}

// New makes a Function. Now and Log may be nil.
func New(d Deps) *Function {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	f := &Function{deps: d, sent: map[string]*sentKeys{}}
	for _, c := range d.Channels {
		f.sent[c.Name()] = &sentKeys{}
	}
	return f
}

// Name is the function's name in routes.yaml and in kinds of work.
func (*Function) Name() string { return "notify" }

// payload is the data of a KindSend.
type payload struct {
	// InstallationID lets the store find what goes with an uninstalled App.
	InstallationID int64  `json:"installation_id"`
	Channel        string `json:"channel"`
	IncidentID     string `json:"incident_id"`
	RepairID       string `json:"repair_id,omitempty"`
}

// Handle turns an event into one piece of work per channel.
func (f *Function) Handle(_ context.Context, e cloudevents.Event) (domain.Outcome, error) {
	p, err := subject(e)
	if err != nil {
		return domain.Outcome{}, err
	}
	var out domain.Outcome
	for _, c := range f.deps.Channels {
		p.Channel = c.Name()
		data, err := json.Marshal(p)
		if err != nil {
			return domain.Outcome{}, domain.Errorf(domain.Bug, "queue a message", "%w", err)
		}
		w := domain.Work{
			Kind: KindSend,
			// The event's id keeps work that is being done right now, with what was stored
			// before, from swallowing this one.
			Key:         strings.Join([]string{p.Channel, p.IncidentID, e.ID()}, "/"),
			Payload:     data,
			TraceParent: events.TraceParent(e),
		}
		if e.Type() == events.TypeIncidentDetected && !c.Sticky() && f.deps.Settle > 0 {
			w.NotBefore = f.deps.Now().Add(f.deps.Settle)
		}
		out.Later = append(out.Later, w)
	}
	return out, nil
}

// subject reads which incident and which repair an event is about.
func subject(e cloudevents.Event) (payload, error) {
	var p payload
	var err error
	switch e.Type() {
	case events.TypeIncidentDetected:
		p, err = ofIncident[events.IncidentDetected](e, func(d events.IncidentDetected) events.Incident { return d.Incident })
	case events.TypeIncidentResolved:
		p, err = ofIncident[events.IncidentResolved](e, func(d events.IncidentResolved) events.Incident { return d.Incident })
	case events.TypeRepairProposed:
		p, err = ofRepair[events.RepairProposed](e, func(d events.RepairProposed) events.Repair { return d.Repair })
	case events.TypeRepairVerified:
		p, err = ofRepair[events.RepairVerified](e, func(d events.RepairVerified) events.Repair { return d.Repair })
	case events.TypeRepairRejected:
		p, err = ofRepair[events.RepairRejected](e, func(d events.RepairRejected) events.Repair { return d.Repair })
	case events.TypeRepairLanded:
		p, err = ofRepair[events.RepairLanded](e, func(d events.RepairLanded) events.Repair { return d.Repair })
	case events.TypeRepairAbandoned:
		p, err = ofRepair[events.RepairAbandoned](e, func(d events.RepairAbandoned) events.Repair { return d.Repair })
	default:
		return p, domain.Errorf(domain.Unsupported, "read the event", "notify doesn't handle %s", e.Type())
	}
	if err == nil && p.IncidentID == "" {
		err = domain.Errorf(domain.Invalid, "read the event", "%s names no incident", e.Type())
	}
	return p, err
}

func ofIncident[T events.Payload](e cloudevents.Event, get func(T) events.Incident) (payload, error) {
	d, err := events.Decode[T](e)
	inc := get(d)
	return payload{InstallationID: inc.InstallationID, IncidentID: inc.IncidentID}, err
}

func ofRepair[T events.Payload](e cloudevents.Event, get func(T) events.Repair) (payload, error) {
	d, err := events.Decode[T](e)
	r := get(d)
	return payload{InstallationID: r.InstallationID, IncidentID: r.IncidentID, RepairID: r.RepairID}, err
}

// Work sends one message: what is stored about the incident now, unless this
// channel was told that already. What is gone (the App was uninstalled, the
// channel was taken out of the settings) is not an error.
func (f *Function) Work(ctx context.Context, w domain.Work) (domain.Outcome, error) {
	const op = "send the message"
	var p payload
	if w.Kind != KindSend {
		return domain.Outcome{}, domain.Errorf(domain.Unsupported, op, "notify doesn't do %s", w.Kind)
	}
	if err := json.Unmarshal(w.Payload, &p); err != nil || p.IncidentID == "" {
		return domain.Outcome{}, domain.Errorf(domain.Invalid, op, "the work's payload is not one of notify's")
	}
	i := slices.IndexFunc(f.deps.Channels, func(c Channel) bool { return c.Name() == p.Channel })
	if i < 0 {
		f.deps.Log.WarnContext(ctx, "dropped a message: its channel is not configured any more", "channel", p.Channel, "incident_id", p.IncidentID)
		return domain.Outcome{}, nil
	}
	// One message about an incident on a channel at a time, over all processes: two
	// would both find no comment yet, or that nobody was told.
	lease, holder := "notify/"+p.Channel+"/"+p.IncidentID, w.Holder()
	mine, err := f.deps.Store.AcquireLease(ctx, lease, holder, f.deps.Now(), leaseTTL)
	if err != nil {
		return domain.Outcome{}, fmt.Errorf("%s: %w", op, err)
	}
	if !mine {
		return domain.Outcome{Again: f.deps.Now().Add(turn)}, nil
	}
	out, err := f.send(ctx, f.deps.Channels[i], p)
	if err != nil {
		return domain.Outcome{}, errors.Join(err, f.deps.Store.ReleaseLease(context.WithoutCancel(ctx), lease, holder))
	}
	out.Release = []domain.Lease{{Name: lease, Holder: holder}}
	return out, nil
}

// send renders the state and tells it on the channel.
func (f *Function) send(ctx context.Context, c Channel, p payload) (domain.Outcome, error) {
	const op = "send the message"
	m, key, repo, err := f.current(ctx, p, c.Sticky())
	switch {
	case errors.Is(err, domain.ErrNotFound):
		f.deps.Log.InfoContext(ctx, "dropped a message: what it is about was deleted", "channel", p.Channel, "incident_id", p.IncidentID)
		return domain.Outcome{}, nil
	case err != nil:
		return domain.Outcome{}, fmt.Errorf("%s: %w", op, err)
	}
	key = p.Channel + ": " + key

	if !c.Sticky() {
		told, err := f.deps.Store.Told(ctx, p.IncidentID, key)
		if err != nil {
			return domain.Outcome{}, fmt.Errorf("%s: %w", op, err)
		}
		if told {
			return domain.Outcome{}, nil
		}
		if f.sent[p.Channel].has(key) {
			// It was sent, and then could not be recorded.
			return f.outcome(p, m, key, "", repo), nil
		}
	}
	ref, told, err := c.Notify(ctx, m, domain.Hash(key, p.IncidentID)[:32])
	if err != nil {
		return domain.Outcome{}, fmt.Errorf("%s on channel %s: %w", op, p.Channel, err)
	}
	if !told {
		return domain.Outcome{}, nil
	}
	if !c.Sticky() {
		f.sent[p.Channel].add(key)
	}
	return f.outcome(p, m, key, ref, repo), nil
}

func (f *Function) outcome(p payload, m Message, key, ref string, repo domain.Repo) domain.Outcome {
	why := key
	if ref != "" {
		why += " " + ref
	}
	return domain.Outcome{
		Audit: []domain.AuditEntry{{
			At: f.deps.Now(), InstallationID: repo.InstallationID, RepoID: repo.ID,
			Actor: f.Name(), Action: ActionTold, Object: p.IncidentID, Why: why,
		}},
		Counts: []domain.Count{{Name: CountSent, Labels: map[string]string{"channel": p.Channel, "state": string(m.State)}, Add: 1}},
	}
}

// current renders what is stored now and names it: the key is equal for equal
// states of one incident. A sticky channel gets the repair that the event was
// about, whose pull request it writes on; the others get the latest.
func (f *Function) current(ctx context.Context, p payload, sticky bool) (Message, string, domain.Repo, error) {
	inc, err := f.deps.Store.Incident(ctx, p.IncidentID)
	if err != nil {
		return Message{}, "", domain.Repo{}, fmt.Errorf("read the incident: %w", err)
	}
	root := inc.ID
	if inc.RepairID != "" {
		parent, err := f.deps.Store.Repair(ctx, inc.RepairID)
		if err != nil {
			return Message{}, "", domain.Repo{}, fmt.Errorf("read the repair that brought the incident to light: %w", err)
		}
		root = parent.Root
	}
	chain, err := f.deps.Store.RepairsOfRoot(ctx, root)
	if err != nil {
		return Message{}, "", domain.Repo{}, fmt.Errorf("read the repairs: %w", err)
	}
	var rep *domain.Repair
	for i, r := range chain {
		if r.IncidentID == inc.ID && (rep == nil || r.Attempt >= rep.Attempt) {
			rep = &chain[i]
		}
	}
	if sticky && p.RepairID != "" {
		if i := slices.IndexFunc(chain, func(r domain.Repair) bool { return r.ID == p.RepairID }); i >= 0 {
			rep = &chain[i]
		}
	}
	m := compose(inc, rep, chain, f.deps.ConsoleURL)
	key := string(m.State)
	if rep != nil && m.State != StateDetected && m.State != StateResolved && m.State != StateHandedOff {
		key += " " + rep.ID
		if !rep.JudgedAt.IsZero() {
			// Verdicts may come and go: verified, rejected and verified again is news.
			key += " " + strconv.FormatInt(rep.JudgedAt.Unix(), 10)
		}
	}
	return m, key, inc.Repo, nil
}

// sentKeys remembers the last keys that a channel was told by this process.
type sentKeys struct {
	mu   sync.Mutex
	last []string
}

// remembered is how many keys are kept.
const remembered = 512

func (s *sentKeys) has(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.last, key)
}

func (s *sentKeys) add(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last = append(s.last, key); len(s.last) > remembered {
		s.last = slices.Delete(s.last, 0, len(s.last)-remembered)
	}
}

package notify

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
)

// fakeStore holds the state, and what the runner would record.
type fakeStore struct {
	leases    map[string]string
	mu        sync.Mutex
	incidents map[string]domain.Incident
	repairs   []domain.Repair
	audit     []domain.AuditEntry
	err       error
}

func (s *fakeStore) Incident(_ context.Context, id string) (domain.Incident, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.incidents[id]
	if !ok {
		return i, domain.Errorf(domain.Invalid, "read the incident", "%w", domain.ErrNotFound)
	}
	return i, s.err
}

func (s *fakeStore) Repair(_ context.Context, id string) (domain.Repair, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.repairs {
		if r.ID == id {
			return r, nil
		}
	}
	return domain.Repair{}, domain.Errorf(domain.Invalid, "read the repair", "%w", domain.ErrNotFound)
}

func (s *fakeStore) RepairsOfRoot(_ context.Context, root string) ([]domain.Repair, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []domain.Repair
	for _, r := range s.repairs {
		if r.Root == root {
			out = append(out, r)
		}
	}
	return out, nil
}

func (s *fakeStore) Told(_ context.Context, incidentID, key string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.audit, func(a domain.AuditEntry) bool {
		return a.Action == ActionTold && a.Object == incidentID && a.Why == key
	}), nil
}

// AcquireLease gives the lease to one holder at a time.
func (s *fakeStore) AcquireLease(_ context.Context, name, holder string, _ time.Time, _ time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, held := s.leases[name]; held && h != holder {
		return false, nil
	}
	if s.leases == nil {
		s.leases = map[string]string{}
	}
	s.leases[name] = holder
	return true, nil
}

// ReleaseLease gives it back.
func (s *fakeStore) ReleaseLease(_ context.Context, name, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leases, name)
	return nil
}

func (s *fakeStore) commit(out domain.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.audit = append(s.audit, out.Audit...)
	for _, l := range out.Release {
		delete(s.leases, l.Name)
	}
}

func (s *fakeStore) set(inc domain.Incident, repairs ...domain.Repair) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.incidents, s.repairs = map[string]domain.Incident{inc.ID: inc}, repairs
}

// fakeChannel records what it is told.
type fakeChannel struct {
	name   string
	sticky bool
	mu     sync.Mutex
	told   []Message
	keys   []string
	err    error
}

func (c *fakeChannel) Name() string { return c.name }
func (c *fakeChannel) Sticky() bool { return c.sticky }
func (c *fakeChannel) Notify(_ context.Context, m Message, key string) (string, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys = append(c.keys, key)
	if c.err != nil {
		return "", false, c.err
	}
	c.told = append(c.told, m)
	return "", true, nil
}

func (c *fakeChannel) states() []State {
	var out []State
	for _, m := range c.told {
		out = append(out, m.State)
	}
	return out
}

func event(t *testing.T, cause string, p events.Payload) cloudevents.Event {
	t.Helper()
	env, err := events.New(events.Cause{ID: cause, Time: t0, TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, p)
	if err != nil {
		t.Fatal(err)
	}
	e, err := events.Open(env)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var (
	incidentData = events.Incident{IncidentID: "inc-4f1c2a9be070"}
	repairData   = events.Repair{IncidentID: "inc-4f1c2a9be070", RepairID: "rep-19ad77e2c410"}
)

func TestHandleQueuesAMessagePerChannel(t *testing.T) {
	t.Parallel()
	f := New(Deps{
		Store: &fakeStore{}, Channels: []Channel{&fakeChannel{name: "comment", sticky: true}, &fakeChannel{name: "slack"}},
		Settle: 20 * time.Second, Now: func() time.Time { return t0 },
	})
	for _, p := range []events.Payload{
		events.IncidentDetected{Incident: incidentData}, events.IncidentResolved{Incident: incidentData}, events.RepairProposed{Repair: repairData},
		events.RepairVerified{Repair: repairData}, events.RepairRejected{Repair: repairData}, events.RepairLanded{Repair: repairData}, events.RepairAbandoned{Repair: repairData},
	} {
		t.Run(p.EventType(), func(t *testing.T) {
			t.Parallel()
			e := event(t, "c", p)
			out, err := f.Handle(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			again, err := f.Handle(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(out, again); diff != "" {
				t.Errorf("handled twice it isn't the same: %s", diff)
			}
			var got []string
			for _, w := range out.Later {
				got = append(got, w.Kind+" "+w.Key)
				if w.TraceParent == "" {
					t.Error("the trace is lost")
				}
			}
			want := []string{"notify.send comment/inc-4f1c2a9be070/" + e.ID(), "notify.send slack/inc-4f1c2a9be070/" + e.ID()}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			settles := p.EventType() == events.TypeIncidentDetected
			if due := out.Later[1].NotBefore; due.Equal(t0.Add(20*time.Second)) != settles || due.IsZero() == settles {
				t.Errorf("due at %s", due)
			}
			if !out.Later[0].NotBefore.IsZero() {
				t.Error("the sticky comment waits")
			}
		})
	}
}

func TestHandleRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	f := New(Deps{Channels: []Channel{&fakeChannel{name: "slack"}}})
	broken := event(t, "c", events.RepairProposed{Repair: repairData})
	if err := broken.SetData(cloudevents.ApplicationJSON, []byte(`{"incident_id":7}`)); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		event cloudevents.Event
		kind  domain.ErrKind
	}{
		"another event": {event(t, "c", events.Tick{}), domain.Unsupported},
		"no incident":   {event(t, "c", events.RepairProposed{}), domain.Invalid},
		"broken data":   {broken, domain.Invalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := f.Handle(t.Context(), tt.event); domain.KindOf(err) != tt.kind {
				t.Errorf("got %v", err)
			}
		})
	}
}

// bench is a function with one channel over a fake store.
type bench struct {
	*Function
	store   *fakeStore
	channel *fakeChannel
}

func newBench(sticky bool) bench {
	b := bench{store: &fakeStore{}, channel: &fakeChannel{name: "slack", sticky: sticky}}
	b.restart()
	return b
}

// restart forgets what the process knew.
func (b *bench) restart() {
	b.Function = New(Deps{Store: b.store, Channels: []Channel{b.channel}, Now: func() time.Time { return t0 }})
}

// do handles the event and does the work that comes of it, as the runner would.
func (b bench) do(t *testing.T, p events.Payload) {
	t.Helper()
	for _, w := range b.queue(t, p) {
		out, err := b.Work(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		b.store.commit(out)
	}
}

func (b bench) queue(t *testing.T, p events.Payload) []domain.Work {
	t.Helper()
	out, err := b.Handle(t.Context(), event(t, "c", p))
	if err != nil {
		t.Fatal(err)
	}
	return out.Later
}

func TestEachStateIsToldOnceInItsOrder(t *testing.T) {
	t.Parallel()
	b := newBench(false)
	s := stories()
	b.store.set(oom())
	b.do(t, events.IncidentDetected{Incident: incidentData})
	b.do(t, events.IncidentDetected{Incident: incidentData}) // seen again
	b.store.set(with(oom(), func(i *domain.Incident) { i.Version++; i.Occurrences++ }))
	b.restart()
	b.do(t, events.IncidentDetected{Incident: incidentData}) // by another pod, with a newer row
	b.store.set(oom(), s["proposed"].repairs...)
	b.do(t, events.RepairProposed{Repair: repairData})
	b.store.set(oom(), s["verified"].repairs...)
	b.do(t, events.RepairVerified{Repair: repairData})
	b.store.set(s["resolved"].incident, s["resolved"].repairs...)
	b.do(t, events.IncidentResolved{Incident: incidentData})
	b.do(t, events.RepairLanded{Repair: repairData}) // late: the branch is green already
	if diff := cmp.Diff([]State{StateDetected, StateProposed, StateVerified, StateResolved}, b.channel.states()); diff != "" {
		t.Error(diff)
	}
	if n := len(b.store.audit); n != 4 {
		t.Errorf("%d audit entries", n)
	}
}

func TestEventsInQuickSuccessionCollapse(t *testing.T) {
	t.Parallel()
	b := newBench(false)
	work := b.queue(t, events.IncidentDetected{Incident: incidentData})
	work = append(work, b.queue(t, events.RepairProposed{Repair: repairData})...)
	work = append(work, b.queue(t, events.RepairVerified{Repair: repairData})...)
	b.store.set(oom(), stories()["verified"].repairs...)
	slices.Reverse(work)
	var wg sync.WaitGroup
	for i, w := range work {
		w.Lease = strconv.Itoa(i)
		wg.Go(func() {
			for again := true; again; {
				out, err := b.Work(t.Context(), w)
				if err != nil {
					t.Error(err)
				}
				b.store.commit(out)
				again = !out.Again.IsZero() // another one has the turn
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff([]State{StateVerified}, b.channel.states()); diff != "" {
		t.Error(diff)
	}
}

func TestAVerdictThatChangesIsNews(t *testing.T) {
	t.Parallel()
	b := newBench(false)
	verified, rejected := stories()["verified"].repairs[0], stories()["rejected"].repairs[0]
	rejected.JudgedAt = verified.JudgedAt.Add(time.Minute)
	again := verified
	again.JudgedAt = verified.JudgedAt.Add(2 * time.Minute)
	for _, r := range []domain.Repair{verified, rejected, again} {
		b.store.set(oom(), r)
		b.do(t, events.RepairVerified{Repair: repairData})
	}
	if diff := cmp.Diff([]State{StateVerified, StateRejected, StateVerified}, b.channel.states()); diff != "" {
		t.Error(diff)
	}
}

func TestACrashRepeatsOnceWithTheSameKey(t *testing.T) {
	t.Parallel()
	b := newBench(false)
	b.store.set(oom(), stories()["verified"].repairs...)
	w := b.queue(t, events.RepairVerified{Repair: repairData})[0]
	if _, err := b.Work(t.Context(), w); err != nil { // and the outcome is lost
		t.Fatal(err)
	}
	b.restart()
	out, err := b.Work(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.channel.keys) != 2 || b.channel.keys[0] != b.channel.keys[1] {
		t.Errorf("keys %q", b.channel.keys)
	}
	// The same process knows better: it only records what it could not.
	lost, err := b.Work(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.channel.keys) != 2 || len(lost.Audit) != 1 {
		t.Errorf("%d sends, %d audit entries", len(b.channel.keys), len(lost.Audit))
	}
	b.store.commit(out)
	if out, err = b.Work(t.Context(), w); err != nil || len(out.Audit) != 0 || len(b.channel.keys) != 2 {
		t.Errorf("told again after it was recorded: %+v %v", out, err)
	}
}

func TestTheStickyCommentFollowsItsOwnRepair(t *testing.T) {
	t.Parallel()
	b := newBench(true)
	first := with(stories()["rejected"].repairs[0], func(r *domain.Repair) { r.ID = repairData.RepairID })
	second := with(halve(), func(r *domain.Repair) { r.ID, r.Attempt, r.PullNumber, r.Supersedes = "rep-2", 2, 43, 42 })
	b.store.set(oom(), first, second)
	b.do(t, events.RepairRejected{Repair: repairData})
	b.do(t, events.RepairRejected{Repair: repairData})
	if len(b.channel.told) != 2 {
		t.Fatalf("told %d times, want each time", len(b.channel.told))
	}
	m := b.channel.told[0]
	if m.State != StateRejected || m.Comments[0].Number != 42 || m.Superseded != 43 {
		t.Errorf("state %s on %+v, superseded by %d", m.State, m.Comments, m.Superseded)
	}
	if text := markdown(m); !strings.Contains(text, "**Replaced by:** #43") {
		t.Error(text)
	}
}

func TestAChainedIncidentTellsItsOwnRepairs(t *testing.T) {
	t.Parallel()
	b := newBench(false)
	child := with(oom(), func(i *domain.Incident) { i.ID, i.ParentID, i.RepairID = "inc-child", oom().ID, halve().ID })
	fix := with(halve(), func(r *domain.Repair) { r.ID, r.IncidentID, r.Attempt, r.PullNumber = "rep-2", "inc-child", 2, 43 })
	b.store.set(child, halve(), fix)
	b.do(t, events.RepairProposed{Repair: events.Repair{IncidentID: "inc-child", RepairID: "rep-2"}})
	if len(b.channel.told) != 1 || b.channel.told[0].PullNumber != 43 || b.channel.told[0].Attempt != 2 {
		t.Errorf("told %+v", b.channel.told)
	}
}

func TestWorkErrors(t *testing.T) {
	t.Parallel()
	good := newBench(false).queue(t, events.IncidentDetected{Incident: incidentData})[0]
	limited := domain.Errorf(domain.RateLimited, "post to Slack", "429")
	limited.RetryAt = t0.Add(time.Minute)
	tests := map[string]struct {
		prepare func(*bench)
		work    domain.Work
		kind    domain.ErrKind
		retryAt time.Time
	}{
		"deleted incident":  {func(b *bench) { b.store.set(domain.Incident{ID: "other"}) }, good, "", time.Time{}},
		"removed channel":   {func(b *bench) { b.channel.name = "other" }, good, "", time.Time{}},
		"another's work":    {func(*bench) {}, domain.Work{Kind: "repair.plan"}, domain.Unsupported, time.Time{}},
		"broken payload":    {func(*bench) {}, domain.Work{Kind: KindSend, Payload: []byte("{")}, domain.Invalid, time.Time{}},
		"empty payload":     {func(*bench) {}, domain.Work{Kind: KindSend, Payload: []byte("{}")}, domain.Invalid, time.Time{}},
		"store is down":     {func(b *bench) { b.store.err = domain.Errorf(domain.Transient, "read", "down") }, good, domain.Transient, time.Time{}},
		"channel limited":   {func(b *bench) { b.channel.err = limited }, good, domain.RateLimited, limited.RetryAt},
		"channel refuses":   {func(b *bench) { b.channel.err = domain.Errorf(domain.Invalid, "post", "404") }, good, domain.Invalid, time.Time{}},
		"channel is broken": {func(b *bench) { b.channel.err = errors.New("x") }, good, domain.Bug, time.Time{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(false)
			b.store.set(oom())
			tt.prepare(&b)
			b.restart()
			out, err := b.Work(t.Context(), tt.work)
			if got := domain.KindOf(err); got != tt.kind {
				t.Fatalf("kind %q: %v", got, err)
			}
			if at, _ := domain.RetryAt(err); !at.Equal(tt.retryAt) {
				t.Errorf("retry at %s", at)
			}
			if len(out.Audit) != 0 {
				t.Error("recorded as told")
			}
		})
	}
}

func TestStateOf(t *testing.T) {
	t.Parallel()
	for name, s := range stories() {
		var rep *domain.Repair
		if len(s.repairs) > 0 {
			rep = &s.repairs[len(s.repairs)-1]
		}
		want := State(strings.ReplaceAll(name, "-", "_"))
		for _, suffix := range []string{"_unknown", "_human", "_rerun", "_fork"} {
			want = State(strings.TrimSuffix(string(want), suffix))
		}
		if got := stateOf(s.incident, rep); got != want {
			t.Errorf("%s: got %s", name, got)
		}
	}
	handedOff := with(oom(), func(i *domain.Incident) { i.State = domain.IncidentHandedOff })
	verified := stories()["verified"].repairs[0]
	if got := stateOf(handedOff, &verified); got != StateVerified {
		t.Errorf("a verified repair of a handed-off incident is told as %s", got)
	}
}

func TestSomePullRequestsAreLeftAlone(t *testing.T) {
	t.Parallel()
	inc := with(oom(), func(i *domain.Incident) { i.Run.PullRequests = []int{31, 32, 33, 34, 35} })
	for code, want := range map[domain.RefusalCode]int{
		domain.RefusedFork: 3, domain.RefusedNoChange: 3, domain.RefusedPermission: 3,
		domain.RefusedMode: 0, domain.RefusedStopped: 0, domain.RefusedBranchOwner: 0, domain.RefusedUnavailable: 0,
	} {
		rep := domain.Repair{State: domain.RepairRefused, Refusal: domain.Refuse(code, "x")}
		if got := len(commentTargets(inc, &rep)); got != want {
			t.Errorf("%s: %d comments, want %d", code, got, want)
		}
	}
}

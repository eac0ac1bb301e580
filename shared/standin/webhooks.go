package standin

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // GitHub sends the old signature beside the new one
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	deliveryTimeout  = 10 * time.Second
	maxDeliveries    = 10_000 // kept
	maxDeliveryReply = 64 << 10
)

// WebhookOptions are how deliveries misbehave. As at GitHub, they are sent
// concurrently, so that their order is never sure, and never sent again by
// themselves.
type WebhookOptions struct {
	// Delay is how long a delivery is held back; nil is not at all.
	Delay func(event, action string) time.Duration
	// Timeout is how long an answer is waited for; 0 is GitHub's 10 seconds.
	Timeout time.Duration
	// Duplicate says which deliveries arrive twice; nil is none.
	Duplicate func(event, action string) bool
}

type delivery struct {
	ID           int64
	GUID         string
	Event        string
	Action       string
	Installation int64
	Repo         int64
	Payload      []byte
	At           time.Time
	Redelivery   bool
	Done         bool
	Status       string
	Code         int // 0 when nothing answered
	Duration     time.Duration
	Sent, Got    http.Header
	Reply        string
}

// Delivery is what tests see of a webhook delivery.
type Delivery struct {
	ID         int64
	GUID       string
	Event      string
	Action     string
	Payload    []byte
	Redelivery bool
	Code       int // 0 when nothing answered, or not yet
}

// emit sends an event about a repository to every installation that covers it;
// the caller holds the lock.
func (s *Server) emit(event, action string, r *repository, by *account, payload obj) {
	for _, id := range slices.Sorted(maps.Keys(s.installations)) {
		i := s.installations[id]
		if s.covers(i, r) && i.SuspendedAt.IsZero() && slices.Contains(i.Events, event) {
			s.emitTo(i, event, action, r, by, payload)
		}
	}
}

// emitTo sends an event to one installation.
func (s *Server) emitTo(i *installation, event, action string, r *repository, by *account, payload obj) {
	if s.webhookURL == "" {
		return
	}
	payload = maps.Clone(payload)
	if action != "" {
		payload["action"] = action
	}
	d := &delivery{Event: event, Action: action}
	if by != nil {
		payload["sender"] = s.userJSON(by)
	}
	if r != nil {
		d.Repo = r.ID
		if payload["repository"] == nil {
			payload["repository"] = s.repoJSON(r)
		}
		if r.Owner.Kind == "Organization" {
			payload["organization"] = s.organizationJSON(r.Owner)
		}
	}
	if i != nil {
		d.Installation = i.ID
		if payload["installation"] == nil {
			payload["installation"] = obj{"id": i.ID, "node_id": nodeID("MDI", i.ID)}
		}
	}
	var err error
	if d.Payload, err = json.Marshal(payload); err != nil {
		s.log.Error("a webhook payload could not be encoded", "event", event, "error", err)
		return
	}
	d.GUID = newGUID()
	copies := 1
	if dup := s.opts.Webhooks.Duplicate; dup != nil && dup(event, action) {
		copies = 2
	}
	for range copies {
		one := *d
		s.deliver(&one)
	}
}

func (s *Server) organizationJSON(a *account) obj {
	u := s.link("/orgs/%s", a.Login)
	return obj{
		"login": a.Login, "id": a.ID, "node_id": nodeID("O", a.ID), "url": u, "repos_url": u + "/repos", "events_url": u + "/events",
		"hooks_url": u + "/hooks", "issues_url": u + "/issues", "members_url": u + "/members{/member}",
		"public_members_url": u + "/public_members{/member}", "avatar_url": s.web("/avatars/%d", a.ID), "description": "",
	}
}

func newGUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// deliver logs a delivery and sends it in the background; the caller holds the
// lock.
func (s *Server) deliver(d *delivery) {
	if s.closed || !s.started {
		return
	}
	d.ID, d.At = s.id(), s.now()
	s.deliveries = append(s.deliveries, d)
	if len(s.deliveries) > maxDeliveries {
		s.deliveries = slices.Delete(s.deliveries, 0, len(s.deliveries)-maxDeliveries)
	}
	target := s.webhookURL
	s.begin()
	s.work.Go(func() {
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.end()
		}()
		if delay := s.opts.Webhooks.Delay; delay != nil {
			select {
			case <-time.After(delay(d.Event, d.Action)):
			case <-s.ctx.Done():
				return
			}
		}
		select {
		case s.senders <- struct{}{}:
			defer func() { <-s.senders }()
		case <-s.ctx.Done():
			return
		}
		s.send(target, d)
	})
}

// send makes the request and records what came of it.
func (s *Server) send(target string, d *delivery) {
	ctx, cancel := context.WithTimeout(s.ctx, cmp.Or(s.opts.Webhooks.Timeout, deliveryTimeout))
	defer cancel()
	began := time.Now()
	resp, sent, err := s.post(ctx, target, d)
	status, code := "OK", 0
	var reply []byte
	var got http.Header
	var timeout net.Error
	switch {
	case err == nil:
		reply, _ = io.ReadAll(io.LimitReader(resp.Body, maxDeliveryReply)) // the status counts
		_ = resp.Body.Close()
		code, got = resp.StatusCode, resp.Header
		if code < 200 || code > 299 {
			status = "Invalid HTTP Response: " + strconv.Itoa(code)
		}
	case errors.As(err, &timeout) && timeout.Timeout():
		status = "timed out"
	default:
		status = "failed to connect to host"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d.Done, d.Status, d.Code, d.Duration = true, status, code, time.Since(began)
	d.Sent, d.Got, d.Reply = sent, got, string(reply)
}

func (s *Server) post(ctx context.Context, target string, d *delivery) (*http.Response, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(d.Payload))
	if err != nil {
		return nil, nil, err
	}
	h := req.Header
	h.Set("Content-Type", "application/json")
	h.Set("Accept", "*/*")
	h.Set("User-Agent", "GitHub-Hookshot/0fed2ef")
	h.Set("X-GitHub-Event", d.Event)
	h.Set("X-GitHub-Delivery", d.GUID)
	h.Set("X-GitHub-Hook-ID", strconv.FormatInt(s.opts.AppID*10, 10))
	h.Set("X-GitHub-Hook-Installation-Target-ID", strconv.FormatInt(s.opts.AppID, 10))
	h.Set("X-GitHub-Hook-Installation-Target-Type", "integration")
	h.Set("X-Hub-Signature-256", "sha256="+s.signWith(hmac.New(sha256.New, []byte(s.opts.WebhookSecret)), d.Payload))
	h.Set("X-Hub-Signature", "sha1="+s.signWith(hmac.New(sha1.New, []byte(s.opts.WebhookSecret)), d.Payload))
	resp, err := s.sender.Do(req)
	return resp, h.Clone(), err
}

func (*Server) signWith(mac interface {
	io.Writer
	Sum([]byte) []byte
}, b []byte) string {
	_, _ = mac.Write(b) // never fails
	return hex.EncodeToString(mac.Sum(nil))
}

// Deliveries returns all webhook deliveries, oldest first.
func (s *Server) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Delivery, 0, len(s.deliveries))
	for _, d := range s.deliveries {
		out = append(out, Delivery{d.ID, d.GUID, d.Event, d.Action, d.Payload, d.Redelivery, d.Code})
	}
	return out
}

// Ping sends the ping that GitHub sends when a webhook is set up.
func (s *Server) Ping() {
	s.mu.Lock()
	defer s.mu.Unlock()
	hook := s.opts.AppID * 10
	s.emitTo(nil, "ping", "", nil, nil, obj{
		"zen": "Keep it logically awesome.", "hook_id": hook,
		"hook": obj{
			"type": "App", "id": hook, "name": "web", "active": true, "events": s.appEvents(), "app_id": s.opts.AppID,
			"config":     obj{"content_type": "json", "insecure_ssl": "0", "url": s.webhookURL, "secret": "********"},
			"updated_at": stamp(s.now()), "created_at": stamp(s.now()), "deliveries_url": s.link("/app/hook/deliveries"),
		},
	})
}

func orZero(n int64) any {
	if n == 0 {
		return nil
	}
	return n
}

func (s *Server) deliveryItemJSON(d *delivery) obj {
	return obj{
		"id": d.ID, "guid": d.GUID, "delivered_at": stamp(d.At), "redelivery": d.Redelivery, "duration": d.Duration.Seconds(), "status": d.Status,
		"status_code": d.Code, "event": d.Event, "action": orNull(d.Action), "installation_id": orZero(d.Installation), "repository_id": orZero(d.Repo),
		"throttled_at": nil,
	}
}

// listDeliveries pages by cursor: the id to go on below.
func listDeliveries(c *call) answer {
	q := c.r.URL.Query()
	size, err := strconv.Atoi(q.Get("per_page"))
	if err != nil || size < 1 {
		size = 30
	}
	size = min(size, maxPerPage)
	below := int64(1) << 62
	if text := q.Get("cursor"); text != "" {
		if below, err = strconv.ParseInt(strings.TrimPrefix(text, "v1_"), 10, 64); err != nil {
			return refuse(http.StatusBadRequest, "Invalid cursor")
		}
	}
	var in []*delivery
	next := int64(0)
	for _, d := range slices.Backward(c.s.deliveries) {
		if !d.Done || d.ID >= below {
			continue
		}
		if len(in) == size {
			next = in[size-1].ID
			break
		}
		in = append(in, d)
	}
	a := ok(rendered(in, c.s.deliveryItemJSON))
	if next != 0 {
		a.header = http.Header{"Link": {fmt.Sprintf(`<%s?per_page=%d&cursor=v1_%d>; rel="next"`, c.s.link("/app/hook/deliveries"), size, next)}}
	}
	return a
}

func (c *call) delivery() *delivery {
	id := c.int("id")
	for _, d := range c.s.deliveries {
		if d.ID == id && d.Done {
			return d
		}
	}
	return nil
}

func getDelivery(c *call) answer {
	d := c.delivery()
	if d == nil {
		return notFound()
	}
	flat := func(h http.Header) obj {
		o := obj{}
		for k, v := range h {
			o[k] = strings.Join(v, ", ")
		}
		return o
	}
	o := c.s.deliveryItemJSON(d)
	o["url"] = c.s.webhookURL
	o["request"] = obj{"headers": flat(d.Sent), "payload": json.RawMessage(d.Payload)}
	o["response"] = obj{"headers": flat(d.Got), "payload": d.Reply}
	return ok(o)
}

func redeliver(c *call) answer {
	d := c.delivery()
	if d == nil {
		return notFound()
	}
	c.s.deliver(&delivery{
		GUID: d.GUID, Event: d.Event, Action: d.Action, Installation: d.Installation, Repo: d.Repo, Payload: d.Payload, Redelivery: true,
	})
	return answer{status: http.StatusAccepted, body: obj{}}
}

package events

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

var update = flag.Bool("update", false, "write the golden files anew")

func samples() []Payload {
	inc := Incident{InstallationID: 1, RepoID: 2, IncidentID: "inc-0123", Category: "cuda-oom", RunID: 3, RunAttempt: 1}
	rep := Repair{InstallationID: 1, RepoID: 2, RepairID: "rep-0123", IncidentID: "inc-0123", Strategy: "halve-batch-size", PullNumber: 4}
	return []Payload{
		GitHub{
			DeliveryID: "72d3162e-cc78-11e3-81ab-4c9367dc0958", Event: "workflow_run", Action: "completed", InstallationID: 1, RepoID: 2,
			RepoName: "octo/train", Sender: "mona", RunID: 3, RunAttempt: 1, Conclusion: domain.Failure, HeadSHA: "abc", HeadBranch: "main",
		},
		IncidentDetected{inc}, IncidentResolved{inc},
		RunCompleted{InstallationID: 1, RepoID: 2, RunID: 3, RunAttempt: 1, Conclusion: domain.Success, HeadSHA: "abc", HeadBranch: "main", WorkflowPath: ".github/workflows/train.yml"},
		RepairProposed{rep}, RepairVerified{rep}, RepairRejected{rep}, RepairLanded{rep}, RepairAbandoned{rep},
		Tick{}, WorkDue{Function: "repair"},
	}
}

// TestWireForm freezes the JSON of every type: a change here breaks events that
// are on their way during an upgrade.
func TestWireForm(t *testing.T) {
	t.Parallel()
	c := Cause{ID: "cause", Source: "https://github.com/octo/train", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
	for _, p := range samples() {
		t.Run(p.EventType(), func(t *testing.T) {
			t.Parallel()
			env, err := New(c, p)
			if g, ok := p.(GitHub); ok {
				env, err = NewGitHub(c, g)
			}
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", p.EventType()+".json")
			if *update {
				if err := os.WriteFile(golden, append(env.JSON, '\n'), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimSpace(string(want)), string(env.JSON)); diff != "" {
				t.Error(diff)
			}
			e, err := Open(env)
			if err != nil {
				t.Fatal(err)
			}
			if TraceParent(e) != c.TraceParent {
				t.Errorf("trace parent is %q", TraceParent(e))
			}
			if diff := cmp.Diff(env.Consumers, Consumers(e)); diff != "" {
				t.Errorf("consumers change over the wire: %s", diff)
			}
		})
	}
}

func TestIDsAreDeterministicAndApart(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	p := RepairProposed{Repair{RepairID: "r"}}
	a, _ := New(Cause{ID: "1", Time: now}, p)
	b, _ := New(Cause{ID: "1", Time: now.Add(time.Hour)}, p)
	c, _ := New(Cause{ID: "2", Time: now}, p)
	d, _ := New(Cause{ID: "1", Time: now}, RepairVerified(p))
	if a.ID != b.ID {
		t.Error("the same cause and type give two ids")
	}
	if a.ID == c.ID || a.ID == d.ID {
		t.Error("another cause or type gives the same id")
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	routes, err := parseRoutes(routesYAML)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{TypePing: true, TypeInstallationDeleted: true, TypePullRequestClosed: true, TypeIssueCommentCreated: true}
	for _, p := range samples() {
		known[p.EventType()] = true
	}
	routed := map[string]bool{}
	for _, r := range routes {
		routed[r.Type] = true
		if !known[r.Type] {
			t.Errorf("%s is routed but no payload has that type", r.Type)
		}
	}
	for _, p := range samples() {
		if !routed[p.EventType()] {
			t.Errorf("nobody consumes %s", p.EventType())
		}
	}
	for _, bad := range []string{"routes: [{type: a}]", "routes: [{consumers: [detect]}]", "routes: [{type: a, consumers: [nobody]}]", "routes: {"} {
		if _, err := parseRoutes([]byte(bad)); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	env, err := New(Cause{ID: "1", Time: time.Unix(0, 0)}, RepairProposed{Repair{RepairID: "r"}})
	if err != nil {
		t.Fatal(err)
	}
	e, _ := Open(env)
	if _, err := Decode[RepairVerified](e); domain.KindOf(err) != domain.Invalid {
		t.Errorf("a proposed event decodes as verified: %v", err)
	}
	if _, err := Open(domain.Envelope{JSON: []byte("{")}); domain.KindOf(err) != domain.Invalid {
		t.Errorf("broken JSON gives %v", err)
	}
	if _, err := New(Cause{ID: "1", Time: time.Unix(0, 0)}, GitHub{Event: "push", RepoName: strings.Repeat("x", MaxData)}); domain.KindOf(err) != domain.Bug {
		t.Errorf("oversized data gives %v", err)
	}
}

package standin

import (
	"sync"
	"testing"
	"time"
)

// fixture is a stand-in with a repository of an organization's, the App installed
// on all of its repositories, and a client with all that the App may do.
type fixture struct {
	s            *Server
	repo         Repo
	installation int64
	all          client
}

func newFixture(t *testing.T, o Options) fixture {
	t.Helper()
	return newFixtureWith(t, o, map[string]File{
		"README.md":    {Content: "hello\n"},
		"src/train.py": {Content: "print('training')\n"},
		"run.sh":       {Content: "#!/bin/sh\n", Mode: modeExecutable},
		".github/workflows/ci.yml": {Content: "name: ci\non: [push, pull_request]\njobs:\n  test:\n    runs-on: ubuntu-24.04\n" +
			"    steps:\n      - uses: actions/checkout@v4\n      - run: python3 src/train.py\n"},
	})
}

func newFixtureWith(t *testing.T, o Options, files map[string]File) fixture {
	t.Helper()
	f := fixture{s: server(t, o)}
	var err error
	if f.repo, err = f.s.CreateRepo(NewRepo{FullName: full, Organization: true, Files: files}); err != nil {
		t.Fatal(err)
	}
	if f.installation, err = f.s.AddInstallation(NewInstallation{Account: org}); err != nil {
		t.Fatal(err)
	}
	f.all = f.s.token(t, f.installation, nil)
	return f
}

// push makes a commit of a person's on a branch.
func (f fixture) push(t *testing.T, branch string, files map[string]File) string {
	t.Helper()
	sha, err := f.s.Push(full, branch, "", "A change", files)
	if err != nil {
		t.Fatal(err)
	}
	return sha
}

// clock is a clock that stands until it is told otherwise.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Unix(1_800_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

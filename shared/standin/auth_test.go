package standin

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestAppIsKnownByItsJWT(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	s := server(t, Options{Now: func() time.Time { return now }})
	id := fmt.Sprint(s.AppID())
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	good := s.goodJWT(t)
	other, err := New(Options{Now: s.now})
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(good, ".")
	for name, c := range map[string]struct {
		token  string
		status int
	}{
		"right":                 {good, 200},
		"number as issuer":      {s.jwt(t, obj{"iss": s.AppID(), "iat": at(-time.Minute), "exp": at(9 * time.Minute)}), 200},
		"nothing":               {"", 401},
		"garbage":               {"a.b.c", 401},
		"another key":           {other.goodJWT(t), 401},
		"payload changed":       {head + "." + "x" + body, 401},
		"another App":           {s.jwt(t, obj{"iss": "7", "iat": at(0), "exp": at(time.Minute)}), 401},
		"no issuer":             {s.jwt(t, obj{"iat": at(0), "exp": at(time.Minute)}), 401},
		"no issue date":         {s.jwt(t, obj{"iss": id, "exp": at(time.Minute)}), 401},
		"issued in the future":  {s.jwt(t, obj{"iss": id, "iat": at(5 * time.Minute), "exp": at(8 * time.Minute)}), 401},
		"expired":               {s.jwt(t, obj{"iss": id, "iat": at(-9 * time.Minute), "exp": at(-time.Second)}), 401},
		"never expires":         {s.jwt(t, obj{"iss": id, "iat": at(0)}), 401},
		"valid for too long":    {s.jwt(t, obj{"iss": id, "iat": at(0), "exp": at(20 * time.Minute)}), 401},
		"an installation token": {"ghs_" + strings.Repeat("a", 36), 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := s.client(t, c.token).want(c.status, "GET", "app", nil)
			if a.status == 401 && a.str("message") == "" {
				t.Errorf("the refusal says nothing: %s", a.body)
			}
		})
	}
}

func TestTokensAreNarrowed(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	other, err := f.s.CreateRepo(NewRepo{FullName: org + "/other", Files: Files(map[string]string{"a": "1"})})
	if err != nil {
		t.Fatal(err)
	}
	app := f.s.client(t, f.s.goodJWT(t))
	mint := func(status int, in obj) reply {
		t.Helper()
		return app.want(status, "POST", fmt.Sprintf("app/installations/%d/access_tokens", f.installation), in)
	}
	mint(422, obj{"permissions": obj{"administration": "write"}})
	mint(422, obj{"permissions": obj{"checks": "write"}}) // granted for reading
	mint(422, obj{"repository_ids": []int64{987654}})
	mint(422, obj{"repositories": []string{"unknown"}})
	app.want(404, "POST", "app/installations/1/access_tokens", nil)

	read := f.s.token(t, f.installation, obj{"permissions": obj{"contents": "read"}, "repository_ids": []int64{f.repo.ID}})
	read.want(200, "GET", repo+"/contents/README.md", nil)
	read.want(404, "GET", "repos/"+other.FullName, nil)
	read.want(404, "GET", fmt.Sprintf("repositories/%d", other.ID), nil)
	if a := read.want(403, "POST", repo+"/git/blobs", obj{"content": "x"}); a.str("message") != "Resource not accessible by integration" {
		t.Errorf("the refusal says %s", a.body)
	}
	if a := read.want(200, "GET", "installation/repositories", nil); a.num("total_count") != 1 || a.num("repositories.0.id") != f.repo.ID {
		t.Errorf("the token sees %s", a.body)
	}
	read.want(401, "GET", "app", nil)
	app.want(403, "GET", repo+"/issues", nil)
	byName := f.s.token(t, f.installation, obj{"repositories": []string{"other"}})
	byName.want(200, "GET", "repos/"+other.FullName, nil)
	byName.want(404, "GET", repo, nil)
}

// TestPermissionsAreEnforced asks with a token that has everything but one
// permission.
func TestPermissionsAreEnforced(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Limits: unlimited()})
	issue := f.all.want(201, "POST", repo+"/issues", obj{"title": "An issue"}).num("number")
	comment := f.all.want(201, "POST", fmt.Sprintf("%s/issues/%d/comments", repo, issue), obj{"body": "text"}).num("id")
	for name, c := range map[string]struct {
		have   obj
		method string
		path   string
		body   any
	}{
		"a ref takes contents":          {obj{"contents": "read", "issues": "write"}, "POST", "/git/refs", obj{"ref": "refs/heads/x", "sha": f.repo.Head}},
		"a blob takes contents":         {obj{"contents": "read"}, "POST", "/git/blobs", obj{"content": "x"}},
		"a tree takes contents":         {obj{"contents": "read"}, "POST", "/git/trees", obj{"tree": []obj{}}},
		"a commit takes contents":       {obj{"contents": "read"}, "POST", "/git/commits", obj{"message": "m", "tree": "t"}},
		"reading takes contents":        {obj{"issues": "write"}, "GET", "/contents/README.md", nil},
		"a pull request takes its own":  {obj{"contents": "write", "pull_requests": "read"}, "POST", "/pulls", obj{"title": "t", "head": "h", "base": "main"}},
		"an issue takes issues":         {obj{"issues": "read", "pull_requests": "write"}, "POST", "/issues", obj{"title": "t"}},
		"a comment takes issues":        {obj{"issues": "read", "pull_requests": "write"}, "POST", fmt.Sprintf("/issues/%d/comments", issue), obj{"body": "b"}},
		"its change takes issues":       {obj{"issues": "read", "pull_requests": "write"}, "PATCH", fmt.Sprintf("/issues/comments/%d", comment), obj{"body": "b"}},
		"a label takes issues":          {obj{"issues": "read"}, "POST", fmt.Sprintf("/issues/%d/labels", issue), obj{"labels": []string{"x"}}},
		"a rerun takes actions":         {obj{"actions": "read"}, "POST", "/actions/runs/1/rerun-failed-jobs", nil},
		"a dispatch takes actions":      {obj{"actions": "read"}, "POST", "/actions/workflows/ci.yml/dispatches", obj{"ref": "main"}},
		"runs take actions":             {obj{"contents": "write"}, "GET", "/actions/runs", nil},
		"a merge takes contents":        {obj{"contents": "read", "pull_requests": "write"}, "PUT", "/pulls/1/merge", nil},
		"inline workflow edits need it": {obj{"contents": "write"}, "POST", "/git/trees", obj{"tree": []obj{{"path": ".github/workflows/new.yml", "mode": "100644", "type": "blob", "content": "on: push"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f.s.token(t, f.installation, obj{"permissions": c.have}).want(403, c.method, repo+c.path, c.body)
		})
	}
}

func TestTokensEnd(t *testing.T) {
	t.Parallel()
	clock := newClock()
	f := newFixture(t, Options{Now: clock.now})
	clock.add(59 * time.Minute)
	f.all.want(200, "GET", repo, nil)
	clock.add(2 * time.Minute)
	f.all.want(401, "GET", repo, nil)

	fresh := f.s.token(t, f.installation, nil)
	if err := f.s.Suspend(f.installation, true); err != nil {
		t.Fatal(err)
	}
	fresh.want(403, "GET", repo, nil)
	app := f.s.client(t, f.s.goodJWT(t))
	mint := fmt.Sprintf("app/installations/%d/access_tokens", f.installation)
	app.want(403, "POST", mint, nil)
	if err := f.s.Suspend(f.installation, false); err != nil {
		t.Fatal(err)
	}
	fresh.want(200, "GET", repo, nil)
	if err := f.s.Uninstall(f.installation); err != nil {
		t.Fatal(err)
	}
	fresh.want(401, "GET", repo, nil)
	app.want(404, "POST", mint, nil)
	app.want(404, "GET", fmt.Sprintf("app/installations/%d", f.installation), nil)
	if a := app.want(200, "GET", "app/installations", nil); string(a.body) != "[]" {
		t.Errorf("installations are left: %s", a.body)
	}
	f.s.client(t, "").want(401, "GET", repo, nil)
}

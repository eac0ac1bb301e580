package standin

import (
	"fmt"
	"strings"
	"testing"
)

// commitOf makes a commit on parent through the API, with one file written.
func (f fixture) commitOf(t *testing.T, parent, path, content string) string {
	t.Helper()
	tree := f.all.want(200, "GET", repo+"/git/commits/"+parent, nil).str("tree.sha")
	made := f.all.want(201, "POST", repo+"/git/trees", obj{"base_tree": tree, "tree": []obj{{"path": path, "mode": "100644", "type": "blob", "content": content}}})
	return f.all.want(201, "POST", repo+"/git/commits", obj{"message": "Change " + path, "tree": made.str("sha"), "parents": []string{parent}}).str("sha")
}

// TestRefusals is what GitHub refuses, and in which words.
func TestRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Limits: unlimited()})
	gone := strings.Repeat("ab", 20)
	head := f.commitOf(t, f.repo.Head, "src/train.py", "print('better')\n")
	f.all.want(201, "POST", repo+"/git/refs", obj{"ref": "refs/heads/taken", "sha": head})
	f.all.want(201, "POST", repo+"/git/refs", obj{"ref": "refs/heads/same", "sha": f.repo.Head})
	f.all.want(201, "POST", repo+"/git/refs", obj{"ref": "refs/heads/guarded", "sha": f.repo.Head})
	if err := f.s.Protect(full, "guarded"); err != nil {
		t.Fatal(err)
	}
	f.all.want(201, "POST", repo+"/pulls", obj{"title": "First", "head": "taken", "base": "main"})
	if _, err := f.s.CreateRepo(NewRepo{FullName: org + "/empty"}); err != nil {
		t.Fatal(err)
	}
	rival := f.push(t, "rival", map[string]File{"src/train.py": {Content: "print('rival')\n"}})
	f.push(t, "main", map[string]File{"src/train.py": {Content: "print('main')\n"}})
	conflict := f.all.want(201, "POST", repo+"/pulls", obj{"title": "Conflict", "head": "rival", "base": "main"}).num("number")
	empty := "repos/" + org + "/empty"

	for name, c := range map[string]struct {
		method, path string
		body         any
		status       int
		message      string // within the answer
	}{
		"no such repository":       {"GET", "repos/" + org + "/none", nil, 404, "Not Found"},
		"no such endpoint":         {"GET", repo + "/nothing", nil, 404, "Not Found"},
		"no such branch":           {"GET", repo + "/branches/none", nil, 404, "Branch not found"},
		"no such ref":              {"GET", repo + "/git/ref/heads/none", nil, 404, "Not Found"},
		"no such file":             {"GET", repo + "/contents/none", nil, 404, "Not Found"},
		"no such blob":             {"GET", repo + "/git/blobs/" + gone, nil, 404, "Not Found"},
		"no such commit":           {"GET", repo + "/commits/" + gone, nil, 422, "No commit found for SHA"},
		"no such pull request":     {"GET", repo + "/pulls/999", nil, 404, "Not Found"},
		"no such person":           {"GET", repo + "/collaborators/nobody/permission", nil, 404, "Not Found"},
		"no JSON":                  {"POST", repo + "/issues", "{", 400, "Problems parsing JSON"},
		"wrong type":               {"POST", repo + "/git/refs", obj{"ref": 7}, 422, "Invalid request"},
		"ref exists":               {"POST", repo + "/git/refs", obj{"ref": "refs/heads/taken", "sha": head}, 422, "Reference already exists"},
		"ref below a ref":          {"POST", repo + "/git/refs", obj{"ref": "refs/heads/taken/more", "sha": head}, 422, "Reference update failed"},
		"ref to nothing":           {"POST", repo + "/git/refs", obj{"ref": "refs/heads/new", "sha": gone}, 422, "Object does not exist"},
		"ref to a tree":            {"POST", repo + "/git/refs", obj{"ref": "refs/heads/new", "sha": f.all.want(200, "GET", repo+"/git/commits/"+head, nil).str("tree.sha")}, 422, "Object does not exist"},
		"ref by a short id":        {"POST", repo + "/git/refs", obj{"ref": "refs/heads/new", "sha": head[:10]}, 422, "exactly 40 characters"},
		"ref with a bad name":      {"POST", repo + "/git/refs", obj{"ref": "refs/heads/a..b", "sha": head}, 422, "Reference name invalid"},
		"ref without a sha":        {"POST", repo + "/git/refs", obj{"ref": "refs/heads/new"}, 422, `"sha" wasn't supplied`},
		"update of no ref":         {"PATCH", repo + "/git/refs/heads/none", obj{"sha": head}, 422, "Reference does not exist"},
		"not a fast forward":       {"PATCH", repo + "/git/refs/heads/taken", obj{"sha": rival}, 422, "Update is not a fast forward"},
		"protected branch":         {"PATCH", repo + "/git/refs/heads/guarded", obj{"sha": head}, 422, "Protected branch update failed"},
		"protected even by force":  {"PATCH", repo + "/git/refs/heads/guarded", obj{"sha": head, "force": true}, 422, "Protected branch update failed"},
		"protected from deleting":  {"DELETE", repo + "/git/refs/heads/guarded", nil, 422, "protected branch"},
		"deleting nothing":         {"DELETE", repo + "/git/refs/heads/none", nil, 422, "Reference does not exist"},
		"tree on nothing":          {"POST", repo + "/git/trees", obj{"base_tree": gone, "tree": []obj{}}, 422, "base_tree is not a valid tree oid"},
		"tree of nothing":          {"POST", repo + "/git/trees", obj{"tree": []obj{{"path": "a", "mode": "100644", "type": "blob", "sha": gone}}}, 422, "is not a valid blob"},
		"tree with a bad mode":     {"POST", repo + "/git/trees", obj{"tree": []obj{{"path": "a", "mode": "100600", "type": "blob", "content": "x"}}}, 422, "tree.mode"},
		"tree outside":             {"POST", repo + "/git/trees", obj{"tree": []obj{{"path": "../a", "mode": "100644", "type": "blob", "content": "x"}}}, 422, "malformed path"},
		"tree into .git":           {"POST", repo + "/git/trees", obj{"tree": []obj{{"path": ".git/config", "mode": "100644", "type": "blob", "content": "x"}}}, 422, "malformed path"},
		"commit of no tree":        {"POST", repo + "/git/commits", obj{"message": "m", "tree": gone, "parents": []string{head}}, 422, "Tree SHA does not exist"},
		"commit on nothing":        {"POST", repo + "/git/commits", obj{"message": "m", "tree": f.all.want(200, "GET", repo+"/git/commits/"+head, nil).str("tree.sha"), "parents": []string{gone}}, 422, "Parent SHA does not exist"},
		"blob that isn't base64":   {"POST", repo + "/git/blobs", obj{"content": "%", "encoding": "base64"}, 422, "not valid Base64"},
		"pull request exists":      {"POST", repo + "/pulls", obj{"title": "Again", "head": "taken", "base": "main"}, 422, "A pull request already exists for " + org + ":taken."},
		"no commits between":       {"POST", repo + "/pulls", obj{"title": "Nothing", "head": "same", "base": "main"}, 422, "No commits between main and same"},
		"pull request from none":   {"POST", repo + "/pulls", obj{"title": "t", "head": "none", "base": "main"}, 422, `"field":"head"`},
		"pull request to none":     {"POST", repo + "/pulls", obj{"title": "t", "head": "taken", "base": "none"}, 422, `"field":"base"`},
		"merge of a conflict":      {"PUT", fmt.Sprintf("%s/pulls/%d/merge", repo, conflict), nil, 405, "not mergeable"},
		"merge of another commit":  {"PUT", fmt.Sprintf("%s/pulls/%d/merge", repo, conflict), obj{"sha": gone}, 409, "Head branch was modified"},
		"empty comment":            {"POST", fmt.Sprintf("%s/issues/%d/comments", repo, conflict), obj{"body": " "}, 422, "Validation Failed"},
		"long comment":             {"POST", fmt.Sprintf("%s/issues/%d/comments", repo, conflict), obj{"body": strings.Repeat("ä", 65537)}, 422, "too long"},
		"issue without a title":    {"POST", repo + "/issues", obj{"body": "b"}, 422, "missing_field"},
		"label exists":             {"POST", repo + "/labels", obj{"name": "bug", "color": "ffffff"}, 422, "already_exists"},
		"empty repository's ref":   {"GET", empty + "/git/ref/heads/main", nil, 409, "Git Repository is empty."},
		"empty repository's tree":  {"POST", empty + "/git/trees", obj{"tree": []obj{}}, 409, "Git Repository is empty."},
		"empty repository's log":   {"GET", empty + "/commits/main", nil, 409, "Git Repository is empty."},
		"rerun of nothing":         {"POST", repo + "/actions/runs/7/rerun", nil, 404, "Not Found"},
		"dispatch of nothing":      {"POST", repo + "/actions/workflows/none.yml/dispatches", obj{"ref": "main"}, 404, "Not Found"},
		"dispatch without trigger": {"POST", repo + "/actions/workflows/ci.yml/dispatches", obj{"ref": "main"}, 422, "workflow_dispatch"},
		"redelivery of nothing":    {"GET", repo + "/actions/jobs/7/logs", nil, 404, "Not Found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := f.all.want(c.status, c.method, c.path, c.body)
			if !strings.Contains(string(a.body), strings.ReplaceAll(c.message, `"sha" `, `\"sha\" `)) {
				t.Errorf("it says %s, want %q", a.body, c.message)
			}
			if a.str("documentation_url") == "" {
				t.Errorf("it isn't GitHub's error object: %s", a.body)
			}
		})
	}
}

// TestWorkflowFilesTakeTheirPermission smuggles a workflow in by each way there
// is.
func TestWorkflowFilesTakeTheirPermission(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Limits: unlimited()})
	without := f.s.token(t, f.installation, obj{"permissions": obj{"contents": "write", "pull_requests": "write"}})
	edit := obj{"path": ".github/workflows/ci.yml", "mode": "100644", "type": "blob", "content": "on: push\n"}
	if a := without.want(403, "POST", repo+"/git/trees", obj{"tree": []obj{edit}}); !strings.Contains(a.str("message"), "without `workflows` permission") {
		t.Errorf("the refusal says %s", a.body)
	}
	// A commit that another token made doesn't get in either.
	sha := f.commitOf(t, f.repo.Head, ".github/workflows/ci.yml", "on: push\n")
	without.want(403, "POST", repo+"/git/refs", obj{"ref": "refs/heads/x", "sha": sha})
	f.all.want(201, "POST", repo+"/git/refs", obj{"ref": "refs/heads/x", "sha": sha})
	// What some branch has already may be pointed to.
	without.want(201, "POST", repo+"/git/refs", obj{"ref": "refs/heads/y", "sha": sha})
	without.want(201, "POST", repo+"/git/refs", obj{"ref": "refs/heads/z", "sha": f.commitOf(t, f.repo.Head, "README.md", "other\n")})
}

func TestForksAreOutOfReach(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Limits: unlimited()})
	fork, err := f.s.Fork(full, "stranger")
	if err != nil {
		t.Fatal(err)
	}
	f.all.want(404, "GET", "repos/"+fork.FullName, nil)
	f.all.want(404, "POST", "repos/"+fork.FullName+"/git/refs", obj{"ref": "refs/heads/x", "sha": f.repo.Head})
	if _, err := f.s.Push(fork.FullName, "patch", "stranger", "From outside", map[string]File{"README.md": {Content: "outside\n"}}); err != nil {
		t.Fatal(err)
	}
	p, err := f.s.OpenPull(full, NewPull{Title: "From outside", Head: "stranger:patch", Base: "main", Author: "stranger"})
	if err != nil {
		t.Fatal(err)
	}
	a := f.all.want(200, "GET", fmt.Sprintf("%s/pulls/%d", repo, p), nil)
	if a.num("head.repo.id") != fork.ID || a.str("head.label") != "stranger:patch" {
		t.Errorf("its head is %v", a.at("head.label"))
	}
	// A branch of the same name in the repository itself is another head.
	if a := f.all.want(200, "GET", repo+"/pulls?state=all&head="+org+":patch", nil); string(a.body) != "[]" {
		t.Errorf("the fork's pull request is listed as our own: %s", a.body)
	}
}

func TestNamesChange(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Limits: unlimited()})
	if err := f.s.Rename(full, "renamed"); err != nil {
		t.Fatal(err)
	}
	to := fmt.Sprintf("%srepositories/%d", f.s.URL(), f.repo.ID)
	a := f.all.want(301, "GET", repo, nil)
	if got := a.header.Get("Location"); got != to {
		t.Errorf("it leads to %s, want %s", got, to)
	}
	if got := f.all.want(200, "GET", to, nil).str("full_name"); got != org+"/renamed" {
		t.Errorf("there is %s", got)
	}
	a = f.all.want(301, "GET", repo+"/contents/src/train.py?ref=main", nil)
	f.all.want(200, "GET", a.header.Get("Location"), nil)
	a = f.all.want(307, "POST", repo+"/issues", obj{"title": "t"})
	f.all.want(201, "POST", a.header.Get("Location"), obj{"title": "t"})
	if err := f.s.Delete(org + "/renamed"); err != nil {
		t.Fatal(err)
	}
	f.all.want(404, "GET", repo, nil)
	f.all.want(404, "GET", to, nil)
}

package standin

import (
	"encoding/base64"
	"maps"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
)

const maxInlineContent = 1 << 20 // bytes; above, the contents API leaves content out

var fullSHA = regexp.MustCompile(`^[0-9a-f]{40}$`)

// resolve finds the commit that a branch, a ref or an object id names.
func (r *repository) resolve(ref string) (commit, bool) {
	if ref == "" || ref == "HEAD" {
		ref = r.DefaultBranch
	}
	sha := ""
	for _, candidate := range []string{ref, "refs/" + ref, "refs/heads/" + ref, "refs/tags/" + ref} {
		if sha = r.Refs[candidate]; sha != "" {
			break
		}
	}
	if sha == "" && fullSHA.MatchString(ref) {
		sha = ref
	}
	c, err := r.Objects.commit(sha)
	return c, err == nil
}

func (r *repository) branches() []string {
	var out []string
	for ref := range r.Refs {
		if b, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
			out = append(out, b)
		}
	}
	slices.Sort(out)
	return out
}

func getRepo(c *call) answer { return ok(c.s.fullRepoJSON(c.repo)) }

func getRepoByID(c *call) answer {
	r := c.s.repos[c.int("id")]
	if r == nil || !c.sees(r) && r.Private {
		return notFound()
	}
	return ok(c.s.fullRepoJSON(r))
}

func getBranch(c *call) answer {
	name := c.r.PathValue("branch")
	r, s := c.repo, c.s
	sha := r.head(name)
	if sha == "" {
		return refuse(http.StatusNotFound, "Branch not found")
	}
	at, err := r.Objects.commit(sha)
	if err != nil {
		return notFound()
	}
	u := s.link("/repos/%s/branches/%s", r.full(), escapePath(name))
	o := obj{
		"name": name, "commit": s.commitJSON(r, at), "protected": r.Protected[name], "protection": protectionJSON(r.Protected[name]),
		"protection_url": u + "/protection", "_links": obj{"self": u, "html": s.web("/%s/tree/%s", r.full(), escapePath(name))},
	}
	return ok(o)
}

func protectionJSON(on bool) obj {
	level := "off"
	if on {
		level = "non_admins"
	}
	return obj{"enabled": on, "required_status_checks": obj{"enforcement_level": level, "contexts": []string{}, "checks": []string{}}}
}

func listBranches(c *call) answer {
	r := c.repo
	names := r.branches()
	if want := c.r.URL.Query().Get("protected"); want != "" {
		names = slices.DeleteFunc(names, func(n string) bool { return r.Protected[n] != (want == "true") })
	}
	return list(c, names, func(n string) obj {
		return obj{
			"name": n, "protected": r.Protected[n], "protection": protectionJSON(r.Protected[n]),
			"commit":         obj{"sha": r.head(n), "url": c.s.link("/repos/%s/commits/%s", r.full(), r.head(n))},
			"protection_url": c.s.link("/repos/%s/branches/%s/protection", r.full(), escapePath(n)),
		}
	})
}

// wantsRaw reports whether the Accept header asks for the raw form.
func wantsRaw(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	return strings.Contains(accept, "application/vnd.github.raw") || strings.Contains(accept, "application/vnd.github.v3.raw")
}

func getContents(c *call) answer {
	r := c.repo
	ref := c.r.URL.Query().Get("ref")
	at, found := r.resolve(ref)
	switch {
	case !found && ref != "":
		return refuse(http.StatusNotFound, "No commit found for the ref "+ref)
	case !found:
		return refuse(http.StatusNotFound, "This repository is empty.")
	}
	p := strings.Trim(c.r.PathValue("path"), "/")
	e, found := r.Objects.lookup(at.Tree, p)
	if !found {
		return notFound()
	}
	if ref == "" {
		ref = r.DefaultBranch
	}
	if e.Mode == modeLink {
		target, _ := r.Objects.get("blob", e.SHA)
		if to, ok := r.Objects.lookup(at.Tree, path.Join(path.Dir(p), string(target))); ok && kindOfMode(to.Mode) == "blob" {
			e = treeEntry{e.Name, to.Mode, to.SHA}
		}
	}
	if e.Mode == modeTree {
		entries, _ := r.Objects.tree(e.SHA)
		return ok(rendered(entries, func(e treeEntry) obj { return c.s.contentJSON(r, ref, path.Join(p, e.Name), e) }))
	}
	if wantsRaw(c.r) && kindOfMode(e.Mode) == "blob" {
		data, _ := r.Objects.get("blob", e.SHA)
		return answer{status: http.StatusOK, raw: data, kind: "application/vnd.github.raw; charset=utf-8"}
	}
	o := c.s.contentJSON(r, ref, p, e)
	data, _ := r.Objects.get("blob", e.SHA)
	switch e.Mode {
	case modeLink:
		o["target"] = string(data)
	case modeSubmodule:
		o["submodule_git_url"] = c.s.web("/%s.git", p)
	default:
		o["content"], o["encoding"] = "", "none"
		if len(data) <= maxInlineContent {
			o["content"], o["encoding"] = wrapped(data), "base64"
		}
	}
	return ok(o)
}

// wrapped is base64 in lines of 60 characters, as GitHub writes it.
func wrapped(data []byte) string {
	var b strings.Builder
	for chunk := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(data)), 60) {
		b.Write(chunk)
		b.WriteByte('\n')
	}
	return b.String()
}

func (s *Server) contentJSON(r *repository, ref, p string, e treeEntry) obj {
	data, _ := r.Objects.get("blob", e.SHA)
	kind := map[string]string{modeTree: "dir", modeLink: "symlink", modeSubmodule: "submodule"}[e.Mode]
	if kind == "" {
		kind = "file"
	}
	of := "blob"
	if kind == "dir" {
		of = "tree"
	}
	self := s.link("/repos/%s/contents/%s?ref=%s", r.full(), escapePath(p), escapePath(ref))
	git := s.link("/repos/%s/git/%ss/%s", r.full(), of, e.SHA)
	html := s.web("/%s/%s/%s/%s", r.full(), of, escapePath(ref), escapePath(p))
	o := obj{
		"type": kind, "name": path.Base(p), "path": p, "sha": e.SHA, "size": len(data), "url": self, "git_url": git, "html_url": html,
		"download_url": nil, "_links": obj{"self": self, "git": git, "html": html},
	}
	if kind == "file" {
		o["download_url"] = s.web("/raw/%s/%s/%s", r.full(), escapePath(ref), escapePath(p))
	}
	return o
}

func getPermission(c *call) answer {
	login := c.r.PathValue("login")
	a := c.s.accounts[strings.ToLower(login)]
	if a == nil {
		return notFound()
	}
	role := c.repo.People[strings.ToLower(login)]
	if role == "" {
		role = "none"
		if !c.repo.Private {
			role = "read"
		}
	}
	// The old field folds the newer roles into four.
	level := map[string]string{"maintain": "write", "triage": "read"}[role]
	if level == "" {
		level = role
	}
	user := c.s.userJSON(a)
	user["permissions"] = obj{
		"pull": role != "none", "triage": !slices.Contains([]string{"none", "read"}, role),
		"push": level == "write" || level == "admin", "maintain": role == "maintain" || role == "admin", "admin": role == "admin",
	}
	user["role_name"] = role
	return ok(obj{"permission": level, "role_name": role, "user": user})
}

func listCollaborators(c *call) answer {
	return list(c, slices.Sorted(maps.Keys(c.repo.People)), func(login string) obj {
		o := c.s.userJSON(c.s.accounts[login])
		role := c.repo.People[login]
		o["role_name"] = role
		o["permissions"] = obj{"pull": true, "triage": role != "read", "push": role == "write" || role == "maintain" || role == "admin", "maintain": role == "maintain" || role == "admin", "admin": role == "admin"}
		return o
	})
}

package standin

import (
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	maxTreeEntries = 100_000 // of a recursive listing; GitHub's limit
	maxBlob        = 100 << 20
	signatureText  = "-----BEGIN PGP SIGNATURE-----\n\nwsFcBAABCAAQBQJmAAAACRC1aQ7uu5UhlAAAstandinAAAAAAAAAAAAAAAAAAAAAA\n=0000\n-----END PGP SIGNATURE-----\n"
)

func (s *Server) refJSON(r *repository, ref string) obj {
	sha := r.Refs[ref]
	return obj{
		"ref": ref, "node_id": nodeID("REF", r.ID) + base64.RawURLEncoding.EncodeToString([]byte(ref)),
		"url":    s.link("/repos/%s/git/%s", r.full(), escapePath(ref)),
		"object": obj{"type": "commit", "sha": sha, "url": s.link("/repos/%s/git/commits/%s", r.full(), sha)},
	}
}

func emptyRepository() answer { return refuse(http.StatusConflict, "Git Repository is empty.") }

func getRef(c *call) answer {
	ref := "refs/" + c.r.PathValue("ref")
	if len(c.repo.Refs) == 0 {
		return emptyRepository()
	}
	if c.repo.Refs[ref] == "" {
		return notFound()
	}
	return ok(c.s.refJSON(c.repo, ref))
}

func matchingRefs(c *call) answer {
	prefix := "refs/" + c.r.PathValue("ref")
	var refs []string
	for _, ref := range slices.Sorted(maps.Keys(c.repo.Refs)) {
		if strings.HasPrefix(ref, prefix) {
			refs = append(refs, ref)
		}
	}
	return list(c, refs, func(ref string) obj { return c.s.refJSON(c.repo, ref) })
}

// validRef holds git's rules for ref names.
func validRef(ref string) bool {
	if strings.HasSuffix(ref, ".") || strings.Contains(ref, "..") || strings.Contains(ref, "@{") || strings.Count(ref, "/") < 2 || !strings.HasPrefix(ref, "refs/") ||
		strings.ContainsFunc(ref, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`~^:?*[\`, r) }) {
		return false
	}
	for part := range strings.SplitSeq(ref, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}

func createRef(c *call) answer {
	var in struct{ Ref, SHA string }
	if a, bad := c.decode(&in); bad {
		return a
	}
	r := c.repo
	switch {
	case len(r.Refs) == 0:
		return emptyRepository()
	case in.Ref == "":
		return missing("ref")
	case in.SHA == "":
		return missing("sha")
	case !validRef(in.Ref):
		return refuse(http.StatusUnprocessableEntity, "Reference name invalid: "+in.Ref)
	case strings.HasPrefix(in.Ref, "refs/pull/"):
		return refuse(http.StatusUnprocessableEntity, "Reference update failed")
	case r.Refs[in.Ref] != "":
		return refuse(http.StatusUnprocessableEntity, "Reference already exists")
	case !fullSHA.MatchString(in.SHA):
		return refuse(http.StatusUnprocessableEntity, "The sha parameter must be exactly 40 characters and contain only [0-9a-f].")
	case !r.has("commit", in.SHA):
		return refuse(http.StatusUnprocessableEntity, "Object does not exist")
	}
	for ref := range r.Refs {
		if strings.HasPrefix(ref, in.Ref+"/") || strings.HasPrefix(in.Ref, ref+"/") {
			return refuse(http.StatusUnprocessableEntity, "Reference update failed")
		}
	}
	if a, refused := c.guardWorkflows(in.SHA); refused {
		return a
	}
	if r.Protected[strings.TrimPrefix(in.Ref, "refs/heads/")] {
		return refuse(http.StatusUnprocessableEntity, "Repository rule violations found\n\nCannot create ref due to creations being restricted.")
	}
	c.s.setRef(r, in.Ref, in.SHA, c.actor())
	return created(c.s.refJSON(r, in.Ref))
}

func updateRef(c *call) answer {
	var in struct {
		SHA   string
		Force bool
	}
	if a, bad := c.decode(&in); bad {
		return a
	}
	r, ref := c.repo, "refs/"+c.r.PathValue("ref")
	at := r.Refs[ref]
	switch {
	case in.SHA == "":
		return missing("sha")
	case at == "":
		return refuse(http.StatusUnprocessableEntity, "Reference does not exist")
	case !r.has("commit", in.SHA):
		return refuse(http.StatusUnprocessableEntity, "Object does not exist")
	case r.Protected[strings.TrimPrefix(ref, "refs/heads/")]:
		return refuse(http.StatusUnprocessableEntity, "Protected branch update failed for "+ref+".")
	case !in.Force && !slices.Contains(r.Objects.ancestors(in.SHA), at):
		return refuse(http.StatusUnprocessableEntity, "Update is not a fast forward")
	}
	if a, refused := c.guardWorkflows(in.SHA); refused {
		return a
	}
	c.s.setRef(r, ref, in.SHA, c.actor())
	return ok(c.s.refJSON(r, ref))
}

func deleteRef(c *call) answer {
	r, ref := c.repo, "refs/"+c.r.PathValue("ref")
	branch := strings.TrimPrefix(ref, "refs/heads/")
	switch {
	case r.Refs[ref] == "":
		return refuse(http.StatusUnprocessableEntity, "Reference does not exist")
	case r.Protected[branch]:
		return refuse(http.StatusUnprocessableEntity, "Cannot delete this protected branch")
	case branch == r.DefaultBranch:
		return refuse(http.StatusUnprocessableEntity, "Cannot delete the default branch")
	}
	c.s.setRef(r, ref, "", c.actor())
	return noContent()
}

// guardWorkflows refuses a commit whose workflow files differ from those of every
// branch, unless the token may write workflows.
func (c *call) guardWorkflows(sha string) (answer, bool) {
	if c.token.allows("workflows:write") {
		return answer{}, false
	}
	o := c.repo.Objects
	at, err := o.commit(sha)
	if err != nil {
		return answer{}, false
	}
	known := map[string]bool{}
	for _, branch := range c.repo.branches() {
		if b, err := o.commit(c.repo.head(branch)); err == nil {
			for p, e := range workflowFiles(o, b.Tree) {
				known[p+"\x00"+e.SHA] = true
			}
		}
	}
	files := workflowFiles(o, at.Tree)
	for _, p := range slices.Sorted(maps.Keys(files)) {
		if !known[p+"\x00"+files[p].SHA] {
			return refuse(http.StatusForbidden, "refusing to allow a GitHub App to create or update workflow `"+p+"` without `workflows` permission"), true
		}
	}
	return answer{}, false
}

const workflowDir = ".github/workflows"

// workflowFiles lists the workflows of a tree by their path.
func workflowFiles(o objects, tree string) map[string]entry {
	out := map[string]entry{}
	dir, found := o.lookup(tree, workflowDir)
	if !found || dir.Mode != modeTree {
		return out
	}
	for p, e := range o.flatten(dir.SHA) {
		out[workflowDir+"/"+p] = e
	}
	return out
}

func getBlob(c *call) answer {
	sha := c.r.PathValue("sha")
	data, found := c.repo.Objects.get("blob", sha)
	if !found {
		return notFound()
	}
	if wantsRaw(c.r) {
		return answer{status: http.StatusOK, raw: data, kind: "application/vnd.github.raw; charset=utf-8"}
	}
	return ok(obj{
		"sha": sha, "node_id": nodeID("B", c.repo.ID) + sha, "size": len(data), "url": c.s.link("/repos/%s/git/blobs/%s", c.repo.full(), sha),
		"content": wrapped(data), "encoding": "base64",
	})
}

func createBlob(c *call) answer {
	var in struct {
		Content  *string
		Encoding string
	}
	if a, bad := c.decode(&in); bad {
		return a
	}
	if in.Content == nil {
		return missing("content")
	}
	if len(c.repo.Refs) == 0 {
		return emptyRepository()
	}
	data := []byte(*in.Content)
	switch in.Encoding {
	case "", "utf-8":
	case "base64":
		var err error
		if data, err = base64.StdEncoding.DecodeString(strings.ReplaceAll(*in.Content, "\n", "")); err != nil {
			return refuse(http.StatusUnprocessableEntity, "content is not valid Base64")
		}
	default:
		return refuse(http.StatusUnprocessableEntity, "Unsupported encoding: "+in.Encoding)
	}
	if len(data) > maxBlob {
		return refuse(http.StatusUnprocessableEntity, "Sorry, your input was too large to process. Consider creating the blob in a local clone of the repository and then pushing it to GitHub.")
	}
	sha := c.repo.Objects.put("blob", data)
	return created(obj{"sha": sha, "url": c.s.link("/repos/%s/git/blobs/%s", c.repo.full(), sha)})
}

func (s *Server) treeEntryJSON(r *repository, p string, e treeEntry) obj {
	kind := kindOfMode(e.Mode)
	o := obj{"path": p, "mode": e.Mode, "type": kind, "sha": e.SHA}
	if kind != "commit" {
		o["url"] = s.link("/repos/%s/git/%ss/%s", r.full(), kind, e.SHA)
	}
	if kind == "blob" {
		data, _ := r.Objects.get("blob", e.SHA)
		o["size"] = len(data)
	}
	return o
}

func (s *Server) treeJSON(r *repository, sha string, recursive bool) obj {
	tree := []obj{}
	truncated := false
	if recursive {
		r.Objects.walk(sha, "", 0, func(p string, e treeEntry) {
			if truncated = truncated || len(tree) >= maxTreeEntries; !truncated {
				tree = append(tree, s.treeEntryJSON(r, p, e))
			}
		})
	} else {
		entries, _ := r.Objects.tree(sha)
		tree = rendered(entries, func(e treeEntry) obj { return s.treeEntryJSON(r, e.Name, e) })
	}
	return obj{"sha": sha, "url": s.link("/repos/%s/git/trees/%s", r.full(), sha), "tree": tree, "truncated": truncated}
}

func getTree(c *call) answer {
	r, name := c.repo, c.r.PathValue("sha")
	if len(r.Refs) == 0 {
		return emptyRepository()
	}
	sha := name
	if at, found := r.resolve(name); found {
		sha = at.Tree
	}
	if !r.has("tree", sha) {
		return notFound()
	}
	return ok(c.s.treeJSON(r, sha, c.r.URL.Query().Has("recursive")))
}

func createTree(c *call) answer {
	var in struct {
		BaseTree string `json:"base_tree"`
		Tree     []map[string]any
	}
	if a, bad := c.decode(&in); bad {
		return a
	}
	r := c.repo
	if in.Tree == nil {
		return missing("tree")
	}
	if len(r.Refs) == 0 {
		return emptyRepository()
	}
	flat := map[string]entry{}
	if in.BaseTree != "" {
		base := in.BaseTree
		if at, err := r.Objects.commit(base); err == nil {
			base = at.Tree // GitHub takes a commit too
		}
		if !r.has("tree", base) {
			return refuse(http.StatusUnprocessableEntity, "base_tree is not a valid tree oid")
		}
		flat = r.Objects.flatten(base)
	}
	for _, e := range in.Tree {
		if a, refused := c.treeEdit(flat, e); refused {
			return a
		}
	}
	return created(c.s.treeJSON(r, r.Objects.build(flat), false))
}

// treeEdit makes one entry of a request to create a tree.
func (c *call) treeEdit(flat map[string]entry, in map[string]any) (answer, bool) {
	o := c.repo.Objects
	text := func(key string) string { v, _ := in[key].(string); return v }
	p, mode, sha := text("path"), text("mode"), text("sha")
	content, inline := in["content"].(string)
	id, given := in["sha"]
	was := flat[p]
	fail := func(message string) (answer, bool) { return refuse(http.StatusUnprocessableEntity, message), true }
	switch {
	case p == "" || !validPath(p):
		return fail("tree.path contains a malformed path component")
	case inline && given:
		return fail("Must supply either tree.sha or tree.content, not both")
	case given && id == nil:
		if _, there := flat[p]; !there {
			before := len(flat)
			if remove(flat, p); len(flat) == before {
				return fail("GitRPC::BadObjectState")
			}
		}
		remove(flat, p)
	case !slices.Contains([]string{modeFile, modeExecutable, modeLink, modeTree, modeSubmodule}, mode):
		return fail("tree.mode must be one of 100644, 100755, 040000, 160000, 120000")
	case inline:
		if kindOfMode(mode) != "blob" {
			return fail("tree.content needs a blob's mode")
		}
		place(flat, p, entry{mode, o.put("blob", []byte(content))})
	case sha == "":
		return fail("Must supply a valid tree.sha")
	case mode == modeTree:
		if !c.repo.has("tree", sha) {
			return fail("tree.sha " + sha + " is not a valid tree")
		}
		remove(flat, p)
		for q, e := range o.flatten(sha) {
			place(flat, p+"/"+q, e)
		}
	case mode == modeSubmodule:
		place(flat, p, entry{mode, sha})
	case !c.repo.has("blob", sha):
		return fail("tree.sha " + sha + " is not a valid blob")
	default:
		place(flat, p, entry{mode, sha})
	}
	if strings.HasPrefix(p, workflowDir) && flat[p] != was && !c.token.allows("workflows:write") {
		return refuse(http.StatusForbidden, "refusing to allow a GitHub App to create or update workflow `"+p+"` without `workflows` permission"), true
	}
	return answer{}, false
}

type personWire struct {
	Name, Email string
	Date        time.Time
}

func createCommit(c *call) answer {
	var in struct {
		Message           *string
		Tree              string
		Parents           []string
		Author, Committer *personWire
		Signature         string
	}
	if a, bad := c.decode(&in); bad {
		return a
	}
	r, s := c.repo, c.s
	switch {
	case in.Message == nil:
		return missing("message")
	case in.Tree == "":
		return missing("tree")
	case len(r.Refs) == 0:
		return emptyRepository()
	case !r.has("tree", in.Tree):
		return refuse(http.StatusUnprocessableEntity, "Tree SHA does not exist")
	}
	for _, p := range in.Parents {
		if !r.has("commit", p) {
			return refuse(http.StatusUnprocessableEntity, "Parent SHA does not exist or is not a commit object")
		}
	}
	bot := c.actor()
	me := person{bot.Login, bot.email(), s.now()}
	made := commit{Tree: in.Tree, Parents: in.Parents, Author: me, Committer: person{"GitHub", "noreply@github.com", s.now()}, Message: *in.Message, Signature: in.Signature}
	if in.Author != nil {
		made.Author = in.Author.person(s.now())
		made.Committer = made.Author
	}
	if in.Committer != nil {
		made.Committer = in.Committer.person(s.now())
	}
	if in.Author == nil && in.Committer == nil && in.Signature == "" {
		made.Signature = signatureText // GitHub signs what its bots commit
	}
	at, err := r.Objects.commit(r.Objects.putCommit(made))
	if err != nil {
		return refuse(http.StatusInternalServerError, "Server Error")
	}
	return created(s.gitCommitJSON(r, at))
}

func (p personWire) person(now time.Time) person {
	if p.Date.IsZero() {
		p.Date = now
	}
	return person{p.Name, p.Email, p.Date}
}

func getGitCommit(c *call) answer {
	at, err := c.repo.Objects.commit(c.r.PathValue("sha"))
	if errors.Is(err, errNoCommit) {
		return notFound()
	}
	return ok(c.s.gitCommitJSON(c.repo, at))
}

func (p person) json() obj { return obj{"name": p.Name, "email": p.Email, "date": stamp(p.When)} }

func (s *Server) verificationJSON(c commit) obj {
	v := obj{"verified": false, "reason": "unsigned", "signature": nil, "payload": nil, "verified_at": nil}
	switch c.Signature {
	case "":
	case strings.TrimSuffix(signatureText, "\n"):
		v = obj{"verified": true, "reason": "valid", "signature": c.Signature, "payload": "tree " + c.Tree + "\n", "verified_at": stamp(c.Committer.When)}
	default:
		v["reason"], v["signature"], v["payload"] = "unknown_key", c.Signature, "tree "+c.Tree+"\n"
	}
	return v
}

func (s *Server) gitCommitJSON(r *repository, c commit) obj {
	git := s.link("/repos/%s/git", r.full())
	return obj{
		"sha": c.SHA, "node_id": nodeID("C", r.ID) + c.SHA, "url": git + "/commits/" + c.SHA, "html_url": s.web("/%s/commit/%s", r.full(), c.SHA),
		"author": c.Author.json(), "committer": c.Committer.json(), "message": c.Message,
		"tree": obj{"sha": c.Tree, "url": git + "/trees/" + c.Tree},
		"parents": rendered(c.Parents, func(p string) obj {
			return obj{"sha": p, "url": git + "/commits/" + p, "html_url": s.web("/%s/commit/%s", r.full(), p)}
		}),
		"verification": s.verificationJSON(c),
	}
}

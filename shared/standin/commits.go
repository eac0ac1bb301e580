package standin

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
)

// accountOf finds the account that a commit's e-mail address belongs to.
func (s *Server) accountOf(email string) *account {
	local, _, _ := strings.Cut(email, "@")
	_, login, numbered := strings.Cut(local, "+")
	if !numbered {
		return nil
	}
	if a := s.accounts[strings.ToLower(login)]; a != nil && a.email() == email {
		return a
	}
	return nil
}

// orEmpty is an account's JSON, or null without one.
func (s *Server) userOrNull(a *account) any {
	if a == nil {
		return nil
	}
	return s.userJSON(a)
}

func (s *Server) commitJSON(r *repository, c commit) obj {
	u := s.link("/repos/%s/commits/%s", r.full(), c.SHA)
	git := s.link("/repos/%s/git", r.full())
	return obj{
		"sha": c.SHA, "node_id": nodeID("C", r.ID) + c.SHA, "url": u, "html_url": s.web("/%s/commit/%s", r.full(), c.SHA), "comments_url": u + "/comments",
		"commit": obj{
			"url": git + "/commits/" + c.SHA, "author": c.Author.json(), "committer": c.Committer.json(), "message": c.Message, "comment_count": 0,
			"tree": obj{"sha": c.Tree, "url": git + "/trees/" + c.Tree}, "verification": s.verificationJSON(c),
		},
		"author": s.userOrNull(s.accountOf(c.Author.Email)), "committer": s.userOrNull(s.accountOf(c.Committer.Email)),
		"parents": rendered(c.Parents, func(p string) obj {
			return obj{"sha": p, "url": s.link("/repos/%s/commits/%s", r.full(), p), "html_url": s.web("/%s/commit/%s", r.full(), p)}
		}),
	}
}

func (s *Server) changeJSON(r *repository, at string) func(change) obj {
	return func(f change) obj {
		o := obj{
			"sha": f.SHA, "filename": f.Path, "status": f.Status, "additions": f.Additions, "deletions": f.Deletions, "changes": f.Additions + f.Deletions,
			"blob_url": s.web("/%s/blob/%s/%s", r.full(), at, escapePath(f.Path)), "raw_url": s.web("/%s/raw/%s/%s", r.full(), at, escapePath(f.Path)),
			"contents_url": s.link("/repos/%s/contents/%s?ref=%s", r.full(), escapePath(f.Path), at),
		}
		if f.Patch != "" {
			o["patch"] = f.Patch
		}
		return o
	}
}

// changes lists what a commit changed against its first parent.
func (r *repository) changes(c commit) []change {
	from := ""
	if len(c.Parents) > 0 {
		if parent, err := r.Objects.commit(c.Parents[0]); err == nil {
			from = parent.Tree
		}
	}
	return r.Objects.diff(from, c.Tree)
}

func sum(changes []change) (additions, deletions int) {
	for _, f := range changes {
		additions += f.Additions
		deletions += f.Deletions
	}
	return additions, deletions
}

func getCommit(c *call) answer {
	r, s, ref := c.repo, c.s, c.r.PathValue("ref")
	if len(r.Refs) == 0 {
		return emptyRepository()
	}
	at, found := r.resolve(ref)
	if !found {
		return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+ref)
	}
	if strings.Contains(c.r.Header.Get("Accept"), "application/vnd.github.sha") || strings.Contains(c.r.Header.Get("Accept"), "v3.sha") {
		return answer{status: http.StatusOK, raw: []byte(at.SHA), kind: "application/vnd.github.sha; charset=utf-8"}
	}
	all := r.changes(at)
	files, header := page(c, all)
	o := s.commitJSON(r, at)
	additions, deletions := sum(all)
	o["stats"] = obj{"additions": additions, "deletions": deletions, "total": additions + deletions}
	o["files"] = rendered(files, s.changeJSON(r, at.SHA))
	a := ok(o)
	a.header = header
	return a
}

func listCommits(c *call) answer {
	r, q := c.repo, c.r.URL.Query()
	if len(r.Refs) == 0 {
		return emptyRepository()
	}
	at, found := r.resolve(q.Get("sha"))
	if !found {
		return notFound()
	}
	var out []commit
	for _, sha := range r.Objects.ancestors(at.SHA) {
		one, err := r.Objects.commit(sha)
		if err != nil {
			continue
		}
		if p := q.Get("path"); p != "" && !slices.ContainsFunc(r.changes(one), func(f change) bool { return f.Path == p || strings.HasPrefix(f.Path, p+"/") }) {
			continue
		}
		out = append(out, one)
	}
	return list(c, out, func(one commit) obj { return c.s.commitJSON(r, one) })
}

// side resolves "branch", "owner:branch" or an object id in a comparison.
func (c *call) side(name string) (commit, bool) {
	r := c.repo
	owner, branch, cross := strings.Cut(name, ":")
	if !cross {
		return r.resolve(name)
	}
	for _, other := range c.s.repos {
		if strings.EqualFold(other.Owner.Login, owner) && (other == r || other.Parent == r || r.Parent == other) {
			return other.resolve(branch)
		}
	}
	return commit{}, false
}

func compare(c *call) answer {
	r, s, basehead := c.repo, c.s, c.r.PathValue("basehead")
	from, to, split := strings.Cut(basehead, "...")
	base, known := c.side(from)
	head, known2 := c.side(to)
	if !split || !known || !known2 {
		return notFound()
	}
	merge := r.Objects.mergeBase(base.SHA, head.SHA)
	common, err := r.Objects.commit(merge)
	if err != nil {
		return refuse(http.StatusNotFound, "No common ancestor between "+from+" and "+to+".")
	}
	ahead, behind := r.Objects.since(base.SHA, head.SHA), r.Objects.since(head.SHA, base.SHA)
	status := "diverged"
	switch {
	case len(ahead) == 0 && len(behind) == 0:
		status = "identical"
	case len(ahead) == 0:
		status = "behind"
	case len(behind) == 0:
		status = "ahead"
	}
	shas, header := page(c, ahead)
	commits := make([]obj, 0, len(shas))
	for _, sha := range shas {
		if one, err := r.Objects.commit(sha); err == nil {
			commits = append(commits, s.commitJSON(r, one))
		}
	}
	html := s.web("/%s/compare/%s", r.full(), escapePath(basehead))
	a := ok(obj{
		"url": s.link("/repos/%s/compare/%s", r.full(), escapePath(basehead)), "html_url": html, "permalink_url": html, "diff_url": html + ".diff", "patch_url": html + ".patch",
		"base_commit": s.commitJSON(r, base), "merge_base_commit": s.commitJSON(r, common), "status": status, "ahead_by": len(ahead), "behind_by": len(behind),
		"total_commits": len(ahead), "commits": commits, "files": rendered(r.Objects.diff(common.Tree, head.Tree), s.changeJSON(r, head.SHA)),
	})
	a.header = header
	return a
}

func commitPulls(c *call) answer {
	r := c.repo
	at, found := r.resolve(c.r.PathValue("sha"))
	if !found {
		return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+c.r.PathValue("sha"))
	}
	var in []*pull
	for _, p := range r.Pulls {
		if p.MergeSHA == at.SHA || slices.Contains(r.Objects.since(p.BaseSHA, p.HeadSHA), at.SHA) {
			in = append(in, p)
		}
	}
	slices.SortFunc(in, func(a, b *pull) int { return cmp.Compare(b.Number, a.Number) })
	return list(c, in, func(p *pull) obj { return c.s.pullSimpleJSON(r, p) })
}

package standin

import "slices"

func (s *Server) emitIssue(r *repository, i *issue, action string, by *account) {
	s.emit("issues", action, r, by, obj{"issue": s.issueJSON(r, i)})
}

func (s *Server) emitComment(r *repository, i *issue, m *comment, action string, by *account) {
	s.emit("issue_comment", action, r, by, obj{"issue": s.issueJSON(r, i), "comment": s.commentJSON(r, i, m)})
}

func (s *Server) emitLabelled(r *repository, i *issue, l *label, by *account) {
	if i.Pull != nil {
		s.emitPull(r, i.Pull, "labeled", by, obj{"label": s.labelJSON(r)(l)})
		return
	}
	s.emit("issues", "labeled", r, by, obj{"issue": s.issueJSON(r, i), "label": s.labelJSON(r)(l)})
}

func (s *Server) emitPull(r *repository, p *pull, action string, by *account, more obj) {
	payload := obj{"number": p.Number, "pull_request": s.pullJSON(r, p)}
	for k, v := range more {
		payload[k] = v
	}
	s.emit("pull_request", action, r, by, payload)
}

// pushCommitJSON is a commit as pushes and runs carry it.
func (s *Server) pushCommitJSON(r *repository, c commit) obj {
	who := func(p person) obj {
		o := obj{"name": p.Name, "email": p.Email}
		if a := s.accountOf(p.Email); a != nil {
			o["username"] = a.Login
		}
		return o
	}
	o := obj{
		"id": c.SHA, "tree_id": c.Tree, "distinct": true, "message": c.Message, "timestamp": stamp(c.Committer.When),
		"url": s.web("/%s/commit/%s", r.full(), c.SHA), "author": who(c.Author), "committer": who(c.Committer),
	}
	paths := map[string][]string{"added": {}, "removed": {}, "modified": {}}
	for _, f := range r.changes(c) {
		paths[f.Status] = append(paths[f.Status], f.Path)
	}
	for status, list := range paths {
		o[status] = list
	}
	return o
}

const maxPushCommits = 2048

func (s *Server) emitPush(r *repository, ref, before, after string, by *account) {
	wire := func(sha string) string {
		if sha == "" {
			return zeroSHA
		}
		return sha
	}
	repo := s.repoJSON(r)
	// Pushes carry these as numbers, and say more of the owner.
	repo["created_at"], repo["pushed_at"] = r.CreatedAt.Unix(), r.PushedAt.Unix()
	repo["stargazers"], repo["master_branch"] = 0, r.DefaultBranch
	owner := s.userJSON(r.Owner)
	owner["name"], owner["email"] = r.Owner.Login, r.Owner.email()
	repo["owner"] = owner
	payload := obj{
		"ref": ref, "before": wire(before), "after": wire(after), "created": before == "", "deleted": after == "", "forced": false, "base_ref": nil,
		"compare": s.web("/%s/compare/%.12s...%.12s", r.full(), wire(before), wire(after)), "commits": []obj{}, "head_commit": nil,
		"pusher": obj{"name": by.Login, "email": by.email()}, "repository": repo,
	}
	if after != "" {
		base := before
		if base == "" {
			base = r.head(r.DefaultBranch)
		}
		payload["forced"] = before != "" && !slices.Contains(r.Objects.ancestors(after), before)
		commits := []obj{}
		for _, sha := range r.Objects.since(base, after) {
			if c, err := r.Objects.commit(sha); err == nil && len(commits) < maxPushCommits {
				commits = append(commits, s.pushCommitJSON(r, c))
			}
		}
		payload["commits"] = commits
		if c, err := r.Objects.commit(after); err == nil {
			payload["head_commit"] = s.pushCommitJSON(r, c)
		}
	}
	s.emit("push", "", r, by, payload)
}

func (s *Server) emitRun(r *repository, n *run, action string) {
	s.emit("workflow_run", action, r, n.Actor, obj{"workflow_run": s.runJSON(r, n), "workflow": s.workflowJSON(r, n.Workflow)})
}

func (s *Server) emitCheckRun(r *repository, n *run, j *job) {
	s.emit("check_run", "completed", r, n.Actor, obj{"check_run": s.checkRunJSON(r, n, j)})
}

func (s *Server) checkRunJSON(r *repository, n *run, j *job) obj {
	repo := s.link("/repos/%s", r.full())
	suite := repo + "/check-suites/" + itoa(n.ID+suiteOffset)
	actions := obj{
		"id": 15368, "slug": "github-actions", "node_id": nodeID("A", 15368), "owner": s.userJSON(s.account("github", "Organization")),
		"name": "GitHub Actions", "description": "Automate your workflow from idea to production", "external_url": "https://help.github.com/en/actions",
		"html_url": s.web("/apps/github-actions"), "created_at": "2018-07-30T09:30:17Z", "updated_at": "2019-12-10T19:04:12Z",
		"permissions": obj{"actions": "write", "checks": "write", "contents": "write", "metadata": "read", "pull_requests": "write"}, "events": []string{"push", "pull_request"},
	}
	return obj{
		"id": j.ID, "node_id": nodeID("CR", j.ID), "head_sha": n.HeadSHA, "external_id": newGUID(), "url": repo + "/check-runs/" + itoa(j.ID),
		"html_url": s.jobPage(r, n, j), "details_url": s.jobPage(r, n, j), "status": j.Status, "conclusion": orNull(j.Conclusion),
		"started_at": stamp(j.StartedAt), "completed_at": stamp(j.CompletedAt), "name": j.Name, "pull_requests": s.runPullsJSON(r, n), "app": actions,
		"output": obj{"title": nil, "summary": nil, "text": nil, "annotations_count": 0, "annotations_url": repo + "/check-runs/" + itoa(j.ID) + "/annotations"},
		"check_suite": obj{
			"id": n.ID + suiteOffset, "head_branch": n.HeadBranch, "head_sha": n.HeadSHA, "status": n.Status, "conclusion": orNull(n.Conclusion), "url": suite,
			"before": zeroSHA, "after": n.HeadSHA, "pull_requests": s.runPullsJSON(r, n), "app": actions, "created_at": stamp(n.CreatedAt), "updated_at": stamp(n.UpdatedAt),
		},
	}
}

func shortRepoJSON(r *repository) obj {
	return obj{"id": r.ID, "node_id": nodeID("R", r.ID), "name": r.Name, "full_name": r.full(), "private": r.Private}
}

func (s *Server) emitInstallation(i *installation, action string) {
	s.emitTo(i, "installation", action, nil, i.Account, obj{"installation": s.installationJSON(i), "repositories": rendered(s.covered(i), shortRepoJSON)})
}

func (s *Server) emitInstallationRepos(i *installation, action string, added, removed []*repository) {
	installation := s.installationJSON(i)
	// This event carries them as numbers.
	installation["created_at"], installation["updated_at"] = i.CreatedAt.Unix(), i.CreatedAt.Unix()
	s.emitTo(i, "installation_repositories", action, nil, i.Account, obj{
		"installation": installation, "repository_selection": "selected",
		"repositories_added": rendered(added, shortRepoJSON), "repositories_removed": rendered(removed, shortRepoJSON),
	})
}

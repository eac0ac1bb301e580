package standin

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
)

// nodeID is an opaque id of GitHub's second API.
func nodeID(kind string, id int64) string {
	return kind + "_" + base64.RawURLEncoding.EncodeToString(strconv.AppendInt([]byte("0:"), id, 10))
}

func (s *Server) userJSON(a *account) obj {
	if a == nil {
		return nil
	}
	u := s.link("/users/%s", a.Login)
	return obj{
		"login": a.Login, "id": a.ID, "node_id": nodeID("U", a.ID), "avatar_url": s.web("/avatars/%d", a.ID), "gravatar_id": "",
		"url": u, "html_url": s.web("/%s", strings.TrimSuffix(a.Login, "[bot]")), "followers_url": u + "/followers",
		"following_url": u + "/following{/other_user}", "gists_url": u + "/gists{/gist_id}", "starred_url": u + "/starred{/owner}{/repo}",
		"subscriptions_url": u + "/subscriptions", "organizations_url": u + "/orgs", "repos_url": u + "/repos",
		"events_url": u + "/events{/privacy}", "received_events_url": u + "/received_events", "type": a.Kind, "site_admin": false,
	}
}

// minimalRepoJSON is a repository as it is within other objects.
func (s *Server) minimalRepoJSON(r *repository) obj {
	if r == nil {
		return nil
	}
	u := s.link("/repos/%s", r.full())
	o := obj{
		"id": r.ID, "node_id": nodeID("R", r.ID), "name": r.Name, "full_name": r.full(), "private": r.Private, "owner": s.userJSON(r.Owner),
		"html_url": s.web("/%s", r.full()), "description": nil, "fork": r.Parent != nil, "url": u,
	}
	for key, rest := range map[string]string{
		"archive_url": "/{archive_format}{/ref}", "assignees_url": "/assignees{/user}", "blobs_url": "/git/blobs{/sha}",
		"branches_url": "/branches{/branch}", "collaborators_url": "/collaborators{/collaborator}", "comments_url": "/comments{/number}",
		"commits_url": "/commits{/sha}", "compare_url": "/compare/{base}...{head}", "contents_url": "/contents/{+path}",
		"contributors_url": "/contributors", "deployments_url": "/deployments", "downloads_url": "/downloads", "events_url": "/events",
		"forks_url": "/forks", "git_commits_url": "/git/commits{/sha}", "git_refs_url": "/git/refs{/sha}", "git_tags_url": "/git/tags{/sha}",
		"hooks_url": "/hooks", "issue_comment_url": "/issues/comments{/number}", "issue_events_url": "/issues/events{/number}",
		"issues_url": "/issues{/number}", "keys_url": "/keys{/key_id}", "labels_url": "/labels{/name}", "languages_url": "/languages",
		"merges_url": "/merges", "milestones_url": "/milestones{/number}", "notifications_url": "/notifications{?since,all,participating}",
		"pulls_url": "/pulls{/number}", "releases_url": "/releases{/id}", "stargazers_url": "/stargazers", "statuses_url": "/statuses/{sha}",
		"subscribers_url": "/subscribers", "subscription_url": "/subscription", "tags_url": "/tags", "teams_url": "/teams",
		"trees_url": "/git/trees{/sha}",
	} {
		o[key] = u + rest
	}
	return o
}

// repoJSON is a repository in lists, pull requests and webhooks.
func (s *Server) repoJSON(r *repository) obj {
	if r == nil {
		return nil
	}
	visibility := "public"
	if r.Private {
		visibility = "private"
	}
	open := 0
	for _, i := range r.Issues {
		if i.State == stateOpen {
			open++
		}
	}
	o := s.minimalRepoJSON(r)
	for key, v := range (obj{
		"clone_url": s.web("/%s.git", r.full()), "git_url": "git:" + strings.TrimPrefix(s.web("/%s.git", r.full()), "http:"),
		"ssh_url": "git@" + strings.TrimPrefix(s.origin, "http://") + ":" + r.full() + ".git", "svn_url": s.web("/%s", r.full()),
		"mirror_url": nil, "homepage": nil, "language": nil, "default_branch": r.DefaultBranch, "forks": 0, "forks_count": 0,
		"stargazers_count": 0, "watchers": 0, "watchers_count": 0, "size": len(r.Objects), "open_issues": open, "open_issues_count": open,
		"has_issues": true, "has_projects": true, "has_wiki": true, "has_pages": false, "has_downloads": true,
		"archived": r.Archived, "disabled": false, "visibility": visibility, "license": nil, "topics": []string{}, "is_template": false,
		"web_commit_signoff_required": false,
		"created_at":                  stamp(r.CreatedAt), "updated_at": stamp(r.UpdatedAt), "pushed_at": stamp(r.PushedAt),
	}) {
		o[key] = v
	}
	return o
}

// fullRepoJSON is a repository asked for by itself.
func (s *Server) fullRepoJSON(r *repository) obj {
	o := s.repoJSON(r)
	o["network_count"], o["subscribers_count"], o["has_discussions"], o["allow_forking"] = 0, 0, false, true
	if r.Parent != nil {
		o["parent"], o["source"] = s.repoJSON(r.Parent), s.repoJSON(r.Parent)
	}
	return o
}

func (s *Server) appJSON() obj {
	owner := s.account("stand-in", "Organization")
	return obj{
		"id": s.opts.AppID, "slug": s.opts.AppSlug, "node_id": nodeID("A", s.opts.AppID), "owner": s.userJSON(owner), "name": s.opts.AppSlug,
		"description": nil, "external_url": s.web("/"), "html_url": s.web("/apps/%s", s.opts.AppSlug),
		"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "permissions": s.appPermissions(), "events": s.appEvents(),
		"installations_count": len(s.installations),
	}
}

// appPermissions are all that some installation has.
func (s *Server) appPermissions() map[string]string {
	all := DefaultPermissions()
	for _, i := range s.installations {
		for name, access := range i.Permissions {
			if !enough(all[name], access) {
				all[name] = access
			}
		}
	}
	return all
}

func (s *Server) appEvents() []string {
	all := DefaultEvents()
	for _, i := range s.installations {
		for _, e := range i.Events {
			if !slices.Contains(all, e) {
				all = append(all, e)
			}
		}
	}
	slices.Sort(all)
	return all
}

func (s *Server) installationJSON(i *installation) obj {
	selection := "selected"
	if i.All {
		selection = "all"
	}
	o := obj{
		"id": i.ID, "account": s.userJSON(i.Account), "repository_selection": selection,
		"access_tokens_url": s.link("/app/installations/%d/access_tokens", i.ID), "repositories_url": s.link("/installation/repositories"),
		"html_url": s.web("/settings/installations/%d", i.ID), "app_id": s.opts.AppID, "app_slug": s.opts.AppSlug, "target_id": i.Account.ID,
		"target_type": i.Account.Kind, "permissions": i.Permissions, "events": i.Events, "created_at": stamp(i.CreatedAt),
		"updated_at": stamp(i.CreatedAt), "single_file_name": nil, "suspended_by": nil, "suspended_at": stamp(i.SuspendedAt),
		"has_multiple_single_files": false, "single_file_paths": []string{},
	}
	if !i.SuspendedAt.IsZero() {
		o["suspended_by"] = s.userJSON(i.Account)
	}
	return o
}

func (s *Server) labelJSON(r *repository) func(*label) obj {
	return func(l *label) obj {
		return obj{
			"id": l.ID, "node_id": nodeID("LA", l.ID), "url": s.link("/repos/%s/labels/%s", r.full(), escapePath(l.Name)), "name": l.Name,
			"description": orNull(l.Description), "color": l.Color, "default": false,
		}
	}
}

package standin

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	stateOpen   = "open"
	stateClosed = "closed"

	maxText   = 65536 // characters of a body
	maxTitle  = 256
	maxLabels = 100 // of an issue
)

type issue struct {
	ID        int64
	Number    int
	Title     string
	Body      string
	State     string
	Reason    string // why it was closed
	Author    *account
	Labels    []*label
	Comments  []*comment
	CreatedAt time.Time
	UpdatedAt time.Time
	ClosedAt  time.Time
	ClosedBy  *account
	Pull      *pull // of a pull request
}

type comment struct {
	ID        int64
	Body      string
	Author    *account
	CreatedAt time.Time
	UpdatedAt time.Time
}

func (r *repository) association(a *account) string {
	switch role := r.People[strings.ToLower(a.Login)]; {
	case a == r.Owner:
		return "OWNER"
	case role == "admin" || role == "write" || role == "maintain":
		return "COLLABORATOR"
	case a.Kind == "Bot":
		return "CONTRIBUTOR"
	}
	return "NONE"
}

func reactions(u string) obj {
	o := obj{"url": u + "/reactions", "total_count": 0}
	for _, k := range []string{"+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes"} {
		o[k] = 0
	}
	return o
}

func (s *Server) issueJSON(r *repository, i *issue) obj {
	repo := s.link("/repos/%s", r.full())
	u := repo + "/issues/" + strconv.Itoa(i.Number)
	kind := "issues"
	if i.Pull != nil {
		kind = "pull"
	}
	o := obj{
		"id": i.ID, "node_id": nodeID("I", i.ID), "number": i.Number, "title": i.Title, "body": orNull(i.Body), "state": i.State,
		"url": u, "repository_url": repo, "labels_url": u + "/labels{/name}", "comments_url": u + "/comments", "events_url": u + "/events",
		"html_url": s.web("/%s/%s/%d", r.full(), kind, i.Number), "user": s.userJSON(i.Author), "labels": rendered(i.Labels, s.labelJSON(r)),
		"locked": false, "active_lock_reason": nil, "assignee": nil, "assignees": []obj{}, "milestone": nil, "comments": len(i.Comments),
		"created_at": stamp(i.CreatedAt), "updated_at": stamp(i.UpdatedAt), "closed_at": stamp(i.ClosedAt),
		"author_association": r.association(i.Author), "reactions": reactions(u), "performed_via_github_app": nil,
	}
	if i.Pull != nil {
		web := s.web("/%s/pull/%d", r.full(), i.Number)
		o["draft"] = i.Pull.Draft
		o["pull_request"] = obj{
			"url": repo + "/pulls/" + strconv.Itoa(i.Number), "html_url": web, "diff_url": web + ".diff", "patch_url": web + ".patch", "merged_at": stamp(i.Pull.MergedAt),
		}
	}
	return o
}

func (s *Server) fullIssueJSON(r *repository, i *issue) obj {
	o := s.issueJSON(r, i)
	o["closed_by"], o["state_reason"] = s.userOrNull(i.ClosedBy), orNull(i.Reason)
	return o
}

func (s *Server) commentJSON(r *repository, i *issue, m *comment) obj {
	u := s.link("/repos/%s/issues/comments/%d", r.full(), m.ID)
	kind := "issues"
	if i.Pull != nil {
		kind = "pull"
	}
	return obj{
		"id": m.ID, "node_id": nodeID("IC", m.ID), "url": u, "html_url": s.web("/%s/%s/%d#issuecomment-%d", r.full(), kind, i.Number, m.ID),
		"issue_url": s.link("/repos/%s/issues/%d", r.full(), i.Number), "body": m.Body, "user": s.userJSON(m.Author),
		"created_at": stamp(m.CreatedAt), "updated_at": stamp(m.UpdatedAt), "author_association": r.association(m.Author),
		"reactions": reactions(u), "performed_via_github_app": nil,
	}
}

// issue finds the issue or pull request of a request.
func (c *call) issue() *issue { return c.repo.Issues[int(c.int("number"))] }

// comment finds the comment of a request and its issue.
func (c *call) comment() (*issue, *comment) {
	for _, i := range c.repo.Issues {
		for _, m := range i.Comments {
			if m.ID == c.int("id") {
				return i, m
			}
		}
	}
	return nil, nil
}

// forbidden holds a token to the permission of what a number stands for: a pull
// request also takes pull_requests.
func (c *call) forbidden(i *issue, access string) (answer, bool) {
	if c.token.allows("issues:"+access) || i.Pull != nil && c.token.allows("pull_requests:"+access) {
		return answer{}, false
	}
	return refuse(http.StatusForbidden, "Resource not accessible by integration"), true
}

func tooLong(resource, field, text string, most int) (answer, bool) {
	if utf8.RuneCountInString(text) > most {
		return invalid(resource, field, "custom", field+" is too long (maximum is "+strconv.Itoa(most)+" characters)"), true
	}
	return answer{}, false
}

func listIssues(c *call) answer {
	q := c.r.URL.Query()
	state := cmp.Or(q.Get("state"), stateOpen)
	var labels []string
	if q.Get("labels") != "" {
		labels = strings.Split(q.Get("labels"), ",")
	}
	var since time.Time
	if text := q.Get("since"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, text); err != nil {
			return refuse(http.StatusUnprocessableEntity, "Validation Failed")
		}
	}
	var in []*issue
	for _, i := range c.repo.Issues {
		switch {
		case state != "all" && i.State != state:
		case q.Get("creator") != "" && !strings.EqualFold(q.Get("creator"), i.Author.Login):
		case i.UpdatedAt.Before(since):
		case slices.ContainsFunc(labels, func(l string) bool { return !i.labelled(l) }):
		default:
			in = append(in, i)
		}
	}
	slices.SortFunc(in, func(a, b *issue) int { return cmp.Compare(b.Number, a.Number) })
	if q.Get("direction") == "asc" {
		slices.Reverse(in)
	}
	return list(c, in, func(i *issue) obj { return c.s.issueJSON(c.repo, i) })
}

func (i *issue) labelled(name string) bool {
	return slices.ContainsFunc(i.Labels, func(l *label) bool { return strings.EqualFold(l.Name, name) })
}

func getIssue(c *call) answer {
	i := c.issue()
	if i == nil {
		return notFound()
	}
	if a, no := c.forbidden(i, "read"); no {
		return a
	}
	return ok(c.s.fullIssueJSON(c.repo, i))
}

// labelNames reads labels as GitHub takes them: names or objects.
func labelNames(in []any) []string {
	var names []string
	for _, v := range in {
		switch v := v.(type) {
		case string:
			names = append(names, v)
		case map[string]any:
			if name, ok := v["name"].(string); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

// label adds labels to an issue; those that the repository doesn't know are made.
// It returns the new ones of the issue.
func (s *Server) label(r *repository, i *issue, names []string) []*label {
	var added []*label
	for _, name := range names {
		at := slices.IndexFunc(r.Labels, func(l *label) bool { return strings.EqualFold(l.Name, name) })
		if at < 0 {
			r.Labels = append(r.Labels, &label{ID: s.id(), Name: name, Color: "ededed"})
			at = len(r.Labels) - 1
		}
		if !i.labelled(name) && len(i.Labels) < maxLabels {
			i.Labels = append(i.Labels, r.Labels[at])
			added = append(added, r.Labels[at])
		}
	}
	return added
}

func createIssue(c *call) answer {
	var in struct {
		Title  string
		Body   string
		Labels []any
	}
	if a, bad := c.decode(&in); bad {
		return a
	}
	if strings.TrimSpace(in.Title) == "" {
		return invalid("Issue", "title", "missing_field", "")
	}
	if a, long := tooLong("Issue", "title", in.Title, maxTitle); long {
		return a
	}
	if a, long := tooLong("Issue", "body", in.Body, maxText); long {
		return a
	}
	i := c.s.addIssue(c.repo, in.Title, in.Body, c.actor())
	c.s.label(c.repo, i, labelNames(in.Labels))
	c.s.emitIssue(c.repo, i, "opened", c.actor())
	return created(c.s.fullIssueJSON(c.repo, i))
}

func (s *Server) addIssue(r *repository, title, body string, by *account) *issue {
	r.LastNumber++
	now := s.now()
	i := &issue{ID: s.id(), Number: r.LastNumber, Title: title, Body: body, State: stateOpen, Author: by, CreatedAt: now, UpdatedAt: now}
	r.Issues[i.Number] = i
	return i
}

func updateIssue(c *call) answer {
	i := c.issue()
	if i == nil {
		return notFound()
	}
	if a, no := c.forbidden(i, "write"); no {
		return a
	}
	var in struct {
		Title, Body, State *string
		StateReason        string `json:"state_reason"`
		Labels             []any
	}
	if a, bad := c.decode(&in); bad {
		return a
	}
	if in.State != nil && *in.State != stateOpen && *in.State != stateClosed {
		return invalid("Issue", "state", "invalid", "")
	}
	if in.Title != nil {
		i.Title = *in.Title
	}
	if in.Body != nil {
		i.Body = *in.Body
	}
	if in.Labels != nil {
		i.Labels = nil
		c.s.label(c.repo, i, labelNames(in.Labels))
	}
	i.UpdatedAt = c.s.now()
	if in.State != nil {
		if i.Pull != nil {
			c.s.setPullState(c.repo, i.Pull, *in.State, c.actor())
		} else {
			c.s.setIssueState(c.repo, i, *in.State, in.StateReason, c.actor())
		}
	}
	return ok(c.s.fullIssueJSON(c.repo, i))
}

func (s *Server) setIssueState(r *repository, i *issue, state, reason string, by *account) {
	if i.State == state {
		return
	}
	i.State, i.UpdatedAt = state, s.now()
	if state == stateClosed {
		i.ClosedAt, i.ClosedBy, i.Reason = s.now(), by, cmp.Or(reason, "completed")
		s.emitIssue(r, i, "closed", by)
		return
	}
	i.ClosedAt, i.ClosedBy, i.Reason = time.Time{}, nil, "reopened"
	s.emitIssue(r, i, "reopened", by)
}

func listComments(c *call) answer {
	i := c.issue()
	if i == nil {
		return notFound()
	}
	if a, no := c.forbidden(i, "read"); no {
		return a
	}
	return list(c, i.Comments, func(m *comment) obj { return c.s.commentJSON(c.repo, i, m) })
}

// readBody reads a comment's text.
func (c *call) readBody() (string, answer, bool) {
	var in struct{ Body string }
	if a, bad := c.decode(&in); bad {
		return "", a, true
	}
	if strings.TrimSpace(in.Body) == "" {
		return "", invalid("IssueComment", "body", "custom", "body cannot be blank"), true
	}
	a, long := tooLong("IssueComment", "body", in.Body, maxText)
	return in.Body, a, long
}

func createComment(c *call) answer {
	i := c.issue()
	if i == nil {
		return notFound()
	}
	if a, no := c.forbidden(i, "write"); no {
		return a
	}
	body, a, bad := c.readBody()
	if bad {
		return a
	}
	return created(c.s.commentJSON(c.repo, i, c.s.addComment(c.repo, i, body, c.actor())))
}

func (s *Server) addComment(r *repository, i *issue, body string, by *account) *comment {
	now := s.now()
	m := &comment{ID: s.id(), Body: body, Author: by, CreatedAt: now, UpdatedAt: now}
	i.Comments = append(i.Comments, m)
	i.UpdatedAt = now
	s.emitComment(r, i, m, "created", by)
	return m
}

func getComment(c *call) answer {
	i, m := c.comment()
	if m == nil {
		return notFound()
	}
	if a, no := c.forbidden(i, "read"); no {
		return a
	}
	return ok(c.s.commentJSON(c.repo, i, m))
}

func updateComment(c *call) answer {
	i, m := c.comment()
	if m == nil {
		return notFound()
	}
	if a, no := c.forbidden(i, "write"); no {
		return a
	}
	body, a, bad := c.readBody()
	if bad {
		return a
	}
	m.Body, m.UpdatedAt = body, c.s.now()
	c.s.emitComment(c.repo, i, m, "edited", c.actor())
	return ok(c.s.commentJSON(c.repo, i, m))
}

func deleteComment(c *call) answer {
	i, m := c.comment()
	if m == nil {
		return notFound()
	}
	if a, no := c.forbidden(i, "write"); no {
		return a
	}
	i.Comments = slices.DeleteFunc(i.Comments, func(o *comment) bool { return o == m })
	c.s.emitComment(c.repo, i, m, "deleted", c.actor())
	return noContent()
}

func listRepoLabels(c *call) answer { return list(c, c.repo.Labels, c.s.labelJSON(c.repo)) }

func (r *repository) label(name string) *label {
	for _, l := range r.Labels {
		if strings.EqualFold(l.Name, name) {
			return l
		}
	}
	return nil
}

func getLabel(c *call) answer {
	l := c.repo.label(c.r.PathValue("name"))
	if l == nil {
		return notFound()
	}
	return ok(c.s.labelJSON(c.repo)(l))
}

func createLabel(c *call) answer {
	var in struct{ Name, Color, Description string }
	if a, bad := c.decode(&in); bad {
		return a
	}
	switch {
	case in.Name == "":
		return invalid("Label", "name", "missing_field", "")
	case c.repo.label(in.Name) != nil:
		return invalid("Label", "name", "already_exists", "")
	}
	l := &label{c.s.id(), in.Name, cmp.Or(strings.TrimPrefix(in.Color, "#"), "ededed"), in.Description}
	c.repo.Labels = append(c.repo.Labels, l)
	return created(c.s.labelJSON(c.repo)(l))
}

func listIssueLabels(c *call) answer {
	i := c.issue()
	if i == nil {
		return notFound()
	}
	if a, no := c.forbidden(i, "read"); no {
		return a
	}
	return list(c, i.Labels, c.s.labelJSON(c.repo))
}

func addLabels(c *call) answer {
	i := c.issue()
	if i == nil {
		return notFound()
	}
	if a, no := c.forbidden(i, "write"); no {
		return a
	}
	// GitHub takes {"labels": […]} and the bare list.
	var in struct{ Labels []any }
	if trimmed := strings.TrimSpace(string(c.body)); strings.HasPrefix(trimmed, "[") {
		if a, bad := c.decode(&in.Labels); bad {
			return a
		}
	} else if a, bad := c.decode(&in); bad {
		return a
	}
	i.UpdatedAt = c.s.now()
	for _, l := range c.s.label(c.repo, i, labelNames(in.Labels)) {
		c.s.emitLabelled(c.repo, i, l, c.actor())
	}
	return ok(rendered(i.Labels, c.s.labelJSON(c.repo)))
}

func removeLabel(c *call) answer {
	i := c.issue()
	if i == nil {
		return notFound()
	}
	if a, no := c.forbidden(i, "write"); no {
		return a
	}
	name := c.r.PathValue("name")
	if !i.labelled(name) {
		return refuse(http.StatusNotFound, "Label does not exist")
	}
	i.Labels = slices.DeleteFunc(i.Labels, func(l *label) bool { return strings.EqualFold(l.Name, name) })
	return ok(rendered(i.Labels, c.s.labelJSON(c.repo)))
}

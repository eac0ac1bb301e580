package github

import (
	"context"
	"strings"
	"time"

	gh "github.com/google/go-github/v62/github"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// maxText is how many characters GitHub takes in a comment or an issue.
const maxText = 65536

// maxCommentPages bounds the search for the bot's own comment.
const maxCommentPages = 30

// Comment is a comment on an issue or a pull request.
type Comment struct {
	ID        int64
	Body      string
	Author    string // login
	HTMLURL   string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Issue is an issue that is no pull request.
type Issue struct {
	Number  int
	State   string // open or closed
	Title   string
	Body    string
	Author  string // login
	HTMLURL string
}

// Comments returns the comments on an issue or pull request that changed since
// then (the zero time is all), oldest first, at most 3,000. The error is
// Unsupported above that.
func (c *Client) Comments(ctx context.Context, repo domain.Repo, number int, since time.Time) ([]Comment, error) {
	k := on("list the comments", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return nil, err
	}
	return c.comments(ctx, k, repo, number, since)
}

func (c *Client) comments(ctx context.Context, k call, repo domain.Repo, number int, since time.Time) ([]Comment, error) {
	all, more, err := pages(ctx, c, k, maxCommentPages, func(ctx context.Context, api *gh.Client, o gh.ListOptions) ([]*gh.IssueComment, *gh.Response, error) {
		opts := &gh.IssueListCommentsOptions{ListOptions: o}
		if !since.IsZero() {
			opts.Since = &since
		}
		return api.Issues.ListComments(ctx, repo.Owner(), repo.Name(), number, opts)
	})
	if err != nil {
		return nil, err
	}
	if more {
		return nil, domain.Errorf(domain.Unsupported, k.op, "there are more than %d comments: %w", maxCommentPages*perPage, domain.ErrTooLarge)
	}
	comments := make([]Comment, 0, len(all))
	for _, one := range all {
		comments = append(comments, toComment(one))
	}
	return comments, nil
}

// UpsertComment makes an issue or pull request carry exactly one comment of the
// bot's with a hidden marker (an HTML comment): it updates the one that has the
// marker and was written by this App's bot, when its text differs, and creates it
// where there is none. A stranger's comment that quotes the marker is not ours.
// It reports whether it wrote anything.
func (c *Client) UpsertComment(ctx context.Context, repo domain.Repo, number int, marker, body string) (comment Comment, wrote bool, err error) {
	k := on("write the comment", repo, scopeComments)
	if err := checkRepo(k.op, repo); err != nil {
		return Comment{}, false, err
	}
	if body, err = markedText(k.op, marker, body); err != nil {
		return Comment{}, false, err
	}
	bot, err := c.bot(ctx)
	if err != nil {
		return Comment{}, false, err
	}
	all, err := c.comments(ctx, k, repo, number, time.Time{})
	if err != nil {
		return Comment{}, false, err
	}
	for _, one := range all {
		if !strings.EqualFold(one.Author, bot) || !strings.Contains(one.Body, marker) {
			continue
		}
		if sameText(one.Body, body) {
			return one, false, nil
		}
		edited, err := write(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.IssueComment, error) {
			e, _, err := api.Issues.EditComment(ctx, repo.Owner(), repo.Name(), one.ID, &gh.IssueComment{Body: &body})
			return e, err
		})
		if err != nil {
			return Comment{}, false, err
		}
		return toComment(edited), true, nil
	}
	made, err := write(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.IssueComment, error) {
		m, _, err := api.Issues.CreateComment(ctx, repo.Owner(), repo.Name(), number, &gh.IssueComment{Body: &body})
		return m, err
	})
	if err != nil {
		return Comment{}, false, err
	}
	if made.GetID() == 0 {
		return Comment{}, false, incomplete(k.op)
	}
	return toComment(made), true, nil
}

// FindIssue returns the bot's own issue that holds a hidden marker, open or
// closed, among its latest 1,000.
func (c *Client) FindIssue(ctx context.Context, repo domain.Repo, marker string) (Issue, bool, error) {
	k := on("find the issue", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return Issue{}, false, err
	}
	bot, err := c.bot(ctx)
	if err != nil {
		return Issue{}, false, err
	}
	all, _, err := pages(ctx, c, k, maxPages, func(ctx context.Context, api *gh.Client, o gh.ListOptions) ([]*gh.Issue, *gh.Response, error) {
		return api.Issues.ListByRepo(ctx, repo.Owner(), repo.Name(), &gh.IssueListByRepoOptions{State: "all", Creator: bot, ListOptions: o})
	})
	if err != nil {
		return Issue{}, false, err
	}
	for _, one := range all {
		i := toIssue(one)
		if !one.IsPullRequest() && strings.EqualFold(i.Author, bot) && marker != "" && strings.Contains(i.Body, marker) {
			return i, true, nil
		}
	}
	return Issue{}, false, nil
}

// OpenIssue opens an issue. It doesn't look whether there is one: FindIssue does.
func (c *Client) OpenIssue(ctx context.Context, repo domain.Repo, title, body string, labels []string) (Issue, error) {
	k := on("open the issue", repo, scopeIssues)
	if err := checkRepo(k.op, repo); err != nil {
		return Issue{}, err
	}
	if len([]rune(body)) > maxText {
		return Issue{}, domain.Errorf(domain.Invalid, k.op, "the text is longer than %d characters: %w", maxText, domain.ErrTooLarge)
	}
	made, err := write(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.Issue, error) {
		r := &gh.IssueRequest{Title: &title, Body: &body}
		if len(labels) > 0 {
			r.Labels = &labels
		}
		i, _, err := api.Issues.Create(ctx, repo.Owner(), repo.Name(), r)
		return i, err
	})
	if err != nil {
		return Issue{}, err
	}
	if made.GetNumber() == 0 {
		return Issue{}, incomplete(k.op)
	}
	return toIssue(made), nil
}

// markedText is body with its marker.
func markedText(op, marker, body string) (string, error) {
	if !strings.HasPrefix(marker, "<!--") || !strings.HasSuffix(marker, "-->") || strings.Contains(marker, "\n") {
		return "", domain.Errorf(domain.Invalid, op, "the marker %q is no HTML comment", marker)
	}
	if !strings.Contains(body, marker) {
		body = marker + "\n" + body
	}
	if len([]rune(body)) > maxText {
		return "", domain.Errorf(domain.Invalid, op, "the text is longer than %d characters: %w", maxText, domain.ErrTooLarge)
	}
	return body, nil
}

// sameText ignores what GitHub may change in a text that it stores.
func sameText(a, b string) bool {
	norm := func(s string) string { return strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n")) }
	return norm(a) == norm(b)
}

func toComment(c *gh.IssueComment) Comment {
	return Comment{
		ID: c.GetID(), Body: c.GetBody(), Author: c.GetUser().GetLogin(), HTMLURL: c.GetHTMLURL(),
		CreatedAt: c.GetCreatedAt().Time, UpdatedAt: c.GetUpdatedAt().Time,
	}
}

func toIssue(i *gh.Issue) Issue {
	return Issue{Number: i.GetNumber(), State: i.GetState(), Title: i.GetTitle(), Body: i.GetBody(), Author: i.GetUser().GetLogin(), HTMLURL: i.GetHTMLURL()}
}

package github

import (
	"context"
	"strings"

	gh "github.com/google/go-github/v62/github"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// maxText is how many characters GitHub takes in a comment or an issue.
const maxText = 65536

// maxCommentPages bounds the search for the bot's own comment.
const maxCommentPages = 30

// comments returns all comments on an issue or pull request, oldest first. The
// error is Unsupported above 3,000: one that is not listed can't be told from one
// that is not there.
func (c *Client) comments(ctx context.Context, k call, repo domain.Repo, number int) ([]*gh.IssueComment, error) {
	all, more, err := pages(ctx, c, k, maxCommentPages, func(ctx context.Context, api *gh.Client, o gh.ListOptions) ([]*gh.IssueComment, *gh.Response, error) {
		return api.Issues.ListComments(ctx, repo.Owner(), repo.Name(), number, &gh.IssueListCommentsOptions{ListOptions: o})
	})
	if err != nil {
		return nil, err
	}
	if more {
		return nil, domain.Errorf(domain.Unsupported, k.op, "there are more than %d comments: %w", maxCommentPages*perPage, domain.ErrTooLarge)
	}
	return all, nil
}

// UpsertComment makes an issue or pull request carry exactly one comment of the
// bot's with a hidden marker (an HTML comment): it updates the one that has the
// marker and was written by this App's bot, when its text differs, and creates it
// where there is none. A stranger's comment that quotes the marker is not ours.
// It returns the comment's URL.
func (c *Client) UpsertComment(ctx context.Context, repo domain.Repo, number int, marker, body string) (htmlURL string, err error) {
	k := on("write the comment", repo, scopeComments)
	if err := checkRepo(k.op, repo); err != nil {
		return "", err
	}
	if body, err = markedText(k.op, marker, body); err != nil {
		return "", err
	}
	bot, err := c.bot(ctx)
	if err != nil {
		return "", err
	}
	all, err := c.comments(ctx, k, repo, number)
	if err != nil {
		return "", err
	}
	for _, one := range all {
		if !strings.EqualFold(one.GetUser().GetLogin(), bot) || !strings.Contains(one.GetBody(), marker) {
			continue
		}
		if sameText(one.GetBody(), body) {
			return one.GetHTMLURL(), nil
		}
		edited, err := write(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.IssueComment, error) {
			e, _, err := api.Issues.EditComment(ctx, repo.Owner(), repo.Name(), one.GetID(), &gh.IssueComment{Body: &body})
			return e, err
		})
		if err != nil {
			return "", err
		}
		return edited.GetHTMLURL(), nil
	}
	made, err := write(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.IssueComment, error) {
		m, _, err := api.Issues.CreateComment(ctx, repo.Owner(), repo.Name(), number, &gh.IssueComment{Body: &body})
		return m, err
	})
	if err != nil {
		return "", err
	}
	if made.GetID() == 0 {
		return "", incomplete(k.op)
	}
	return made.GetHTMLURL(), nil
}

// FindIssue returns the URL of the bot's own issue that holds a hidden marker,
// open or closed, among its latest 1,000.
func (c *Client) FindIssue(ctx context.Context, repo domain.Repo, marker string) (htmlURL string, found bool, err error) {
	k := on("find the issue", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return "", false, err
	}
	bot, err := c.bot(ctx)
	if err != nil {
		return "", false, err
	}
	all, _, err := pages(ctx, c, k, maxPages, func(ctx context.Context, api *gh.Client, o gh.ListOptions) ([]*gh.Issue, *gh.Response, error) {
		return api.Issues.ListByRepo(ctx, repo.Owner(), repo.Name(), &gh.IssueListByRepoOptions{State: "all", Creator: bot, ListOptions: o})
	})
	if err != nil {
		return "", false, err
	}
	for _, one := range all {
		if !one.IsPullRequest() && strings.EqualFold(one.GetUser().GetLogin(), bot) && marker != "" && strings.Contains(one.GetBody(), marker) {
			return one.GetHTMLURL(), true, nil
		}
	}
	return "", false, nil
}

// OpenIssue opens an issue and returns its URL. It does not look whether there is
// one: FindIssue does.
func (c *Client) OpenIssue(ctx context.Context, repo domain.Repo, title, body string, labels []string) (htmlURL string, err error) {
	k := on("open the issue", repo, scopeIssues)
	if err := checkRepo(k.op, repo); err != nil {
		return "", err
	}
	if len([]rune(body)) > maxText {
		return "", domain.Errorf(domain.Invalid, k.op, "the text is longer than %d characters: %w", maxText, domain.ErrTooLarge)
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
		return "", err
	}
	if made.GetNumber() == 0 {
		return "", incomplete(k.op)
	}
	return made.GetHTMLURL(), nil
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

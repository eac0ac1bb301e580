package github

import (
	"context"
	"net/http"
	"slices"
	"strings"

	gh "github.com/google/go-github/v62/github"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Pull returns a pull request by its number.
func (c *Client) Pull(ctx context.Context, repo domain.Repo, number int) (domain.Pull, error) {
	k := on("read the pull request", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return domain.Pull{}, err
	}
	p, err := read(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.PullRequest, error) {
		p, _, err := api.PullRequests.Get(ctx, repo.Owner(), repo.Name(), number)
		return p, err
	})
	if err != nil {
		return domain.Pull{}, err
	}
	if p.GetNumber() != number || p.GetHead().GetSHA() == "" {
		return domain.Pull{}, incomplete(k.op)
	}
	return toPull(p), nil
}

// PullByHead returns the pull request from one of the repository's own branches,
// whatever its state; the open one, or else the latest, where there are several.
// A fork's branch of the same name doesn't count.
func (c *Client) PullByHead(ctx context.Context, repo domain.Repo, branch string) (domain.Pull, bool, error) {
	k := on("find the branch's pull request", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return domain.Pull{}, false, err
	}
	if err := checkBranch(k.op, branch); err != nil {
		return domain.Pull{}, false, err
	}
	all, _, err := pages(ctx, c, k, maxPages, func(ctx context.Context, api *gh.Client, o gh.ListOptions) ([]*gh.PullRequest, *gh.Response, error) {
		return api.PullRequests.List(ctx, repo.Owner(), repo.Name(), &gh.PullRequestListOptions{
			State: "all", Head: repo.Owner() + ":" + branch, ListOptions: o,
		})
	})
	if err != nil {
		return domain.Pull{}, false, err
	}
	var best domain.Pull
	for _, p := range all {
		pull := toPull(p)
		if pull.HeadBranch != branch || pull.HeadRepoID != repo.ID || pull.Number == 0 {
			continue
		}
		open, bestOpen := pull.State == "open", best.State == "open"
		if best.Number == 0 || open && !bestOpen || open == bestOpen && pull.Number > best.Number {
			best = pull
		}
	}
	return best, best.Number != 0, nil
}

// OpenPull opens a pull request between two branches of the repository. The error
// wraps ErrExists when there is one from that head to that base, and is
// Unsupported when the repository's plan has no drafts.
func (c *Client) OpenPull(ctx context.Context, repo domain.Repo, n domain.NewPull) (domain.Pull, error) {
	k := on("open the pull request", repo, scopePulls)
	if err := checkRepo(k.op, repo); err != nil {
		return domain.Pull{}, err
	}
	for _, b := range []string{n.Head, n.Base} {
		if err := checkBranch(k.op, b); err != nil {
			return domain.Pull{}, err
		}
	}
	p, err := write(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.PullRequest, error) {
		p, _, err := api.PullRequests.Create(ctx, repo.Owner(), repo.Name(), &gh.NewPullRequest{
			Title: &n.Title, Body: &n.Body, Head: &n.Head, Base: &n.Base, Draft: &n.Draft,
		})
		return p, err
	})
	if err != nil {
		return domain.Pull{}, err
	}
	if p.GetNumber() == 0 {
		return domain.Pull{}, incomplete(k.op)
	}
	return toPull(p), nil
}

// ClosePull closes a pull request without merging it; a closed one stays closed.
func (c *Client) ClosePull(ctx context.Context, repo domain.Repo, number int) error {
	k := on("close the pull request", repo, scopePulls)
	if err := checkRepo(k.op, repo); err != nil {
		return err
	}
	_, err := write(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.PullRequest, error) {
		p, _, err := api.PullRequests.Edit(ctx, repo.Owner(), repo.Name(), number, &gh.PullRequest{State: gh.String("closed")})
		return p, err
	})
	return err
}

// MarkReady turns a draft into a pull request that is ready for review. REST can't
// do it, so it takes the pull request's node id.
func (c *Client) MarkReady(ctx context.Context, repo domain.Repo, nodeID string) error {
	k := on("mark the pull request as ready", repo, scopeReady)
	k.graphql = true
	if err := checkRepo(k.op, repo); err != nil {
		return err
	}
	if nodeID == "" {
		return domain.Errorf(domain.Invalid, k.op, "the pull request's node id is missing")
	}
	_, err := write(ctx, c, k, func(ctx context.Context, api *gh.Client) (struct{}, error) {
		req, err := api.NewRequest(http.MethodPost, c.graphql.String(), map[string]any{
			"query":     `mutation($id: ID!) { markPullRequestReadyForReview(input: {pullRequestId: $id}) { pullRequest { isDraft } } }`,
			"variables": map[string]string{"id": nodeID},
		})
		if err != nil {
			return struct{}{}, err
		}
		var a readyAnswer
		if _, err := api.Do(ctx, req, &a); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, a.check(c, k)
	})
	return err
}

type readyAnswer struct {
	Data struct {
		Mark *struct {
			Pull struct {
				IsDraft *bool `json:"isDraft"`
			} `json:"pullRequest"`
		} `json:"markPullRequestReadyForReview"`
	} `json:"data"`
	Errors []struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"errors"`
}

// check types GraphQL's errors, which come with status 200.
func (a readyAnswer) check(c *Client, k call) error {
	if len(a.Errors) > 0 {
		e := a.Errors[0]
		switch strings.ToUpper(e.Type) {
		case "FORBIDDEN", "INSUFFICIENT_SCOPES":
			return domain.Errorf(domain.Denied, k.op, "GitHub refused (%s); needed: %s", clean(e.Message), k.scope)
		case "NOT_FOUND":
			return domain.Errorf(domain.Invalid, k.op, "%s: %w", clean(e.Message), domain.ErrNotFound)
		case "RATE_LIMITED":
			err := domain.Errorf(domain.RateLimited, k.op, "GitHub's GraphQL rate limit is reached")
			err.RetryAt = c.cfg.Now().Add(secondaryPause)
			return err
		case "INTERNAL", "SERVICE_UNAVAILABLE":
			return domain.Errorf(domain.Transient, k.op, "GitHub failed: %s", clean(e.Message))
		}
		return domain.Errorf(domain.Invalid, k.op, "GitHub refused: %s", clean(e.Message))
	}
	if a.Data.Mark == nil || a.Data.Mark.Pull.IsDraft == nil {
		return incomplete(k.op)
	}
	if *a.Data.Mark.Pull.IsDraft {
		return domain.Errorf(domain.Transient, k.op, "the pull request is still a draft")
	}
	return nil
}

// AddLabels adds labels to a pull request or an issue; those that the repository
// doesn't know are created by GitHub, those that are there stay.
func (c *Client) AddLabels(ctx context.Context, repo domain.Repo, number int, labels []string) error {
	k := on("add the labels", repo, scopeComments)
	if err := checkRepo(k.op, repo); err != nil {
		return err
	}
	if len(labels) == 0 {
		return nil
	}
	_, err := write(ctx, c, k, func(ctx context.Context, api *gh.Client) (struct{}, error) {
		_, _, err := api.Issues.AddLabelsToIssue(ctx, repo.Owner(), repo.Name(), number, slices.Clone(labels))
		return struct{}{}, err
	})
	return err
}

func toPull(p *gh.PullRequest) domain.Pull {
	return domain.Pull{
		Number:     p.GetNumber(),
		NodeID:     p.GetNodeID(),
		State:      p.GetState(),
		Merged:     p.GetMerged() || p.MergedAt != nil, // lists carry the date only
		Draft:      p.GetDraft(),
		HeadSHA:    p.GetHead().GetSHA(),
		HeadBranch: p.GetHead().GetRef(),
		HeadRepoID: p.GetHead().GetRepo().GetID(), // 0 when a fork was deleted
		BaseBranch: p.GetBase().GetRef(),
		MergeSHA:   p.GetMergeCommitSHA(),
		HTMLURL:    p.GetHTMLURL(),
		Body:       p.GetBody(),
		Author:     p.GetUser().GetLogin(),
	}
}

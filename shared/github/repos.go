package github

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"

	gh "github.com/google/go-github/v62/github"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Repo returns the repository with a numeric id under its current name. The error
// wraps ErrNotFound when it was deleted or the installation lost it.
func (c *Client) Repo(ctx context.Context, installationID, repoID int64) (domain.Repo, error) {
	k := call{op: "find the repository", installation: installationID, repo: repoID, scope: scopeRead}
	r, err := read(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.Repository, error) {
		r, _, err := api.Repositories.GetByID(ctx, repoID)
		return r, err
	})
	if err != nil {
		return domain.Repo{}, err
	}
	repo := domain.Repo{
		InstallationID: installationID,
		ID:             r.GetID(),
		FullName:       r.GetFullName(),
		DefaultBranch:  r.GetDefaultBranch(),
		HTMLURL:        r.GetHTMLURL(),
		Archived:       r.GetArchived() || r.GetDisabled(),
	}
	if repo.ID != repoID || repo.DefaultBranch == "" {
		return domain.Repo{}, incomplete(k.op)
	}
	return repo, checkRepo(k.op, repo)
}

// BranchSHA returns the commit that a branch is at and whether it is protected.
// The error wraps ErrNotFound when there is no such branch.
func (c *Client) BranchSHA(ctx context.Context, repo domain.Repo, branch string) (sha string, protected bool, err error) {
	k := on("read the branch", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return "", false, err
	}
	if err := checkBranch(k.op, branch); err != nil {
		return "", false, err
	}
	b, err := read(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.Branch, error) {
		b, _, err := get[gh.Branch](ctx, api, repoPath(repo, "branches", branch))
		return b, err
	})
	if err != nil {
		return "", false, err
	}
	if sha = b.GetCommit().GetSHA(); !objectID.MatchString(sha) {
		return "", false, incomplete(k.op)
	}
	return sha, b.GetProtected(), nil
}

// Commit returns a commit by its id.
func (c *Client) Commit(ctx context.Context, repo domain.Repo, sha string) (domain.Commit, error) {
	k := on("read the commit", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return domain.Commit{}, err
	}
	if err := checkSHA(k.op, sha); err != nil {
		return domain.Commit{}, err
	}
	got, err := read(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.RepositoryCommit, error) {
		// One file a page: the commit's diff is not what is asked for.
		rc, _, err := api.Repositories.GetCommit(ctx, repo.Owner(), repo.Name(), sha, &gh.ListOptions{PerPage: 1})
		return rc, err
	})
	if err != nil {
		return domain.Commit{}, err
	}
	commit := domain.Commit{SHA: got.GetSHA(), TreeSHA: got.GetCommit().GetTree().GetSHA(), Author: got.GetAuthor().GetLogin()}
	for _, p := range got.Parents {
		commit.Parents = append(commit.Parents, p.GetSHA())
	}
	if commit.SHA != sha || !objectID.MatchString(commit.TreeSHA) {
		return domain.Commit{}, incomplete(k.op)
	}
	return commit, nil
}

// Tree lists all objects below a commit's or tree's id, with their paths from its
// root. The error is Unsupported when the tree is too large for GitHub to list
// whole: half a tree would answer "not there" wrongly.
func (c *Client) Tree(ctx context.Context, repo domain.Repo, sha string) ([]domain.TreeEntry, error) {
	k := on("list the tree", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return nil, err
	}
	if err := checkSHA(k.op, sha); err != nil {
		return nil, err
	}
	t, err := read(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.Tree, error) {
		t, _, err := api.Git.GetTree(ctx, repo.Owner(), repo.Name(), sha, true)
		return t, err
	})
	if err != nil {
		return nil, err
	}
	if t.GetSHA() == "" {
		return nil, incomplete(k.op)
	}
	if t.GetTruncated() {
		return nil, domain.Errorf(domain.Unsupported, k.op, "the tree has more than the %d files that GitHub lists: %w", len(t.Entries), domain.ErrTooLarge)
	}
	entries := make([]domain.TreeEntry, 0, len(t.Entries))
	for _, e := range t.Entries {
		entries = append(entries, domain.TreeEntry{Path: e.GetPath(), Mode: e.GetMode(), Type: e.GetType(), SHA: e.GetSHA(), Size: int64(e.GetSize())})
	}
	return entries, nil
}

// Blob returns a blob's content. The error wraps ErrTooLarge when it has more than
// maxBytes.
func (c *Client) Blob(ctx context.Context, repo domain.Repo, sha string, maxBytes int64) ([]byte, error) {
	k := on("read the blob", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return nil, err
	}
	if err := checkSHA(k.op, sha); err != nil {
		return nil, err
	}
	b, err := read(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.Blob, error) {
		b, _, err := api.Git.GetBlob(ctx, repo.Owner(), repo.Name(), sha)
		return b, err
	})
	if err != nil {
		return nil, err
	}
	if b.GetSHA() != sha {
		return nil, incomplete(k.op)
	}
	return content(k.op, b.GetEncoding(), b.GetContent(), int64(b.GetSize()), maxBytes)
}

// File returns a file's content at a ref (a branch or an object id). The error
// wraps ErrNotFound when no file is there, ErrTooLarge when it has more than
// maxBytes, and is Unsupported for symbolic links and submodules.
func (c *Client) File(ctx context.Context, repo domain.Repo, ref, path string, maxBytes int64) ([]byte, error) {
	k := on("read the file", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return nil, err
	}
	if err := checkBranch(k.op, ref); err != nil { // an object id passes too
		return nil, err
	}
	if err := domain.CheckPath(path); err != nil {
		return nil, err
	}
	// GitHub answers a directory with a list.
	f, err := read(ctx, c, k, func(ctx context.Context, api *gh.Client) (*fileOrList, error) {
		f, _, err := get[fileOrList](ctx, api, repoPath(repo, append([]string{"contents"}, strings.Split(path, "/")...)...)+"?ref="+url.QueryEscape(ref))
		return f, err
	})
	switch {
	case err != nil:
		return nil, err
	case f.list:
		return nil, domain.Errorf(domain.Invalid, k.op, "%s is a directory: %w", path, domain.ErrNotFound)
	case f.GetType() != "file":
		return nil, domain.Errorf(domain.Unsupported, k.op, "%s is a %q", path, clean(f.GetType()))
	case int64(f.GetSize()) > maxBytes:
		return nil, domain.Errorf(domain.Unsupported, k.op, "%s has %d bytes: %w", path, f.GetSize(), domain.ErrTooLarge)
	case f.GetEncoding() == "none": // above 1 MB
		return c.Blob(ctx, repo, f.GetSHA(), maxBytes)
	}
	var text string
	if f.Content != nil {
		text = *f.Content
	}
	return content(k.op, f.GetEncoding(), text, int64(f.GetSize()), maxBytes)
}

// fileOrList is an answer of the contents API: one file, or a directory's list,
// of which nothing is kept.
type fileOrList struct {
	gh.RepositoryContent
	list bool
}

func (f *fileOrList) UnmarshalJSON(b []byte) error {
	if strings.HasPrefix(strings.TrimSpace(string(b[:min(len(b), 64)])), "[") {
		f.list = true
		return nil
	}
	return json.Unmarshal(b, &f.RepositoryContent)
}

// content decodes a file as GitHub's JSON carries it and compares it with the
// size that goes with it.
func content(op, encoding, text string, size, maxBytes int64) ([]byte, error) {
	if size > maxBytes || int64(len(text))/2 > maxBytes {
		return nil, domain.Errorf(domain.Unsupported, op, "it has %d bytes: %w", size, domain.ErrTooLarge)
	}
	var b []byte
	switch encoding {
	case "base64":
		var err error
		if b, err = base64.StdEncoding.DecodeString(strings.ReplaceAll(text, "\n", "")); err != nil {
			return nil, domain.Errorf(domain.Transient, op, "decode the content: %w", err)
		}
	case "utf-8", "":
		b = []byte(text)
	default:
		return nil, domain.Errorf(domain.Unsupported, op, "the content is encoded as %q", clean(encoding))
	}
	if int64(len(b)) != size {
		return nil, domain.Errorf(domain.Transient, op, "%d of %d bytes came", len(b), size)
	}
	return b, nil
}

// Permission returns what a person may do in the repository: "admin", "write",
// "read" or "none". Anything that can't be told apart is an error, never "none":
// the caller decides what an unknown permission means.
func (c *Client) Permission(ctx context.Context, repo domain.Repo, user string) (string, error) {
	k := on("check a person's permission", repo, scopeRead)
	if err := checkRepo(k.op, repo); err != nil {
		return "", err
	}
	if !login.MatchString(user) {
		return "", domain.Errorf(domain.Invalid, k.op, "%q is not a login", clean(user))
	}
	level, err := read(ctx, c, k, func(ctx context.Context, api *gh.Client) (string, error) {
		p, _, err := get[gh.RepositoryPermissionLevel](ctx, api, repoPath(repo, "collaborators", user, "permission"))
		return p.GetPermission(), err
	})
	if err != nil {
		return "", err
	}
	switch level {
	case "admin", "write", "read", "none":
		return level, nil
	}
	return "", domain.Errorf(domain.Unsupported, k.op, "GitHub knows a permission %q", clean(level))
}

// repoPath is a path below the API's root with every segment escaped.
func repoPath(repo domain.Repo, segments ...string) string {
	p := "repos/" + repo.Owner() + "/" + repo.Name()
	for _, s := range segments {
		p += "/" + url.PathEscape(s)
	}
	return p
}

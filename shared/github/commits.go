package github

import (
	"bytes"
	"context"
	"encoding/base64"
	"strings"
	"unicode/utf8"

	gh "github.com/google/go-github/v62/github"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Bounds of one commit: repairs are minimal.
const (
	maxCommitFiles = 100
	maxCommitBytes = 10 << 20
)

// CommitFiles makes a commit with BaseSHA as its only parent, in which the files
// are written and everything else is BaseSHA's. No ref points to it yet. It names
// no author, so that the author is the App's bot and GitHub signs the commit.
// Committing twice leaves an unreferenced object behind, which git collects.
func (c *Client) CommitFiles(ctx context.Context, repo domain.Repo, r domain.CommitRequest) (sha string, err error) {
	k := on("commit the files", repo, writeScope(touchesWorkflows(r.Files)))
	if err := checkCommit(k.op, repo, r); err != nil {
		return "", err
	}
	base, err := c.Commit(ctx, repo, r.BaseSHA)
	if err != nil {
		return "", err
	}
	entries := make([]*gh.TreeEntry, 0, len(r.Files))
	for _, f := range r.Files {
		e := &gh.TreeEntry{Path: &f.Path, Mode: &f.Mode, Type: gh.String("blob")}
		if utf8.Valid(f.Content) && !bytes.ContainsRune(f.Content, 0) {
			e.Content = gh.String(string(f.Content))
		} else { // JSON can't carry it
			b, err := write(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.Blob, error) {
				b, _, err := api.Git.CreateBlob(ctx, repo.Owner(), repo.Name(), &gh.Blob{
					Content: gh.String(base64.StdEncoding.EncodeToString(f.Content)), Encoding: gh.String("base64"),
				})
				return b, err
			})
			if err != nil {
				return "", err
			}
			e.SHA = b.SHA
		}
		entries = append(entries, e)
	}
	tree, err := write(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.Tree, error) {
		t, _, err := api.Git.CreateTree(ctx, repo.Owner(), repo.Name(), base.TreeSHA, entries)
		return t, err
	})
	if err != nil {
		return "", err
	}
	if !objectID.MatchString(tree.GetSHA()) {
		return "", incomplete(k.op)
	}
	commit, err := write(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.Commit, error) {
		made, _, err := api.Git.CreateCommit(ctx, repo.Owner(), repo.Name(), &gh.Commit{
			Message: &r.Message, Tree: &gh.Tree{SHA: tree.SHA}, Parents: []*gh.Commit{{SHA: &r.BaseSHA}},
		}, nil)
		return made, err
	})
	if err != nil {
		return "", err
	}
	if !objectID.MatchString(commit.GetSHA()) {
		return "", incomplete(k.op)
	}
	return commit.GetSHA(), nil
}

func checkCommit(op string, repo domain.Repo, r domain.CommitRequest) error {
	if err := checkRepo(op, repo); err != nil {
		return err
	}
	if err := checkSHA(op, r.BaseSHA); err != nil {
		return err
	}
	if len(r.Files) == 0 || len(r.Files) > maxCommitFiles || strings.TrimSpace(r.Message) == "" {
		return domain.Errorf(domain.Invalid, op, "a commit has a message and 1 to %d files, this one has %d", maxCommitFiles, len(r.Files))
	}
	size := 0
	seen := map[string]bool{}
	for _, f := range r.Files {
		if err := domain.CheckPath(f.Path); err != nil {
			return err
		}
		if f.Mode != "100644" && f.Mode != "100755" {
			return domain.Errorf(domain.Invalid, op, "%s has mode %q, which is no regular file's", f.Path, f.Mode)
		}
		if seen[f.Path] {
			return domain.Errorf(domain.Invalid, op, "%s is there twice", f.Path)
		}
		seen[f.Path] = true
		size += len(f.Content)
	}
	if size > maxCommitBytes {
		return domain.Errorf(domain.Invalid, op, "the files have %d bytes: %w", size, domain.ErrTooLarge)
	}
	return nil
}

// CreateBranch creates a branch of the bot's own: any other name is refused. The
// error wraps ErrExists when the branch is there already, at whichever commit.
func (c *Client) CreateBranch(ctx context.Context, repo domain.Repo, b domain.NewBranch) error {
	k := on("create the branch", repo, writeScope(b.TouchesWorkflows))
	if err := checkRepo(k.op, repo); err != nil {
		return err
	}
	if err := checkBranch(k.op, b.Name); err != nil {
		return err
	}
	if err := checkSHA(k.op, b.SHA); err != nil {
		return err
	}
	if !domain.OwnBranch(b.Name) {
		return domain.Errorf(domain.Invalid, k.op, "%q doesn't begin with %q", b.Name, domain.BranchPrefix)
	}
	_, err := write(ctx, c, k, func(ctx context.Context, api *gh.Client) (*gh.Reference, error) {
		r, _, err := api.Git.CreateRef(ctx, repo.Owner(), repo.Name(), &gh.Reference{Ref: gh.String("refs/heads/" + b.Name), Object: &gh.GitObject{SHA: &b.SHA}})
		return r, err
	})
	return err
}

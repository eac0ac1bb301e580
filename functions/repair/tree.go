package repair

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/mlops-bot/mlops-bot/functions/repair/strategies"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

const (
	// maxFileBytes bounds a file that a strategy reads; configuration and source
	// files are far smaller.
	maxFileBytes = 1 << 20
	// maxReads bounds how many files of one tree are fetched for one plan, each
	// being a request.
	maxReads = 400
)

// repoTree is the read-only view of a commit's tree that strategies plan on.
// Files are fetched when they are first read.
type repoTree struct {
	github  GitHub
	repo    domain.Repo
	entries map[string]domain.TreeEntry // regular files only

	mu    sync.Mutex
	files map[string][]byte
}

var _ strategies.Tree = (*repoTree)(nil)

func newRepoTree(ctx context.Context, gh GitHub, repo domain.Repo, sha string) (*repoTree, error) {
	list, err := gh.Tree(ctx, repo, sha)
	if err != nil {
		return nil, fmt.Errorf("list the tree of %s: %w", short(sha), err)
	}
	t := &repoTree{github: gh, repo: repo, entries: make(map[string]domain.TreeEntry, len(list)), files: map[string][]byte{}}
	for _, e := range list {
		if e.Type == "blob" && (e.Mode == "100644" || e.Mode == "100755") {
			t.entries[e.Path] = e
		}
	}
	return t, nil
}

func (t *repoTree) entry(path string) (domain.TreeEntry, bool) {
	e, ok := t.entries[path]
	return e, ok
}

// Paths lists the regular files, sorted.
func (t *repoTree) Paths(context.Context) ([]string, error) {
	out := make([]string, 0, len(t.entries))
	for p := range t.entries {
		out = append(out, p)
	}
	slices.Sort(out)
	return out, nil
}

// ReadFile returns a file's content; fs.ErrNotExist for what isn't a regular
// file, domain.ErrTooLarge beyond 1 MiB or after 400 files.
func (t *repoTree) ReadFile(ctx context.Context, path string) ([]byte, error) {
	e, ok := t.entries[path]
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
	}
	if e.Size > maxFileBytes {
		return nil, domain.Errorf(domain.Unsupported, "read the file", "%s: %w", path, domain.ErrTooLarge)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if b, ok := t.files[path]; ok {
		return slices.Clone(b), nil
	}
	if len(t.files) >= maxReads {
		return nil, domain.Errorf(domain.Unsupported, "read the file", "%s: more than %d files were read: %w", path, maxReads, domain.ErrTooLarge)
	}
	b, err := t.github.Blob(ctx, t.repo, e.SHA, maxFileBytes)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	t.files[path] = b
	return slices.Clone(b), nil
}

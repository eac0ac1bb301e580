package strategies

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Tree is the read-only view of the tree that failed.
type Tree interface {
	// Paths lists the regular files, sorted, as slash-separated relative paths.
	Paths(ctx context.Context) ([]string, error)
	// ReadFile returns a file's content. The error wraps fs.ErrNotExist for what is
	// no regular file, and domain.ErrTooLarge beyond the tree's bounds.
	ReadFile(ctx context.Context, path string) ([]byte, error)
}

// MapTree is a tree in memory: paths and contents.
type MapTree map[string][]byte

var _ Tree = MapTree{}

// Paths lists the map's keys, sorted.
func (t MapTree) Paths(context.Context) ([]string, error) {
	return slices.Sorted(maps.Keys(t)), nil
}

// ReadFile returns a copy of a file; the error is fs.ErrNotExist.
func (t MapTree) ReadFile(_ context.Context, p string) ([]byte, error) {
	b, ok := t[p]
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: p, Err: fs.ErrNotExist}
	}
	return slices.Clone(b), nil
}

// Bounds of a DirTree.
const (
	maxFileBytes = 1 << 20
	maxPaths     = 200_000
)

// DirTree is a directory on the disk, as `mlops-bot plan --repo` reads it. It
// never leaves the directory, does not follow symbolic links, and leaves out .git.
type DirTree struct{ root *os.Root }

var _ Tree = (*DirTree)(nil)

// OpenDir opens a directory as a tree. Close it after use.
func OpenDir(dir string) (*DirTree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the repository's directory: %w", err)
	}
	return &DirTree{root}, nil
}

// Close releases the directory.
func (t *DirTree) Close() error { return t.root.Close() }

// Paths walks the directory. The error wraps domain.ErrTooLarge beyond 200,000
// files.
func (t *DirTree) Paths(ctx context.Context) ([]string, error) {
	var out []string
	err := fs.WalkDir(t.root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case d.IsDir() && path.Base(p) == ".git":
			return fs.SkipDir
		case d.Type().IsRegular():
			if len(out) >= maxPaths {
				return domain.Errorf(domain.Unsupported, "list the files", "more than %d: %w", maxPaths, domain.ErrTooLarge)
			}
			out = append(out, p)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the repository's files: %w", err)
	}
	slices.Sort(out)
	return out, nil
}

// ReadFile reads a file of at most 1 MiB.
func (t *DirTree) ReadFile(_ context.Context, p string) ([]byte, error) {
	if err := domain.CheckPath(p); err != nil {
		return nil, &fs.PathError{Op: "read", Path: p, Err: fs.ErrNotExist}
	}
	info, err := t.root.Lstat(p)
	if err != nil {
		return nil, fmt.Errorf("read a file of the repository: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: p, Err: fs.ErrNotExist}
	}
	f, err := t.root.Open(p)
	if err != nil {
		return nil, fmt.Errorf("read a file of the repository: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read a file of the repository: %w", err)
	}
	if len(b) > maxFileBytes {
		return nil, domain.Errorf(domain.Unsupported, "read the file", "%s: %w", p, domain.ErrTooLarge)
	}
	return b, nil
}

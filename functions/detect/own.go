package detect

import (
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/mlops-bot/mlops-bot/functions/detect/rules"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/policy"
)

const (
	// policyPath is where a repository has its policy, and with it its rules.
	policyPath = ".github/mlops-bot.yml"
	// maxSets is how many repositories' catalogues are kept.
	maxSets = 32
	// maxEntries is how many entries of a directory of rules are looked at.
	maxEntries = 200
)

// Installed are the rules of one's own that a directory holds for a whole
// installation.
type Installed struct {
	// Catalogue are the rules of the files that are right; nil for none.
	Catalogue *rules.Catalogue
	// Rules are the same as they were written, in the order of the files' names.
	Rules []policy.Rule
	// Problems are what is wrong with the directory or with single files, of which
	// no rule is used then. They are Invalid and name the file.
	Problems []error
}

// ReadInstalled reads the rules of a directory: its files *.yml and *.yaml, in
// the order of their names, without those that begin with a dot. Links are
// followed within the directory, as those of a mounted ConfigMap. What is wrong
// leaves out the file that it is in: other rules, and the built-in ones, are
// never lost to it. "" is no directory, and no rules.
func ReadInstalled(dir string) Installed {
	var in Installed
	if dir == "" {
		return in
	}
	const op = "read the installation's rules"
	bad := func(name string, err error) {
		in.Problems = append(in.Problems, domain.Errorf(domain.Invalid, op, "%s: %w", name, err))
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		bad(dir, reason(err))
		return in
	}
	defer root.Close()
	names, err := ruleFiles(root.FS())
	if err != nil {
		bad(dir, err)
	}
	for _, name := range names {
		specs, err := readRules(root.FS(), name)
		if err != nil {
			bad(path.Join(dir, name), err)
			continue
		}
		if n := len(in.Rules) + len(specs); n > rules.MaxInstalled {
			bad(path.Join(dir, name), fmt.Errorf("with it there are %d rules, more than an installation's %d", n, rules.MaxInstalled))
			continue
		}
		c, err := rules.Own(specs, in.Catalogue)
		if err != nil {
			bad(path.Join(dir, name), reason(err))
			continue
		}
		in.Catalogue, in.Rules = c, append(in.Rules, specs...)
	}
	return in
}

// ruleFiles returns the names of a directory's files of rules, those that there
// are room for also beside an error.
func ruleFiles(fsys fs.FS) ([]string, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, reason(err)
	}
	var names []string
	for _, e := range entries {
		if ext := path.Ext(e.Name()); !strings.HasPrefix(e.Name(), ".") && (ext == ".yml" || ext == ".yaml") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	if len(names) > maxEntries {
		return names[:maxEntries], fmt.Errorf("it holds %d files of rules; those behind the first %d are not read", len(names), maxEntries)
	}
	return names, nil
}

func readRules(fsys fs.FS, name string) ([]policy.Rule, error) {
	// A pipe would keep its reader waiting.
	if info, err := fs.Stat(fsys, name); err != nil {
		return nil, reason(err)
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, reason(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, policy.MaxBytes+1))
	if err != nil {
		return nil, reason(err)
	}
	specs, err := policy.ParseRules(b)
	return specs, reason(err)
}

// reason takes off what an error says of the call that failed: the file is named
// beside it.
func reason(err error) error {
	if e, ok := errors.AsType[*domain.Error](err); ok && e.Err != nil {
		return e.Err
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// Own makes the catalogue of each repository's own rules, behind the
// installation's, and keeps those of the latest ones. It is safe for concurrent
// use.
type Own struct {
	installed *rules.Catalogue
	mu        sync.Mutex
	sets      map[[sha256.Size]byte]*list.Element
	latest    *list.List // of ownSet, the most recently used one first
}

type ownSet struct {
	file    [sha256.Size]byte
	rules   *rules.Catalogue
	problem error
}

// NewOwn returns an Own for an installation with these rules; nil for none.
func NewOwn(installed *rules.Catalogue) *Own {
	return &Own{installed: installed, sets: map[[sha256.Size]byte]*list.Element{}, latest: list.New()}
}

// Of returns the catalogue for a repository with this policy file, nil where
// there are no rules of one's own at all. Where the file is wrong, the error is
// Invalid and the catalogue is the installation's alone.
func (o *Own) Of(file []byte) (*rules.Catalogue, error) {
	key := sha256.Sum256(file)
	if s, ok := o.kept(key); ok {
		return s.rules, s.problem
	}
	s := ownSet{file: key, rules: o.installed}
	p, err := policy.Parse(file)
	if err != nil {
		s.problem = err
	} else if c, err := rules.Own(p.Rules, o.installed); err != nil {
		s.problem = err
	} else {
		s.rules = c
	}
	o.keep(s)
	return s.rules, s.problem
}

func (o *Own) kept(key [sha256.Size]byte) (ownSet, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	e, ok := o.sets[key]
	if !ok {
		return ownSet{}, false
	}
	o.latest.MoveToFront(e)
	return e.Value.(ownSet), true
}

// keep adds a set, which another run may have made meanwhile, and drops the one
// that was used the longest ago.
func (o *Own) keep(s ownSet) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.sets[s.file]; ok {
		return
	}
	o.sets[s.file] = o.latest.PushFront(s)
	if o.latest.Len() > maxSets {
		oldest := o.latest.Remove(o.latest.Back()).(ownSet)
		delete(o.sets, oldest.file)
	}
}

// FileReader reads one file of a repository at a ref.
type FileReader interface {
	File(ctx context.Context, repo domain.Repo, ref, path string, maxBytes int64) ([]byte, error)
}

// Read returns the catalogue for a repository by the policy file of its default
// branch, never of the branch that failed or of a fork. A file that is wrong or
// can't be had is a problem, a sentence for people, and leaves the installation's
// rules. An error is one of GitHub's that may go away.
func (o *Own) Read(ctx context.Context, gh FileReader, repo domain.Repo) (c *rules.Catalogue, problem string, err error) {
	b, err := gh.File(ctx, repo, repo.DefaultBranch, policyPath, policy.MaxBytes)
	switch kind := domain.KindOf(err); {
	case errors.Is(err, domain.ErrNotFound):
		return o.installed, "", nil
	case errors.Is(err, domain.ErrTooLarge):
		return o.installed, fmt.Sprintf("the rules of %s are not used: it is larger than %d KiB", policyPath, policy.MaxBytes>>10), nil
	case kind == domain.Unsupported:
		return o.installed, fmt.Sprintf("the rules of %s are not used: it is no file", policyPath), nil
	case kind == domain.Denied || kind == domain.Invalid:
		return o.installed, fmt.Sprintf("the rules of %s are not used: it can't be read: %v", policyPath, err), nil
	case err != nil:
		return o.installed, "", fmt.Errorf("read the repository's rules: %w", err)
	}
	c, err = o.Of(b)
	if err != nil {
		return c, fmt.Sprintf("the rules of %s are not used: %v", policyPath, reason(err)), nil
	}
	return c, "", nil
}

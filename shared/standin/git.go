package standin

import (
	"bytes"
	"cmp"
	"crypto/sha1" //nolint:gosec // git's object ids are SHA-1
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	udiff "github.com/aymanbagabas/go-udiff"
)

// Modes of tree entries, as git writes them.
const (
	modeFile       = "100644"
	modeExecutable = "100755"
	modeLink       = "120000"
	modeTree       = "040000"
	modeSubmodule  = "160000"
)

const maxTreeDepth = 64

type object struct {
	kind string // blob, tree or commit
	data []byte
}

// objects is a store of git objects under their real ids. Forks share their
// parent's. The Server's lock guards it.
type objects map[string]object

// person is the author or committer of a commit.
type person struct {
	Name, Email string
	When        time.Time
}

func (p person) encode() string {
	return fmt.Sprintf("%s <%s> %d +0000", p.Name, p.Email, p.When.Unix())
}

type commit struct {
	SHA       string
	Tree      string
	Parents   []string
	Author    person
	Committer person
	Message   string
	Signature string // armored; "" for an unsigned commit
}

type treeEntry struct {
	Name, Mode, SHA string
}

// entry is what is at a path of a flattened tree.
type entry struct {
	Mode, SHA string
}

func kindOfMode(mode string) string {
	switch mode {
	case modeTree:
		return "tree"
	case modeSubmodule:
		return "commit"
	}
	return "blob"
}

func (o objects) put(kind string, data []byte) string {
	h := sha1.New() //nolint:gosec // git's object ids are SHA-1
	fmt.Fprintf(h, "%s %d\x00", kind, len(data))
	h.Write(data)
	sha := hex.EncodeToString(h.Sum(nil))
	if _, ok := o[sha]; !ok {
		o[sha] = object{kind, bytes.Clone(data)}
	}
	return sha
}

func (o objects) get(kind, sha string) ([]byte, bool) {
	got, ok := o[sha]
	return got.data, ok && got.kind == kind
}

// putTree stores a tree of entries in git's order.
func (o objects) putTree(entries []treeEntry) string {
	key := func(e treeEntry) string {
		if e.Mode == modeTree {
			return e.Name + "/"
		}
		return e.Name
	}
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b treeEntry) int { return strings.Compare(key(a), key(b)) })
	var b bytes.Buffer
	for _, e := range entries {
		id, err := hex.DecodeString(e.SHA)
		if err != nil {
			continue // ids are checked where they come in
		}
		b.WriteString(strings.TrimPrefix(e.Mode, "0") + " " + e.Name + "\x00")
		b.Write(id)
	}
	return o.put("tree", b.Bytes())
}

func (o objects) tree(sha string) ([]treeEntry, bool) {
	data, ok := o.get("tree", sha)
	if !ok {
		return nil, false
	}
	var entries []treeEntry
	for len(data) > 0 {
		head, rest, found := bytes.Cut(data, []byte{0})
		mode, name, spaced := strings.Cut(string(head), " ")
		if !found || !spaced || len(rest) < sha1.Size {
			return nil, false
		}
		if len(mode) == 5 {
			mode = "0" + mode
		}
		entries = append(entries, treeEntry{name, mode, hex.EncodeToString(rest[:sha1.Size])})
		data = rest[sha1.Size:]
	}
	return entries, true
}

// walk calls visit for everything below a tree, in git's order.
func (o objects) walk(sha, under string, depth int, visit func(p string, e treeEntry)) {
	entries, ok := o.tree(sha)
	if !ok || depth > maxTreeDepth {
		return
	}
	for _, e := range entries {
		p := path.Join(under, e.Name)
		visit(p, e)
		if e.Mode == modeTree {
			o.walk(e.SHA, p, depth+1, visit)
		}
	}
}

// flatten lists the files, links and submodules of a tree by path.
func (o objects) flatten(tree string) map[string]entry {
	files := map[string]entry{}
	o.walk(tree, "", 0, func(p string, e treeEntry) {
		if e.Mode != modeTree {
			files[p] = entry{e.Mode, e.SHA}
		}
	})
	return files
}

// build stores the trees of files and returns the root's id.
func (o objects) build(files map[string]entry) string {
	var entries []treeEntry
	below := map[string]map[string]entry{}
	for p, e := range files {
		dir, rest, nested := strings.Cut(p, "/")
		if !nested {
			entries = append(entries, treeEntry{p, e.Mode, e.SHA})
			continue
		}
		if below[dir] == nil {
			below[dir] = map[string]entry{}
		}
		below[dir][rest] = e
	}
	for dir, sub := range below {
		entries = append(entries, treeEntry{dir, modeTree, o.build(sub)})
	}
	return o.putTree(entries)
}

// place writes e at p. What is in its way, a file where a directory must be or
// the other way round, goes.
func place(files map[string]entry, p string, e entry) {
	remove(files, p)
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		delete(files, dir)
	}
	files[p] = e
}

func remove(files map[string]entry, p string) {
	delete(files, p)
	maps.DeleteFunc(files, func(q string, _ entry) bool { return strings.HasPrefix(q, p+"/") })
}

// lookup returns what is at a path of a tree.
func (o objects) lookup(tree, p string) (treeEntry, bool) {
	at := treeEntry{"", modeTree, tree}
	if p == "" {
		return at, true
	}
	for part := range strings.SplitSeq(p, "/") {
		entries, ok := o.tree(at.SHA)
		if !ok || at.Mode != modeTree {
			return treeEntry{}, false
		}
		i := slices.IndexFunc(entries, func(e treeEntry) bool { return e.Name == part })
		if i < 0 {
			return treeEntry{}, false
		}
		at = entries[i]
	}
	return at, true
}

func (o objects) putCommit(c commit) string {
	var b strings.Builder
	b.WriteString("tree " + c.Tree + "\n")
	for _, p := range c.Parents {
		b.WriteString("parent " + p + "\n")
	}
	b.WriteString("author " + c.Author.encode() + "\ncommitter " + c.Committer.encode() + "\n")
	if c.Signature != "" {
		b.WriteString("gpgsig " + strings.ReplaceAll(strings.TrimSuffix(c.Signature, "\n"), "\n", "\n ") + "\n")
	}
	b.WriteString("\n" + c.Message)
	return o.put("commit", []byte(b.String()))
}

var errNoCommit = errors.New("no such commit")

func (o objects) commit(sha string) (commit, error) {
	data, ok := o.get("commit", sha)
	if !ok {
		return commit{}, fmt.Errorf("read %s: %w", sha, errNoCommit)
	}
	head, message, _ := strings.Cut(string(data), "\n\n")
	c := commit{SHA: sha, Message: message}
	last := ""
	for line := range strings.SplitSeq(head, "\n") {
		if rest, ok := strings.CutPrefix(line, " "); ok && last == "gpgsig" {
			c.Signature += "\n" + rest
			continue
		}
		key, value, _ := strings.Cut(line, " ")
		last = key
		switch key {
		case "tree":
			c.Tree = value
		case "parent":
			c.Parents = append(c.Parents, value)
		case "author":
			c.Author = parsePerson(value)
		case "committer":
			c.Committer = parsePerson(value)
		case "gpgsig":
			c.Signature = value
		}
	}
	return c, nil
}

func parsePerson(s string) person {
	name, rest, _ := strings.Cut(s, " <")
	email, when, _ := strings.Cut(rest, "> ")
	seconds, _, _ := strings.Cut(when, " ")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		n = 0
	}
	return person{name, email, time.Unix(n, 0).UTC()}
}

// ancestors lists sha and everything that it descends from, nearest first.
func (o objects) ancestors(sha string) []string {
	var order []string
	seen := map[string]bool{}
	for queue := []string{sha}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if seen[at] {
			continue
		}
		seen[at] = true
		c, err := o.commit(at)
		if err != nil {
			continue
		}
		order = append(order, at)
		queue = append(queue, c.Parents...)
	}
	return order
}

// mergeBase returns the nearest commit that both descend from, or "".
func (o objects) mergeBase(a, b string) string {
	of := map[string]bool{}
	for _, sha := range o.ancestors(a) {
		of[sha] = true
	}
	for _, sha := range o.ancestors(b) {
		if of[sha] {
			return sha
		}
	}
	return ""
}

// since lists the commits of head that base doesn't have, oldest first.
func (o objects) since(base, head string) []string {
	have := map[string]bool{}
	for _, sha := range o.ancestors(base) {
		have[sha] = true
	}
	var out []string
	for _, sha := range o.ancestors(head) {
		if !have[sha] {
			out = append(out, sha)
		}
	}
	slices.Reverse(out)
	return out
}

// merge makes the tree of ours with what theirs changed since their merge base.
// It compares whole files: both sides changing one file differently conflicts.
func (o objects) merge(ours, theirs string) (tree string, ok bool) {
	flat := func(sha string) map[string]entry {
		c, err := o.commit(sha)
		if err != nil {
			return map[string]entry{}
		}
		return o.flatten(c.Tree)
	}
	base, a, b := flat(o.mergeBase(ours, theirs)), flat(ours), flat(theirs)
	result := maps.Clone(a)
	for p := range union(base, b) {
		switch {
		case a[p] == b[p], base[p] == b[p]:
		case base[p] == a[p] && b[p] == entry{}:
			delete(result, p)
		case base[p] == a[p]:
			place(result, p, b[p])
		default:
			return "", false
		}
	}
	return o.build(result), true
}

func union(a, b map[string]entry) map[string]bool {
	all := make(map[string]bool, len(a)+len(b))
	for p := range a {
		all[p] = true
	}
	for p := range b {
		all[p] = true
	}
	return all
}

// change is one file that differs between two trees.
type change struct {
	Path, Status         string // added, removed or modified
	SHA                  string // of the new blob, or of the removed one
	Additions, Deletions int    // lines
	Patch                string // unified, without the file's header; "" for binary and large files
}

// diff lists the files that differ between two trees, by path.
func (o objects) diff(from, to string) []change {
	a, b := o.flatten(from), o.flatten(to)
	var out []change
	for p := range union(a, b) {
		was, is := a[p], b[p]
		if was == is {
			continue
		}
		c := change{Path: p, Status: "modified", SHA: is.SHA}
		switch {
		case was == entry{}:
			c.Status = "added"
		case is == entry{}:
			c.Status, c.SHA = "removed", was.SHA
		}
		before, _ := o.get("blob", was.SHA)
		after, _ := o.get("blob", is.SHA)
		c.Additions, c.Deletions = countLines(before, after)
		c.Patch = patch(before, after)
		out = append(out, c)
	}
	slices.SortFunc(out, func(x, y change) int { return cmp.Compare(x.Path, y.Path) })
	return out
}

// maxPatched is how many bytes two versions of a file may have for a patch.
const maxPatched = 1 << 20

// patch is the diff of a file's content as GitHub shows it: hunks with three lines
// of context, and none for what is no text.
func patch(before, after []byte) string {
	if len(before)+len(after) > maxPatched || bytes.IndexByte(before, 0) >= 0 || bytes.IndexByte(after, 0) >= 0 {
		return ""
	}
	_, hunks, _ := strings.Cut(udiff.Unified("a", "b", string(before), string(after)), "\n+++ b\n")
	return strings.TrimSuffix(hunks, "\n")
}

// countLines counts the lines that a diff between two texts adds and deletes.
func countLines(before, after []byte) (added, deleted int) {
	a, b := lines(before), lines(after)
	for len(a) > 0 && len(b) > 0 && bytes.Equal(a[0], b[0]) {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && bytes.Equal(a[len(a)-1], b[len(b)-1]) {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	if len(a)*len(b) > 4_000_000 { // too different for an exact answer to matter
		return len(b), len(a)
	}
	row := make([]int, len(b)+1) // of the longest common subsequence's table
	for i := range a {
		diagonal := 0
		for j := range b {
			above := row[j+1]
			if bytes.Equal(a[i], b[j]) {
				row[j+1] = diagonal + 1
			} else {
				row[j+1] = max(above, row[j])
			}
			diagonal = above
		}
	}
	return len(b) - row[len(b)], len(a) - row[len(b)]
}

func lines(b []byte) [][]byte {
	if len(b) == 0 {
		return nil
	}
	return bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
}

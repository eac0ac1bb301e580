package domain

// Pull is a pull request as far as the bot looks at it.
type Pull struct {
	Number     int
	NodeID     string
	State      string // open or closed
	Merged     bool
	Draft      bool
	HeadSHA    string
	HeadBranch string
	HeadRepoID int64
	BaseBranch string
	MergeSHA   string // the test merge while open, the merge commit once merged
	HTMLURL    string
	Body       string
	Author     string
}

// NewPull is a pull request to open within one repository.
type NewPull struct {
	Title string
	Body  string
	Head  string // branch
	Base  string // branch
	Draft bool
}

// Commit is a commit object.
type Commit struct {
	SHA     string
	TreeSHA string
	Parents []string
	Author  string // login, where GitHub knows one
}

// TreeEntry is one object of a commit's tree, listed recursively.
type TreeEntry struct {
	Path string
	Mode string // 100644, 100755, 120000, 160000 or 040000
	Type string // blob, tree or commit
	SHA  string
	Size int64
}

// File is a file to write: its whole content.
type File struct {
	Path    string
	Mode    string // 100644 or 100755
	Content []byte
}

// CommitRequest is a commit to make on top of BaseSHA.
type CommitRequest struct {
	BaseSHA string // a commit
	Message string
	Files   []File
}

// NewBranch is a branch to create.
type NewBranch struct {
	Name string
	SHA  string
	// TouchesWorkflows: the commits change something under .github/workflows,
	// which needs a permission of its own.
	TouchesWorkflows bool
}

package detect

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mlops-bot/mlops-bot/functions/detect/rules"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Bounds of what is looked at and kept.
const (
	maxNames       = 16      // that a finding names
	minName        = 3       // bytes of one, since shorter ones stand everywhere
	maxDiffLine    = 500     // bytes of a diff's line that are looked at
	maxDiffLines   = 5000    // of one file
	maxDiffBytes   = 8 << 20 // of all diffs together
	maxReasonName  = 200     // bytes of a name in a reason
	nearLines      = 3       // what is next to a line
	scoreAlone     = 1
	scoreElsewhere = 15
)

// Suspects orders the commits of a comparison by how likely they brought the
// failure: those that touch what the finding names (its file, its package, its
// setting, its test, its workflow), with the reasons. It is pure. A commit that
// touches nothing of that is no suspect, unless it is the only one. What no commit
// can be the cause of (a service that is down) has no suspects, unless a commit
// brought the name of the service.
//
// Where the files of some commits are not known (ChangedCommit.Read), what the
// comparison says of all of them together makes one suspect without a SHA.
func Suspects(f domain.Finding, diff domain.Comparison) []domain.Suspect {
	t := newTrail(f)
	commits := slices.Clone(diff.Commits)
	slices.Reverse(commits) // newest first
	if diff.Total == 1 && len(commits) == 1 && !diff.FilesCut {
		commits[0].Files, commits[0].Read = diff.Files, true
	}
	// A merge brings what the commits that it merges bring, and those are listed.
	own := slices.DeleteFunc(slices.Clone(commits), func(c domain.ChangedCommit) bool { return c.Parents > 1 })
	out := t.suspects(own, diff)
	if len(out) == 0 {
		merges := slices.DeleteFunc(commits, func(c domain.ChangedCommit) bool { return c.Parents < 2 })
		out = t.suspects(merges, domain.Comparison{})
	}
	if len(out) == 0 && len(own) == 1 && diff.Total == len(diff.Commits) && !t.outside {
		out = append(out, suspect(own[0], []clue{{score: scoreAlone, reason: domain.Reason{Does: "is the only commit since then"}}}))
	}
	// The order of the commits, newest first, decides between equals.
	slices.SortStableFunc(out, func(a, b domain.Suspect) int { return cmp.Compare(b.Score, a.Score) })
	return out[:min(len(out), domain.MaxSuspects)]
}

// suspects weighs commits, newest first, and what diff has beyond those that were
// read.
func (t *trail) suspects(commits []domain.ChangedCommit, diff domain.Comparison) []domain.Suspect {
	var out []domain.Suspect
	touched := map[string]bool{} // by a newer commit, or by one that was read
	unread := diff.Total > len(diff.Commits)
	for _, c := range commits {
		if !c.Read {
			unread = true
			continue
		}
		var clues []clue
		for _, file := range c.Files {
			clues = append(clues, t.file(file, !touched[file.Path] && !unread)...)
		}
		for _, file := range c.Files {
			touched[file.Path] = true
		}
		if len(clues) > 0 {
			out = append(out, suspect(c, clues))
		}
	}
	if !unread {
		return out
	}
	var clues []clue
	for _, file := range diff.Files {
		if !touched[file.Path] {
			clues = append(clues, t.file(file, false)...)
		}
	}
	if len(clues) > 0 {
		out = append(out, suspect(domain.ChangedCommit{}, clues))
	}
	return out
}

// clue is one thing that a commit touches.
type clue struct {
	score  int
	reason domain.Reason
}

func suspect(c domain.ChangedCommit, clues []clue) domain.Suspect {
	slices.SortStableFunc(clues, func(a, b clue) int { return cmp.Compare(b.score, a.score) })
	s := domain.Suspect{SHA: c.SHA, Author: rules.Mask(c.Author), Subject: rules.Mask(c.Subject), HTMLURL: c.HTMLURL, Score: clues[0].score}
	for i, one := range clues {
		if slices.Contains(s.Reasons, one.reason) {
			continue
		}
		// What is said on top of a good reason makes it a little better, so that a
		// long list of bad ones never outweighs a good one.
		if i > 0 && s.Score < clues[0].score+3 {
			s.Score++
		}
		if len(s.Reasons) < domain.MaxReasons {
			s.Reasons = append(s.Reasons, one.reason)
		}
	}
	return s
}

// because makes a reason of strangers' names.
func because(score int, does, name, in string) clue {
	bound := func(s string) string { return strings.ToValidUTF8(rules.Mask(s[:min(len(s), maxReasonName)]), "") }
	return clue{score, domain.Reason{Does: does, Name: bound(name), In: bound(in)}}
}

// area is a kind of file that a category of failure comes from.
type area uint

const (
	requirements area = 1 << iota // what is installed
	workflows                     // how the job is run
	images                        // what it runs in
	python                        // which Python
	toolConfig                    // of linters, type checkers and test runners
	dataFiles                     // pointers to data
	migrations                    // of a database's schema
)

// areas says where the failures of a category come from besides the files that
// they name.
var areas = map[string]area{
	"missing-module": requirements, "dependency-conflict": requirements | python, "no-matching-distribution": requirements | python,
	"numpy-abi": requirements, "numpy-removed-alias": requirements, "api-change": requirements, "deprecated-package": requirements,
	"pkg-resources-removed": requirements | python, "protobuf-incompatible": requirements, "lockfile-outdated": requirements,
	"wheel-build-failed": requirements | python | images, "python-version": python | requirements | workflows | images,
	"missing-system-library": workflows | images | requirements, "missing-executable": workflows | images | requirements,
	"deprecated-action": workflows, "runner-image-removed": workflows, "workflow-invalid": workflows, "artifact-not-found": workflows,
	"checkout-failed": workflows, "token-permission": workflows, "git-push-rejected": workflows, "credentials-missing": workflows,
	"container-image-not-found": workflows | images, "container-permission": workflows | images, "job-timeout": workflows, "disk-full": workflows | images | requirements,
	"cuda-arch-mismatch": requirements | images | workflows, "cuda-driver-mismatch": requirements | images | workflows, "gpu-unavailable": workflows | images,
	"dirty-checkout": workflows | toolConfig, "policy-check": workflows | toolConfig,
	"checkpoint-mismatch": requirements, "nan-loss": requirements, "training-diverged": requirements,
	"data-missing": dataFiles, "data-schema": dataFiles, "database-schema": migrations,
	"lint": toolConfig | requirements, "format": toolConfig | requirements, "type-check": toolConfig | requirements, "tooling": toolConfig | requirements,
	"warning-as-error": toolConfig | requirements, "coverage-threshold": toolConfig, "compile-error": requirements | toolConfig,
	"process-crash": requirements, "test-collection": requirements, "numeric-tolerance": requirements,
}

// setting builds a pattern for changed settings in files of any language: a name,
// maybe quoted, before a : or =, or as a flag before its value.
func setting(names string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)(?:^|[^\w.-])-{0,2}((?:\w+[_.-])*?(?:` + names + `))\b(?:['"]?\s*[:=]|\s+["']?\d)`)
}

const (
	memorySettings = `batch[_-]?size|micro[_-]?batch|grad(?:ient)?[_-]accum\w*|seq(?:uence)?[_-]?len\w*|max[_-]?(?:seq[_-]?)?len(?:gth)?|max[_-]?tokens|context[_-]?len\w*|block[_-]?size|` +
		`hidden[_-]?(?:size|dim)|d[_-]?model|(?:num|n)[_-]?layers|num[_-]?workers|workers|n[_-]?jobs|prefetch\w*|image[_-]?size|img[_-]?size|resolution|crop[_-]?size|` +
		`fp16|bf16|precision|dtype|gradient[_-]checkpointing|memory|shm[_-]size`
	learningSettings = `lr|learning[_-]?rate|warmup\w*|max[_-]?grad[_-]?norm|clip\w*|weight[_-]?decay|momentum|eps(?:ilon)?|optimizer|scheduler|loss\w*|` +
		`fp16|bf16|amp|precision|dtype|batch[_-]?size|temperature|dropout|init\w*|seed`
	timeSettings = `timeout(?:-minutes)?|epochs|max[_-]?steps|num[_-]?steps|n[_-]?iter\w*|iterations|n[_-]?trials|n[_-]?estimators|num[_-]?samples|workers|batch[_-]?size`
)

// settings are what people turn that brings a category of failure about.
var settings = map[string]*regexp.Regexp{
	"cuda-oom": setting(memorySettings), "oom-killed": setting(memorySettings), "dataloader-worker-killed": setting(memorySettings),
	"nan-loss": setting(learningSettings), "training-diverged": setting(learningSettings),
	"job-timeout": setting(timeSettings), "app-timeout": setting(timeSettings),
	"python-version":       setting(`python[-_]?version|requires[-_]python|python_requires|target-version`),
	"coverage-threshold":   setting(`fail[_-]under|cov-fail-under|threshold|target|omit|branch`),
	"runner-image-removed": setting(`runs-on|os|image|vmImage|runner`),
	"token-permission":     setting(`permissions|contents|packages|pull-requests|issues|actions|id-token|checks|statuses|pages|deployments`),
}

// namingFacts are the facts whose values stand, as they are, in the files that
// brought the failure.
var namingFacts = []string{
	"symbol", "alias", "key", "name", "column", "table", "fixture", "benchmark", "check", "metric", "command", "image", "action", "input",
	"artifact", "repo", "library", "permission", "code", "replacement", "warning",
}

// outsideFacts name what is reached over the network.
var outsideFacts = []string{"host", "url", "service", "framework", "repo"}

// distributions are the names under which packages are required, by the name
// under which they are imported, where the two differ by more than spelling.
var distributions = map[string][]string{
	"sklearn": {"scikit-learn"}, "cv2": {"opencv-python", "opencv-python-headless", "opencv-contrib-python"}, "yaml": {"pyyaml"}, "pil": {"pillow"},
	"skimage": {"scikit-image"}, "bs4": {"beautifulsoup4"}, "dotenv": {"python-dotenv"}, "attr": {"attrs"}, "git": {"gitpython"},
	"dateutil": {"python-dateutil"}, "jwt": {"pyjwt"}, "faiss": {"faiss-cpu", "faiss-gpu"}, "umap": {"umap-learn"}, "grpc": {"grpcio"},
	"grpc-tools": {"grpcio-tools"}, "imblearn": {"imbalanced-learn"}, "pkg-resources": {"setuptools"}, "distutils": {"setuptools"},
	"crypto": {"pycryptodome"}, "mpl-toolkits": {"matplotlib"}, "google": {"protobuf", "google-cloud-storage"}, "tensorflow": {"tensorflow-cpu", "tensorflow-gpu"},
	"onnxruntime": {"onnxruntime-gpu"}, "psycopg2": {"psycopg2-binary"}, "magic": {"python-magic"}, "fitz": {"pymupdf"}, "docx": {"python-docx"},
}

// categoryPackages are the packages that a category is about, named or not.
var categoryPackages = map[string][]string{
	"numpy-abi": {"numpy"}, "numpy-removed-alias": {"numpy"}, "pkg-resources-removed": {"setuptools"}, "protobuf-incompatible": {"protobuf", "grpcio-tools"},
}

// trail is what a finding names.
type trail struct {
	finding  domain.Finding
	areas    area
	settings *regexp.Regexp
	// outside tells that the cause is not in the repository.
	outside  bool
	files    []string // relative to the checkout as far as it is known
	line     int      // in the first file; 0 when unknown
	subjects []string // base names of files that the failed tests are named after
	packages []string // folded names of distributions
	modules  []string // top-level names as they are imported
	names    []string // that facts hold
	quoted   []string // that only the text holds
	left     int      // bytes of diffs that are still looked at
}

func newTrail(f domain.Finding) *trail {
	t := &trail{finding: f, areas: areas[f.Category], settings: settings[f.Category], left: maxDiffBytes}
	if f.Remedy == domain.RemedyRetry || f.Remedy == domain.RemedyNone {
		t.outside, t.areas, t.settings = true, 0, nil
		for _, k := range outsideFacts {
			t.addName(&t.names, hostOf(f.Fact(k)))
		}
		return t
	}
	for _, k := range []string{"file", "path"} {
		t.addFile(f.Fact(k))
	}
	for _, part := range strings.FieldsFunc(f.Fact("files"), func(r rune) bool { return r == ',' || r == '\n' || r == ' ' }) {
		t.addFile(part)
	}
	if len(t.files) > 0 {
		t.line, _ = strconv.Atoi(f.Fact("line"))
	}
	t.addTests(f.Fact("tests") + " " + f.Fact("test"))
	for _, k := range []string{"package", "packages", "module", "replacement"} {
		t.addPackages(f.Fact(k))
	}
	for _, p := range categoryPackages[f.Category] {
		t.addPackage(p)
	}
	for _, k := range namingFacts {
		for part := range strings.FieldsFuncSeq(f.Fact(k), func(r rune) bool { return r == ',' || r == ' ' }) {
			t.addName(&t.names, part)
		}
	}
	for _, m := range inQuotes.FindAllStringSubmatch(f.Text[:min(len(f.Text), rules.MaxText)], maxNames) {
		t.addName(&t.quoted, m[1])
	}
	return t
}

// inQuotes finds names in the text of a finding.
var inQuotes = regexp.MustCompile("['\"`‘]([A-Za-z_][\\w.-]{2,80})['\"`’]")

// addName keeps a name that is worth looking for.
func (t *trail) addName(list *[]string, name string) {
	name = strings.Trim(name, "'\"`()[]{}<>,;:")
	if len(name) < minName || len(name) > maxReasonName || len(*list) >= maxNames || strings.Trim(name, "0123456789.-") == "" ||
		everywhere[strings.ToLower(name)] || slices.Contains(t.names, name) || slices.Contains(t.quoted, name) {
		return
	}
	*list = append(*list, name)
}

// everywhere are words that stand in most files and point nowhere.
var everywhere = func() map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq("none true false null self str int float bool dict list tuple set object type types nonetype function module name value key path file data error test " +
		"tests the and for not def class import from return name_ __init__ __main__ args kwargs main run read write contents python") {
		m[w] = true
	}
	return m
}()

// checkouts are where runners check a repository out, up to its own folder.
var checkouts = regexp.MustCompile(`^(?:[A-Za-z]:)?(?:/home/runner/work/[^/]+/[^/]+/|/__w/[^/]+/[^/]+/|/Users/runner/work/[^/]+/[^/]+/|/a/[^/]+/[^/]+/|/github/workspace/|(?:/[^/]+)*/_work/[^/]+/[^/]+/)`)

// installed are paths that are no repository's.
var installed = regexp.MustCompile(`(?:^|/)(?:site-packages|dist-packages|node_modules|lib/python3[^/]*|hostedtoolcache)/`)

// relative is a path as the repository has it, and "" for one that lies elsewhere.
func relative(p string) string {
	p = strings.ReplaceAll(strings.Trim(p, "'\"`"), `\`, "/")
	if installed.MatchString(p) || strings.ContainsAny(p, "\n\x00*<>|") || len(p) > 1000 || strings.Contains(p, "://") {
		return ""
	}
	p = checkouts.ReplaceAllString(p, "")
	return strings.TrimPrefix(path.Clean("/"+p), "/")
}

func (t *trail) addFile(name string) {
	name = relative(name)
	if name != "" && len(t.files) < maxNames && !slices.Contains(t.files, name) {
		t.files = append(t.files, name)
	}
}

// parameters of a test are no part of its file or its name.
var parameters = regexp.MustCompile(`\[[^\]]*\]`)

// addTests reads ids of tests ("tests/test_a.py::TestB::test_c[1]", "pkg/a.test.ts").
func (t *trail) addTests(ids string) {
	ids = parameters.ReplaceAllString(ids, "")
	for id := range strings.FieldsFuncSeq(ids, func(r rune) bool { return r == ',' || r == ' ' || r == ';' }) {
		file, name, found := strings.Cut(id, "::")
		if !found && path.Ext(file) == "" {
			file, name = "", id
		}
		if file != "" {
			t.addFile(file)
			base := path.Base(relative(file))
			stem := strings.TrimSuffix(base, path.Ext(base))
			for _, affix := range []string{"test_", "tests_"} {
				t.addSubject(strings.CutPrefix(stem, affix))
			}
			for _, affix := range []string{"_test", "_tests", ".test", ".spec", "_spec", "Test"} {
				t.addSubject(strings.CutSuffix(stem, affix))
			}
		}
		if i := strings.LastIndex(name, "::"); i >= 0 {
			name = name[i+2:]
		}
		t.addName(&t.names, name)
	}
}

func (t *trail) addSubject(stem string, named bool) {
	if named && len(stem) >= minName && len(t.subjects) < maxNames && !slices.Contains(t.subjects, stem) {
		t.subjects = append(t.subjects, stem)
	}
}

// requirement is a name of a package at the beginning of what requires it.
var requirement = regexp.MustCompile(`[A-Za-z0-9][A-Za-z0-9._-]*`)

func (t *trail) addPackages(list string) {
	for part := range strings.FieldsFuncSeq(list[:min(len(list), 1000)], func(r rune) bool { return r == ',' || r == ' ' || r == ';' }) {
		name := requirement.FindString(part)
		if name == "" || strings.Trim(name, "0123456789.") == "" {
			continue
		}
		top, _, _ := strings.Cut(name, ".")
		if len(top) >= minName && len(t.modules) < maxNames && !slices.Contains(t.modules, top) {
			t.modules = append(t.modules, top)
		}
		t.addPackage(name)
		t.addPackage(top)
	}
}

func (t *trail) addPackage(name string) {
	for _, p := range append([]string{fold(name)}, distributions[fold(name)]...) {
		if len(t.packages) < maxNames && len(p) >= 2 && !slices.Contains(t.packages, p) {
			t.packages = append(t.packages, p)
		}
	}
}

var separators = regexp.MustCompile(`[-_.]+`)

// fold writes a package's name as indexes compare it.
func fold(name string) string { return separators.ReplaceAllString(strings.ToLower(name), "-") }

// hostOf is the host of an address, and anything else as it is.
func hostOf(s string) string {
	if _, rest, found := strings.Cut(s, "://"); found {
		s, _, _ = strings.Cut(rest, "/")
	}
	s, _, _ = strings.Cut(s, ":")
	return s
}

// file returns what of the trail a changed file touches: the best clue that the
// file itself is, and the best one in its diff. newest tells that no later change
// can have moved its lines.
func (t *trail) file(f domain.ChangedFile, newest bool) []clue {
	var best, within clue
	take := func(into *clue, c clue) {
		if c.score > into.score {
			*into = c
		}
	}
	does := "changes"
	switch f.Status {
	case "added":
		does = "adds"
	case "removed":
		does = "removes"
	case "renamed":
		does = "renames"
	}
	take(&best, t.named(f, does))
	take(&best, t.inArea(f, does))

	hidden := f.PatchCut && f.Patch == ""
	if hidden && t.areas&requirements != 0 && isRequirements(f.Path) {
		take(&best, because(45, "changes so much that the diff is not shown in", f.Path, ""))
	}
	isNamed := best.score >= 90
	lock, install := isLock(f.Path), t.installs(f.Path)
	for l := range t.lines(f.Patch) {
		if l.kind == ' ' {
			continue
		}
		if c := t.changedLine(f.Path, l, lock, install); c.score > 0 {
			if isNamed {
				c.score += 10
			}
			take(&within, c)
		}
		if isNamed && newest && l.kind == '+' && t.line > 0 && t.files[0] == f.Path && l.number >= t.line-nearLines && l.number <= t.line+nearLines {
			take(&best, because(110, "changes lines at the failing one in", f.Path, ""))
		}
	}
	var out []clue
	for _, c := range []clue{best, within} {
		if c.score > 0 {
			out = append(out, c)
		}
	}
	return out
}

// named weighs a file by its name alone.
func (t *trail) named(f domain.ChangedFile, does string) (best clue) {
	for _, p := range []string{f.Path, f.Previous} {
		if p == "" {
			continue
		}
		for _, want := range t.files {
			score := 0
			switch {
			case p == want:
				score = 100
			case strings.HasSuffix(want, "/"+p) && strings.Contains(p, "/"), strings.HasSuffix(p, "/"+want) && strings.Contains(want, "/"):
				score = 90
			case p == want+".dvc", strings.HasPrefix(p, want+"/"):
				score = 80
			case path.Base(p) == path.Base(want) && !ambiguous[path.Base(p)] && (!strings.Contains(want, "/") || !strings.Contains(p, "/")):
				score = 60
			}
			if score > best.score {
				best = because(score, does, p, "")
			}
		}
		base := path.Base(p)
		if stem := strings.TrimSuffix(base, path.Ext(base)); best.score < 55 && slices.Contains(t.subjects, stem) && isCode(p) {
			best = because(55, does+" what the failed test is named after,", p, "")
		}
	}
	return best
}

// ambiguous are names that files have in many folders.
var ambiguous = map[string]bool{"__init__.py": true, "conftest.py": true, "utils.py": true, "setup.py": true, "main.py": true, "index.ts": true, "index.js": true, "README.md": true}

// inArea weighs a file by its kind.
func (t *trail) inArea(f domain.ChangedFile, does string) (best clue) {
	p := f.Path
	put := func(of area, score int, does, name string) {
		if t.areas&of != 0 && score > best.score {
			best = because(score, does, name, "")
		}
	}
	own := p == t.finding.Workflow && p != ""
	switch {
	case own && t.areas&workflows != 0:
		put(workflows, 60, does+" the workflow", p)
	case own && !t.outside:
		best = because(scoreElsewhere, does+" the workflow", p, "")
	case isAction(p):
		put(workflows, 50, does+" the action", p)
	case strings.HasPrefix(p, ".github/workflows/"):
		put(workflows, 20, does+" another workflow,", p)
	}
	if isRequirements(p) {
		put(requirements, 40, does+" what is installed, by", p)
	}
	if isImage(p) {
		put(images, 45, does, p)
	}
	switch path.Base(p) {
	case ".python-version", "runtime.txt", ".tool-versions":
		put(python, 60, does+" the version of Python, by", p)
	}
	if isToolConfig(p) {
		put(toolConfig, 45, does+" the tools' configuration", p)
	}
	if path.Ext(p) == ".dvc" || path.Base(p) == "dvc.lock" || path.Base(p) == "dvc.yaml" {
		put(dataFiles, 45, does+" the data's version, by", p)
	}
	if strings.Contains(p, "migrations/") || strings.Contains(p, "alembic/") {
		put(migrations, 50, does+" the migration", p)
	}
	return best
}

// changedLine weighs one line that a commit added or removed.
func (t *trail) changedLine(p string, l diffLine, lock, install bool) (best clue) {
	take := func(c clue) {
		if c.score > best.score {
			best = c
		}
	}
	if install {
		folded := ""
		if len(t.packages) > 0 {
			folded = foldLine(l.text)
		}
		for _, name := range t.packages {
			if lock && l.stanza == name || names(folded, name, packageByte) {
				take(because(95, "changes the requirement", name, p))
			}
		}
	}
	if isCode(p) {
		for _, m := range t.modules {
			if imports(l.text, m) {
				take(because(90, either(l, "imports", "no longer imports"), m, p))
			}
		}
	}
	if t.settings != nil && !lock && l.text != "" {
		if m := t.settings.FindStringSubmatch(l.text); m != nil {
			take(because(85, "changes the setting", m[1], p))
		}
	}
	if lock || path.Ext(p) == ".ipynb" {
		return best // generated: every word stands in them
	}
	does := either(l, "adds a line with", "removes a line with")
	for _, name := range t.names {
		if names(l.text, name, wordByte) {
			take(because(70, does, name, p))
		}
	}
	for _, name := range t.quoted {
		if isCode(p) && names(l.text, name, wordByte) {
			take(because(40, does, name, p))
		}
	}
	return best
}

func either(l diffLine, added, removed string) string {
	if l.kind == '+' {
		return added
	}
	return removed
}

// installs tells whether packages are named in a file to be installed.
func (t *trail) installs(p string) bool {
	return len(t.packages) > 0 && (isRequirements(p) || isImage(p) || isAction(p) || strings.HasPrefix(p, ".github/workflows/") ||
		path.Base(p) == "Makefile" || path.Ext(p) == ".sh" || path.Base(p) == "noxfile.py" || path.Base(p) == ".pre-commit-config.yaml")
}

// foldLine folds all names of a line, so that packages are compared as indexes do.
func foldLine(text string) string {
	return strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(text))
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

func packageByte(c byte) bool { return c == '-' || wordByte(c) }

// names tells whether a name stands in a line as a whole.
func names(line, name string, part func(byte) bool) bool {
	for at := 0; ; {
		i := strings.Index(line[at:], name)
		if i < 0 {
			return false
		}
		from, to := at+i, at+i+len(name)
		if (from == 0 || !part(line[from-1]) || !part(name[0])) && (to == len(line) || !part(line[to]) || !part(name[len(name)-1])) {
			return true
		}
		at = from + 1
	}
}

// imports tells whether a line of Python or JavaScript imports a module.
func imports(line, module string) bool {
	line = strings.TrimSpace(line)
	if !strings.Contains(line, module) {
		return false
	}
	for _, before := range []string{"import ", "from "} {
		if rest, found := strings.CutPrefix(line, before); found {
			for part := range strings.SplitSeq(rest, ",") {
				part = strings.TrimSpace(part)
				if part == module || strings.HasPrefix(part, module+".") || strings.HasPrefix(part, module+" ") {
					return true
				}
				if before == "from " {
					break
				}
			}
		}
	}
	for _, quoted := range []string{"'" + module + "'", `"` + module + `"`} {
		if strings.Contains(line, "from "+quoted) || strings.Contains(line, "require("+quoted) || strings.Contains(line, "import "+quoted) {
			return true
		}
	}
	return false
}

func isCode(p string) bool {
	switch path.Ext(p) {
	case ".py", ".pyx", ".pyi", ".ipynb", ".js", ".jsx", ".ts", ".tsx", ".mjs", ".cjs", ".go", ".rs", ".java", ".kt", ".scala", ".c", ".cc", ".cpp", ".cu", ".h", ".hpp", ".rb", ".jl", ".R", ".r", ".sh", ".dart", ".swift":
		return true
	}
	return false
}

func isAction(p string) bool {
	base := path.Base(p)
	return base == "action.yml" || base == "action.yaml" || strings.HasPrefix(p, ".github/actions/")
}

func isImage(p string) bool {
	base := strings.ToLower(path.Base(p))
	return strings.HasPrefix(base, "dockerfile") || strings.HasSuffix(base, ".dockerfile") || base == "containerfile" || base == "devcontainer.json" ||
		base == "apt.txt" || base == "packages.txt" || strings.HasPrefix(base, "docker-compose") || base == "compose.yml" || base == "compose.yaml"
}

// requirementFiles are names of files that say what is installed.
var requirementFiles = regexp.MustCompile(`(?i)(?:^|/)(?:[\w.-]*(?:requirements|constraints)[\w.-]*\.(?:txt|in)|requirements/[^/]+\.(?:txt|in)|pyproject\.toml|setup\.(?:py|cfg)|` +
	`[\w.-]*environment[\w.-]*\.ya?ml|conda[\w.-]*\.ya?ml|meta\.yaml|Pipfile|pixi\.toml|tox\.ini|package\.json|go\.mod|Cargo\.toml|build\.gradle(?:\.kts)?|pom\.xml|CMakeLists\.txt)$`)

func isRequirements(p string) bool { return requirementFiles.MatchString(p) || isLock(p) }

func isLock(p string) bool {
	switch path.Base(p) {
	case "Pipfile.lock", "poetry.lock", "uv.lock", "pdm.lock", "pixi.lock", "conda-lock.yml", "package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "go.sum", "Cargo.lock", "pylock.toml":
		return true
	}
	return false
}

// toolConfigs are names of files that configure linters, type checkers and test
// runners.
var toolConfigs = regexp.MustCompile(`(?:^|/)(?:\.flake8|\.?ruff\.toml|\.?mypy\.ini|pyrightconfig\.json|\.pre-commit-config\.ya?ml|\.?pylintrc|\.isort\.cfg|\.style\.yapf|\.eslintrc[\w.]*|eslint\.config\.\w+|` +
	`\.prettierrc[\w.]*|tsconfig[\w.-]*\.json|pytest\.ini|tox\.ini|setup\.cfg|pyproject\.toml|\.coveragerc|\.?codecov\.ya?ml|\.clang-(?:format|tidy)|\.editorconfig|biome\.json|conftest\.py|noxfile\.py|Makefile)$`)

func isToolConfig(p string) bool { return toolConfigs.MatchString(p) }

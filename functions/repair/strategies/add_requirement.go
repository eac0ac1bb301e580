package strategies

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// addRequirement adds the distribution of a missing module to the manifest that
// the failed job installs from.
type addRequirement struct{}

var _ Strategy = addRequirement{}

func (addRequirement) ID() string { return "add-requirement" }

func (addRequirement) Applies(f domain.Finding) bool { return f.Category == "missing-module" }

func (s addRequirement) Plan(ctx context.Context, tree Tree, f domain.Finding) (domain.Plan, error) {
	module := f.Fact("module")
	if !moduleName.MatchString(module) {
		return domain.Plan{}, refuse("the finding does not name a module")
	}
	top, _, _ := strings.Cut(module, ".")
	if standard[top] {
		return domain.Plan{}, refuse("%s is part of Python's standard library (of some versions): no requirement brings it", top)
	}
	paths, err := tree.Paths(ctx)
	if err != nil {
		return domain.Plan{}, err
	}
	if own := ownModule(paths, top); own != "" {
		return domain.Plan{}, refuse("%s is the repository's own code (%s): it has to be found, not installed", top, own)
	}
	p := newPlacer(ctx, tree, paths)
	req, from, err := p.requirement(module)
	if err != nil {
		return domain.Plan{}, err
	}
	usage, err := p.usage(top)
	if err != nil {
		return domain.Plan{}, err
	}
	place, err := p.place(f, edit.Normalize(req.Raw), usage)
	if err != nil {
		return domain.Plan{}, err
	}
	splices, err := place.add(req.Raw + req.Extras + req.Specifier)
	if err != nil {
		return domain.Plan{}, refuse("%s can't be added to %s: %s", req.Raw, place.path, why(err))
	}
	name := ""
	if !sameName(req.Raw, module) {
		name = fmt.Sprintf(" The module %s comes with the distribution %s.", code(module), code(req.Raw))
	}
	if from != "" {
		name += fmt.Sprintf(" It is required in the same way in %s.", code(from))
	}
	because := map[usageKind]string{
		usedByPackage: "The repository's own code imports it outside of its tests.",
		usedByTests:   "Only tests import it.",
		usedByNobody:  "",
	}[usage]
	locks := ""
	for _, lock := range []string{"uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "conda-lock.yml"} {
		if slices.Contains(paths, path.Join(path.Dir(place.path), lock)) {
			locks += fmt.Sprintf(" %s is not touched; the tool brings it up to date.", code(lock))
		}
	}
	return domain.Plan{
		Strategy: s.ID(), Action: domain.ActionEdit,
		Title:     "Add the missing requirement " + req.Raw,
		Rationale: strings.TrimSpace(fmt.Sprintf("Python could not import %s, and nothing that the job installs requires it. %s is added to %s, from which the job installs.%s %s%s", code(module), code(req.Raw+req.Extras+req.Specifier), place.title(), name, because, locks)),
		Risk:      domain.RiskLow, Edits: changes{place.path: splices}.edits(),
		Verify: fmt.Sprintf("The job installs %s, and the import works.", req.Raw),
	}, nil
}

// ownModule finds the repository's own file or directory of that import name,
// which Python would find from some directory that is no package itself.
func ownModule(paths []string, top string) string {
	packages := map[string]bool{}
	for _, p := range paths {
		if path.Base(p) == "__init__.py" {
			packages[path.Dir(p)] = true
		}
	}
	for _, p := range paths {
		if path.Ext(p) != ".py" && path.Ext(p) != ".pyx" || vendored(p) {
			continue
		}
		for dir := p; dir != "."; dir = path.Dir(dir) {
			name := strings.TrimSuffix(strings.TrimSuffix(path.Base(dir), ".py"), ".pyx")
			if name == top && !packages[path.Dir(dir)] {
				return dir
			}
		}
	}
	return ""
}

// placer finds where a requirement belongs.
type placer struct {
	read     readFunc
	workflow func(path string) (*workflow, error)
	paths    []string
	ms       manifests
}

func newPlacer(ctx context.Context, tree Tree, paths []string) placer {
	read := reading(ctx, tree)
	return placer{
		read:     read,
		workflow: func(p string) (*workflow, error) { return readWorkflow(ctx, tree, p) },
		paths:    paths,
		ms:       manifests{read},
	}
}

// requirement is what brings the module: in the spelling and with the bound that
// the repository has elsewhere (from), or from the table. The error is a refusal.
func (p placer) requirement(module string) (req edit.Requirement, from string, err error) {
	known, certain := distribution(module)
	elsewhere, err := p.elsewhere()
	if err != nil {
		return edit.Requirement{}, "", err
	}
	names := []string{edit.Normalize(known)}
	switch {
	case module == "cv2":
		// All of these bring the same module; whichever the repository knows is meant.
		names = []string{"opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"}
	case known == "psycopg2-binary":
		names = []string{"psycopg2-binary", "psycopg2"}
	case !certain && known == "" && !strings.Contains(module, "."):
		if _, blocked := distributions[module]; !blocked {
			names = []string{edit.Normalize(module)}
		}
	}
	var found []edit.Requirement
	for _, e := range elsewhere {
		if slices.Contains(names, e.Name) && e.Name != "" {
			if !slices.ContainsFunc(found, func(o edit.Requirement) bool {
				return o.Name == e.Name && o.Specifier == e.Specifier && o.Extras == e.Extras
			}) {
				found = append(found, e.Requirement)
			}
			from = e.path
		}
		if len(found) > 20 {
			break
		}
	}
	if len(found) == 1 && found[0].URL == "" {
		r := found[0]
		r.Marker = ""
		return r, from, nil
	}
	if len(found) > 1 {
		same := !slices.ContainsFunc(found, func(o edit.Requirement) bool { return o.Name != found[0].Name })
		if !same {
			return edit.Requirement{}, "", refuse("the repository knows several distributions that bring %s", module)
		}
		return edit.Requirement{Name: found[0].Name, Raw: found[0].Raw}, "", nil
	}
	if !certain {
		if known != "" || strings.Contains(module, ".") {
			return edit.Requirement{}, "", refuse("%s is a part of a package that may be installed in a version without it: that is no missing requirement", module)
		}
		return edit.Requirement{}, "", refuse("which distribution brings %s is not certain, and a wrong name would install a stranger's code", module)
	}
	if module == "cv2" {
		if known, err = p.opencv(); err != nil {
			return edit.Requirement{}, "", err
		}
	}
	return edit.Requirement{Name: edit.Normalize(known), Raw: known}, "", nil
}

// opencv chooses between the two distributions of cv2: without windows where the
// repository's container images are slim ones, which have no libGL, and no code
// opens a window.
func (p placer) opencv() (string, error) {
	for _, f := range p.paths {
		if !strings.HasPrefix(path.Base(f), "Dockerfile") {
			continue
		}
		b, err := p.read(f)
		if err != nil {
			return "", err
		}
		if regexp.MustCompile(`(?im)^from\s+\S*(?:slim|alpine)`).Match(b) && !regexp.MustCompile(`libgl1|libgl1-mesa`).Match(b) {
			opens, err := p.mentions(regexp.MustCompile(`cv2\.(?:imshow|namedWindow|waitKey)`))
			if err != nil || opens {
				return "opencv-python", err
			}
			return "opencv-python-headless", nil
		}
	}
	return "opencv-python", nil
}

// mentions reports whether a Python file of the repository matches.
func (p placer) mentions(re *regexp.Regexp) (bool, error) {
	looked := 0
	for _, f := range p.paths {
		if path.Ext(f) != ".py" || vendored(f) {
			continue
		}
		if looked++; looked > maxPythonFiles {
			break
		}
		b, err := p.read(f)
		if errors.Is(err, domain.ErrTooLarge) {
			continue
		} else if err != nil {
			return false, err
		}
		if re.Match(b) {
			return true, nil
		}
	}
	return false, nil
}

type knownRequirement struct {
	edit.Requirement
	path string
}

// elsewhere lists every requirement that the repository's manifests name.
func (p placer) elsewhere() ([]knownRequirement, error) {
	var out []knownRequirement
	n := 0
	for _, f := range p.paths {
		base := path.Base(f)
		isRequirements := strings.Contains(strings.ToLower(f), "requirements") && (path.Ext(f) == ".txt" || path.Ext(f) == ".in")
		if vendored(f) || !isRequirements && base != "pyproject.toml" {
			continue
		}
		if n++; n > 40 {
			break
		}
		b, err := p.read(f)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, domain.ErrTooLarge) {
			continue
		} else if err != nil {
			return nil, err
		}
		var reqs []edit.Requirement
		if isRequirements {
			file, err := edit.ParseRequirements(b)
			if err != nil || file.Hashed() || edit.Generated(b) != "" {
				continue // names in lock files may be anybody's dependencies
			}
			for _, l := range file.Requirements {
				reqs = append(reqs, l.Requirement)
			}
		} else if t, err := edit.ParseTOML(b); err == nil {
			var texts []string
			deps, _ := t.Strings("project", "dependencies")
			texts = append(texts, deps...)
			for _, table := range [][]string{{"project", "optional-dependencies"}, {"dependency-groups"}} {
				for _, name := range t.Keys(table...) {
					list, _ := t.Strings(append(slices.Clone(table), name)...)
					texts = append(texts, list...)
				}
			}
			reqs = requirements(texts)
		}
		for _, r := range reqs {
			out = append(out, knownRequirement{r, f})
		}
	}
	return out, nil
}

type usageKind string

const (
	usedByPackage usageKind = "package"
	usedByTests   usageKind = "tests"
	usedByNobody  usageKind = "nobody" // no import was seen: an installed package may import it
)

// testPath reports whether a file is a test, or serves development only.
func testPath(p string) bool {
	for _, part := range strings.Split(path.Dir(p), "/") {
		switch part {
		case "test", "tests", "testing", "docs", "doc", "examples", "example", "benchmarks", "benchmark", "ci", ".github":
			return true
		}
	}
	base := path.Base(p)
	return strings.HasPrefix(base, "test_") || strings.HasSuffix(base, "_test.py") || base == "conftest.py" || base == "noxfile.py"
}

// usage finds out who imports a module.
func (p placer) usage(top string) (usageKind, error) {
	var code, tests []string
	for _, f := range p.paths {
		switch {
		case path.Ext(f) != ".py" || vendored(f) || path.Base(f) == "setup.py":
		case testPath(f):
			tests = append(tests, f)
		default:
			code = append(code, f)
		}
	}
	looked := 0
	imports := func(files []string) (bool, error) {
		for _, f := range files {
			if looked++; looked > maxPythonFiles {
				return false, nil
			}
			b, err := p.read(f)
			if errors.Is(err, domain.ErrTooLarge) || errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return false, err
			}
			if !strings.Contains(string(b), top) {
				continue
			}
			list, err := edit.Imports(b)
			if err != nil {
				continue
			}
			if slices.ContainsFunc(list, func(i edit.Import) bool { return i.Level == 0 && i.Top() == top }) {
				return true, nil
			}
		}
		return false, nil
	}
	if found, err := imports(code); err != nil || found {
		return usedByPackage, err
	}
	if looked > maxPythonFiles {
		return usedByNobody, nil // not everything was looked at: assume nothing
	}
	if found, err := imports(tests); err != nil || found {
		return usedByTests, err
	}
	return usedByNobody, nil
}

// place chooses the list that the failed job installs from and that fits the
// usage. The error is a refusal with every reason on the way.
func (p placer) place(f domain.Finding, name string, usage usageKind) (manifest, error) {
	installs, opaque, w, err := p.installs(f)
	if err != nil {
		return manifest{}, err
	}
	if len(installs) == 0 {
		if len(opaque) > 0 {
			return manifest{}, refuse("the job installs with %s, whose manifest the bot does not edit", strings.Join(opaque, ", "))
		}
		return manifest{}, refuse("the job of %q that failed installs from no manifest that can be told", f.Workflow)
	}
	var run, dev []manifest
	var reasons []string
	for _, i := range installs {
		lists, refused, err := p.lists(i)
		if err != nil {
			return manifest{}, err
		}
		reasons = append(reasons, refused...)
		for _, m := range lists {
			if r, ok := m.find(name); ok && !i.partial && r.Marker == "" && i.locked == "" {
				return manifest{}, refuse("%s is in %s already, which the job installs: that it is missing has another cause", r.Raw, m.title())
			}
			switch {
			case i.partial:
				reasons = append(reasons, m.path+" is installed in some legs of the matrix only")
			case i.locked != "":
				reasons = append(reasons, i.locked)
			case m.dev:
				dev = append(dev, m)
			case m.what == "" || i.kind != installProject || !strings.Contains(m.what, "optional") && !strings.Contains(m.what, "extra"):
				run = append(run, m)
			}
		}
		if i.kind == installPackages && slices.Contains(i.packages, name) {
			return manifest{}, refuse("the job installs %s by name already: that it is missing has another cause", name)
		}
	}
	run, dev = distinct(run), distinct(dev)
	if usage == usedByTests && len(dev) > 0 {
		return dev[0], nil
	}
	// A project's own list says what it needs wherever it is installed; a file of
	// requirements says what this job needs.
	projects := slices.DeleteFunc(slices.Clone(run), func(m manifest) bool { return m.what == "" })
	if len(projects) > 0 && usage != usedByTests {
		run = projects
	}
	switch {
	case len(run) == 1:
		return run[0], nil
	case len(run) > 1:
		if main := slices.DeleteFunc(slices.Clone(run), func(m manifest) bool {
			return !slices.Contains([]string{"requirements.txt", "base.txt", "main.txt"}, path.Base(m.path))
		}); len(main) == 1 {
			return main[0], nil
		}
		var titles []string
		for _, m := range run {
			titles = append(titles, m.path)
		}
		return manifest{}, refuse("the job installs from several lists that %s could go to: %s", name, strings.Join(titles, ", "))
	case len(dev) > 0:
		return dev[0], nil
	}
	if len(reasons) == 0 {
		if m, ok := commandLine(installs, w); ok {
			return m, nil
		}
		reasons = append(reasons, "none of what the job installs has a list that can be edited")
	}
	return manifest{}, refuse("%s can't be added with certainty: %s", name, strings.Join(slices.Compact(reasons), "; "))
}

func distinct(ms []manifest) []manifest {
	var out []manifest
	for _, m := range ms {
		if !slices.ContainsFunc(out, func(o manifest) bool { return o.path == m.path && o.what == m.what }) {
			out = append(out, m)
		}
	}
	return out
}

// installs lists what the failed job installs. A finding without a workflow stands
// for the repository's one manifest at its root.
func (p placer) installs(f domain.Finding) ([]install, []string, *workflow, error) {
	if f.Workflow == "" {
		var out []install
		if slices.Contains(p.paths, "requirements.txt") {
			out = append(out, install{kind: installFile, path: "requirements.txt"})
		}
		if m, err := p.ms.runtime(""); err == nil && m.path != "requirements.txt" {
			out = append(out, install{kind: installProject, tool: "pip"})
		}
		if len(out) != 1 {
			return nil, nil, nil, refuse("the finding does not say which workflow failed, and the repository does not have exactly one manifest")
		}
		return out, nil, nil, nil
	}
	w, err := p.workflow(f.Workflow)
	if err != nil {
		return nil, nil, nil, err
	}
	j, err := w.job(f)
	if err != nil {
		return nil, nil, nil, err
	}
	out, opaque, err := w.installs(p.read, j, j.step(f))
	return out, opaque, w, err
}

// lists resolves one install to its lists; what can't be edited comes back as
// reasons.
func (p placer) lists(i install) (out []manifest, reasons []string, err error) {
	take := func(m manifest, err error) error {
		if refusal, ok := errors.AsType[*domain.Refusal](err); ok {
			reasons = append(reasons, refusal.Reason)
			return nil
		} else if err != nil {
			return err
		}
		out = append(out, m)
		return nil
	}
	switch i.kind {
	case installFile:
		err = take(p.ms.file(i.path))
	case installConda:
		err = take(p.ms.conda(i.path))
	case installProject:
		if err = take(p.ms.runtime(i.path)); err != nil {
			return nil, nil, err
		}
		named, devErr := p.ms.development(i)
		if refusal, ok := errors.AsType[*domain.Refusal](devErr); ok {
			reasons = append(reasons, refusal.Reason)
		} else if devErr != nil {
			return nil, nil, devErr
		}
		out = append(out, named...)
	case installPackages: // names on a command line are no list
	case installTox:
		b, readErr := p.ms.read(i.path)
		if readErr != nil {
			return nil, nil, readErr
		}
		ini, iniErr := edit.ParseINI(b)
		if iniErr != nil {
			reasons = append(reasons, i.path+" does not parse")
			break
		}
		deps, _ := ini.Values("testenv", "deps")
		out = append(out, manifest{path: i.path, what: "deps", dev: true, reqs: requirements(deps),
			add: func(req string) ([]domain.Splice, error) { return ini.AddToList(req, "testenv", "deps") }})
	}
	return out, reasons, err
}

// commandLine is the last pip command of the job that names packages, as a list:
// jobs without any manifest install so.
func commandLine(installs []install, w *workflow) (manifest, bool) {
	if w == nil {
		return manifest{}, false
	}
	for _, i := range slices.Backward(installs) {
		if i.kind != installPackages || i.partial || i.index || i.file != w.path || slices.Equal(i.packages, []string{"pip"}) {
			continue
		}
		if !slices.ContainsFunc(i.packages, func(p string) bool { return !slices.Contains([]string{"pip", "setuptools", "wheel", "build", "uv"}, p) }) {
			continue
		}
		return manifest{path: w.path, what: "pip install", add: func(req string) ([]domain.Splice, error) {
			return []domain.Splice{appendWord(i, req)}, nil
		}}, true
	}
	return manifest{}, false
}

// appendWord names another package behind the last one of a command, in quotes
// where the shell would read it in another way.
func appendWord(i install, req string) domain.Splice {
	if strings.ContainsAny(req, "<>=!~[]* ;") {
		quote := `"`
		for _, w := range i.command {
			if raw := string(i.raw[w.start:w.end]); strings.HasSuffix(raw, "'") {
				quote = "'"
			}
		}
		req = quote + req + quote
	}
	return domain.Splice{Start: i.last.end, New: " " + req}
}

package strategies

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// quotePythonVersion quotes versions such as 3.10, which YAML reads as the number
// 3.1 without quotes.
type quotePythonVersion struct{}

var _ Strategy = quotePythonVersion{}

func (quotePythonVersion) ID() string { return "quote-python-version" }

func (quotePythonVersion) Applies(f domain.Finding) bool {
	return f.Category == "python-version" && regexp.MustCompile(`\A3\.[1-9]\z`).MatchString(f.Fact("version"))
}

var pythonKey = regexp.MustCompile(`(?i)python|\Apy(?:[_-]?ver(?:sion)?s?)?\z`)

func (s quotePythonVersion) Plan(ctx context.Context, tree Tree, f domain.Finding) (domain.Plan, error) {
	w, err := readWorkflow(ctx, tree, f.Workflow)
	if err != nil {
		return domain.Plan{}, err
	}
	written := f.Fact("version") + "0"
	c := changes{}
	if err := quoteVersions(w, written, c); err != nil {
		return domain.Plan{}, err
	}
	if len(c) == 0 {
		return domain.Plan{}, refuse("%q holds no unquoted %s that YAML would read as %s", w.path, written, f.Fact("version"))
	}
	others, err := workflows(ctx, tree)
	if err != nil {
		return domain.Plan{}, err
	}
	for _, o := range others {
		extra := changes{}
		if o.path == w.path || quoteVersions(o, written, extra) != nil {
			continue
		}
		for p, splices := range extra {
			c.add(p, splices...)
		}
	}
	return domain.Plan{
		Strategy: s.ID(), Action: domain.ActionEdit,
		Title:     fmt.Sprintf("Quote the Python version %s", written),
		Rationale: fmt.Sprintf("Without quotes YAML reads %s as the number %s, so the job asked for Python %s. In quotes it is the version that was meant.", code(written), f.Fact("version"), f.Fact("version")),
		Risk:      domain.RiskLow, Edits: c.edits(),
		Verify: fmt.Sprintf("The job sets up Python %s and passes.", written),
	}, nil
}

// quoteVersions quotes every number of that form below a key that speaks of
// Python, with the quotes of its neighbours.
func quoteVersions(w *workflow, written string, c changes) error {
	var walk func(n *yaml.Node, key, quote string) error
	walk = func(n *yaml.Node, key, quote string) error {
		switch n.Kind { //nolint:exhaustive // a parsed tree holds no other kinds, and aliases are not followed
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if err := walk(n.Content[i+1], n.Content[i].Value, `"`); err != nil {
					return err
				}
			}
		case yaml.SequenceNode:
			for _, e := range n.Content {
				if e.Kind == yaml.ScalarNode && e.Style&yaml.SingleQuotedStyle != 0 {
					quote = "'"
				}
			}
			for _, e := range n.Content {
				if err := walk(e, key, quote); err != nil {
					return err
				}
			}
		case yaml.ScalarNode:
			if n.Value != written || n.Tag != "!!float" || !pythonKey.MatchString(key) {
				return nil
			}
			splices, err := w.y.Quote(n, quote)
			if err != nil {
				return refuse("line %d of %s can't be edited: %s", n.Line, w.path, why(err))
			}
			c.add(w.path, splices...)
		}
		return nil
	}
	return walk(w.y.Root, "", `"`)
}

// pinRunner moves jobs that ask for an old Python from ubuntu-latest to the
// newest Ubuntu image that still has it.
type pinRunner struct{}

var _ Strategy = pinRunner{}

func (pinRunner) ID() string { return "pin-runner" }

var notFoundFor = regexp.MustCompile(`(?i)version '?([0-9.]+)'? with architecture '?x64'? was not found for Ubuntu (\d\d\.\d\d)`)

func (pinRunner) Applies(f domain.Finding) bool {
	return f.Category == "python-version" && notFoundFor.MatchString(f.Text)
}

// pythonImages are the newest images on which setup-python finds the version.
var pythonImages = map[string]string{"3.7": "ubuntu-22.04"}

func (s pinRunner) Plan(ctx context.Context, tree Tree, f domain.Finding) (domain.Plan, error) {
	m := notFoundFor.FindStringSubmatch(f.Text)
	if m == nil {
		return domain.Plan{}, refuse("the log does not say on which image the version was not found")
	}
	version := minorVersion(m[1])
	image := pythonImages[version]
	if image == "" || "ubuntu-"+m[2] <= image {
		return domain.Plan{}, refuse("no image that is still there has Python %s", m[1])
	}
	w, err := readWorkflow(ctx, tree, f.Workflow)
	if err != nil {
		return domain.Plan{}, err
	}
	failed, err := w.job(f)
	if err != nil {
		return domain.Plan{}, err
	}
	all, err := workflows(ctx, tree)
	if err != nil {
		return domain.Plan{}, err
	}
	c := changes{}
	for _, o := range all {
		for i := range o.jobs {
			j := &o.jobs[i]
			mine := o.path == w.path && j.key == failed.key
			if !o.asksFor(j, version) {
				if mine {
					return domain.Plan{}, refuse("job %s of %s does not ask for Python %s in a way that can be read", j.key, w.path, version)
				}
				continue
			}
			splices, err := o.moveRunner(j, image)
			if err != nil && mine {
				return domain.Plan{}, err
			}
			c.add(o.path, splices...)
		}
	}
	return domain.Plan{
		Strategy: s.ID(), Action: domain.ActionEdit,
		Title:     fmt.Sprintf("Run the jobs with Python %s on %s", version, image),
		Rationale: fmt.Sprintf("Ubuntu %s has no Python %s any more. The jobs that ask for it run on %s, the newest image that has it; the versions that are tested stay as they are.", m[2], version, code(image)),
		Risk:      domain.RiskLow, Edits: c.edits(),
		Verify: fmt.Sprintf("The job sets up Python %s and passes.", version),
	}, nil
}

func minorVersion(v string) string {
	parts := strings.SplitN(v, ".", 3)
	return strings.Join(parts[:min(len(parts), 2)], ".")
}

// asksFor reports whether a step of the job sets up that Python.
func (w *workflow) asksFor(j *job, version string) bool {
	for _, s := range j.steps {
		if !strings.HasPrefix(strings.ToLower(s.uses), "actions/setup-python@") {
			continue
		}
		versions, _ := w.values(j, edit.Value(edit.Get(s.node, "with", "python-version")))
		for _, v := range versions {
			if slices.ContainsFunc(strings.Fields(v), func(x string) bool { return minorVersion(x) == version }) {
				return true
			}
		}
	}
	return false
}

// moveRunner replaces ubuntu-latest and newer images of a job. Nothing is done
// for a job that runs elsewhere.
func (w *workflow) moveRunner(j *job, image string) ([]domain.Splice, error) {
	newer := func(label string) bool {
		return label == "ubuntu-latest" || strings.HasPrefix(label, "ubuntu-") && len(label) == len(image) && label > image
	}
	runsOn := edit.Get(j.node, "runs-on")
	nodes := []*yaml.Node{runsOn}
	if m := reference.FindStringSubmatch(edit.Value(runsOn)); m != nil && m[1] == "matrix" {
		nodes = nil
		if list := edit.Get(j.node, "strategy", "matrix", m[2]); list != nil && list.Kind == yaml.SequenceNode {
			nodes = list.Content
		}
		if slices.ContainsFunc(nodes, func(n *yaml.Node) bool { return n.Value == image }) {
			return nil, refuse("job %s of %s runs on %s too: dropping one of both legs is for a person", j.key, w.path, image)
		}
	}
	var out []domain.Splice
	for _, n := range nodes {
		if n == nil || !newer(n.Value) {
			continue
		}
		splice, err := w.y.SetScalar(n, image)
		if err != nil {
			return nil, refuse("line %d of %s can't be edited: %s", n.Line, w.path, why(err))
		}
		out = append(out, splice)
	}
	if len(out) != 1 {
		return nil, refuse("the runner of job %s in %s can't be told", j.key, w.path)
	}
	return out, nil
}

// alignRequiresPython lowers requires-python to a version that everything else in
// the repository says is supported.
type alignRequiresPython struct{}

var _ Strategy = alignRequiresPython{}

func (alignRequiresPython) ID() string { return "align-requires-python" }

var differentPython = regexp.MustCompile(`Package '([A-Za-z0-9._-]+)' requires a different Python: (3\.\d+)[0-9.a-z+]* not in '([^']+)'`)

func (alignRequiresPython) Applies(f domain.Finding) bool {
	return f.Category == "python-version" && differentPython.MatchString(f.Text)
}

func (s alignRequiresPython) Plan(ctx context.Context, tree Tree, f domain.Finding) (domain.Plan, error) {
	m := differentPython.FindStringSubmatch(f.Text)
	if m == nil {
		return domain.Plan{}, refuse("the log does not say which Python is required")
	}
	name, version, required := m[1], m[2], m[3]
	b, err := tree.ReadFile(ctx, "pyproject.toml")
	if errors.Is(err, fs.ErrNotExist) {
		return domain.Plan{}, refuse("there is no pyproject.toml that could require it")
	} else if err != nil {
		return domain.Plan{}, err
	}
	t, err := edit.ParseTOML(b)
	if err != nil {
		return domain.Plan{}, refuse("pyproject.toml does not parse")
	}
	own, _ := t.String("project", "name")
	current, ok := t.String("project", "requires-python")
	bound := regexp.MustCompile(`\A>=\s*3\.(\d+)((?:\s*,\s*<\s*4[0-9.]*)?)\z`).FindStringSubmatch(current)
	switch {
	case edit.Normalize(own) != edit.Normalize(name):
		return domain.Plan{}, refuse("%s is not this repository's package: which of its versions supports Python %s is not known here", name, version)
	case !ok || strings.ReplaceAll(current, " ", "") != strings.ReplaceAll(required, " ", "") || bound == nil:
		return domain.Plan{}, refuse("requires-python in pyproject.toml is not the simple lower bound that the log shows")
	}
	low, _ := strconv.Atoi(bound[1]) // digits by the expression
	if minor, err := strconv.Atoi(strings.TrimPrefix(version, "3.")); err != nil || minor >= low {
		return domain.Plan{}, refuse("Python %s is not below the required %s", version, current)
	}
	evidence, against, err := s.declared(ctx, tree, t, version)
	if err != nil {
		return domain.Plan{}, err
	}
	if len(evidence) < 2 || len(against) > 0 {
		return domain.Plan{}, refuse("the repository does not say clearly that Python %s is supported (%d places do), so it may as well be the job that should not use it", version, len(evidence))
	}
	splices, err := t.SetString(strings.Replace(current, "3."+bound[1], version, 1), "project", "requires-python")
	if err != nil {
		return domain.Plan{}, refuse("requires-python in pyproject.toml can't be edited: %s", why(err))
	}
	c := changes{"pyproject.toml": splices}
	return domain.Plan{
		Strategy: s.ID(), Action: domain.ActionEdit,
		Title:     fmt.Sprintf("Allow Python %s in requires-python", version),
		Rationale: fmt.Sprintf("%s in pyproject.toml refuses Python %s, which the rest of the repository supports: %s.", code("requires-python = \""+current+"\""), version, strings.Join(evidence, ", ")),
		Risk:      domain.RiskMedium, Edits: c.edits(),
		Verify: fmt.Sprintf("The package installs on Python %s and the job passes.", version),
	}, nil
}

// declared lists the places that say that a version is supported, and those that
// say it isn't.
func (alignRequiresPython) declared(ctx context.Context, tree Tree, t *edit.TOML, version string) (evidence, against []string, err error) {
	classifiers, ok := t.Strings("project", "classifiers")
	prefix := "Programming Language :: Python :: "
	switch {
	case slices.Contains(classifiers, prefix+version):
		evidence = append(evidence, "its classifiers")
	case ok && slices.ContainsFunc(classifiers, func(c string) bool { return strings.HasPrefix(c, prefix+"3.") }):
		against = append(against, "its classifiers")
	}
	short := "py" + strings.ReplaceAll(version, ".", "")
	for _, p := range [][]string{{"tool", "ruff", "target-version"}, {"tool", "mypy", "python_version"}, {"tool", "pyright", "pythonVersion"}} {
		if v, ok := t.String(p...); ok {
			if v == version || v == short {
				evidence = append(evidence, code(strings.Join(p, ".")))
			} else {
				against = append(against, code(strings.Join(p, ".")))
			}
		}
	}
	if v, ok := t.Strings("tool", "black", "target-version"); ok && slices.Contains(v, short) {
		evidence = append(evidence, "`tool.black.target-version`")
	}
	b, err := tree.ReadFile(ctx, "setup.cfg")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	if ini, iniErr := edit.ParseINI(b); err == nil && iniErr == nil {
		if v, ok := ini.Values("options", "python_requires"); ok && len(v) == 1 {
			if strings.ReplaceAll(v[0], " ", "") == ">="+version {
				evidence = append(evidence, "`python_requires` in setup.cfg")
			} else {
				against = append(against, "`python_requires` in setup.cfg")
			}
		}
	}
	all, err := workflows(ctx, tree)
	if err != nil {
		return nil, nil, err
	}
	for _, w := range all {
		for i := range w.jobs {
			if w.asksFor(&w.jobs[i], version) {
				evidence = append(evidence, "job "+code(w.jobs[i].key)+" of "+code(w.path))
			}
		}
	}
	return evidence, against, nil
}

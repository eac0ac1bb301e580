package standin

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	maxWorkflowBytes = 512 << 10
	maxLegs          = 256 // of a matrix
)

// workflowFile is as much of a workflow's syntax as the stand-in understands.
type workflowFile struct {
	Name     string
	On       triggers
	Env      map[string]string
	Defaults runDefaults
	Jobs     []*jobSpec // in the file's order
}

type triggers struct {
	Push, Pull *filter
	Dispatch   bool
}

type filter struct {
	Branches       []string `yaml:"branches"`
	BranchesIgnore []string `yaml:"branches-ignore"`
	Paths          []string `yaml:"paths"`
	PathsIgnore    []string `yaml:"paths-ignore"`
	Types          []string `yaml:"types"`
}

type runDefaults struct {
	Run struct {
		Shell            string `yaml:"shell"`
		WorkingDirectory string `yaml:"working-directory"`
	} `yaml:"run"`
}

type jobSpec struct {
	Key             string            `yaml:"-"`
	Name            string            `yaml:"name"`
	Uses            string            `yaml:"uses"`
	RunsOn          words             `yaml:"runs-on"`
	Needs           words             `yaml:"needs"`
	If              string            `yaml:"if"`
	Env             map[string]string `yaml:"env"`
	Defaults        runDefaults       `yaml:"defaults"`
	TimeoutMinutes  string            `yaml:"timeout-minutes"`
	ContinueOnError string            `yaml:"continue-on-error"`
	Strategy        struct {
		FailFast string    `yaml:"fail-fast"`
		Matrix   yaml.Node `yaml:"matrix"`
	} `yaml:"strategy"`
	Steps []stepSpec          `yaml:"steps"`
	Legs  []map[string]string `yaml:"-"` // of the matrix; one empty one without
}

type stepSpec struct {
	ID               string            `yaml:"id"`
	Name             string            `yaml:"name"`
	Uses             string            `yaml:"uses"`
	Run              string            `yaml:"run"`
	With             map[string]string `yaml:"with"`
	Shell            string            `yaml:"shell"`
	WorkingDirectory string            `yaml:"working-directory"`
	Env              map[string]string `yaml:"env"`
	If               string            `yaml:"if"`
	ContinueOnError  string            `yaml:"continue-on-error"`
	TimeoutMinutes   string            `yaml:"timeout-minutes"`
}

// words is a YAML scalar or a list of them.
type words []string

// UnmarshalYAML takes both forms; of a mapping (runner groups) only the labels.
func (w *words) UnmarshalYAML(n *yaml.Node) error {
	switch n.Kind {
	case yaml.ScalarNode:
		*w = words{n.Value}
		return nil
	case yaml.MappingNode:
		var group struct {
			Labels words `yaml:"labels"`
		}
		err := n.Decode(&group)
		*w = group.Labels
		return err
	default:
		return n.Decode((*[]string)(w))
	}
}

// parseWorkflow reads a workflow. The error is for people: GitHub shows such a
// workflow as a run that failed to start.
func parseWorkflow(text []byte) (*workflowFile, error) {
	if len(text) > maxWorkflowBytes {
		return nil, errors.New("the workflow file is too large")
	}
	var wire struct {
		Name     string            `yaml:"name"`
		On       yaml.Node         `yaml:"on"`
		Env      map[string]string `yaml:"env"`
		Defaults runDefaults       `yaml:"defaults"`
		Jobs     yaml.Node         `yaml:"jobs"`
	}
	if err := yaml.Unmarshal(text, &wire); err != nil {
		return nil, fmt.Errorf("parse the workflow: %w", err)
	}
	f := &workflowFile{Name: wire.Name, Env: wire.Env, Defaults: wire.Defaults}
	if err := f.On.read(&wire.On); err != nil {
		return nil, err
	}
	if wire.Jobs.Kind != yaml.MappingNode || len(wire.Jobs.Content) == 0 {
		return nil, errors.New("the workflow has no jobs")
	}
	for i := 0; i+1 < len(wire.Jobs.Content); i += 2 {
		j := &jobSpec{}
		if err := wire.Jobs.Content[i+1].Decode(j); err != nil {
			return nil, fmt.Errorf("parse job %q: %w", wire.Jobs.Content[i].Value, err)
		}
		j.Key = wire.Jobs.Content[i].Value
		if err := j.check(); err != nil {
			return nil, err
		}
		f.Jobs = append(f.Jobs, j)
	}
	return f, f.checkNeeds()
}

func (j *jobSpec) check() (err error) {
	switch {
	case j.Uses != "":
		return fmt.Errorf("job %q calls a reusable workflow, which the stand-in doesn't execute", j.Key)
	case len(j.RunsOn) == 0:
		return fmt.Errorf("job %q: Required property is missing: runs-on", j.Key)
	case len(j.Steps) == 0:
		return fmt.Errorf("job %q: Required property is missing: steps", j.Key)
	}
	for i, s := range j.Steps {
		if (s.Run == "") == (s.Uses == "") {
			return fmt.Errorf("job %q, step %d: one of run and uses must be there", j.Key, i+1)
		}
	}
	j.Legs, err = matrixLegs(&j.Strategy.Matrix)
	if err != nil {
		return fmt.Errorf("job %q: %w", j.Key, err)
	}
	return nil
}

// checkNeeds finds jobs that can never start.
func (f *workflowFile) checkNeeds() error {
	placed := map[string]bool{}
	for range f.Jobs {
		for _, j := range f.Jobs {
			if !slices.ContainsFunc(j.Needs, func(n string) bool { return !placed[n] }) {
				placed[j.Key] = true
			}
		}
	}
	for _, j := range f.Jobs {
		if !placed[j.Key] {
			return fmt.Errorf("job %q needs jobs that are not there or need each other", j.Key)
		}
	}
	return nil
}

func (t *triggers) read(n *yaml.Node) error {
	add := func(event string, body *yaml.Node) error {
		var f filter
		if body != nil && body.Kind == yaml.MappingNode && (event == "push" || event == "pull_request") {
			if err := body.Decode(&f); err != nil {
				return fmt.Errorf("parse on.%s: %w", event, err)
			}
		}
		switch event {
		case "push":
			t.Push = &f
		case "pull_request":
			t.Pull = &f
		case "workflow_dispatch":
			t.Dispatch = true
		}
		return nil
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return add(n.Value, nil)
	case yaml.SequenceNode:
		for _, e := range n.Content {
			if err := add(e.Value, nil); err != nil {
				return err
			}
		}
		return nil
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if err := add(n.Content[i].Value, n.Content[i+1]); err != nil {
				return err
			}
		}
		return nil
	default:
		return errors.New("the workflow has no triggers")
	}
}

// matches reports whether a branch passes the filter and some changed path does.
func (f *filter) matches(branch string, changed []string) bool {
	if len(f.Branches) > 0 && !globs(f.Branches, branch) || globs(f.BranchesIgnore, branch) {
		return false
	}
	if len(f.Paths) > 0 && !slices.ContainsFunc(changed, func(p string) bool { return globs(f.Paths, p) }) {
		return false
	}
	return len(f.PathsIgnore) == 0 || slices.ContainsFunc(changed, func(p string) bool { return !globs(f.PathsIgnore, p) })
}

// globs applies patterns in their order, where one with a "!" excludes.
func globs(patterns []string, name string) bool {
	in := false
	for _, p := range patterns {
		positive, negated := strings.CutPrefix(p, "!")
		if glob(positive, name) {
			in = !negated
		}
	}
	return in
}

func glob(pattern, name string) bool {
	var b strings.Builder
	b.WriteString("^")
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case strings.HasPrefix(pattern[i:], "**/"):
			b.WriteString("(.*/)?")
			i += 2
		case strings.HasPrefix(pattern[i:], "**"):
			b.WriteString(".*")
			i++
		case c == '*':
			b.WriteString("[^/]*")
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	re, err := regexp.Compile(b.String() + "$")
	return err == nil && re.MatchString(name)
}

// matrixLegs multiplies a matrix out, in its keys' order.
func matrixLegs(n *yaml.Node) ([]map[string]string, error) {
	if n.Kind == 0 {
		return []map[string]string{{}}, nil
	}
	if n.Kind != yaml.MappingNode {
		return nil, errors.New("the stand-in knows matrices of lists only")
	}
	legs := []map[string]string{{}}
	var include, exclude []map[string]string
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1]
		switch key {
		case "include":
			if err := value.Decode(&include); err != nil {
				return nil, fmt.Errorf("parse matrix.include: %w", err)
			}
			continue
		case "exclude":
			if err := value.Decode(&exclude); err != nil {
				return nil, fmt.Errorf("parse matrix.exclude: %w", err)
			}
			continue
		}
		if value.Kind != yaml.SequenceNode {
			return nil, fmt.Errorf("matrix.%s is no list", key)
		}
		var next []map[string]string
		for _, leg := range legs {
			for _, v := range value.Content {
				if v.Kind != yaml.ScalarNode {
					return nil, fmt.Errorf("matrix.%s holds something else than plain values", key)
				}
				one := maps.Clone(leg)
				one[key] = v.Value
				next = append(next, one)
			}
		}
		if legs = next; len(legs) > maxLegs {
			return nil, fmt.Errorf("the matrix has more than %d jobs", maxLegs)
		}
	}
	legs = slices.DeleteFunc(legs, func(leg map[string]string) bool {
		return slices.ContainsFunc(exclude, func(e map[string]string) bool { return agrees(leg, e) })
	})
	if len(n.Content) == 2 && len(include) > 0 {
		legs = nil // only an include: its entries are the legs
	}
	return extend(legs, include), nil
}

func agrees(leg, with map[string]string) bool {
	for k, v := range with {
		if leg[k] != v {
			return false
		}
	}
	return true
}

// extend applies a matrix's include: an entry adds to the legs that it doesn't
// contradict, or is a leg of its own.
func extend(legs, include []map[string]string) []map[string]string {
	original := slices.Clone(legs)
	for _, in := range include {
		fits := false
		for _, leg := range original {
			clash := false
			for k, v := range in {
				if have, there := leg[k]; there && have != v {
					clash = true
				}
			}
			if !clash {
				maps.Copy(leg, in)
				fits = true
			}
		}
		if !fits {
			legs = append(legs, maps.Clone(in))
		}
	}
	return legs
}

// matrixKeys lists a matrix's own keys in the file's order; they name the jobs.
func (j *jobSpec) matrixKeys() []string {
	var keys []string
	for i := 0; i+1 < len(j.Strategy.Matrix.Content); i += 2 {
		if k := j.Strategy.Matrix.Content[i].Value; k != "include" && k != "exclude" {
			keys = append(keys, k)
		}
	}
	return keys
}

func (j *jobSpec) legName(leg map[string]string) string {
	var values []string
	for _, k := range j.matrixKeys() {
		if v, ok := leg[k]; ok {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		for _, k := range slices.Sorted(maps.Keys(leg)) {
			values = append(values, leg[k])
		}
	}
	if len(values) == 0 {
		return ""
	}
	return " (" + strings.Join(values, ", ") + ")"
}

func minutes(text string, otherwise float64) float64 {
	if n, err := strconv.ParseFloat(text, 64); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// workflowAt reads the workflow of a path in a commit.
func (s *Server) workflowAt(r *repository, sha, p string) (*workflowFile, error) {
	c, err := r.Objects.commit(sha)
	if err != nil {
		return nil, err
	}
	e, found := r.Objects.lookup(c.Tree, p)
	if !found {
		return nil, fmt.Errorf("%s is not in %s", p, sha)
	}
	text, _ := r.Objects.get("blob", e.SHA)
	return parseWorkflow(text)
}

// readWorkflows registers the workflows of the default branch.
func (s *Server) readWorkflows(r *repository) {
	c, err := r.Objects.commit(r.head(r.DefaultBranch))
	if err != nil {
		return
	}
	for _, p := range slices.Sorted(maps.Keys(workflowFiles(r.Objects, c.Tree))) {
		s.workflow(r, c.SHA, p)
	}
}

// workflow returns the workflow of a path, registered where it isn't yet, or nil
// where the path is no workflow's.
func (s *Server) workflow(r *repository, sha, p string) *workflow {
	if ext := path.Ext(p); ext != ".yml" && ext != ".yaml" || path.Dir(p) != workflowDir {
		return nil
	}
	name := p
	if f, err := s.workflowAt(r, sha, p); err == nil {
		name = cmp.Or(f.Name, p)
	}
	for _, w := range r.Workflows {
		if w.Path == p {
			w.Name = name
			return w
		}
	}
	w := &workflow{ID: s.id(), Name: name, Path: p, State: "active", CreatedAt: s.now()}
	r.Workflows = append(r.Workflows, w)
	return w
}

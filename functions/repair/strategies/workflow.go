package strategies

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// workflow is a parsed workflow file.
type workflow struct {
	path string
	raw  []byte
	y    *edit.YAML
	jobs []job
}

type job struct {
	key   string
	node  *yaml.Node
	steps []step
	// matrix holds the values of the matrix' dimensions, written out, includes too.
	matrix map[string][]string
}

type step struct {
	node *yaml.Node
	name string // as GitHub shows it, expressions unresolved
	uses string
	run  *yaml.Node
	dir  string // working directory, relative to the repository
}

// readWorkflow reads the finding's workflow. The error is a refusal where the
// finding names none, or it isn't there or doesn't parse.
func readWorkflow(ctx context.Context, tree Tree, p string) (*workflow, error) {
	if p == "" {
		return nil, refuse("the finding does not say which workflow failed")
	}
	if domain.CheckPath(p) != nil || !domain.IsWorkflowPath(p) {
		return nil, refuse("%q is no workflow file of the repository", p)
	}
	b, err := tree.ReadFile(ctx, p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refuse("the workflow file %q is not in the tree that failed", p)
	} else if err != nil {
		return nil, err
	}
	y, err := edit.ParseYAML(b)
	if err != nil {
		return nil, refuse("the workflow file %q does not parse", p)
	}
	w := &workflow{path: p, raw: b, y: y}
	jobs := edit.Get(y.Root, "jobs")
	if jobs == nil || jobs.Kind != yaml.MappingNode {
		return nil, refuse("the workflow file %q has no jobs", p)
	}
	dir := edit.Value(edit.Get(y.Root, "defaults", "run", "working-directory"))
	for i := 0; i+1 < len(jobs.Content); i += 2 {
		w.jobs = append(w.jobs, readJob(jobs.Content[i].Value, jobs.Content[i+1], dir))
	}
	return w, nil
}

func readJob(key string, n *yaml.Node, dir string) job {
	j := job{key: key, node: n, matrix: map[string][]string{}}
	if d := edit.Value(edit.Get(n, "defaults", "run", "working-directory")); d != "" {
		dir = d
	}
	if steps := edit.Get(n, "steps"); steps != nil && steps.Kind == yaml.SequenceNode {
		for _, s := range steps.Content {
			j.steps = append(j.steps, readStep(s, dir))
		}
	}
	m := edit.Get(n, "strategy", "matrix")
	if m == nil || m.Kind != yaml.MappingNode {
		return j
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		name, v := m.Content[i].Value, m.Content[i+1]
		if v.Kind != yaml.SequenceNode || name == "exclude" {
			continue
		}
		for _, e := range v.Content {
			switch {
			case name == "include" && e.Kind == yaml.MappingNode:
				for k := 0; k+1 < len(e.Content); k += 2 {
					j.addValue(e.Content[k].Value, e.Content[k+1])
				}
			case e.Kind == yaml.MappingNode: // matrix.cfg.python
				for k := 0; k+1 < len(e.Content); k += 2 {
					j.addValue(name+"."+e.Content[k].Value, e.Content[k+1])
				}
			default:
				j.addValue(name, e)
			}
		}
	}
	return j
}

func (j *job) addValue(name string, v *yaml.Node) {
	if v.Kind == yaml.ScalarNode && !slices.Contains(j.matrix[name], v.Value) {
		j.matrix[name] = append(j.matrix[name], v.Value)
	}
}

func readStep(n *yaml.Node, dir string) step {
	s := step{node: n, uses: edit.Value(edit.Get(n, "uses")), run: edit.Get(n, "run"), dir: dir}
	if d := edit.Value(edit.Get(n, "working-directory")); d != "" {
		s.dir = d
	}
	s.dir = strings.TrimPrefix(path.Clean("/"+strings.TrimPrefix(s.dir, "${{ github.workspace }}")), "/")
	if s.run != nil && s.run.Kind != yaml.ScalarNode {
		s.run = nil
	}
	switch {
	case edit.Value(edit.Get(n, "name")) != "":
		s.name = edit.Value(edit.Get(n, "name"))
	case s.uses != "":
		s.name = "Run " + s.uses
	case s.run != nil:
		first, _, _ := strings.Cut(strings.TrimSpace(s.run.Value), "\n")
		s.name = "Run " + first
	}
	return s
}

var expression = regexp.MustCompile(`\$\{\{.*?\}\}`)

// matches reports whether a name that GitHub showed comes from a template whose
// expressions are not known.
func matches(template, shown string) bool {
	template, shown = strings.TrimSpace(template), strings.TrimSpace(shown)
	if template == "" || shown == "" {
		return false
	}
	if template == shown {
		return true
	}
	parts := expression.Split(template, -1)
	if len(parts) == 1 || strings.TrimSpace(strings.Join(parts, "")) == "" {
		return false
	}
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	re, err := regexp.Compile(`\A(?s:` + strings.Join(parts, ".*") + `)\z`)
	return err == nil && re.MatchString(shown)
}

// job finds the job that a finding names: by its key, its name, or the name that
// a matrix leg gets from either. The error is a refusal.
func (w *workflow) job(f domain.Finding) (*job, error) {
	if j := w.lookup(f.Job); j != nil {
		return j, nil
	}
	// A called workflow's job is shown behind its caller's.
	if caller, inner, ok := strings.Cut(f.Job, " / "); ok {
		if j := w.lookup(caller); j != nil {
			return nil, refuse("job %q calls another workflow (%s), in which it failed", j.key, edit.Value(edit.Get(j.node, "uses")))
		}
		if j := w.lookup(inner); j != nil {
			return j, nil
		}
	}
	if f.Job == "" && len(w.jobs) == 1 {
		return &w.jobs[0], nil
	}
	return nil, refuse("the job %q can't be told among the jobs of %q", f.Job, w.path)
}

func (w *workflow) lookup(shown string) *job {
	for i := range w.jobs {
		if w.jobs[i].key == shown {
			return &w.jobs[i]
		}
	}
	var found *job
	for i := range w.jobs {
		j := &w.jobs[i]
		name := edit.Value(edit.Get(j.node, "name"))
		if name == "" {
			name = j.key
		}
		base, _, leg := strings.Cut(shown, " (")
		if matches(name, shown) || leg && strings.HasSuffix(shown, ")") && matches(name, base) {
			if found != nil {
				return nil
			}
			found = j
		}
	}
	return found
}

// step finds the failed step by its name, nil where it can't be told.
func (j *job) step(f domain.Finding) *step {
	for i := range j.steps {
		s := &j.steps[i]
		if matches(s.name, f.Step) || matches("Run "+strings.TrimPrefix(s.name, "Run "), f.Step) || matches(s.name, "Run "+f.Step) {
			return s
		}
	}
	return nil
}

// values are what a text with `${{ matrix.x }}` and `${{ env.x }}` can be; a text
// with other expressions is returned as it is. partial says that not every leg of
// the matrix has every value.
func (w *workflow) values(j *job, text string) (out []string, partial bool) {
	out = []string{text}
	for range 4 {
		m := reference.FindStringSubmatch(out[0])
		if m == nil {
			return out, partial
		}
		var values []string
		if m[1] == "matrix" {
			values = j.matrix[m[2]]
			partial = partial || len(values) > 1
		} else if v := edit.Value(edit.Get(j.node, "env", m[2])); v != "" {
			values = []string{v}
		} else if v := edit.Value(edit.Get(w.y.Root, "env", m[2])); v != "" {
			values = []string{v}
		}
		if len(values) == 0 || len(values)*len(out) > 64 {
			return out, partial
		}
		var next []string
		for _, o := range out {
			for _, v := range values {
				next = append(next, strings.ReplaceAll(o, m[0], v))
			}
		}
		out = next
	}
	return out, partial
}

var reference = regexp.MustCompile(`\$\{\{\s*(matrix|env)\.([A-Za-z0-9_.-]+)\s*\}\}`)

// workflows reads every workflow of the tree that parses; others are left out.
func workflows(ctx context.Context, tree Tree) ([]*workflow, error) {
	paths, err := tree.Paths(ctx)
	if err != nil {
		return nil, err
	}
	var out []*workflow
	for _, p := range paths {
		if !domain.IsWorkflowPath(p) || strings.Count(p, "/") != 2 || !slices.Contains([]string{".yml", ".yaml"}, path.Ext(p)) || len(out) >= 100 {
			continue
		}
		w, err := readWorkflow(ctx, tree, p)
		if _, refused := errors.AsType[*domain.Refusal](err); refused {
			continue
		} else if err != nil {
			return nil, err
		}
		out = append(out, w)
	}
	return out, nil
}

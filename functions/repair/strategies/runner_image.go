package strategies

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// replaceRunnerImage moves jobs from a runner image that GitHub has retired to
// the oldest one of the same system and processor that still runs.
type replaceRunnerImage struct{}

var _ Strategy = replaceRunnerImage{}

func (replaceRunnerImage) ID() string { return "replace-runner-image" }

func (replaceRunnerImage) Applies(f domain.Finding) bool {
	return f.Category == "runner-image-removed"
}

// successors keep the processor: the plain macos-10 to macos-13 labels were
// Intel machines, and macos-latest, 14 and 15 are not.
var successors = map[string]string{
	"ubuntu-16.04": "ubuntu-22.04", "ubuntu-18.04": "ubuntu-22.04", "ubuntu-20.04": "ubuntu-22.04",
	"macos-10.15": "macos-15-intel", "macos-11": "macos-15-intel", "macos-12": "macos-15-intel", "macos-13": "macos-15-intel",
	"macos-11-large": "macos-15-large", "macos-12-large": "macos-15-large", "macos-13-large": "macos-15-large",
	"macos-12-xlarge": "macos-15-xlarge", "macos-13-xlarge": "macos-15-xlarge",
	"windows-2016": "windows-2022", "windows-2019": "windows-2022",
}

func (s replaceRunnerImage) Plan(ctx context.Context, tree Tree, f domain.Finding) (domain.Plan, error) {
	image := strings.ToLower(f.Fact("image"))
	next := successors[image]
	if next == "" {
		return domain.Plan{}, refuse("there is no image that is known to take the place of %q", image)
	}
	w, err := readWorkflow(ctx, tree, f.Workflow)
	if err != nil {
		return domain.Plan{}, err
	}
	c := changes{}
	n, err := s.relabel(w, image, next, c)
	if err != nil {
		return domain.Plan{}, err
	}
	if n == 0 {
		return domain.Plan{}, refuse("no job of %q names the image %q", w.path, image)
	}
	return domain.Plan{
		Strategy: s.ID(), Action: domain.ActionEdit,
		Title:     fmt.Sprintf("Run on %s instead of the retired %s", next, image),
		Rationale: fmt.Sprintf("GitHub has retired the runner image %s, so the job could not start. It runs on %s now, the oldest image of the same system and processor that is still there, so that what is tested or built changes as little as possible.", code(image), code(next)),
		Risk:      domain.RiskMedium, Edits: c.edits(),
		Verify: "The job starts on the new image and passes.",
	}, nil
}

// oldPythons are versions that the successor image can't set up.
var oldPythons = regexp.MustCompile(`\A(?:2\.\d+|3\.[0-6])(?:\.\d+)?\z`)

// relabel replaces the label where it names a runner, in every job of the file.
func (replaceRunnerImage) relabel(w *workflow, image, next string, c changes) (int, error) {
	n, uses := 0, w.uses()
	for i := range w.jobs {
		j := &w.jobs[i]
		before := n
		runsOn := edit.Get(j.node, "runs-on")
		dimensions := map[string]bool{}
		for _, m := range matrixReference.FindAllStringSubmatch(edit.Value(runsOn), -1) {
			dimensions[m[1]] = true
		}
		var failed error
		set := func(v *yaml.Node) {
			splice, err := w.y.SetScalar(v, next)
			if err != nil {
				failed = refuse("line %d of %s can't be edited: %s", v.Line, w.path, why(err))
				return
			}
			c.add(w.path, splice)
			n++
		}
		replaceIn := func(v *yaml.Node) {
			if v != nil && v.Kind == yaml.ScalarNode && v.Value == image {
				set(v)
			}
			if v == nil || v.Kind != yaml.SequenceNode {
				return
			}
			has := slices.ContainsFunc(v.Content, func(e *yaml.Node) bool { return e.Value == next })
			for k, e := range v.Content {
				if e.Kind != yaml.ScalarNode || e.Value != image {
					continue
				}
				if !has {
					set(e)
					continue
				}
				splice, err := w.y.RemoveItem(v, k)
				if err != nil {
					failed = refuse("line %d of %s can't be edited: %s", e.Line, w.path, why(err))
					return
				}
				c.add(w.path, splice)
				n++
			}
		}
		replaceIn(runsOn)
		m := edit.Get(j.node, "strategy", "matrix")
		for dim := range dimensions {
			top, inner, nested := strings.Cut(dim, ".")
			replaceIn(edit.Get(m, top))
			for _, list := range []*yaml.Node{edit.Get(m, "include"), edit.Get(m, "exclude"), edit.Get(m, top)} {
				if list == nil || list.Kind != yaml.SequenceNode {
					continue
				}
				for _, e := range list.Content {
					if nested {
						replaceIn(edit.Get(e, inner))
					} else {
						replaceIn(edit.Get(e, top))
					}
				}
			}
		}
		if failed != nil {
			return 0, failed
		}
		if n == before {
			continue
		}
		if err := w.otherMentions(j, image, next, c); err != nil {
			return 0, err
		}
		if strings.HasPrefix(image, "ubuntu-") {
			for _, u := range uses {
				if u.job != j || u.action != "actions/setup-python" {
					continue
				}
				versions, _ := w.values(j, edit.Value(edit.Get(u.step.node, "with", "python-version")))
				if k := slices.IndexFunc(versions, oldPythons.MatchString); k >= 0 {
					return 0, refuse("job %s of %s asks for Python %s, which %s does not have: a person has to drop it or choose another way", j.key, w.path, versions[k], next)
				}
			}
		}
	}
	return n, nil
}

// otherMentions follows the label into conditions, and refuses where scripts or
// inputs speak of it.
func (w *workflow) otherMentions(j *job, image, next string, c changes) error {
	label := regexp.MustCompile(`(^|[^A-Za-z0-9_.-])` + regexp.QuoteMeta(image) + `($|[^A-Za-z0-9_.-])`)
	var walk func(n *yaml.Node, key string) error
	walk = func(n *yaml.Node, key string) error {
		switch n.Kind { //nolint:exhaustive // a parsed tree holds no other kinds, and aliases are not followed
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if err := walk(n.Content[i+1], n.Content[i].Value); err != nil {
					return err
				}
			}
		case yaml.SequenceNode:
			for _, e := range n.Content {
				if err := walk(e, key); err != nil {
					return err
				}
			}
		case yaml.ScalarNode:
			if n.Value == image || key == "name" || !label.MatchString(n.Value) {
				return nil
			}
			if key != "if" || !strings.Contains(n.Value, "'"+image+"'") {
				return refuse("line %d of %s speaks of %s elsewhere than in runner labels and conditions", n.Line, w.path, image)
			}
			splice, err := w.y.SetScalar(n, strings.ReplaceAll(n.Value, "'"+image+"'", "'"+next+"'"))
			if err != nil {
				return refuse("the condition in line %d of %s can't be edited: %s", n.Line, w.path, why(err))
			}
			c.add(w.path, splice)
		}
		return nil
	}
	return walk(j.node, "")
}

package strategies

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// bumpAction replaces versions of actions that GitHub refuses to run by the first
// major version that it runs. Artifact actions move together, since uploads and
// downloads must be of one generation.
type bumpAction struct{}

var _ Strategy = bumpAction{}

func (bumpAction) ID() string { return "bump-action" }

func (bumpAction) Applies(f domain.Finding) bool {
	return f.Category == "deprecated-action" && strings.Contains(f.Fact("action"), "/")
}

// bump is an action's way from refused versions to one that runs.
type bump struct {
	// Versions from..below are replaced. GitHub's changelogs of 2023-02 (node12)
	// and 2024 (artifact and cache services) name them.
	from, below int
	to          string
	// with are the actions that have to move in the same workflow.
	with []string
}

var bumps = map[string]bump{
	"actions/upload-artifact":       {1, 4, "v4", []string{"actions/download-artifact"}},
	"actions/download-artifact":     {1, 4, "v4", []string{"actions/upload-artifact"}},
	"actions/cache":                 {1, 4, "v4", []string{"actions/cache/save", "actions/cache/restore"}},
	"actions/cache/save":            {1, 4, "v4", []string{"actions/cache", "actions/cache/restore"}},
	"actions/cache/restore":         {1, 4, "v4", []string{"actions/cache", "actions/cache/save"}},
	"actions/upload-pages-artifact": {1, 3, "v3", []string{"actions/deploy-pages"}},
	"actions/deploy-pages":          {1, 4, "v4", []string{"actions/upload-pages-artifact"}},
	"actions/checkout":              {1, 4, "v4", nil},
	"actions/setup-python":          {1, 5, "v5", nil},
	"actions/setup-node":            {1, 4, "v4", nil},
	"actions/setup-java":            {2, 4, "v4", nil}, // v1 knows no distribution, which later ones demand
	"actions/setup-go":              {2, 5, "v5", nil},
	"actions/github-script":         {5, 7, "v7", nil}, // v5 renamed its whole interface
	"github/codeql-action/init":     {1, 3, "v3", []string{"github/codeql-action/analyze", "github/codeql-action/autobuild", "github/codeql-action/upload-sarif"}},
	"github/codeql-action/analyze":  {1, 3, "v3", []string{"github/codeql-action/init", "github/codeql-action/autobuild", "github/codeql-action/upload-sarif"}},
}

// use is one `uses:` of an action in a workflow.
type use struct {
	job     *job
	step    *step
	node    *yaml.Node
	action  string // lower case
	version string
	major   int // 0 where the version tells none
}

var majorVersion = regexp.MustCompile(`\Av?(\d{1,3})(?:\.\d+){0,2}\z`)

// uses lists the actions that a workflow's steps use.
func (w *workflow) uses() []use {
	var out []use
	for i := range w.jobs {
		for k := range w.jobs[i].steps {
			s := &w.jobs[i].steps[k]
			action, version, ok := strings.Cut(s.uses, "@")
			if !ok {
				continue
			}
			u := use{job: &w.jobs[i], step: s, node: edit.Get(s.node, "uses"), action: strings.ToLower(action), version: version}
			if m := majorVersion.FindStringSubmatch(version); m != nil {
				u.major, _ = strconv.Atoi(m[1]) // at most three digits
			}
			out = append(out, u)
		}
	}
	return out
}

func (s bumpAction) Plan(ctx context.Context, tree Tree, f domain.Finding) (domain.Plan, error) {
	action, _, _ := strings.Cut(strings.ToLower(f.Fact("action")), "@")
	if _, ok := bumps[action]; !ok {
		return domain.Plan{}, refuse("there is no version of %q that is known to take the place of the refused one", action)
	}
	w, err := readWorkflow(ctx, tree, f.Workflow)
	if err != nil {
		return domain.Plan{}, err
	}
	set := append([]string{action}, bumps[action].with...)
	if action == "actions/upload-artifact" && !slices.ContainsFunc(w.uses(), func(u use) bool { return u.action == action }) {
		// GitHub names the inner action: old upload-pages-artifact versions use it.
		set = []string{"actions/upload-pages-artifact", "actions/deploy-pages"}
	}
	c := changes{}
	var told, notes []string
	n, err := s.bump(w, set, c, &told, &notes)
	if err != nil {
		return domain.Plan{}, err
	}
	if n == 0 {
		return domain.Plan{}, refuse("%q uses no refused version of %s itself; the refused one is inside of another action or of a called workflow", w.path, action)
	}
	// The same versions are refused in the other workflows too. There, what isn't
	// certain is left alone rather than refused.
	others, err := workflows(ctx, tree)
	if err != nil {
		return domain.Plan{}, err
	}
	for _, o := range others {
		if o.path == w.path {
			continue
		}
		var more []string
		extra := changes{}
		if _, err := s.bump(o, set, extra, &told, &more); err != nil {
			if refusal, ok := errors.AsType[*domain.Refusal](err); ok {
				notes = append(notes, fmt.Sprintf("%s is left as it is: %s", code(o.path), code(refusal.Reason)))
				continue
			}
			return domain.Plan{}, err
		}
		notes = append(notes, more...)
		for p, splices := range extra {
			c.add(p, splices...)
		}
	}
	told = slices.Compact(slices.Sorted(slices.Values(told)))
	why := fmt.Sprintf("GitHub refuses to run %s in the version that the workflow asks for. Replaced: %s.", code(action), strings.Join(told, ", "))
	if len(set) > 1 && slices.Contains(set, "actions/download-artifact") {
		why += " Uploads and downloads of artifacts have to be of one generation, so they move together."
	}
	for _, note := range notes {
		why += "\n\n" + note
	}
	return domain.Plan{
		Strategy: s.ID(), Action: domain.ActionEdit,
		Title:     fmt.Sprintf("Replace the refused version of %s", action),
		Rationale: why, Risk: domain.RiskLow, Edits: c.edits(),
		Verify: "The job starts and passes with the newer version.",
	}, nil
}

var sha = regexp.MustCompile(`\A[0-9a-f]{40}\z`)

// bump adds the changes of one workflow and returns how many uses it bumped.
func (bumpAction) bump(w *workflow, set []string, c changes, told, notes *[]string) (int, error) {
	n := 0
	for _, u := range w.uses() {
		b, ok := bumps[u.action]
		if !ok || !slices.Contains(set, u.action) {
			continue
		}
		if sha.MatchString(u.version) {
			comment := regexp.MustCompile(`#\s*v?(\d+)`).FindStringSubmatch(u.node.LineComment)
			if comment != nil {
				if major, err := strconv.Atoi(comment[1]); err == nil && major >= b.below {
					continue
				}
			}
			return 0, refuse("%s is pinned to a commit in line %d of %s: a person has to choose the commit of a newer version", u.action, u.node.Line, w.path)
		}
		if u.major == 0 || u.major >= b.below {
			continue
		}
		if u.major < b.from {
			return 0, refuse("%s@%s in line %d of %s has another interface than the versions that still run", u.action, u.version, u.node.Line, w.path)
		}
		start, end, err := w.y.Scalar(u.node)
		if err != nil {
			return 0, refuse("line %d of %s can't be edited: %s", u.node.Line, w.path, why(err))
		}
		at := start + strings.LastIndexByte(string(w.raw[start:end]), '@') + 1
		c.add(w.path, domain.Splice{Start: at, Old: u.version, New: b.to})
		*told = append(*told, fmt.Sprintf("%s by %s", code(u.action+"@"+u.version), code("@"+b.to)))
		n++
		switch u.action {
		case "actions/download-artifact":
			if u.major == 1 && edit.Get(u.step.node, "with", "path") == nil {
				return 0, refuse("download-artifact@v1 in line %d of %s puts files into a directory named after the artifact, which later versions don't", u.node.Line, w.path)
			}
		case "actions/upload-artifact":
			if err := w.hidden(u, c, notes); err != nil {
				return 0, err
			}
		}
	}
	if n > 0 && slices.Contains(set, "actions/upload-artifact") {
		if err := w.uniqueNames(c, notes); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// hidden keeps hidden files in an artifact: since 4.4 they are left out unless
// asked for.
func (w *workflow) hidden(u use, c changes, notes *[]string) error {
	with := edit.Get(u.step.node, "with")
	p := edit.Get(with, "path")
	dots := slices.ContainsFunc(strings.FieldsFunc(edit.Value(p), func(r rune) bool { return r == '\n' || r == '/' || r == '\\' || r == ' ' }), func(part string) bool {
		return strings.HasPrefix(part, ".") && strings.Trim(part, ".") != ""
	})
	if !dots || edit.Get(with, "include-hidden-files") != nil {
		return nil
	}
	lines, err := w.y.TextLines(p)
	key, ok := w.y.Offset(with.Content[0])
	if err != nil || !ok || with.Style&yaml.FlowStyle != 0 {
		return refuse("the artifact in line %d of %s holds hidden files, which newer versions leave out, and its inputs can't be edited", u.node.Line, w.path)
	}
	indent := strings.Repeat(" ", with.Content[0].Column-1)
	if !strings.HasPrefix(string(w.raw[key-len(indent):]), indent) {
		return refuse("the inputs in line %d of %s are indented in an unusual way", u.node.Line, w.path)
	}
	c.add(w.path, edit.InsertAfter(w.raw, lines[len(lines)-1].End, indent+"include-hidden-files: true"))
	*notes = append(*notes, fmt.Sprintf("The artifact in line %d of %s has hidden files, which newer versions leave out unless `include-hidden-files` is set.", u.node.Line, code(w.path)))
	return nil
}

var matrixReference = regexp.MustCompile(`matrix\.([A-Za-z0-9_.-]+)`)
var pinned = regexp.MustCompile(`matrix\.([A-Za-z0-9_.-]+)\s*==\s*'[^']*'`)

// uniqueNames makes sure that no two uploads of a run have the same name, which
// newer versions refuse. Legs of a matrix get it into their names where nothing
// downloads them by it.
func (w *workflow) uniqueNames(c changes, notes *[]string) error {
	seen, uses := map[string]int{}, w.uses()
	downloads := slices.ContainsFunc(uses, func(u use) bool {
		return strings.Contains(u.action, "download") && strings.Contains(u.action, "artifact")
	})
	for _, u := range uses {
		if u.action != "actions/upload-artifact" {
			continue
		}
		with := edit.Get(u.step.node, "with")
		if edit.Value(edit.Get(with, "overwrite")) == "true" {
			continue
		}
		node := edit.Get(with, "name")
		name := edit.Value(node)
		if name == "" {
			name = "artifact" // the default
		}
		if line, ok := seen[name]; ok {
			return refuse("lines %d and %d of %s upload the same artifact name, which newer versions refuse", line, u.node.Line, w.path)
		}
		seen[name] = u.node.Line
		missing, known := u.job.uncovered(name, edit.Value(edit.Get(u.step.node, "if")))
		if known && len(missing) == 0 {
			continue
		}
		if !known || node == nil || downloads {
			return refuse("each leg of the matrix of job %s uploads the artifact %q (line %d of %s), which newer versions refuse: its name has to differ by leg, and so what downloads it", u.job.key, name, u.node.Line, w.path)
		}
		suffix := ""
		for _, dim := range missing {
			if strings.ContainsAny(strings.Join(u.job.matrix[dim], ""), "\"<>:|*?\r\n\\/") {
				suffix = "-${{ strategy.job-index }}"
				break
			}
			suffix += "-${{ matrix." + dim + " }}"
		}
		start, end, err := w.y.Scalar(node)
		if err != nil {
			return refuse("line %d of %s can't be edited: %s", node.Line, w.path, why(err))
		}
		c.add(w.path, domain.Splice{Start: start, Old: string(w.raw[start:end]), New: name + suffix})
		*notes = append(*notes, fmt.Sprintf("Newer versions refuse two uploads of one name, so the legs of %s upload %s now. Nothing in the workflow downloads artifacts.", code(u.job.key), code(name+suffix)))
	}
	return nil
}

// uncovered lists the dimensions of the job's matrix that tell legs apart and are
// neither in the artifact's name nor pinned by the step's condition. known is
// false for a matrix that is computed.
func (j *job) uncovered(name, condition string) (missing []string, known bool) {
	m := edit.Get(j.node, "strategy", "matrix")
	if m == nil || strings.Contains(name, "strategy.job-index") {
		return nil, true
	}
	covered := map[string]bool{}
	for _, r := range matrixReference.FindAllStringSubmatch(name, -1) {
		covered[r[1]] = true
	}
	if strings.Contains(name, "runner.os") {
		for _, r := range matrixReference.FindAllStringSubmatch(edit.Value(edit.Get(j.node, "runs-on")), -1) {
			covered[r[1]] = len(j.matrix[r[1]]) < 4 // one label for each system, at most
		}
	}
	if !strings.Contains(condition, "||") && !strings.Contains(condition, "!(") {
		for _, r := range pinned.FindAllStringSubmatch(condition, -1) {
			covered[r[1]] = true
		}
	}
	if m.Kind != yaml.MappingNode {
		return nil, len(covered) > 0
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, v := m.Content[i].Value, m.Content[i+1]
		switch {
		case key == "exclude":
		case key == "include":
			if len(m.Content) == 2 || edit.Get(m, "exclude") != nil && len(m.Content) == 4 {
				if len(v.Content) < 2 {
					continue
				}
				if len(covered) == 0 {
					return nil, false // legs are told apart by combinations
				}
			}
		case v.Kind != yaml.SequenceNode:
			if !covered[key] {
				return nil, false
			}
		case len(v.Content) < 2 || covered[key]:
		case slices.ContainsFunc(v.Content, func(n *yaml.Node) bool { return n.Kind != yaml.ScalarNode }):
			inner := false
			for k := range covered {
				inner = inner || strings.HasPrefix(k, key+".")
			}
			if !inner {
				return nil, false
			}
		default:
			missing = append(missing, key)
		}
	}
	return missing, true
}

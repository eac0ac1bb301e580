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

// freeDiskSpace removes software from GitHub's Ubuntu images that the job does
// not use, before its other steps.
type freeDiskSpace struct{}

var _ Strategy = freeDiskSpace{}

func (freeDiskSpace) ID() string { return "free-disk-space" }

func (freeDiskSpace) Applies(f domain.Finding) bool { return f.Category == "disk-full" }

// preinstalled is software of the image that takes gigabytes, and what a job that
// uses it says. The tool cache stays: setup actions take their versions from it.
var preinstalled = []struct {
	path string
	use  *regexp.Regexp
}{
	{"/usr/share/dotnet", regexp.MustCompile(`(?i)dotnet|nuget|csharp|msbuild`)},
	{"/usr/local/lib/android", regexp.MustCompile(`(?i)android|gradle|\bndk\b|\bemulator\b`)},
	{"/opt/ghc", regexp.MustCompile(`(?i)\bghc\b|haskell|cabal|\bstack (?:build|test)`)},
	{"/usr/share/swift", regexp.MustCompile(`(?i)swift`)},
}

var freesDisk = regexp.MustCompile(`(?i)free[-_ ]?disk|maximize-build-space|disk[-_ ]?(?:cleanup|clean-up)|rm -rf /(?:usr/share/dotnet|usr/local/lib/android|opt/(?:ghc|hostedtoolcache))`)

func (s freeDiskSpace) Plan(ctx context.Context, tree Tree, f domain.Finding) (domain.Plan, error) {
	w, err := readWorkflow(ctx, tree, f.Workflow)
	if err != nil {
		return domain.Plan{}, err
	}
	j, err := w.job(f)
	if err != nil {
		return domain.Plan{}, err
	}
	if regexp.MustCompile(`(?i)quota`).MatchString(f.Text) {
		return domain.Plan{}, refuse("a quota was reached, which removing software does not raise")
	}
	if p := f.Fact("path"); strings.HasPrefix(p, "/dev/shm") || strings.HasPrefix(p, "/mnt") || regexp.MustCompile(`\A[A-Za-z]:`).MatchString(p) {
		return domain.Plan{}, refuse("%q is not on the disk that holds the image's software", p)
	}
	if edit.Get(j.node, "container") != nil {
		return domain.Plan{}, refuse("job %s runs in a container, from which the runner's software can't be removed", j.key)
	}
	runners, _ := w.values(j, edit.Value(edit.Get(j.node, "runs-on")))
	if slices.ContainsFunc(runners, func(r string) bool {
		return !regexp.MustCompile(`\Aubuntu-(?:latest|\d\d\.\d\d)\z`).MatchString(r)
	}) {
		return domain.Plan{}, refuse("job %s does not run on one of GitHub's standard Ubuntu images", j.key)
	}
	steps := edit.Get(j.node, "steps")
	if len(j.steps) == 0 || steps == nil || steps.Style&yaml.FlowStyle != 0 {
		return domain.Plan{}, refuse("job %s has no list of steps that can be edited", j.key)
	}
	text := jobText(j.node)
	if freesDisk.MatchString(text) {
		return domain.Plan{}, refuse("job %s frees disk space already, and it was not enough", j.key)
	}
	var paths []string
	for _, p := range preinstalled {
		if !p.use.MatchString(text) {
			paths = append(paths, p.path)
		}
	}
	at := 0
	if strings.HasPrefix(strings.ToLower(j.steps[0].uses), "step-security/harden-runner@") {
		at = 1 // it has to see everything that follows
	}
	if at >= len(j.steps) || len(paths) == 0 {
		return domain.Plan{}, refuse("job %s uses the software that could be removed", j.key)
	}
	splice, err := w.insertStep(steps, at, "Free disk space", "sudo rm -rf "+strings.Join(paths, " "))
	if err != nil {
		return domain.Plan{}, err
	}
	c := changes{w.path: {splice}}
	return domain.Plan{
		Strategy: s.ID(), Action: domain.ActionEdit,
		Title:     "Free disk space before the job's other steps",
		Rationale: fmt.Sprintf("The runner's disk was full. GitHub's Ubuntu images carry many gigabytes of software; the job now begins by removing what nothing in it mentions: %s. All other steps stay as they are.", codes(paths)),
		Risk:      domain.RiskLow, Edits: c.edits(),
		Verify: "The job gets past the step that ran out of space.",
	}, nil
}

// jobText is all text of a job, to look for mentions.
func jobText(n *yaml.Node) string {
	var b strings.Builder
	var walk func(*yaml.Node)
	walk = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode {
			b.WriteString(n.Value + "\n")
		}
		for _, c := range n.Content {
			walk(c)
		}
	}
	walk(n)
	return b.String()
}

// insertStep inserts a step before the one at index, in the list's indentation
// and with its blank lines. Comments above a step belong to it.
func (w *workflow) insertStep(steps *yaml.Node, index int, name, run string) (domain.Splice, error) {
	next := steps.Content[index]
	offset, ok := w.y.Offset(next)
	if !ok {
		return domain.Splice{}, refuse("line %d of %s can't be edited", next.Line, w.path)
	}
	lines := edit.Lines(w.raw)
	at := slices.IndexFunc(lines, func(l edit.Line) bool { return l.Start <= offset && offset <= l.End })
	if at < 0 {
		return domain.Splice{}, refuse("line %d of %s can't be edited", next.Line, w.path)
	}
	prefix := lines[at].Text[:offset-lines[at].Start]
	if strings.Trim(prefix, " ") != "-" {
		return domain.Splice{}, refuse("the step in line %d of %s begins in an unusual way", next.Line, w.path)
	}
	blank := false
	if len(steps.Content) > 1 {
		second, ok := w.y.Offset(steps.Content[1])
		k := slices.IndexFunc(lines, func(l edit.Line) bool { return l.Start <= second && second <= l.End })
		for k > 0 && strings.HasPrefix(strings.TrimSpace(lines[k-1].Text), "#") {
			k--
		}
		blank = ok && k > 0 && strings.TrimSpace(lines[k-1].Text) == ""
	}
	for at > 0 && strings.HasPrefix(strings.TrimSpace(lines[at-1].Text), "#") {
		at--
	}
	text := prefix + "name: " + name + "\n" + strings.Repeat(" ", len(prefix)) + "run: " + run
	if blank {
		text += "\n"
	}
	return edit.InsertBefore(w.raw, lines[at].Start, text), nil
}

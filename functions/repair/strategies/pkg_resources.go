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

// replacePkgResources asks importlib.metadata for versions where the repository
// asks pkg_resources, which setuptools no longer brings. Everything else that
// pkg_resources can do is refused.
type replacePkgResources struct{}

var _ Strategy = replacePkgResources{}

func (replacePkgResources) ID() string { return "replace-pkg-resources" }

func (replacePkgResources) Applies(f domain.Finding) bool {
	return f.Category == "pkg-resources-removed" && (f.Fact("package") == "pkg_resources" || f.Fact("package") == "")
}

func (s replacePkgResources) Plan(ctx context.Context, tree Tree, f domain.Finding) (domain.Plan, error) {
	paths, err := tree.Paths(ctx)
	if err != nil {
		return domain.Plan{}, err
	}
	if old, err := supportsOldPython(ctx, tree); err != nil {
		return domain.Plan{}, err
	} else if old != "" {
		return domain.Plan{}, refuse("importlib.metadata exists since Python 3.8, and %s supports older ones", old)
	}
	c := changes{}
	looked, n := 0, 0
	for _, p := range paths {
		if path.Ext(p) != ".py" || vendored(p) || testPath(p) {
			continue
		}
		if looked++; looked > maxPythonFiles {
			return domain.Plan{}, refuse("the repository has too many Python files to find every use of pkg_resources")
		}
		b, err := tree.ReadFile(ctx, p)
		if errors.Is(err, domain.ErrTooLarge) || errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return domain.Plan{}, err
		}
		if !strings.Contains(string(b), "pkg_resources") {
			continue
		}
		splices, err := metadataInstead(b)
		if err != nil {
			return domain.Plan{}, refuse("%s uses pkg_resources in a way that importlib.metadata does not replace: %s", p, why(err))
		}
		c.add(p, splices...)
		n++
	}
	if n == 0 {
		return domain.Plan{}, refuse("no file of the repository imports pkg_resources: an installed package does")
	}
	return domain.Plan{
		Strategy: s.ID(), Action: domain.ActionEdit,
		Title:     "Ask importlib.metadata for versions instead of pkg_resources",
		Rationale: fmt.Sprintf("setuptools no longer brings %s. %s, which is part of Python since 3.8, gives the same version; nothing else was used.", code("pkg_resources"), code("importlib.metadata")),
		Risk:      domain.RiskLow, Edits: c.edits(),
		Verify: "The import that failed works, and the job passes.",
	}, nil
}

// metadataInstead rewrites `pkg_resources.get_distribution("x").version` and
// DistributionNotFound. Any other use is an error that wraps edit.ErrNoPlace.
func metadataInstead(b []byte) ([]domain.Splice, error) {
	imports, err := edit.Imports(b)
	if err != nil {
		return nil, err
	}
	tokens, err := edit.Tokens(b)
	if err != nil {
		return nil, err
	}
	tokens = slices.DeleteFunc(tokens, func(t edit.Token) bool { return t.Kind == edit.Comment })
	none := func(line int, what string) ([]domain.Splice, error) {
		return nil, fmt.Errorf("line %d %s: %w", line, what, edit.ErrNoPlace)
	}
	var out []domain.Splice
	skip := map[int]bool{} // offsets of names within the import
	for _, i := range imports {
		if i.Level != 0 || i.Top() != "pkg_resources" {
			continue
		}
		if i.Module != "pkg_resources" || len(i.Names) > 0 || i.As != "pkg_resources" || string(b[i.Start:i.End]) != "import pkg_resources" {
			return none(i.Line, "imports it in a form of its own")
		}
		if slices.ContainsFunc(imports, func(o edit.Import) bool {
			return o.As == "importlib" && o.Module != "importlib.metadata" && o.Module != "importlib"
		}) {
			return none(i.Line, "stands beside another importlib")
		}
		out = append(out, domain.Splice{Start: i.Start, Old: "import pkg_resources", New: "import importlib.metadata"})
		skip[i.Start+len("import ")] = true
	}
	if len(out) == 0 {
		return none(1, "speaks of it without an import")
	}
	for i, t := range tokens {
		if t.Kind != edit.Name || t.Text != "pkg_resources" || skip[t.Start] {
			continue
		}
		text := func(k int) string {
			if i+k < len(tokens) {
				return tokens[i+k].Text
			}
			return ""
		}
		switch {
		case i > 0 && tokens[i-1].Text == ".":
		case text(1) == "." && text(2) == "DistributionNotFound":
			out = append(out, domain.Splice{Start: t.Start, Old: string(b[t.Start:tokens[i+2].End]), New: "importlib.metadata.PackageNotFoundError"})
		case text(1) == "." && (text(2) == "get_distribution" || text(2) == "require") && text(3) == "(" && text(5) == ")":
			if text(2) != "get_distribution" || text(6) != "." || text(7) != "version" || tokens[i+4].Kind != edit.String && text(4) != "__name__" && text(4) != "__package__" {
				return none(t.Line, "asks for more than a version")
			}
			if requirementText := strings.Trim(text(4), `'"`); tokens[i+4].Kind == edit.String && !regexp.MustCompile(`\A[A-Za-z0-9._-]+\z`).MatchString(requirementText) {
				return none(t.Line, "asks with a requirement, not a name")
			}
			out = append(out,
				domain.Splice{Start: t.Start, Old: string(b[t.Start:tokens[i+2].End]), New: "importlib.metadata.version"},
				domain.Splice{Start: tokens[i+5].End, Old: string(b[tokens[i+5].End:tokens[i+7].End])})
		default:
			return none(t.Line, "uses another part of it")
		}
	}
	return edit.Sorted(out), nil
}

var requiresPython = regexp.MustCompile(`(?:python_requires|requires-python)['"]?\s*[=:](.*)`)
var oldMinor = regexp.MustCompile(`>=?\s*(?:2\.\d|3\.[0-7])(?:\D|\z)`)

// supportsOldPython names the file that says that a Python before 3.8 is
// supported, "" where none does.
func supportsOldPython(ctx context.Context, tree Tree) (string, error) {
	for _, p := range []string{"pyproject.toml", "setup.cfg", "setup.py"} {
		b, err := tree.ReadFile(ctx, p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return "", err
		}
		for _, l := range edit.Lines(b) {
			if m := requiresPython.FindStringSubmatch(l.Text); m != nil && oldMinor.MatchString(m[1]) {
				return p, nil
			}
		}
	}
	return "", nil
}

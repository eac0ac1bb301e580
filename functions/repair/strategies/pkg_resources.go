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
// DistributionNotFound, whether the module or these names are imported. Any other
// use is an error that wraps edit.ErrNoPlace.
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
	if slices.ContainsFunc(imports, func(i edit.Import) bool {
		return i.As == "importlib" && i.Top() != "importlib" || slices.ContainsFunc(i.Names, func(n [2]string) bool { return n[1] == "importlib" })
	}) {
		return none(1, "knows another importlib")
	}
	var out []domain.Splice
	meaning := map[string]string{} // local names of what is replaced
	within := map[int]int{}        // import statements: start and end
	for _, i := range imports {
		if i.Level != 0 || i.Top() != "pkg_resources" {
			continue
		}
		_, twice := within[i.Start]
		if i.Module != "pkg_resources" || twice {
			return none(i.Line, "imports it in a form of its own")
		}
		if len(i.Names) == 0 {
			if i.As != "pkg_resources" || string(b[i.Start:i.End]) != "import pkg_resources" {
				return none(i.Line, "imports it in a form of its own")
			}
			meaning["pkg_resources"] = "pkg_resources"
		}
		for _, n := range i.Names {
			if n[0] != "get_distribution" && n[0] != "DistributionNotFound" {
				return none(i.Line, "imports another part of it")
			}
			meaning[n[1]] = n[0]
		}
		within[i.Start] = i.End
		out = append(out, domain.Splice{Start: i.Start, Old: string(b[i.Start:i.End]), New: "import importlib.metadata"})
	}
	if len(out) == 0 {
		return none(1, "speaks of it without an import")
	}
	skip := 0
	for i, t := range tokens {
		if end, isImport := within[t.Start]; isImport {
			skip = end
		}
		what := meaning[t.Text]
		if t.Kind != edit.Name || what == "" || t.Start < skip || i > 0 && tokens[i-1].Text == "." {
			continue
		}
		at := i // the token that names the function or the exception
		if what == "pkg_resources" {
			if at+2 >= len(tokens) || tokens[at+1].Text != "." {
				return none(t.Line, "hands the module on")
			}
			at += 2
			what = tokens[at].Text
		}
		text := func(k int) string {
			if at+k < len(tokens) {
				return tokens[at+k].Text
			}
			return ""
		}
		switch what {
		case "DistributionNotFound":
			out = append(out, domain.Splice{Start: t.Start, Old: string(b[t.Start:tokens[at].End]), New: "importlib.metadata.PackageNotFoundError"})
		case "get_distribution":
			name := text(2)
			literal := at+2 < len(tokens) && tokens[at+2].Kind == edit.String && regexp.MustCompile(`\A(?:"[A-Za-z0-9._-]+"|'[A-Za-z0-9._-]+')\z`).MatchString(name)
			if text(1) != "(" || !literal && name != "__name__" && name != "__package__" || text(3) != ")" || text(4) != "." || text(5) != "version" {
				return none(t.Line, "asks for more than the version of a package by its name")
			}
			out = append(out,
				domain.Splice{Start: t.Start, Old: string(b[t.Start:tokens[at].End]), New: "importlib.metadata.version"},
				domain.Splice{Start: tokens[at+3].End, Old: string(b[tokens[at+3].End:tokens[at+5].End])})
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

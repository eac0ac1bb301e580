package strategies

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// replaceNumpyAlias writes what a removed NumPy name stood for, in every Python
// file of the repository that uses it.
type replaceNumpyAlias struct{}

var _ Strategy = replaceNumpyAlias{}

func (replaceNumpyAlias) ID() string { return "replace-numpy-alias" }

func (replaceNumpyAlias) Applies(f domain.Finding) bool { return f.Category == "numpy-removed-alias" }

// Python's own types, which NumPy's names of old were (NumPy 1.20's notes).
var builtinAliases = map[string]string{
	"float": "float", "int": "int", "bool": "bool", "object": "object", "str": "str", "complex": "complex",
	"long": "int", "unicode": "str",
}

// Other names of the same object in NumPy 1 and 2 (the notes of 1.24 and the
// migration guide of 2.0). What has another signature, another shape of result
// or exists in only one of both is not here.
var numpyAliases = map[string]string{
	"float_": "float64", "complex_": "complex128", "cfloat": "complex128", "singlecomplex": "complex64",
	"longfloat": "longdouble", "clongfloat": "clongdouble", "longcomplex": "clongdouble",
	"unicode_": "str_", "string_": "bytes_", "str0": "str_", "bytes0": "bytes_", "object0": "object_",
	"void0": "void", "bool8": "bool_", "int0": "intp", "uint0": "uintp",
	"Inf": "inf", "Infinity": "inf", "infty": "inf", "PINF": "inf", "NaN": "nan", "NAN": "nan",
	"product": "prod", "cumproduct": "cumprod", "alltrue": "all", "sometrue": "any",
	"row_stack": "vstack", "round_": "round", "mat": "asmatrix",
}

// inexact are removed names whose successors are not the same, and why.
var inexact = map[string]string{
	"trapz":                     "np.trapezoid exists in NumPy 2 only",
	"in1d":                      "np.isin keeps the shape of its input, np.in1d did not",
	"asfarray":                  "np.asarray takes the dtype in another way",
	"msort":                     "np.sort takes the axis in another way",
	"find_common_type":          "np.result_type has other rules",
	"cast":                      "there is no function in its place",
	"source":                    "inspect.getsource is in its place, another module",
	"ComplexWarning":            "np.exceptions exists since NumPy 1.25 only",
	"VisibleDeprecationWarning": "np.exceptions exists since NumPy 1.25 only",
	"RankWarning":               "np.exceptions exists since NumPy 1.25 only",
	"AxisError":                 "np.exceptions exists since NumPy 1.25 only",
}

const maxPythonFiles = 250 // of one repository that are looked at for one plan

func (s replaceNumpyAlias) Plan(ctx context.Context, tree Tree, f domain.Finding) (domain.Plan, error) {
	alias := f.Fact("alias")
	alias = alias[strings.LastIndexByte(alias, '.')+1:]
	_, builtin := builtinAliases[alias]
	switch {
	case alias == "":
		return domain.Plan{}, refuse("the finding does not say which name was removed")
	case inexact[alias] != "":
		return domain.Plan{}, refuse("np.%s has no exact successor: %s", alias, inexact[alias])
	case !builtin && numpyAliases[alias] == "" && alias != "NINF":
		return domain.Plan{}, refuse("%q is none of the names that have an exact successor", alias)
	}
	paths, err := tree.Paths(ctx)
	if err != nil {
		return domain.Plan{}, err
	}
	file := repositoryPath(paths, f.Fact("file"))
	if file == "" {
		return domain.Plan{}, refuse("the file %q is not the repository's: an installed package uses the removed name, and a version of it that doesn't is not known here", f.Fact("file"))
	}
	c := changes{}
	rest := ""
	n, err := s.replace(ctx, tree, file, alias, c)
	if err != nil {
		return domain.Plan{}, err
	}
	if n == 0 {
		return domain.Plan{}, refuse("%s does not use np.%s in a way that can be edited with certainty", file, alias)
	}
	if line, err := strconv.Atoi(f.Fact("line")); err == nil && line > 0 {
		b, err := tree.ReadFile(ctx, file)
		if err != nil {
			return domain.Plan{}, err
		}
		if !near(b, c[file], line) {
			return domain.Plan{}, refuse("line %d of %s, which failed, does not use np.%s itself", line, file, alias)
		}
	}
	looked := 0
	for _, p := range nearest(paths, file) {
		if p == file || vendored(p) {
			continue
		}
		if looked++; looked > maxPythonFiles {
			rest = fmt.Sprintf("\n\nOnly the %d Python files next to it were looked at.", maxPythonFiles)
			break
		}
		extra := changes{}
		more, err := s.replace(ctx, tree, p, alias, extra)
		if _, refused := errors.AsType[*domain.Refusal](err); refused || errors.Is(err, fs.ErrNotExist) {
			continue
		} else if errors.Is(err, domain.ErrTooLarge) {
			rest = "\n\nNot all files of the repository could be looked at."
			continue
		} else if err != nil {
			return domain.Plan{}, err
		}
		n += more
		for q, splices := range extra {
			c.add(q, splices...)
		}
	}
	successor := "np." + numpyAliases[alias]
	same := "another name of the same object"
	switch {
	case builtin:
		successor, same = builtinAliases[alias], "Python's own type, under another name"
	case alias == "NINF":
		successor, same = "-np.inf", "its negative infinity"
	}
	return domain.Plan{
		Strategy: s.ID(), Action: domain.ActionEdit,
		Title:     fmt.Sprintf("Replace np.%s, which NumPy removed, by %s", alias, successor),
		Rationale: fmt.Sprintf("NumPy removed %s, which was %s. %d %s %s %s, which means the same in every version of NumPy.%s", code("np."+alias), same, n, plural(n, "use", "uses"), plural(n, "is now", "are now"), code(successor), rest),
		Risk:      domain.RiskLow, Edits: c.edits(),
		Verify: "The code that raised the AttributeError runs, and the job passes.",
	}, nil
}

// replace adds the changes of one file and returns the number of uses.
func (replaceNumpyAlias) replace(ctx context.Context, tree Tree, p, alias string, c changes) (int, error) {
	b, err := tree.ReadFile(ctx, p)
	if err != nil {
		return 0, err
	}
	if !strings.Contains(string(b), "."+alias) {
		return 0, nil
	}
	names, err := numpyNames(b)
	if err != nil {
		return 0, refuse("%s can't be edited with certainty: %s", p, why(err))
	}
	tokens, err := edit.Tokens(b)
	if err != nil {
		return 0, refuse("%s can't be edited with certainty: %s", p, why(err))
	}
	if own := builtinAliases[alias]; own != "" && edit.Binds(tokens, own) {
		return 0, refuse("%s gives %q a meaning of its own, so np.%s can't be replaced by it", p, own, alias)
	}
	n := 0
	for i := 0; i+2 < len(tokens); i++ {
		t := tokens[i]
		if t.Kind != edit.Name || !slices.Contains(names, t.Text) || tokens[i+1].Text != "." || tokens[i+2].Text != alias {
			continue
		}
		prev, next := "", ""
		if i > 0 {
			prev = tokens[i-1].Text
		}
		if i+3 < len(tokens) {
			next = tokens[i+3].Text
		}
		if prev == "." || next == "=" && tokens[i+2].Depth == 0 { // np.float = float is a work-around, not a use
			if next == "=" {
				return 0, refuse("%s assigns np.%s itself", p, alias)
			}
			continue
		}
		switch {
		case builtinAliases[alias] != "":
			c.add(p, domain.Splice{Start: t.Start, Old: string(b[t.Start:tokens[i+2].End]), New: builtinAliases[alias]})
		case alias == "NINF":
			text := "-" + t.Text + ".inf"
			if slices.Contains([]string{"**", ".", "[", "("}, next) || slices.Contains([]string{"-", "+", "~", "**", "await"}, prev) {
				text = "(" + text + ")"
			}
			c.add(p, domain.Splice{Start: t.Start, Old: string(b[t.Start:tokens[i+2].End]), New: text})
		default:
			c.add(p, domain.Splice{Start: tokens[i+2].Start, Old: alias, New: numpyAliases[alias]})
		}
		n++
	}
	return n, nil
}

// numpyNames are the names under which a file knows NumPy, and only NumPy: a name
// that may also be something else (cupy, jax.numpy, a parameter) is an error.
func numpyNames(b []byte) ([]string, error) {
	imports, err := edit.Imports(b)
	if err != nil {
		return nil, err
	}
	var names []string
	bound := map[string]int{}
	for _, i := range imports {
		if i.Level == 0 && i.Module == "numpy" && len(i.Names) == 0 && !slices.Contains(names, i.As) {
			names = append(names, i.As)
		}
		if len(i.Names) == 0 && i.Top() != "numpy" {
			bound[i.As]++
		}
		for _, n := range i.Names {
			bound[n[1]]++
		}
	}
	tokens, err := edit.Tokens(b)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if bound[n] > 0 || edit.Binds(withoutImports(tokens), n) {
			return nil, fmt.Errorf("%q may be something else than NumPy: %w", n, edit.ErrNoPlace)
		}
	}
	return names, nil
}

// withoutImports drops the import statements, whose bindings are known.
func withoutImports(tokens []edit.Token) []edit.Token {
	var out, line []edit.Token
	flush := func() {
		if len(line) > 0 && line[0].Text != "import" && line[0].Text != "from" {
			out = append(out, line...)
		}
		line = nil
	}
	for _, t := range tokens {
		if t.Kind == edit.Comment {
			continue
		}
		line = append(line, t)
		if t.Kind == edit.Newline {
			flush()
		}
	}
	flush()
	return out
}

// near reports whether a splice is within the statement that a traceback names: it
// gives the line of the statement's beginning, or of the expression.
func near(b []byte, splices []domain.Splice, line int) bool {
	return slices.ContainsFunc(splices, func(s domain.Splice) bool {
		at := 1 + strings.Count(string(b[:s.Start]), "\n")
		return at >= line-1 && at <= line+10
	})
}

// repositoryPath finds the repository's file that a traceback names, which may be
// absolute on the runner; "" where there is none, or more than one. Files of
// installed packages are never the repository's.
func repositoryPath(paths []string, shown string) string {
	shown = strings.TrimPrefix(path.Clean(strings.ReplaceAll(shown, `\`, "/")), "./")
	if strings.Contains(shown, "site-packages/") || strings.Contains(shown, "dist-packages/") || shown == "." {
		return ""
	}
	if slices.Contains(paths, shown) && !vendored(shown) {
		return shown
	}
	found := ""
	for _, p := range paths {
		if strings.HasSuffix(shown, "/"+p) || strings.HasSuffix(p, "/"+shown) {
			switch {
			case vendored(p):
			case found == "" || strings.HasSuffix(p, "/"+found): // the longer path says more
				found = p
			case !strings.HasSuffix(found, "/"+p):
				return ""
			}
		}
	}
	return found
}

// vendored reports whether a path belongs to somebody else's code.
func vendored(p string) bool {
	for _, part := range strings.Split(path.Dir(p), "/") {
		switch strings.ToLower(part) {
		case "vendor", "vendored", "_vendor", "third_party", "thirdparty", "3rdparty", "external", "extern", "externals",
			"site-packages", "node_modules", ".venv", "venv", "env", ".tox", ".eggs", "build", "dist", "__pycache__", "submodules":
			return true
		}
	}
	return false
}

// nearest lists the Python files, sorted so that those in the same directories as file come first.
func nearest(paths []string, file string) []string {
	shared := func(p string) int {
		n := 0
		a, b := strings.Split(path.Dir(p), "/"), strings.Split(path.Dir(file), "/")
		for n < len(a) && n < len(b) && a[n] == b[n] {
			n++
		}
		return n
	}
	out := slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return path.Ext(p) != ".py" })
	near := make(map[string]int, len(out))
	for _, p := range out {
		near[p] = shared(p)
	}
	slices.SortStableFunc(out, func(a, b string) int { return near[b] - near[a] })
	return out
}

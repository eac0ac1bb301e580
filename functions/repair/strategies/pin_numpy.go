package strategies

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// pinNumpy keeps NumPy below 2 where a compiled package was built for NumPy 1:
// for the job alone where the package is somebody else's, and in the build and
// run-time requirements where it is the repository's own.
type pinNumpy struct{}

var _ Strategy = pinNumpy{}

func (pinNumpy) ID() string { return "pin-numpy" }

func (pinNumpy) Applies(f domain.Finding) bool { return f.Category == "numpy-abi" }

const numpyBound = "<2"

// mismatch are the messages that tell NumPy 1 and 2 apart. The dtype object has
// 88 bytes in NumPy 1.20 to 1.26 and 96 in NumPy 2.
var mismatch = regexp.MustCompile(`_ARRAY_API not found|compiled using NumPy 1\.x cannot be run in\s+NumPy 2|numpy\.dtype size changed.*(?:Expected 88 from C header, got 96|Expected 96 from C header, got 88)`)

func (s pinNumpy) Plan(ctx context.Context, tree Tree, f domain.Finding) (domain.Plan, error) {
	if !mismatch.MatchString(f.Text) {
		return domain.Plan{}, refuse("the log does not show that NumPy 1 and 2 were mixed")
	}
	paths, err := tree.Paths(ctx)
	if err != nil {
		return domain.Plan{}, err
	}
	p := newPlacer(ctx, tree, paths)
	elsewhere, err := p.elsewhere()
	if err != nil {
		return domain.Plan{}, err
	}
	for _, e := range elsewhere {
		if e.Name == "numpy" && regexp.MustCompile(`(?:>=?|==|~=)\s*2`).MatchString(e.Specifier) {
			return domain.Plan{}, refuse("%s demands NumPy 2 (numpy%s)", e.path, e.Specifier)
		}
	}
	c := changes{}
	own, err := s.ownPackage(ctx, tree, f.Fact("package"), c)
	if err != nil {
		return domain.Plan{}, err
	}
	plan := domain.Plan{Strategy: s.ID(), Action: domain.ActionEdit, Risk: domain.RiskMedium, Title: "Keep NumPy below 2"}
	if own {
		plan.Edits = c.edits()
		plan.Rationale = fmt.Sprintf("The package's compiled code met another major version of NumPy than it was built with. %s is now required where the package is built and where it runs, so that both are the same.", code("numpy"+numpyBound))
		plan.Verify = "The package builds, its compiled code loads, and the job passes."
		return plan, nil
	}
	installs, opaque, w, err := p.installs(f)
	if err != nil {
		return domain.Plan{}, err
	}
	if w == nil {
		return domain.Plan{}, refuse("the finding does not say which workflow failed")
	}
	if m, splices, err := s.application(p, installs); err != nil {
		return domain.Plan{}, err
	} else if len(splices) > 0 {
		c.add(m.path, splices...)
		plan.Edits = c.edits()
		plan.Rationale = fmt.Sprintf("%s was built for NumPy 1, and the job installed NumPy 2. %s, from which the job installs, now keeps NumPy below 2. The repository is no package that others install, so nobody else is bounded by it.", orCode(f.Fact("package"), "A compiled package"), m.title())
		plan.Verify = "The compiled package loads, and the job passes."
		return plan, nil
	}
	target := s.command(installs, w.path, edit.Normalize(f.Fact("package")))
	if target == nil {
		if len(opaque) > 0 {
			return domain.Plan{}, refuse("the job installs with %s, where a bound for this job alone has no place", strings.Join(opaque, ", "))
		}
		return domain.Plan{}, refuse("the job has no pip command that a bound for it alone could be added to")
	}
	c.add(w.path, appendWord(*target, "numpy"+numpyBound))
	plan.Edits = c.edits()
	plan.Title = "Keep NumPy below 2 in the failed job"
	plan.Rationale = fmt.Sprintf("%s was built for NumPy 1, and the job installed NumPy 2. The job now installs %s. What the repository requires of its users stays as it is, since it is the versions of this job that don't fit together.", orCode(f.Fact("package"), "A compiled package"), code("numpy"+numpyBound))
	plan.Verify = "The compiled package loads, and the job passes."
	return plan, nil
}

func orCode(s, other string) string {
	if s == "" {
		return other
	}
	return code(s)
}

// application bounds numpy in the requirements file that names it, where the
// repository is no package: then the file says what runs, and not what users need.
func (pinNumpy) application(p placer, installs []install) (manifest, []domain.Splice, error) {
	for _, name := range []string{"setup.py", "setup.cfg", "pyproject.toml"} {
		if slices.Contains(p.paths, name) {
			return manifest{}, nil, nil
		}
	}
	for _, i := range installs {
		if i.kind != installFile || i.partial {
			continue
		}
		lists, _, err := p.lists(i)
		if err != nil {
			return manifest{}, nil, err
		}
		for _, m := range lists {
			if _, ok := m.find("numpy"); !ok || m.constrain == nil {
				continue
			}
			splices, err := m.constrain("numpy", numpyBound)
			switch {
			case err == nil:
				return m, splices, nil
			case errors.Is(err, edit.ErrPresent):
				return manifest{}, nil, refuse("numpy is bounded in %s already: %s", m.path, why(err))
			}
		}
	}
	return manifest{}, nil, nil
}

// command is the pip command to add the bound to: the one that names the package,
// unless it asks an index of its own (which need not have NumPy), else the last.
func (pinNumpy) command(installs []install, file, pkg string) *install {
	var last *install
	for k := range installs {
		i := &installs[k]
		if i.file != file || i.partial || (i.tool != "pip" && i.tool != "uv") || len(i.command) == 0 {
			continue
		}
		if i.kind == installPackages && slices.Contains(i.packages, "numpy") {
			return nil // the job chooses its NumPy itself
		}
		bare := i.kind == installPackages && !slices.ContainsFunc(i.packages, func(p string) bool { return !slices.Contains([]string{"pip", "setuptools", "wheel"}, p) })
		if i.index || bare {
			continue
		}
		if i.last.end == 0 {
			i.last = i.command[len(i.command)-1]
		}
		if i.kind == installPackages && slices.Contains(i.packages, pkg) {
			return i
		}
		last = i
	}
	return last
}

// ownPackage adds the bound to pyproject.toml where the package is the
// repository's own and built against NumPy.
func (pinNumpy) ownPackage(ctx context.Context, tree Tree, pkg string, c changes) (bool, error) {
	b, err := tree.ReadFile(ctx, "pyproject.toml")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	t, err := edit.ParseTOML(b)
	if err != nil {
		return false, nil //nolint:nilerr // then it isn't known to be the own package
	}
	if name, _ := t.String("project", "name"); pkg == "" || edit.Normalize(name) != edit.Normalize(pkg) {
		return false, nil
	}
	for _, list := range [][]string{{"project", "dependencies"}, {"build-system", "requires"}} {
		splices, err := t.ConstrainInList("numpy", numpyBound, list...)
		switch {
		case err == nil:
			c.add("pyproject.toml", splices...)
		case errors.Is(err, edit.ErrPresent):
			return false, refuse("numpy is bounded in %s already: %s", strings.Join(list, "."), why(err))
		}
	}
	if len(c) == 0 {
		return false, refuse("%s is the repository's own package, and pyproject.toml does not require numpy", pkg)
	}
	return true, nil
}

package strategies

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// requireSetuptools requires a setuptools that still brings the module that is
// gone: pkg_resources left it in version 82 (81 announced it), and any version
// stands in for distutils, which Python 3.12 removed.
type requireSetuptools struct{}

var _ Strategy = requireSetuptools{}

func (requireSetuptools) ID() string { return "require-setuptools" }

func (requireSetuptools) Applies(f domain.Finding) bool { return f.Category == "pkg-resources-removed" }

func (s requireSetuptools) Plan(ctx context.Context, tree Tree, f domain.Finding) (domain.Plan, error) {
	module, bound := f.Fact("package"), ""
	switch module {
	case "pkg_resources", "":
		module, bound = "pkg_resources", "<81"
	case "distutils":
	default:
		return domain.Plan{}, refuse("setuptools does not bring %q", module)
	}
	paths, err := tree.Paths(ctx)
	if err != nil {
		return domain.Plan{}, err
	}
	p := newPlacer(ctx, tree, paths)
	usage, err := p.usage(module)
	if err != nil {
		return domain.Plan{}, err
	}
	if setup, err := tree.ReadFile(ctx, "setup.py"); err == nil && usage == usedByNobody {
		imports, err := edit.Imports(setup)
		if err != nil || slices.ContainsFunc(imports, func(i edit.Import) bool { return i.Top() == module }) {
			return domain.Plan{}, refuse("setup.py itself needs %s, while the package is built: its build requirements are for a person", module)
		}
	}
	path, title, splices, err := s.edit(p, f, bound, usage)
	if err != nil {
		return domain.Plan{}, err
	}
	what := map[bool]string{true: "stands in for it", false: "still brings it"}[bound == ""]
	return domain.Plan{
		Strategy: s.ID(), Action: domain.ActionEdit,
		Title:     "Require setuptools" + bound + ", which brings " + module,
		Rationale: fmt.Sprintf("%s is gone from the environment of the job. %s %s, and is required in %s now. Moving the code to %s would be the lasting repair, which the bot can't do here with certainty.", code(module), code("setuptools"+bound), what, title, code("importlib.metadata")),
		Risk:      domain.RiskMedium, Edits: changes{path: splices}.edits(),
		Verify: fmt.Sprintf("The job installs setuptools, and the import of %s works.", module),
	}, nil
}

// edit bounds setuptools where the job's lists name it already, and adds it where
// they don't.
func (requireSetuptools) edit(p placer, f domain.Finding, bound string, usage usageKind) (path, title string, splices []domain.Splice, err error) {
	installs, _, _, err := p.installs(f)
	if err != nil {
		return "", "", nil, err
	}
	for _, i := range installs {
		lists, _, err := p.lists(i)
		if err != nil {
			return "", "", nil, err
		}
		for _, m := range lists {
			if _, ok := m.find("setuptools"); !ok {
				continue
			}
			if bound == "" || m.constrain == nil || i.partial || i.locked != "" {
				return "", "", nil, refuse("setuptools is in %s already, and the bot can't bound it there", m.title())
			}
			splices, err := m.constrain("setuptools", bound)
			if errors.Is(err, edit.ErrPresent) || errors.Is(err, edit.ErrNoPlace) {
				return "", "", nil, refuse("setuptools in %s can't be bounded: %s", m.title(), why(err))
			}
			return m.path, m.title(), splices, err
		}
	}
	place, err := p.place(f, "setuptools", usage)
	if err != nil {
		return "", "", nil, err
	}
	splices, err = place.add("setuptools" + bound)
	if err != nil {
		return "", "", nil, refuse("setuptools can't be added to %s: %s", place.path, why(err))
	}
	return place.path, place.title(), splices, nil
}

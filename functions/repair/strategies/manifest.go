package strategies

import (
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

// manifest is one list of requirements that can be read and edited.
type manifest struct {
	path string
	what string // for people, e.g. "[project].dependencies"
	reqs []edit.Requirement
	// add and constrain edit the list; constrain is nil where that isn't known.
	add       func(req string) ([]domain.Splice, error)
	constrain func(name, bound string) ([]domain.Splice, error)
	// dev: the list is for development and tests by its name.
	dev bool
}

func (m manifest) find(name string) (edit.Requirement, bool) {
	for _, r := range m.reqs {
		if r.Name == name {
			return r, true
		}
	}
	return edit.Requirement{}, false
}

// title names the list for people.
func (m manifest) title() string {
	if m.what == "" {
		return code(m.path)
	}
	return code(m.what) + " of " + code(m.path)
}

// manifests resolves what jobs install to lists.
type manifests struct{ read readFunc }

var devName = regexp.MustCompile(`(?i)(?:\A|[^a-z])(?:dev|devel|develop|development|tests?|testing|ci|qa)(?:[^a-z]|\z)`)

func requirements(texts []string) []edit.Requirement {
	var out []edit.Requirement
	for _, t := range texts {
		if r, err := edit.ParseRequirement(t); err == nil {
			out = append(out, r)
		}
	}
	return out
}

// file resolves a requirements file. The error is a refusal that says why it
// can't be edited.
func (ms manifests) file(p string) (manifest, error) {
	b, err := ms.read(p)
	if errors.Is(err, fs.ErrNotExist) {
		return manifest{}, refuse("%s is not in the repository", p)
	} else if err != nil {
		return manifest{}, err
	}
	if by := edit.Generated(b); by != "" {
		return manifest{}, refuse("%s is generated (%q): its source has to change, and the tool to run again", p, by)
	}
	f, err := edit.ParseRequirements(b)
	switch {
	case err != nil:
		return manifest{}, refuse("%s can't be read: %s", p, why(err))
	case f.Hashed():
		return manifest{}, refuse("pip demands a hash of every requirement in %s", p)
	case len(f.Requirements) == 0 && len(f.Includes) == 1:
		next := path.Join(path.Dir(p), f.Includes[0])
		if next == p {
			return manifest{}, refuse("%s includes itself", p)
		}
		return ms.file(next)
	}
	m := manifest{path: p, dev: devName.MatchString(p),
		add: func(req string) ([]domain.Splice, error) { return edit.AddRequirement(b, req) },
		constrain: func(name, bound string) ([]domain.Splice, error) {
			for _, l := range f.Requirements {
				if l.Name != name || strings.Contains(l.Text, "\n") {
					continue
				}
				text := l.Text
				if at := strings.Index(text, " #"); at >= 0 {
					text = text[:at]
				}
				text = strings.TrimRight(text, " \t")
				bounded, err := edit.Constrain(text, bound)
				if err != nil {
					return nil, err
				}
				return []domain.Splice{{Start: l.Start, Old: text, New: bounded}}, nil
			}
			return nil, edit.ErrNoPlace
		},
	}
	seen := map[string]bool{p: true}
	for queue := []string{p}; len(queue) > 0 && len(seen) < 20; queue = queue[1:] {
		f := f
		if queue[0] != p {
			b, err := ms.read(queue[0])
			if errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return manifest{}, err
			}
			if f, err = edit.ParseRequirements(b); err != nil {
				continue
			}
		}
		for _, l := range f.Requirements {
			m.reqs = append(m.reqs, l.Requirement)
		}
		for _, include := range f.Includes {
			if next := path.Join(path.Dir(queue[0]), include); !seen[next] {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	return m, nil
}

var requirementsName = regexp.MustCompile(`["']([A-Za-z0-9_./-]*requirements[A-Za-z0-9_./-]*\.(?:txt|in))["']`)

// runtime resolves the run-time requirements of the project in dir.
func (ms manifests) runtime(dir string) (manifest, error) {
	pyproject := path.Join(dir, "pyproject.toml")
	b, err := ms.read(pyproject)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return manifest{}, err
	}
	if err == nil {
		t, err := edit.ParseTOML(b)
		if err != nil {
			return manifest{}, refuse("%s does not parse", pyproject)
		}
		dynamic, _ := t.Strings("project", "dynamic")
		switch {
		case slices.Contains(dynamic, "dependencies"):
			files, _ := t.Strings("tool", "setuptools", "dynamic", "dependencies", "file")
			if one, ok := t.String("tool", "setuptools", "dynamic", "dependencies", "file"); ok {
				files = []string{one}
			}
			if len(files) > 0 {
				return ms.file(path.Join(dir, files[0]))
			}
		case t.Has("project", "dependencies"):
			return ms.toml(t, pyproject, false, "project", "dependencies")
		case t.Has("tool", "poetry", "dependencies"):
			return ms.poetry(t, pyproject, false, "tool", "poetry", "dependencies"), nil
		case t.Has("project", "name"):
			return manifest{}, refuse("%s has no list of dependencies to add to", pyproject)
		}
	}
	cfg := path.Join(dir, "setup.cfg")
	b, err = ms.read(cfg)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return manifest{}, err
	}
	if err == nil {
		if ini, err := edit.ParseINI(b); err == nil {
			if v, ok := ini.Values("options", "install_requires"); ok {
				if len(v) == 1 && strings.HasPrefix(v[0], "file:") {
					name, _, _ := strings.Cut(strings.TrimPrefix(v[0], "file:"), ",")
					return ms.file(path.Join(dir, strings.TrimSpace(name)))
				}
				return manifest{path: cfg, what: "install_requires", reqs: requirements(v),
					add: func(req string) ([]domain.Splice, error) { return ini.AddToList(req, "options", "install_requires") }}, nil
			}
		}
	}
	setup := path.Join(dir, "setup.py")
	b, err = ms.read(setup)
	if errors.Is(err, fs.ErrNotExist) {
		return manifest{}, refuse("no run-time requirements were found in %s", orRoot(dir))
	} else if err != nil {
		return manifest{}, err
	}
	reqs, err := edit.SetupRequirements(b, "install_requires", "")
	if err != nil {
		// Read from a requirements file, as many do.
		var files []string
		for _, m := range requirementsName.FindAllStringSubmatch(string(b), -1) {
			if !slices.Contains(files, m[1]) && !devName.MatchString(m[1]) {
				files = append(files, m[1])
			}
		}
		if errors.Is(err, edit.ErrNoPlace) && len(files) == 1 {
			return ms.file(path.Join(dir, files[0]))
		}
		return manifest{}, refuse("the requirements in %s are computed: %s", setup, why(err))
	}
	return manifest{path: setup, what: "install_requires", reqs: requirements(reqs),
		add: func(req string) ([]domain.Splice, error) { return edit.SetupList(b, req, "install_requires", "") }}, nil
}

func orRoot(dir string) string {
	if dir == "" {
		return "the repository's root"
	}
	return dir
}

func (ms manifests) toml(t *edit.TOML, p string, dev bool, key ...string) (manifest, error) {
	texts, ok := t.Strings(key...)
	if !ok {
		return manifest{}, refuse("%s in %s is no list", strings.Join(key, "."), p)
	}
	return manifest{path: p, what: "[" + strings.Join(key[:len(key)-1], ".") + "]." + key[len(key)-1], reqs: requirements(texts), dev: dev,
		add:       func(req string) ([]domain.Splice, error) { return t.AddToList(req, key...) },
		constrain: func(name, bound string) ([]domain.Splice, error) { return t.ConstrainInList(name, bound, key...) },
	}, nil
}

func (ms manifests) poetry(t *edit.TOML, p string, dev bool, table ...string) manifest {
	return manifest{path: p, what: "[" + strings.Join(table, ".") + "]", reqs: requirements(t.Keys(table...)), dev: dev,
		add: func(req string) ([]domain.Splice, error) {
			r, err := edit.ParseRequirement(req)
			if err != nil {
				return nil, err
			}
			if r.Extras != "" || r.Marker != "" {
				return nil, fmt.Errorf("extras and markers: %w", edit.ErrNoPlace)
			}
			version := r.Specifier
			if version == "" {
				version = "*"
			}
			return t.AddKey(r.Raw, `"`+version+`"`, table, "python")
		}}
}

// development lists the lists for development and tests that an install of a
// project brings along: extras and groups. named are all its extras and groups,
// whatever they are for.
func (ms manifests) development(i install) (named []manifest, err error) {
	pyproject := path.Join(i.path, "pyproject.toml")
	b, err := ms.read(pyproject)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	wants := func(list []string, name string) bool {
		return slices.Contains(list, "*") || slices.ContainsFunc(list, func(w string) bool { return edit.Normalize(w) == edit.Normalize(name) })
	}
	if err == nil {
		t, err := edit.ParseTOML(b)
		if err != nil {
			return nil, refuse("%s does not parse", pyproject)
		}
		for _, source := range []struct {
			table []string
			names []string
		}{
			{[]string{"project", "optional-dependencies"}, i.extras},
			{[]string{"dependency-groups"}, i.groups},
		} {
			if source.table[0] == "dependency-groups" && i.tool != "uv" && i.tool != "poetry" {
				continue
			}
			for _, name := range t.Keys(source.table...) {
				if !wants(source.names, name) {
					continue
				}
				if m, err := ms.toml(t, pyproject, devName.MatchString(name), append(slices.Clone(source.table), name)...); err == nil {
					named = append(named, m)
				}
			}
		}
		if i.tool == "uv" && wants(i.groups, "dev") && t.Has("tool", "uv", "dev-dependencies") {
			if m, err := ms.toml(t, pyproject, true, "tool", "uv", "dev-dependencies"); err == nil {
				named = append(named, m)
			}
		}
		if i.tool == "poetry" {
			for _, name := range t.Keys("tool", "poetry", "group") {
				if wants(i.groups, name) && t.Has("tool", "poetry", "group", name, "dependencies") {
					named = append(named, ms.poetry(t, pyproject, devName.MatchString(name), "tool", "poetry", "group", name, "dependencies"))
				}
			}
			if len(i.groups) > 0 && t.Has("tool", "poetry", "dev-dependencies") {
				named = append(named, ms.poetry(t, pyproject, true, "tool", "poetry", "dev-dependencies"))
			}
		}
	}
	cfg := path.Join(i.path, "setup.cfg")
	b, err = ms.read(cfg)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		if ini, err := edit.ParseINI(b); err == nil {
			for _, name := range ini.Keys("options.extras_require") {
				if v, ok := ini.Values("options.extras_require", name); ok && wants(i.extras, name) {
					named = append(named, manifest{path: cfg, what: "extra " + name, reqs: requirements(v), dev: devName.MatchString(name),
						add: func(req string) ([]domain.Splice, error) { return ini.AddToList(req, "options.extras_require", name) }})
				}
			}
		}
	}
	setup := path.Join(i.path, "setup.py")
	b, err = ms.read(setup)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		for _, name := range i.extras {
			if reqs, err := edit.SetupRequirements(b, "extras_require", name); err == nil {
				named = append(named, manifest{path: setup, what: "extra " + name, reqs: requirements(reqs), dev: devName.MatchString(name),
					add: func(req string) ([]domain.Splice, error) { return edit.SetupList(b, req, "extras_require", name) }})
			}
		}
	}
	return named, nil
}

// conda resolves a conda environment: its pip list where it has one, else the
// conda packages for those that conda-forge names as the index does.
func (ms manifests) conda(p string) (manifest, error) {
	b, err := ms.read(p)
	if errors.Is(err, fs.ErrNotExist) {
		return manifest{}, refuse("%s is not in the repository", p)
	} else if err != nil {
		return manifest{}, err
	}
	y, err := edit.ParseYAML(b)
	if err != nil {
		return manifest{}, refuse("%s does not parse", p)
	}
	deps := edit.Get(y.Root, "dependencies")
	if deps == nil {
		return manifest{}, refuse("%s has no dependencies", p)
	}
	m := manifest{path: p, what: "dependencies"}
	var names []string
	target, isPip := deps, false
	for _, n := range deps.Content {
		if pip := edit.Get(n, "pip"); pip != nil {
			target, isPip = pip, true
			for _, e := range pip.Content {
				names = append(names, e.Value)
			}
		} else if n.Value != "" {
			names = append(names, edit.CondaName(n.Value))
		}
	}
	if isPip {
		m.what = "the pip list"
	}
	m.reqs = requirements(names)
	m.add = func(req string) ([]domain.Splice, error) {
		r, err := edit.ParseRequirement(req)
		if err != nil {
			return nil, err
		}
		if !isPip {
			if !slices.Contains(condaForge, r.Name) {
				return nil, fmt.Errorf("%s may have another name on conda's channels: %w", r.Name, edit.ErrNoPlace)
			}
			req = r.Name
		}
		return y.AddToCondaList(target, req)
	}
	return m, nil
}

// condaForge are distributions that conda-forge and the defaults channel carry
// under the index's (normalised) name.
var condaForge = []string{
	"accelerate", "aiohttp", "beautifulsoup4", "bokeh", "boto3", "click", "cython", "dask", "datasets", "dill", "evaluate", "fastapi", "flask", "geopandas", "gitpython",
	"h5py", "hydra-core", "imageio", "ipython", "joblib", "jsonschema", "librosa", "lightgbm", "lxml", "matplotlib", "mlflow", "networkx", "nltk", "numba", "numpy",
	"openpyxl", "optuna", "packaging", "pandas", "pillow", "plotly", "polars", "psutil", "pyarrow", "pydantic", "pytest", "pytest-cov", "pytest-mock", "python-dateutil",
	"python-dotenv", "pytz", "pyyaml", "requests", "rich", "ruamel-yaml", "scikit-image", "scikit-learn", "scipy", "seaborn", "sentencepiece", "setuptools", "shap",
	"spacy", "sqlalchemy", "statsmodels", "sympy", "tabulate", "tqdm", "transformers", "typer", "umap-learn", "wandb", "xarray", "xgboost",
}

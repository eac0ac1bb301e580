package strategies

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
)

// installKind is what a command installs.
type installKind string

const (
	installFile     installKind = "requirements file"
	installProject  installKind = "project"
	installConda    installKind = "conda environment"
	installPackages installKind = "packages by name"
	installTox      installKind = "tox environment"
)

// install is one thing that a job installs.
type install struct {
	kind installKind
	path string // a file, or a project's directory ("" for the root)
	// extras and groups of the project are installed with it.
	extras, groups []string
	// tool is pip, uv, poetry, conda or tox.
	tool string
	// partial: not every leg of the matrix runs it.
	partial bool
	// locked says why an edit of the manifest alone would not be installed.
	locked string
	// packages are the names on the command line.
	packages []string
	// index: the command names another package index.
	index bool
	// command are the words in file, whose content is raw; last is the word behind
	// which another package can be named.
	file    string
	raw     []byte
	command []word
	last    word
}

// installer reads what a job installs.
type installer struct {
	follower
	out []install
	// opaque are commands that install in a way that isn't read.
	opaque []string
}

// installs lists what a job installs before the failed step (or in all of its
// steps where that step can't be told).
func (w *workflow) installs(read readFunc, j *job, failed *step) ([]install, []string, error) {
	in := &installer{follower: follower{readFile: read, w: w, j: j, seen: map[string]bool{}}}
	in.visit = in.one
	for i := range j.steps {
		s := &j.steps[i]
		from := len(in.out)
		in.step(s)
		if condition := edit.Value(edit.Get(s.node, "if")); strings.Contains(condition, "matrix.") {
			for k := from; k < len(in.out); k++ {
				in.out[k].partial = true
			}
		}
		if s == failed {
			break
		}
	}
	return in.out, in.opaque, in.err
}

func (in *installer) step(s *step) {
	action, _, _ := strings.Cut(strings.ToLower(s.uses), "@")
	switch action {
	case "conda-incubator/setup-miniconda", "mamba-org/setup-micromamba", "mamba-org/provision-with-micromamba":
		if f := edit.Value(edit.Get(s.node, "with", "environment-file")); f != "" {
			in.add(install{kind: installConda, tool: "conda", path: path.Clean(f)})
		}
	default:
		if !in.follow(s) {
			in.opaque = append(in.opaque, s.name)
		}
	}
}

func (in *installer) add(i install) { in.out = append(in.out, i) }

var pythonCommand = regexp.MustCompile(`\A(?:.*/)?(?:python(?:3(?:\.\d+)?)?|py)(?:\.exe)?\z`)
var pipCommand = regexp.MustCompile(`\A(?:.*/)?pip(?:3(?:\.\d+)?)?(?:\.exe)?\z`)

func (in *installer) one(words []word, file string, raw []byte, dir string, env []string) {
	if len(in.out) > 100 {
		return
	}
	frozen := slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "UV_FROZEN=") || strings.HasPrefix(e, "UV_LOCKED=") })
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = w.text
	}
	is := func(want ...string) bool { return len(texts) >= len(want) && slices.Equal(texts[:len(want)], want) }
	base := install{tool: "pip", file: file, raw: raw, command: words}
	switch {
	case is("uv", "pip", "install"):
		base.tool = "uv"
		in.pip(base, words[3:], dir)
	case pipCommand.MatchString(texts[0]) && len(texts) > 1 && texts[1] == "install":
		in.pip(base, words[2:], dir)
	case pythonCommand.MatchString(texts[0]) && len(texts) > 3 && texts[1] == "-m" && texts[2] == "pip" && texts[3] == "install":
		in.pip(base, words[4:], dir)
	case pythonCommand.MatchString(texts[0]) && len(texts) > 2 && texts[1] == "setup.py" && (texts[2] == "install" || texts[2] == "develop"):
		in.add(install{kind: installProject, tool: "pip", path: dir})
	case (is("poetry", "run") || is("uv", "run") || is("pipenv", "run")) && len(words) > 2:
		rest := words[2:]
		if texts[0] == "uv" {
			in.uv(texts[2:], dir, frozen)
			for len(rest) > 0 && strings.HasPrefix(rest[0].text, "-") {
				rest = rest[1:]
			}
		}
		if len(rest) > 0 {
			in.one(rest, file, raw, dir, env)
		}
	case is("uv", "sync"):
		in.uv(texts[2:], dir, frozen)
	case is("poetry", "install"):
		in.poetry(texts[2:], dir)
	case is("pipenv", "install"), is("pipenv", "sync"), is("pdm", "install"), is("pdm", "sync"), is("pip-sync"), is("hatch", "run"), is("nox"), is("pixi", "install"), is("rye", "sync"):
		in.opaque = append(in.opaque, texts[0])
	case (texts[0] == "conda" || texts[0] == "mamba" || texts[0] == "micromamba") && (slices.Contains(texts, "create") || slices.Contains(texts, "update") || slices.Contains(texts, "install")):
		in.conda(texts, dir)
	case is("tox"), pythonCommand.MatchString(texts[0]) && len(texts) > 2 && texts[1] == "-m" && texts[2] == "tox":
		in.tox(dir)
	}
}

// withValue are pip's options that take the next word.
var withValue = []string{
	"-i", "--index-url", "--extra-index-url", "-f", "--find-links", "-t", "--target", "--python", "--prefix", "-c", "--constraint", "--constraints", "-b", "--build",
	"--platform", "--python-version", "--progress-bar", "--timeout", "--retries", "--proxy", "--trusted-host", "--cache-dir", "--log", "--root", "--src", "--upgrade-strategy",
	"--no-binary", "--only-binary", "--config-settings", "--global-option", "--report", "--abi", "--implementation", "--index-strategy", "--resolution", "--torch-backend", "--override",
}

func (in *installer) pip(base install, words []word, dir string) {
	named := base
	for i := 0; i < len(words); i++ {
		text := words[i].text
		option, value, attached := strings.Cut(text, "=")
		next := func() string {
			if attached {
				return value
			}
			if i+1 < len(words) {
				i++
				return words[i].text
			}
			return ""
		}
		switch {
		case text == ">" || text == "<":
			i++
		case option == "-r" || option == "--requirement" || option == "--requirements":
			in.file(base, next(), dir)
		case strings.HasPrefix(text, "-r") && len(text) > 2:
			in.file(base, text[2:], dir)
		case option == "-e" || option == "--editable":
			in.project(base, next(), dir)
		case option == "--extra" && base.tool == "uv", option == "--group":
			next()
		case slices.Contains(withValue, option):
			if strings.Contains(option, "index-url") || option == "-i" {
				named.index = true
			}
			next()
		case strings.HasPrefix(text, "-"):
		case text == "." || strings.HasPrefix(text, ".[") || strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../") || strings.HasPrefix(text, "${{"):
			in.project(base, text, dir)
			named.last = words[i]
		case strings.Contains(text, "://") || strings.HasSuffix(text, ".whl") || strings.HasSuffix(text, ".tar.gz") || strings.HasPrefix(text, "$") || strings.Contains(text, "*.whl"):
		case strings.Contains(text, "/") || !regexp.MustCompile(`\A[A-Za-z0-9]`).MatchString(text):
			in.project(base, text, dir)
		default:
			named.packages = append(named.packages, edit.CondaName(text))
			named.last = words[i]
		}
	}
	if len(named.packages) > 0 {
		named.kind = installPackages
		in.add(named)
	}
}

func (in *installer) file(base install, name, dir string) {
	values, partial := in.w.values(in.j, name)
	for _, v := range values {
		i := base
		i.kind, i.path, i.partial = installFile, strings.TrimPrefix(path.Join("/", dir, v), "/"), partial
		in.add(i)
	}
}

var projectArgument = regexp.MustCompile(`\A([^\[\]]*?)/?(?:\[([A-Za-z0-9._, -]*)\])?\z`)

// project adds an install of a local directory such as ".[dev]".
func (in *installer) project(base install, text, dir string) {
	values, partial := in.w.values(in.j, text)
	for _, v := range values {
		m := projectArgument.FindStringSubmatch(v)
		if m == nil || strings.Contains(v, "$") || strings.Contains(v, "*") || strings.Contains(m[1], "=") {
			continue
		}
		i := base
		i.kind, i.path = installProject, strings.TrimPrefix(path.Join("/", dir, m[1]), "/")
		for e := range strings.SplitSeq(m[2], ",") {
			if e = strings.TrimSpace(e); e != "" {
				i.extras = append(i.extras, e)
			}
		}
		if partial {
			// The project itself may be in every leg, its extras only in some.
			all := !slices.ContainsFunc(values, func(o string) bool {
				om := projectArgument.FindStringSubmatch(o)
				return om == nil || om[1] != m[1]
			})
			i.partial = !all
			i.extras = nil
		}
		in.add(i)
	}
}

func (in *installer) uv(args []string, dir string, frozen bool) {
	i := install{kind: installProject, tool: "uv", path: dir, groups: []string{"dev"}}
	for k := 0; k < len(args); k++ {
		value := ""
		if option, v, ok := strings.Cut(args[k], "="); ok {
			args[k], value = option, v
		} else if k+1 < len(args) {
			value = args[k+1]
		}
		switch args[k] {
		case "--frozen", "--locked":
			frozen = true
		case "--extra":
			i.extras = append(i.extras, value)
		case "--all-extras":
			i.extras = append(i.extras, "*")
		case "--group", "--only-group":
			i.groups = append(i.groups, value)
		case "--all-groups":
			i.groups = append(i.groups, "*")
		case "--no-dev":
			i.groups = nil
		case "--no-sync", "--no-project", "--isolated", "--script":
			return
		}
	}
	if frozen {
		i.locked = "the job installs exactly what uv.lock holds (--frozen or --locked), so the lock would have to be made anew too"
	}
	in.add(i)
}

func (in *installer) poetry(args []string, dir string) {
	i := install{kind: installProject, tool: "poetry", path: dir, groups: []string{"*"}}
	for k, a := range args {
		option, value, attached := strings.Cut(a, "=")
		if !attached && k+1 < len(args) {
			value = args[k+1]
		}
		switch option {
		case "--extras", "-E":
			i.extras = append(i.extras, strings.Fields(strings.ReplaceAll(value, ",", " "))...)
		case "--all-extras":
			i.extras = append(i.extras, "*")
		case "--only", "--only-root", "--no-dev", "--without", "--sync":
			i.groups = nil
		}
	}
	if _, ok := in.read(path.Join(dir, "poetry.lock")); ok {
		i.locked = "poetry.lock would no longer fit pyproject.toml, and poetry refuses to install then"
	}
	in.add(i)
}

func (in *installer) conda(texts []string, dir string) {
	for k, t := range texts {
		option, value, attached := strings.Cut(t, "=")
		if option != "-f" && option != "--file" {
			continue
		}
		if !attached && k+1 < len(texts) {
			value = texts[k+1]
		}
		if value != "" {
			i := install{kind: installConda, tool: "conda", path: strings.TrimPrefix(path.Join("/", dir, value), "/")}
			if path.Ext(value) == ".txt" {
				i.kind = installFile
			}
			in.add(i)
		}
		return
	}
	if slices.Contains(texts, "env") && (slices.Contains(texts, "create") || slices.Contains(texts, "update")) {
		in.add(install{kind: installConda, tool: "conda", path: path.Join(dir, "environment.yml")})
	}
}

// tox reads what [testenv] of tox.ini installs.
func (in *installer) tox(dir string) {
	p := path.Join(dir, "tox.ini")
	b, ok := in.read(p)
	if !ok {
		return
	}
	ini, err := edit.ParseINI(b)
	if err != nil {
		return
	}
	deps, ok := ini.Values("testenv", "deps")
	if !ok {
		return
	}
	plain := true
	for _, d := range deps {
		if name, isFile := strings.CutPrefix(strings.TrimSpace(d), "-r"); isFile {
			name = strings.TrimPrefix(strings.TrimSpace(name), "{toxinidir}/")
			in.add(install{kind: installFile, tool: "tox", path: strings.TrimPrefix(path.Join("/", dir, name), "/")})
			plain = false
		} else if _, err := edit.ParseRequirement(d); err != nil {
			plain = false
		}
	}
	if plain && len(deps) > 0 {
		in.add(install{kind: installTox, tool: "tox", path: p})
	}
	skip := func(section, key string) bool {
		v, ok := ini.Values(section, key)
		return ok && len(v) == 1 && strings.EqualFold(v[0], "true")
	}
	if !skip("tox", "skipsdist") && !skip("testenv", "skip_install") && !skip("tox", "no_package") {
		i := install{kind: installProject, tool: "tox", path: dir}
		if extras, ok := ini.Values("testenv", "extras"); ok {
			i.extras = extras
		}
		in.add(i)
	}
}

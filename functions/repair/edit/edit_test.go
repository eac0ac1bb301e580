package edit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// editor is an editor with its arguments, as the tables name it.
type editor func([]byte) ([]domain.Splice, error)

func tomlEditor(edit func(*TOML) ([]domain.Splice, error)) editor {
	return func(b []byte) ([]domain.Splice, error) {
		t, err := ParseTOML(b)
		if err != nil {
			return nil, err
		}
		return edit(t)
	}
}

func iniEditor(edit func(*INI) ([]domain.Splice, error)) editor {
	return func(b []byte) ([]domain.Splice, error) {
		f, err := ParseINI(b)
		if err != nil {
			return nil, err
		}
		return edit(f)
	}
}

func yamlEditor(edit func(*YAML) ([]domain.Splice, error)) editor {
	return func(b []byte) ([]domain.Splice, error) {
		y, err := ParseYAML(b)
		if err != nil {
			return nil, err
		}
		return edit(y)
	}
}

var (
	requirementsB = editor(func(b []byte) ([]domain.Splice, error) { return AddRequirement(b, "b>=1") })
	listB         = tomlEditor(func(t *TOML) ([]domain.Splice, error) { return t.AddToList("b", "project", "dependencies") })
	keyB          = tomlEditor(func(t *TOML) ([]domain.Splice, error) {
		return t.AddKey("b", `"*"`, []string{"tool", "poetry", "dependencies"}, "python")
	})
	below2   = tomlEditor(func(t *TOML) ([]domain.Splice, error) { return t.ConstrainInList("numpy", "<2", "d") })
	cfgB     = iniEditor(func(f *INI) ([]domain.Splice, error) { return f.AddToList("b", "options", "install_requires") })
	setupB   = editor(func(b []byte) ([]domain.Splice, error) { return SetupList(b, "b", "install_requires", "") })
	extraB   = editor(func(b []byte) ([]domain.Splice, error) { return SetupList(b, "b", "extras_require", "test") })
	condaB   = yamlEditor(func(y *YAML) ([]domain.Splice, error) { return y.AddToCondaList(Get(y.Root, "dependencies"), "b") })
	removeAt = func(i int) editor {
		return yamlEditor(func(y *YAML) ([]domain.Splice, error) {
			s, err := y.RemoveItem(Get(y.Root, "l"), i)
			return []domain.Splice{s}, err
		})
	}
)

func TestEditors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		edit     editor
		in, want string
		err      error
	}{
		"requirements: empty file":              {edit: requirementsB, in: "", want: "b>=1\n"},
		"requirements: only comments":           {edit: requirementsB, in: "# none yet", want: "# none yet\nb>=1"},
		"requirements: sorted":                  {edit: requirementsB, in: "A\nc\nd\n", want: "A\nb>=1\nc\nd\n"},
		"requirements: first":                   {edit: requirementsB, in: "# x\nc\nd\ne\n", want: "# x\nb>=1\nc\nd\ne\n"},
		"requirements: no final newline":        {edit: requirementsB, in: "z\na", want: "z\na\nb>=1"},
		"requirements: CRLF":                    {edit: requirementsB, in: "z\r\na\r\n", want: "z\r\na\r\nb>=1\r\n"},
		"requirements: options stay at the end": {edit: requirementsB, in: "z\na\n\n-f ./wheels\n--pre\n", want: "z\na\nb>=1\n\n-f ./wheels\n--pre\n"},
		"requirements: a continued line":        {edit: requirementsB, in: "z\na \\\n  >=2\n", want: "z\na \\\n  >=2\nb>=1\n"},
		"requirements: there, spelt otherwise":  {edit: requirementsB, in: "B ; python_version < '3'\n", err: ErrPresent},
		"requirements: hashes":                  {edit: requirementsB, in: "a==1 --hash=sha256:00\n", err: ErrNoPlace},
		"requirements: UTF-16":                  {edit: requirementsB, in: "a\x00\n\x00", err: ErrSyntax},
		"requirements: not a requirement":       {edit: requirementsB, in: "a b c\n", err: ErrSyntax},

		"TOML list: empty":                   {edit: listB, in: "[project]\ndependencies = []\n", want: "[project]\ndependencies = [\"b\"]\n"},
		"TOML list: empty over lines":        {edit: listB, in: "[project]\ndependencies = [\n]\n", want: "[project]\ndependencies = [\n    \"b\",\n]\n"},
		"TOML list: one line":                {edit: listB, in: "project.dependencies = ['x', 'a' , ]", want: "project.dependencies = ['x', 'a', 'b' , ]"},
		"TOML list: inline table":            {edit: listB, in: "project = { name = \"p\", dependencies = [\"a\"] }\n", want: "project = { name = \"p\", dependencies = [\"a\", \"b\"] }\n"},
		"TOML list: sorted over lines":       {edit: listB, in: "[project]\ndependencies = [\n  \"a[x]\", # one\n  \"c\",\n  \"d\"\n]\n", want: "[project]\ndependencies = [\n  \"a[x]\", # one\n  \"b\",\n  \"c\",\n  \"d\"\n]\n"},
		"TOML list: first over lines":        {edit: listB, in: "[project]\ndependencies = [\n  \"c\",\n  \"d\",\n  \"e\",\n]\n", want: "[project]\ndependencies = [\n  \"b\",\n  \"c\",\n  \"d\",\n  \"e\",\n]\n"},
		"TOML list: comment behind the last": {edit: listB, in: "[project]\ndependencies = [\n  \"x\" # last, \"b\"\n]\n", want: "[project]\ndependencies = [\n  \"x\", # last, \"b\"\n  \"b\"\n]\n"},
		"TOML list: bracket behind the last": {edit: listB, in: "[project]\ndependencies = [\n  \"x\",\n  \"y\"]\n", want: "[project]\ndependencies = [\n  \"x\",\n  \"y\",\n  \"b\"]\n"},
		"TOML list: several on a line":       {edit: listB, in: "[project]\ndependencies = [\n  \"x\", \"y\",\n  \"z\", \"a\",\n]\n", want: "[project]\ndependencies = [\n  \"x\", \"y\",\n  \"z\", \"a\", \"b\",\n]\n"},
		"TOML list: brackets in strings":     {edit: listB, in: "[project]\ndependencies = [\"x[y]\", 'z; extra == \"q]\"']\n", want: "[project]\ndependencies = [\"x[y]\", 'z; extra == \"q]\"', 'b']\n"},
		"TOML list: in another table":        {edit: listB, in: "[tool]\ndependencies = []\n", err: ErrNoPlace},
		"TOML list: no list":                 {edit: listB, in: "[project]\ndependencies = \"x\"\n", err: ErrNoPlace},
		"TOML list: there":                   {edit: listB, in: "[project]\ndependencies = [\"B[x]>=2\"]\n", err: ErrPresent},
		"TOML list: duplicate key":           {edit: listB, in: "[project]\ndependencies = []\ndependencies = []\n", err: ErrSyntax},

		"TOML key: sorted behind python": {edit: keyB, in: "[tool.poetry.dependencies]\npython = \"^3\"\na = \"1\"\nc = {version = \"1\"}\nd = \"1\"\n", want: "[tool.poetry.dependencies]\npython = \"^3\"\na = \"1\"\nb = \"*\"\nc = {version = \"1\"}\nd = \"1\"\n"},
		"TOML key: at the end":           {edit: keyB, in: "[tool.poetry.dependencies]\npython = \"^3\"\n\n[x]\n", want: "[tool.poetry.dependencies]\npython = \"^3\"\nb = \"*\"\n\n[x]\n"},
		"TOML key: there":                {edit: keyB, in: "[tool.poetry.dependencies]\nB = \"^3\"\n", err: ErrPresent},
		"TOML key: there as a table":     {edit: keyB, in: "[tool.poetry.dependencies]\na = \"1\"\n[tool.poetry.dependencies.b]\nversion = \"1\"\n", err: ErrPresent},
		"TOML key: no table":             {edit: keyB, in: "x = 1\n", err: ErrNoPlace},

		"bound: none yet":           {edit: below2, in: "d = ['numpy']", want: "d = ['numpy<2']"},
		"bound: behind a lower one": {edit: below2, in: "d = [\"x\", \"numpy>=1.2\"]", want: "d = [\"x\", \"numpy>=1.2,<2\"]"},
		"bound: before the marker":  {edit: below2, in: "d = [\"numpy >=1, !=1.3 ; a=='b'\"]", want: "d = [\"numpy >=1, !=1.3, <2 ; a=='b'\"]"},
		"bound: there":              {edit: below2, in: "d = ['numpy~=1.2']", err: ErrPresent},
		"bound: not in the list":    {edit: below2, in: "d = ['numpydoc']", err: ErrNoPlace},

		"setup.cfg: at the end":         {edit: cfgB, in: "[options]\ninstall_requires =\n    z\n    a\n\n[x]\ny = 1\n", want: "[options]\ninstall_requires =\n    z\n    a\n    b\n\n[x]\ny = 1\n"},
		"setup.cfg: sorted, tabs":       {edit: cfgB, in: "[options]\ninstall_requires =\n\ta\n\t# next\n\tc\n\td\n", want: "[options]\ninstall_requires =\n\ta\n\tb\n\t# next\n\tc\n\td\n"},
		"setup.cfg: on the key's line":  {edit: cfgB, in: "[options]\ninstall_requires = a\n", want: "[options]\ninstall_requires =\n    a\n    b\n"},
		"setup.cfg: from a file":        {edit: cfgB, in: "[options]\ninstall_requires = file: requirements.txt\n", err: ErrNoPlace},
		"setup.cfg: in another section": {edit: cfgB, in: "[metadata]\ninstall_requires =\n    a\n", err: ErrNoPlace},
		"setup.cfg: broken":             {edit: cfgB, in: "[options\n", err: ErrSyntax},

		"setup.py: keyword":              {edit: setupB, in: "setup(install_requires=['a'])", want: "setup(install_requires=['a', 'b'])"},
		"setup.py: dict":                 {edit: setupB, in: "c = {\n  \"install_requires\": [\n    \"a >= 1\",\n  ],\n}\nsetup(**c)\n", want: "c = {\n  \"install_requires\": [\n    \"a >= 1\",\n    \"b\",\n  ],\n}\nsetup(**c)\n"},
		"setup.py: constant":             {edit: setupB, in: "R = [\n    'a',\n    'z', 'c',\n] + MORE\nsetup(install_requires=R)\n", want: "R = [\n    'a',\n    'z', 'c', 'b',\n] + MORE\nsetup(install_requires=R)\n"},
		"setup.py: annotated constant":   {edit: setupB, in: "R: list[str] = [\"x\"]\nsetup(install_requires=R)\n", want: "R: list[str] = [\"x\", \"b\"]\nsetup(install_requires=R)\n"},
		"setup.py: constant twice":       {edit: setupB, in: "R = ['a']\nR = ['c']\nsetup(install_requires=R)\n", err: ErrNoPlace},
		"setup.py: computed":             {edit: setupB, in: "setup(install_requires=read('r'))\n", err: ErrNoPlace},
		"setup.py: comprehension":        {edit: setupB, in: "setup(install_requires=[x for x in y])\n", err: ErrNoPlace},
		"setup.py: in a comment":         {edit: setupB, in: "# install_requires=['a']\nsetup()\n", err: ErrNoPlace},
		"setup.py: extra":                {edit: extraB, in: "E = {'dev': ['x'], 'test': T}\nT = ['y']\nsetup(extras_require=E)\n", want: "E = {'dev': ['x'], 'test': T}\nT = ['y', 'b']\nsetup(extras_require=E)\n"},
		"setup.py: extra that isn't one": {edit: extraB, in: "setup(extras_require={'dev': ['test']})\n", err: ErrNoPlace},
		"setup.py: unbalanced":           {edit: setupB, in: "setup(install_requires=['a')\n", err: ErrSyntax},

		"conda: sorted":          {edit: condaB, in: "dependencies:\n  - a=1\n  - c\n  - d>=2  # x\n", want: "dependencies:\n  - a=1\n  - b\n  - c\n  - d>=2  # x\n"},
		"conda: before pip":      {edit: condaB, in: "dependencies:\n- python\n- \"a\"\n- pip:\n  - x\n", want: "dependencies:\n- python\n- \"a\"\n- b\n- pip:\n  - x\n"},
		"conda: with channel":    {edit: condaB, in: "dependencies:\n- conda-forge::b=1\n", err: ErrPresent},
		"conda: within brackets": {edit: condaB, in: "dependencies: [a]\n", err: ErrNoPlace},

		"remove: first in brackets": {edit: removeAt(0), in: "l: [a, 'b', c] # x\n", want: "l: ['b', c] # x\n"},
		"remove: last in brackets":  {edit: removeAt(2), in: "l: [a, 'b', \"c\"] # x\n", want: "l: [a, 'b'] # x\n"},
		"remove: a line":            {edit: removeAt(1), in: "l:\n  - a\n  - b # x\n  - c\n", want: "l:\n  - a\n  - c\n"},
		"remove: the only one":      {edit: removeAt(0), in: "l: [a]\n", err: ErrNoPlace},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			splices, err := tc.edit([]byte(tc.in))
			if tc.err != nil {
				if !errors.Is(err, tc.err) {
					t.Fatalf("error %v, want %v", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			after, err := Apply([]byte(tc.in), splices)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(after)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRequirement(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Requirement{
		"numpy":                                     {Name: "numpy", Raw: "numpy"},
		"Ruamel.YAML >= 0.17 , <1":                  {Name: "ruamel-yaml", Raw: "Ruamel.YAML", Specifier: ">= 0.17 , <1"},
		"uvicorn[standard]>=0.30,<0.31":             {Name: "uvicorn", Raw: "uvicorn", Extras: "[standard]", Specifier: ">=0.30,<0.31"},
		"opentelemetry-distro>=0.47b0":              {Name: "opentelemetry-distro", Raw: "opentelemetry-distro", Specifier: ">=0.47b0"},
		"torch==2.1.0+cpu; python_full_version>'3'": {Name: "torch", Raw: "torch", Specifier: "==2.1.0+cpu", Marker: "python_full_version>'3'"},
		"x (>=1)":                          {Name: "x", Raw: "x", Specifier: ">=1"},
		"y ~= 1.4":                         {Name: "y", Raw: "y", Specifier: "~= 1.4"},
		"z==1.*":                           {Name: "z", Raw: "z", Specifier: "==1.*"},
		"pkg @ git+https://e.org/p@v1 ; a": {Name: "pkg", Raw: "pkg", URL: "git+https://e.org/p@v1", Marker: "a"},
	} {
		got, err := ParseRequirement(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
	for _, in := range []string{"", "-x", "a b", "a=1", "a>=", "a>=1 b", "a[b", "a;", "a @ ", "a>=1,,>", "a\nb", strings.Repeat("a", 1001)} {
		if r, err := ParseRequirement(in); !errors.Is(err, ErrSyntax) {
			t.Errorf("%.20q: %+v, error %v", in, r, err)
		}
	}
}

func TestParseRequirements(t *testing.T) {
	t.Parallel()
	f, err := ParseRequirements([]byte("\ufeff# x\n-r base.txt\n-rmore.txt\n--requirement=third.txt\n-c c.txt\n-e .[dev]\n./local\nhttps://e.org/x.whl\ngit+https://e.org/y@v1#egg=y\n--extra-index-url https://e.org\nnumpy>=1 # why\n  scipy==1.0 \\\n    --hash=sha256:ab\n"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range f.Requirements {
		names = append(names, fmt.Sprintf("%s:%d:%v", r.Name, r.Number, r.Hashed))
	}
	if diff := cmp.Diff([]string{"numpy:11:false", "scipy:12:true"}, names); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"base.txt", "more.txt", "third.txt"}, f.Includes); diff != "" {
		t.Error(diff)
	}
	if !f.Project || !f.Hashed() || f.Unread != 4 || !slices.Equal(f.Constraints, []string{"c.txt"}) {
		t.Errorf("%+v", f)
	}
}

func TestGenerated(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"#\n# This file is autogenerated by pip-compile with Python 3.11\nnumpy==1\n": "This file is autogenerated by pip-compile with Python 3.11",
		"# This file was autogenerated by uv via the following command:\n":            "This file was autogenerated by uv via the following command:",
		"numpy\n# autogenerated by pip-compile\n":                                     "",
		"# what we need\nnumpy\n":                                                     "",
	} {
		if got := Generated([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestCheckPython(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in string
		ok bool
	}{
		"a module":                    {"\ufeffimport a\r\n\r\ndef f(x):\r\n    '''doc\r\n  string'''\r\n    if x: return 1\r\n    return [\r\n  1,\r\n]\r\n", true},
		"f-strings and prefixes":      {"x = f\"{a['b']:>{w}}\" + rb'\\\\' + u\"é\" + Rb\"x\"\n", true},
		"walrus, matrix, ellipsis":    {"if (n := a @ b) != ...: x = 0x1F + 1_000.5e-3j\n", true},
		"tabs":                        {"if a:\n\tb\n\tif c:\n\t\td\ne\n", true},
		"comments at any indentation": {"if a:\n# x\n    b\n  # y\n", true},
		"continuation":                {"a = 1 + \\\n  2\n", true},
		"a decorator and match":       {"@d\nclass A:\n    def f(self): ...\n    match x:\n        case [1, *_]:\n            pass\n", true},
		"unterminated string":         {"a = 'x\n", false},
		"unterminated docstring":      {"'''a\n", false},
		"unbalanced":                  {"f(1]\n", false},
		"open at the end":             {"f(1\n", false},
		"missing block":               {"if a:\nb\n", false},
		"missing block at the end":    {"if a:\n", false},
		"unexpected indentation":      {"a\n  b\n", false},
		"dedent to nowhere":           {"if a:\n    b\n  c\n", false},
		"no token":                    {"a = $b\n", false},
		"deep brackets":               {strings.Repeat("(", 300) + strings.Repeat(")", 300), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := CheckPython([]byte(tc.in)); (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrSyntax) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestImports(t *testing.T) {
	t.Parallel()
	got, err := Imports([]byte("import a.b as c, d.e\nfrom .x import y\nfrom f.g import (h as i,  # comment\n    j)\ntry: import k\nexcept ImportError: pass\nif 1:\n    import l; import m\ns = 'import n'\nimported = 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, i := range got {
		texts = append(texts, fmt.Sprintf("%s%s as %s %v %v", strings.Repeat(".", i.Level), i.Module, i.As, i.Names, i.Nested))
	}
	want := []string{
		"a.b as c [] false", "d.e as d [] false", ".x as  [[y y]] false", "f.g as  [[h i] [j j]] false",
		"k as k [] true", "l as l [] true", "m as m [] true",
	}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBinds(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]bool{
		"x = int(3)\n": false, "f(int=3)\n": false, "a.int = 3\n": false, "def f(a: int = 3): ...\n": false, "x: int = 3\n": false,
		"int = 3\n": true, "def int(): ...\n": true, "from a import int\n": true, "import a as int\n": true, "for int in x: ...\n": true,
		"def f(a, int=3): ...\n": true, "def f(*, int): ...\n": true, "a, int = b\n": true, "if (int := 3): ...\n": true, "class int: ...\n": true,
	} {
		tokens, err := Tokens([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		if got := Binds(tokens, "int"); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func TestIntegers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ in, want string }{
		"a.yaml": {"é: [1, 'two']\n\u2028b:\n  c: 32 # x\n  d: '64'\n  e: 1.5\n  f: 007\n", "é.[0]=1@1 b.c=32@3 b.d=64@4"},
		"a.json": {"{\"a\": {\"b\": [1, {\"c\": 22}], \"d\": \"3\"},\n \"e\": -4, \"f\": 5e1, \"g\": 6}", "a.b.[0]=1@1 a.b.[1].c=22@1 g=6@2"},
		"a.toml": {"a = 1\n[b]\nc-d = 22 # x\ne = {f = 3}\ng = 1_0\n", "a=1@1 b.c-d=22@3 b.e.f=3@4"},
		"a.ini":  {"[s]\nk = 12\nl: 3\nm = x\n", "s.k=12@2 s.l=3@3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Integers(name, []byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			var texts []string
			for _, i := range got {
				texts = append(texts, fmt.Sprintf("%s=%d@%d", strings.Join(i.Path, "."), i.Value, i.Line))
				if fmt.Sprint(i.Value) != tc.in[i.Start:i.End] {
					t.Errorf("%v is at %q", i.Path, tc.in[i.Start:i.End])
				}
			}
			if diff := cmp.Diff(tc.want, strings.ReplaceAll(strings.Join(texts, " "), "\u2028", "")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTextLines(t *testing.T) {
	t.Parallel()
	in := "a: |\n    one\n\n      two  \n    three\n\nb: plain text # no\nc: \"quoted\"\nd: |2\n     odd\ne: >-\n  folded\n  text\nf: \"esc\\n\"\n"
	y, err := ParseYAML([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"a": "one||  two  |three", "b": "plain text", "c": "quoted", "d": "", "e": "folded|text", "f": ""} {
		lines, err := y.TextLines(Get(y.Root, key))
		var texts []string
		for _, l := range lines {
			texts = append(texts, l.Text)
			if in[l.Start:l.End] != l.Text {
				t.Errorf("%s: %q is at %q", key, l.Text, in[l.Start:l.End])
			}
		}
		if got := strings.Join(texts, "|"); got != want || (want == "") != errors.Is(err, ErrNoPlace) {
			t.Errorf("%s: %q, error %v", key, got, err)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	flow := "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo ${{ matrix.x }}\n"
	for name, tc := range map[string]struct {
		path, before, after string
		ok                  bool
	}{
		"valid YAML":                    {"a.yml", "", "a: 1\n", true},
		"broken YAML":                   {"a.yaml", "", "a: [\n", false},
		"broken TOML":                   {"a.toml", "", "a = \n", false},
		"broken JSON":                   {"a.json", "", "{,}", false},
		"broken INI":                    {"setup.cfg", "", "x\n", false},
		"broken Python":                 {"a.py", "", "f(\n", false},
		"broken requirements":           {"requirements.txt", "", "a b\n", false},
		"no parser":                     {"a.exe", "", "", false},
		"a workflow's old problems":     {".github/workflows/a.yml", flow, strings.Replace(flow, "echo", "printf", 1), true},
		"a workflow's new problem":      {".github/workflows/a.yml", flow, strings.Replace(flow, "matrix", "matriks", 1), false},
		"a workflow that doesn't parse": {".github/workflows/a.yml", flow, "on: [\n", false},
		"an input that's gone":          {".github/workflows/a.yml", "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: x\n", "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n        with: {gone: 1}\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := Check(tc.path, []byte(tc.before), []byte(tc.after)); (err == nil) != tc.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	if got := Diff("a/b.txt", []byte("x\n"), []byte("x\n")); got != "" {
		t.Errorf("of equal contents: %q", got)
	}
	want := "--- a/a/b.txt\n+++ b/a/b.txt\n@@ -1 +1,2 @@\n x\n+y\n\\ No newline at end of file\n"
	if got := Diff("a/b.txt", []byte("x\n"), []byte("x\ny")); got != want {
		t.Errorf("got %q", got)
	}
}

// seeds adds every file of the strategies' fixtures with one of the suffixes.
func seeds(f *testing.F, suffixes ...string) {
	f.Helper()
	names, err := filepath.Glob("../strategies/testdata/*/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for part := range strings.SplitSeq(string(b), "\n-- ") {
			head, body, _ := strings.Cut(part, " --\n")
			if slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(head, s) }) {
				f.Add([]byte(body))
			}
		}
	}
}

// onlyAdded fails where more lines of before are gone than an editor may change:
// one that adds may touch the line that it adds to, and no other.
func onlyAdded(t *testing.T, before, after []byte, changed int) {
	t.Helper()
	if strings.Contains(strings.ReplaceAll(string(before), "\r\n", ""), "\r") {
		return // Lines doesn't know the endings of old Macs
	}
	was, is := Lines(before), Lines(after)
	for len(was) > 0 && len(is) > 0 && was[0].Text == is[0].Text {
		was, is = was[1:], is[1:]
	}
	for len(was) > 0 && len(is) > 0 && was[len(was)-1].Text == is[len(is)-1].Text {
		was, is = was[:len(was)-1], is[:len(is)-1]
	}
	if len(was) > changed {
		t.Fatalf("%d lines changed, at most %d should:\n%q\n%q", len(was), changed, before, after)
	}
}

func FuzzAddRequirement(f *testing.F) {
	seeds(f, ".txt", ".in")
	f.Fuzz(func(t *testing.T, b []byte) {
		splices, err := AddRequirement(b, "zzz-new>=1")
		if err != nil {
			return
		}
		after, err := Apply(b, splices)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseRequirements(after)
		if err != nil {
			t.Fatalf("%v after\n%q", err, after)
		}
		if !slices.ContainsFunc(got.Requirements, func(r RequirementLine) bool { return r.Name == "zzz-new" }) {
			t.Fatalf("not added: %q", after)
		}
		onlyAdded(t, b, after, 0)
	})
}

func FuzzTOML(f *testing.F) {
	seeds(f, ".toml")
	f.Fuzz(func(t *testing.T, b []byte) {
		doc, err := ParseTOML(b)
		if err != nil {
			return
		}
		check := func(splices []domain.Splice, err error) *TOML {
			if err != nil {
				return nil
			}
			after, err := Apply(b, splices)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseTOML(after)
			if err != nil {
				t.Fatalf("%v after\n%q", err, after)
			}
			onlyAdded(t, b, after, 1)
			return got
		}
		for _, v := range doc.values {
			if got := check(doc.AddToList("zzz", v.path...)); got != nil {
				if list, _ := got.Strings(v.path...); !slices.Contains(list, "zzz") {
					t.Fatalf("not added to %v", v.path)
				}
			}
			check(doc.ConstrainInList("numpy", "<2", v.path...))
			if got := check(doc.SetString("3.9", v.path...)); got != nil {
				if s, _ := got.String(v.path...); s != "3.9" {
					t.Fatalf("%v is %q", v.path, s)
				}
			}
			check(doc.AddKey("zzz", `"*"`, v.path[:len(v.path)-1], "python"))
		}
	})
}

func FuzzINI(f *testing.F) {
	seeds(f, ".cfg", ".ini")
	f.Fuzz(func(t *testing.T, b []byte) {
		doc, err := ParseINI(b)
		if err != nil {
			return
		}
		for _, o := range doc.options {
			splices, err := doc.AddToList("zzz", o.section, o.key)
			if err != nil {
				continue
			}
			after, err := Apply(b, splices)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseINI(after)
			if err != nil {
				t.Fatalf("%v after\n%q", err, after)
			}
			if values, _ := got.Values(o.section, o.key); !slices.Contains(values, "zzz") {
				t.Fatalf("not added to [%s] %s: %q", o.section, o.key, after)
			}
			onlyAdded(t, b, after, 1)
		}
	})
}

func FuzzPython(f *testing.F) {
	seeds(f, ".py")
	f.Fuzz(func(t *testing.T, b []byte) {
		tokens, err := Tokens(b)
		if err != nil {
			return
		}
		at := 0
		for _, k := range tokens {
			if k.Start < at || k.End < k.Start || string(b[k.Start:k.End]) != k.Text {
				t.Fatalf("token %+v at %d", k, at)
			}
			at = k.End
		}
		if _, err := Imports(b); err != nil {
			t.Fatal(err)
		}
		Binds(tokens, "int")
		valid := CheckPython(b) == nil
		for _, edit := range []editor{setupB, extraB} {
			splices, err := edit(b)
			if err != nil {
				continue
			}
			after, err := Apply(b, splices)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Tokens(after); err != nil || valid && CheckPython(after) != nil {
				t.Fatalf("%v after\n%q", err, after)
			}
			if again, err := edit(after); !errors.Is(err, ErrPresent) {
				t.Fatalf("added, and not there: %v %v\n%q", err, again, after)
			}
			onlyAdded(t, b, after, 1)
		}
	})
}

func FuzzYAML(f *testing.F) {
	seeds(f, ".yml", ".yaml")
	f.Fuzz(func(t *testing.T, b []byte) {
		y, err := ParseYAML(b)
		if err != nil {
			return
		}
		check := func(splices []domain.Splice, changed int) *YAML {
			after, err := Apply(b, splices)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseYAML(after)
			if err != nil {
				return nil // Check refuses it; plain text has no context here
			}
			onlyAdded(t, b, after, changed)
			return got
		}
		nodes := 0
		var walk func(n *yaml.Node)
		walk = func(n *yaml.Node) {
			if nodes++; nodes > 300 {
				return
			}
			if start, end, err := y.Scalar(n); err == nil && string(b[start:end]) != n.Value {
				t.Fatalf("%q is at %q", n.Value, b[start:end])
			}
			if lines, err := y.TextLines(n); err == nil {
				for _, l := range lines {
					if string(b[l.Start:l.End]) != l.Text {
						t.Fatalf("%q is at %q", l.Text, b[l.Start:l.End])
					}
				}
			}
			if splices, err := y.AddToCondaList(n, "zzz"); err == nil {
				check(splices, 0)
			}
			if splice, err := y.RemoveItem(n, 0); err == nil {
				check([]domain.Splice{splice}, 1)
			}
			for _, c := range n.Content {
				walk(c)
			}
		}
		walk(y.Root)
	})
}

func FuzzIntegers(f *testing.F) {
	for _, name := range []string{"a.yaml", "a.json", "a.toml", "a.ini"} {
		f.Add(name, []byte("{\"batch_size\": 64}"))
		f.Add(name, []byte("[a]\nbatch_size = 64\n"))
		f.Add(name, []byte("a:\n  b: [1, 2]\n"))
	}
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		all, err := Integers(name, b)
		if err != nil {
			return
		}
		for k, i := range all[:min(len(all), 20)] {
			if string(b[i.Start:i.End]) != fmt.Sprint(i.Value) {
				t.Fatalf("%d is at %q", i.Value, b[i.Start:i.End])
			}
			after, err := Apply(b, []domain.Splice{i.Set(b, 7)})
			if err != nil {
				t.Fatal(err)
			}
			got, err := Integers(name, after)
			if err != nil || len(got) != len(all) || got[k].Value != 7 {
				t.Fatalf("%v after\n%q", err, after)
			}
			onlyAdded(t, b, after, 1)
		}
	})
}

func FuzzParseRequirement(f *testing.F) {
	f.Add("uvicorn[standard] >=0.30, <0.31 ; python_version < '3'")
	f.Add("a @ https://e.org/x")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRequirement(s)
		if err != nil {
			return
		}
		if r.Name != Normalize(r.Raw) || r.Raw == "" {
			t.Fatalf("%+v", r)
		}
		bounded, err := Constrain(s, "<2")
		if err != nil {
			return
		}
		got, err := ParseRequirement(bounded)
		if err != nil || got.Name != r.Name || got.Marker != r.Marker || !strings.HasSuffix(got.Specifier, "<2") {
			t.Fatalf("%q became %q: %+v, %v", s, bounded, got, err)
		}
	})
}

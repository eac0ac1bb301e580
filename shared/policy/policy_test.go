package policy

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func globs(t *testing.T, patterns ...string) []Glob {
	t.Helper()
	var out []Glob
	for _, p := range patterns {
		g, err := ParseGlob(p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, g)
	}
	return out
}

func TestParse(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in   string
		want func(*Policy)
	}{
		"only a version keeps every default": {in: "version: 1\n", want: func(*Policy) {}},
		"a byte order mark and CRLF":         {in: "\ufeffversion: 1\r\nmode: heal\r\n", want: func(p *Policy) { p.Mode = domain.ModeHeal }},
		"JSON is YAML":                       {in: `{"version": 1, "enabled": false}`, want: func(p *Policy) { p.Enabled = false }},
		"everything": {
			in: `version: 1 # of this format
enabled: True
mode: observe
branches:
  include: [main, "release/**"]
  exclude: ["release/old-*"]
paths:
  allow: ["**/*.py", requirements.txt]
  deny: ["vendor/**"]
strategies:
  enable: [add-requirement, rerun-failed]
  disable: [halve-batch-size]
  approval: [add-requirement]
limits:
  open_pulls: 1
  repairs_per_day: 0
  reruns: 1
labels: [bot, "needs review"]
notify:
  comment: false
  issue: false
`,
			want: func(p *Policy) {
				p.Mode = domain.ModeObserve
				p.Branches = Branches{Include: globs(t, "main", "release/**"), Exclude: globs(t, "release/old-*")}
				p.Paths = Paths{Allow: globs(t, "**/*.py", "requirements.txt"), Deny: globs(t, "vendor/**")}
				p.Strategies = Strategies{Enable: []string{"add-requirement", "rerun-failed"}, Disable: []string{"halve-batch-size"}, Approval: []string{"add-requirement"}}
				p.MaxOpenPulls, p.MaxRepairsPerDay, p.Reruns = 1, 0, 1
				p.Labels = []string{"bot", "needs review"}
				p.Notify = Notify{}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := Default()
			tc.want(&want)
			got, err := Parse([]byte(tc.in), "add-requirement", "halve-batch-size", "rerun-failed")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ in, want string }{
		"an empty file":             {"", `write "version: 1"`},
		"only comments":             {"# later\n", `write "version: 1"`},
		"no version":                {"mode: heal\n", `line 1: the key "version" is missing`},
		"a version of the future":   {"version: 2\n", "line 1: version must be 1"},
		"an unknown key":            {"version: 1\nmodes: heal\n", `line 2: the policy has no key "modes"; it may have version, enabled, mode`},
		"an unknown nested key":     {"version: 1\nlimits:\n  open_pull: 1\n", `line 3: limits has no key "open_pull"`},
		"a key twice":               {"version: 1\nlimits: {reruns: 1, reruns: 2}\n", `"reruns"`},
		"an unknown mode":           {"version: 1\nmode: yolo\n", `line 2: mode must be observe, suggest or heal, not "yolo"`},
		"a number out of range":     {"version: 1\nlimits: {open_pulls: 1000}\n", "limits.open_pulls must be a number from 0 to 20"},
		"a quoted number":           {"version: 1\nlimits: {reruns: \"1\"}\n", "limits.reruns must be a number"},
		"a string for a boolean":    {"version: 1\nenabled: \"false\"\n", "enabled must be true or false"},
		"null for a boolean":        {"version: 1\nenabled:\n", "enabled must be true or false"},
		"a string for a list":       {"version: 1\nlabels: bot\n", "labels must be a list"},
		"a number in a list":        {"version: 1\nbranches: {include: [1.0]}\n", "must be a string (put it in quotes)"},
		"a bad glob":                {"version: 1\npaths: {deny: [\"!src/**\"]}\n", "line 2: paths.deny: \"!src/**\": only *, ** and ? are special"},
		"an absolute glob":          {"version: 1\npaths: {deny: [/src]}\n", "without a leading slash"},
		"a misspelt strategy":       {"version: 1\nstrategies: {disable: [add-requirements]}\n", `there is no strategy "add-requirements"; there are add-requirement`},
		"no id at all":              {"version: 1\nstrategies: {disable: [\"<b>\"]}\n", "is no strategy's id"},
		"a list as the document":    {"- 1\n", "the policy must be a mapping"},
		"two documents":             {"version: 1\n---\nversion: 1\n", "one YAML document"},
		"broken YAML":               {"version: [1\n", "no valid YAML"},
		"an anchor":                 {"version: 1\nbranches: &a {include: [x]}\npaths: *a\n", "without anchors or aliases"},
		"a bomb of aliases":         {"version: 1\na: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", `has no key "a"`},
		"a merge key":               {"version: 1\n<<: {mode: heal}\n", `has no key "<<"`},
		"a label with a comma":      {"version: 1\nlabels: [\"a,b\"]\n", "a label has 1 to 50 bytes"},
		"more problems than can be": {"version: 1\n" + strings.Repeat("? [a]\n: 1\n", 30), "and 20 more"},
		"too large":                 {strings.Repeat("#", MaxBytes+1), "larger than 64 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse([]byte(tc.in), "add-requirement")
			if err == nil {
				t.Fatal("no error")
			}
			if domain.KindOf(err) != domain.Invalid {
				t.Errorf("kind %q", domain.KindOf(err))
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %q lacks %q", err, tc.want)
			}
		})
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		pattern  string
		yes, no_ []string
	}{
		"everything":        {"**", []string{"a", "a/b/c", ".github/x"}, nil},
		"one element":       {"*", []string{"a", "a.py"}, []string{"a/b"}},
		"anywhere":          {"**/*.py", []string{"a.py", "x/y/a.py"}, []string{"a.pyc", "x/a.txt"}},
		"below":             {"vendor/**", []string{"vendor/a", "vendor/a/b"}, []string{"vendor", "vendored/a", "x/vendor/a"}},
		"middle":            {"src/**/test.py", []string{"src/test.py", "src/a/b/test.py"}, []string{"src/a/mytest.py"}},
		"a dot is a dot":    {"a.py", []string{"a.py"}, []string{"axpy"}},
		"a question mark":   {"v?", []string{"v1"}, []string{"v", "v12", "v/"}},
		"a line break":      {"*", []string{"a\nb"}, nil},
		"a prefix of names": {"release/old-*", []string{"release/old-1"}, []string{"release/old-1/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := globs(t, tc.pattern)[0]
			for _, s := range tc.yes {
				if !g.Match(s) {
					t.Errorf("%q does not match %q", tc.pattern, s)
				}
			}
			for _, s := range tc.no_ {
				if g.Match(s) {
					t.Errorf("%q matches %q", tc.pattern, s)
				}
			}
		})
	}
}

func TestAllows(t *testing.T) {
	t.Parallel()
	p := Default()
	p.Branches.Exclude = globs(t, "release/**")
	p.Paths.Deny = globs(t, "docs/**")
	p.Strategies = Strategies{Enable: []string{"a", "b"}, Disable: []string{"b"}, Approval: []string{"a"}}
	for name, tc := range map[string]struct {
		got  *domain.Refusal
		want string // "" for allowed
	}{
		"a branch":                {p.AllowsBranch("main"), ""},
		"an excluded branch":      {p.AllowsBranch("release/1"), "branches.exclude"},
		"a file":                  {p.AllowsPath("src/a.py"), ""},
		"a workflow":              {p.AllowsPath(".github/workflows/ci.yml"), ""},
		"a denied file":           {p.AllowsPath("docs/a.md"), "paths.deny"},
		"its own policy":          {p.AllowsPath(".github/mlops-bot.yml"), "protected"},
		"the owners":              {p.AllowsPath(".github/CODEOWNERS"), "protected"},
		"a licence":               {p.AllowsPath("sub/LICENSE.txt"), "protected"},
		"a file about licences":   {p.AllowsPath("licenses.py"), ""},
		"git's own":               {p.AllowsPath(".git/config"), "protected"},
		"a listed strategy":       {p.AllowsStrategy("a"), ""},
		"disabled wins":           {p.AllowsStrategy("b"), "strategies.disable"},
		"an unlisted strategy":    {p.AllowsStrategy("c"), "strategies.enable"},
		"the zero policy, path":   {Policy{}.AllowsPath("a.py"), "paths.allow"},
		"the zero policy, branch": {Policy{}.AllowsBranch("main"), "branches.include"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			switch {
			case tc.want == "" && tc.got != nil:
				t.Errorf("refused: %v", tc.got)
			case tc.want != "" && (tc.got == nil || tc.got.Code != domain.RefusedPolicy || !strings.Contains(tc.got.Reason, tc.want)):
				t.Errorf("got %v, want a refusal with %q", tc.got, tc.want)
			}
		})
	}
	if !p.NeedsApproval("a") || p.NeedsApproval("b") {
		t.Error("approval is needed for a alone")
	}
}

// TestDocumentedExample keeps docs/policy.md honest: its example parses, and says
// what the defaults are.
func TestDocumentedExample(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(b)
	if m == nil {
		t.Fatal("docs/policy.md has no YAML example")
	}
	got, err := Parse(m[1])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got, cmp.Transformer("empty", func(g []Glob) []string {
		out := []string{}
		for _, g := range g {
			out = append(out, g.String())
		}
		return out
	}), cmp.Transformer("none", func(s Strategies) [3]int { return [3]int{len(s.Enable), len(s.Disable), len(s.Approval)} })); diff != "" {
		t.Errorf("the example is not the default (-default +example):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("version: 1\nmode: heal\nbranches: {include: [main]}\n"))
	f.Add([]byte("version: 1\nlimits: {open_pulls: 0x10}\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("? !!binary x\n: y"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			if domain.KindOf(err) != domain.Invalid {
				t.Errorf("kind %q of %v", domain.KindOf(err), err)
			}
			return
		}
		if p.MaxOpenPulls < 0 || p.MaxOpenPulls > 20 || p.Reruns > 2 || len(p.Labels) > 10 {
			t.Errorf("out of bounds: %+v", p)
		}
		p.AllowsPath("a/b.py")
		p.AllowsBranch("main")
	})
}

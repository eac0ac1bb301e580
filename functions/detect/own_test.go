package detect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/functions/detect/rules"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/policy"
)

// ownFile is a file with one rule that finds one word.
func ownFile(id, word string) string {
	return fmt.Sprintf("version: 1\nrules:\n- id: own/%s\n  title: A title\n  category: own-kind\n  patterns: [%s]\n  examples: {match: [%s], nomatch: [none]}\n", id, word, word)
}

func idsOf(c *rules.Catalogue) []string {
	ids := []string{}
	if c != nil {
		for _, r := range c.Rules() {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func put(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestReadInstalled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside.yml")
	put(t, outside, ownFile("outside", "outside"))
	// As a ConfigMap is mounted: the files are links through a link.
	put(t, filepath.Join(dir, "..2026/b.yml"), ownFile("b", "bbbb"))
	put(t, filepath.Join(dir, "..2026/a.yaml"), ownFile("a", "aaaa"))
	for name, to := range map[string]string{"..data": "..2026", "b.yml": "..data/b.yml", "a.yaml": "..data/a.yaml", "z.yml": outside, "gone.yml": "..data/gone.yml"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(dir, "README.md"), "what these are")
	put(t, filepath.Join(dir, ".c.yml"), ownFile("hidden", "hidden"))
	put(t, filepath.Join(dir, "broken.yml"), "version: 1\nrules: [{id: x}]\n")
	put(t, filepath.Join(dir, "false.yml"), strings.Replace(ownFile("false", "ffff"), "match: [ffff]", "match: [gggg]", 1))
	put(t, filepath.Join(dir, "same.yml"), ownFile("a", "cccc"))
	put(t, filepath.Join(dir, "large.yml"), strings.Repeat("#", policy.MaxBytes+1))
	put(t, filepath.Join(dir, "folder.yml/x"), "")

	got := ReadInstalled(dir)
	if diff := cmp.Diff([]string{"own/a", "own/b"}, idsOf(got.Catalogue)); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if len(got.Rules) != 2 || got.Rules[1].ID != "own/b" {
		t.Errorf("as written: %+v", got.Rules)
	}
	want := map[string]string{
		"broken.yml": `line 2: "x" is no id`, "false.yml": "own/false does not match this example", "same.yml": "own/a is the id of another file's rule",
		"large.yml": "larger than 64 KiB", "folder.yml": "it is no regular file", "z.yml": "escapes", "gone.yml": "no such file",
	}
	if len(got.Problems) != len(want) {
		t.Errorf("%d problems: %v", len(got.Problems), got.Problems)
	}
	for name, says := range want {
		if !slices.ContainsFunc(got.Problems, func(err error) bool {
			return strings.Contains(err.Error(), filepath.Join(dir, name)+": ") && strings.Contains(err.Error(), says) && domain.KindOf(err) == domain.Invalid
		}) {
			t.Errorf("%q is not said of %s in %v", says, name, got.Problems)
		}
	}

	if got := ReadInstalled(""); got.Catalogue != nil || got.Problems != nil {
		t.Errorf("no directory: %+v", got)
	}
	if got := ReadInstalled(filepath.Join(dir, "none")); got.Catalogue != nil || len(got.Problems) != 1 || !strings.Contains(got.Problems[0].Error(), "no such file") {
		t.Errorf("a directory that is not there: %+v", got)
	}
}

func TestReadInstalledIsBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 5 {
		var b strings.Builder
		b.WriteString("version: 1\nrules:\n")
		for j := range policy.MaxRules {
			b.WriteString(strings.TrimPrefix(ownFile(fmt.Sprintf("r%d-%d", i, j), fmt.Sprint("word", j)), "version: 1\nrules:\n"))
		}
		put(t, filepath.Join(dir, fmt.Sprint(i, ".yml")), b.String())
	}
	got := ReadInstalled(dir)
	if n := len(got.Rules); n != rules.MaxInstalled || n != len(got.Catalogue.Rules()) {
		t.Errorf("%d rules, %d in the catalogue", n, len(got.Catalogue.Rules()))
	}
	if len(got.Problems) != 1 || !strings.Contains(got.Problems[0].Error(), "4.yml: with it there are 250 rules") {
		t.Errorf("problems %v", got.Problems)
	}
}

// repository answers File with one file, or an error.
type repository struct {
	file     string
	err      error
	ref, got string
}

func (r *repository) File(_ context.Context, _ domain.Repo, ref, path string, _ int64) ([]byte, error) {
	r.ref, r.got = ref, path
	return []byte(r.file), r.err
}

func TestOwnRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "all.yml"), ownFile("all", "allword"))
	installed := ReadInstalled(dir)
	failure := func(kind domain.ErrKind, err error) error { return domain.Errorf(kind, "read the file", "%w", err) }
	for name, tc := range map[string]struct {
		file    string
		err     error
		ids     []string
		problem string
		fails   domain.ErrKind
	}{
		"no file":                     {"", failure(domain.Invalid, domain.ErrNotFound), []string{"own/all"}, "", ""},
		"a policy without rules":      {"version: 1\nmode: heal\n", nil, []string{"own/all"}, "", ""},
		"rules":                       {ownFile("mine", "mineword") + "mode: heal\n", nil, []string{"own/all", "own/mine"}, "", ""},
		"a wrong rule":                {ownFile("Mine", "mineword"), nil, []string{"own/all"}, `the rules of .github/mlops-bot.yml are not used: line 3: "own/Mine" is no id`, ""},
		"a false example":             {strings.Replace(ownFile("mine", "mineword"), "match: [mineword]", "match: [other]", 1), nil, []string{"own/all"}, "line 7: own/mine does not match this example", ""},
		"the id of an installed rule": {ownFile("all", "mineword"), nil, []string{"own/all"}, "own/all is the id of another file's rule", ""},
		"a wrong policy":              {ownFile("mine", "mineword") + "mood: good\n", nil, []string{"own/all"}, `no key "mood"`, ""},
		"too large":                   {"", failure(domain.Invalid, domain.ErrTooLarge), []string{"own/all"}, "larger than 64 KiB", ""},
		"a folder":                    {"", failure(domain.Unsupported, errors.New("a folder")), []string{"own/all"}, "it is no file", ""},
		"no permission":               {"", failure(domain.Denied, errors.New("403")), []string{"own/all"}, "it can't be read", ""},
		"an outage":                   {"", failure(domain.Transient, errors.New("502")), []string{"own/all"}, "", domain.Transient},
		"a rate limit":                {"", failure(domain.RateLimited, errors.New("429")), []string{"own/all"}, "", domain.RateLimited},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gh := &repository{file: tc.file, err: tc.err}
			c, problem, err := NewOwn(installed.Catalogue).Read(t.Context(), gh, domain.Repo{DefaultBranch: "trunk"})
			if diff := cmp.Diff(tc.ids, idsOf(c)); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
			if !strings.Contains(problem, tc.problem) || (tc.problem == "") != (problem == "") {
				t.Errorf("problem %q lacks %q", problem, tc.problem)
			}
			if domain.KindOf(err) != tc.fails {
				t.Errorf("error %v", err)
			}
			if gh.ref != "trunk" || gh.got != ".github/mlops-bot.yml" {
				t.Errorf("read %s at %s", gh.got, gh.ref)
			}
		})
	}
}

func TestOwnKeepsTheLatest(t *testing.T) {
	t.Parallel()
	o := NewOwn(nil)
	file := func(i int) []byte { return []byte(ownFile(fmt.Sprint("r", i), fmt.Sprint("word", i))) }
	first, err := o.Of(file(0))
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 2 * maxSets {
		group.Go(func() {
			if again, err := o.Of(file(0)); err != nil || again != first {
				t.Errorf("made anew: %v", err)
			}
			if _, err := o.Of(file(i % maxSets)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for i := range 2 * maxSets {
		if _, err := o.Of(file(i)); err != nil {
			t.Fatal(err)
		}
	}
	if o.latest.Len() != maxSets || len(o.sets) != maxSets {
		t.Errorf("%d and %d sets are kept", o.latest.Len(), len(o.sets))
	}
	if again, _ := o.Of(file(0)); again == first {
		t.Error("the oldest set was kept")
	}
	if _, err := o.Of([]byte("rules")); err == nil {
		t.Error("a wrong file gave no error")
	} else if _, again := o.Of([]byte("rules")); !errors.Is(again, err) {
		t.Error("a wrong file was read twice")
	}
}

const seatsLog = "##[group]Run solve\n##[endgroup]\nLicense server lm1 has no seats\n##[error]Process completed with exit code 1.\n"

func TestOwnRulesOfARun(t *testing.T) {
	t.Parallel()
	seats := strings.ReplaceAll(ownFile("seats", "'server (?P<server>\\w+) has no seats'"), "match: ['server (?P<server>\\w+) has no seats']", "match: [server lm2 has no seats]")
	outage := domain.Errorf(domain.Transient, "read", "502")
	late := now.Add(-time.Hour)
	for name, tc := range map[string]struct {
		policy     string
		policyErr  error
		log        string
		created    time.Time
		categories []string
		problem    string
		fails      domain.ErrKind
	}{
		"a rule of the repository":            {seats, nil, seatsLog, now, []string{"own-kind"}, "", ""},
		"the built-in rules go on":            {seats, nil, moduleLog, now, []string{"missing-module"}, "", ""},
		"a wrong rule, the built-in go on":    {strings.Replace(seats, "own/", "", 1), nil, moduleLog, now, []string{"missing-module"}, "the rules of .github/mlops-bot.yml are not used: line 3", ""},
		"a wrong rule is not used":            {strings.Replace(seats, "[none]", "[server a has no seats]", 1), nil, seatsLog, now, []string{domain.Unknown}, "own/seats matches line 1 of this counter-example", ""},
		"an outage is waited for":             {"", outage, moduleLog, now, nil, "", domain.Transient},
		"an outage that does not end":         {"", outage, moduleLog, late, []string{"missing-module"}, "could not be read", ""},
		"a rate limit is waited for, however": {"", domain.Errorf(domain.RateLimited, "read", "429"), moduleLog, late, nil, "", domain.RateLimited},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gh := failed()
			gh.jobs, gh.logs = gh.jobs[:1], map[int64]string{10: tc.log}
			gh.policy, gh.policyErr = tc.policy, tc.policyErr
			f := New(Deps{GitHub: gh, Store: &fakeStore{}, Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler), LogLag: 15 * time.Minute, LogRetry: 30 * time.Second})
			out, err := f.Work(t.Context(), domain.Work{Kind: kindReport, Payload: []byte(`{"installation_id":1,"repo_id":2,"run_id":3,"attempt":1}`), CreatedAt: tc.created})
			if domain.KindOf(err) != tc.fails {
				t.Fatalf("error %v", err)
			}
			var categories []string
			var problems string
			for _, inc := range out.Incidents {
				categories = append(categories, inc.Finding.Category)
				problems += strings.Join(inc.Problems, "; ")
			}
			if !slices.Equal(categories, tc.categories) {
				t.Errorf("categories %v", categories)
			}
			if !strings.Contains(problems, tc.problem) || (tc.problem == "") != (problems == "") {
				t.Errorf("problems %q lack %q", problems, tc.problem)
			}
			for _, c := range out.Counts {
				if typ := c.Labels["type"]; typ == "own-kind" {
					t.Errorf("a category that people named is counted by itself: %v", c)
				}
			}
		})
	}
}

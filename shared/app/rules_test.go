package app

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mlops-bot/mlops-bot/functions/detect"
	"github.com/mlops-bot/mlops-bot/shared/config"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

// ruleFile is a file of one rule.
const ruleFile = "version: 1\nrules:\n- {id: own/seats, title: No seats, category: seats, patterns: [no seats], examples: {match: [no seats], nomatch: [seats]}}\n"

func TestCheckRules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(dir string) Check { return checkRules(t.Context(), config.Config{RulesDir: dir})[0] }
	if c := check(""); c.Problem != nil || !strings.Contains(c.Found, "RULES_DIR is not set") {
		t.Errorf("without a directory: %+v", c)
	}
	put("good.yml", ruleFile)
	if c := check(dir); c.Problem != nil || !strings.Contains(c.Found, "1 of one's own") {
		t.Errorf("a good file: %+v", c)
	}
	put("bad.yml", "version: 1\nrules: [{id: x}]\n")
	if c := check(dir); c.Problem == nil || !strings.Contains(c.Problem.Error(), "bad.yml: line 2") || !strings.Contains(c.Found, "1 of one's own") {
		t.Errorf("a bad file beside it: %+v", c)
	}
}

func TestTellRules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{"good.yml": ruleFile, "bad.yml": "version: 1\nrules: [{id: x}]\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var told bytes.Buffer
	clock := newClock()
	st := openStore(t, "sqlite:"+filepath.Join(t.TempDir(), "bot.db"), clock.now)
	a := &App{ctx: t.Context()}
	r := &Runner{fn: scripted{name: "detect"}, store: st, now: clock.now, log: slog.New(slog.NewJSONHandler(&told, nil))}
	a.tellRules(r, detect.ReadInstalled(dir))
	a.background.Wait()
	for _, want := range []string{`"rules":1`, "bad.yml: line 2", `"level":"ERROR"`} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("%s is not said in\n%s", want, told.String())
		}
	}
	counters, err := st.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(counters, func(c store.Counter) bool {
		return c.Name == countErrors && c.Labels["component"] == "detect" && c.Labels["kind"] == "invalid" && c.Value == 1
	}) {
		t.Errorf("not counted: %+v", counters)
	}
}

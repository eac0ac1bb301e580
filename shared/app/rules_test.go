package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mlops-bot/mlops-bot/shared/config"
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

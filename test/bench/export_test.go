package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/mlops-bot/mlops-bot/functions/detect/rules"
)

func TestExport(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ pattern, rust, gnu string }{
		"literal":      {`a.b\.c\[`, `a.b\.c\[`, `a.b\.c\[`},
		"named group":  {`^(?P<file>\w+)$`, `^(?:[\x{30}-\x{39}\x{41}-\x{5a}\x{5f}-\x{5f}\x{61}-\x{7a}]+)$`, `^([0-9A-Z_a-z]+)$`},
		"boundary":     {`\bno\B`, `(?-u:\b)no(?-u:\B)`, `\bno\B`},
		"case":         {`(?i)n1`, `(?i:N)1`, `(N|n)1`},
		"lazy":         {`x.*?y`, `x.*?y`, `x.*y`},
		"alternatives": {`ab|cd?`, `(?:ab|c(?:d)?)`, `(ab|c(d)?)`},
		"repetition":   {`a{2,}b{1,3}`, `(?:a){2,}(?:b){1,3}`, `(a){2,}(b){1,3}`},
		"negated":      {`[^'\]]`, `[\x{0}-\x{26}\x{28}-\x{5c}\x{5e}-\x{10ffff}]`, `[^]']`},
		"specials":     {`[\]^a-]`, `[\x{2d}-\x{2d}\x{5d}-\x{5e}\x{61}-\x{61}]`, `[]a^-]`},
		"wide":         {`[×x]`, `[\x{78}-\x{78}\x{d7}-\x{d7}]`, `([x]|×)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := regexp.MustCompile(tt.pattern)
			if got, err := rust.export(p); err != nil || got != tt.rust {
				t.Errorf("ripgrep: %s, %v; want %s", got, err, tt.rust)
			}
			if got, err := gnu.export(p); err != nil || got != tt.gnu {
				t.Errorf("grep: %s, %v; want %s", got, err, tt.gnu)
			}
		})
	}
}

func TestExportRefuses(t *testing.T) {
	t.Parallel()
	p := regexp.MustCompile(`a\nb`)
	if got, err := rust.export(p); err == nil {
		t.Errorf("ripgrep: %s", got)
	}
	if got, err := gnu.export(p); err == nil {
		t.Errorf("grep: %s", got)
	}
}

// TestExportKeepsTheMeaning compares what each pattern of the catalogue and its
// translation, read by the program that it is for, find in the rules' fixtures.
func TestExportKeepsTheMeaning(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../functions/detect/rules/testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d fixtures, %v", len(files), err)
	}
	var text []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, b...)
	}
	// In the C locale grep reads "é" as two characters: none is needed here.
	text = regexp.MustCompile(`[^\t\n -~]`).ReplaceAll(text, []byte("?"))
	input := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(input, text, 0o600); err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	for _, program := range []struct {
		d    dialect
		args []string
	}{
		{rust, []string{"rg", "--no-config", "-j1", "--no-mmap", "-a", "-c", "--include-zero", "-f"}},
		{gnu, []string{"grep", "-a", "-E", "-c", "-f"}},
	} {
		if _, err := exec.LookPath(program.args[0]); err != nil {
			t.Logf("%s is not installed", program.args[0])
			continue
		}
		for _, r := range rules.All() {
			t.Run(program.args[0]+" "+r.ID, func(t *testing.T) {
				t.Parallel()
				want := 0
				var exported []string
				for _, p := range r.Patterns {
					s, err := program.d.export(p)
					if err != nil {
						t.Fatalf("%s: %v", p, err)
					}
					exported = append(exported, s)
				}
				for _, l := range lines {
					for _, p := range r.Patterns {
						if p.Match(l) {
							want++
							break
						}
					}
				}
				list := filepath.Join(t.TempDir(), "patterns.txt")
				if err := os.WriteFile(list, []byte(strings.Join(exported, "\n")+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				cmd := exec.CommandContext(t.Context(), program.args[0], append(program.args[1:len(program.args):len(program.args)], list, input)...)
				cmd.Env = append(os.Environ(), "LC_ALL=C")
				out, err := cmd.Output()
				var exit *exec.ExitError
				if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
					t.Fatalf("%v: %s", err, exit.Stderr)
				}
				if got := strings.TrimSpace(string(out)); got != strconv.Itoa(want) {
					t.Errorf("finds %s lines, want %d", got, want)
				}
			})
		}
	}
}

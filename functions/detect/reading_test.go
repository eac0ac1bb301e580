package detect

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestReading diagnoses logs in which the cause stands beside what follows from
// it, or beside what the job survived. A line counts as found within three, as in
// test/accuracy.
func TestReading(t *testing.T) {
	t.Parallel()
	archive, err := txtar.ParseFile("testdata/reading.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files) < 30 {
		t.Fatalf("%d logs", len(archive.Files))
	}
	control := strings.NewReplacer("<CR>", "\r", "<ESC>", "\x1b")
	for _, f := range archive.Files {
		fields := strings.Fields(f.Name)
		if len(fields) != 3 {
			t.Fatalf("%q names no category and line", f.Name)
		}
		t.Run(fields[0], func(t *testing.T) {
			t.Parallel()
			line, err := strconv.Atoi(fields[2])
			if err != nil {
				t.Fatal(err)
			}
			d, ex, err := Diagnose(t.Context(), Input{Log: strings.NewReader(control.Replace(string(f.Data)))})
			if err != nil {
				t.Fatal(err)
			}
			if p := d.Primary; p.Category != fields[1] || line > 0 && (p.Line < line-3 || p.Line > line+3) {
				t.Errorf("%s at line %d, want %s at line %d\n%+v", p.Category, p.Line, fields[1], line, ex.Considered)
			}
		})
	}
}

// TestNothingLeaks puts a credential and what a terminal obeys behind each line
// of every rule's examples: whatever a rule takes from a log, neither is in what
// leaves Diagnose.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	fixtures, err := filepath.Glob("rules/testdata/*.txtar")
	if err != nil || len(fixtures) == 0 {
		t.Fatalf("%d fixtures (%v)", len(fixtures), err)
	}
	secret := "ghp_" + strings.Repeat("aB3", 14)
	found := 0
	for _, name := range fixtures {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range txtar.Parse(data).Files {
			if !strings.HasPrefix(f.Name, "match/") {
				continue
			}
			for how, tail := range map[string]string{"token": " " + secret, "glued": "\u200b" + secret, "commands": " \u009b31m\u202e\x1b]8;;http://x\x1b\\ " + secret} {
				var log strings.Builder
				for line := range strings.Lines(string(f.Data)) {
					line = strings.TrimSuffix(line, "\n")
					if line == "" {
						log.WriteString(line + "\n")
						continue
					}
					log.WriteString(line + tail + "\n")
				}
				d, ex, err := Diagnose(t.Context(), Input{Log: strings.NewReader(log.String()), Name: "0_train.txt"})
				if err != nil {
					t.Fatal(err)
				}
				if len(ex.Considered) > 0 {
					found++
				}
				// Without the encoder's own escapes, so that characters stand as they are.
				var out strings.Builder
				enc := json.NewEncoder(&out)
				enc.SetEscapeHTML(false)
				if err := enc.Encode(map[string]any{"diagnosis": d, "explanation": ex}); err != nil {
					t.Fatal(err)
				}
				text := out.String()
				if strings.Contains(text, secret[:12]) {
					t.Errorf("%s, %s, %s: the credential leaves\n%s", filepath.Base(name), f.Name, how, text)
				}
				if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) }) || strings.Contains(text, `\u001b`) {
					t.Errorf("%s, %s, %s: a control character leaves\n%q", filepath.Base(name), f.Name, how, text)
				}
			}
		}
	}
	if found < 2*len(fixtures) {
		t.Errorf("findings in %d logs of %d rules", found, len(fixtures))
	}
}

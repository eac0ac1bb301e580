package detect

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// TestGreenLogs runs the whole catalogue over long logs of jobs that passed and
// are full of the words that failures use. That the job passed isn't told, so
// that each match would count: there must be none, not even a weak one.
func TestGreenLogs(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/green/*.log")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d green logs (%v)", len(files), err)
	}
	logs := map[string][]byte{"generated": greenLog(4 << 20)}
	for _, f := range files {
		if logs[filepath.Base(f)], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	for name, log := range logs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Without its end a log doesn't show that the job passed.
			log, _, _ := bytes.Cut(log, []byte("Post job cleanup."))
			d, ex, err := Diagnose(t.Context(), Input{Log: bytes.NewReader(log)})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range ex.Considered {
				t.Errorf("line %d: %s takes %q for a failure (%s)", c.Line, c.Rule, c.Text, c.Why)
			}
			if d.Primary.Category != domain.Unknown {
				t.Errorf("the answer is %s", d.Primary.Category)
			}
		})
	}
}

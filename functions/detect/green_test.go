package detect

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/functions/detect/rules"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// TestGreenLogs runs the whole catalogue over long logs of jobs that passed and
// are full of what failures print. That the job passed isn't told: the logs are
// cut before their clean-up. No answer is given, and rules match no line but
// those of testdata/green/survived.txt: real failures, word for word, that a
// script or a program got over, which only the step's success tells.
func TestGreenLogs(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/green/*.log")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d green logs (%v)", len(files), err)
	}
	list, err := os.ReadFile("testdata/green/survived.txt")
	if err != nil {
		t.Fatal(err)
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
			log, _, _ := bytes.Cut(log, []byte("Post job cleanup."))
			d, ex, err := Diagnose(t.Context(), Input{Log: bytes.NewReader(log)})
			if err != nil {
				t.Fatal(err)
			}
			var want, got []string
			for l := range strings.Lines(string(list)) {
				if strings.HasPrefix(l, name+":") {
					want = append(want, strings.TrimSpace(l))
				}
			}
			for _, c := range ex.Considered {
				if c.Standing != rules.Excluded {
					t.Errorf("line %d: %s takes %q for a failure (%s)", c.Line, c.Rule, c.Text, c.Why)
				}
				got = append(got, fmt.Sprintf("%s:%d %s", name, c.Line, c.Rule))
			}
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("lines that match (-known +got):\n%s", diff)
			}
			if d.Primary.Category != domain.Unknown {
				t.Errorf("the answer is %s", d.Primary.Category)
			}
		})
	}
}

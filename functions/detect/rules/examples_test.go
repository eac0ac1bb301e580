package rules

import "testing"

func TestExamples(t *testing.T) {
	t.Parallel()
	for _, r := range All() {
		examples, err := Examples(r.ID)
		if err != nil {
			t.Error(err)
			continue
		}
		matching := 0
		for i, e := range examples {
			if e.Matches {
				matching++
			}
			if e.Matches && i >= matching || e.Name == "" || e.Log == "" {
				t.Errorf("%s: example %d (%q) stands in the wrong place, or is empty", r.ID, i, e.Name)
			}
		}
		if matching == 0 || matching == len(examples) {
			t.Errorf("%s: %d of %d examples match", r.ID, matching, len(examples))
		}
	}
	if _, err := Examples("../own"); err == nil {
		t.Error("there are examples of no rule")
	}
}

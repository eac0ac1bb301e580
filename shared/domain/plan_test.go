package domain

import (
	"strings"
	"testing"
)

func TestEditApply(t *testing.T) {
	t.Parallel()
	e := Edit{Path: "f", Splices: []Splice{{0, "a", "x"}, {4, "b", ""}, {9, "", "end"}}}
	got, err := e.Apply([]byte("a 12b 34\n"))
	if err != nil || string(got) != "x 12 34\nend" {
		t.Errorf("%q, %v", got, err)
	}
	for name, content := range map[string]string{"other content": "a 12c 34\n", "shorter": "a", "empty": ""} {
		if _, err := e.Apply([]byte(content)); KindOf(err) != Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEditWholeLines(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		content string
		splices []Splice
		want    []Splice
	}{
		"within a line":        {"a\nb: 1\nc\n", []Splice{{5, "1", "2"}}, []Splice{{2, "b: 1\n", "b: 2\n"}}},
		"two on one line":      {"x = 1, 1\n", []Splice{{4, "1", "2"}, {7, "1", "3"}}, []Splice{{0, "x = 1, 1\n", "x = 2, 3\n"}}},
		"two lines":            {"a1\nb1\n", []Splice{{1, "1", "2"}, {4, "1", "2"}}, []Splice{{0, "a1\n", "a2\n"}, {3, "b1\n", "b2\n"}}},
		"insertion of a line":  {"a\nc\n", []Splice{{2, "", "b\n"}}, []Splice{{2, "c\n", "b\nc\n"}}},
		"at the end":           {"a\n", []Splice{{2, "", "b\n"}}, []Splice{{2, "", "b\n"}}},
		"no final newline":     {"a", []Splice{{1, "", "\nb"}}, []Splice{{0, "a", "a\nb"}}},
		"a whole line removed": {"a\nb\nc\n", []Splice{{2, "b\n", ""}}, []Splice{{2, "b\n", ""}}},
		"over two lines":       {"a\nb\nc\n", []Splice{{0, "a\nb", "x"}}, []Splice{{0, "a\nb\n", "x\n"}}},
		"empty file":           {"", []Splice{{0, "", "a\n"}}, []Splice{{0, "", "a\n"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := Edit{Path: "f", Splices: tt.splices}
			got, err := e.WholeLines([]byte(tt.content))
			if err != nil || len(got.Splices) != len(tt.want) {
				t.Fatalf("%+v, %v", got, err)
			}
			for i, s := range got.Splices {
				if s != tt.want[i] {
					t.Errorf("splice %d is %+v, want %+v", i, s, tt.want[i])
				}
			}
			a, _ := e.Apply([]byte(tt.content))
			b, err := got.Apply([]byte(tt.content))
			if err != nil || string(a) != string(b) {
				t.Errorf("whole lines give %q, the edit gives %q, %v", b, a, err)
			}
		})
	}
}

// FuzzEditWholeLines: whole lines give the same file as the edit itself.
func FuzzEditWholeLines(f *testing.F) {
	f.Add("a\nb: 1\nc\n", 2, 3, "x", 6, 1, "y\n")
	f.Add("", 0, 0, "x", 0, 0, "")
	f.Fuzz(func(t *testing.T, content string, start1, len1 int, new1 string, start2, len2 int, new2 string) {
		ok := start1 >= 0 && len1 >= 0 && start2 >= 0 && len2 >= 0 && start1 <= len(content) && len1 <= len(content)-start1 &&
			start2 <= len(content) && len2 <= len(content)-start2 && start2 >= start1+len1
		if !ok {
			return
		}
		e := Edit{Path: "f", Splices: []Splice{{start1, content[start1 : start1+len1], new1}, {start2, content[start2 : start2+len2], new2}}}
		want, err := e.Apply([]byte(content))
		if err != nil {
			t.Fatal(err)
		}
		whole, err := e.WholeLines([]byte(content))
		if err != nil {
			t.Fatal(err)
		}
		got, err := whole.Apply([]byte(content))
		if err != nil || string(got) != string(want) {
			t.Fatalf("%+v gives %q, %+v gives %q, %v", whole, got, e, want, err)
		}
	})
}

func TestCheckPath(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "a/b.py", ".github/workflows/ci.yml", "..a/b"} {
		if err := CheckPath(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "/a", "../a", "a/../../b", "a//b", "./a", ".git", ".git/config", "a\\b", "a\nb", ".."} {
		if err := CheckPath(bad); KindOf(err) != Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestPlanPermissionsAndKey(t *testing.T) {
	t.Parallel()
	edit := Plan{Action: ActionEdit, Edits: []Edit{{Path: ".github/workflows/ci.yml", Splices: []Splice{{0, "a", "b"}}}}}
	if got := edit.Permissions(); len(got) != 3 || got[2] != PermWorkflows {
		t.Errorf("%v", got)
	}
	if got := (Plan{Action: ActionRerun}).Permissions(); len(got) != 1 || got[0] != PermActions {
		t.Errorf("%v", got)
	}
	if edit.Key("x") == edit.Key("y") {
		t.Error("equal edits on two bases have one key")
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	for s := range repairMoves {
		if s.CanMove("") {
			t.Errorf("%s can be unmade", s)
		}
	}
	for s := range incidentMoves {
		if s.CanMove("") {
			t.Errorf("%s can be unmade", s)
		}
	}
	if RepairRefused.CanMove(RepairProposed) || !RepairProposed.CanMove(RepairVerified) || IncidentResolved.CanMove(IncidentOpen) {
		t.Error("a forbidden move, or a missing one")
	}
}

func TestHashParts(t *testing.T) {
	t.Parallel()
	if Hash("ab", "c") == Hash("a", "bc") || Hash("a\x00\x01b") == Hash("a", "b") || Hash() == Hash("") {
		t.Error("different parts hash alike")
	}
	if got := BranchName("inc-1", 2); got != "mlops-bot/inc-1-2" || !OwnBranch(got) || OwnBranch("mlops-bots/x") {
		t.Error(got)
	}
	if f := (Finding{Category: "a", Keys: []string{"x", "y"}, Facts: map[string]string{"x": "1", "y": "2", "z": "3"}}); f.Fingerprint() != (Finding{Category: "a", Keys: []string{"y", "x"}, Facts: map[string]string{"x": "1", "y": "2", "z": "4"}}).Fingerprint() {
		t.Error("a fact that is no key changes the fingerprint")
	}
	if strings.Contains(Refuse(RefusedFork, "%s", "x").Error(), "%") {
		t.Error("the reason is not formatted")
	}
}

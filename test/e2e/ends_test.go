package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/standin"
)

// state waits until a repair is in a state.
func (w *world) state(id string, want domain.RepairState) domain.Repair {
	w.t.Helper()
	return until(w, "repair "+id+" that is "+string(want), func() (domain.Repair, bool) {
		r, err := w.db.Repair(w.t.Context(), id)
		return r, err == nil && r.State == want
	})
}

// TestTheSameFailureComesBack: a merged fix whose failure returns within a week
// has regressed, and the failure is a new incident.
func TestTheSameFailureComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t), standin.Options{})
	b := w.start(nil)
	defer b.end(t)
	w.install()
	files := failures(t)["removed NumPy alias"].files
	w.push("main", "Break it", files)
	first := w.repair(domain.RepairVerified)
	if _, err := w.forge.Merge(repoName, first.PullNumber); err != nil {
		t.Fatal(err)
	}
	w.state(first.ID, domain.RepairLanded)
	until(w, "the resolution", func() (domain.IncidentState, bool) {
		s := w.incidents()[0].State
		return s, s == domain.IncidentResolved
	})
	w.push("main", "Break it again", map[string]string{"model.py": files["model.py"] + "\n# again\n"})
	w.state(first.ID, domain.RepairRegressed)
	second := w.repair(domain.RepairVerified)
	if second.ID == first.ID || second.Attempt != 1 || len(w.incidents()) != 2 {
		t.Errorf("the second repair %+v", second)
	}
}

// TestAPersonSaysNo: who closes the pull request is not argued with.
func TestAPersonSaysNo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t), standin.Options{})
	b := w.start(nil)
	defer b.end(t)
	w.install()
	files := failures(t)["removed NumPy alias"].files
	w.push("main", "Break it", files)
	r := w.repair(domain.RepairVerified)
	if err := w.forge.ClosePull(repoName, r.PullNumber); err != nil {
		t.Fatal(err)
	}
	w.state(r.ID, domain.RepairClosed)
	w.push("main", "Something else", map[string]string{"notes.md": "x\n"})
	refused := w.repair(domain.RepairRefused)
	if refused.Refusal.Code != domain.RefusedHuman || !strings.Contains(refused.Refusal.Reason, "closed") {
		t.Errorf("refusal %+v", refused.Refusal)
	}
	if n := len(w.forge.PullRequests(repoName)); n != 1 {
		t.Errorf("%d pull requests", n)
	}
}

// TestNobodyJudges: without a run on the fix nothing is proved, and the bot says
// so after half an hour instead of claiming success.
func TestNobodyJudges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t), standin.Options{})
	b := w.start(nil)
	defer b.end(t)
	w.install()
	files := failures(t)["removed NumPy alias"].files
	files[".github/workflows/ci.yml"] = strings.Replace(files[".github/workflows/ci.yml"], onBoth, "on:\n  push:\n    branches: [main]\n", 1)
	w.push("main", "Break it", files)
	r := w.repair(domain.RepairProposed)
	w.comment(r.PullNumber, "proposed") // nothing is under way any more
	w.advance(29 * time.Minute)
	time.Sleep(200 * time.Millisecond) // some beats
	if got, err := w.db.Repair(t.Context(), r.ID); err != nil || got.State != domain.RepairProposed {
		t.Errorf("after 29 minutes: %+v, %v", got, err)
	}
	w.advance(2 * time.Minute)
	w.state(r.ID, domain.RepairUnverifiable)
	w.comment(r.PullNumber, "could not be verified")
}

// TestABranchOfOurNameIsLeftAlone: somebody's work on the branch that the bot
// would make is neither adopted nor overwritten.
func TestABranchOfOurNameIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t), standin.Options{})
	b := w.start(nil)
	w.install()
	files := failures(t)["removed NumPy alias"].files
	w.push("main", "Watch only", map[string]string{".github/mlops-bot.yml": "version: 1\nmode: observe\n"})
	delete(files, ".github/mlops-bot.yml")
	w.push("main", "Break it", files)
	inc := w.incident()
	w.repair(domain.RepairRefused)
	// The refusal took the first attempt's number; the next branch is known.
	branch := domain.BranchName(inc.ID, 2)
	theirs := w.push(branch, "My own work", map[string]string{"mine.md": "x\n"})
	w.push("main", "Allow it", map[string]string{".github/mlops-bot.yml": healPolicy})
	r := until(w, "the refusal", func() (domain.Repair, bool) {
		list := w.repairs()
		return list[0], list[0].Refusal != nil && list[0].Refusal.Code == domain.RefusedBranchTaken
	})
	b.end(t)
	if r.Branch != branch || w.forge.Refs(repoName)["refs/heads/"+branch] != theirs || len(w.forge.PullRequests(repoName)) != 0 {
		t.Errorf("repair %+v, refs %v", r, w.forge.Refs(repoName))
	}
}

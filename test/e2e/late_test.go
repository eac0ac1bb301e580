package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/app"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/standin"
)

// TestNothingIsDoneWhenItsReasonIsGone: between an intent and its effect, somebody
// mends the branch or tells the bot to observe only.
func TestNothingIsDoneWhenItsReasonIsGone(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(files map[string]string)
		code   domain.RefusalCode
	}{
		// A run of the older commit would deploy it over the newer one.
		"the branch moved on": {func(files map[string]string) {
			files[".github/workflows/ci.yml"] = strings.Replace(files[".github/workflows/ci.yml"], `[ "$GITHUB_RUN_ATTEMPT" = 1 ]`, "false", 1)
		}, domain.RefusedBranchMoved},
		"the policy says observe": {func(files map[string]string) {
			files[".github/mlops-bot.yml"] = "version: 1\nmode: observe\n"
		}, domain.RefusedMode},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, sqlite(t), standin.Options{})
			b := w.start(func(o *app.Options) { o.Timing.Reruns = []time.Duration{2 * time.Second, 2 * time.Second} })
			defer b.end(t)
			w.install()
			files := failures(t)["network"].files
			first := w.push("main", "Break it", files)
			w.repair(domain.RepairIntended)
			tt.change(files)
			w.push("main", "Change it", files)
			refused := until(w, "the refusal", func() (domain.Repair, bool) {
				for _, r := range w.repairs() {
					if r.Refusal != nil && r.HeadSHA == first {
						return r, true
					}
				}
				return domain.Repair{}, false
			})
			if refused.Refusal.Code != tt.code {
				t.Errorf("refusal %+v, want %s", refused.Refusal, tt.code)
			}
			for _, run := range w.forge.Runs(repoName) {
				if run.SHA == first && run.Attempt != 1 {
					t.Errorf("the older run has %d attempts", run.Attempt)
				}
			}
		})
	}
}

// TestTwoBranchesAtOneCommit: a fix of one branch doesn't mend the other.
func TestTwoBranchesAtOneCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t), standin.Options{})
	b := w.start(nil)
	defer b.end(t)
	w.install()
	files := failures(t)["removed NumPy alias"].files
	files[".github/workflows/ci.yml"] = strings.Replace(files[".github/workflows/ci.yml"], onBoth, "on: [push, pull_request]\n", 1)
	w.push("one", "Break it", files)
	w.push("two", "Break it", files)
	until(w, "two verified repairs", func() (any, bool) {
		n := 0
		for _, r := range w.repairs() {
			if r.State == domain.RepairVerified {
				n++
			}
		}
		return w.repairs(), n == 2
	})
}

// TestCapsCountWhatIsUnderWay: a pull request that is about to be opened takes its
// place.
func TestCapsCountWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t), standin.Options{})
	b := w.start(nil)
	defer b.end(t)
	w.install()
	w.push("main", "Cap it", map[string]string{".github/mlops-bot.yml": "version: 1\nmode: heal\nlimits:\n  open_pulls: 1\n"})
	files := failures(t)["removed NumPy alias"].files
	delete(files, ".github/mlops-bot.yml")
	files[".github/workflows/ci.yml"] = strings.Replace(files[".github/workflows/ci.yml"], onBoth, "on: [push, pull_request]\n", 1)
	branches := []string{"one", "two", "three", "four"}
	for _, branch := range branches {
		w.push(branch, "Break "+branch, files)
	}
	until(w, "an outcome for each branch", func() (any, bool) {
		verified, refused := 0, 0
		for _, r := range w.repairs() {
			switch {
			case r.State == domain.RepairVerified:
				verified++
			case r.Refusal != nil && r.Refusal.Code == domain.RefusedOpenPulls:
				refused++
			}
		}
		return w.repairs(), verified == 1 && refused == len(branches)-1
	})
	if n := len(w.forge.PullRequests(repoName)); n != 1 {
		t.Errorf("%d pull requests, and one is the limit", n)
	}
}

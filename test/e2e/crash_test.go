package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/app"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/standin"
)

// maxCalls bounds the crash test: a healing makes far fewer calls.
const maxCalls = 600

// TestCrashAtEveryCall numbers every call that the bot makes to its store, to
// GitHub and to its broker. For each n it kills the process at call n, starts it
// again, and checks that nothing was lost and nothing happened twice, until a
// healing completes before call n. Messages without read-back may repeat once.
func TestCrashAtEveryCall(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("some hundred healings")
	}
	files := failures(t)["deprecated action"].files
	for n := 1; n <= maxCalls; n++ {
		what, died := crashAt(t, n, files)
		if t.Failed() {
			t.Fatalf("killed at call %d (%s)", n, what)
		}
		if !died {
			t.Logf("a healing makes %d calls; the bot was killed at each of them", n-1)
			return
		}
	}
	t.Errorf("no healing completed within %d calls", maxCalls)
}

// crashAt runs one healing whose process dies at call n. died is false when it
// completed before.
func crashAt(t *testing.T, n int, files map[string]string) (what string, died bool) {
	t.Helper()
	w := newWorld(t, "sqlite:"+t.TempDir()+"/bot.db", standin.Options{})
	defer w.close()
	k := newKiller(n)
	b := w.start(func(o *app.Options) {
		o.Config.Tick = time.Hour // the clock is the second life's
		o.Transport = k.transport(http.DefaultTransport)
		o.WrapStore = func(s app.Store) app.Store { return numberedStore{s, k} }
		o.WrapPublisher = func(p app.Publisher) app.Publisher { return numberedPublisher{p, k} }
	})
	w.install()
	w.push("main", "Break it", files)
	if !w.healedOr(k.died) {
		b.end(t)
		// Leases run out and the clocks of redelivery and of the outbox come round.
		w.advance(10 * time.Minute)
		b = w.start(nil)
		died = true
		if !w.healedOr(nil) {
			t.Errorf("not healed: incidents %+v, repairs %+v", w.incidents(), w.repairs())
		}
	}
	w.checkOnce(t)
	b.end(t)
	return k.what, died
}

// healedOr waits until the healing is complete and told, or until died.
func (w *world) healedOr(died <-chan struct{}) bool {
	deadline := time.After(patience)
	for {
		if w.healed() {
			return true
		}
		select {
		case <-died:
			return false
		case <-deadline:
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (w *world) healed() bool {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if due, pending, err := w.db.NextDue(ctx); err != nil || (pending && due.Before(w.now().Add(time.Minute))) {
		return false
	}
	for _, r := range w.repairs() {
		if r.State != domain.RepairVerified || !w.inbox.contains("verified") {
			continue
		}
		for _, c := range w.comments(r.PullNumber) {
			if strings.Contains(strings.ToLower(c), "verified") {
				return true
			}
		}
	}
	return false
}

// checkOnce looks for anything that happened twice.
func (w *world) checkOnce(t *testing.T) {
	t.Helper()
	if inc := w.incidents(); len(inc) != 1 || inc[0].Occurrences != 1 {
		t.Errorf("incidents %+v", inc)
	}
	if rep := w.repairs(); len(rep) != 1 || rep[0].Attempt != 1 {
		t.Errorf("repairs %+v", rep)
	}
	pulls := w.forge.PullRequests(repoName)
	if len(pulls) != 1 {
		t.Errorf("pull requests %+v", pulls)
		return
	}
	if comments := w.comments(pulls[0].Number); len(comments) != 1 {
		t.Errorf("comments %q", comments)
	}
	branches := 0
	for ref := range w.forge.Refs(repoName) {
		if domain.OwnBranch(strings.TrimPrefix(ref, "refs/heads/")) {
			branches++
		}
	}
	if branches != 1 {
		t.Errorf("%d branches of the bot's", branches)
	}
	if letters, err := w.db.DeadLetters(t.Context(), 10); err != nil || len(letters) != 0 {
		t.Errorf("dead letters %+v, %v", letters, err)
	}
}

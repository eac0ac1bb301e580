package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

func TestFailureHistory(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		const ours, other = "0123456789abcdef", "fedcba9876543210"
		// add stores a report at a time.
		add := func(when time.Duration, repoID, run int64, attempt int, sha, workflow string, fingerprints ...string) {
			r := domain.RunReport{
				Repo: domain.Repo{InstallationID: 1, ID: repoID}, Run: domain.Run{ID: run, Attempt: attempt, HeadSHA: sha, WorkflowPath: workflow, Author: "Ada", AuthorMark: "m"},
			}
			for i, fp := range fingerprints {
				r.Legs = append(r.Legs, domain.LegReport{Job: fmt.Sprint("leg ", i), Conclusion: domain.Failure, Fingerprint: fp, Category: "test-failure"})
			}
			ok(t, s.Commit(t.Context(), store.Cause{}, domain.Outcome{Reports: []domain.RunReport{r}}, at(when)))
		}
		add(1*time.Hour, 7, 1, 1, "aaa", "ci", other, ours) // failed with it on one of two legs
		add(2*time.Hour, 7, 1, 2, "aaa", "ci")              // and passed
		add(3*time.Hour, 7, 2, 1, "aaa", "ci", other)       // another run of the commit
		add(4*time.Hour, 7, 3, 1, "bbb", "ci", ours)
		add(5*time.Hour, 7, 4, 1, "ccc", "ci", other)  // never failed with it
		add(6*time.Hour, 7, 5, 1, "bbb", "nightly")    // the commit's other workflow
		add(7*time.Hour, 7, 6, 1, "ddd", "lint", ours) // another workflow's
		add(8*time.Hour, 8, 7, 1, "aaa", "ci", ours)   // another repository's
		// What a stranger writes is no fingerprint.
		ok(t, put(t, s, domain.Outcome{Reports: []domain.RunReport{{
			Repo: repo, Run: domain.Run{ID: 9, Attempt: 1, HeadSHA: "eee", WorkflowPath: "ci"},
			Legs: []domain.LegReport{{Job: `"fingerprint":"` + ours + `"`, Conclusion: domain.Failure}},
		}}}))

		look := func(workflow, fingerprint string, since time.Duration) string {
			return fmt.Sprint(ids(func(r domain.RunReport) string { return fmt.Sprint(r.Run.ID, ".", r.Run.Attempt) },
				must[[]domain.RunReport](t)(s.FailureHistory(t.Context(), 7, workflow, fingerprint, at(since)))))
		}
		same(t, "all", "[3.1 2.1 1.2 1.1]", look("ci", ours, 0))
		same(t, "of another failure", "[4.1 2.1 1.2 1.1]", look("ci", other, 0))
		same(t, "of another workflow", "[6.1]", look("lint", ours, 0))
		same(t, "since the first one was stored", "[3.1 2.1 1.2 1.1]", look("ci", ours, time.Hour))
		same(t, "since later", "[3.1]", look("ci", ours, time.Hour+time.Microsecond))
		same(t, "never seen", "[]", look("ci", "0000000000000000", 0))
		first := must[[]domain.RunReport](t)(s.FailureHistory(t.Context(), 7, "ci", ours, start))[0]
		same(t, "author", "Ada m", first.Run.Author+" "+first.Run.AuthorMark)
		same(t, "leg", domain.LegReport{Job: "leg 0", Conclusion: domain.Failure, Fingerprint: ours, Category: "test-failure"}, first.Legs[0])

		for _, odd := range []string{"", "%", "0123456789abcde_", "0123456789ABCDEF", ours + ours} {
			_, err := s.FailureHistory(t.Context(), 7, "ci", odd, start)
			wantKind(t, err, domain.Invalid)
		}
		ok(t, s.Expire(t.Context(), at(3*time.Hour)))
		same(t, "what was kept", "[3.1]", look("ci", ours, 0))
	})
}

func TestFailureHistoryIsBounded(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		var out domain.Outcome
		for i := range 60 {
			for attempt := range 10 {
				out.Reports = append(out.Reports, domain.RunReport{
					Repo: repo, Run: domain.Run{ID: int64(100 + i), Attempt: attempt + 1, HeadSHA: fmt.Sprintf("%040d", i), WorkflowPath: "ci"},
					Legs: []domain.LegReport{{Job: "test", Conclusion: domain.Failure, Fingerprint: "0123456789abcdef", Category: "lint"}},
				})
			}
		}
		ok(t, put(t, s, out))
		list := must[[]domain.RunReport](t)(s.FailureHistory(t.Context(), repo.ID, "ci", "0123456789abcdef", start))
		commits := map[string]bool{}
		for _, r := range list {
			commits[r.Run.HeadSHA] = true
		}
		same(t, "reports and commits", "500 50", fmt.Sprint(len(list), " ", len(commits)))
	})
}

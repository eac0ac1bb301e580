package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

func ids[T any](id func(T) string, list []T) []string {
	var out []string
	for _, v := range list {
		out = append(out, id(v))
	}
	return out
}

func incidentID(i domain.Incident) string { return i.ID }
func repairID(r domain.Repair) string     { return r.ID }

func TestIncidentsAreListedNewestFirstInPages(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		var out domain.Outcome
		for i := range 7 {
			inc := incident(fmt.Sprint("inc-", i))
			inc.OpenedAt = at(time.Duration(i/2) * time.Hour) // two of each time
			inc.LastSeenAt = inc.OpenedAt
			inc.Run.ID = int64(100 + i/2)
			out.Incidents = append(out.Incidents, inc)
		}
		out.Incidents[6].Repo.ID, out.Incidents[6].Repo.InstallationID = 8, 2
		out.Incidents[5].Repo.ID = 9
		ok(t, put(t, s, out))
		closed := out.Incidents[0]
		closed.Version, closed.State, closed.ClosedAt = 1, domain.IncidentResolved, at(9*time.Hour)
		ok(t, put(t, s, domain.Outcome{Incidents: []domain.Incident{closed}}))

		for name, tc := range map[string]struct {
			filter store.Filter
			want   string
		}{
			"all":                  {store.Filter{}, "[inc-6 inc-5 inc-4 inc-3 inc-2 inc-1 inc-0]"},
			"of a repository":      {store.Filter{RepoID: 7}, "[inc-4 inc-3 inc-2 inc-1 inc-0]"},
			"of an installation":   {store.Filter{InstallationID: 2}, "[inc-6]"},
			"in a state":           {store.Filter{State: "resolved"}, "[inc-0]"},
			"bounded":              {store.Filter{Limit: 2}, "[inc-6 inc-5]"},
			"next page":            {store.Filter{Limit: 2, Before: at(2 * time.Hour), BeforeID: "inc-5"}, "[inc-4 inc-3]"},
			"before a time":        {store.Filter{Before: at(time.Hour)}, "[inc-1 inc-0]"},
			"nothing fits":         {store.Filter{RepoID: 8, State: "handed_off"}, "[]"},
			"all conditions apply": {store.Filter{InstallationID: 1, RepoID: 7, State: "open", Before: at(time.Hour), Limit: 1}, "[inc-1]"},
		} {
			t.Run(name, func(t *testing.T) {
				same(t, "list", tc.want, fmt.Sprint(ids(incidentID, must[[]domain.Incident](t)(s.Incidents(t.Context(), tc.filter)))))
			})
		}
		same(t, "by run", []string{"inc-0", "inc-1"}, ids(incidentID, must[[]domain.Incident](t)(s.IncidentsByRun(t.Context(), 7, 100))))
		same(t, "standing", []string{"inc-1", "inc-2", "inc-3", "inc-4"},
			ids(incidentID, must[[]domain.Incident](t)(s.StandingIncidents(t.Context(), 7, "main", out.Incidents[0].WorkflowPath))))
		same(t, "standing elsewhere", 0, len(must[[]domain.Incident](t)(s.StandingIncidents(t.Context(), 7, "dev", out.Incidents[0].WorkflowPath))))

		n, repos, err := s.RecentIncidents(t.Context(), 1, at(time.Hour))
		ok(t, err)
		same(t, "recent incidents and repositories", "4 2", fmt.Sprint(n, repos))
		_, err = s.Incident(t.Context(), "unknown")
		wantNotFound(t, err)
	})
}

func TestRepairsAreFound(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		const root = "inc-root"
		a, b, c, d, e := repair("rep-a", root, 1), repair("rep-b", root, 2), repair("rep-c", "inc-c", 1), repair("rep-d", "inc-d", 1), repair("rep-e", "inc-e", 1)
		b.CreatedAt, c.CreatedAt = at(time.Hour), at(2*time.Hour)
		c.Plan.Action, c.Branch, c.PullNumber, c.RunID = domain.ActionRerun, "", 0, 55
		d.State, d.Refusal, d.Branch = domain.RepairRefused, domain.Refuse(domain.RefusedMode, "observe"), ""
		d.CreatedAt = at(3 * time.Hour)
		e.Repo.ID, e.Repo.InstallationID = 8, 2
		ok(t, put(t, s, domain.Outcome{Repairs: []domain.Repair{b, a, c, d, e}}))
		version := map[string]int64{}
		move := func(r domain.Repair, states ...domain.RepairState) {
			for _, state := range states {
				version[r.ID]++
				r.Version, r.State = version[r.ID], state
				ok(t, put(t, s, domain.Outcome{Repairs: []domain.Repair{r}}))
			}
		}
		a.PullNumber, b.PullNumber = 3, 4
		move(a, domain.RepairProposed, domain.RepairRejected)
		move(b, domain.RepairProposed, domain.RepairVerified)

		find := func(what, want string) func(domain.Repair, bool, error) {
			return func(r domain.Repair, found bool, err error) {
				t.Helper()
				if err != nil || r.ID != want || found != (want != "") {
					t.Errorf("%s: %q, %v, %v; want %q", what, r.ID, found, err, want)
				}
			}
		}
		find("by branch", "rep-a")(s.RepairByBranch(t.Context(), 7, "mlops-bot/rep-a"))
		find("another repository's branch", "")(s.RepairByBranch(t.Context(), 8, "mlops-bot/rep-a"))
		find("no branch", "")(s.RepairByBranch(t.Context(), 7, ""))
		find("by plan, verified", "rep-b")(s.RepairByPlanKey(t.Context(), 7, "key-rep-b"))
		find("by plan, intended", "rep-c")(s.RepairByPlanKey(t.Context(), 7, "key-rep-c"))
		find("by plan, rejected", "")(s.RepairByPlanKey(t.Context(), 7, "key-rep-a"))
		find("by pull request", "rep-b")(s.RepairByPull(t.Context(), 7, 4))
		find("no pull request", "")(s.RepairByPull(t.Context(), 7, 0))
		same(t, "of the root", []string{"rep-a", "rep-b"}, ids(repairID, must[[]domain.Repair](t)(s.RepairsOfRoot(t.Context(), root))))
		same(t, "of the run", []string{"rep-c"}, ids(repairID, must[[]domain.Repair](t)(s.RepairsByRun(t.Context(), 7, 55))))
		same(t, "open pull requests", 1, must[int](t)(s.OpenPulls(t.Context(), 7)))
		same(t, "about to be opened", 1, must[int](t)(s.OpenPulls(t.Context(), 8)))
		same(t, "since the start", 3, must[int](t)(s.RepairsSince(t.Context(), 7, start)))
		same(t, "since an hour", 2, must[int](t)(s.RepairsSince(t.Context(), 7, at(time.Hour))))
		same(t, "all", []string{"rep-d", "rep-c", "rep-b", "rep-e", "rep-a"}, ids(repairID, must[[]domain.Repair](t)(s.Repairs(t.Context(), store.Filter{}))))
		same(t, "page", []string{"rep-e"}, ids(repairID, must[[]domain.Repair](t)(s.Repairs(t.Context(), store.Filter{Limit: 1, Before: at(time.Hour), BeforeID: "rep-b"}))))
		same(t, "in a state", []string{"rep-d"}, ids(repairID, must[[]domain.Repair](t)(s.Repairs(t.Context(), store.Filter{RepoID: 7, State: "refused"}))))

		b.EndedAt = at(5 * time.Hour)
		move(b, domain.RepairLanded)
		for what, tc := range map[string]struct {
			branch string
			since  time.Duration
			want   []string
		}{
			"on any branch":     {"", 5 * time.Hour, []string{"rep-b"}},
			"on its branch":     {"main", 5 * time.Hour, []string{"rep-b"}},
			"on another branch": {"dev", 0, nil},
			"later":             {"", 6 * time.Hour, nil},
		} {
			same(t, "landed "+what, tc.want, ids(repairID, must[[]domain.Repair](t)(s.LandedRepairs(t.Context(), 7, tc.branch, at(tc.since)))))
		}
		_, err := s.Repair(t.Context(), "unknown")
		wantNotFound(t, err)
	})
}

func TestOutcomesCountEachRepairOnce(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		for i, states := range [][]domain.RepairState{
			{domain.RepairProposed},
			{domain.RepairProposed, domain.RepairVerified},
			{domain.RepairProposed, domain.RepairVerified, domain.RepairLanded},
			{domain.RepairProposed, domain.RepairVerified, domain.RepairLanded, domain.RepairLanded, domain.RepairRegressed},
			{domain.RepairProposed, domain.RepairVerified, domain.RepairClosed},
			{domain.RepairProposed, domain.RepairRejected},
		} {
			r := repair(fmt.Sprint("rep-", i), fmt.Sprint("inc-", i), 1)
			if i == 5 {
				r.Repo.ID = 8
			}
			ok(t, put(t, s, domain.Outcome{Repairs: []domain.Repair{r}}))
			for v, state := range states {
				r.Version, r.State = int64(v+1), state
				ok(t, put(t, s, domain.Outcome{Repairs: []domain.Repair{r}}))
			}
		}
		for name, tc := range map[string]struct {
			rule, strategy string
			repo           int64
			want           domain.Record
		}{
			"one repository":   {"cuda-oom", "halve-batch-size", 7, domain.Record{Verified: 1, Landed: 1, Regressed: 1, Closed: 1}},
			"all repositories": {"cuda-oom", "halve-batch-size", 0, domain.Record{Verified: 1, Landed: 1, Regressed: 1, Closed: 1, Rejected: 1}},
			"another strategy": {"cuda-oom", "rerun", 7, domain.Record{}},
			"another rule":     {"oom-killed", "halve-batch-size", 0, domain.Record{}},
		} {
			same(t, name, tc.want, must[domain.Record](t)(s.OutcomeCounts(t.Context(), tc.rule, tc.strategy, tc.repo)))
		}
	})
}

func TestReportsAreReplacedAndFoundByCommit(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		report := func(run int64, attempt int, sha, workflow, problem string) domain.RunReport {
			return domain.RunReport{Repo: repo, Run: domain.Run{ID: run, Attempt: attempt, HeadSHA: sha, WorkflowPath: workflow}, Problems: []string{problem}}
		}
		ok(t, put(t, s, domain.Outcome{Reports: []domain.RunReport{
			report(2, 1, "abc", "train", "first"), report(1, 2, "abc", "lint", "x"), report(1, 1, "abc", "lint", "x"), report(3, 1, "def", "train", "x"),
		}}))
		ok(t, put(t, s, domain.Outcome{Reports: []domain.RunReport{report(2, 1, "abc", "train", "second")}}))
		same(t, "replaced", "second", must[domain.RunReport](t)(s.Report(t.Context(), 7, 2, 1)).Problems[0])
		name := func(r domain.RunReport) string { return fmt.Sprint(r.Run.ID, ".", r.Run.Attempt) }
		same(t, "of the commit", []string{"1.1", "1.2", "2.1"}, ids(name, must[[]domain.RunReport](t)(s.ReportsBySHA(t.Context(), 7, "abc", ""))))
		same(t, "of the workflow", []string{"2.1"}, ids(name, must[[]domain.RunReport](t)(s.ReportsBySHA(t.Context(), 7, "abc", "train"))))
		same(t, "of another repository", 0, len(must[[]domain.RunReport](t)(s.ReportsBySHA(t.Context(), 8, "abc", ""))))
		_, err := s.Report(t.Context(), 7, 2, 2)
		wantNotFound(t, err)
	})
}

func TestTheAuditLogIsPaged(t *testing.T) {
	onEach(t, func(t *testing.T, s *store.Store) {
		var out domain.Outcome
		for i := range 5 {
			out.Audit = append(out.Audit, domain.AuditEntry{At: at(time.Duration(i/4) * time.Second), RepoID: int64(7 + i%2), Object: fmt.Sprint("o", i)})
		}
		out.Audit = append(out.Audit, domain.AuditEntry{Object: "without a time"})
		ok(t, s.Commit(t.Context(), store.Cause{}, out, at(time.Hour)))
		var got []string
		f := store.Filter{Limit: 2}
		for {
			page := must[[]store.AuditRecord](t)(s.Audit(t.Context(), f))
			if len(page) == 0 {
				break
			}
			for _, e := range page {
				got = append(got, e.Object)
			}
			last := page[len(page)-1]
			f.Before, f.BeforeID = last.At, last.ID
		}
		same(t, "all pages", []string{"without a time", "o4", "o3", "o2", "o1", "o0"}, got)
		of := must[[]store.AuditRecord](t)(s.Audit(t.Context(), store.Filter{RepoID: 8}))
		same(t, "of a repository", []string{"o3", "o1"}, ids(func(e store.AuditRecord) string { return e.Object }, of))
	})
}

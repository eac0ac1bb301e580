package e2e

import (
	"context"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/app"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

// numberedStore is the store of a process that may be killed at any of its
// calls.
type numberedStore struct {
	app.Store
	k *killer
}

func (s numberedStore) Handled(ctx context.Context, consumer, eventID string) (v bool, err error) {
	if err = s.k.step("store.Handled"); err != nil {
		return v, err
	}
	return s.Store.Handled(ctx, consumer, eventID)
}

func (s numberedStore) Event(ctx context.Context, id string) (v domain.Envelope, err error) {
	if err = s.k.step("store.Event"); err != nil {
		return v, err
	}
	return s.Store.Event(ctx, id)
}

func (s numberedStore) Commit(ctx context.Context, cause store.Cause, out domain.Outcome, now time.Time) error {
	if err := s.k.step("store.Commit"); err != nil {
		return err
	}
	return s.Store.Commit(ctx, cause, out, now)
}

// ClaimWork is numbered when it claims something: a process that dies then has
// taken work that it never does. Looking in vain is no call to speak of.
func (s numberedStore) ClaimWork(ctx context.Context, owner string, now time.Time, lease time.Duration, limit int) ([]domain.Work, error) {
	if err := s.k.check(); err != nil {
		return nil, err
	}
	claimed, err := s.Store.ClaimWork(ctx, owner, now, lease, limit)
	if len(claimed) > 0 {
		if kerr := s.k.step("store.ClaimWork"); kerr != nil {
			return nil, kerr
		}
	}
	return claimed, err
}

func (s numberedStore) FailWork(ctx context.Context, w domain.Work, notBefore time.Time, reason string) error {
	if err := s.k.step("store.FailWork"); err != nil {
		return err
	}
	return s.Store.FailWork(ctx, w, notBefore, reason)
}

func (s numberedStore) BuryWork(ctx context.Context, w domain.Work, reason string) error {
	if err := s.k.step("store.BuryWork"); err != nil {
		return err
	}
	return s.Store.BuryWork(ctx, w, reason)
}

func (s numberedStore) MarkPublished(ctx context.Context, ids []string, now time.Time) error {
	if err := s.k.step("store.MarkPublished"); err != nil {
		return err
	}
	return s.Store.MarkPublished(ctx, ids, now)
}

func (s numberedStore) OpenOutbox(ctx context.Context, publishedBefore time.Time, limit int) (v []domain.Envelope, err error) {
	if err = s.k.step("store.OpenOutbox"); err != nil {
		return v, err
	}
	return s.Store.OpenOutbox(ctx, publishedBefore, limit)
}

func (s numberedStore) DueOwners(ctx context.Context, now time.Time) (v []string, err error) {
	if err = s.k.step("store.DueOwners"); err != nil {
		return v, err
	}
	return s.Store.DueOwners(ctx, now)
}

func (s numberedStore) AcquireLease(ctx context.Context, name, holder string, now time.Time, ttl time.Duration) (v bool, err error) {
	if err = s.k.step("store.AcquireLease"); err != nil {
		return v, err
	}
	return s.Store.AcquireLease(ctx, name, holder, now, ttl)
}

func (s numberedStore) ExpireDeliveryBodies(ctx context.Context, before time.Time) (v int64, err error) {
	if err = s.k.step("store.ExpireDeliveryBodies"); err != nil {
		return v, err
	}
	return s.Store.ExpireDeliveryBodies(ctx, before)
}

func (s numberedStore) Expire(ctx context.Context, before time.Time) error {
	if err := s.k.step("store.Expire"); err != nil {
		return err
	}
	return s.Store.Expire(ctx, before)
}

func (s numberedStore) DeadLetter(ctx context.Context, consumer string, env domain.Envelope, reason string, now time.Time) error {
	if err := s.k.step("store.DeadLetter"); err != nil {
		return err
	}
	return s.Store.DeadLetter(ctx, consumer, env, reason, now)
}

func (s numberedStore) AcceptDelivery(ctx context.Context, d domain.Delivery, env domain.Envelope) (v bool, err error) {
	if err = s.k.step("store.AcceptDelivery"); err != nil {
		return v, err
	}
	return s.Store.AcceptDelivery(ctx, d, env)
}

func (s numberedStore) DeleteInstallation(ctx context.Context, installationID int64) error {
	if err := s.k.step("store.DeleteInstallation"); err != nil {
		return err
	}
	return s.Store.DeleteInstallation(ctx, installationID)
}

func (s numberedStore) Incident(ctx context.Context, id string) (v domain.Incident, err error) {
	if err = s.k.step("store.Incident"); err != nil {
		return v, err
	}
	return s.Store.Incident(ctx, id)
}

func (s numberedStore) Incidents(ctx context.Context, f store.Filter) (v []domain.Incident, err error) {
	if err = s.k.step("store.Incidents"); err != nil {
		return v, err
	}
	return s.Store.Incidents(ctx, f)
}

func (s numberedStore) StandingIncident(ctx context.Context, repoID int64, branch, workflow, fingerprint string) (v domain.Incident, ok bool, err error) {
	if err = s.k.step("store.StandingIncident"); err != nil {
		return v, ok, err
	}
	return s.Store.StandingIncident(ctx, repoID, branch, workflow, fingerprint)
}

func (s numberedStore) StandingIncidents(ctx context.Context, repoID int64, branch, workflow string) (v []domain.Incident, err error) {
	if err = s.k.step("store.StandingIncidents"); err != nil {
		return v, err
	}
	return s.Store.StandingIncidents(ctx, repoID, branch, workflow)
}

func (s numberedStore) FailureHistory(ctx context.Context, repoID int64, workflow, fingerprint string, since time.Time) (v []domain.RunReport, err error) {
	if err = s.k.step("store.FailureHistory"); err != nil {
		return v, err
	}
	return s.Store.FailureHistory(ctx, repoID, workflow, fingerprint, since)
}

func (s numberedStore) RecentIncidents(ctx context.Context, installationID int64, since time.Time) (incidents, repos int, err error) {
	if err = s.k.step("store.RecentIncidents"); err != nil {
		return incidents, repos, err
	}
	return s.Store.RecentIncidents(ctx, installationID, since)
}

func (s numberedStore) Repair(ctx context.Context, id string) (v domain.Repair, err error) {
	if err = s.k.step("store.Repair"); err != nil {
		return v, err
	}
	return s.Store.Repair(ctx, id)
}

func (s numberedStore) Repairs(ctx context.Context, f store.Filter) (v []domain.Repair, err error) {
	if err = s.k.step("store.Repairs"); err != nil {
		return v, err
	}
	return s.Store.Repairs(ctx, f)
}

func (s numberedStore) RepairsOfRoot(ctx context.Context, root string) (v []domain.Repair, err error) {
	if err = s.k.step("store.RepairsOfRoot"); err != nil {
		return v, err
	}
	return s.Store.RepairsOfRoot(ctx, root)
}

func (s numberedStore) RepairByBranch(ctx context.Context, repoID int64, branch string) (v domain.Repair, ok bool, err error) {
	if err = s.k.step("store.RepairByBranch"); err != nil {
		return v, ok, err
	}
	return s.Store.RepairByBranch(ctx, repoID, branch)
}

func (s numberedStore) RepairByPlanKey(ctx context.Context, repoID int64, planKey string) (v domain.Repair, ok bool, err error) {
	if err = s.k.step("store.RepairByPlanKey"); err != nil {
		return v, ok, err
	}
	return s.Store.RepairByPlanKey(ctx, repoID, planKey)
}

func (s numberedStore) RepairByPull(ctx context.Context, repoID int64, number int) (v domain.Repair, ok bool, err error) {
	if err = s.k.step("store.RepairByPull"); err != nil {
		return v, ok, err
	}
	return s.Store.RepairByPull(ctx, repoID, number)
}

func (s numberedStore) RepairsByRun(ctx context.Context, repoID, runID int64) (v []domain.Repair, err error) {
	if err = s.k.step("store.RepairsByRun"); err != nil {
		return v, err
	}
	return s.Store.RepairsByRun(ctx, repoID, runID)
}

func (s numberedStore) LandedRepairs(ctx context.Context, repoID int64, branch string, since time.Time) (v []domain.Repair, err error) {
	if err = s.k.step("store.LandedRepairs"); err != nil {
		return v, err
	}
	return s.Store.LandedRepairs(ctx, repoID, branch, since)
}

func (s numberedStore) OpenPulls(ctx context.Context, repoID int64) (v int, err error) {
	if err = s.k.step("store.OpenPulls"); err != nil {
		return v, err
	}
	return s.Store.OpenPulls(ctx, repoID)
}

func (s numberedStore) RepairsSince(ctx context.Context, repoID int64, since time.Time) (v int, err error) {
	if err = s.k.step("store.RepairsSince"); err != nil {
		return v, err
	}
	return s.Store.RepairsSince(ctx, repoID, since)
}

func (s numberedStore) Report(ctx context.Context, repoID, runID int64, attempt int) (v domain.RunReport, err error) {
	if err = s.k.step("store.Report"); err != nil {
		return v, err
	}
	return s.Store.Report(ctx, repoID, runID, attempt)
}

func (s numberedStore) Switch(ctx context.Context, repoID int64) (v domain.Switch, err error) {
	if err = s.k.step("store.Switch"); err != nil {
		return v, err
	}
	return s.Store.Switch(ctx, repoID)
}

func (s numberedStore) OutcomeCounts(ctx context.Context, rule, strategy string, repoID int64) (v domain.Record, err error) {
	if err = s.k.step("store.OutcomeCounts"); err != nil {
		return v, err
	}
	return s.Store.OutcomeCounts(ctx, rule, strategy, repoID)
}

func (s numberedStore) Audit(ctx context.Context, f store.Filter) (v []store.AuditRecord, err error) {
	if err = s.k.step("store.Audit"); err != nil {
		return v, err
	}
	return s.Store.Audit(ctx, f)
}

func (s numberedStore) Counters(ctx context.Context) (v []store.Counter, err error) {
	if err = s.k.step("store.Counters"); err != nil {
		return v, err
	}
	return s.Store.Counters(ctx)
}

func (s numberedStore) Histograms(ctx context.Context) (v []store.Histogram, err error) {
	if err = s.k.step("store.Histograms"); err != nil {
		return v, err
	}
	return s.Store.Histograms(ctx)
}

func (s numberedStore) ReleaseLease(ctx context.Context, name, holder string) error {
	if err := s.k.step("store.ReleaseLease"); err != nil {
		return err
	}
	return s.Store.ReleaseLease(ctx, name, holder)
}

func (s numberedStore) TakeSlot(ctx context.Context, name string, now time.Time, spacing time.Duration) (v time.Time, err error) {
	if err = s.k.step("store.TakeSlot"); err != nil {
		return v, err
	}
	return s.Store.TakeSlot(ctx, name, now, spacing)
}

package repair

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
)

// pullClosed records how a pull request of ours ended, from GitHub's own state.
func (f *Function) pullClosed(ctx context.Context, w domain.Work, p payload) (domain.Outcome, error) {
	r, found, err := f.Store.RepairByPull(ctx, p.RepoID, p.Number)
	if err != nil {
		return domain.Outcome{}, fmt.Errorf("look up the pull request's repair: %w", err)
	}
	if !found {
		// It may have been closed before its number was stored.
		r, found, err := f.Store.RepairByBranch(ctx, p.RepoID, p.Branch)
		if err != nil {
			return domain.Outcome{}, fmt.Errorf("look up the branch's repair: %w", err)
		}
		if found && r.State == domain.RepairIntended {
			return domain.Outcome{Again: f.Now().Add(f.Timing.Soon)}, nil
		}
		return domain.Outcome{}, nil
	}
	repo, err := f.GitHub.Repo(ctx, r.Repo.InstallationID, r.Repo.ID)
	if err != nil {
		if permanent(err) {
			return domain.Outcome{}, nil
		}
		return domain.Outcome{}, fmt.Errorf("read the repository: %w", err)
	}
	pull, err := f.GitHub.Pull(ctx, repo, p.Number)
	if err != nil {
		return domain.Outcome{}, fmt.Errorf("read the pull request: %w", err)
	}
	next := domain.RepairClosed
	var payloadOf events.Payload = events.RepairAbandoned{Repair: repairData(r)}
	why := "a person closed it without merging"
	if pull.Merged {
		next, payloadOf, why = domain.RepairLanded, events.RepairLanded{Repair: repairData(r)}, "merged as "+short(pull.MergeSHA)
	}
	if pull.State != "closed" || r.State == next || !r.State.CanMove(next) {
		return domain.Outcome{}, nil
	}
	r.State, r.EndedAt = next, f.Now()
	env, err := events.New(f.cause(w, repo, r.ID+"/"+string(next)), payloadOf)
	if err != nil {
		return domain.Outcome{}, err
	}
	return domain.Outcome{
		Repairs: []domain.Repair{r}, Events: []domain.Envelope{env}, Counts: []domain.Count{counted(r)},
		Audit: []domain.AuditEntry{f.audit(repo, "repair", "repair."+string(next), r.ID, why)},
	}, nil
}

// escalate asks a person: one issue with the diagnosis and what was tried.
func (f *Function) escalate(ctx context.Context, w domain.Work, p payload) (domain.Outcome, error) {
	inc, err := f.Store.Incident(ctx, p.IncidentID)
	if errors.Is(err, domain.ErrNotFound) {
		return domain.Outcome{}, nil
	} else if err != nil {
		return domain.Outcome{}, fmt.Errorf("read the incident: %w", err)
	}
	if inc.State != domain.IncidentOpen {
		return domain.Outcome{}, nil
	}
	root, err := f.Store.Incident(ctx, w.Key)
	if err != nil {
		return domain.Outcome{}, fmt.Errorf("read the root incident: %w", err)
	}
	repairs, err := f.Store.RepairsOfRoot(ctx, root.ID)
	if err != nil {
		return domain.Outcome{}, fmt.Errorf("list the repairs: %w", err)
	}
	repo, err := f.GitHub.Repo(ctx, inc.Repo.InstallationID, inc.Repo.ID)
	if err == nil {
		var url string
		if url, err = f.ensureIssue(ctx, repo, root, inc, repairs); err == nil {
			return f.handedOff(w, root, inc, repairs, url)
		}
	}
	if permanent(err) {
		// No issue can be opened (issues are off, the permission is missing, the
		// repository is gone): the incident is a person's all the same.
		return f.handedOff(w, root, inc, repairs, "no issue: "+err.Error())
	}
	return domain.Outcome{}, fmt.Errorf("ask a person: %w", err)
}

func (f *Function) ensureIssue(ctx context.Context, repo domain.Repo, root, inc domain.Incident, repairs []domain.Repair) (string, error) {
	if refusal, err := f.stopped(ctx, repo.ID); err != nil {
		return "", err
	} else if refusal != nil {
		return "", domain.Errorf(domain.Denied, "open the issue", "%s", refusal.Reason)
	}
	p, bad, err := f.readPolicy(ctx, repo)
	if err != nil {
		return "", err
	}
	if bad != nil || !p.Enabled || !p.Notify.Issue || p.Mode == domain.ModeObserve {
		return "", domain.Errorf(domain.Denied, "open the issue", "the policy allows none")
	}
	marker := issueMarker(root.ID)
	url, found, err := f.GitHub.FindIssue(ctx, repo, marker)
	if err != nil || found {
		return url, err
	}
	return f.GitHub.OpenIssue(ctx, repo, issueTitle(root), marker+"\n"+issueBody(root, inc, repairs), p.Labels)
}

func (f *Function) handedOff(w domain.Work, root, inc domain.Incident, repairs []domain.Repair, object string) (domain.Outcome, error) {
	inc.State = domain.IncidentHandedOff
	out := domain.Outcome{
		Incidents: []domain.Incident{inc},
		Audit:     []domain.AuditEntry{f.audit(inc.Repo, "repair", "incident.handed_off", inc.ID, object)},
	}
	if root.ID != inc.ID && root.State == domain.IncidentOpen {
		root.State = domain.IncidentHandedOff
		out.Incidents = append(out.Incidents, root)
	}
	if len(repairs) > 0 {
		env, err := events.New(f.cause(w, inc.Repo, inc.ID+"/handed_off"), events.RepairAbandoned{Repair: repairData(repairs[len(repairs)-1])})
		if err != nil {
			return domain.Outcome{}, err
		}
		out.Events = append(out.Events, env)
	}
	return out, nil
}

// commandVerb returns the verb of a "/mlops-bot <verb>" line.
func commandVerb(line string) (string, bool) {
	fields := strings.Fields(line)
	if len(fields) < 2 || fields[0] != "/mlops-bot" {
		return "", false
	}
	switch fields[1] {
	case "stop", "resume", "approve":
		return fields[1], true
	}
	return "", false
}

// command carries out a comment's command when its author may write to the
// repository. What can't be checked stops the bot rather than letting it go on.
func (f *Function) command(ctx context.Context, p payload) (domain.Outcome, error) {
	verb, ok := commandVerb(p.Command)
	if !ok {
		return domain.Outcome{}, nil
	}
	repo, err := f.GitHub.Repo(ctx, p.InstallationID, p.RepoID)
	if err != nil {
		if permanent(err) {
			return domain.Outcome{}, nil
		}
		return domain.Outcome{}, fmt.Errorf("read the repository: %w", err)
	}
	level, err := f.GitHub.Permission(ctx, repo, p.Sender)
	if err != nil {
		if permanent(err) {
			// An unchecked stop stays in force.
			return domain.Outcome{Audit: []domain.AuditEntry{f.audit(repo, p.Sender, "command.unchecked", verb, err.Error())}}, nil
		}
		return domain.Outcome{}, fmt.Errorf("check the author's permission: %w", err)
	}
	maintainer := level == "admin" || level == "maintain" || level == "write"
	sw, set, err := f.Store.Switch(ctx, repo.ID)
	if err != nil {
		return domain.Outcome{}, fmt.Errorf("read the kill switch: %w", err)
	}
	why := fmt.Sprintf("@%s has the permission %q", p.Sender, level)
	if !maintainer {
		out := domain.Outcome{Audit: []domain.AuditEntry{f.audit(repo, p.Sender, "command.refused", verb, why)}}
		if verb == "stop" && set && sw.State == domain.SwitchUnchecked && sw.By == p.Sender {
			out.Switches = []domain.Switch{{RepoID: repo.ID}}
		}
		return out, nil
	}
	out := domain.Outcome{Audit: []domain.AuditEntry{f.audit(repo, p.Sender, "command."+verb, repo.FullName, why)}}
	switch verb {
	case "stop":
		out.Switches = []domain.Switch{{RepoID: repo.ID, State: domain.SwitchStopped, By: p.Sender, At: f.Now()}}
	case "resume":
		out.Switches = []domain.Switch{{RepoID: repo.ID}}
	case "approve":
		return f.approve(ctx, repo, p, out)
	}
	return out, nil
}

// approve marks a draft pull request of ours as ready. An approval names the
// commit that was looked at and holds for no other.
func (f *Function) approve(ctx context.Context, repo domain.Repo, p payload, out domain.Outcome) (domain.Outcome, error) {
	r, found, err := f.Store.RepairByPull(ctx, repo.ID, p.Number)
	if err != nil {
		return domain.Outcome{}, fmt.Errorf("look up the pull request's repair: %w", err)
	}
	if !found {
		return domain.Outcome{}, nil
	}
	pull, err := f.GitHub.Pull(ctx, repo, p.Number)
	if err != nil {
		return domain.Outcome{}, fmt.Errorf("read the pull request: %w", err)
	}
	fields := strings.Fields(p.Command)
	if len(fields) < 3 || len(fields[2]) < 7 || !strings.HasPrefix(r.HeadSHA, fields[2]) || pull.HeadSHA != r.HeadSHA {
		out.Audit[0].Action = "command.refused"
		out.Audit[0].Why = fmt.Sprintf("an approval names the commit that it is for: /mlops-bot approve %s", short(r.HeadSHA))
		return out, nil
	}
	if pull.Draft {
		if err := f.GitHub.MarkReady(ctx, repo, pull.NodeID); err != nil {
			return domain.Outcome{}, fmt.Errorf("mark the pull request as ready: %w", err)
		}
	}
	if r.State.CanMove(r.State) {
		r.Draft, r.ApprovedBy = false, p.Sender
		out.Repairs = []domain.Repair{r}
	}
	return out, nil
}

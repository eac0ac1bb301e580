package repair

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

var update = flag.Bool("update", false, "write the golden files anew")

// at is when run n ended.
func at(n int) time.Time {
	return time.Date(2026, 11, 21, 18, 30, 0, 0, time.UTC).Add(time.Duration(n-40) * time.Hour)
}

func attempt(run, n int) domain.AttemptRef {
	return domain.AttemptRef{RunID: int64(run), Attempt: n, HTMLURL: fmt.Sprintf("https://github.test/octo/train/actions/runs/%d", run), EndedAt: at(run).Add(time.Duration(n) * 10 * time.Minute)}
}

func sample() (domain.Repair, domain.Incident) {
	inc := domain.Incident{
		ID: "inc-0123456789ab", Repo: domain.Repo{ID: 2, FullName: "octo/train"}, Branch: "main", WorkflowPath: ".github/workflows/train.yml",
		Run: domain.Run{ID: 42, Attempt: 1, WorkflowName: "train", HeadSHA: "0123456789abcdef", HTMLURL: "https://github.test/octo/train/actions/runs/42"},
		Job: domain.Job{ID: 7, Name: "train", HTMLURL: "https://github.test/octo/train/actions/runs/42/job/7"}, Legs: []string{"train"},
		Finding: domain.Finding{
			Category: "oom-killed", Rule: "oom-killed", Title: "The job ran out of memory", Remedy: domain.RemedyFix, Confidence: 0.93, Job: "train", Step: "Train", StepNumber: 3,
			Line: 57, StepLine: 12, Text: "MemoryError", Facts: map[string]string{},
			Why: `it stands in the step that failed, "Train", and nothing else was found`,
		},
		Change: &domain.Change{
			Green: attempt(40, 1), GreenSHA: "fedcba9876543210", GreenBranch: "main", HeadSHA: "0123456789abcdef", Branch: "main", Event: "push",
			Status: "ahead", Commits: 6, Files: 9,
			Suspects: []domain.Suspect{
				{SHA: "1111111aaaa", Author: "ada", Subject: "Train on larger batches", HTMLURL: "https://github.test/octo/train/commit/1111111aaaa", Pull: 17, Reasons: []domain.Reason{{Does: "sets", Name: "batch_size", In: "config/train.json"}}},
				{SHA: "2222222aaaa", Author: "grace", Subject: "Load the whole table", HTMLURL: "https://github.test/octo/train/commit/2222222aaaa", Reasons: []domain.Reason{{Does: "changes", Name: "train.py"}, {Does: "names", Name: "read_table", In: "train.py"}}},
				{SHA: "3333333aaaa", Subject: "Bump numpy", Reasons: []domain.Reason{{Does: "requires another version of", Name: "numpy", In: "requirements.txt"}}},
				{Reasons: []domain.Reason{{Does: "renames", Name: "loader.py"}}},
			},
		},
		Flaky: &domain.Flakiness{
			Since: at(40).Add(-domain.FlakyWindow), Until: at(40), Seen: 5, Commits: 3, Authors: 2,
			Flips: []domain.Flip{
				{Commit: "aaaaaaa1", Branch: "main", Author: "ada", Job: "train", Red: attempt(36, 1), Green: attempt(36, 2)},
				{Commit: "bbbbbbb1", Branch: "main", Author: "grace", Job: "train", Red: attempt(34, 1), Green: attempt(35, 1)},
				{Commit: "ccccccc1", Branch: "main", Author: "ada", Job: "train", Red: attempt(32, 1), Green: attempt(32, 2)},
				{Commit: "ccccccc1", Branch: "main", Author: "ada", Job: "train", Red: attempt(30, 1), Green: attempt(30, 3)},
			},
		},
	}
	r := domain.Repair{
		ID: "rep-0123456789ab", Attempt: 1, Branch: "mlops-bot/inc-0123456789ab-1", BaseBranch: "main", Draft: true,
		Plan: domain.Plan{
			Strategy: "halve-batch-size", Action: domain.ActionEdit, Title: "Halve the batch size to 2048", Risk: domain.RiskMedium,
			Rationale: "`batch_size` goes from 4096 to 2048, and `gradient_accumulation_steps` from 1 to 2, which keeps the effective batch.",
			Edits:     []domain.Edit{{Path: "config/train.json"}},
		},
	}
	return r, inc
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

func TestTexts(t *testing.T) {
	t.Parallel()
	r, inc := sample()
	golden(t, "pull.md", pullBody(r, inc))
	golden(t, "commit.txt", commitMessage(r, inc))
	second := r
	second.Attempt, second.PullNumber, second.State, second.Supersedes = 2, 9, domain.RepairRejected, 8
	second.Proofs = []domain.Proof{{RunID: 43, Job: "train", Conclusion: domain.Failure, HTMLURL: "https://github.test/octo/train/actions/runs/43"}}
	golden(t, "issue.md", issueTitle(inc)+"\n\n"+issueBody(inc, inc, []domain.Repair{second}))
}

// TestStrangersTextStaysText writes hostile text wherever a stranger's text goes
// and looks for it outside of code.
func TestStrangersTextStaysText(t *testing.T) {
	t.Parallel()
	hostile := "```\n# owned @everyone <img src=x onerror=1> </details> [x](http://evil) \x1b[2J\u202e `````` "
	r, inc := sample()
	inc.Finding.Text, inc.Finding.Step, inc.Job.Name, inc.Branch, inc.WorkflowPath = hostile, hostile, hostile, hostile, hostile
	inc.Problems = []string{hostile}
	inc.Legs = []string{hostile}
	r.Plan.Edits[0].Path = hostile
	blame(&inc, hostile)
	for name, text := range map[string]string{"pull request": pullBody(r, inc), "issue": issueBody(inc, inc, []domain.Repair{r})} {
		if strings.ContainsAny(text, "\x1b\u202e") {
			t.Errorf("%s: control characters come through", name)
		}
		outside := withoutCode(text)
		for _, bad := range []string{"@everyone", "<img", "</details>", "](http://evil)", "](javascript:", "# owned"} {
			if strings.Contains(outside, bad) {
				t.Errorf("%s: %q stands outside of code:\n%s", name, bad, outside)
			}
		}
	}
	if long := printable(strings.Repeat("é", 100_000)); len(long) > maxQuoted+8 {
		t.Errorf("a long text keeps %d bytes", len(long))
	}
}

// blame writes a text wherever a stranger's goes in what is said about the cause,
// the time before, and the history.
func blame(inc *domain.Incident, s string) {
	inc.Finding.Why = "it stands in the step that failed, " + s + ", and nothing else was found"
	c := *inc.Change
	c.Branch, c.GreenBranch, c.GreenSHA, c.Green.HTMLURL = s, s+"2", "fedcba9876543210", "javascript:alert(1)"
	c.Suspects = nil
	for range domain.MaxSuspects {
		one := domain.Suspect{SHA: "1111111aaaa", Author: s, Subject: s, HTMLURL: "https://github.test/" + s}
		for range domain.MaxReasons {
			one.Reasons = append(one.Reasons, domain.Reason{Does: "changes", Name: s, In: s})
		}
		c.Suspects = append(c.Suspects, one)
	}
	inc.Change = &c
	f := *inc.Flaky
	f.Flips = nil
	for range domain.MaxFlips {
		f.Flips = append(f.Flips, domain.Flip{Commit: s, Branch: s, Author: s, Job: s, Red: attempt(36, 1), Green: domain.AttemptRef{RunID: 36, Attempt: 2, HTMLURL: "https://github.test/" + s}})
	}
	inc.Flaky = &f
}

// TestLists holds the pull request to its few suspects, and the issue to all of
// them as far as GitHub takes the text.
func TestLists(t *testing.T) {
	t.Parallel()
	r, inc := sample()
	suspects := func(text string) int { return strings.Count(text, ": changes `") }
	blame(&inc, "x")
	if got := suspects(pullBody(r, inc)); got != maxPullListed {
		t.Errorf("the pull request names %d suspects", got)
	}
	if got := suspects(issueBody(inc, inc, nil)); got != domain.MaxSuspects {
		t.Errorf("the issue names %d suspects", got)
	}

	long := strings.Repeat("name", 300)
	blame(&inc, long)
	inc.Finding.Text, inc.Finding.Step, inc.Job.Name, inc.Branch, inc.WorkflowPath = long, long, long, long, long
	inc.Problems = []string{long, long, long}
	link := "https://github.test/" + strings.Repeat("u", 950)
	for i := range inc.Flaky.Flips {
		inc.Flaky.Flips[i].Red.HTMLURL, inc.Flaky.Flips[i].Green.HTMLURL = link, link
	}
	r.Plan.Title, r.State = long, domain.RepairRejected
	for range 256 {
		r.Proofs = append(r.Proofs, domain.Proof{RunID: 1, Job: long, HTMLURL: link, Conclusion: domain.Failure})
	}
	last := inc
	last.ID = "inc-another"
	whole := issueText(inc, last, []domain.Repair{r, r, r}, maxProofs)
	got := issueBody(inc, last, []domain.Repair{r, r, r})
	if n := utf8.RuneCountInString(got); n > maxText || utf8.RuneCountInString(whole) <= maxText {
		t.Errorf("the issue has %d characters of %d", n, utf8.RuneCountInString(whole))
	}
	if suspects(got) == 0 || !strings.Contains(got, "closes by itself") {
		t.Errorf("the shortened issue lacks a part:\n%s", got)
	}
	if n := utf8.RuneCountInString(pullBody(r, inc)); n > maxText {
		t.Errorf("the pull request has %d characters", n)
	}
}

// withoutCode removes fenced blocks and inline code, as CommonMark delimits them.
func withoutCode(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '`' {
			out.WriteByte(s[i])
			i++
			continue
		}
		n := 1
		for i+n < len(s) && s[i+n] == '`' {
			n++
		}
		ticks, j := s[i:i+n], i+n
		for {
			k := strings.Index(s[j:], ticks)
			if k < 0 {
				out.WriteString(ticks)
				i += n
				break
			}
			end := j + k
			m := n
			for end+m < len(s) && s[end+m] == '`' {
				m++
			}
			if m == n && s[end-1] != '`' {
				i = end + n
				break
			}
			j = end + m
		}
	}
	return out.String()
}

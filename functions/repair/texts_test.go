package repair

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

var update = flag.Bool("update", false, "write the golden files anew")

func sample() (domain.Repair, domain.Incident) {
	inc := domain.Incident{
		ID: "inc-0123456789ab", Repo: domain.Repo{ID: 2, FullName: "octo/train"}, Branch: "main", WorkflowPath: ".github/workflows/train.yml",
		Run: domain.Run{ID: 42, Attempt: 1, WorkflowName: "train", HeadSHA: "0123456789abcdef", HTMLURL: "https://github.test/octo/train/actions/runs/42"},
		Job: domain.Job{ID: 7, Name: "train", HTMLURL: "https://github.test/octo/train/actions/runs/42/job/7"}, Legs: []string{"train"},
		Finding: domain.Finding{
			Category: "oom-killed", Rule: "oom-killed", Title: "The job ran out of memory", Remedy: domain.RemedyFix, Confidence: 0.93, Job: "train", Step: "Train", StepNumber: 3,
			Line: 57, StepLine: 12, Text: "MemoryError", Facts: map[string]string{},
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
	for name, text := range map[string]string{"pull request": pullBody(r, inc), "issue": issueBody(inc, inc, []domain.Repair{r})} {
		if strings.ContainsAny(text, "\x1b\u202e") {
			t.Errorf("%s: control characters come through", name)
		}
		outside := withoutCode(text)
		for _, bad := range []string{"@everyone", "<img", "</details>", "](http://evil)", "# owned"} {
			if strings.Contains(outside, bad) {
				t.Errorf("%s: %q stands outside of code:\n%s", name, bad, outside)
			}
		}
	}
	if long := printable(strings.Repeat("é", 100_000)); len(long) > maxQuoted+8 {
		t.Errorf("a long text keeps %d bytes", len(long))
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

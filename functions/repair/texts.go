package repair

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// The texts that people read. Everything that a stranger wrote (log lines, job
// names, file names) goes through code or fence: it can't form Markdown, HTML or
// mentions.

const maxQuoted = 1000 // bytes of one quoted text

// code renders s as inline code: one line, no control characters, with a fence
// longer than any run of backticks in it.
func code(s string) string {
	s = printable(strings.Join(strings.Fields(s), " "))
	if s == "" {
		return "–"
	}
	ticks := strings.Repeat("`", longestRun(s, '`')+1)
	if ticks == "`" {
		return "`" + s + "`"
	}
	return ticks + " " + s + " " + ticks
}

// fence renders s as a code block.
func fence(lang, s string) string {
	s = strings.TrimRight(printable(s), "\n")
	ticks := strings.Repeat("`", max(longestRun(s, '`')+1, 3))
	return ticks + lang + "\n" + s + "\n" + ticks
}

// inert is how text in a line of GitHub's Markdown means nothing but itself: the
// entities can't be structure, and after an @ or a # a sign of no width keeps
// GitHub from seeing a mention or a reference.
var inert = strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "~", `\~`, "|", `\|`, "$", `\$`,
	"<", "&lt;", ">", "&gt;", "&", "&amp;", "[", "&#91;", "]", "&#93;", "`", "&#96;", "://", "&#58;//", "www.", "www&#46;",
	"@", "@\u200b", "#", "#\u200b")

// prose renders a clause of ours that may quote strangers, in one line.
func prose(s string) string { return inert.Replace(oneLine(s)) }

// printable drops control and formatting characters (escapes, bidirectional
// overrides, zero-width signs) other than newline and tab, and bounds the length.
func printable(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || (!unicode.IsControl(r) && !unicode.Is(unicode.Cf, r)) {
			return r
		}
		return -1
	}, s)
	if len(s) > maxQuoted {
		s = strings.ToValidUTF8(s[:maxQuoted], "") + " …"
	}
	return s
}

func longestRun(s string, c rune) int {
	longest, run := 0, 0
	for _, r := range s {
		if r == c {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	return longest
}

// commitMessage is the commit's subject and body.
func commitMessage(r domain.Repair, inc domain.Incident) string {
	return fmt.Sprintf("%s\n\n%s failed in job %q of %s.\n\nIncident: %s\nRun: %s\n",
		oneLine(r.Plan.Title), orUnknown(inc.Finding.Title, inc.Finding.Category), oneLine(inc.Job.Name), inc.WorkflowPath, inc.ID, inc.Run.HTMLURL)
}

func oneLine(s string) string { return printable(strings.Join(strings.Fields(s), " ")) }

func orUnknown(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// logLink is the page of the finding's job, at the failed step where it is known.
func logLink(inc domain.Incident) string {
	url := inc.Job.HTMLURL
	if url == "" {
		return inc.Run.HTMLURL
	}
	if inc.Finding.StepNumber > 0 {
		url += fmt.Sprintf("#step:%d:%d", inc.Finding.StepNumber, max(inc.Finding.StepLine, 1))
	}
	return url
}

// whatFailed is the part about the failure that the pull request and the issue
// share: what it is and why that is thought, what changed before it, and whether
// it comes and goes. At most listed suspects and flips are named.
func whatFailed(b *strings.Builder, inc domain.Incident, listed int) {
	finding := inc.Finding
	fmt.Fprintf(b, "### What failed\n\n")
	fmt.Fprintf(b, "%s in job %s", bold(orUnknown(finding.Title, finding.Category)), code(inc.Job.Name))
	if finding.Step != "" {
		fmt.Fprintf(b, ", step %s", code(finding.Step))
	}
	fmt.Fprintf(b, ", on %s at %s ([run %d](%s), attempt %d).\n\n", code(inc.Branch), code(short(inc.Run.HeadSHA)), inc.Run.ID, inc.Run.HTMLURL, inc.Run.Attempt)
	if len(inc.Legs) > 1 {
		fmt.Fprintf(b, "The same cause shows in %d jobs.\n\n", len(inc.Legs))
	}
	if finding.Text != "" {
		fmt.Fprintf(b, "%s\n\n", fence("text", finding.Text))
		fmt.Fprintf(b, "[Line %d of the job's log](%s) · category %s · confidence %.0f %%\n\n", finding.Line, logLink(inc), code(finding.Category), finding.Confidence*100)
	}
	if finding.Why != "" {
		fmt.Fprintf(b, "Why this is the cause: %s.\n\n", prose(finding.Why))
	}
	for _, p := range inc.Problems {
		fmt.Fprintf(b, "> Not everything could be read: %s\n\n", code(p))
	}
	if inc.Change != nil {
		change := *inc.Change
		change.Suspects = change.Suspects[:min(len(change.Suspects), listed)]
		fmt.Fprintf(b, "### What changed since it was green\n\n%s\n", change.Markdown())
	}
	if inc.Flaky != nil {
		flaky := *inc.Flaky
		flaky.Flips = flaky.Flips[:min(len(flaky.Flips), listed)]
		fmt.Fprintf(b, "### It comes and goes\n\n%s\n", flaky.Markdown())
	}
}

func bold(s string) string {
	return "**" + strings.NewReplacer("*", "", "\n", " ").Replace(printable(s)) + "**"
}

// maxPullListed is how many suspects and flips a pull request names. It is read
// for its change; the console has them all.
const maxPullListed = 3

// pullBody is the pull request's description: what failed, the evidence, what
// was changed and why, how it will be verified, and how to stop the bot.
func pullBody(r domain.Repair, inc domain.Incident) string {
	var b strings.Builder
	whatFailed(&b, inc, maxPullListed)
	fmt.Fprintf(&b, "### What this changes, and why\n\n%s\n\n", r.Plan.Rationale)
	for _, e := range r.Plan.Edits {
		fmt.Fprintf(&b, "- %s\n", code(e.Path))
	}
	fmt.Fprintf(&b, "\nRisk: %s. Strategy: %s. Attempt %d of %d.\n\n", r.Plan.Risk, code(r.Plan.Strategy), r.Attempt, domain.MaxAttempts)
	if r.Supersedes != 0 {
		fmt.Fprintf(&b, "It replaces #%d, which did not turn the run green.\n\n", r.Supersedes)
	}
	fmt.Fprintf(&b, "### How it will be verified\n\n")
	if r.Plan.Verify != "" {
		fmt.Fprintf(&b, "%s ", r.Plan.Verify)
	}
	fmt.Fprintf(&b, "This counts as verified when %s runs on this very commit and %s in it, executed and not skipped. The bot's comment below says so.\n\n", code(inc.WorkflowPath), legsPass(inc.Legs))
	if r.Draft {
		fmt.Fprintf(&b, "It is a draft. After reading it, mark it as ready, or comment `/mlops-bot approve <commit>`.\n\n")
	}
	fmt.Fprintf(&b, "### How to stop the bot\n\nClose this pull request, and it leaves this failure to you. Comment `/mlops-bot stop`, and it stops in this repository (`/mlops-bot resume` starts it again). `mode: observe` in %s makes it diagnose only.\n\n", code(policyPath))
	fmt.Fprintf(&b, "<sub>Incident %s, repair %s.</sub>\n", code(inc.ID), code(r.ID))
	return b.String()
}

func legsPass(legs []string) string {
	if len(legs) == 1 {
		return "job " + code(legs[0]) + " passes"
	}
	return fmt.Sprintf("the %d failed jobs pass", len(legs))
}

func issueMarker(rootID string) string { return "<!-- mlops-bot:incident:" + rootID + " -->" }

func issueTitle(inc domain.Incident) string {
	return fmt.Sprintf("%s needs a person: %s", oneLine(orUnknown(inc.Run.WorkflowName, inc.WorkflowPath)), orUnknown(inc.Finding.Title, inc.Finding.Category))
}

const (
	// maxText is how many characters GitHub takes in an issue.
	maxText = 65536
	// maxProofs bounds the jobs that a text names for one repair.
	maxProofs = 30
)

// issueBody is the diagnosis and what was tried, for the person who is asked. It
// names everything, unless long names make that more than GitHub takes: a shorter
// issue is better than none.
func issueBody(root, last domain.Incident, repairs []domain.Repair) string {
	var body string
	for _, listed := range []int{maxProofs, 3, 1} {
		body = issueText(root, last, repairs, listed)
		if utf8.RuneCountInString(body) <= maxText {
			break
		}
	}
	return body
}

// issueText is issueBody with lists of at most listed entries.
func issueText(root, last domain.Incident, repairs []domain.Repair, listed int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "The bot could not repair this and stops here.\n\n")
	whatFailed(&b, root, listed)
	if last.ID != root.ID {
		fmt.Fprintf(&b, "With that out of the way, another failure came to light:\n\n")
		whatFailed(&b, last, listed)
	}
	fmt.Fprintf(&b, "### What was tried\n\n")
	for _, r := range repairs {
		switch {
		case r.State == domain.RepairRefused && r.Refusal != nil:
			fmt.Fprintf(&b, "- not done: %s (%s)\n", code(r.Refusal.Reason), r.Refusal.Code)
		case r.PullNumber != 0:
			fmt.Fprintf(&b, "- #%d, %s: %s\n", r.PullNumber, code(r.Plan.Title), r.State)
		default:
			fmt.Fprintf(&b, "- %s: %s\n", code(r.Plan.Title), r.State)
		}
		for i, p := range r.Proofs {
			if i == listed {
				fmt.Fprintf(&b, "  - and %d more jobs\n", len(r.Proofs)-listed)
				break
			}
			fmt.Fprintf(&b, "  - [run %d](%s), job %s: %s\n", p.RunID, p.HTMLURL, code(p.Job), p.Conclusion)
		}
	}
	fmt.Fprintf(&b, "\nThe incident closes by itself when %s is green on %s again.\n", code(last.WorkflowPath), code(last.Branch))
	return b.String()
}

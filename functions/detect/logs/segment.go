package logs

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// maxSegments bounds the list of segments; lines behind it belong to the last.
const maxSegments = 4096

// maxTitle bounds the name of a job or step in bytes.
const maxTitle = 250

// printable makes a name that stands in a log or in a file's name fit to be
// shown: valid UTF-8, without control characters and what hides or turns text,
// of at most maxTitle bytes.
func printable(name string) string {
	name = strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == '\u2028', r == '\u2029':
			return -1
		}
		return r
	}, strings.ToValidUTF8(name, "\ufffd")))
	if len(name) <= maxTitle {
		return name
	}
	limit := maxTitle
	for limit > 0 && !utf8.RuneStart(name[limit]) {
		limit--
	}
	return name[:limit]
}

// maxEcho is how many lines a step's heading may have before it is taken for a
// group that was never closed.
const maxEcho = 2000

// Segment is a run of lines of one step of one job.
type Segment struct {
	Job  string
	Step string
	// StepNumber is the step's number in the jobs API, 0 where it isn't known.
	StepNumber  int
	First, Last int // line numbers
	Start, End  time.Time
	// Action tells that the step uses an action rather than running a script.
	Action bool
	// Post is a clean-up step ("Post Run actions/checkout").
	Post bool
	// ExitCode is the script's exit code where the runner printed one that is
	// not 0, and ExitLine the line that says so.
	ExitCode int
	ExitLine int
	// Errors counts the lines that the runner marked as errors, ErrorLine is the
	// last of them.
	Errors    int
	ErrorLine int
	// Cancelled tells that the runner said "The operation was canceled", and
	// CancelLine where.
	Cancelled  bool
	CancelLine int
	// State is what became of the step.
	State State

	// runner counts the runners that the log tells of: files that hold several
	// jobs, or a job and its reruns, one after the other have more than one.
	runner int
}

// State is what became of a segment's step.
type State uint8

// The states of a segment.
const (
	// Unclear: neither the log nor the jobs API tells.
	Unclear State = iota
	// Green: it succeeded, or was skipped.
	Green
	// Failed: the first step of its job that failed.
	Failed
	// Cascade: it failed or ran after the job had failed already.
	Cascade
	// Stopped: it was cancelled.
	Stopped
)

// Exit reports the line at which the step said that it failed: the exit code's
// line, else its last error; 0 for a step that didn't say so.
func (s Segment) Exit() int {
	if s.ExitLine > 0 {
		return s.ExitLine
	}
	return s.ErrorLine
}

// tracker cuts the stream of lines into segments.
type tracker struct {
	job      string
	steps    []domain.Step
	segments []Segment
	rawJob   []byte // columns of the line before
	rawStep  []byte
	open     bool
	echo     bool
	echoed   int
	step     int  // index into steps of the current step, -1 before the first
	headed   bool // a step of the current runner has begun
	runner   int
}

func newTracker(job string, steps []domain.Step) tracker {
	return tracker{job: job, steps: steps, step: -1}
}

var (
	runHeading  = []byte("Run ")
	runnerStart = []byte("Current runner version: '")
	exitPrefix  = []byte("Process completed with exit code ")
	errorWord   = []byte("Error: ")
	unknownStep = "UNKNOWN STEP"
	action      = regexp.MustCompile(`^Run (?:\./|docker://|[\w.-]+/[\w./-]+@)\S*$`)
)

// endings begin what the runner prints when the job's own steps are over.
var endings = [][]byte{
	[]byte("Post job cleanup."),
	[]byte("Cleaning up orphan processes"),
	[]byte("Print service container logs: "),
	[]byte("Stop and remove container: "),
}

// cancellations are how the runner says that a job did not end by itself.
var cancellations = [][]byte{
	[]byte("The operation was canceled."),
	[]byte("The job was canceled because "),
	[]byte("The strategy configuration was canceled because "),
}

func beginsWithAny(text []byte, heads [][]byte) bool {
	return slices.ContainsFunc(heads, func(h []byte) bool { return bytes.HasPrefix(text, h) })
}

// add files a line under its segment and tells whether the runner merely echoes
// a script there.
func (t *tracker) add(l *Line, job, step []byte) (segment int, echo bool) {
	if !t.open || !bytes.Equal(job, t.rawJob) || !bytes.Equal(step, t.rawStep) {
		t.columns(l, job, step)
	}
	text := l.Text
	switch {
	case l.Marker == "##[group]" && bytes.HasPrefix(text, runHeading):
		t.heading(l)
		t.echo, t.echoed = true, 0
	case l.Marker == "##[endgroup]":
		t.echo = false
	case l.Marker != "" || len(text) < 8:
	case text[0] == 'C' && bytes.HasPrefix(text, runnerStart):
		t.nextRunner(l)
	case (text[0] == 'P' || text[0] == 'C' || text[0] == 'S') && beginsWithAny(text, endings):
		t.post(l)
	}
	cur := &t.segments[len(t.segments)-1]
	if l.Level == Error || l.Marker == "" && bytes.HasPrefix(text, errorWord) {
		t.echo = false
		t.failure(cur, l)
	}
	cur.Last = l.Number
	if cur.Start.IsZero() {
		cur.Start = l.Time
	}
	cur.End = l.Time
	if t.echo {
		if t.echoed++; t.echoed > maxEcho {
			t.echo = false
		}
	}
	return len(t.segments) - 1, t.echo
}

// columns begins a segment where the job or step column changes.
func (t *tracker) columns(l *Line, job, step []byte) {
	t.open = true
	t.rawJob = append(t.rawJob[:0], job...)
	t.rawStep = append(t.rawStep[:0], step...)
	t.echo = false
	name, stepName := t.job, printable(string(clean(bytes.Clone(step))))
	if len(job) > 0 {
		name = printable(string(clean(bytes.Clone(job))))
	}
	if stepName == unknownStep {
		stepName = ""
	}
	if n := len(t.segments); n == 0 || t.segments[n-1].Job != name {
		t.headed = false
	}
	s := Segment{Job: name, Step: stepName}
	t.named(&s)
	t.begin(s, l)
}

// named fills what a step's name alone tells.
func (t *tracker) named(s *Segment) {
	if strings.HasPrefix(s.Step, "Post ") || s.Step == "Complete job" {
		s.Post = true
	}
	if s.Step == "" {
		return
	}
	for i, st := range t.steps {
		if st.Name == s.Step {
			s.StepNumber = st.Number
			t.step = i
			break
		}
	}
}

// heading handles "##[group]Run …", with which most steps begin. Steps of a
// composite action print headings too; with the API's times those stay in their
// step.
func (t *tracker) heading(l *Line) {
	t.headed = true
	title := printable(string(l.Text[:min(len(l.Text), 4*maxTitle)]))
	cur := &t.segments[len(t.segments)-1]
	isAction := action.MatchString(title)
	if len(t.rawStep) > 0 && string(t.rawStep) != unknownStep {
		// The step column is surer than a heading.
		if cur.First == l.Number {
			cur.Action = isAction
		}
		return
	}
	s := Segment{Job: cur.Job, Step: title, Action: isAction}
	if len(t.steps) > 0 {
		i := t.stepAt(l.Time)
		if i >= 0 {
			if i == t.step && cur.StepNumber == t.steps[i].Number {
				return
			}
			t.step = i
			s.Step, s.StepNumber = t.steps[i].Name, t.steps[i].Number
		}
	}
	t.begin(s, l)
}

// stepAt finds the step that a heading at a time begins. The API's times are
// whole seconds, so neighbours overlap: the current step is kept while it still
// runs, else the next one whose window holds the time is taken.
func (t *tracker) stepAt(at time.Time) int {
	if at.IsZero() {
		return -1
	}
	within := func(st domain.Step) bool {
		if st.Conclusion == domain.Skipped || st.StartedAt.IsZero() {
			return false
		}
		end := st.CompletedAt
		return !at.Before(st.StartedAt) && (end.IsZero() || at.Before(end.Add(time.Second)))
	}
	if t.step >= 0 && within(t.steps[t.step]) {
		if end := t.steps[t.step].CompletedAt; end.IsZero() || at.Before(end) {
			return t.step
		}
	}
	for i := t.step + 1; i < len(t.steps); i++ {
		// The runner's own first step prints no heading.
		if within(t.steps[i]) && (t.steps[i].Name != "Set up job" || t.step < 0 && i+1 == len(t.steps)) {
			return i
		}
	}
	return t.step
}

func (t *tracker) post(l *Line) {
	cur := &t.segments[len(t.segments)-1]
	if len(t.rawStep) > 0 && string(t.rawStep) != unknownStep {
		cur.Post = true
		return
	}
	if cur.Post {
		return
	}
	t.begin(Segment{Job: cur.Job, Step: "Post job cleanup", Post: true}, l)
}

// nextRunner parts what another runner printed from what stands before.
func (t *tracker) nextRunner(l *Line) {
	if !t.headed {
		return
	}
	t.headed = false
	t.runner++
	cur := &t.segments[len(t.segments)-1]
	if cur.First == l.Number {
		cur.runner = t.runner
		return
	}
	s := Segment{Job: cur.Job}
	if len(t.rawStep) > 0 {
		s.Step = cur.Step
	}
	t.begin(s, l)
}

func (t *tracker) begin(s Segment, l *Line) {
	s.First, s.Last, s.runner = l.Number, l.Number, t.runner
	if n := len(t.segments); n > 0 && t.segments[n-1].First == l.Number && t.segments[n-1].Step == "" {
		t.segments[n-1] = s // begun for this very line
		return
	}
	if len(t.segments) >= maxSegments {
		return
	}
	t.segments = append(t.segments, s)
}

// failure notes a line with which the runner reports an error.
func (t *tracker) failure(s *Segment, l *Line) {
	text := l.Text
	if l.Level != Error {
		text = text[len(errorWord):] // as the page shows the marker
		if !bytes.HasPrefix(text, exitPrefix) && !beginsWithAny(text, cancellations) {
			return
		}
	}
	switch {
	case bytes.HasPrefix(text, exitPrefix):
		digits := bytes.TrimRight(text[len(exitPrefix):], ". \t")
		if n, err := strconv.Atoi(string(digits)); err == nil && n != 0 {
			s.ExitCode, s.ExitLine = n, l.Number
		}
	case beginsWithAny(text, cancellations):
		s.Cancelled, s.CancelLine = true, l.Number
		return
	}
	s.Errors++
	s.ErrorLine = l.Number
}

// finish decides what became of each segment.
func (t *tracker) finish() []Segment {
	segs := t.segments
	byNumber := map[int]domain.Conclusion{}
	known := false
	for _, st := range t.steps {
		byNumber[st.Number] = st.Conclusion
		known = known || st.Conclusion == domain.Failure || st.Conclusion == domain.TimedOut
	}
	type job struct {
		name   string
		runner int
	}
	jobs := map[job][]int{}
	var order []job
	for i, s := range segs {
		j := job{s.Job, s.runner}
		if _, ok := jobs[j]; !ok {
			order = append(order, j)
		}
		jobs[j] = append(jobs[j], i)
	}
	for _, job := range order {
		if known && t.byConclusion(segs, jobs[job], byNumber) {
			continue
		}
		byLog(segs, jobs[job])
	}
	return segs
}

// byConclusion uses what the jobs API says. It returns false where no segment
// belongs to the failed step.
func (t *tracker) byConclusion(segs []Segment, idx []int, conclusions map[int]domain.Conclusion) bool {
	failed := 0
	for _, st := range t.steps {
		if st.Conclusion == domain.Failure || st.Conclusion == domain.TimedOut {
			failed = st.Number
			break
		}
	}
	found := false
	for _, i := range idx {
		found = found || segs[i].StepNumber == failed
	}
	if !found {
		return false
	}
	for _, i := range idx {
		s := &segs[i]
		switch {
		case s.StepNumber == failed:
			s.State = Failed
		case s.StepNumber > failed || s.Post:
			s.State = Cascade
		case s.StepNumber > 0 && conclusions[s.StepNumber] != domain.Cancelled:
			s.State = Green
		case s.StepNumber == 0 && s.Last < segs[idx[len(idx)-1]].Last:
			s.State = Green
		}
	}
	return true
}

// byLog uses what the runner printed: the exit code of a script is certain; an
// error that an action reported is taken for its end; what comes behind is a
// cascade, unless the job went on as if nothing had failed.
func byLog(segs []Segment, idx []int) {
	var failures []int // positions in idx
	for n, i := range idx {
		s := &segs[i]
		if !s.Post && (s.ExitCode != 0 || s.Errors > 0 && !runs(s.Step) && s.Last-s.ErrorLine <= afterError) {
			failures = append(failures, n)
		}
	}
	cancelled := slices.IndexFunc(idx, func(i int) bool { return segs[i].Cancelled })
	if len(failures) == 0 {
		if cancelled >= 0 && segs[idx[cancelled]].Errors == 0 {
			// What was reported before was survived: the job was running.
			for n, i := range idx {
				switch {
				case segs[i].Cancelled:
					segs[i].State = Stopped
				case n < cancelled:
					segs[i].State = Green
				default:
					segs[i].State = Cascade
				}
			}
			return
		}
		n := cancelled
		if n < 0 {
			n = slices.IndexFunc(idx, func(i int) bool { return segs[i].Errors > 0 && segs[i].Last-segs[i].ErrorLine <= afterError })
		}
		if n < 0 {
			n = slices.IndexFunc(idx, func(i int) bool { return segs[i].Errors > 0 })
		}
		if n < 0 {
			// Nothing says that anything failed: the log may be cut. The job went on
			// behind each step but the last, so those succeeded.
			last := len(idx) - 1
			for last > 0 && segs[idx[last]].Post {
				last--
			}
			for _, i := range idx[:last] {
				if runs(segs[i].Step) || action.MatchString(segs[i].Step) {
					segs[i].State = Green
				}
			}
			return
		}
		failures = append(failures, n)
	}
	failed, allowed := wentOn(segs, idx, failures)
	for n, i := range idx {
		s := &segs[i]
		switch {
		case n == failed:
			s.State = Failed
		case s.Cancelled:
			s.State = Stopped
		case n > failed:
			s.State = Cascade
		case n > allowed && slices.Contains(failures, n):
			s.State = Cascade // it may have failed the job as well
		default:
			s.State = Green
		}
	}
}

// wentOn finds the failure that ended the job among those of its steps. Behind
// the first real one, only clean-up and steps with if: always() or failure()
// run, which report, upload and tidy up. Behind a step with continue-on-error,
// which the runner's log marks in the same way, the job goes on as it would have:
// a checkout, a set-up, an installation or a build shows that, since nobody runs
// those whatever happened. allowed is the last step that is known by that to
// have been allowed to fail. Where nothing failed behind it, it stays the cause
// all the same, since some install what they need for a report in a job that has
// failed; but where tests passed behind such a step, up to the
// log's end, the job is green, and both are len(idx). A step that only looks at
// the outcome of others and exits says that the one before was not to fail.
//
// Tests that fail behind a check (a linter, say) are taken for what ended the
// job, too: either the check was allowed to fail, or both were to run.
func wentOn(segs []Segment, idx, failures []int) (failed, allowed int) {
	failed, allowed = failures[0], -1
	next := failures[1:]
	judged, setUp, worked := false, false, false
	for n := failed + 1; n < len(idx); n++ {
		s := &segs[idx[n]]
		if s.Post {
			continue
		}
		fails := len(next) > 0 && next[0] == n
		if fails {
			next = next[1:]
		}
		title := strings.TrimPrefix(s.Step, "Run ")
		switch {
		case fails && verdict.MatchString(title):
			judged = true
		case preparing.MatchString(title) && !reporting.MatchString(title):
			allowed = max(allowed, n-1)
			setUp = true
			if fails {
				failed, setUp, worked = n, false, false
			}
		case fails && (allowed >= failed || s.ExitCode != 0 && working.MatchString(title) && !reporting.MatchString(title)):
			failed, setUp, worked = n, false, false
		default:
			worked = worked || setUp && !fails && working.MatchString(title)
		}
	}
	if worked && !judged && segs[idx[len(idx)-1]].Post {
		return len(idx), len(idx)
	}
	return failed, allowed
}

var (
	// preparing are steps that nobody runs in a job that has failed.
	preparing = regexp.MustCompile(`(?i)^(?:[\w.-]+/(?:checkout|setup-[\w-]+|[\w-]*buildx?-(?:push-)?action)@|\./\S*set-?up\b|(?:python3? -m |sudo |uv )*(?:pip3?|apt(?:-get)?|npm|yarn|pnpm|conda|mamba|poetry|uv) (?:ci|install|sync|update)\b|(?:check ?out|set ?up|install|build|compile)\b)`)
	// working are steps that run tests or what the job is for.
	working = regexp.MustCompile(`(?i)^(?:(?:python3? -m |uv run |poetry run |coverage run -m )*(?:pytest|unittest|tox|nox)\b|(?:run |execute )?(?:all |the |unit |integration |e2e )*tests?\b|train\b|deploy\b)`)
	// reporting are steps that run whatever happened.
	reporting = regexp.MustCompile(`(?i)\b(?:upload|report|summary|comment|notify|notification|tear ?down|clean(?:up)?|always|logs?|artifacts?|on failure|if failed)\b`)
	// verdict are steps that fail because another one did: they look at its outcome.
	verdict = regexp.MustCompile(`(?i)^(?:exit [1-9]|if \[.*(?:outcome|fail)|echo\b.*(?:&&|;) *exit [1-9]|(?:fail|check)\b.*\b(?:fail|status|outcome|result))`)
)

// afterError is how many lines an action may print behind the error that it
// ends with. What it reports and survives stands further up.
const afterError = 3

// runs tells a script's heading from an action's.
func runs(step string) bool { return strings.HasPrefix(step, "Run ") && !action.MatchString(step) }

package console

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// layout is what every page shows.
type layout struct {
	Title   string
	Version string
	Now     time.Time
}

func (c *console) layout(title string) layout {
	return layout{title, c.Version, c.Now().UTC()}
}

type errorPage struct {
	layout
	Status int
	Text   string
}

// listPage is the first page.
type listPage struct {
	layout
	Summary []tally
	Rows    []row
	State   string
	States  []string
	RepoID  int64
	Repo    string // name of the repository that the list is narrowed to
	Paused  bool
	First   bool // the newest page, which refreshes itself
	Self    string
	Toggle  string // the same page with the refreshing turned round
	AllURL  string
	Older   string
	Newest  string
}

// tally is one phrase of the summary.
type tally struct {
	Count string
	Text  string
	URL   string
	Tone  tone
}

// row is an incident in the list.
type row struct {
	incidentView
	RepoURL string // the list narrowed to the repository
}

// incidentView is an incident as both pages show it.
type incidentView struct {
	domain.Incident
	Cause    string
	Status   string
	Tone     tone
	Where    string // on GitHub, the log at the failed step
	Facts    []fact
	Repairs  []repairView
	Latest   *repairView
	Track    []step
	Age      string
	Duration string // from failing to green, of a resolved one
}

type fact struct{ Name, Value string }

// tone colours a state; the state's text says the same.
type tone string

const (
	toneGood tone = "good"
	toneInfo tone = "info"
	toneWarn tone = "warn"
	toneBad  tone = "bad"
)

// step is one station on the way from red to green.
type step struct {
	Name  string
	When  string // elapsed since the incident was opened
	State string // done, failed, now, todo
	URL   string
}

// repairView is a repair as the page shows it.
type repairView struct {
	domain.Repair
	Status string
	Tone   tone
	Rerun  bool
	Moved  []moment
	Diffs  []diff
}

type moment struct{ What, After string }

// diff is what a plan changes in one file.
type diff struct {
	Path  string
	Lines []diffLine
	More  int // splices that are not shown
}

type diffLine struct{ Sign, Class, Text string }

// list reads the status page. htmx asks for its changing part only.
func (c *console) list(ctx context.Context, r *http.Request) (view, error) {
	q := r.URL.Query()
	f, err := parseFilter(q, incidentStates)
	if err != nil {
		return view{}, err
	}
	items, next, err := readPage(ctx, c.Store.Incidents, f, incidentKey)
	if err != nil {
		return view{}, err
	}
	p := listPage{
		layout: c.layout("Incidents"), State: f.State, States: incidentStates, RepoID: f.RepoID,
		First: f.Before.IsZero(), Paused: q.Get("refresh") == "off",
	}
	link := func(change func(url.Values)) string {
		v := url.Values{}
		for _, k := range []string{"state", "repo", "limit", "before", "refresh"} {
			if q.Get(k) != "" {
				v.Set(k, q.Get(k))
			}
		}
		change(v)
		if len(v) == 0 {
			return "/"
		}
		return "/?" + v.Encode()
	}
	p.Self = link(func(url.Values) {})
	p.Newest = link(func(v url.Values) { v.Del("before") })
	p.AllURL = link(func(v url.Values) { v.Del("repo"); v.Del("before") })
	p.Toggle = link(func(v url.Values) {
		v.Del("refresh")
		if !p.Paused {
			v.Set("refresh", "off")
		}
	})
	if next != "" {
		p.Older = link(func(v url.Values) { v.Set("before", next) })
	}
	for _, inc := range items {
		repairs, err := c.repairsOf(ctx, inc)
		if err != nil {
			return view{}, err
		}
		if inc.Repo.ID == f.RepoID {
			p.Repo = inc.Repo.FullName
		}
		p.Rows = append(p.Rows, row{c.incidentView(inc, repairs), link(func(v url.Values) {
			v.Set("repo", strconv.FormatInt(inc.Repo.ID, 10))
			v.Del("before")
		})})
	}
	if f.RepoID != 0 && p.Repo == "" {
		p.Repo = "repository " + strconv.FormatInt(f.RepoID, 10)
	}
	if p.Summary, err = c.summary(ctx, f.RepoID); err != nil {
		return view{}, err
	}
	if r.Header.Get("HX-Request") == "true" {
		return view{"incidents", p}, nil
	}
	return view{"list.html", p}, nil
}

// summary says in one line whether anybody has to do anything.
func (c *console) summary(ctx context.Context, repoID int64) ([]tally, error) {
	count := func(state domain.IncidentState) (int, string, error) {
		items, err := c.Store.Incidents(ctx, Filter{State: string(state), RepoID: repoID, Limit: maxLimit})
		if len(items) == maxLimit {
			return maxLimit, fmt.Sprintf("%d or more", maxLimit), err
		}
		return len(items), strconv.Itoa(len(items)), err
	}
	var out []tally
	for _, s := range []struct {
		state     domain.IncidentState
		one, many string
		tone      tone
	}{
		{domain.IncidentHandedOff, "failure needs a person", "failures need a person", toneBad},
		{domain.IncidentOpen, "is open", "are open", toneWarn},
	} {
		n, shown, err := count(s.state)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue
		}
		text := s.many
		if n == 1 {
			text = s.one
		}
		if len(out) == 0 && s.state == domain.IncidentOpen {
			text = map[bool]string{true: "failure ", false: "failures "}[n == 1] + text
		}
		q := url.Values{"state": {string(s.state)}}
		if repoID != 0 {
			q.Set("repo", strconv.FormatInt(repoID, 10))
		}
		out = append(out, tally{shown, text, "/?" + q.Encode(), s.tone})
	}
	return out, nil
}

type incidentPage struct {
	layout
	incidentView
	Timeline []domain.AuditEntry
}

func (c *console) incident(ctx context.Context, r *http.Request) (view, error) {
	s, err := c.story(ctx, r.PathValue("id"))
	if err != nil {
		return view{}, err
	}
	v := c.incidentView(s.Incident, s.Repairs)
	return view{"incident.html", incidentPage{c.layout(v.Cause), v, s.Timeline}}, nil
}

// incidentView renders an incident and its own repairs.
func (c *console) incidentView(inc domain.Incident, repairs []domain.Repair) incidentView {
	v := incidentView{Incident: inc, Cause: causeOf(inc.Finding), Age: ago(c.Now().Sub(inc.OpenedAt)), Where: inc.Job.HTMLURL}
	if v.Where == "" || (inc.Finding.Job != "" && inc.Finding.Job != inc.Job.Name) {
		v.Where = inc.Run.HTMLURL
	} else if inc.Finding.StepNumber > 0 {
		v.Where += fmt.Sprintf("#step:%d:%d", inc.Finding.StepNumber, max(1, inc.Finding.StepLine))
	}
	for _, name := range slices.Sorted(maps.Keys(inc.Finding.Facts)) {
		if value := inc.Finding.Facts[name]; value != "" {
			v.Facts = append(v.Facts, factOf(name, value))
		}
	}
	for _, r := range repairs {
		v.Repairs = append(v.Repairs, repairOf(r, inc.OpenedAt))
	}
	if n := len(v.Repairs); n > 0 {
		v.Latest = &v.Repairs[n-1]
	}
	v.Status, v.Tone = incidentStatus(inc, v.Latest)
	v.Track = track(inc, v.Latest, rejected(repairs))
	for i := range v.Track {
		if v.Track[i].State == "todo" {
			v.Track[i].URL = ""
		}
	}
	if inc.State == domain.IncidentResolved && !inc.ClosedAt.IsZero() {
		v.Duration = span(inc.ClosedAt.Sub(inc.OpenedAt))
	}
	return v
}

func causeOf(f domain.Finding) string {
	switch {
	case f.Category == domain.Unknown || f.Category == "":
		return "Unknown cause"
	case f.Title != "":
		return f.Title
	default:
		return f.Category
	}
}

// factOf gives bytes a unit.
func factOf(name, value string) fact {
	short, ok := strings.CutSuffix(name, "_bytes")
	n, err := strconv.ParseInt(value, 10, 64)
	if !ok || err != nil || n < 1024 {
		return fact{words(name), value}
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB"} {
		if v /= 1024; v < 1024 {
			break
		}
	}
	return fact{words(short), fmt.Sprintf("%.2f %s", v, unit)}
}

// incidentStatus says where an incident stands, the latest repair included.
func incidentStatus(inc domain.Incident, latest *repairView) (string, tone) {
	switch {
	case inc.State == domain.IncidentResolved:
		return "Resolved", toneGood
	case latest != nil && slices.Contains([]domain.RepairState{domain.RepairProposed, domain.RepairVerified, domain.RepairLanded}, latest.State):
		return latest.Status, latest.Tone
	case inc.State == domain.IncidentHandedOff:
		return "Needs a person", toneBad
	case latest == nil:
		return "Diagnosed", toneWarn
	default:
		return latest.Status, latest.Tone
	}
}

func repairOf(r domain.Repair, opened time.Time) repairView {
	v := repairView{Repair: r, Rerun: r.Plan.Action == domain.ActionRerun}
	v.Status, v.Tone = repairStatus(r.State, v.Rerun)
	for _, m := range []struct {
		what string
		at   time.Time
	}{{"proposed", r.ProposedAt}, {"judged", r.JudgedAt}, {"ended", r.EndedAt}} {
		if !m.at.IsZero() {
			v.Moved = append(v.Moved, moment{m.what, span(m.at.Sub(opened))})
		}
	}
	for _, e := range r.Plan.Edits {
		v.Diffs = append(v.Diffs, diffOf(e))
	}
	return v
}

func repairStatus(s domain.RepairState, rerun bool) (string, tone) {
	switch s {
	case domain.RepairIntended:
		return "Preparing", toneInfo
	case domain.RepairRefused:
		return "Not repaired", toneWarn
	case domain.RepairProposed:
		if rerun {
			return "Running again", toneInfo
		}
		return "Fix proposed", toneInfo
	case domain.RepairVerified:
		if rerun {
			return "Rerun is green", toneGood
		}
		return "Fix verified", toneGood
	case domain.RepairRejected:
		if rerun {
			return "Rerun is red", toneWarn
		}
		return "Fix did not work", toneWarn
	case domain.RepairUnverifiable:
		return "Could not be verified", toneWarn
	case domain.RepairLanded:
		return "Fix merged", toneGood
	case domain.RepairClosed:
		return "Fix closed", toneWarn
	case domain.RepairRegressed:
		return "Came back", toneBad
	default:
		return words(string(s)), toneWarn
	}
}

// rejected counts the repairs that did not work.
func rejected(repairs []domain.Repair) (n int) {
	for _, r := range repairs {
		if r.State == domain.RepairRejected {
			n++
		}
	}
	return n
}

// track is the way from red to green with the time that each station took.
// tried is how many repairs were rejected.
func track(inc domain.Incident, rep *repairView, tried int) []step {
	since := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return "+" + span(t.Sub(inc.OpenedAt))
	}
	steps := []step{{Name: "Red", When: clock(inc.OpenedAt), State: "done", URL: inc.Run.HTMLURL}}
	known := step{Name: "Cause found", State: "done"}
	if inc.Finding.Category == domain.Unknown || inc.Finding.Category == "" {
		known = step{Name: "Cause unknown", State: "failed"}
	}
	steps = append(steps, known)
	green := step{Name: "Green again", State: "todo"}
	if inc.State == domain.IncidentResolved {
		green.State, green.When = "done", since(inc.ClosedAt)
	}

	if rep == nil {
		if inc.State == domain.IncidentOpen {
			steps = append(steps, step{Name: "Looking for a repair", State: "now"})
		}
		return append(steps, green)
	}
	proposed := step{Name: "Fix proposed", When: since(rep.ProposedAt), State: "done", URL: rep.PullURL}
	if rep.PullNumber > 0 {
		proposed.Name = fmt.Sprintf("Fix #%d proposed", rep.PullNumber)
	}
	judged := step{Name: "Verified", When: since(rep.JudgedAt), State: "todo"}
	if n := len(rep.Proofs); n > 0 {
		judged.URL = rep.Proofs[n-1].HTMLURL
	}
	merged := step{Name: "Merged", When: since(rep.EndedAt), State: "todo", URL: rep.PullURL}
	if rep.Rerun {
		proposed.Name = "Run again"
	}
	switch rep.State {
	case domain.RepairRefused:
		if tried > 0 {
			name := "1 attempt failed"
			if tried > 1 {
				name = fmt.Sprintf("%d attempts failed", tried)
			}
			steps = append(steps, step{Name: name, State: "failed"})
		}
		last := step{Name: "Not repaired", State: "failed"}
		if inc.State == domain.IncidentHandedOff {
			last = step{Name: "Needs a person", State: "now"}
		}
		return append(steps, last, green)
	case domain.RepairIntended:
		proposed.Name, proposed.State = "Preparing a repair", "now"
	case domain.RepairProposed:
		judged.Name, judged.State = "Being verified", "now"
	case domain.RepairVerified:
		judged.State = "done"
		if !rep.Rerun && green.State == "todo" {
			merged.Name, merged.State = "Waits for review", "now"
		}
	case domain.RepairRejected:
		judged.Name, judged.State = "Still red", "failed"
		if inc.State == domain.IncidentHandedOff {
			return append(steps, proposed, judged, step{Name: "Needs a person", State: "now"}, green)
		}
	case domain.RepairUnverifiable:
		judged.Name, judged.State = "No run judged it", "failed"
	case domain.RepairLanded:
		merged.State = "done"
		if rep.JudgedAt.IsZero() {
			judged.Name = "Not verified"
		} else {
			judged.State = "done"
		}
		if green.State == "todo" {
			green.State = "now"
		}
	case domain.RepairClosed:
		merged.Name, merged.State = "Closed", "failed"
	case domain.RepairRegressed:
		judged.State, merged.State, merged.When = "done", "done", ""
		steps = append(steps, proposed, judged, merged)
		return append(steps, step{Name: "Came back", When: since(rep.EndedAt), State: "failed"})
	}
	steps = append(steps, proposed, judged)
	if !rep.Rerun && merged.State != "todo" || (rep.State == domain.RepairProposed && !rep.Rerun) {
		steps = append(steps, merged)
	}
	return append(steps, green)
}

// Bounds of what a page shows of one edit.
const (
	maxSplices = 20
	maxPiece   = 2000 // runes
	maxLines   = 40   // of a piece
)

// diffOf shows the bytes that an edit replaces; the lines around them are not
// stored.
func diffOf(e domain.Edit) diff {
	d := diff{Path: e.Path}
	for i, s := range e.Splices {
		if i == maxSplices {
			d.More = len(e.Splices) - maxSplices
			break
		}
		for _, part := range []struct{ sign, class, text string }{{"−", "del", s.Old}, {"+", "ins", s.New}} {
			if part.text == "" {
				continue
			}
			lines := strings.Split(strings.TrimSuffix(show(part.text, maxPiece), "\n"), "\n")
			for _, l := range lines[:min(len(lines), maxLines)] {
				d.Lines = append(d.Lines, diffLine{part.sign, part.class, l})
			}
			if len(lines) > maxLines {
				d.Lines = append(d.Lines, diffLine{"", part.class, "…"})
			}
		}
	}
	return d
}

// ansi matches terminal control sequences.
var ansi = regexp.MustCompile(`\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)|[@-Z\\^_])`)

// show makes a stranger's text safe to look at: colours go, and characters that
// can't be seen or that turn the reading direction are spelled out. It keeps
// lines and at most limit runes. Escaping for HTML is the template's.
func show(s string, limit int) string {
	if most := 8 * limit; len(s) > most {
		s = s[:most]
	}
	s = strings.ReplaceAll(ansi.ReplaceAllString(strings.ToValidUTF8(s, "\uFFFD"), ""), "\r\n", "\n")
	var b strings.Builder
	n := 0
	for _, r := range s {
		piece := string(r)
		switch {
		case r == '\n' || r == '\t':
		case unicode.In(r, unicode.Zl, unicode.Zp):
			piece = " "
		case unicode.IsControl(r):
			piece = fmt.Sprintf(`\x%02x`, r)
		case unicode.In(r, unicode.Cf, unicode.Co):
			piece = fmt.Sprintf(`\u%04x`, r)
		}
		if n += len([]rune(piece)); n > limit {
			return b.String() + "…"
		}
		b.WriteString(piece)
	}
	return b.String()
}

// oneLine is show without line breaks.
func oneLine(s string, limit int) string { return strings.Join(strings.Fields(show(s, limit)), " ") }

// web returns u where it is a web address, else "".
func web(u string) string {
	p, err := url.Parse(u)
	if err != nil || (p.Scheme != "https" && p.Scheme != "http") || p.Host == "" || p.User != nil {
		return ""
	}
	return p.String()
}

// own returns u where it is a web address of the server that repo's page is on,
// else "".
func own(repo, u string) string {
	p, err := url.Parse(web(u))
	r, rerr := url.Parse(web(repo))
	if err != nil || rerr != nil || p.Host == "" || p.Scheme != r.Scheme || p.Host != r.Host {
		return ""
	}
	return p.String()
}

// attempt is an attempt of a run with the address of its own page, "" where that
// isn't known.
type attempt struct {
	domain.AttemptRef
	URL string
}

func attemptOf(repo string, a domain.AttemptRef) attempt {
	u := own(repo, a.HTMLURL)
	if u != "" {
		u = fmt.Sprintf("%s/attempts/%d", strings.TrimSuffix(u, "/"), a.Attempt)
	}
	return attempt{a, u}
}

// short abbreviates a commit's SHA.
func short(sha string) string { return oneLine(sha[:min(len(sha), 7)], 7) }

// words makes an identifier readable.
func words(s string) string { return strings.NewReplacer("_", " ", "-", " ").Replace(s) }

func at(t time.Time) string     { return t.UTC().Format("2 Jan 2006, 15:04:05 UTC") }
func minute(t time.Time) string { return t.UTC().Format("2 Jan, 15:04 UTC") }
func stamp(t time.Time) string  { return t.UTC().Format(time.RFC3339) }
func clock(t time.Time) string  { return t.UTC().Format("15:04 UTC") }

func outcome(c domain.Conclusion) string {
	switch c {
	case domain.Success:
		return "green"
	case domain.Failure, domain.TimedOut, domain.StartupFailure:
		return "red"
	case "":
		return "running"
	default:
		return oneLine(words(string(c)), 40)
	}
}

func span(d time.Duration) string {
	d = max(0, d.Round(time.Second))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return strings.TrimSuffix(fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60), " 0 s")
	case d < 48*time.Hour:
		return strings.TrimSuffix(fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60), " 0 min")
	default:
		return fmt.Sprintf("%d days", int(d.Hours())/24)
	}
}

func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours())/24)
	}
}

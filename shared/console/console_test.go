package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func handler(t *testing.T, s Store, change func(*Deps)) http.Handler {
	t.Helper()
	d := Deps{Store: s, Version: "1.2.3", Now: func() time.Time { return now }}
	change(&d)
	h, err := New(d)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(t *testing.T, h http.Handler, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func plainDeps(*Deps) {}

func TestPages(t *testing.T) {
	t.Parallel()
	h := handler(t, sample(), plainDeps)
	tests := map[string]struct {
		path       string
		status     int
		has, hasnt []string
	}{
		"list": {"/", 200, []string{
			"1 failure needs a person", "3 are open", "GPU memory ran out", "Fix verified", "Waits for review", "Needs a person", "1 attempt failed",
			"CUDA out of memory", "Not done:</b> the log shows no cause", "hx-get", "acme/recsys",
			`href="https://github.com/acme/churn-model/pull/42"`, "mlops-bot 1.2.3", `<span class="mark">flaky</span>`,
		}, []string{"Older incidents", "<script>"}},
		"one state":       {"/?state=handed_off", 200, []string{"The loss is not a number"}, []string{"GPU memory ran out"}},
		"one repository":  {"/?repo=78", 200, []string{"A Python module", "acme/recsys", "1 failure is open", "show all repositories"}, []string{"GPU memory ran out"}},
		"nothing matches": {"/?repo=999", 200, []string{"Everything is green", "Nothing matches"}, []string{"<article"}},
		"first of pages":  {"/?limit=2", 200, []string{"A Python module", "GPU memory ran out", "Older incidents"}, []string{"The loss is not"}},
		"paused":          {"/?refresh=off", 200, []string{"Paused"}, []string{"hx-get"}},
		"bad state":       {"/?state=closed", 400, []string{"state must be one of"}, nil},
		"bad repository":  {"/?repo=acme", 400, []string{"numeric id"}, nil},
		"bad limit":       {"/?limit=100000", 400, []string{"1 to 100"}, nil},
		"bad cursor":      {"/?before=%3Cscript%3E", 400, []string{"before must be"}, []string{"<script>"}},
		"incident": {"/incidents/inc-4f1c2a9be070", 200, []string{
			"torch.cuda.OutOfMemoryError", "#step:5:640", "2.50 GiB", "batch_size: 64", "batch_size: 32", "Run</th>", "9002, attempt 1", "green",
			"pull_request.opened", "repair.verified", "Why this is right", "proposed after 15 s, judged after 4 min",
			"Why this is the cause:</b> it stands in the step that failed, &#34;Train&#34;", "What changed since it was green", "14 commits came since the last green run",
			`href="https://github.com/acme/churn-model/commit/5eedf00d12345678"`, ">5eedf00<", "Train on larger batches", `href="https://github.com/acme/churn-model/pull/40"`,
			"changes the setting <code>batch_size</code> in <code>conf/train.yaml</code>", "A commit whose files were not read", `href="https://github.com/acme/churn-model/actions/runs/8990"`,
		}, []string{"flaky"}},
		"flaky": {"/incidents/inc-9b0e55d1c4f8", 200, []string{
			"Nothing in the repository changed", "It comes and goes", "on 3 commits of 2 authors", `href="https://github.com/acme/churn-model/actions/runs/8980/attempts/2"`, "run 8709, attempt 1",
		}, []string{`class="suspects"`}},
		"nothing known":    {"/incidents/inc-c0ffee000001", 200, nil, []string{"What changed since", "It comes and goes", "Why this is the cause"}},
		"handed off":       {"/incidents/inc-77aa01be33c2", 200, []string{"Attempt 1", "Attempt 2", "Fix did not work", "no other strategy", "gradient norm", "is gone: expired"}, nil},
		"unknown incident": {"/incidents/inc-000000000000", 404, []string{"no such thing"}, nil},
		"hostile id":       {"/incidents/" + url.PathEscape("../<b>"), 404, nil, []string{"<b>"}},
		"another path":     {"/x", 404, nil, nil},
		"style":            {"/static/console.css", 200, []string{"prefers-color-scheme: dark"}, nil},
		"script":           {"/static/htmx.min.js", 200, []string{"htmx"}, nil},
		"licence":          {"/static/htmx-LICENSE", 200, []string{"Zero-Clause BSD"}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := get(t, h, tt.path)
			if w.Code != tt.status {
				t.Fatalf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			for _, s := range tt.has {
				if !strings.Contains(w.Body.String(), s) {
					t.Errorf("lacks %q", s)
				}
			}
			for _, s := range tt.hasnt {
				if strings.Contains(w.Body.String(), s) {
					t.Errorf("holds %q", s)
				}
			}
			if w.Header().Get("Content-Security-Policy") != csp || w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers %v", w.Header())
			}
		})
	}
}

// TestPagesObeyTheirPolicy: no inline code or style, and nothing from elsewhere
// is loaded.
func TestPagesObeyTheirPolicy(t *testing.T) {
	t.Parallel()
	h := handler(t, sample(), plainDeps)
	for _, path := range []string{"/", "/incidents/inc-4f1c2a9be070", "/incidents/nothing-here"} {
		body := get(t, h, path).Body.String()
		for _, bad := range []string{`\son[a-z]+=`, `\sstyle=`, `<style`, `<script>`, `javascript:`, `(src|action|hx-get)="(https?:)?//`, `<link[^>]*href="(https?:)?//`} {
			if m := regexp.MustCompile(bad).FindString(body); m != "" {
				t.Errorf("%s holds %s", path, m)
			}
		}
	}
}

func TestHTMXGetsTheListOnly(t *testing.T) {
	t.Parallel()
	body := get(t, handler(t, sample(), plainDeps), "/?state=open", "HX-Request", "true").Body.String()
	if !strings.HasPrefix(body, `<div id="incidents" hx-get="/?state=open"`) || strings.Contains(body, "<html") {
		t.Errorf("got %.200s", body)
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	h := handler(t, sample(), func(d *Deps) { d.Token = "s3cret" })
	basic := func(user, password string) string {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.SetBasicAuth(user, password)
		return r.Header.Get("Authorization")
	}
	for name, tt := range map[string]struct {
		header string
		status int
	}{
		"none": {"", 401}, "wrong": {"Bearer s3cre", 401}, "empty": {"Bearer ", 401}, "bearer": {"Bearer s3cret", 200},
		"password": {basic("anybody", "s3cret"), 200}, "as the user": {basic("s3cret", ""), 401}, "another scheme": {"Token s3cret", 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, path := range []string{"/", "/api/v1/incidents", "/static/console.css"} {
				if w := get(t, h, path, "Authorization", tt.header); w.Code != tt.status {
					t.Errorf("%s: status %d, want %d", path, w.Code, tt.status)
				}
			}
		})
	}
}

func TestOnlyReading(t *testing.T) {
	t.Parallel()
	h := handler(t, sample(), plainDeps)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/api/v1/incidents", nil))
		if w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s: status %d", method, w.Code)
		}
	}
}

func TestAPIPagesThroughEverything(t *testing.T) {
	t.Parallel()
	s := sample()
	// Two incidents of one moment must not be lost or doubled between pages.
	s.incidents = append(s.incidents, incident("inc-zzzz00000000", now.Add(-17*time.Minute), func(*domain.Incident) {}))
	h := handler(t, s, plainDeps)
	var ids []string
	path := "/api/v1/incidents?limit=2"
	for range 10 {
		w := get(t, h, path)
		var list struct {
			Incidents []struct {
				ID string `json:"id"`
			}
			Next string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
			t.Fatal(err)
		}
		for _, i := range list.Incidents {
			ids = append(ids, i.ID)
		}
		if list.Next == "" {
			break
		}
		path = "/api/v1/incidents?limit=2&before=" + url.QueryEscape(list.Next)
	}
	want := []string{"inc-1d0c93be71aa", "inc-zzzz00000000", "inc-4f1c2a9be070", "inc-77aa01be33c2", "inc-9b0e55d1c4f8", "inc-c0ffee000001", "inc-aaaa00000002"}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Error(diff)
	}
}

func TestAPI(t *testing.T) {
	t.Parallel()
	h := handler(t, sample(), plainDeps)
	empty := handler(t, &fakeStore{}, plainDeps)
	tests := map[string]struct {
		h      http.Handler
		path   string
		status int
		has    []string
	}{
		"index":            {h, "/api/v1", 200, []string{"/api/v1/incidents"}},
		"incidents":        {h, "/api/v1/incidents?state=open", 200, []string{`"category":"cuda-oom"`, `"text":"torch.cuda`, `"why":"it stands`, `"change":{"green":{"run_id":8990`, `"suspects":[{"sha":"5eedf00d12345678"`}},
		"no incidents":     {empty, "/api/v1/incidents", 200, []string{`{"incidents":[]}`}},
		"no repairs":       {empty, "/api/v1/repairs", 200, []string{`{"repairs":[]}`}},
		"repairs":          {h, "/api/v1/repairs?state=refused", 200, []string{`"code":"no-change"`, `"code":"no-strategy"`}},
		"incident":         {h, "/api/v1/incidents/inc-4f1c2a9be070", 200, []string{`"repairs":[{"id":"rep-19ad77e2c410"`, `"timeline":[{"at":"2026-11-22T02:14:00Z"`}},
		"bad state":        {h, "/api/v1/repairs?state=open", 400, []string{`"error":`}},
		"unknown incident": {h, "/api/v1/incidents/inc-000000000000", 404, []string{`"error":`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := get(t, tt.h, tt.path)
			if w.Code != tt.status || w.Header().Get("Content-Type") != "application/json" || !json.Valid(w.Body.Bytes()) {
				t.Fatalf("status %d, %s: %s", w.Code, w.Header().Get("Content-Type"), w.Body)
			}
			for _, s := range tt.has {
				if !strings.Contains(w.Body.String(), s) {
					t.Errorf("lacks %q: %s", s, w.Body)
				}
			}
		})
	}
}

func TestStoreErrorsShowNothing(t *testing.T) {
	t.Parallel()
	for kind, status := range map[domain.ErrKind]int{domain.Transient: 503, domain.Bug: 500} {
		s := sample()
		s.err = domain.Errorf(kind, "query", "postgres://bot:hunter2@db/bot is down")
		h := handler(t, s, plainDeps)
		for _, path := range []string{"/", "/incidents/inc-4f1c2a9be070", "/api/v1/incidents", "/api/v1/repairs"} {
			w := get(t, h, path)
			if w.Code != status || strings.Contains(w.Body.String(), "hunter2") {
				t.Errorf("%s: status %d, want %d: %s", path, w.Code, status, w.Body)
			}
		}
	}
}

// TestHostileText: whatever a stranger's log or branch holds, the page stays a
// page.
func TestHostileText(t *testing.T) {
	t.Parallel()
	for i, s := range []string{
		"</pre><script>alert(1)</script>", `" onmouseover="alert(1)`, "javascript:alert(1)", "{{.Version}}", "\x1b[31mred\x1b[0m\x00\x07", "rtl \u202egnp.exe \u2066 \u200b",
		"\xff\xfe", strings.Repeat("A", 1<<20), strings.Repeat("\n", 1<<16), "]]><!--",
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			inc := incident("inc-4f1c2a9be070", now, func(i *domain.Incident) {
				i.Branch, i.WorkflowPath, i.Repo.FullName, i.Repo.HTMLURL, i.Run.HTMLURL, i.Job.HTMLURL = s, s, s, s, s, s
				i.Finding = domain.Finding{Category: s, Rule: s + "x", Title: s, Job: s, Step: s, Text: s, Facts: map[string]string{s: s}, Why: s}
				i.Change = new(with(bigger(now), func(c *domain.Change) {
					c.Branch, c.GreenBranch, c.Green.HTMLURL, c.GreenSHA = s, s+"2", s, s
					for n := range c.Suspects {
						c.Suspects[n] = domain.Suspect{SHA: s, Author: s, Subject: s, HTMLURL: s, Pull: 1, Reasons: []domain.Reason{{Does: s, Name: s, In: s}, {Does: s, Name: s, In: s}}}
					}
				}))
				i.Flaky = new(with(comesAndGoes(now), func(f *domain.Flakiness) {
					for n := range f.Flips {
						ref := domain.AttemptRef{RunID: 1, Attempt: 1, HTMLURL: s}
						f.Flips[n] = domain.Flip{Commit: s, Branch: s, Event: s, Author: s, Job: s, Red: ref, Green: ref}
					}
				}))
				i.Secondary, i.Problems, i.Legs = []domain.Finding{i.Finding}, []string{s}, []string{s}
			})
			rep := repair("rep-19ad77e2c410", inc.ID, now, func(r *domain.Repair) {
				r.Plan.Title, r.Plan.Rationale, r.Plan.Strategy, r.Plan.Risk, r.PullURL, r.Branch, r.ApprovedBy = s, s, s, domain.Risk(s), s, s, s
				r.Plan.Edits = []domain.Edit{{Path: s}}
				for range 100 {
					r.Plan.Edits[0].Splices = append(r.Plan.Edits[0].Splices, domain.Splice{Old: s, New: s})
				}
				r.Proofs = []domain.Proof{{Job: s, Event: s, Conclusion: domain.Conclusion(s), HTMLURL: s}}
				r.Refusal = &domain.Refusal{Code: domain.RefusalCode(s), Reason: s}
			})
			store := &fakeStore{
				incidents: []domain.Incident{inc}, repairs: []domain.Repair{rep},
				audit: []domain.AuditEntry{{Object: inc.ID, Actor: s, Action: s, Why: s}},
			}
			h := handler(t, store, func(d *Deps) { d.Version = s })
			for _, path := range []string{"/", "/incidents/inc-4f1c2a9be070"} {
				w := get(t, h, path)
				body := w.Body.String()
				if w.Code != http.StatusOK || !strings.HasSuffix(strings.TrimSpace(body), "</html>") {
					t.Fatalf("%s: status %d, %d bytes", path, w.Code, len(body))
				}
				if len(body) > 400_000 || !utf8.ValidString(body) {
					t.Errorf("%s: %d bytes", path, len(body))
				}
				if m := regexp.MustCompile(`<script>|<script[^>]*alert|<[^>]* onmouseover=|href="javascript|<!--|[\x00\x07\x1b\x{202e}\x{2066}\x{200b}]`).FindString(body); m != "" {
					t.Errorf("%s: holds %q", path, m)
				}
			}
		})
	}
}

// TestOwn: what changed links to the incident's own GitHub and nowhere else.
func TestOwn(t *testing.T) {
	t.Parallel()
	const repo = "https://github.com/acme/churn-model"
	for u, want := range map[string]string{
		"https://github.com/acme/churn-model/commit/1": "https://github.com/acme/churn-model/commit/1",
		"http://github.com/acme/churn-model/commit/1":  "", "https://github.com.evil.example/x": "", "https://github.com:444/x": "", "https://a@github.com/x": "",
		"//github.com/x": "", "/x": "", "javascript:alert(1)": "", "": "", "https://github.com/%zz": "",
	} {
		if got := own(repo, u); got != want {
			t.Errorf("%q becomes %q, want %q", u, got, want)
		}
	}
	if got := own("", ""); got != "" {
		t.Errorf("nothing becomes %q", got)
	}
	if got := own("acme/churn-model", "https://github.com/x"); got != "" {
		t.Errorf("an address of a repository without one becomes %q", got)
	}
}

func TestTrack(t *testing.T) {
	t.Parallel()
	said := func(steps []step) string {
		var out []string
		for _, s := range steps {
			out = append(out, s.Name+":"+s.State)
		}
		return strings.Join(out, " > ")
	}
	of := func(s domain.RepairState, change func(*domain.Repair)) []domain.Repair {
		return []domain.Repair{with(repair("rep-1", "inc-1", now, change), func(r *domain.Repair) { r.State = s })}
	}
	judged := func(r *domain.Repair) { r.JudgedAt = now.Add(time.Minute) }
	rerun := func(r *domain.Repair) {
		r.Plan.Action, r.PullNumber, r.JudgedAt = domain.ActionRerun, 0, now.Add(time.Minute)
	}
	none := func(*domain.Repair) {}
	tests := map[string]struct {
		state   domain.IncidentState
		repairs []domain.Repair
		want    string
	}{
		"no repair":          {domain.IncidentOpen, nil, "Red:done > Cause found:done > Looking for a repair:now > Green again:todo"},
		"green by itself":    {domain.IncidentResolved, nil, "Red:done > Cause found:done > Green again:done"},
		"intended":           {domain.IncidentOpen, of(domain.RepairIntended, none), "Red:done > Cause found:done > Preparing a repair:now > Verified:todo > Green again:todo"},
		"proposed":           {domain.IncidentOpen, of(domain.RepairProposed, none), "Red:done > Cause found:done > Fix #42 proposed:done > Being verified:now > Merged:todo > Green again:todo"},
		"verified":           {domain.IncidentOpen, of(domain.RepairVerified, judged), "Red:done > Cause found:done > Fix #42 proposed:done > Verified:done > Waits for review:now > Green again:todo"},
		"verified rerun":     {domain.IncidentResolved, of(domain.RepairVerified, rerun), "Red:done > Cause found:done > Run again:done > Verified:done > Green again:done"},
		"rejected":           {domain.IncidentOpen, of(domain.RepairRejected, judged), "Red:done > Cause found:done > Fix #42 proposed:done > Still red:failed > Green again:todo"},
		"rejected, last":     {domain.IncidentHandedOff, of(domain.RepairRejected, judged), "Red:done > Cause found:done > Fix #42 proposed:done > Still red:failed > Needs a person:now > Green again:todo"},
		"unverifiable":       {domain.IncidentOpen, of(domain.RepairUnverifiable, judged), "Red:done > Cause found:done > Fix #42 proposed:done > No run judged it:failed > Green again:todo"},
		"landed":             {domain.IncidentOpen, of(domain.RepairLanded, judged), "Red:done > Cause found:done > Fix #42 proposed:done > Verified:done > Merged:done > Green again:now"},
		"landed, unverified": {domain.IncidentResolved, of(domain.RepairLanded, none), "Red:done > Cause found:done > Fix #42 proposed:done > Not verified:todo > Merged:done > Green again:done"},
		"closed":             {domain.IncidentOpen, of(domain.RepairClosed, none), "Red:done > Cause found:done > Fix #42 proposed:done > Verified:todo > Closed:failed > Green again:todo"},
		"regressed":          {domain.IncidentResolved, of(domain.RepairRegressed, judged), "Red:done > Cause found:done > Fix #42 proposed:done > Verified:done > Merged:done > Came back:failed"},
		"refused":            {domain.IncidentOpen, of(domain.RepairRefused, none), "Red:done > Cause found:done > Not repaired:failed > Green again:todo"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &console{Deps: Deps{Now: func() time.Time { return now }}}
			v := c.incidentView(incident("inc-1", now, func(i *domain.Incident) { i.State = tt.state }), tt.repairs)
			if diff := cmp.Diff(tt.want, said(v.Track)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAChainedIncidentShowsItsOwnRepairs(t *testing.T) {
	t.Parallel()
	s := sample()
	s.incidents = append(s.incidents, incident("inc-cccc00000001", now, func(i *domain.Incident) { i.ParentID, i.RepairID = "inc-4f1c2a9be070", "rep-19ad77e2c410" }))
	s.repairs = append(s.repairs, repair("rep-cccc00000001", "inc-cccc00000001", now, func(r *domain.Repair) { r.Root, r.Attempt, r.PullNumber = "inc-4f1c2a9be070", 2, 43 }))
	body := get(t, handler(t, s, plainDeps), "/incidents/inc-cccc00000001").Body.String()
	if !strings.Contains(body, "Attempt 2") || strings.Contains(body, "Attempt 1") || !strings.Contains(body, `href="/incidents/inc-4f1c2a9be070"`) {
		t.Error("the page shows another incident's repairs, or not its own")
	}
}

func FuzzShow(f *testing.F) {
	f.Add("plain")
	f.Add("\x1b[31mred\x1b[0m \u202e\x00\xff\r\n\ttab")
	f.Fuzz(func(t *testing.T, s string) {
		got := show(s, 100)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > 101 {
			t.Fatalf("%q", got)
		}
		if strings.ContainsAny(got, "\x00\x1b\r\u009b\u202e\u2066\u200b\ufeff") {
			t.Fatalf("leaves something invisible: %q", got)
		}
		if strings.ContainsAny(oneLine(s, 100), "\n\t") {
			t.Fatalf("not one line: %q", oneLine(s, 100))
		}
	})
}

package console

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Page sizes.
const (
	defaultLimit = 20
	maxLimit     = 100
	maxAudit     = 100 // entries per object
)

// index is what /api/v1 answers.
var index = map[string]string{
	"incidents": "/api/v1/incidents?state=open|resolved|handed_off&repo=ID&limit=20&before=CURSOR",
	"incident":  "/api/v1/incidents/ID",
	"repairs":   "/api/v1/repairs?state=" + strings.Join(repairStates, "|") + "&repo=ID&limit=20&before=CURSOR",
}

var (
	incidentStates = []string{string(domain.IncidentOpen), string(domain.IncidentHandedOff), string(domain.IncidentResolved)}
	repairStates   = []string{
		string(domain.RepairIntended), string(domain.RepairRefused), string(domain.RepairProposed), string(domain.RepairVerified), string(domain.RepairRejected),
		string(domain.RepairUnverifiable), string(domain.RepairLanded), string(domain.RepairClosed), string(domain.RepairRegressed),
	}
	idForm     = regexp.MustCompile(`^[a-z]{1,8}-[0-9A-Za-z_-]{1,64}$`)
	cursorForm = regexp.MustCompile(`^([0-9]{1,18})\.([a-z]{1,8}-[0-9A-Za-z_-]{1,64})$`)
)

// parseFilter reads a list's parameters.
func parseFilter(q url.Values, states []string) (Filter, error) {
	const op = "read the query"
	f := Filter{State: q.Get("state"), Limit: defaultLimit}
	if f.State != "" && !slices.Contains(states, f.State) {
		return f, domain.Errorf(domain.Invalid, op, "state must be one of %s", strings.Join(states, ", "))
	}
	if s := q.Get("repo"); s != "" {
		id, err := strconv.ParseInt(s, 10, 64)
		if err != nil || id <= 0 {
			return f, domain.Errorf(domain.Invalid, op, "repo must be a repository's numeric id")
		}
		f.RepoID = id
	}
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxLimit {
			return f, domain.Errorf(domain.Invalid, op, "limit must be 1 to %d", maxLimit)
		}
		f.Limit = n
	}
	if s := q.Get("before"); s != "" {
		m := cursorForm.FindStringSubmatch(s)
		if m == nil {
			return f, domain.Errorf(domain.Invalid, op, "before must be the next of another page")
		}
		us, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			return f, domain.Errorf(domain.Invalid, op, "before must be the next of another page")
		}
		f.Before, f.BeforeID = time.UnixMicro(us).UTC(), m[2]
	}
	return f, nil
}

// readPage reads one item more than asked for, to know whether there is another
// page, and returns that page's cursor.
func readPage[T any](ctx context.Context, list func(context.Context, Filter) ([]T, error), f Filter, key func(T) (time.Time, string)) ([]T, string, error) {
	want := f.Limit
	f.Limit++
	items, err := list(ctx, f)
	if err != nil || len(items) <= want {
		return items, "", err
	}
	items = items[:want]
	t, id := key(items[want-1])
	return items, strconv.FormatInt(t.UnixMicro(), 10) + "." + id, nil
}

func incidentKey(i domain.Incident) (time.Time, string) { return i.OpenedAt, i.ID }
func repairKey(r domain.Repair) (time.Time, string)     { return r.CreatedAt, r.ID }

// api answers with JSON.
func (c *console) api(read func(context.Context, *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
		defer cancel()
		status := http.StatusOK
		v, err := read(ctx, r)
		if err != nil {
			var text string
			status, text = c.failed(r, err)
			v = map[string]string{"error": text}
		}
		b, err := json.Marshal(v)
		if err != nil {
			c.Log.ErrorContext(ctx, "cannot encode the answer", "path", r.URL.Path, "error", err.Error())
			status, b = http.StatusInternalServerError, []byte(`{"error":"the answer can't be encoded"}`)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(append(b, '\n')) // the client is gone: nobody is left to tell
	}
}

type incidentList struct {
	Incidents []domain.Incident `json:"incidents"`
	Next      string            `json:"next,omitempty"`
}

func (c *console) apiIncidents(ctx context.Context, r *http.Request) (any, error) {
	f, err := parseFilter(r.URL.Query(), incidentStates)
	if err != nil {
		return nil, err
	}
	items, next, err := readPage(ctx, c.Store.Incidents, f, incidentKey)
	return incidentList{orEmpty(items), next}, err
}

type repairList struct {
	Repairs []domain.Repair `json:"repairs"`
	Next    string          `json:"next,omitempty"`
}

func (c *console) apiRepairs(ctx context.Context, r *http.Request) (any, error) {
	f, err := parseFilter(r.URL.Query(), repairStates)
	if err != nil {
		return nil, err
	}
	items, next, err := readPage(ctx, c.Store.Repairs, f, repairKey)
	return repairList{orEmpty(items), next}, err
}

// story is all that is known of an incident.
type story struct {
	Incident domain.Incident     `json:"incident"`
	Repairs  []domain.Repair     `json:"repairs"`
	Timeline []domain.AuditEntry `json:"timeline"`
}

func (c *console) apiIncident(ctx context.Context, r *http.Request) (any, error) {
	return c.story(ctx, r.PathValue("id"))
}

func (c *console) story(ctx context.Context, id string) (story, error) {
	if !idForm.MatchString(id) {
		return story{}, domain.Errorf(domain.Invalid, "read the incident", "%w", domain.ErrNotFound)
	}
	inc, err := c.Store.Incident(ctx, id)
	if err != nil {
		return story{}, err
	}
	repairs, err := c.repairsOf(ctx, inc)
	if err != nil {
		return story{}, err
	}
	s := story{Incident: inc, Repairs: orEmpty(repairs), Timeline: []domain.AuditEntry{}}
	objects := []string{inc.ID}
	for _, rep := range repairs {
		objects = append(objects, rep.ID)
	}
	for _, o := range objects {
		entries, err := c.Store.Audit(ctx, o, maxAudit)
		if err != nil {
			return story{}, err
		}
		s.Timeline = append(s.Timeline, entries...)
	}
	slices.SortStableFunc(s.Timeline, func(a, b domain.AuditEntry) int { return a.At.Compare(b.At) })
	return s, nil
}

// repairsOf returns the repairs of an incident itself, by attempt; those of its
// chain's other incidents stand with them.
func (c *console) repairsOf(ctx context.Context, inc domain.Incident) ([]domain.Repair, error) {
	root := inc.ID
	if inc.RepairID != "" {
		parent, err := c.Store.Repair(ctx, inc.RepairID)
		if err != nil {
			return nil, err
		}
		root = parent.Root
	}
	chain, err := c.Store.RepairsOfRoot(ctx, root)
	return slices.DeleteFunc(slices.Clone(chain), func(r domain.Repair) bool { return r.IncidentID != inc.ID }), err
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// Package alerts_test holds the chart's alerts and dashboard to what there is:
// each alert fires and doesn't fire where rules_test.yaml says (promtool), has a
// page in docs/runbooks, and every metric that is asked for exists.
package alerts_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const root = "../.."

// foreign are the metrics that others serve, and who.
var foreign = map[string]string{
	"kube_pod_container_status_restarts_total": "kube-state-metrics",
	"kube_pod_container_resource_limits":       "kube-state-metrics",
	"kube_deployment_status_replicas_ready":    "kube-state-metrics",
	"kube_deployment_spec_replicas":            "kube-state-metrics",
	"kube_cronjob_status_last_successful_time": "kube-state-metrics",
	"kube_cronjob_created":                     "kube-state-metrics",
	"container_memory_working_set_bytes":       "the kubelet's cAdvisor",
	"container_cpu_usage_seconds_total":        "the kubelet's cAdvisor",
	"kubelet_volume_stats_used_bytes":          "the kubelet",
	"kubelet_volume_stats_capacity_bytes":      "the kubelet",
	"redis_up":                                 "redis_exporter",
	"redis_memory_used_bytes":                  "redis_exporter",
	"redis_memory_max_bytes":                   "redis_exporter",
	"redis_keyspace_hits_total":                "redis_exporter",
	"redis_keyspace_misses_total":              "redis_exporter",
}

// filled are the chart's files as its template fills them in.
func filled(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	s := strings.NewReplacer("@NAMESPACE@", "bot", "@FULLNAME@", "mlops-bot", "@RUNBOOKS@", "https://runbooks.example", "@BACKUP_HOURS@", "26").Replace(string(b))
	if left := regexp.MustCompile(`@[A-Z_]+@`).FindString(s); left != "" {
		t.Fatalf("%s: the chart's template knows no %s", name, left)
	}
	return []byte(s)
}

type rule struct {
	Alert       string
	Expr        string
	Labels      map[string]string
	Annotations map[string]string
}

func alerts(t *testing.T) map[string]rule {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal(filled(t, "charts/mlops-bot/files/alerts.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	found := map[string]rule{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if _, twice := found[r.Alert]; twice || r.Alert == "" {
				t.Errorf("the alert %q is there twice, or has no name", r.Alert)
			}
			found[r.Alert] = r
		}
	}
	if len(found) < 8 {
		t.Fatalf("found %d alerts", len(found))
	}
	return found
}

func TestAlertsFireWhenTheyShould(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if testing.Short() {
			t.Skip(err)
		}
		t.Fatalf("%v (`make test-deps` installs it)", err)
	}
	dir := t.TempDir()
	for to, from := range map[string]string{"alerts.yaml": "charts/mlops-bot/files/alerts.yaml", "rules_test.yaml": "test/alerts/rules_test.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, to), filled(t, from), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "rules_test.yaml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

func TestEachAlertIsTestedBothWays(t *testing.T) {
	t.Parallel()
	var file struct {
		Tests []struct {
			AlertRuleTest []struct {
				Alertname string
				ExpAlerts []any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal(filled(t, "test/alerts/rules_test.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, r := range test.AlertRuleTest {
			if len(r.ExpAlerts) > 0 {
				fires[r.Alertname] = true
			} else {
				silent[r.Alertname] = true
			}
		}
	}
	known := alerts(t)
	for name := range known {
		if !fires[name] || !silent[name] {
			t.Errorf("%s: a test that it fires: %t, that it doesn't: %t", name, fires[name], silent[name])
		}
	}
	for name := range fires {
		if _, ok := known[name]; !ok {
			t.Errorf("there is no alert %s any more", name)
		}
	}
}

var codeBlock = regexp.MustCompile("(?s)```.*?```")

func TestEachAlertHasARunbook(t *testing.T) {
	t.Parallel()
	pages := map[string]bool{}
	names, err := filepath.Glob(filepath.Join(root, "docs/runbooks/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if page := strings.TrimSuffix(filepath.Base(name), ".md"); page != "README" {
			pages[page] = true
		}
	}
	for name, r := range alerts(t) {
		if want := "https://runbooks.example/" + name + ".md"; r.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url %q, want %q", name, r.Annotations["runbook_url"], want)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || (r.Labels["severity"] != "critical" && r.Labels["severity"] != "warning") {
			t.Errorf("%s lacks a summary, a description or a severity", name)
		}
		page, err := os.ReadFile(filepath.Join(root, "docs/runbooks", name+".md"))
		if err != nil {
			t.Error(err)
			continue
		}
		delete(pages, name)
		var headings []string
		for line := range strings.Lines(codeBlock.ReplaceAllString(string(page), "")) {
			if h, ok := strings.CutPrefix(line, "#"); ok {
				headings = append(headings, strings.TrimSpace(strings.TrimLeft(h, "#")))
			}
		}
		if diff := cmp.Diff([]string{name, "Meaning", "Impact", "Diagnosis", "Remedy"}, headings); diff != "" {
			t.Errorf("docs/runbooks/%s.md (-want +got):\n%s", name, diff)
		}
	}
	for page := range pages {
		t.Errorf("docs/runbooks/%s.md is of no alert", page)
	}
}

// The images have no shell, so a diagnosis that asks for one can't be followed.
func TestRunbooksNeedNoShellInTheImages(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob(filepath.Join(root, "docs/runbooks/*.md"))
	if err != nil || len(names) < 8 {
		t.Fatalf("%d pages: %v", len(names), err)
	}
	exec := regexp.MustCompile(`kubectl [^\n]*\bexec\b[^\n]*`)
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range exec.FindAllString(string(b), -1) {
			if !strings.Contains(line, " postgres-0 ") && !strings.Contains(line, " redis-0 ") {
				t.Errorf("%s: %s", filepath.Base(name), line)
			}
		}
	}
}

// botMetrics are the names that the bot's code counts under.
func botMetrics(t *testing.T) map[string]bool {
	t.Helper()
	name := regexp.MustCompile(`^bot_[a-z_]+$`)
	found := map[string]bool{}
	for _, dir := range []string{"shared", "functions"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if s, err := strconv.Unquote(lit.Value); err == nil && name.MatchString(s) {
						found[s] = true
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(found) < 8 {
		t.Fatalf("found %v", found)
	}
	return found
}

var (
	promText  = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'`)
	promComm  = regexp.MustCompile(`#[^\n]*`)
	promBrace = regexp.MustCompile(`\{[^{}]*\}|\[[^\[\]]*\]`)
	promBy    = regexp.MustCompile(`\b(by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)`)
	promName  = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*(\s*\()?`)
	promWord  = map[string]bool{"and": true, "or": true, "unless": true, "by": true, "on": true, "group_left": true, "group_right": true, "bool": true, "offset": true}
)

// metrics are the names of a PromQL expression that are neither labels,
// functions nor words of the language.
func metrics(expr string) []string {
	for _, r := range []*regexp.Regexp{promText, promComm, promBrace, promBy} {
		expr = r.ReplaceAllString(expr, " ")
	}
	var names []string
	for _, n := range promName.FindAllString(expr, -1) {
		if !strings.HasSuffix(n, "(") && !promWord[n] && !regexp.MustCompile(`^(e|E|Inf|NaN|inf|nan)$`).MatchString(n) {
			names = append(names, n)
		}
	}
	return names
}

func TestMetricsAreFoundInExpressions(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		expr string
		want []string
	}{
		"a rate":       {`sum by (le, a) (rate(bot_a_bucket{b="c_d"}[5m])) > 30`, []string{"bot_a_bucket"}},
		"two with on":  {"max by (x) (a_b) / on (x) group_left max(c_d{e=\"f\"}) # g", []string{"a_b", "c_d"}},
		"words":        {`a or vector(0) unless b`, []string{"a", "b"}},
		"a typo stays": {`sum(rate(bot_eror_total[5m]))`, []string{"bot_eror_total"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, metrics(tt.expr)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryMetricExists(t *testing.T) {
	t.Parallel()
	ours := botMetrics(t)
	used := map[string]bool{}
	exists := func(where, expr string) {
		names := metrics(expr)
		if len(names) == 0 {
			t.Errorf("%s asks for no metric: %s", where, expr)
		}
		for _, n := range names {
			used[n] = true
			if base := strings.TrimSuffix(n, "_bucket"); !ours[base] && foreign[n] == "" {
				t.Errorf("%s asks for %s, which nobody serves", where, n)
			}
		}
	}
	for name, r := range alerts(t) {
		exists(name, r.Expr)
	}
	var board struct{ Panels []panel }
	if err := json.Unmarshal(filled(t, "charts/mlops-bot/files/dashboard.json"), &board); err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			exists(p.Title, target.Expr)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(foreign)) {
		if !used[n] {
			t.Errorf("%s of %s is asked for by nobody: take it off the list", n, foreign[n])
		}
	}
}

type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct{ Expr, RefID string }
}

func TestDashboardIsWhole(t *testing.T) {
	t.Parallel()
	var board struct {
		UID, Title string
		Panels     []panel
	}
	if err := json.Unmarshal(filled(t, "charts/mlops-bot/files/dashboard.json"), &board); err != nil {
		t.Fatal(err)
	}
	if board.UID == "" || board.Title == "" || len(board.Panels) < 10 {
		t.Fatalf("%q %q with %d panels", board.UID, board.Title, len(board.Panels))
	}
	ids := map[int]bool{}
	taken := map[[2]int]string{}
	for _, p := range board.Panels {
		if p.Title == "" || ids[p.ID] || (p.Type != "row" && len(p.Targets) == 0) {
			t.Errorf("%q (%d) has no title, no query or another's id", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q lies over %q, or outside", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// writePage makes docs/benchmarks.md from a report.
func writePage(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("read the report %s: %w", from, err)
	}
	return os.WriteFile(to, []byte(page(r)), 0o644) //nolint:gosec // a page is for everybody
}

// page renders a report as Markdown.
func page(r report) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<!-- Made by `+"`go run ./test/cluster -page docs/benchmarks.md`"+` from docs/benchmarks.json, which `+"`make e2e`"+` writes. Don't edit. -->

# The bot on a cluster, measured

`+"`make e2e`"+` installs the chart on a real Knative cluster, plays GitHub beside it with the stand-in (which enforces GitHub's
secondary limits and really runs the repositories' workflows), and shows what follows. Counts are the database's and the
stand-in's, not the logs'. How to run it: [operations.md](operations.md#proving-it-on-a-cluster-of-your-own).

Commit %s, %s, %.0f s in all.

`, r.Commit, r.At.UTC().Format("2006-01-02 15:04 UTC"), r.Took)
	table(&b, "Versions and node", r.Versions, r.Node)
	table(&b, "Images", r.Images)
	b.WriteString("## Scenarios\n\n| scenario | shows | result | seconds |\n| --- | --- | --- | --- |\n")
	for _, s := range r.Scenarios {
		verdict := "passed"
		if !s.Passed {
			verdict = "**failed**: " + cell(s.Problem)
		}
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %.0f |\n", s.Name, s.Name, cell(s.Shows), verdict, s.Took)
	}
	for _, s := range r.Scenarios {
		fmt.Fprintf(&b, "\n### %s\n\n%s.\n\n", s.Name, s.Shows)
		if len(s.Counts)+len(s.Seconds) > 0 {
			b.WriteString("| measured | |\n| --- | --- |\n")
		}
		for _, k := range slices.Sorted(maps.Keys(s.Counts)) {
			fmt.Fprintf(&b, "| %s | %d |\n", cell(k), s.Counts[k])
		}
		for _, k := range slices.Sorted(maps.Keys(s.Seconds)) {
			fmt.Fprintf(&b, "| %s | %.3g s |\n", cell(k), s.Seconds[k])
		}
		for _, n := range s.Notes {
			fmt.Fprintf(&b, "\n%s\n", n)
		}
	}
	return b.String()
}

func table(b *strings.Builder, title string, maps ...map[string]string) {
	fmt.Fprintf(b, "## %s\n\n| | |\n| --- | --- |\n", title)
	for _, m := range maps {
		keys := make([]string, 0, len(m))
		for k := range m {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			fmt.Fprintf(b, "| %s | %s |\n", cell(k), cell(m[k]))
		}
	}
	b.WriteString("\n")
}

func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s)
}

package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mlops-bot/mlops-bot/functions/detect"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// lineTolerance is how far from an accepted line a finding may point.
const lineTolerance = 3

// labelled is one log of logs.tsv or issues.tsv and its accepted readings:
// category to lines, the first one being the label itself.
type labelled struct {
	path     string
	category string
	readings map[string][]int
}

// verdict is what became of one log.
type verdict struct {
	log     labelled
	got     domain.Finding
	right   bool
	line    bool
	unknown bool
	took    time.Duration
}

// diagnoses measures the diagnosis of every labelled log: a table per category
// for each of the two sources, confusion pairs and totals.
func diagnoses(verbose bool) func(context.Context, string, io.Writer) error {
	return func(ctx context.Context, dataDir string, out io.Writer) error {
		for _, src := range []struct{ table, dir, column string }{
			{"logs.tsv", "", "path"},
			{"issues.tsv", "issues", "file"},
		} {
			logs, err := readLabels(filepath.Join(dataDir, src.table), src.column)
			if err != nil {
				return err
			}
			var verdicts []verdict
			for _, l := range logs {
				v, err := judge(ctx, filepath.Join(dataDir, src.dir, l.path), l)
				if err != nil {
					return err
				}
				verdicts = append(verdicts, v)
			}
			if err := report(out, src.table, verdicts, verbose); err != nil {
				return err
			}
		}
		return nil
	}
}

func readLabels(file, pathColumn string) ([]labelled, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("open the labels: %w", err)
	}
	defer f.Close()
	r := csv.NewReader(bufio.NewReader(f))
	r.Comma, r.LazyQuotes, r.FieldsPerRecord = '\t', true, -1
	head, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	column := func(name string) int { return slices.Index(head, name) }
	path, id, lines, also := column(pathColumn), column("id"), column("lines"), column("also")
	if path < 0 || id < 0 || lines < 0 || also < 0 {
		return nil, fmt.Errorf("read %s: a column of %q, id, lines, also is missing", file, pathColumn)
	}
	var all []labelled
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		if len(row) <= also {
			continue
		}
		l := labelled{path: row[path], category: row[id], readings: map[string][]int{row[id]: numbers(row[lines])}}
		for reading := range strings.SplitSeq(row[also], ";") {
			if name, at, ok := strings.Cut(reading, ":"); ok {
				l.readings[name] = append(l.readings[name], numbers(at)...)
			}
		}
		all = append(all, l)
	}
}

func numbers(list string) []int {
	var out []int
	for s := range strings.SplitSeq(list, ",") {
		if n, err := strconv.Atoi(strings.TrimSpace(s)); err == nil {
			out = append(out, n)
		}
	}
	return out
}

func judge(ctx context.Context, file string, l labelled) (verdict, error) {
	f, err := os.Open(file)
	if err != nil {
		return verdict{}, fmt.Errorf("open a log: %w", err)
	}
	defer f.Close()
	start := time.Now()
	d, _, err := detect.Diagnose(ctx, detect.Input{Log: f})
	if err != nil {
		return verdict{}, fmt.Errorf("diagnose %s: %w", file, err)
	}
	v := verdict{log: l, got: d.Primary, took: time.Since(start)}
	lines, right := l.readings[d.Primary.Category]
	v.right = right
	v.unknown = d.Primary.Category == domain.Unknown && !right
	for _, n := range lines {
		v.line = v.line || abs(n-d.Primary.Line) <= lineTolerance
	}
	return v, nil
}

func abs(n int) int { return max(n, -n) }

type tally struct{ n, right, wrong, unknown, line int }

func (t *tally) add(v verdict) {
	t.n++
	switch {
	case v.right:
		t.right++
		if v.line {
			t.line++
		}
	case v.unknown:
		t.unknown++
	default:
		t.wrong++
	}
}

func report(out io.Writer, title string, verdicts []verdict, verbose bool) error {
	byCategory := map[string]*tally{}
	confusion := map[string]int{}
	var total tally
	var times []time.Duration
	for _, v := range verdicts {
		t := byCategory[v.log.category]
		if t == nil {
			t = &tally{}
			byCategory[v.log.category] = t
		}
		t.add(v)
		total.add(v)
		times = append(times, v.took)
		if !v.right && !v.unknown {
			confusion[v.log.category+" taken for "+v.got.Category]++
		}
	}
	names := slices.SortedFunc(maps.Keys(byCategory), func(a, b string) int {
		return cmp.Or(cmp.Compare(byCategory[b].n, byCategory[a].n), cmp.Compare(a, b))
	})
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s\tlogs\tright\twrong\tunknown\tline within %d\t\n", title, lineTolerance)
	for _, name := range names {
		t := byCategory[name]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t\n", name, t.n, t.right, t.wrong, t.unknown, t.line)
	}
	fmt.Fprintf(w, "total\t%d\t%d\t%d\t%d\t%d\t\n", total.n, total.right, total.wrong, total.unknown, total.line)
	if err := w.Flush(); err != nil {
		return err
	}
	for _, pair := range slices.Sorted(maps.Keys(confusion)) {
		fmt.Fprintf(out, "confused: %s (%d)\n", pair, confusion[pair])
	}
	if verbose {
		for _, v := range verdicts {
			if !v.right || !v.line {
				fmt.Fprintf(out, "%s\n    want %s %v\n    got  %s line %d in %q: %s\n", v.log.path, v.log.category, v.log.readings, v.got.Category, v.got.Line, v.got.Step, v.got.Text)
			}
		}
	}
	slices.Sort(times)
	median := time.Duration(0)
	if len(times) > 0 {
		median = times[len(times)/2]
	}
	_, err := fmt.Fprintf(out, "%s: %s right, %s wrong, %s unknown; line within %d for %s of the right ones; median %s a log\n\n",
		title, share(total.right, total.n), share(total.wrong, total.n), share(total.unknown, total.n), lineTolerance, share(total.line, total.right), median.Round(10*time.Microsecond))
	return err
}

func share(n, of int) string {
	if of == 0 {
		return "none"
	}
	return fmt.Sprintf("%d of %d (%.1f %%)", n, of, 100*float64(n)/float64(of))
}

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
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

// labelled is one log and its accepted readings: category to lines. The log is a
// file, or bytes where it was written for the project.
type labelled struct {
	name string
	path string
	log  []byte
	// group is what must not stand on both sides of a cross-validation: the
	// repository, or the writer of written logs.
	group    string
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

// source is a set of labelled logs that is reported as one.
type source struct {
	name string
	logs []labelled
}

// realLogs reads the labelled logs of the data folder.
func realLogs(dataDir string) ([]source, error) {
	var out []source
	for _, src := range []struct{ table, dir, column, group string }{
		{"logs.tsv", "", "path", "repo"},
		{"issues.tsv", "issues", "file", "source"},
	} {
		logs, err := readLabels(filepath.Join(dataDir, src.table), src.column, src.group)
		if err != nil {
			return nil, err
		}
		for i := range logs {
			logs[i].path = filepath.Join(dataDir, src.dir, logs[i].name)
		}
		out = append(out, source{src.table, logs})
	}
	return out, nil
}

// writtenLogs reads the logs that were written for the project, see
// corpus/README.md.
func writtenLogs(corpusDir string) ([]source, error) {
	var out []source
	for _, name := range []string{"held", "tuned"} {
		logs, err := readCorpus(filepath.Join(corpusDir, name))
		if err != nil {
			return nil, err
		}
		out = append(out, source{"written, " + name, logs})
	}
	return out, nil
}

// diagnoses measures the diagnosis of every labelled log: for the real ones a
// table per category, confusion pairs and totals for each source, for the
// written ones the totals; then how far the confidence can be trusted.
func diagnoses(corpusDir string, verbose bool) func(context.Context, string, io.Writer) error {
	return func(ctx context.Context, dataDir string, out io.Writer) error {
		known, err := realLogs(dataDir)
		if err != nil {
			return err
		}
		var all []verdict
		for _, src := range known {
			verdicts, err := judgeAll(ctx, src)
			if err != nil {
				return err
			}
			if err := table(out, src.name, verdicts); err != nil {
				return err
			}
			if err := summary(out, src.name, verdicts, verbose); err != nil {
				return err
			}
			all = append(all, verdicts...)
		}
		if err := summary(out, "all real logs", all, false); err != nil {
			return err
		}
		if err := reliabilityTable(out, "real logs", all); err != nil {
			return err
		}
		written, err := writtenLogs(corpusDir)
		if err != nil {
			return err
		}
		for _, src := range written {
			verdicts, err := judgeAll(ctx, src)
			if err != nil {
				return err
			}
			// What is wrong about a held log isn't shown: nobody shall mend it.
			if err := summary(out, src.name, verdicts, verbose && src.name != "written, held"); err != nil {
				return err
			}
			if err := reliabilityTable(out, src.name, verdicts); err != nil {
				return err
			}
		}
		return nil
	}
}

func judgeAll(ctx context.Context, src source) ([]verdict, error) {
	verdicts := make([]verdict, 0, len(src.logs))
	for _, l := range src.logs {
		v, err := judge(ctx, l)
		if err != nil {
			return nil, err
		}
		verdicts = append(verdicts, v)
	}
	return verdicts, nil
}

func readLabels(file, pathColumn, groupColumn string) ([]labelled, error) {
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
	path, group, id, lines, also := column(pathColumn), column(groupColumn), column("id"), column("lines"), column("also")
	if path < 0 || group < 0 || id < 0 || lines < 0 || also < 0 {
		return nil, fmt.Errorf("read %s: a column of %q, %q, id, lines, also is missing", file, pathColumn, groupColumn)
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
		if len(row) <= max(path, group, id, lines, also) {
			return nil, fmt.Errorf("read %s: %q has %d columns instead of %d", file, row[0], len(row), len(head))
		}
		l := labelled{name: row[path], group: repository(row[group]), category: row[id], readings: map[string][]int{row[id]: numbers(row[lines])}}
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

// repository is the owner and name in an address of an issue, and else the text.
func repository(text string) string {
	if u, err := url.Parse(text); err == nil && u.Host != "" {
		parts := strings.SplitN(strings.Trim(u.Path, "/"), "/", 3)
		return strings.Join(parts[:min(2, len(parts))], "/")
	}
	return text
}

// text is the log itself.
func (l labelled) text() ([]byte, error) {
	if l.path == "" {
		return l.log, nil
	}
	log, err := os.ReadFile(l.path)
	if err != nil {
		return nil, fmt.Errorf("read a log: %w", err)
	}
	return log, nil
}

// green is the label of a log of a job that passed: unknown is right.
const green = "green"

func judge(ctx context.Context, l labelled) (verdict, error) {
	log, err := l.text()
	if err != nil {
		return verdict{}, err
	}
	start := time.Now()
	d, _, err := detect.Diagnose(ctx, detect.Input{Log: bytes.NewReader(log)})
	if err != nil {
		return verdict{}, fmt.Errorf("diagnose %s: %w", l.name, err)
	}
	v := verdict{log: l, got: d.Primary, took: time.Since(start)}
	category := d.Primary.Category
	if category == domain.Unknown && l.category == green {
		category = green
	}
	lines, right := l.readings[category]
	v.right = right
	v.unknown = d.Primary.Category == domain.Unknown && !right
	v.line = right && (category == domain.Unknown || category == green) && len(lines) == 0
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

// table prints the verdicts by category, the most frequent first.
func table(out io.Writer, title string, verdicts []verdict) error {
	byCategory := map[string]*tally{}
	var total tally
	for _, v := range verdicts {
		t := byCategory[v.log.category]
		if t == nil {
			t = &tally{}
			byCategory[v.log.category] = t
		}
		t.add(v)
		total.add(v)
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
	return w.Flush()
}

// summary prints the confusion pairs and the total.
func summary(out io.Writer, title string, verdicts []verdict, verbose bool) error {
	confusion := map[string]int{}
	var total tally
	var times []time.Duration
	for _, v := range verdicts {
		total.add(v)
		times = append(times, v.took)
		if !v.right && !v.unknown {
			confusion[v.log.category+" taken for "+v.got.Category]++
		}
	}
	for _, pair := range slices.Sorted(maps.Keys(confusion)) {
		fmt.Fprintf(out, "confused: %s (%d)\n", pair, confusion[pair])
	}
	if verbose {
		for _, v := range verdicts {
			if !v.right || !v.line {
				fmt.Fprintf(out, "%s\n    want %s %v\n    got  %s line %d in %q: %s\n", v.log.name, v.log.category, v.log.readings, v.got.Category, v.got.Line, v.got.Step, v.got.Text)
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

// bands are the lower ends of the classes in which a reliability table counts.
var bands = []float64{0.99, 0.95, 0.9, 0.8, 0.7, 0.5, 0}

// reliability counts how often findings of a confidence are right: a confidence
// can be trusted where the two columns agree.
type reliability struct {
	title string
	// n, right and sum are weights of the findings, of the right ones, and of the
	// confidences, by band.
	n, right, sum []float64
}

func newReliability(title string) *reliability {
	return &reliability{title, make([]float64, len(bands)), make([]float64, len(bands)), make([]float64, len(bands))}
}

func (r *reliability) add(confidence float64, right bool, weight float64) {
	i := slices.IndexFunc(bands, func(low float64) bool { return confidence >= low })
	r.n[i] += weight
	r.sum[i] += weight * confidence
	if right {
		r.right[i] += weight
	}
}

func (r *reliability) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s: confidence\tfindings\tright\tmean confidence\tshare right\t\n", r.title)
	above, rightAbove, high := 0.0, 0.0, 1.0
	for i, low := range bands {
		if low >= 0.9 {
			above, rightAbove = above+r.n[i], rightAbove+r.right[i]
		}
		if r.n[i] > 0 {
			fmt.Fprintf(w, "%.2f up to %.2f\t%.4g\t%.4g\t%.3f\t%.3f\t\n", low, high, r.n[i], r.right[i], r.sum[i]/r.n[i], r.right[i]/r.n[i])
		}
		high = low
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if above == 0 {
		_, err := fmt.Fprintf(out, "%s: no finding has a confidence of 0.9 and above\n\n", r.title)
		return err
	}
	_, err := fmt.Fprintf(out, "%s: of the findings of 0.9 and above %.4g of %.4g (%.1f %%) are right\n\n", r.title, rightAbove, above, 100*rightAbove/above)
	return err
}

// reliabilityTable prints the reliability of what was answered.
func reliabilityTable(out io.Writer, title string, verdicts []verdict) error {
	t := newReliability(title)
	for _, v := range verdicts {
		if v.got.Category != domain.Unknown {
			t.add(v.got.Confidence, v.right, 1)
		}
	}
	return t.print(out)
}

func share(n, of int) string {
	if of == 0 {
		return "none"
	}
	return fmt.Sprintf("%d of %d (%.1f %%)", n, of, 100*float64(n)/float64(of))
}

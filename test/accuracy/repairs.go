package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	udiff "github.com/aymanbagabas/go-udiff"

	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
	"github.com/mlops-bot/mlops-bot/functions/repair/strategies"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// repairs measures planned repairs against the owners' own fixes. For each row of
// repairs.tsv it plans on the tree before the fix, with the finding that a correct
// diagnosis gives, and compares: what was to be refused is refused; what was to be
// fixed has the same files after as the owners' (same change), touches the same
// lines of the files that it touches (same lines), or differs, where `accept` and
// the diff are printed for a person to judge.
func repairs(ctx context.Context, dataDir string, out io.Writer) error {
	rows, err := readRepairs(filepath.Join(dataDir, "repairs.tsv"))
	if err != nil {
		return err
	}
	counts := map[string]int{}
	for _, r := range rows {
		got, err := measureRepair(ctx, filepath.Join(dataDir, "repairs", r.id), r.expect)
		if err != nil {
			return fmt.Errorf("measure %s: %w", r.id, err)
		}
		counts[got.verdict]++
		fmt.Fprintf(out, "%-60s expected %-7s %-16s %s\n", r.id, r.expect, got.verdict, got.summary)
		if got.verdict == verdictDiffers || got.verdict == verdictSameLines {
			fmt.Fprintf(out, "    accept: %s\n%s", r.accept, indented(got.diff))
		}
	}
	fmt.Fprintln(out)
	for _, v := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(out, "%-16s %d\n", v, counts[v])
	}
	fmt.Fprintf(out, "%-16s %d\n", "all", len(rows))
	return nil
}

// The verdicts of one repair.
const (
	verdictSame       = "same change"
	verdictSameLines  = "same lines"
	verdictDiffers    = "to judge"
	verdictRefused    = "rightly refused"
	verdictNotRefused = "WRONGLY PLANNED"
	verdictMissing    = "not planned"
)

type repairRow struct{ id, expect, accept string }

type measured struct{ verdict, summary, diff string }

func readRepairs(name string) ([]repairRow, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the repairs: %w", err)
	}
	var records [][]string // without quoting: quotes are text
	for line := range strings.Lines(string(b)) {
		records = append(records, strings.Split(strings.TrimRight(line, "\r\n"), "\t"))
	}
	if len(records) == 0 {
		return nil, errors.New("read the repairs: the table is empty")
	}
	column := map[string]int{}
	for i, h := range records[0] {
		column[h] = i
	}
	for _, h := range []string{"id", "expect", "accept"} {
		if _, ok := column[h]; !ok {
			return nil, fmt.Errorf("read the repairs: the table has no column %q", h)
		}
	}
	var rows []repairRow
	for _, rec := range records[1:] {
		if len(rec) != len(records[0]) {
			return nil, fmt.Errorf("read the repairs: a row has %d columns, not %d", len(rec), len(records[0]))
		}
		rows = append(rows, repairRow{rec[column["id"]], rec[column["expect"]], rec[column["accept"]]})
	}
	return rows, nil
}

func measureRepair(ctx context.Context, dir, expect string) (measured, error) {
	b, err := os.ReadFile(filepath.Join(dir, "finding.json"))
	if err != nil {
		return measured{}, fmt.Errorf("read the finding: %w", err)
	}
	var finding domain.Finding
	if err := json.Unmarshal(b, &finding); err != nil {
		return measured{}, fmt.Errorf("decode the finding: %w", err)
	}
	tree, err := strategies.OpenDir(filepath.Join(dir, "before"))
	if err != nil {
		return measured{}, err
	}
	defer tree.Close()
	plan, err := strategies.Propose(ctx, tree, finding)
	if refusal, ok := errors.AsType[*domain.Refusal](err); ok {
		if expect == "refuse" {
			return measured{verdict: verdictRefused, summary: refusal.Error()}, nil
		}
		return measured{verdict: verdictMissing, summary: refusal.Error()}, nil
	} else if err != nil {
		return measured{}, err
	}
	got := measured{verdict: verdictSame}
	var files []string
	lines := true
	for _, e := range plan.Edits {
		before, err := tree.ReadFile(ctx, e.Path)
		if err != nil {
			return measured{}, err
		}
		after, err := e.Apply(before)
		if err != nil {
			return measured{}, err
		}
		got.diff += edit.Diff(e.Path, before, after)
		files = append(files, e.Path)
		theirs, err := os.ReadFile(filepath.Join(dir, "after", filepath.FromSlash(e.Path)))
		if errors.Is(err, fs.ErrNotExist) {
			theirs = before
		} else if err != nil {
			return measured{}, fmt.Errorf("read the owners' file: %w", err)
		}
		if !bytes.Equal(after, theirs) {
			got.verdict = verdictSameLines
			lines = lines && within(changedLines(before, after), changedLines(before, theirs))
		}
	}
	switch {
	case expect == "refuse":
		got.verdict = verdictNotRefused
	case got.verdict == verdictSameLines && !lines:
		got.verdict = verdictDiffers
	}
	got.summary = plan.Strategy + ": " + strings.Join(files, ", ")
	return got, nil
}

// changedLines are the lines of before, from 1, that an edit replaces, removes or
// inserts behind.
func changedLines(before, after []byte) map[int]bool {
	out := map[int]bool{}
	for _, e := range udiff.Lines(string(before), string(after)) {
		first := 1 + bytes.Count(before[:e.Start], []byte("\n"))
		for n := first; n <= first+max(0, bytes.Count(before[e.Start:e.End], []byte("\n"))-1); n++ {
			out[n] = true
		}
	}
	return out
}

func within(some, all map[int]bool) bool {
	for n := range some {
		if !all[n] {
			return false
		}
	}
	return len(some) > 0
}

func indented(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n    ") + "\n"
}

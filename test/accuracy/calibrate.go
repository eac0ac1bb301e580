package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"sync"
	"text/tabwriter"

	"gonum.org/v1/gonum/optimize"

	"github.com/mlops-bot/mlops-bot/functions/detect/logs"
	"github.com/mlops-bot/mlops-bot/functions/detect/rules"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// folds of the cross-validation, and the ridge penalties that it compares.
const folds = 10

var penalties = []float64{0.3, 1, 3, 10}

// row is one choice whose truth is known.
type row struct {
	group    string
	rule     string
	evidence rules.Evidence
	right    bool
	// first tells that it would be the answer; the others are what else was found.
	first bool
	// weight is how often it happens, 1 for the first one of a log as it is; the
	// others of a log weigh as much together.
	weight float64
}

// calibrate fits the confidence on the logs that no rule may be mended for
// (held) and on the real ones, prints how well it holds for repositories and
// writers that a fit has not seen, and writes the fit to a file.
//
// The catalogue was tuned on the real logs, so hardly a choice there is wrong.
// What is wrong about logs that nobody has seen are mostly failures that no rule
// knows, of which another rule then speaks. That is replayed: each log is judged
// once more by a catalogue that lacks the rules of its right categories, and what
// is said then is wrong. Such a row weighs as much as the held logs say it is
// frequent.
func calibrate(corpusDir, file string) func(context.Context, string, io.Writer) error {
	return func(ctx context.Context, dataDir string, out io.Writer) error {
		sources, err := realLogs(dataDir)
		if err != nil {
			return err
		}
		written, err := writtenLogs(corpusDir)
		if err != nil {
			return err
		}
		held := written[0]
		unknown, err := unknownShare(held)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "no rule knows the cause of %.1f %% of the held logs\n", 100*unknown)
		var rows []row
		for _, src := range append(sources, held) {
			for _, l := range src.logs {
				if err := ctx.Err(); err != nil {
					return err
				}
				r, err := rowsOf(l, unknown)
				if err != nil {
					return err
				}
				rows = append(rows, r...)
			}
		}
		best, bestLoss := rules.Fit{}, math.Inf(1)
		var predicted []float64
		for _, p := range penalties {
			unseen, err := crossValidate(rows, p)
			if err != nil {
				return err
			}
			l := meanLoss(rows, unseen)
			fmt.Fprintf(out, "ridge penalty %4.1f: log loss %.4f on what the fit has not seen\n", p, l)
			if l < bestLoss {
				if best, err = fit(rows, p); err != nil {
					return err
				}
				bestLoss, predicted = l, unseen
			}
		}
		same := make([]float64, len(rows))
		rate := shareRight(rows)
		for i := range same {
			same[i] = rate
		}
		fmt.Fprintf(out, "the same confidence for all, %.3f: log loss %.4f\n\n", rate, meanLoss(rows, same))
		if err := reliabilityOf(out, fmt.Sprintf("cross-validated over %d repositories and writers", best.Groups), rows, predicted); err != nil {
			return err
		}
		if err := weights(out, best); err != nil {
			return err
		}
		text, err := json.MarshalIndent(best, "", "  ")
		if err != nil {
			return fmt.Errorf("encode the fit: %w", err)
		}
		if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil { //nolint:gosec // a source file
			return fmt.Errorf("write the fit: %w", err)
		}
		return nil
	}
}

// scan returns what all rules match in a log.
func scan(l labelled) ([]rules.Match, []logs.Segment, error) {
	text, err := l.text()
	if err != nil {
		return nil, nil, err
	}
	catalogue, err := wholeCatalogue()
	if err != nil {
		return nil, nil, err
	}
	reader, err := logs.NewReader(bytes.NewReader(text), logs.Options{})
	if err != nil {
		return nil, nil, err
	}
	scanner := catalogue.NewScanner()
	for {
		line, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return scanner.Finish(), reader.Segments(), nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", l.name, err)
		}
		scanner.Add(line)
	}
}

var wholeCatalogue = sync.OnceValues(func() (*rules.Catalogue, error) { return rules.NewCatalogue(rules.All()) })

// unknownShare is the share of logs in which no rule finds what is right: the
// rule of succession, so that it is never 0.
func unknownShare(src source) (float64, error) {
	n, missed := 0, 0
	for _, l := range src.logs {
		if l.category == green || l.category == domain.Unknown {
			continue
		}
		matches, _, err := scan(l)
		if err != nil {
			return 0, err
		}
		n++
		if !slices.ContainsFunc(matches, func(m rules.Match) bool { return l.readings[m.Rule.Category] != nil }) {
			missed++
		}
	}
	return (float64(missed) + 1) / (float64(n) + 2), nil
}

// rowsOf is the choice made in a log, and the one that is made without the rules
// of the right categories.
func rowsOf(l labelled, unknown float64) ([]row, error) {
	if l.category == green {
		return nil, nil // told by the job's outcome, not by a confidence
	}
	matches, segments, err := scan(l)
	if err != nil {
		return nil, err
	}
	right := func(m rules.Match) bool {
		_, ok := l.readings[m.Rule.Category]
		return ok
	}
	var out []row
	choose := func(matches []rules.Match) []rules.Verdict {
		verdicts := rules.Choose(matches, rules.Context{Segments: segments})
		return slices.DeleteFunc(verdicts, func(v rules.Verdict) bool { return v.Standing == rules.Excluded })
	}
	verdicts := choose(matches)
	for i, v := range verdicts {
		weight := 1.0
		if i > 0 {
			weight /= float64(len(verdicts) - 1)
		}
		out = append(out, row{l.group, v.Rule.ID, v.Evidence, right(v.Match), i == 0, weight})
	}
	if others := slices.DeleteFunc(slices.Clone(matches), right); len(others) < len(matches) {
		if verdicts := choose(others); len(verdicts) > 0 {
			out = append(out, row{l.group, verdicts[0].Rule.ID, verdicts[0].Evidence, false, true, unknown})
		}
	}
	return out, nil
}

func shareRight(rows []row) float64 {
	right, all := 0.0, 0.0
	for _, r := range rows {
		if r.first {
			all += r.weight
		}
		if r.first && r.right {
			right += r.weight
		}
	}
	return right / all
}

// crossValidate predicts each row by a fit that has not seen its group.
func crossValidate(rows []row, penalty float64) ([]float64, error) {
	fold := func(r row) int {
		h := fnv.New32a()
		_, _ = h.Write([]byte(r.group))
		return int(h.Sum32() % folds)
	}
	out := make([]float64, len(rows))
	for k := range folds {
		var seen []row
		for _, r := range rows {
			if fold(r) != k {
				seen = append(seen, r)
			}
		}
		f, err := fit(seen, penalty)
		if err != nil {
			return nil, err
		}
		for i, r := range rows {
			if fold(r) == k {
				out[i] = f.Confidence(r.evidence, r.rule)
			}
		}
	}
	return out, nil
}

// meanLoss is the logarithmic loss of what would be answered.
func meanLoss(rows []row, predicted []float64) float64 {
	sum, all := 0.0, 0.0
	for i, r := range rows {
		if !r.first {
			continue
		}
		p := min(max(predicted[i], 1e-9), 1-1e-9)
		if !r.right {
			p = 1 - p
		}
		sum -= r.weight * math.Log(p)
		all += r.weight
	}
	return sum / all
}

// reliabilityOf prints how often choices of a predicted confidence are right, by
// weight.
func reliabilityOf(out io.Writer, title string, rows []row, predicted []float64) error {
	t := newReliability(title)
	for i, r := range rows {
		if r.first {
			t.add(predicted[i], r.right, r.weight)
		}
	}
	return t.print(out)
}

// fit is a logistic regression of "the choice was right" with a ridge penalty on
// everything but the bias.
func fit(rows []row, penalty float64) (rules.Fit, error) {
	columns := map[string]int{}
	for i, name := range rules.EvidenceNames {
		columns[name] = 1 + i
	}
	ids, groups := map[string]bool{}, map[string]bool{}
	for _, r := range rows {
		ids[r.rule], groups[r.group] = true, true
	}
	sorted := slices.Sorted(maps.Keys(ids))
	for _, id := range sorted {
		columns["rule "+id] = 1 + len(columns)
	}
	design := make([][]float64, len(rows))
	for i, r := range rows {
		x := make([]float64, 1+len(columns))
		x[0] = 1
		for name, value := range r.evidence {
			x[columns[name]] = value
		}
		x[columns["rule "+r.rule]] = 1
		design[i] = x
	}
	// The loss and its gradient at w; the penalty is that of a normal prior. Both
	// are by row, so that one threshold ends the search for any number of them.
	loss := func(w, grad []float64) float64 {
		total := 0.0
		for j := range grad {
			grad[j] = 0
		}
		for i, x := range design {
			z := 0.0
			for j := range x {
				z += w[j] * x[j]
			}
			y := 0.0
			if rows[i].right {
				y = 1
			}
			total += rows[i].weight * (math.Log1p(math.Exp(-math.Abs(z))) + max(z, 0) - y*z)
			if grad != nil {
				d := rows[i].weight * (1/(1+math.Exp(-z)) - y)
				for j := range x {
					grad[j] += d * x[j]
				}
			}
		}
		for j := 1; j < len(w); j++ {
			total += penalty / 2 * w[j] * w[j]
			if grad != nil {
				grad[j] += penalty * w[j]
			}
		}
		for j := range grad {
			grad[j] /= float64(len(rows))
		}
		return total / float64(len(rows))
	}
	result, err := optimize.Minimize(optimize.Problem{
		Func: func(w []float64) float64 { return loss(w, nil) },
		Grad: func(grad, w []float64) { loss(w, grad) },
	}, make([]float64, 1+len(columns)), &optimize.Settings{GradientThreshold: 1e-5}, &optimize.LBFGS{})
	if err != nil {
		return rules.Fit{}, fmt.Errorf("fit the confidence: %w", err)
	}
	round := func(x float64) float64 { return math.Round(x*1000) / 1000 }
	f := rules.Fit{Matches: len(rows), Groups: len(groups), Penalty: penalty, Bias: round(result.X[0]), Weights: map[string]float64{}, Rules: map[string]float64{}}
	for _, name := range rules.EvidenceNames {
		f.Weights[name] = round(result.X[columns[name]])
	}
	for _, id := range sorted {
		f.Rules[id] = round(result.X[columns["rule "+id]])
	}
	return f, nil
}

func weights(out io.Writer, f rules.Fit) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "log-odds\t%+.2f\tof an average rule\n", f.Bias)
	for _, name := range rules.EvidenceNames {
		fmt.Fprintf(w, "\t%+.2f\t%s\n", f.Weights[name], name)
	}
	for _, id := range slices.Sorted(maps.Keys(f.Rules)) {
		if math.Abs(f.Rules[id]) >= 0.1 {
			fmt.Fprintf(w, "\t%+.2f\trule %s\n", f.Rules[id], id)
		}
	}
	return w.Flush()
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"text/tabwriter"

	"gonum.org/v1/gonum/optimize"

	"github.com/mlops-bot/mlops-bot/functions/detect/rules"
)

// folds of the cross-validation, and the ridge penalties that it compares.
const folds = 10

var penalties = []float64{0.3, 1, 3, 10}

// calibrate fits the confidence on the logs that no rule may be mended for
// (held) and on the real ones, prints how well it holds for repositories that a
// fit has not seen, and writes the fit to a file.
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
		sources = append(sources, written[0]) // held
		var rows []verdict
		for _, src := range sources {
			verdicts, err := judgeAll(ctx, src)
			if err != nil {
				return err
			}
			for _, v := range verdicts {
				if v.choice != nil {
					rows = append(rows, v)
				}
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
			fmt.Fprintf(out, "ridge penalty %4.1f: log loss %.4f on repositories that the fit has not seen\n", p, l)
			if l < bestLoss {
				if best, err = fit(rows, p); err != nil {
					return err
				}
				bestLoss, predicted = l, unseen
			}
		}
		rate := 0.0
		for _, v := range rows {
			if v.choiceRight {
				rate++
			}
		}
		rate /= float64(len(rows))
		constant := -(rate*math.Log(rate) + (1-rate)*math.Log(1-rate))
		fmt.Fprintf(out, "the same confidence for all: log loss %.4f\n\n", constant)
		for i := range rows {
			rows[i].right = rows[i].choiceRight
			rows[i].got.Confidence = predicted[i]
		}
		if err := reliability(out, fmt.Sprintf("cross-validated, %d logs of %d repositories", best.Logs, best.Groups), rows); err != nil {
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

// crossValidate predicts each row by a fit that has not seen its group.
func crossValidate(rows []verdict, penalty float64) ([]float64, error) {
	fold := func(v verdict) int {
		h := fnv.New32a()
		_, _ = h.Write([]byte(v.log.group))
		return int(h.Sum32() % folds)
	}
	out := make([]float64, len(rows))
	for k := range folds {
		var seen []verdict
		for _, v := range rows {
			if fold(v) != k {
				seen = append(seen, v)
			}
		}
		f, err := fit(seen, penalty)
		if err != nil {
			return nil, err
		}
		for i, v := range rows {
			if fold(v) == k {
				out[i] = f.Confidence(v.choice.Evidence, v.choice.Rule)
			}
		}
	}
	return out, nil
}

func meanLoss(rows []verdict, predicted []float64) float64 {
	sum := 0.0
	for i, v := range rows {
		p := min(max(predicted[i], 1e-9), 1-1e-9)
		if v.choiceRight {
			sum -= math.Log(p)
		} else {
			sum -= math.Log(1 - p)
		}
	}
	return sum / float64(len(rows))
}

// fit is a logistic regression of "the choice was right" with a ridge penalty on
// everything but the bias.
func fit(rows []verdict, penalty float64) (rules.Fit, error) {
	columns := map[string]int{}
	for i, name := range rules.EvidenceNames {
		columns[name] = 1 + i
	}
	ids, groups := map[string]bool{}, map[string]bool{}
	for _, v := range rows {
		ids[v.choice.Rule], groups[v.log.group] = true, true
	}
	sorted := slices.Sorted(maps.Keys(ids))
	for _, id := range sorted {
		columns["rule "+id] = 1 + len(columns)
	}
	design := make([][]float64, len(rows))
	for i, v := range rows {
		x := make([]float64, 1+len(columns))
		x[0] = 1
		for name, value := range v.choice.Evidence {
			x[columns[name]] = value
		}
		x[columns["rule "+v.choice.Rule]] = 1
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
			if rows[i].choiceRight {
				y = 1
			}
			total += math.Log1p(math.Exp(-math.Abs(z))) + max(z, 0) - y*z
			if grad != nil {
				d := 1/(1+math.Exp(-z)) - y
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
	f := rules.Fit{Logs: len(rows), Groups: len(groups), Penalty: penalty, Bias: round(result.X[0]), Weights: map[string]float64{}, Rules: map[string]float64{}}
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

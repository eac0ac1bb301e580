package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mlops-bot/mlops-bot/functions/detect/rules"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// drawn makes verdicts whose chance to be right is known: the logistic function
// of 2, minus 3 where there are rivals, and 1.5 more or less by rule.
func drawn(n int, r *rand.Rand) (rows []row, chance []float64) {
	for i := range n {
		e := rules.Evidence{}
		z := 2.0
		if r.IntN(2) == 0 {
			e["rivals"] = 1
			z -= 3
		}
		rule := "good"
		z += 1.5
		if r.IntN(3) == 0 {
			rule = "poor"
			z -= 3
		}
		p := 1 / (1 + math.Exp(-z))
		chance = append(chance, p)
		rows = append(rows, row{group: fmt.Sprint(i % 40), rule: rule, evidence: e, right: r.Float64() < p, first: true, weight: 1})
	}
	return rows, chance
}

func TestFit(t *testing.T) {
	t.Parallel()
	rows, chance := drawn(4000, rand.New(rand.NewPCG(1, 2)))
	f, err := fit(rows, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range rows {
		if got := f.Confidence(v.evidence, v.rule); math.Abs(got-chance[i]) > 0.06 {
			t.Fatalf("confidence %.3f where %.3f are right: %+v %+v", got, chance[i], v, f)
		}
	}
	if f.Matches != 4000 || f.Groups != 40 || f.Rules["good"] <= f.Rules["poor"] {
		t.Errorf("%+v", f)
	}
	unseen, err := crossValidate(rows[:400], 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := meanLoss(rows[:400], unseen); got > 0.6 || got < 0.2 {
		t.Errorf("log loss %.3f on unseen groups", got)
	}
}

// TestCrossValidationIsBlind: a rule that is seen in one group only gets no term
// of its own from it.
func TestCrossValidationIsBlind(t *testing.T) {
	t.Parallel()
	rows, _ := drawn(300, rand.New(rand.NewPCG(3, 4)))
	for range 30 {
		rows = append(rows, row{group: "alone", rule: "alone", evidence: rules.Evidence{}, weight: 1})
	}
	unseen, err := crossValidate(rows, 0.3)
	if err != nil {
		t.Fatal(err)
	}
	all, err := fit(rows, 0.3)
	if err != nil {
		t.Fatal(err)
	}
	if own := all.Confidence(rules.Evidence{}, "alone"); unseen[300] < 0.5 || own > 0.3 {
		t.Errorf("always wrong: %.2f by its own logs, %.2f without them", own, unseen[300])
	}
}

func TestReliability(t *testing.T) {
	t.Parallel()
	var rows []verdict
	for i := range 20 {
		rows = append(rows, verdict{got: domain.Finding{Category: "x", Confidence: 0.92}, right: i > 0})
		rows = append(rows, verdict{got: domain.Finding{Category: domain.Unknown, Confidence: 0}})
	}
	var out strings.Builder
	if err := reliabilityTable(&out, "these", rows); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"0.90 up to 0.95", "0.920", "0.950", "19 of 20 (95.0 %) are right"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing:\n%s", want, out.String())
		}
	}
}

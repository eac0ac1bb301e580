package rules

import (
	_ "embed"
	"encoding/json"
	"math"
	"sync"

	"github.com/mlops-bot/mlops-bot/functions/detect/logs"
)

// Evidence is what the confidence of a match is computed from: values by name,
// each between 0 and 1. A value that is absent is 0.
type Evidence map[string]float64

// EvidenceNames are the names that Evidence may have, in the order in which
// people read them.
var EvidenceNames = []string{"in_failed_step", "off_failed_step", "not_a_failure", "rivals", "rank_lead", "far_from_exit", "facts_missing", "in_test_report", "not_first"}

// weigh measures the i-th of the ordered matches.
func weigh(kept []ranked, i int, c Context) Evidence {
	m := kept[i]
	e := Evidence{}
	put := func(name string, value float64) {
		if value != 0 {
			e[name] = min(value, 1)
		}
	}
	switch m.tier {
	case inFailedStep:
		put("in_failed_step", 1)
	case inStoppedStep, behindFailure:
		put("off_failed_step", 1)
	case inUnclearStep:
		// neither speaks for it nor against it
	}
	if m.force == notAFailure {
		put("not_a_failure", 1)
	}
	if i > 0 {
		put("not_first", 1)
	}
	// Rivals are matches that could be the cause as well: as near to the failure,
	// of another category.
	rivals, best := 0, 0
	for j, r := range kept {
		if j != i && r.tier <= m.tier && r.force <= m.force && r.Rule.Category != m.Rule.Category {
			rivals++
			best = max(best, int(r.Rule.Rank))
		}
	}
	put("rivals", math.Log1p(float64(rivals))/3)
	put("rank_lead", max(0, float64(int(m.Rule.Rank)-best))/80)
	if s, ok := segmentOf(m.Match, c); ok && s.State == logs.Failed && s.Exit() > m.LastLine {
		put("far_from_exit", math.Log1p(float64(s.Exit()-m.LastLine))/8)
	}
	if n := len(m.Rule.FactNames); n > 0 {
		missing := 0
		for _, name := range m.Rule.FactNames {
			if m.Facts[name] == "" {
				missing++
			}
		}
		put("facts_missing", float64(missing)/float64(n))
	}
	if m.Tested {
		put("in_test_report", 1)
	}
	return e
}

// Confidence is the probability, 0 to 1, that a match of a rule with this
// evidence is the cause: the logistic function of the fitted weights. A rule
// that the fit has not seen counts as an average one.
func (e Evidence) Confidence(rule string) float64 {
	return fitted().Confidence(e, rule)
}

// Certain is the confidence of a rule whose finding does not come from a log
// that could be read otherwise: all that speaks for it does.
func Certain(rule string) float64 {
	return Evidence{"in_failed_step": 1, "rank_lead": 1}.Confidence(rule)
}

// Fit is a calibration of the confidence: a logistic regression with a ridge
// penalty, whose rule terms are deviations from an average rule. `make
// calibrate` writes it.
type Fit struct {
	// Matches and Groups are how many matches in labelled logs it was fitted on, and
	// of how many repositories and writers they are.
	Matches int `json:"matches"`
	Groups  int `json:"groups"`
	// Penalty is the ridge penalty that the cross-validation chose.
	Penalty float64 `json:"penalty"`
	// Bias and Weights are in log-odds.
	Bias    float64            `json:"bias"`
	Weights map[string]float64 `json:"weights"`
	Rules   map[string]float64 `json:"rules"`
}

// Confidence is what the fit gives to a match of a rule with this evidence, 0 to
// 1.
func (f Fit) Confidence(e Evidence, rule string) float64 {
	z := f.Bias + f.Rules[rule]
	for _, name := range EvidenceNames { // in one order, so that the sum is always the same
		z += f.Weights[name] * e[name]
	}
	return 1 / (1 + math.Exp(-z))
}

//go:embed confidence.json
var fittedJSON []byte

// fitted is the calibration that is built in. A test holds that it can be read.
var fitted = sync.OnceValue(func() Fit {
	var f Fit
	if json.Unmarshal(fittedJSON, &f) != nil {
		return Fit{Bias: math.Inf(-1)} // no confidence in anything
	}
	return f
})

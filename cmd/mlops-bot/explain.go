package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/mlops-bot/mlops-bot/functions/detect"
	"github.com/mlops-bot/mlops-bot/functions/detect/rules"
)

// explain writes why a diagnosis says what it says, and not something else: all
// that was found in the log, and what became of it.
func explain(out io.Writer, ex detect.Explanation) error {
	var b strings.Builder
	b.WriteString("\n")
	if len(ex.Considered) == 0 {
		b.WriteString("  why: no rule knows a line of this log\n")
	} else {
		first := ex.Considered[0]
		fmt.Fprintf(&b, "  why: %s\n", first.Why)
		if e := evidence(first.Evidence); e != "" {
			fmt.Fprintf(&b, "  confidence: %.3f, from %s and how often the rule was right on labelled logs\n", first.Confidence, e)
		}
		b.WriteString("\n")
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "  LINE\tRULE\tSTANDING\tCONFIDENCE\tWHY\n")
		for i := 0; i < len(ex.Considered); {
			c := ex.Considered[i]
			alike := 1
			for i+alike < len(ex.Considered) && sameFate(c, ex.Considered[i+alike]) {
				alike++
			}
			confidence := fmt.Sprintf("%.3f", c.Confidence)
			if c.Standing == rules.Excluded {
				confidence = "-"
			}
			why := c.Why
			if alike > 1 {
				why += fmt.Sprintf(" (and %d more up to line %d)", alike-1, ex.Considered[i+alike-1].Line)
			}
			fmt.Fprintf(w, "  %d\t%s\t%s\t%s\t%s\n", c.Line, c.Rule, c.Standing, confidence, why)
			i += alike
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	fmt.Fprintf(&b, "  read %d lines", ex.Lines)
	if ex.FailedStep != "" {
		fmt.Fprintf(&b, "; the step that failed first: %s", rules.Mask(ex.FailedStep))
	}
	if ex.CutLines > 0 {
		fmt.Fprintf(&b, "; %d lines were too long and are read in part", ex.CutLines)
	}
	if ex.Truncated {
		b.WriteString("; the log goes on behind what was read")
	}
	b.WriteString("\n")
	_, err := io.WriteString(out, b.String())
	return err
}

// sameFate tells whether two matches need one row only.
func sameFate(a, b detect.Considered) bool {
	return a.Rule == b.Rule && a.Standing == b.Standing && a.Why == b.Why && a.Standing != rules.Primary
}

// evidence lists what the confidence was computed from.
func evidence(e rules.Evidence) string {
	var parts []string
	for _, name := range rules.EvidenceNames {
		if v := e[name]; v != 0 {
			parts = append(parts, fmt.Sprintf("%s %.2f", name, v))
		}
	}
	return strings.Join(parts, ", ")
}

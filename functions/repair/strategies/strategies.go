// Package strategies is the catalogue of repairs. A strategy is pure: from a
// finding and the tree that failed it plans edits (or a rerun) and says why; it
// never talks to GitHub and never writes. Where it is not sure it refuses, with a
// sentence that says exactly why: a wrong repair is worse than none.
package strategies

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Strategy is one way to repair one kind of failure.
type Strategy interface {
	// ID is stable; policies, metrics and records name strategies by it.
	ID() string
	// Applies reports whether the strategy answers the finding at all. It reads
	// nothing but the finding.
	Applies(f domain.Finding) bool
	// Plan plans the repair. The error is a *domain.Refusal where the strategy is
	// not sure, and anything else where the tree can't be read.
	Plan(ctx context.Context, tree Tree, f domain.Finding) (domain.Plan, error)
}

// ForFinding lists the strategies that answer a finding, in their default order.
func ForFinding(f domain.Finding) []Strategy {
	return slices.DeleteFunc(All(), func(s Strategy) bool { return !s.Applies(f) })
}

// IDs lists the ids of all strategies, sorted.
func IDs() []string {
	var out []string
	for _, s := range All() {
		out = append(out, s.ID())
	}
	return out
}

// Propose returns the plan of the first strategy in order (of ForFinding where
// none is given) that is sure of one. Every file that it edits has been parsed
// again by then. The error is a *domain.Refusal where no strategy has a plan: that
// of the first strategy that applies.
func Propose(ctx context.Context, tree Tree, f domain.Finding, order ...Strategy) (domain.Plan, error) {
	if len(order) == 0 {
		order = ForFinding(f)
	}
	var first *domain.Refusal
	for _, s := range order {
		if !s.Applies(f) {
			continue
		}
		plan, err := s.Plan(ctx, tree, f)
		if err == nil {
			err = verify(ctx, tree, plan)
		}
		if err == nil {
			return plan, nil
		}
		refusal, ok := errors.AsType[*domain.Refusal](err)
		switch {
		case ok:
		case errors.Is(err, domain.ErrTooLarge):
			refusal = domain.Refuse(domain.RefusedNoChange, "a file that %s has to read is too large, or there are too many of them", s.ID())
		default:
			return domain.Plan{}, fmt.Errorf("plan with %s: %w", s.ID(), err)
		}
		if first == nil {
			first = refusal
		}
	}
	switch {
	case first != nil:
		return domain.Plan{}, first
	case f.Category == domain.Unknown:
		return domain.Plan{}, domain.Refuse(domain.RefusedHuman, "the log does not show the cause, and the bot does not guess")
	default:
		return domain.Plan{}, domain.Refuse(domain.RefusedNoStrategy, "no strategy answers the category %q: a person has to look", f.Category)
	}
}

// verify applies the plan's edits and parses each edited file again.
func verify(ctx context.Context, tree Tree, p domain.Plan) error {
	if p.Action == domain.ActionEdit && len(p.Edits) == 0 {
		return domain.Refuse(domain.RefusedNoChange, "the plan changes nothing")
	}
	for _, e := range p.Edits {
		before, err := tree.ReadFile(ctx, e.Path)
		if err != nil {
			return fmt.Errorf("read %s again: %w", e.Path, err)
		}
		after, err := e.Apply(before)
		if err != nil {
			return domain.Refuse(domain.RefusedBadEdit, "the edit of %q does not fit the file: %v", e.Path, err)
		}
		if bytes.Equal(before, after) {
			return domain.Refuse(domain.RefusedNoChange, "the edit of %q changes nothing", e.Path)
		}
		if err := edit.Check(e.Path, before, after); err != nil {
			return domain.Refuse(domain.RefusedBadEdit, "%q would not be valid after the edit: %v", e.Path, err)
		}
	}
	return nil
}

// changes collects the splices of a plan by file.
type changes map[string][]domain.Splice

func (c changes) add(path string, splices ...domain.Splice) {
	c[path] = append(c[path], splices...)
}

// edits are the changes sorted by path and position.
func (c changes) edits() []domain.Edit {
	var out []domain.Edit
	for _, p := range slices.Sorted(maps.Keys(c)) {
		if len(c[p]) > 0 {
			out = append(out, domain.Edit{Path: p, Splices: edit.Sorted(c[p])})
		}
	}
	return out
}

// refuse is a Refusal as an error: the strategy is not sure of an edit.
func refuse(format string, args ...any) error {
	return domain.Refuse(domain.RefusedNoChange, format, args...)
}

// why turns an editor's error into the end of a sentence.
func why(err error) string {
	switch {
	case errors.Is(err, edit.ErrPresent):
		return "it is there already (" + trimCause(err, edit.ErrPresent) + ")"
	case errors.Is(err, edit.ErrNoPlace):
		return trimCause(err, edit.ErrNoPlace)
	case errors.Is(err, edit.ErrSyntax):
		return "it does not parse"
	}
	return err.Error()
}

func trimCause(err, cause error) string {
	return strings.TrimSuffix(strings.TrimSuffix(err.Error(), cause.Error()), ": ")
}

// code renders text from a repository or a log as inline code in Markdown: one
// line, no control or formatting characters, a fence longer than any run of
// backticks within, at most 200 bytes.
func code(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + " …"
	}
	if s == "" {
		return "–"
	}
	longest, run := 0, 0
	for _, r := range s {
		if r == '`' {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	if longest == 0 {
		return "`" + s + "`"
	}
	ticks := strings.Repeat("`", longest+1)
	return ticks + " " + s + " " + ticks
}

// codes renders a list of texts as inline code.
func codes(texts []string) string {
	var out []string
	for _, t := range texts {
		out = append(out, code(t))
	}
	return strings.Join(out, ", ")
}

// plural picks the word for n things.
func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

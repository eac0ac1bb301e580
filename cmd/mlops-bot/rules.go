package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"golang.org/x/text/width"

	"github.com/mlops-bot/mlops-bot/functions/detect"
	"github.com/mlops-bot/mlops-bot/functions/detect/rules"
	"github.com/mlops-bot/mlops-bot/functions/repair/strategies"
	"github.com/mlops-bot/mlops-bot/shared/config"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/policy"
)

type rulesCommand struct {
	List rulesListCommand `cmd:"" help:"List the rules: what the bot can find in a log."`
	Show rulesShowCommand `cmd:"" help:"Show all of one rule: patterns, facts, remedy, examples."`
	Test rulesTestCommand `cmd:"" help:"Try rules on logs: every match, where it stands, and which one is the cause. Without logs, check files of rules and their examples."`
}

// ownFlag names files with rules of one's own.
type ownFlag struct {
	Rules []string `help:"Files with rules of one's own: a repository's policy (.github/mlops-bot.yml), or one for RULES_DIR." placeholder:"FILE" sep:"none"`
}

// ownRules are rules of one's own: of RULES_DIR and of files.
type ownRules struct {
	catalogue *rules.Catalogue
	specs     []policy.Rule
}

// load reads the rules of RULES_DIR and of the flag. What is wrong in RULES_DIR is
// told, and makes the exit code 1 at the end (failed), as the bot goes on too;
// what is wrong in a file of the flag is an error.
func (f ownFlag) load(c console) (own ownRules, failed, err error) {
	cfg, err := config.Parse(c.environ)
	if err != nil {
		return own, nil, err
	}
	in := detect.ReadInstalled(cfg.RulesDir)
	for _, p := range in.Problems {
		fmt.Fprintln(c.err, "mlops-bot: RULES_DIR:", p)
		failed = exitCode(exitError)
	}
	own = ownRules{in.Catalogue, in.Rules}
	for _, name := range f.Rules {
		specs, err := readRuleFile(name)
		if err != nil {
			return own, nil, err
		}
		if own.catalogue, err = rules.Own(specs, own.catalogue); err != nil {
			return own, nil, fmt.Errorf("%s: %w", name, err)
		}
		own.specs = append(own.specs, specs...)
	}
	return own, failed, nil
}

// readRuleFile reads the rules of a policy. A file of rules only is one too.
func readRuleFile(name string) ([]policy.Rule, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, policy.MaxBytes+1))
	if err != nil {
		return nil, err
	}
	p, err := policy.Parse(b, strategies.IDs()...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(p.Rules) == 0 {
		return nil, fmt.Errorf("%s has no rules: write some below \"rules:\"", name)
	}
	return p.Rules, nil
}

// all returns the built-in rules and one's own.
func (o ownRules) all() []*rules.Rule {
	list := rules.All()
	if o.catalogue != nil {
		list = append(list, o.catalogue.Rules()...)
	}
	return list
}

func (o ownRules) find(id string) *rules.Rule {
	for _, r := range o.all() {
		if r.ID == id {
			return r
		}
	}
	return nil
}

type rulesListCommand struct {
	ownFlag
	Output string `enum:"text,json" default:"text" help:"text, or json: one object per rule, one a line."`
}

// listed is the JSON form of a rule in a list.
type listed struct {
	ID       string         `json:"id"`
	Category string         `json:"category"`
	Remedy   domain.Remedy  `json:"remedy"`
	Severity rules.Severity `json:"severity"`
	Title    string         `json:"title"`
	BuiltIn  bool           `json:"built_in"`
}

// Run lists the rules.
func (l rulesListCommand) Run(c console) error {
	own, failed, err := l.load(c)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(c.out)
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	if l.Output == "text" {
		fmt.Fprintln(w, "ID\tCATEGORY\tREMEDY\tSEVERITY\tTITLE")
	}
	for _, r := range own.all() {
		if l.Output == "text" {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.ID, r.Category, r.Remedy, r.Severity, r.Title)
		} else if err := enc.Encode(listed{r.ID, r.Category, r.Remedy, r.Severity, r.Title, !isOwn(r.ID)}); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return failed
}

func isOwn(id string) bool { return strings.HasPrefix(id, policy.OwnPrefix) }

type rulesShowCommand struct {
	ownFlag
	ID string `arg:"" help:"The rule's id, as 'rules list' prints it."`
}

// Run shows one rule.
func (s rulesShowCommand) Run(c console) error {
	own, failed, err := s.load(c)
	if err != nil {
		return err
	}
	r := own.find(s.ID)
	if r == nil {
		return fmt.Errorf("there is no rule %q: 'mlops-bot rules list' lists them (--rules FILE for those of a file)", s.ID)
	}
	examples, err := own.examples(s.ID)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", r.ID, r.Title)
	fmt.Fprintf(&b, "  category: %s\n  remedy: %s\n  severity: %s\n  rank: %d (of two findings, the higher one explains the other)\n", r.Category, r.Remedy, r.Severity, r.Rank)
	fmt.Fprintf(&b, "  facts: %s\n", listing(r.FactNames))
	fmt.Fprintf(&b, "  told from another failure of its kind by: %s\n", listing(keyNames(r.Keys)))
	if r.Refine != nil {
		b.WriteString("  looks at the lines around a match before it counts\n")
	}
	b.WriteString("  patterns:\n")
	for _, p := range r.Patterns {
		fmt.Fprintf(&b, "    %s\n", p)
	}
	for _, e := range examples {
		kind := "matches"
		if !e.Matches {
			kind = "does not match"
		}
		fmt.Fprintf(&b, "  %s (%s):\n", kind, e.Name)
		for line := range strings.Lines(e.Log) {
			fmt.Fprintf(&b, "    %s\n", rules.Mask(line))
		}
	}
	if _, err := io.WriteString(c.out, b.String()); err != nil {
		return err
	}
	return failed
}

// keyNames names the keys that are no facts for people.
func keyNames(keys []string) []string {
	out := make([]string, len(keys))
	for i, k := range keys {
		switch k {
		case domain.KeyPlace:
			k = "its job and step"
		case domain.KeyText:
			k = "its line, with the numbers masked"
		}
		out[i] = k
	}
	return out
}

func listing(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// examples returns what a rule is tried on: where the file of one's own has it,
// or by the name of the built-in fixture.
func (o ownRules) examples(id string) ([]rules.Example, error) {
	i := slices.IndexFunc(o.specs, func(s policy.Rule) bool { return s.ID == id })
	if i < 0 {
		return rules.Examples(id)
	}
	var out []rules.Example
	for _, t := range o.specs[i].Match {
		out = append(out, rules.Example{Name: fmt.Sprintf("line %d", t.Line), Matches: true, Log: t.Value})
	}
	for _, t := range o.specs[i].NoMatch {
		out = append(out, rules.Example{Name: fmt.Sprintf("line %d", t.Line), Log: t.Value})
	}
	return out, nil
}

type rulesTestCommand struct {
	ownFlag
	Files []string `arg:"" optional:"" name:"file" help:"Logs of jobs, archives of runs (zip), folders with either; - is standard input."`
}

// Validate asks for something to do.
func (t rulesTestCommand) Validate() error {
	if len(t.Files) == 0 && len(t.Rules) == 0 {
		return errors.New("name logs to try the rules on, or files of rules to check (--rules FILE)")
	}
	return nil
}

// Run tries the rules on every log. Without logs it checks the files of rules,
// which includes trying each rule on its examples.
func (t rulesTestCommand) Run(ctx context.Context, c console) error {
	own, failed, err := t.load(c)
	if err != nil {
		return err
	}
	if len(t.Files) == 0 {
		for _, s := range own.specs {
			fmt.Fprintf(c.out, "%s: matches its %s, and none of its %s\n", s.ID, counted(len(s.Match), "example"), counted(len(s.NoMatch), "counter-example"))
		}
		return failed
	}
	p := pen{colour: coloured(c)}
	found := map[string]bool{}
	for _, name := range t.Files {
		err := eachLog(name, nil, c.in, func(log opened) error {
			if err := own.try(ctx, c.out, log, p, found); err != nil {
				fmt.Fprintf(c.err, "mlops-bot: %s: %s\n", log.label, rules.Mask(err.Error()))
				failed = exitCode(exitError)
			}
			return ctx.Err()
		})
		if err != nil && ctx.Err() != nil {
			return err
		}
		if err != nil {
			fmt.Fprintf(c.err, "mlops-bot: %s: %v\n", name, err)
			failed = exitCode(exitError)
		}
	}
	for _, s := range own.specs {
		if !found[s.ID] {
			fmt.Fprintf(c.out, "%s matched nothing\n", s.ID)
		}
	}
	return failed
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// try diagnoses one log and prints what matched, in the log's order, and which
// match is the cause. It notes the rules that matched.
func (o ownRules) try(ctx context.Context, out io.Writer, log opened, p pen, found map[string]bool) error {
	a, err := log.diagnose(ctx, o.catalogue)
	if err != nil {
		return err
	}
	d, ex := a.diagnosis, a.why
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", log.label)
	matches := slices.Clone(ex.Considered)
	slices.SortStableFunc(matches, func(a, b detect.Considered) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Rule, b.Rule))
	})
	for _, m := range matches {
		found[m.Rule] = true
		fmt.Fprintf(&b, "  %s: %s (%s)", log.line(m.Line), m.Rule, m.Standing)
		if m.Count > 1 {
			fmt.Fprintf(&b, ", %d lines", m.Count)
		}
		b.WriteString("\n")
		var spans [][]int
		if r := o.find(m.Rule); r != nil {
			spans = r.Spans(m.Text)
		}
		p.mark(&b, "    ", m.Text, spans)
		facts := factsOf(d, m)
		for _, k := range sortedKeys(facts) {
			fmt.Fprintf(&b, "    %s: %s\n", k, facts[k])
		}
	}
	b.WriteString("  " + outcome(ex, log) + "\n")
	_, err = io.WriteString(out, b.String())
	return err
}

// outcome says which match is the cause, and why.
func outcome(ex detect.Explanation, log opened) string {
	switch {
	case ex.Green:
		return "primary: none, since the job passed"
	case len(ex.Considered) == 0:
		return "primary: none, since nothing matched: the cause is unknown"
	}
	first := ex.Considered[0]
	switch first.Standing {
	case rules.Primary:
		return fmt.Sprintf("primary: %s (%s) at %s, confidence %.0f %%: %s", first.Rule, first.Category, log.line(first.Line), first.Confidence*100, first.Why)
	case rules.Doubtful:
		return fmt.Sprintf("primary: none; the likeliest is %s at %s: %s", first.Rule, log.line(first.Line), first.Why)
	default:
		return fmt.Sprintf("primary: none; not %s at %s, since %s", first.Rule, log.line(first.Line), first.Why)
	}
}

// factsOf returns the facts of a match: those of the finding that it became.
func factsOf(d domain.Diagnosis, m detect.Considered) map[string]string {
	for _, f := range append([]domain.Finding{d.Primary}, d.Secondary...) {
		if f.Rule == m.Rule && f.Line == m.Line {
			return f.Facts
		}
	}
	return nil
}

// pen shows places in a text: in colour on a terminal, else by a line of carets
// below.
type pen struct{ colour bool }

const (
	colourOn  = "\x1b[1;31m"
	colourOff = "\x1b[0m"
)

func (p pen) mark(b *strings.Builder, indent, text string, spans [][]int) {
	b.WriteString(indent)
	if !p.colour {
		b.WriteString(text + "\n")
		if len(spans) == 0 {
			return
		}
		var below strings.Builder
		at := 0
		for _, s := range spans {
			below.WriteString(strings.Repeat(" ", columns(text[at:s[0]])))
			below.WriteString(strings.Repeat("^", max(columns(text[s[0]:s[1]]), 1)))
			at = s[1]
		}
		b.WriteString(indent + below.String() + "\n")
		return
	}
	at := 0
	for _, s := range spans {
		b.WriteString(text[at:s[0]] + colourOn + text[s[0]:s[1]] + colourOff)
		at = s[1]
	}
	b.WriteString(text[at:] + "\n")
}

// columns is how wide a terminal shows a text.
func columns(text string) int {
	n := 0
	for _, r := range text {
		switch width.LookupRune(r).Kind() {
		case width.EastAsianWide, width.EastAsianFullwidth:
			n += 2
		default:
			if !unicode.In(r, unicode.Mn, unicode.Me) {
				n++
			}
		}
	}
	return n
}

// coloured tells whether standard output is a terminal that shows colours to
// somebody who wants them.
func coloured(c console) bool {
	for _, kv := range c.environ {
		if k, v, _ := strings.Cut(kv, "="); k == "NO_COLOR" && v != "" || k == "TERM" && v == "dumb" {
			return false
		}
	}
	f, ok := c.out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

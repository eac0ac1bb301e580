package policy

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Bounds of the rules of one file.
const (
	MaxRules    = 50      // of one file
	maxPatterns = 8       // of one rule
	maxPattern  = 1000    // bytes of one
	maxProgram  = 1000    // instructions of one, about
	maxFacts    = 10      // that one rule's patterns name
	maxExamples = 10      // of each kind
	maxExample  = 8 << 10 // bytes of one
	maxTitle    = 100     // bytes
	maxName     = 40      // bytes of an id behind its prefix, of a category and of a fact
)

// OwnPrefix begins the id of each rule of one's own, so that none can pass for a
// built-in one.
const OwnPrefix = "own/"

// Ranks are the names of the ranks that a rule may have: what explains other
// findings stands behind them.
var Ranks = []string{"aftermath", "style", "test", "code", "fit", "setup", "resource", "runner"}

// Severities are the severities that a rule may have.
var Severities = []string{"low", "medium", "high"}

// Rule is a rule of one's own as it stands in a file. Names, lengths and numbers
// are within their bounds, and the patterns are RE2 of a bounded size. What takes
// a catalogue to say (categories, keywords, whether the examples hold) is not
// checked here.
type Rule struct {
	ID       string // OwnPrefix and a name
	Title    string
	Category string
	Severity string // one of Severities
	Remedy   domain.Remedy
	Rank     string // one of Ranks
	Patterns []Text
	// Facts are the names of the patterns' groups, in order. Keys are those that
	// tell one failure from another.
	Facts, Keys []string
	// Match are logs that the rule matches, NoMatch are logs that it does not.
	Match, NoMatch []Text
	// Line is where the rule stands in its file.
	Line int
}

// Text is a string of a file and the line at which it begins.
type Text struct {
	Value string
	Line  int
}

// ParseRules reads a file that holds rules only: version and rules, as a policy
// has them. It is as strict as Parse, and a file without rules is an error too,
// since it says nothing. The error is Invalid.
func ParseRules(b []byte) ([]Rule, error) {
	const op = "read the rules"
	doc, err := document(b, op)
	if err != nil {
		return nil, err
	}
	var r reader
	var out []Rule
	version := 0
	r.mapping(doc, "the file", []field{
		{"version", func(v *yaml.Node) { r.integer(v, "version", 1, 1, &version) }},
		{"rules", func(v *yaml.Node) { r.rules(v, &out) }},
	})
	r.versioned(doc, version)
	if len(out) == 0 && r.Err(op) == nil {
		r.Add(doc.Line, "the file has no rules: write some below \"rules:\", or remove the file")
	}
	return out, r.Err(op)
}

var (
	ruleName     = regexp.MustCompile(`\A[a-z0-9]+(?:-[a-z0-9]+)*\z`)
	categoryName = regexp.MustCompile(`\A[a-z][a-z0-9]*(?:-[a-z0-9]+)*\z`)
	factName     = regexp.MustCompile(`\A[a-z][a-z0-9_]*\z`)
)

func (r *reader) rules(n *yaml.Node, to *[]Rule) {
	if n.Kind != yaml.SequenceNode || n.Anchor != "" {
		r.fail(n, "rules must be a list of rules, each with id, title, category, patterns and examples")
		return
	}
	if len(n.Content) > MaxRules {
		r.fail(n, "there are %d rules, more than %d", len(n.Content), MaxRules)
		return
	}
	seen := map[string]int{}
	for _, e := range n.Content {
		before := len(r.list)
		rule := r.rule(e)
		if len(r.list) > before {
			continue
		}
		if first, ok := seen[rule.ID]; ok {
			r.fail(e, "the rule %s is there already, at line %d: give this one another id", rule.ID, first)
			continue
		}
		seen[rule.ID] = e.Line
		*to = append(*to, rule)
	}
}

func (r *reader) rule(n *yaml.Node) Rule {
	rule := Rule{Line: n.Line, Severity: "medium", Remedy: domain.RemedyHuman, Rank: "fit"}
	var keys *yaml.Node
	before := len(r.list)
	r.mapping(n, "a rule", []field{
		{"id", func(v *yaml.Node) {
			name, own := strings.CutPrefix(v.Value, OwnPrefix)
			if !r.scalar(v, "!!str") || !own || !ruleName.MatchString(name) || len(name) > maxName {
				r.fail(v, "%s is no id of a rule of one's own: write %sname, with small letters, digits and single dashes, at most %d", quote(v.Value), OwnPrefix, maxName)
				return
			}
			rule.ID = v.Value
		}},
		{"title", func(v *yaml.Node) {
			if !r.scalar(v, "!!str") || v.Value == "" || len(v.Value) > maxTitle || strings.TrimSpace(v.Value) != v.Value || strings.ContainsFunc(v.Value, marked) {
				r.fail(v, "a title is one line of 1 to %d bytes of plain text that says what failed, without any of %s", maxTitle, markup)
				return
			}
			rule.Title = v.Value
		}},
		{"category", func(v *yaml.Node) {
			if !r.scalar(v, "!!str") || !categoryName.MatchString(v.Value) || len(v.Value) > maxName || v.Value == domain.Unknown {
				r.fail(v, "%s is no category: take one of the built-in rules' (mlops-bot rules list), or a new name with small letters, digits and single dashes, at most %d", quote(v.Value), maxName)
				return
			}
			rule.Category = v.Value
		}},
		{"severity", func(v *yaml.Node) { r.choice(v, "severity", Severities, &rule.Severity) }},
		{"remedy", func(v *yaml.Node) {
			remedy := string(rule.Remedy)
			r.choice(v, "remedy", []string{string(domain.RemedyFix), string(domain.RemedyRetry), string(domain.RemedyHuman), string(domain.RemedyNone)}, &remedy)
			rule.Remedy = domain.Remedy(remedy)
		}},
		{"rank", func(v *yaml.Node) { r.choice(v, "rank", Ranks, &rule.Rank) }},
		{"patterns", func(v *yaml.Node) {
			r.texts(v, "patterns", maxPatterns, maxPattern, &rule.Patterns)
			for _, p := range rule.Patterns {
				r.pattern(p, &rule)
			}
		}},
		{"keys", func(v *yaml.Node) { keys = v }},
		{"examples", func(v *yaml.Node) {
			r.mapping(v, "examples", []field{
				{"match", func(v *yaml.Node) { r.texts(v, "examples.match", maxExamples, maxExample, &rule.Match) }},
				{"nomatch", func(v *yaml.Node) { r.texts(v, "examples.nomatch", maxExamples, maxExample, &rule.NoMatch) }},
			})
		}},
	})
	if len(r.list) > before {
		return rule
	}
	for _, needed := range []struct {
		key    string
		absent bool
		write  string
	}{
		{"id", rule.ID == "", "write \"id: " + OwnPrefix + "name\""},
		{"title", rule.Title == "", "say in a line what failed"},
		{"category", rule.Category == "", "take a built-in rule's (mlops-bot rules list) or a new name"},
		{"patterns", len(rule.Patterns) == 0, "write the regular expressions of which a log's line matches one"},
		{"examples.match", len(rule.Match) == 0, "add a log that the rule matches, so that it is proven on load"},
		{"examples.nomatch", len(rule.NoMatch) == 0, "add a log with the same words that it must not match, such as a green one"},
	} {
		if needed.absent {
			r.fail(n, "the rule %s has no %s: %s", quote(rule.ID), needed.key, needed.write)
		}
	}
	if len(rule.Facts) > maxFacts {
		r.fail(n, "the patterns of %s name %d facts, more than %d", rule.ID, len(rule.Facts), maxFacts)
	}
	if keys != nil {
		r.keys(keys, &rule)
	}
	return rule
}

// choice reads one of a few words.
func (r *reader) choice(n *yaml.Node, name string, among []string, to *string) {
	if !r.scalar(n, "!!str") || !slices.Contains(among, n.Value) {
		r.fail(n, "%s must be one of %s, not %s", name, strings.Join(among, ", "), quote(n.Value))
		return
	}
	*to = n.Value
}

// texts reads a list of strings that are not empty.
func (r *reader) texts(n *yaml.Node, name string, limit, bytes int, to *[]Text) {
	r.strings(n, name, limit, func(e *yaml.Node) {
		switch {
		case strings.TrimSpace(e.Value) == "":
			r.fail(e, "an entry of %s is empty", name)
		case len(e.Value) > bytes:
			r.fail(e, "an entry of %s has %d bytes, more than %d", name, len(e.Value), bytes)
		default:
			*to = append(*to, Text{e.Value, e.Line})
		}
	})
}

// keys reads which facts tell one failure from another.
func (r *reader) keys(n *yaml.Node, rule *Rule) {
	r.strings(n, "keys", maxFacts, func(e *yaml.Node) {
		switch {
		case !slices.Contains(rule.Facts, e.Value):
			r.fail(e, "keys: no pattern of %s has a group named %s: facts are named groups, (?P<name>…)", rule.ID, quote(e.Value))
		case slices.Contains(rule.Keys, e.Value):
			r.fail(e, "keys: %q is there twice", e.Value)
		default:
			rule.Keys = append(rule.Keys, e.Value)
		}
	})
}

// pattern checks a regular expression and takes the names of its groups. Its
// size is estimated before anything is compiled: a few bytes of nested
// repetitions compile to megabytes.
func (r *reader) pattern(p Text, rule *Rule) {
	if strings.ContainsFunc(p.Value, unprintable) {
		r.Add(p.Line, "patterns: %s holds characters that can't be seen: write \\t, \\x1b or \\x{200b} instead, and put the pattern in single quotes", quote(p.Value))
		return
	}
	tree, err := syntax.Parse(p.Value, syntax.Perl)
	if err != nil {
		r.Add(p.Line, "patterns: %s is no regular expression of RE2 (which knows no lookarounds and no back references): %s", quote(p.Value), firstLine(strings.TrimPrefix(err.Error(), "error parsing regexp: ")))
		return
	}
	if n := Instructions(tree); n > maxProgram {
		r.Add(p.Line, "patterns: %s is too large: it compiles to more than %d instructions. Repeat less, for example .* instead of .{1,500}", quote(p.Value), maxProgram)
		return
	}
	if _, err := regexp.Compile(p.Value); err != nil {
		r.Add(p.Line, "patterns: %s does not compile: %s", quote(p.Value), firstLine(err.Error()))
		return
	}
	for _, name := range tree.CapNames() {
		switch {
		case name == "":
		case !factName.MatchString(name) || len(name) > maxName:
			r.Add(p.Line, "patterns: the group %s is no name of a fact: small letters, digits and _, at most %d", quote(name), maxName)
		case !slices.Contains(rule.Facts, name):
			rule.Facts = append(rule.Facts, name)
		}
	}
}

// maxInstructions is where Instructions stops to count.
const maxInstructions = 1 << 20

// Instructions tells about how many instructions an expression compiles to, at
// most a million. A search takes at most that many steps for each byte.
func Instructions(x *syntax.Regexp) int {
	n := 0
	for _, s := range x.Sub {
		if n += Instructions(s); n > maxInstructions {
			return maxInstructions
		}
	}
	switch x.Op {
	case syntax.OpLiteral:
		n = len(x.Rune)
	case syntax.OpConcat:
	case syntax.OpAlternate:
		n += len(x.Sub)
	case syntax.OpRepeat:
		times := x.Max
		if x.Max < 0 {
			times = x.Min + 1
		}
		n = (n + 1) * max(times, 1)
	case syntax.OpStar, syntax.OpCapture:
		n += 2
	default:
		n++
	}
	return min(max(n, 1), maxInstructions)
}

// markup are characters that a title has no need of: it stands in comments.
const markup = "<>`@[]|#\\"

func unprintable(c rune) bool { return !unicode.IsPrint(c) }

func marked(c rune) bool { return unprintable(c) || strings.ContainsRune(markup, c) }

package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Bounds of a policy file.
const (
	MaxBytes = 64 << 10
	maxList  = 100 // entries of one list
	maxTold  = 10  // problems that one error tells
)

// Parse reads a policy file. It is strict: an unknown key, a wrong type or a
// value out of range is an error that names the line and what to write instead,
// since a rule that is silently not understood would not protect anybody. An
// empty file is an error too. Keys that are left out keep their default.
//
// known are the ids of the strategies that exist; where it is given, a policy
// that names another one is an error (a misspelt strategies.disable would
// disable nothing). The error is Invalid.
func Parse(b []byte, known ...string) (Policy, error) {
	const op = "read the policy"
	doc, err := document(b, op)
	if err != nil {
		return Policy{}, err
	}
	r := reader{known: known}
	p := Default()
	r.policy(&p, doc)
	if err := r.Err(op); err != nil {
		return Policy{}, err
	}
	return p, nil
}

// document reads the one YAML document of a file.
func document(b []byte, op string) (*yaml.Node, error) {
	if len(b) > MaxBytes {
		return nil, domain.Errorf(domain.Invalid, op, "it is larger than %d KiB", MaxBytes>>10)
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, domain.Errorf(domain.Invalid, op, "the file is empty: write \"version: 1\", or remove the file")
	} else if err != nil {
		return nil, domain.Errorf(domain.Invalid, op, "it is no valid YAML: %s", firstLine(err.Error()))
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, domain.Errorf(domain.Invalid, op, "it must be one YAML document, without \"---\" between parts")
	}
	return doc.Content[0], nil
}

// Problems collects what is wrong with a file, so that one error can tell all of
// it.
type Problems struct{ list []string }

// Add notes a problem at a line of the file. What a stranger wrote belongs into
// it quoted and short.
func (p *Problems) Add(line int, format string, args ...any) {
	p.list = append(p.list, fmt.Sprintf("line %d: ", line)+fmt.Sprintf(format, args...))
}

// Err returns nil where nothing was noted, else an Invalid error that tells the
// first ten problems and how many there are besides.
func (p *Problems) Err(op string) error {
	if len(p.list) == 0 {
		return nil
	}
	told := p.list[:min(len(p.list), maxTold)]
	if more := len(p.list) - len(told); more > 0 {
		told = append(slices.Clone(told), fmt.Sprintf("and %d more", more))
	}
	return domain.Errorf(domain.Invalid, op, "%s", strings.Join(told, "; "))
}

// reader collects what is wrong with the nodes of a file.
type reader struct {
	Problems
	known []string
}

func (r *reader) fail(n *yaml.Node, format string, args ...any) { r.Add(n.Line, format, args...) }

// versioned asks for a version where nothing else is wrong.
func (r *reader) versioned(n *yaml.Node, version int) {
	if version == 0 && len(r.list) == 0 {
		r.fail(n, "the key \"version\" is missing: write \"version: 1\"")
	}
}

// field is a key and how its value is read.
type field struct {
	key  string
	read func(*yaml.Node)
}

func (r *reader) policy(p *Policy, n *yaml.Node) {
	version := 0
	r.mapping(n, "the policy", []field{
		{"version", func(v *yaml.Node) { r.integer(v, "version", 1, 1, &version) }},
		{"enabled", func(v *yaml.Node) { r.boolean(v, "enabled", &p.Enabled) }},
		{"mode", func(v *yaml.Node) { r.mode(v, &p.Mode) }},
		{"branches", func(v *yaml.Node) {
			r.mapping(v, "branches", []field{
				{"include", func(v *yaml.Node) { r.globs(v, "branches.include", &p.Branches.Include) }},
				{"exclude", func(v *yaml.Node) { r.globs(v, "branches.exclude", &p.Branches.Exclude) }},
			})
		}},
		{"paths", func(v *yaml.Node) {
			r.mapping(v, "paths", []field{
				{"allow", func(v *yaml.Node) { r.globs(v, "paths.allow", &p.Paths.Allow) }},
				{"deny", func(v *yaml.Node) { r.globs(v, "paths.deny", &p.Paths.Deny) }},
			})
		}},
		{"strategies", func(v *yaml.Node) {
			r.mapping(v, "strategies", []field{
				{"enable", func(v *yaml.Node) { r.strategies(v, "strategies.enable", &p.Strategies.Enable) }},
				{"disable", func(v *yaml.Node) { r.strategies(v, "strategies.disable", &p.Strategies.Disable) }},
				{"approval", func(v *yaml.Node) { r.strategies(v, "strategies.approval", &p.Strategies.Approval) }},
			})
		}},
		{"limits", func(v *yaml.Node) {
			r.mapping(v, "limits", []field{
				{"open_pulls", func(v *yaml.Node) { r.integer(v, "limits.open_pulls", 0, 20, &p.MaxOpenPulls) }},
				{"repairs_per_day", func(v *yaml.Node) { r.integer(v, "limits.repairs_per_day", 0, 100, &p.MaxRepairsPerDay) }},
				{"reruns", func(v *yaml.Node) { r.integer(v, "limits.reruns", 0, 2, &p.Reruns) }},
			})
		}},
		{"labels", func(v *yaml.Node) { r.labels(v, &p.Labels) }},
		{"notify", func(v *yaml.Node) {
			r.mapping(v, "notify", []field{
				{"comment", func(v *yaml.Node) { r.boolean(v, "notify.comment", &p.Notify.Comment) }},
				{"issue", func(v *yaml.Node) { r.boolean(v, "notify.issue", &p.Notify.Issue) }},
			})
		}},
		{"rules", func(v *yaml.Node) { r.rules(v, &p.Rules) }},
	})
	r.versioned(n, version)
}

func (r *reader) mapping(n *yaml.Node, name string, fields []field) {
	if n.Kind != yaml.MappingNode || n.Anchor != "" {
		r.fail(n, "%s must be a mapping without anchors or aliases", name)
		return
	}
	var keys []string
	for _, f := range fields {
		keys = append(keys, f.key)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		at := slices.Index(keys, k.Value)
		switch {
		case k.Kind != yaml.ScalarNode || at < 0:
			r.fail(k, "%s has no key %s; it may have %s", name, quote(k.Value), strings.Join(keys, ", "))
		case seen[k.Value]:
			r.fail(k, "the key %q is there twice", k.Value)
		default:
			seen[k.Value] = true
			fields[at].read(v)
		}
	}
}

// scalar reports whether n is a plain value of one of the YAML tags.
func (r *reader) scalar(n *yaml.Node, tags ...string) bool {
	return n.Kind == yaml.ScalarNode && n.Anchor == "" && slices.Contains(tags, n.ShortTag())
}

func (r *reader) boolean(n *yaml.Node, name string, to *bool) {
	if !r.scalar(n, "!!bool") {
		r.fail(n, "%s must be true or false", name)
		return
	}
	*to = strings.EqualFold(n.Value, "true")
}

func (r *reader) integer(n *yaml.Node, name string, low, high int, to *int) {
	v, err := strconv.Atoi(n.Value)
	if !r.scalar(n, "!!int") || err != nil || v < low || v > high {
		if low == high {
			r.fail(n, "%s must be %d, which is all that this bot understands", name, low)
			return
		}
		r.fail(n, "%s must be a number from %d to %d", name, low, high)
		return
	}
	*to = v
}

func (r *reader) mode(n *yaml.Node, to *domain.Mode) {
	modes := []domain.Mode{domain.ModeObserve, domain.ModeSuggest, domain.ModeHeal}
	if !r.scalar(n, "!!str") || !slices.Contains(modes, domain.Mode(n.Value)) {
		r.fail(n, "mode must be observe, suggest or heal, not %s", quote(n.Value))
		return
	}
	*to = domain.Mode(n.Value)
}

// strings reads a list of strings.
func (r *reader) strings(n *yaml.Node, name string, limit int, read func(*yaml.Node)) {
	if n.Kind != yaml.SequenceNode || n.Anchor != "" {
		r.fail(n, "%s must be a list, for example [\"…\"]", name)
		return
	}
	if len(n.Content) > limit {
		r.fail(n, "%s has more than %d entries", name, limit)
		return
	}
	for _, e := range n.Content {
		if !r.scalar(e, "!!str") {
			r.fail(e, "an entry of %s must be a string (put it in quotes)", name)
			continue
		}
		read(e)
	}
}

func (r *reader) globs(n *yaml.Node, name string, to *[]Glob) {
	*to = nil
	r.strings(n, name, maxList, func(e *yaml.Node) {
		g, err := ParseGlob(e.Value)
		if err != nil {
			cause := err
			if e, ok := errors.AsType[*domain.Error](err); ok {
				cause = e.Err
			}
			r.fail(e, "%s: %v", name, cause)
			return
		}
		*to = append(*to, g)
	})
}

var strategyID = regexp.MustCompile(`\A[a-z][a-z0-9]*(?:-[a-z0-9]+)*\z`)

func (r *reader) strategies(n *yaml.Node, name string, to *[]string) {
	*to = nil
	r.strings(n, name, maxList, func(e *yaml.Node) {
		switch {
		case !strategyID.MatchString(e.Value) || len(e.Value) > 60:
			r.fail(e, "%s: %s is no strategy's id (they look like add-requirement)", name, quote(e.Value))
		case len(r.known) > 0 && !slices.Contains(r.known, e.Value):
			r.fail(e, "%s: there is no strategy %q; there are %s", name, e.Value, strings.Join(r.known, ", "))
		default:
			*to = append(*to, e.Value)
		}
	})
}

func (r *reader) labels(n *yaml.Node, to *[]string) {
	*to = nil
	r.strings(n, "labels", 10, func(e *yaml.Node) {
		if e.Value == "" || len(e.Value) > 50 || strings.ContainsAny(e.Value, ",\n\r\t") || strings.TrimSpace(e.Value) != e.Value {
			r.fail(e, "a label has 1 to 50 bytes, no comma, no line break and no space around it: %s", quote(e.Value))
			return
		}
		*to = append(*to, e.Value)
	})
}

// quote renders a stranger's text within a message: quoted and short.
func quote(s string) string {
	if len(s) > 60 {
		s = strings.ToValidUTF8(s[:60], "") + "…"
	}
	return strconv.Quote(s)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimPrefix(s, "yaml: "), "\n")
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}

package edit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// YAML is a parsed YAML file with the positions of its nodes.
type YAML struct {
	b     []byte
	lines []int // offsets of the lines as YAML counts them
	Root  *yaml.Node
}

// ParseYAML parses a file of one YAML document. Aliases are not followed, so a
// file can't expand. The error wraps ErrSyntax.
func ParseYAML(b []byte) (*YAML, error) {
	if err := checkText(b); err != nil {
		return nil, err
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, domain.Errorf(domain.Invalid, "parse the YAML file", "it is empty: %w", ErrSyntax)
	} else if err != nil {
		return nil, domain.Errorf(domain.Invalid, "parse the YAML file", "%.200s: %w", err.Error(), ErrSyntax)
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, domain.Errorf(domain.Invalid, "parse the YAML file", "it holds more than one document, or rubbish behind the first: %w", ErrSyntax)
	}
	return &YAML{b: b, lines: yamlLines(b), Root: doc.Content[0]}, nil
}

// yamlLines are the offsets at which lines begin, as the parser counts lines: it
// breaks them at NEL, LS and PS too.
func yamlLines(b []byte) []int {
	at := 0
	if bytes.HasPrefix(b, []byte(bom)) {
		at = len(bom)
	}
	out := []int{at}
	for at < len(b) {
		r, n := utf8.DecodeRune(b[at:])
		at += n
		switch r {
		case '\r':
			if at < len(b) && b[at] == '\n' {
				at++
			}
			out = append(out, at)
		case '\n', '\u0085', '\u2028', '\u2029':
			out = append(out, at)
		}
	}
	return out
}

// Offset is the byte offset of a node, and false for a position that is not in
// the file.
func (y *YAML) Offset(n *yaml.Node) (int, bool) {
	if n == nil || n.Line < 1 || n.Line > len(y.lines) || n.Column < 1 {
		return 0, false
	}
	at := y.lines[n.Line-1]
	for range n.Column - 1 { // columns count characters
		if at >= len(y.b) {
			return 0, false
		}
		_, size := utf8.DecodeRune(y.b[at:])
		at += size
	}
	return at, at < len(y.b)
}

// Scalar is the range of a one-line scalar's text, within its quotes where it
// has some. The error wraps ErrNoPlace for block scalars, several lines, escapes,
// anchors and tags.
func (y *YAML) Scalar(n *yaml.Node) (start, end int, err error) {
	at, ok := y.Offset(n)
	if !ok || n.Kind != yaml.ScalarNode {
		return 0, 0, fmt.Errorf("no scalar: %w", ErrNoPlace)
	}
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		at++
	}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 || n.Value == "" || !bytes.HasPrefix(y.b[at:], []byte(n.Value)) {
		return 0, 0, fmt.Errorf("line %d holds no plain value: %w", n.Line, ErrNoPlace)
	}
	return at, at + len(n.Value), nil
}

// SetScalar replaces a one-line scalar's text, keeping its quotes. The error
// wraps ErrNoPlace.
func (y *YAML) SetScalar(n *yaml.Node, text string) (domain.Splice, error) {
	start, end, err := y.Scalar(n)
	if err != nil {
		return domain.Splice{}, err
	}
	return replace(y.b, start, end, text), nil
}

// Quote puts a plain scalar in quotes. The error wraps ErrNoPlace.
func (y *YAML) Quote(n *yaml.Node, quote string) ([]domain.Splice, error) {
	start, end, err := y.Scalar(n)
	if err != nil {
		return nil, err
	}
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		return nil, fmt.Errorf("line %d: %w", n.Line, ErrPresent)
	}
	return []domain.Splice{insert(start, quote), insert(end, quote)}, nil
}

// TextLines are the lines of a scalar's text, each with its place in the file: a
// block scalar's lines without their indentation, or the one line of a plain or
// quoted scalar. The error wraps ErrNoPlace for other forms.
func (y *YAML) TextLines(n *yaml.Node) ([]Line, error) {
	if n == nil {
		return nil, fmt.Errorf("no text: %w", ErrNoPlace)
	}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		start, end, err := y.Scalar(n)
		if err != nil {
			return nil, err
		}
		return []Line{{n.Line, start, end, n.Value}}, nil
	}
	var out []Line
	indent := -1
	for i := n.Line; i < len(y.lines); i++ {
		start := y.lines[i]
		if start >= len(y.b) {
			break
		}
		end := lineEnd(y.b, start)
		text := string(y.b[start:end])
		trimmed := strings.TrimLeft(text, " ")
		width := len(text) - len(trimmed)
		if trimmed == "" {
			out = append(out, Line{i + 1, end, end, ""})
			continue
		}
		if indent < 0 {
			indent = width
		}
		if width < indent {
			break
		}
		out = append(out, Line{i + 1, start + indent, end, text[indent:]})
	}
	for len(out) > 0 && out[len(out)-1].Text == "" {
		out = out[:len(out)-1]
	}
	// What was read from the lines must be what the parser read.
	if n.Style&yaml.LiteralStyle != 0 {
		var texts []string
		for _, l := range out {
			texts = append(texts, l.Text)
		}
		if strings.Join(texts, "\n") != strings.TrimRight(n.Value, "\n") {
			return nil, fmt.Errorf("line %d holds a block of an unusual form: %w", n.Line, ErrNoPlace)
		}
	}
	return out, nil
}

// Get is the value of a key of a mapping, nil where there is none.
func Get(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		if n == nil || n.Kind != yaml.MappingNode {
			return nil
		}
		var next *yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				next = n.Content[i+1]
			}
		}
		n = next
	}
	return n
}

// Value is a scalar's text, "" for anything else.
func Value(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// RemoveItem removes one scalar from a sequence of at least two. A block entry
// goes with its line; within brackets its comma goes too. The error wraps
// ErrNoPlace.
func (y *YAML) RemoveItem(seq *yaml.Node, index int) (domain.Splice, error) {
	none := func(why string) (domain.Splice, error) {
		return domain.Splice{}, fmt.Errorf("%s: %w", why, ErrNoPlace)
	}
	if seq == nil || seq.Kind != yaml.SequenceNode || len(seq.Content) < 2 || index < 0 || index >= len(seq.Content) {
		return none("no list of two entries or more")
	}
	start, end, err := y.Scalar(seq.Content[index])
	if err != nil {
		return domain.Splice{}, err
	}
	if seq.Content[index].Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		start, end = start-1, end+1
	}
	if seq.Style&yaml.FlowStyle == 0 {
		line, rest := string(y.b[lineStart(y.b, start):start]), strings.TrimSpace(string(y.b[end:lineEnd(y.b, end)]))
		if strings.TrimSpace(line) != "-" || rest != "" && rest[0] != '#' {
			return none("an entry that shares its line")
		}
		return replace(y.b, lineStart(y.b, start), nextLine(y.b, end), ""), nil
	}
	if index+1 < len(seq.Content) {
		next, ok := y.Offset(seq.Content[index+1])
		if !ok || strings.Trim(string(y.b[end:next]), ", \t") != "" {
			return none("entries over several lines")
		}
		return replace(y.b, start, next, ""), nil
	}
	_, prevEnd, err := y.Scalar(seq.Content[index-1])
	if err != nil {
		return domain.Splice{}, err
	}
	if seq.Content[index-1].Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		prevEnd++
	}
	if strings.Trim(string(y.b[prevEnd:start]), ", \t") != "" {
		return none("entries over several lines")
	}
	return replace(y.b, prevEnd, end, ""), nil
}

// AddToCondaList adds a requirement to a block sequence of requirements in a
// conda environment (its dependencies, or the list below pip:), sorted where the
// list is. The error wraps ErrNoPlace or ErrPresent.
func (y *YAML) AddToCondaList(seq *yaml.Node, req string) ([]domain.Splice, error) {
	r, err := ParseRequirement(req)
	if err != nil {
		return nil, err
	}
	if seq == nil || seq.Kind != yaml.SequenceNode || seq.Style&yaml.FlowStyle != 0 {
		return nil, fmt.Errorf("no block list: %w", ErrNoPlace)
	}
	var names []string
	var scalars []*yaml.Node
	for _, n := range seq.Content {
		if n.Kind != yaml.ScalarNode {
			continue // the pip: mapping
		}
		name := CondaName(n.Value)
		if name == r.Name {
			return nil, fmt.Errorf("%s: %w", r.Name, ErrPresent)
		}
		start, end, err := y.Scalar(n)
		if err != nil || strings.TrimLeft(string(y.b[lineStart(y.b, start):start]), " \t-'\"") != "" || nextLine(y.b, end) < end {
			return nil, fmt.Errorf("line %d: an entry of an unusual form: %w", n.Line, ErrNoPlace)
		}
		names, scalars = append(names, name), append(scalars, n)
	}
	if len(scalars) == 0 {
		return nil, fmt.Errorf("an empty list: %w", ErrNoPlace)
	}
	at := len(scalars)
	if len(names) > 2 && slices.IsSorted(names) {
		at, _ = slices.BinarySearch(names, r.Name)
	}
	beside := scalars[max(at-1, 0)]
	start, end, err := y.Scalar(beside)
	if err != nil {
		return nil, err
	}
	line := string(y.b[lineStart(y.b, start):start])
	prefix := line[:strings.LastIndexByte(line, '-')+1] + " "
	if at == 0 {
		return []domain.Splice{InsertBefore(y.b, start, prefix+req)}, nil
	}
	return []domain.Splice{InsertAfter(y.b, end, prefix+req)}, nil
}

// CondaName is the normalised name of a conda requirement ("channel::pkg=1.2").
func CondaName(s string) string {
	if _, after, ok := strings.Cut(s, "::"); ok {
		s = after
	}
	if i := strings.IndexAny(s, " =<>!~[;@"); i >= 0 {
		s = s[:i]
	}
	return Normalize(strings.TrimSpace(s))
}

package edit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// TOML is a parsed TOML file: its keys with the positions of their values.
type TOML struct {
	b      []byte
	values []tomlValue
	tables []tomlTable
}

type tomlValue struct {
	path       []string // from the root; elements of arrays of tables carry "[]"
	kind       unstable.Kind
	start, end int    // of the value
	text       string // of a string
	keyStart   int
}

type tomlTable struct {
	path []string
	line int // offset of the header's line
}

// ParseTOML parses and validates a TOML file (duplicate keys and the like are
// errors, as they are for every reader of pyproject.toml). The error wraps
// ErrSyntax.
func ParseTOML(b []byte) (*TOML, error) {
	if err := checkText(b); err != nil {
		return nil, err
	}
	var all map[string]any
	if err := toml.Unmarshal(b, &all); err != nil {
		return nil, domain.Errorf(domain.Invalid, "parse the TOML file", "%.200s: %w", err.Error(), ErrSyntax)
	}
	t := &TOML{b: b}
	var p unstable.Parser
	p.Reset(b)
	var table []string
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind { //nolint:exhaustive // no other kinds stand at the top
		case unstable.Table, unstable.ArrayTable:
			key, start := tomlKey(e)
			table = key
			if e.Kind == unstable.ArrayTable {
				table = append(slices.Clone(key), "[]")
			}
			t.tables = append(t.tables, tomlTable{table, lineStart(b, start)})
		case unstable.KeyValue:
			t.keyValue(e, table)
		}
	}
	if err := p.Error(); err != nil {
		return nil, domain.Errorf(domain.Invalid, "parse the TOML file", "%.200s: %w", err.Error(), ErrSyntax)
	}
	return t, nil
}

// tomlKey returns a node's dotted key and the offset of its first part.
func tomlKey(n *unstable.Node) (key []string, start int) {
	start = -1
	for it := n.Key(); it.Next(); {
		if start < 0 {
			start = int(it.Node().Raw.Offset)
		}
		key = append(key, string(it.Node().Data))
	}
	return key, max(start, 0)
}

func (t *TOML) keyValue(e *unstable.Node, table []string) {
	key, keyStart := tomlKey(e)
	path := append(slices.Clone(table), key...)
	v := e.Value()
	end := int(e.Raw.Offset + e.Raw.Length)
	// The value begins behind the first "=" after the key's last part.
	at := keyStart
	for it := e.Key(); it.Next(); {
		at = int(it.Node().Raw.Offset + it.Node().Raw.Length)
	}
	eq := strings.IndexByte(string(t.b[at:min(end, len(t.b))]), '=')
	if eq < 0 {
		return
	}
	start := at + eq + 1
	for start < len(t.b) && (t.b[start] == ' ' || t.b[start] == '\t') {
		start++
	}
	end = max(min(end, len(t.b)), start)
	end = start + len(strings.TrimRight(string(t.b[start:end]), " \t\r\n"))
	t.values = append(t.values, tomlValue{path, v.Kind, start, end, string(v.Data), keyStart})
	if v.Kind == unstable.InlineTable {
		for it := v.Children(); it.Next(); {
			if it.Node().Kind == unstable.KeyValue {
				t.keyValue(it.Node(), path)
			}
		}
	}
}

func (t *TOML) find(path []string) (tomlValue, bool) {
	for _, v := range t.values {
		if slices.Equal(v.path, path) {
			return v, true
		}
	}
	return tomlValue{}, false
}

// Has reports whether a table or key of that path is there, whatever it holds.
func (t *TOML) Has(path ...string) bool {
	under := func(p []string) bool { return len(p) >= len(path) && slices.Equal(p[:len(path)], path) }
	return slices.ContainsFunc(t.tables, func(x tomlTable) bool { return under(x.path) }) ||
		slices.ContainsFunc(t.values, func(v tomlValue) bool { return under(v.path) })
}

// Keys lists the keys directly below a path, in order.
func (t *TOML) Keys(path ...string) []string {
	var out []string
	add := func(p []string) {
		if len(p) > len(path) && slices.Equal(p[:len(path)], path) && !slices.Contains(out, p[len(path)]) {
			out = append(out, p[len(path)])
		}
	}
	for _, v := range t.values {
		add(v.path)
	}
	for _, x := range t.tables {
		add(x.path)
	}
	return out
}

// String is the value of a string key.
func (t *TOML) String(path ...string) (string, bool) {
	v, ok := t.find(path)
	if !ok || v.kind != unstable.String {
		return "", false
	}
	return v.text, true
}

// Strings is the value of an array of strings; elements of other kinds are left
// out.
func (t *TOML) Strings(path ...string) ([]string, bool) {
	l, err := t.list(path)
	if err != nil {
		return nil, false
	}
	var out []string
	for _, it := range l.items {
		if it.plain {
			out = append(out, it.value)
		}
	}
	return out, true
}

// AddToList adds a requirement to an array of requirements in the array's style.
// The error wraps ErrNoPlace or ErrPresent.
func (t *TOML) AddToList(req string, path ...string) ([]domain.Splice, error) {
	l, err := t.list(path)
	if err != nil {
		return nil, err
	}
	return l.add(t.b, req)
}

// ConstrainInList adds an upper bound to the requirement of that (normalised)
// name in an array. The error wraps ErrNoPlace or ErrPresent.
func (t *TOML) ConstrainInList(name, bound string, path ...string) ([]domain.Splice, error) {
	l, err := t.list(path)
	if err != nil {
		return nil, err
	}
	it, ok := l.find(name)
	if !ok {
		return nil, fmt.Errorf("%s is not in %s: %w", name, strings.Join(path, "."), ErrNoPlace)
	}
	raw := string(t.b[it.start:it.end])
	if raw[1:len(raw)-1] != it.value {
		return nil, fmt.Errorf("an escaped string: %w", ErrNoPlace)
	}
	text, err := Constrain(it.value, bound)
	if err != nil {
		return nil, err
	}
	return []domain.Splice{replace(t.b, it.start+1, it.end-1, text)}, nil
}

// SetString replaces the text of a one-line string, keeping its quotes. The
// error wraps ErrNoPlace.
func (t *TOML) SetString(text string, path ...string) ([]domain.Splice, error) {
	v, ok := t.find(path)
	if !ok || v.kind != unstable.String || v.end-v.start < 2 || string(t.b[v.start+1:v.end-1]) != v.text || strings.ContainsAny(text, "'\"\\\n\r") {
		return nil, fmt.Errorf("%s is no plain string: %w", strings.Join(path, "."), ErrNoPlace)
	}
	return []domain.Splice{replace(t.b, v.start+1, v.end-1, text)}, nil
}

// AddKey adds `key = value` to a table behind its last key (or at its sorted
// place, where at least three keys are sorted; firsts are keys that don't count,
// such as poetry's python). The error wraps ErrNoPlace or ErrPresent.
func (t *TOML) AddKey(key, value string, table []string, firsts ...string) ([]domain.Splice, error) {
	var keys []tomlValue
	var names []string
	for _, v := range t.values {
		if len(v.path) == len(table)+1 && slices.Equal(v.path[:len(table)], table) {
			name := v.path[len(table)]
			if Normalize(name) == Normalize(key) {
				return nil, fmt.Errorf("%s: %w", key, ErrPresent)
			}
			if !onOwnLine(t.b, v.keyStart) {
				return nil, fmt.Errorf("an inline table: %w", ErrNoPlace)
			}
			if !slices.Contains(firsts, name) || len(keys) == 0 {
				keys, names = append(keys, v), append(names, Normalize(name))
			}
		}
	}
	if slices.ContainsFunc(t.Keys(table...), func(k string) bool { return Normalize(k) == Normalize(key) }) {
		return nil, fmt.Errorf("%s: %w", key, ErrPresent)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("no key in %s to stand beside: %w", strings.Join(table, "."), ErrNoPlace)
	}
	line := indentOf(t.b, keys[0].keyStart) + key + " = " + value
	at := len(keys)
	sortable := names
	if slices.Contains(firsts, keys[0].path[len(table)]) {
		sortable = names[1:]
	}
	if len(sortable) > 2 && slices.IsSorted(sortable) {
		n, _ := slices.BinarySearch(sortable, Normalize(key))
		at = n + len(names) - len(sortable)
	}
	if at == 0 {
		return []domain.Splice{InsertBefore(t.b, keys[0].keyStart, line)}, nil
	}
	return []domain.Splice{InsertAfter(t.b, keys[at-1].end, line)}, nil
}

func (t *TOML) list(path []string) (list, error) {
	v, ok := t.find(path)
	if !ok || v.kind != unstable.Array || v.start >= len(t.b) || t.b[v.start] != '[' {
		return list{}, fmt.Errorf("%s is no array: %w", strings.Join(path, "."), ErrNoPlace)
	}
	return scanTOMLArray(t.b, v.start)
}

// scanTOMLArray finds the elements and commas of an array of valid TOML.
func scanTOMLArray(b []byte, open int) (list, error) {
	l := list{open: open, close: -1}
	depth := 0
	cur := item{start: -1, comma: -1}
	flush := func() {
		if cur.start >= 0 {
			l.items = append(l.items, cur)
		}
		cur = item{start: -1, comma: -1}
	}
	token := func(start, end int, value string, plain bool) {
		if depth > 1 || cur.start >= 0 {
			plain = false
		}
		if cur.start < 0 {
			cur.start, cur.value = start, value
			cur.plain = plain
		} else {
			cur.plain = false
		}
		cur.end = end
	}
	for i := open; i < len(b); {
		switch c := b[i]; c {
		case ' ', '\t', '\r', '\n':
			i++
		case '#':
			i = lineEnd(b, i)
		case '[', '{':
			if depth > 0 {
				token(i, i+1, "", false)
			}
			depth++
			i++
		case ']', '}':
			depth--
			if depth == 0 {
				flush()
				l.close = i
				return l, nil
			}
			token(i, i+1, "", false)
			i++
		case ',':
			if depth == 1 && cur.start >= 0 {
				cur.comma = i
				flush()
			}
			i++
		case '"', '\'':
			end, value, plain, err := scanTOMLString(b, i)
			if err != nil {
				return list{}, err
			}
			token(i, end, value, plain)
			i = end
		default:
			token(i, i+1, "", false)
			i++
		}
	}
	return list{}, fmt.Errorf("an array without an end: %w", ErrSyntax)
}

// scanTOMLString returns the end of the string at i, and its value where it has
// neither escapes nor line breaks.
func scanTOMLString(b []byte, i int) (end int, value string, plain bool, err error) {
	q := b[i]
	if i+2 < len(b) && b[i+1] == q && b[i+2] == q {
		for j := i + 3; j+2 < len(b); j++ {
			if q == '"' && b[j] == '\\' {
				j++
				continue
			}
			if b[j] == q && b[j+1] == q && b[j+2] == q {
				for j+3 < len(b) && b[j+3] == q { // up to two quotes may stand before the end
					j++
				}
				return j + 3, "", false, nil
			}
		}
		return 0, "", false, fmt.Errorf("a string without an end: %w", ErrSyntax)
	}
	plain = true
	for j := i + 1; j < len(b) && b[j] != '\n'; j++ {
		switch {
		case b[j] == '\\' && q == '"':
			plain = false
			j++
		case b[j] == q:
			return j + 1, string(b[i+1 : j]), plain, nil
		}
	}
	return 0, "", false, fmt.Errorf("a string without an end: %w", ErrSyntax)
}

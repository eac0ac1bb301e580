package edit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
	"go.yaml.in/yaml/v3"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Integer is an integer in a configuration file.
type Integer struct {
	Path       []string // keys from the root; list indices are "[i]"
	Value      int64
	Line       int // from 1
	Start, End int // of the digits
}

// Key is the last part of the path.
func (i Integer) Key() string {
	if len(i.Path) == 0 {
		return ""
	}
	return i.Path[len(i.Path)-1]
}

// Set replaces the number.
func (i Integer) Set(b []byte, value int64) domain.Splice {
	return replace(b, i.Start, i.End, strconv.FormatInt(value, 10))
}

// Integers lists the decimal integers of a YAML, JSON, TOML or INI file, told by
// its name. The error wraps ErrSyntax, or ErrNoPlace for other kinds of files.
func Integers(name string, b []byte) ([]Integer, error) {
	switch strings.ToLower(path.Ext(name)) {
	case ".yml", ".yaml":
		return yamlIntegers(b)
	case ".json":
		return jsonIntegers(b)
	case ".toml":
		return tomlIntegers(b)
	case ".ini", ".cfg", ".conf":
		return iniIntegers(b)
	}
	return nil, fmt.Errorf("%s is no YAML, JSON, TOML or INI file: %w", path.Base(name), ErrNoPlace)
}

// decimal reads digits as they stand, without signs, underscores and other bases.
func decimal(s string) (int64, bool) {
	v, err := strconv.ParseInt(s, 10, 64)
	return v, err == nil && s != "" && strings.Trim(s, "0123456789") == "" && (s == "0" || s[0] != '0')
}

func yamlIntegers(b []byte) ([]Integer, error) {
	y, err := ParseYAML(b)
	if err != nil {
		return nil, err
	}
	var out []Integer
	var walk func(n *yaml.Node, p []string)
	walk = func(n *yaml.Node, p []string) {
		switch n.Kind { //nolint:exhaustive // a parsed tree holds no other kinds, and aliases are not followed
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				walk(n.Content[i+1], sub(p, n.Content[i].Value))
			}
		case yaml.SequenceNode:
			for i, c := range n.Content {
				walk(c, sub(p, fmt.Sprintf("[%d]", i)))
			}
		case yaml.ScalarNode:
			v, ok := decimal(n.Value)
			start, end, err := y.Scalar(n)
			if ok && err == nil && n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
				out = append(out, Integer{p, v, 1 + bytes.Count(b[:start], []byte("\n")), start, end})
			}
		}
	}
	walk(y.Root, nil)
	return out, nil
}

func sub(p []string, key string) []string { return append(p[:len(p):len(p)], key) }

func jsonIntegers(b []byte) ([]Integer, error) {
	if err := checkText(b); err != nil {
		return nil, err
	}
	skip := 0
	if bytes.HasPrefix(b, []byte(bom)) {
		skip = len(bom)
	}
	if !json.Valid(b[skip:]) {
		return nil, domain.Errorf(domain.Invalid, "parse the JSON file", "%w", ErrSyntax)
	}
	dec := json.NewDecoder(bytes.NewReader(b[skip:]))
	dec.UseNumber()
	type frame struct {
		object bool
		key    string
		isKey  bool // the next string of an object is a key
		index  int
	}
	var stack []frame
	var out []Integer
	done := func() { // a value ended
		if n := len(stack); n > 0 {
			stack[n-1].isKey = true
			stack[n-1].index++
		}
	}
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, domain.Errorf(domain.Invalid, "parse the JSON file", "%.200s: %w", err.Error(), ErrSyntax)
		}
		switch v := tok.(type) {
		case json.Delim:
			if v == '{' || v == '[' {
				stack = append(stack, frame{object: v == '{', isKey: true})
				continue
			}
			stack = stack[:len(stack)-1]
			done()
		case string:
			if n := len(stack); n > 0 && stack[n-1].object && stack[n-1].isKey {
				stack[n-1].key, stack[n-1].isKey = v, false
				continue
			}
			done()
		case json.Number:
			if value, ok := decimal(v.String()); ok {
				var p []string
				for _, f := range stack {
					if f.object {
						p = append(p, f.key)
					} else {
						p = append(p, fmt.Sprintf("[%d]", f.index))
					}
				}
				end := int(dec.InputOffset()) + skip
				start := end - len(v.String())
				out = append(out, Integer{p, value, 1 + bytes.Count(b[:start], []byte("\n")), start, end})
			}
			done()
		default:
			done()
		}
	}
}

func tomlIntegers(b []byte) ([]Integer, error) {
	t, err := ParseTOML(b)
	if err != nil {
		return nil, err
	}
	var out []Integer
	for _, v := range t.values {
		if v.kind != unstable.Integer {
			continue
		}
		if value, ok := decimal(string(b[v.start:v.end])); ok {
			out = append(out, Integer{v.path, value, 1 + bytes.Count(b[:v.start], []byte("\n")), v.start, v.end})
		}
	}
	return out, nil
}

func iniIntegers(b []byte) ([]Integer, error) {
	f, err := ParseINI(b)
	if err != nil {
		return nil, err
	}
	var out []Integer
	for _, o := range f.options {
		values := o.values(b)
		if len(values) != 1 {
			continue
		}
		if v, ok := decimal(values[0].Text); ok {
			out = append(out, Integer{[]string{o.section, o.key}, v, values[0].Number, values[0].Start, values[0].End})
		}
	}
	return out, nil
}

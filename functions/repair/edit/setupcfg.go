package edit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// INI is a parsed setup.cfg, tox.ini or the like, as Python's configparser reads
// it: values go on over indented lines.
type INI struct {
	b       []byte
	options []iniOption
}

type iniOption struct {
	section, key string
	lines        []Line // the first with the key, then the indented ones; comments and blanks in between too
	valueStart   int    // of the value on the first line
}

// ParseINI parses an INI file. The error wraps ErrSyntax.
func ParseINI(b []byte) (*INI, error) {
	if err := checkText(b); err != nil {
		return nil, err
	}
	f := &INI{b: b}
	section, seen := "", map[[2]string]bool{}
	var cur *iniOption
	for _, l := range Lines(b) {
		text := strings.TrimSpace(l.Text)
		indented := l.Text != "" && (l.Text[0] == ' ' || l.Text[0] == '\t')
		comment := strings.HasPrefix(text, "#") || strings.HasPrefix(text, ";")
		switch {
		case text == "" || comment:
			if cur != nil {
				cur.lines = append(cur.lines, l)
			}
		case indented && cur != nil:
			cur.lines = append(cur.lines, l)
		case strings.HasPrefix(text, "["):
			end := strings.IndexByte(text, ']')
			if end < 0 {
				return nil, domain.Errorf(domain.Invalid, "parse the INI file", "line %d: a section without its bracket: %w", l.Number, ErrSyntax)
			}
			section, cur = text[1:end], nil
		default:
			at := strings.IndexAny(l.Text, "=:")
			if at <= 0 || section == "" {
				return nil, domain.Errorf(domain.Invalid, "parse the INI file", "line %d is no option of a section: %w", l.Number, ErrSyntax)
			}
			key := strings.ToLower(strings.TrimSpace(l.Text[:at]))
			id := [2]string{section, key}
			if seen[id] {
				return nil, domain.Errorf(domain.Invalid, "parse the INI file", "line %d sets %q again: %w", l.Number, key, ErrSyntax)
			}
			seen[id] = true
			f.options = append(f.options, iniOption{section, key, []Line{l}, l.Start + at + 1})
			cur = &f.options[len(f.options)-1]
		}
	}
	return f, nil
}

func (f *INI) option(section, key string) (iniOption, bool) {
	for _, o := range f.options {
		if o.section == section && o.key == strings.ToLower(key) {
			return o, true
		}
	}
	return iniOption{}, false
}

// Keys lists the options of a section.
func (f *INI) Keys(section string) []string {
	var out []string
	for _, o := range f.options {
		if o.section == section {
			out = append(out, o.key)
		}
	}
	return out
}

// Values returns an option's non-empty lines without comments.
func (f *INI) Values(section, key string) ([]string, bool) {
	o, ok := f.option(section, key)
	if !ok {
		return nil, false
	}
	var out []string
	for _, l := range o.values(f.b) {
		out = append(out, l.Text)
	}
	return out, true
}

// values are the value's lines: trimmed, without blank ones and comments.
func (o iniOption) values(b []byte) []Line {
	var out []Line
	for i, l := range o.lines {
		start := l.Start
		if i == 0 {
			start = o.valueStart
		}
		text := strings.TrimSpace(string(b[start:l.End]))
		if text == "" || strings.HasPrefix(text, "#") || strings.HasPrefix(text, ";") {
			continue
		}
		start += strings.Index(string(b[start:l.End]), text)
		out = append(out, Line{l.Number, start, start + len(text), text})
	}
	return out
}

// AddToList adds a requirement to an option that lists requirements one a line.
// The error wraps ErrNoPlace or ErrPresent.
func (f *INI) AddToList(req, section, key string) ([]domain.Splice, error) {
	r, err := ParseRequirement(req)
	if err != nil {
		return nil, err
	}
	o, ok := f.option(section, key)
	if !ok {
		return nil, fmt.Errorf("[%s] has no %s: %w", section, key, ErrNoPlace)
	}
	values := o.values(f.b)
	if len(values) == 0 {
		return nil, fmt.Errorf("[%s] %s is empty: %w", section, key, ErrNoPlace)
	}
	names := make([]string, 0, len(values))
	for _, v := range values {
		got, err := ParseRequirement(stripComment(v.Text))
		if err != nil {
			return nil, fmt.Errorf("[%s] %s holds %.60q: %w", section, key, v.Text, ErrNoPlace)
		}
		if got.Name == r.Name {
			return nil, fmt.Errorf("%s: %w", r.Name, ErrPresent)
		}
		names = append(names, got.Name)
	}
	if values[0].Number == o.lines[0].Number {
		// "install_requires = a" on one line: setuptools splits lists of one line at
		// semicolons, which markers use too.
		if len(values) > 1 || strings.Contains(values[0].Text, ";") {
			return nil, fmt.Errorf("[%s] %s begins on the key's own line: %w", section, key, ErrNoPlace)
		}
		nl := newline(f.b)
		return []domain.Splice{replace(f.b, o.valueStart, values[0].End, nl+"    "+values[0].Text+nl+"    "+req)}, nil
	}
	line := indentOf(f.b, values[0].Start) + req
	if len(names) > 2 && slices.IsSorted(names) {
		at, _ := slices.BinarySearch(names, r.Name)
		if at == 0 {
			return []domain.Splice{InsertBefore(f.b, values[0].Start, line)}, nil
		}
		return []domain.Splice{InsertAfter(f.b, values[at-1].End, line)}, nil
	}
	return []domain.Splice{InsertAfter(f.b, values[len(values)-1].End, line)}, nil
}

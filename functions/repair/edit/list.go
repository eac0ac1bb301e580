package edit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// list is a bracketed list of strings in a file, be it a TOML array or a Python
// list, tuple or set.
type list struct {
	open, close int // offsets of the brackets
	items       []item
}

// item is one element of a list.
type item struct {
	start, end int    // of the element with its quotes
	value      string // of a plain string
	plain      bool   // a plain string, whose value is known
	comma      int    // offset of the comma after it, -1 where there is none
}

// names are the normalised distribution names of the items that are
// requirements.
func (l list) names() []string {
	var out []string
	for _, it := range l.items {
		if r, err := ParseRequirement(it.value); it.plain && err == nil {
			out = append(out, r.Name)
		}
	}
	return out
}

func (l list) find(name string) (item, bool) {
	for _, it := range l.items {
		if r, err := ParseRequirement(it.value); it.plain && err == nil && r.Name == name {
			return it, true
		}
	}
	return item{}, false
}

// add inserts a requirement in the style of the list: at its sorted position
// where the list is sorted, else at the end; with the neighbours' quotes and
// indentation, and a trailing comma only where the list has one.
func (l list) add(b []byte, req string) ([]domain.Splice, error) {
	r, err := ParseRequirement(req)
	if err != nil {
		return nil, err
	}
	if _, ok := l.find(r.Name); ok {
		return nil, fmt.Errorf("%s: %w", r.Name, ErrPresent)
	}
	quote := `"`
	for _, it := range l.items {
		if it.plain && it.start < len(b) && (b[it.start] == '\'' || b[it.start] == '"') {
			quote = string(b[it.start])
		}
	}
	if strings.ContainsAny(req, `'"\`) {
		return nil, fmt.Errorf("a requirement with quotes: %w", ErrNoPlace)
	}
	text, nl := quote+req+quote, newline(b)
	multiline := strings.Contains(string(b[l.open:l.close]), "\n")
	if len(l.items) == 0 {
		return l.addFirst(b, text, nl, multiline), nil
	}
	at := len(l.items) // the new item's index
	if names := l.names(); len(names) == len(l.items) && len(names) > 2 && slices.IsSorted(names) {
		at, _ = slices.BinarySearch(names, r.Name)
	}
	if at == 0 {
		first := l.items[0]
		if onOwnLine(b, first.start) {
			return []domain.Splice{insert(lineStart(b, first.start), indentOf(b, first.start)+text+","+nl)}, nil
		}
		return []domain.Splice{insert(first.start, text+", ")}, nil
	}
	prev := l.items[at-1]
	switch {
	case !multiline || !onOwnLine(b, prev.start):
		return []domain.Splice{insert(prev.end, ", "+text)}, nil
	case prev.comma < 0:
		// The last item of a list without a trailing comma. A comment behind it
		// keeps its line.
		comma := insert(prev.end, ",")
		end := lineEnd(b, prev.end)
		if l.close < end || strings.TrimSpace(string(b[prev.end:end])) == "" {
			comma.New += nl + indentOf(b, prev.start) + text
			return []domain.Splice{comma}, nil
		}
		return []domain.Splice{comma, insert(end, nl+indentOf(b, prev.start)+text)}, nil
	default:
		end := lineEnd(b, prev.comma)
		if behind := strings.TrimSpace(string(b[prev.comma+1 : end])); l.close < end || (behind != "" && behind[0] != '#') {
			return []domain.Splice{insert(prev.comma+1, " "+text+",")}, nil
		}
		return []domain.Splice{insert(end, nl+indentOf(b, prev.start)+text+",")}, nil
	}
}

func (l list) addFirst(b []byte, text, nl string, multiline bool) []domain.Splice {
	if !multiline {
		return []domain.Splice{insert(l.open+1, text)}
	}
	// Comments may stand in the empty list: the item goes before the bracket.
	if onOwnLine(b, l.close) {
		return []domain.Splice{insert(lineStart(b, l.close), indentOf(b, l.close)+"    "+text+","+nl)}
	}
	return []domain.Splice{insert(l.close, text)}
}

// onOwnLine reports whether only white space stands before the offset in its line.
func onOwnLine(b []byte, at int) bool {
	return strings.TrimSpace(string(b[lineStart(b, at):at])) == ""
}

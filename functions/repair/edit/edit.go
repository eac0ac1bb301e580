// Package edit holds the low-level editors of the files that repairs change:
// requirement lists, TOML, setup.cfg, setup.py, conda environments, YAML, JSON
// and Python source. Each is a pure function from a file's content to byte
// splices at parsed positions, so that comments, quotes, indentation, line
// endings and a missing final newline stay as their owner wrote them. It knows
// nothing about findings, and never writes through an encoder.
package edit

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strings"

	udiff "github.com/aymanbagabas/go-udiff"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// MaxBytes is the largest file that the editors look at.
const MaxBytes = 1 << 20

// Why an editor did nothing. Callers tell them apart with errors.Is.
var (
	// ErrNoPlace: the file parses, and what was to be edited is not in it, or not
	// in a form that can be edited with certainty.
	ErrNoPlace = errors.New("no place to edit")
	// ErrPresent: what was to be added is there already.
	ErrPresent = errors.New("already there")
	// ErrSyntax: the file does not parse.
	ErrSyntax = errors.New("does not parse")
)

// Diff is the unified diff of one file in git's style: a/ and b/ before the
// path, three lines of context, and nothing at all for equal contents.
func Diff(path string, before, after []byte) string {
	return udiff.Unified("a/"+path, "b/"+path, string(before), string(after))
}

// Apply returns content with splices made, in any order. The error is
// domain.Invalid when they overlap or don't fit.
func Apply(content []byte, splices []domain.Splice) ([]byte, error) {
	return domain.Edit{Path: "the file", Splices: Sorted(splices)}.Apply(content)
}

// Sorted returns the splices ordered by their start.
func Sorted(splices []domain.Splice) []domain.Splice {
	out := slices.Clone(splices)
	slices.SortStableFunc(out, func(a, b domain.Splice) int { return cmp.Compare(a.Start, b.Start) })
	return out
}

// replace is a splice of b[start:end].
func replace(b []byte, start, end int, text string) domain.Splice {
	return domain.Splice{Start: start, Old: string(b[start:end]), New: text}
}

func insert(at int, text string) domain.Splice { return domain.Splice{Start: at, New: text} }

const bom = "\ufeff"

// newline is the line ending that the file uses most.
func newline(b []byte) string {
	if crlf := bytes.Count(b, []byte("\r\n")); crlf > 0 && crlf*2 >= bytes.Count(b, []byte("\n")) {
		return "\r\n"
	}
	return "\n"
}

// lineStart is the offset at which the line of at begins, behind a byte order mark.
func lineStart(b []byte, at int) int {
	start := bytes.LastIndexByte(b[:at], '\n') + 1
	if start == 0 && at >= len(bom) && bytes.HasPrefix(b, []byte(bom)) {
		return len(bom)
	}
	return start
}

// lineEnd is the offset at which the line of at ends, before its line ending.
func lineEnd(b []byte, at int) int {
	n := bytes.IndexByte(b[at:], '\n')
	if n < 0 {
		return len(b)
	}
	if n > 0 && b[at+n-1] == '\r' {
		n--
	}
	return at + n
}

// nextLine is the offset at which the line after that of at begins, or the end.
func nextLine(b []byte, at int) int {
	n := bytes.IndexByte(b[at:], '\n')
	if n < 0 {
		return len(b)
	}
	return at + n + 1
}

func indentOf(b []byte, at int) string {
	start := lineStart(b, at)
	end := start
	for end < len(b) && (b[end] == ' ' || b[end] == '\t') {
		end++
	}
	return string(b[start:end])
}

// Line is one line of a file, without its ending.
type Line struct {
	Number     int // from 1
	Start, End int // byte offsets
	Text       string
}

// Lines splits a file into its lines; a byte order mark belongs to none.
func Lines(b []byte) []Line {
	var out []Line
	at := 0
	if bytes.HasPrefix(b, []byte(bom)) {
		at = len(bom)
	}
	for n := 1; at < len(b); n++ {
		end := lineEnd(b, at)
		out = append(out, Line{n, at, end, string(b[at:end])})
		at = nextLine(b, at)
	}
	return out
}

// checkText refuses what isn't UTF-8 text of a reasonable size.
func checkText(b []byte) error {
	switch {
	case len(b) > MaxBytes:
		return domain.Errorf(domain.Unsupported, "read the file", "%w", domain.ErrTooLarge)
	case bytes.IndexByte(b, 0) >= 0:
		return domain.Errorf(domain.Unsupported, "read the file", "it is not UTF-8 text: %w", ErrSyntax)
	}
	return nil
}

// InsertBefore inserts text as lines of its own before the line of offset at.
// The lines of text are separated by "\n" and get the file's line ending.
func InsertBefore(b []byte, at int, text string) domain.Splice {
	nl := newline(b)
	return insert(lineStart(b, at), strings.ReplaceAll(text, "\n", nl)+nl)
}

// InsertAfter inserts text as lines of its own after the line of offset at. A
// last line without an ending keeps the file without one.
func InsertAfter(b []byte, at int, text string) domain.Splice {
	nl := newline(b)
	text = strings.ReplaceAll(text, "\n", nl)
	if next := nextLine(b, at); next > 0 && next <= len(b) && b[next-1] == '\n' {
		return insert(next, text+nl)
	}
	return insert(len(b), nl+text)
}

package main

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// dialect is how another program writes what Go's regular expressions say.
type dialect struct {
	word, noWord string // a word's boundary, and no boundary
	lazy         bool   // has quantifiers that prefer less
	literal      func(r rune, fold bool) (string, error)
	class        func(ranges []rune) (string, error)
}

// rust is what ripgrep reads. The classes are written out, since its \w, \d, \s
// and \b mean all of Unicode, which Go's do not and which makes it far slower.
var rust = dialect{word: `(?-u:\b)`, noWord: `(?-u:\B)`, lazy: true, literal: rustLiteral, class: rustClass}

// gnu is what grep -E reads.
var gnu = dialect{word: `\b`, noWord: `\B`, literal: gnuLiteral, class: gnuClass}

// export writes a pattern so that the dialect's program finds the same lines
// with it. Groups lose their names, which ripgrep wants to be unique over all
// patterns.
func (d dialect) export(p *regexp.Regexp) (string, error) {
	tree, err := syntax.Parse(p.String(), syntax.Perl)
	if err != nil {
		return "", err
	}
	return d.write(tree)
}

func (d dialect) write(x *syntax.Regexp) (string, error) {
	switch x.Op {
	case syntax.OpEmptyMatch:
		return "", nil
	case syntax.OpLiteral:
		var b strings.Builder
		for _, r := range x.Rune {
			s, err := d.literal(r, x.Flags&syntax.FoldCase != 0)
			if err != nil {
				return "", err
			}
			b.WriteString(s)
		}
		return b.String(), nil
	case syntax.OpCharClass:
		return d.class(x.Rune)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return ".", nil // a line holds no newline
	case syntax.OpBeginLine, syntax.OpBeginText:
		return "^", nil
	case syntax.OpEndLine, syntax.OpEndText:
		return "$", nil
	case syntax.OpWordBoundary:
		return d.word, nil
	case syntax.OpNoWordBoundary:
		return d.noWord, nil
	case syntax.OpCapture:
		return d.group(x.Sub[0])
	case syntax.OpStar:
		return d.repeat(x, "*")
	case syntax.OpPlus:
		return d.repeat(x, "+")
	case syntax.OpQuest:
		return d.repeat(x, "?")
	case syntax.OpRepeat:
		most := strconv.Itoa(x.Max)
		if x.Max < 0 {
			most = ""
		}
		return d.repeat(x, fmt.Sprintf("{%d,%s}", x.Min, most))
	case syntax.OpConcat:
		return d.join(x.Sub, "")
	case syntax.OpAlternate:
		s, err := d.join(x.Sub, "|")
		return d.open() + s + ")", err
	default:
		return "", fmt.Errorf("%s can't be written in another syntax", x.Op)
	}
}

// open begins a group; the groups of POSIX all capture.
func (d dialect) open() string {
	if d.lazy {
		return "(?:"
	}
	return "("
}

func (d dialect) group(x *syntax.Regexp) (string, error) {
	s, err := d.write(x)
	if x.Op == syntax.OpAlternate {
		return s, err // is in a group already
	}
	return d.open() + s + ")", err
}

func (d dialect) repeat(x *syntax.Regexp, times string) (string, error) {
	once := d.group
	if op := x.Sub[0].Op; op == syntax.OpCharClass || op == syntax.OpAnyChar || op == syntax.OpAnyCharNotNL {
		once = d.write
	}
	s, err := once(x.Sub[0])
	if d.lazy && x.Flags&syntax.NonGreedy != 0 {
		times += "?"
	}
	return s + times, err
}

func (d dialect) join(subs []*syntax.Regexp, separator string) (string, error) {
	parts := make([]string, len(subs))
	for i, sub := range subs {
		s, err := d.write(sub)
		if err != nil {
			return "", err
		}
		parts[i] = s
	}
	return strings.Join(parts, separator), nil
}

func rustLiteral(r rune, fold bool) (string, error) {
	switch {
	case r == '\n':
		return "", fmt.Errorf("a newline never occurs in a line")
	case r < ' ' || r == 0x7f:
		return fmt.Sprintf(`\x{%x}`, r), nil
	case fold && unicode.IsLetter(r):
		return "(?i:" + string(r) + ")", nil
	default:
		return regexp.QuoteMeta(string(r)), nil
	}
}

func rustClass(ranges []rune) (string, error) {
	var b strings.Builder
	b.WriteByte('[')
	for i := 0; i+1 < len(ranges); i += 2 {
		fmt.Fprintf(&b, `\x{%x}-\x{%x}`, ranges[i], ranges[i+1])
	}
	b.WriteByte(']')
	return b.String(), nil
}

func gnuLiteral(r rune, fold bool) (string, error) {
	switch {
	case r == '\n':
		return "", fmt.Errorf("a newline never occurs in a line")
	case fold && unicode.SimpleFold(r) != r:
		same := string(r)
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			same += "|" + string(f)
		}
		return "(" + same + ")", nil
	case strings.ContainsRune(`\.[(){}*+?^$|`, r) && r != '}':
		return `\` + string(r), nil
	default:
		return string(r), nil
	}
}

// gnuClass writes a bracket expression. Characters outside of ASCII stand beside
// it, so that it means the same to a grep that takes each byte for a character.
func gnuClass(ranges []rune) (string, error) {
	negated := len(ranges) > 0 && ranges[len(ranges)-1] == unicode.MaxRune
	if negated {
		ranges = complement(ranges)
	}
	var ascii, wide []string
	for i := 0; i+1 < len(ranges); i += 2 {
		lo, hi := ranges[i], ranges[i+1]
		if hi-lo > 0x7f {
			return "", fmt.Errorf("a range of %d characters", hi-lo)
		}
		for r := lo; r <= hi; r++ {
			switch {
			case r == '\n': // never occurs in a line
			case r < 0x80:
				ascii = append(ascii, string(r))
			default:
				wide = append(wide, string(r))
			}
		}
	}
	if negated && len(wide) > 0 {
		return "", fmt.Errorf("a class without %q", wide)
	}
	var parts []string
	if s := bracket(ascii, negated); s != "" {
		parts = append(parts, s)
	}
	parts = append(parts, wide...)
	if len(parts) == 1 {
		return parts[0], nil
	}
	return "(" + strings.Join(parts, "|") + ")", nil
}

// bracket writes the characters so that none has a special meaning: "]" first,
// "^" not first, "-" last. Runs are written as ranges.
func bracket(chars []string, negated bool) string {
	var head, body, tail string
	for i := 0; i < len(chars); i++ {
		c := chars[i]
		run := i
		for run+1 < len(chars) && alphanumeric(chars[run+1]) && chars[run+1][0] == chars[run][0]+1 {
			run++
		}
		switch {
		case alphanumeric(c) && run > i+1:
			body += c + "-" + chars[run]
			i = run
		case c == "]":
			head = c
		case c == "-" || c == "^":
			tail = c + tail // "-" comes before "^" in chars
		default:
			body += c
		}
	}
	switch {
	case negated:
		if head+body+tail == "" {
			return "."
		}
		return "[^" + head + body + tail + "]"
	case head+body == "" && tail == "^":
		return `\^`
	case head+body == "" && tail == "^-":
		return "[-^]"
	case head+body+tail == "":
		return ""
	default:
		return "[" + head + body + tail + "]"
	}
}

func alphanumeric(s string) bool {
	c := s[0]
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// complement returns the ranges between the given ones, which are in order.
func complement(ranges []rune) []rune {
	var out []rune
	next := rune(0)
	for pair := range slices.Chunk(ranges, 2) {
		if pair[0] > next {
			out = append(out, next, pair[0]-1)
		}
		next = pair[1] + 1
	}
	return out
}

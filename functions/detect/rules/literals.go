package rules

import (
	"cmp"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
)

// Bounds of the literals that are taken from a pattern.
const (
	maxVariants = 64 // literals of one set
	maxLiteral  = 24 // bytes of one literal
	foldLetters = 4  // letters of a case-insensitive literal that are spelled out
	maxRepeat   = 8  // times that a repetition is written out
	maxDemands  = 3  // further sets that a match is looked through for
	maxDemanded = 8  // strings of such a set
	minDemanded = 2  // bytes of such a string
)

// literals returns a set of strings of which every text that the pattern
// matches holds at least one. They are the prefilter's keywords: derived, so
// that none can be forgotten or wrong. It is empty where the pattern requires
// no literal.
func literals(p *regexp.Regexp) []string {
	keywords, _ := requirements(p)
	return keywords
}

// requirements returns the pattern's keywords, see literals, and further sets of
// which a match holds a string each, whatever the case: in lower case, few, and
// none that the keywords imply. Looking for them costs a fraction of a try.
func requirements(p *regexp.Regexp) (keywords []string, also [][]string) {
	tree, err := syntax.Parse(p.String(), syntax.Perl)
	if err != nil {
		return nil, nil
	}
	exact, sets := require(tree)
	sets = add(sets, exact)
	for _, s := range sets {
		if better(s, keywords) {
			keywords = s
		}
	}
	keywords = distinct(keywords)
	lower := shortened(keywords)
	for _, s := range sets {
		s = shortened(s)
		if len(s) > maxDemanded || shortest(s) < minDemanded || implies(lower, s) {
			continue
		}
		if !slices.ContainsFunc(also, func(t []string) bool { return implies(t, s) }) {
			also = append(also, s)
		}
	}
	slices.SortStableFunc(also, func(a, b []string) int { return cmp.Or(len(a)-len(b), shortest(b)-shortest(a)) })
	return keywords, also[:min(len(also), maxDemands)]
}

// distinct sorts a set.
func distinct(set []string) []string {
	slices.Sort(set)
	return slices.Compact(set)
}

// shortened returns a set in lower case without the strings that hold another
// one of it.
func shortened(set []string) []string {
	out := make([]string, len(set))
	for i, w := range set {
		out[i] = lowered(w)
	}
	out = distinct(out)
	all := slices.Clone(out)
	return slices.DeleteFunc(out, func(w string) bool {
		return slices.ContainsFunc(all, func(v string) bool { return len(v) < len(w) && strings.Contains(w, v) })
	})
}

// implies tells whether every string of a set holds one of another set.
func implies(set, other []string) bool {
	for _, w := range set {
		if !slices.ContainsFunc(other, func(v string) bool { return strings.Contains(w, v) }) {
			return false
		}
	}
	return len(set) > 0
}

// lowered writes the letters of ASCII in lower case.
func lowered(w string) string { return string(lower(nil, []byte(w))) }

// lower appends text to out with the letters of ASCII in lower case.
func lower(out, text []byte) []byte {
	from := len(out)
	out = append(out, text...)
	for i, c := range out[from:] {
		if 'A' <= c && c <= 'Z' {
			out[from+i] = c | 0x20
		}
	}
	return out
}

// common are words that many lines hold: poor keywords, however long.
var common = []string{"Error", "Exception", "Exit", "Failure", "Warning", "failed", "error"}

// better prefers the set whose shortest literal is longer, then the smaller.
func better(a, b []string) bool {
	la, lb := worth(a), worth(b)
	if la != lb {
		return la > lb
	}
	return len(a) < len(b)
}

func worth(set []string) int {
	n := shortest(set)
	for _, s := range set {
		if slices.Contains(common, s) {
			n = min(n, minLiteral-1)
		}
	}
	return n
}

func shortest(set []string) int {
	if len(set) == 0 {
		return 0
	}
	n := maxLiteral
	for _, s := range set {
		n = min(n, len(s))
	}
	return n
}

// require returns the strings that an expression matches, where they are few,
// and the sets that it requires.
func require(x *syntax.Regexp) (exact []string, sets [][]string) {
	switch x.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return []string{""}, nil
	case syntax.OpLiteral:
		if x.Flags&syntax.FoldCase != 0 {
			words, complete := spell(x.Rune)
			if complete {
				return words, nil
			}
			return nil, [][]string{words}
		}
		return []string{string(x.Rune)}, nil
	case syntax.OpCharClass:
		return class(x.Rune), nil
	case syntax.OpCapture:
		return require(x.Sub[0])
	case syntax.OpQuest:
		// Worth spelling out only where it is short.
		if exact, _ = require(x.Sub[0]); len(exact) > 0 && len(exact) <= 2 {
			return append([]string{""}, exact...), nil
		}
		return nil, nil
	case syntax.OpPlus:
		exact, sets = require(x.Sub[0])
		return nil, add(sets, exact)
	case syntax.OpRepeat:
		if x.Min == 0 {
			return nil, nil
		}
		return concat([]*syntax.Regexp{x})
	case syntax.OpConcat:
		return concat(x.Sub)
	case syntax.OpAlternate:
		return alternate(x.Sub)
	default:
		return nil, nil
	}
}

func add(sets [][]string, set []string) [][]string {
	if shortest(set) > 0 {
		sets = append(sets, set)
	}
	return sets
}

func class(ranges []rune) []string {
	var out []string
	for i := 0; i+1 < len(ranges); i += 2 {
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			if len(out) >= 10 {
				return nil
			}
			out = append(out, string(r))
		}
	}
	return out
}

// concat joins neighbours as long as they are few; a repetition contributes its
// first occurrence to what stands before it.
func concat(subs []*syntax.Regexp) (exact []string, sets [][]string) {
	run := []string{""}
	whole := true
	flush := func() {
		sets = add(sets, run)
		run = []string{""}
		whole = false
	}
	for _, sub := range flatten(subs) {
		open := false
		if sub.Op == syntax.OpPlus {
			open = true
			sub = sub.Sub[0]
		}
		e, s := require(sub)
		sets = append(sets, s...)
		if e == nil || len(e)*len(run) > maxVariants {
			flush()
			if e == nil || open {
				continue
			}
		}
		joined := make([]string, 0, len(e)*len(run))
		for _, a := range run {
			for _, b := range e {
				joined = append(joined, a+b)
			}
		}
		run = joined
		if open {
			flush()
		}
	}
	if whole {
		return run, sets
	}
	return nil, add(sets, run)
}

// flatten opens groups and writes repetitions out, so that what stands in them
// joins its neighbours.
func flatten(subs []*syntax.Regexp) []*syntax.Regexp {
	var out []*syntax.Regexp
	for _, s := range subs {
		for s.Op == syntax.OpCapture {
			s = s.Sub[0]
		}
		switch {
		case s.Op == syntax.OpConcat:
			out = append(out, flatten(s.Sub)...)
		case s.Op == syntax.OpRepeat && s.Min > 0:
			once := flatten(s.Sub)
			for range min(s.Min, maxRepeat) - 1 {
				out = append(out, once...)
			}
			if s.Min == s.Max && s.Min <= maxRepeat {
				out = append(out, once...)
			} else {
				out = append(out, &syntax.Regexp{Op: syntax.OpPlus, Sub: s.Sub})
			}
		default:
			out = append(out, s)
		}
	}
	return out
}

func alternate(subs []*syntax.Regexp) (exact []string, sets [][]string) {
	finite := true
	var union []string
	for _, sub := range subs {
		e, s := require(sub)
		if e == nil {
			finite = false
			e = nil
			for _, set := range s {
				if better(set, e) {
					e = set
				}
			}
			if e == nil {
				return nil, nil
			}
		}
		union = append(union, e...)
	}
	if len(union) > 4*maxVariants {
		return nil, nil
	}
	if finite && len(union) <= maxVariants {
		return union, nil
	}
	return nil, add(nil, union)
}

// spell writes the beginning of a case-insensitive literal in every case, and
// tells whether that was all of it.
func spell(runes []rune) (words []string, complete bool) {
	out := []string{""}
	letters := 0
	for _, r := range runes {
		lower, upper := unicode.ToLower(r), unicode.ToUpper(r)
		if lower != upper {
			if letters++; letters > foldLetters {
				return out, false
			}
		}
		var next []string
		for _, s := range out {
			next = append(next, s+string(lower))
			if lower != upper {
				next = append(next, s+string(upper))
			}
		}
		out = next
	}
	return out, true
}

// cut keeps keywords short enough for a small automaton.
func cut(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		if len(w) > maxLiteral {
			w = strings.ToValidUTF8(w[:maxLiteral], "")
		}
		out[i] = w
	}
	return out
}

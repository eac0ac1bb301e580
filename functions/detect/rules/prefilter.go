package rules

import (
	"encoding/binary"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// prefilter finds the keywords of all patterns in one pass over a line and so
// says which patterns have to be tried. Each keyword is represented by the four
// of its bytes that are the least likely in a log. A table tells which four
// bytes represent keywords: looks at it don't depend on each other, so that the
// processor does several at a time, and they dismiss all but one in fifty places.
// At those that are left, the keywords themselves are compared.
type prefilter struct {
	table    [1 << (slotBits - 6)]uint64 // a bit for each slot that has keywords
	before   [1 << (slotBits - 6)]uint32 // how many bits are set in front of the word
	first    []uint32                    // of each set bit's keywords, and the end of the last one's
	keywords []keyword                   // by slot
}

// keyword is a word and the patterns that it is a keyword of.
type keyword struct {
	text     string
	at       int // where the bytes begin that represent it
	patterns []int
}

const (
	gram     = 4  // bytes that are looked up at once
	slotBits = 19 // a sparse table, of 64 KiB, dismisses more than a denser one that the nearest cache holds
)

// slot is where the table holds four bytes, the lowest ones of v.
func slot(v uint64) uint32 { return uint32(v) * 0x9e3779b1 >> (32 - slotBits) } //nolint:gosec // the lowest four bytes are meant

// newPrefilter prepares a search; words[i] are the keywords of pattern i, of at
// least one byte each.
func newPrefilter(words [][]string) *prefilter {
	patterns := map[string][]int{}
	for i, ws := range words {
		for _, w := range ws {
			if on := patterns[w]; len(on) == 0 || on[len(on)-1] != i {
				patterns[w] = append(on, i)
			}
		}
	}
	vocabulary := grams(vocabulary)
	slots := map[uint32][]keyword{}
	for _, w := range slices.Sorted(maps.Keys(patterns)) {
		k := keyword{text: w, at: rarest(w, vocabulary), patterns: patterns[w]}
		for _, s := range slotsOf(w[k.at:]) {
			slots[s] = append(slots[s], k)
		}
	}
	p := &prefilter{}
	set := 0
	for _, s := range slices.Sorted(maps.Keys(slots)) {
		p.table[s>>6] |= 1 << (s & 63)
		p.first = append(p.first, uint32(len(p.keywords))) //nolint:gosec // a few thousand
		p.keywords = append(p.keywords, slots[s]...)
	}
	p.first = append(p.first, uint32(len(p.keywords))) //nolint:gosec // a few thousand
	for i, w := range p.table {
		p.before[i] = uint32(set)
		set += bits.OnesCount64(w)
	}
	return p
}

// slotsOf returns the slots of the first four bytes of a word. What stands
// behind a shorter one can be anything.
func slotsOf(w string) []uint32 {
	values := []uint64{0}
	for i := range gram {
		if i < len(w) {
			for j := range values {
				values[j] |= uint64(w[i]) << (8 * i)
			}
			continue
		}
		short := values
		values = make([]uint64, 0, 256*len(short))
		for b := range uint64(256) {
			for _, v := range short {
				values = append(values, v|b<<(8*i))
			}
		}
	}
	slots := make([]uint32, len(values))
	for i, v := range values {
		slots[i] = slot(v)
	}
	slices.Sort(slots)
	return slices.Compact(slots)
}

// usual are the characters of logs from the most frequent to rare ones, vocabulary
// the words: what they hold represents a keyword badly.
const (
	usual      = " etaoisnrlcdp0m1u.-/hg:f2_b3y4w5v6x789k,=()'\"[]"
	vocabulary = "accepting action adding already available branch building cache checking checkout " +
		"cleaning cloning collecting command compiling complete config connection container copying " +
		"coverage creating credentials current default dependencies directory dist-info docker done " +
		"download example executable extracting failed fetching files finished found from function " +
		"generating getting git github hint https image import index information initializing input " +
		"install issue kernel layer library line linux loading local manager message metadata missing " +
		"mode model module name network node object option origin output package passed path pip " +
		"pipeline preparing process progress project python reading receiving remote remove repository " +
		"request requirement resolving result running satisfied saving script selecting server service " +
		"setting setup shell site-packages size skipped source starting status step success support " +
		"switch system target test time timeout token tool total training unpacking update upload user " +
		"using value version warning wheel without worker workflow workspace writing"
)

// grams returns all runs of four bytes of a text.
func grams(text string) map[string]bool {
	out := make(map[string]bool, len(text))
	for i := 0; i+gram <= len(text); i++ {
		out[text[i:i+gram]] = true
	}
	return out
}

// rarest returns where the four bytes of a word begin that a log is least likely
// to hold, and 0 for a shorter word.
func rarest(w string, vocabulary map[string]bool) int {
	best, at := math.Inf(1), 0
	for i := 0; i+gram <= len(w); i++ {
		likely := 1.0
		if vocabulary[w[i:i+gram]] {
			likely = math.MaxUint16
		}
		for j := i; j < i+gram; j++ {
			rank := strings.IndexByte(usual, w[j])
			if rank < 0 {
				rank = len(usual)
			}
			if j > i && w[j] == w[j-1] {
				rank = 0 // rulers and indentation
			}
			likely /= float64(rank + 2)
		}
		if likely < best {
			best, at = likely, i
		}
	}
	return at
}

// scan adds the patterns whose keywords occur in text to hits, in which it sets
// the pattern's entry, and to list. Both are the caller's to reuse.
func (p *prefilter) scan(text []byte, hits []bool, list []int) []int {
	rest := text
	for len(rest) >= 8 {
		v := binary.LittleEndian.Uint64(rest)
		a, b, c, d := slot(v), slot(v>>8), slot(v>>16), slot(v>>24)
		if p.table[a>>6]&(1<<(a&63)) != 0 || p.table[b>>6]&(1<<(b&63)) != 0 || p.table[c>>6]&(1<<(c&63)) != 0 || p.table[d>>6]&(1<<(d&63)) != 0 {
			list = p.compare(text, len(text)-len(rest), v, hits, list)
		}
		rest = rest[4:]
	}
	var padded [16]byte
	copy(padded[:], rest)
	for i := range rest {
		v := uint64(binary.LittleEndian.Uint32(padded[i:]))
		if s := slot(v); p.table[s>>6]&(1<<(s&63)) != 0 {
			list = p.compare(text, len(text)-len(rest)+i, v, hits, list)
		}
	}
	return list
}

// compare looks for keywords at a place and the three behind it, of which v
// holds the bytes.
func (p *prefilter) compare(text []byte, place int, v uint64, hits []bool, list []int) []int {
	for i := range gram {
		s := slot(v >> (8 * i))
		word, bit := p.table[s>>6], uint64(1)<<(s&63)
		if word&bit == 0 {
			continue
		}
		n := int(p.before[s>>6]) + bits.OnesCount64(word&(bit-1))
		keywords := p.keywords[p.first[n]:p.first[n+1]]
		for j := range keywords {
			k := &keywords[j]
			from := place + i - k.at
			if from < 0 || len(text)-from < len(k.text) || string(text[from:from+len(k.text)]) != k.text {
				continue
			}
			for _, pattern := range k.patterns {
				if !hits[pattern] {
					hits[pattern] = true
					list = append(list, pattern)
				}
			}
		}
	}
	return list
}

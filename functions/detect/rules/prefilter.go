package rules

import "slices"

// prefilter is an Aho-Corasick automaton over the keywords of all patterns: one
// pass over a line says which of them have to be tried. States are numbered so
// that those with output come last, and the alphabet is folded to the bytes that
// occur in keywords, which keeps the table within the processor's cache.
type prefilter struct {
	class   [256]uint16
	width   int      // number of classes
	next    []uint32 // state*width + class → offset of the next state in next
	outputs uint32   // offsets from here on have output
	out     map[uint32][]int
}

// newPrefilter builds the automaton; words[i] are the keywords of pattern i.
func newPrefilter(words [][]string) *prefilter {
	p := &prefilter{out: map[uint32][]int{}}
	classes := uint16(1) // class 0: bytes of no keyword
	for _, ws := range words {
		for _, w := range ws {
			for i := range len(w) {
				if p.class[w[i]] == 0 {
					p.class[w[i]] = classes
					classes++
				}
			}
		}
	}
	p.width = int(classes)

	type node struct {
		next []int
		fail int
		out  []int
	}
	newNode := func() node {
		n := node{next: make([]int, classes)}
		for i := range n.next {
			n.next[i] = -1
		}
		return n
	}
	nodes := []node{newNode()}
	for rule, ws := range words {
		for _, w := range ws {
			at := 0
			for i := range len(w) {
				c := p.class[w[i]]
				if nodes[at].next[c] < 0 {
					nodes = append(nodes, newNode())
					nodes[at].next[c] = len(nodes) - 1
				}
				at = nodes[at].next[c]
			}
			if !slices.Contains(nodes[at].out, rule) {
				nodes[at].out = append(nodes[at].out, rule)
			}
		}
	}
	var queue []int
	for c := range classes {
		if n := nodes[0].next[c]; n >= 0 {
			queue = append(queue, n)
		} else {
			nodes[0].next[c] = 0
		}
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		fail := nodes[at].fail
		for _, rule := range nodes[fail].out {
			if !slices.Contains(nodes[at].out, rule) {
				nodes[at].out = append(nodes[at].out, rule)
			}
		}
		for c := range classes {
			if n := nodes[at].next[c]; n >= 0 {
				nodes[n].fail = nodes[fail].next[c]
				queue = append(queue, n)
			} else {
				nodes[at].next[c] = nodes[fail].next[c]
			}
		}
	}
	// Renumber: states without output first.
	order := make([]int, 0, len(nodes))
	for i := range nodes {
		if len(nodes[i].out) == 0 {
			order = append(order, i)
		}
	}
	p.outputs = uint32(len(order) * p.width) //nolint:gosec // a few thousand states
	for i := range nodes {
		if len(nodes[i].out) > 0 {
			order = append(order, i)
		}
	}
	offset := make([]uint32, len(nodes))
	for at, i := range order {
		offset[i] = uint32(at * p.width) //nolint:gosec // a few thousand states
	}
	p.next = make([]uint32, len(nodes)*p.width)
	for i, n := range nodes {
		for c, to := range n.next {
			p.next[int(offset[i])+c] = offset[to]
		}
		if len(n.out) > 0 {
			p.out[offset[i]] = n.out
		}
	}
	return p
}

// scan adds the patterns whose keywords occur in text to hits, in which it sets
// the pattern's entry, and to list. Both are the caller's to reuse.
func (p *prefilter) scan(text []byte, hits []bool, list []int) []int {
	var at uint32
	next, outputs := p.next, p.outputs
	for _, b := range text {
		at = next[at+uint32(p.class[b])]
		if at >= outputs {
			for _, rule := range p.out[at] {
				if !hits[rule] {
					hits[rule] = true
					list = append(list, rule)
				}
			}
		}
	}
	return list
}

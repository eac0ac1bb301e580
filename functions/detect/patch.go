package detect

import (
	"iter"
	"regexp"
	"strconv"
	"strings"
)

// diffLine is one line of a unified diff.
type diffLine struct {
	kind byte   // '+', '-' or ' '
	text string // without kind and line break, bounded
	// number counts from 1 in the new file; it is 0 for a removed line.
	number int
	// stanza is the folded name of the package that a lock file's line belongs to,
	// as far as the diff shows it.
	stanza string
}

var (
	hunkHeader = regexp.MustCompile(`^@@ -\d{1,9}(?:,\d{1,9})? \+(\d{1,9})(?:,\d{1,9})? @@`)
	// lockStanza begins what a lock file says of one package.
	lockStanza = regexp.MustCompile(`^\s*(?:- )?(?:name\s*[=:]\s*"?([^"\s]+)"?|"(?:node_modules/)?((?:@[\w.-]+/)?[\w.-]+)": \{)`)
)

// lines yields the lines of a patch as GitHub shows it. What is no line of a hunk
// is passed over: anybody may write a patch.
func (t *trail) lines(patch string) iter.Seq[diffLine] {
	return func(yield func(diffLine) bool) {
		number, stanza, inside := 0, "", false
		n := 0
		for text := range strings.SplitSeq(patch, "\n") {
			if n++; n > maxDiffLines || t.left < len(text) {
				return
			}
			t.left -= len(text)
			text = strings.TrimSuffix(text[:min(len(text), maxDiffLine)], "\r")
			if m := hunkHeader.FindStringSubmatch(text); m != nil {
				number, _ = strconv.Atoi(m[1])
				stanza, inside = "", true
				continue
			}
			if !inside || text == "" {
				continue
			}
			l := diffLine{kind: text[0], text: text[1:]}
			switch l.kind {
			case '+', ' ':
				l.number = number
				number++
			case '-':
			default:
				continue // "\ No newline at end of file"
			}
			if strings.HasPrefix(strings.TrimSpace(l.text), "[[") {
				stanza = ""
			} else if m := lockStanza.FindStringSubmatch(l.text); m != nil {
				stanza = fold(m[1] + m[2])
			}
			l.stanza = stanza
			if !yield(l) {
				return
			}
		}
	}
}

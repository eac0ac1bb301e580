package strategies

import (
	"bytes"
	"strings"

	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
)

// word is one word of a shell command, without its quotes.
type word struct {
	text       string
	start, end int // offsets in the file, with the quotes
}

// commands splits a script into simple commands, as far as that can be told
// without running it: quotes, escapes, continuation lines, comments and here
// documents are understood; `${{ … }}` and `$( … )` stay whole within a word. The
// lines carry their place in the file.
func commands(lines []edit.Line) [][]word {
	var l shellLexer
	for i, line := range lines {
		for j := range len(line.Text) {
			l.text = append(l.text, line.Text[j])
			l.pos = append(l.pos, line.Start+j)
		}
		if i < len(lines)-1 {
			l.text = append(l.text, '\n')
			l.pos = append(l.pos, line.End)
		}
	}
	l.run()
	return l.out
}

type shellLexer struct {
	text []byte
	pos  []int // of each byte in the file
	at   int
	cur  []word
	out  [][]word
	// here are the delimiters of here documents that begin on the next line.
	here []string
}

func (l *shellLexer) endCommand() {
	if len(l.cur) > 0 {
		l.out = append(l.out, l.cur)
	}
	l.cur = nil
}

func (l *shellLexer) has(s string) bool {
	return strings.HasPrefix(string(l.text[l.at:min(len(l.text), l.at+len(s))]), s)
}

func (l *shellLexer) run() {
	for l.at < len(l.text) {
		switch c := l.text[l.at]; {
		case l.has("\\\n"):
			l.at += 2
		case c == ' ' || c == '\t' || c == '\r':
			l.at++
		case c == '\n':
			l.endCommand()
			l.at++
			l.skipHere()
		case c == '#':
			for l.at < len(l.text) && l.text[l.at] != '\n' {
				l.at++
			}
		case l.has("<<") && !l.has("<<<"):
			l.at += 2
			if l.has("-") {
				l.at++
			}
			for l.at < len(l.text) && l.text[l.at] == ' ' {
				l.at++
			}
			if w, ok := l.word(); ok {
				l.here = append(l.here, w.text)
			}
		case strings.IndexByte(";&|()", c) >= 0:
			l.endCommand()
			l.at++
		case c == '>' || c == '<':
			// A redirection is a word of its own; its target is the next one.
			l.cur = append(l.cur, word{string(c), l.pos[l.at], l.pos[l.at] + 1})
			l.at++
		default:
			if w, ok := l.word(); ok {
				l.cur = append(l.cur, w)
			} else {
				l.at++
			}
		}
	}
	l.endCommand()
}

// skipHere skips the bodies of here documents; one without its end goes on to
// the end of the script.
func (l *shellLexer) skipHere() {
	for _, delimiter := range l.here {
		for l.at < len(l.text) {
			end := l.at
			for end < len(l.text) && l.text[end] != '\n' {
				end++
			}
			line := string(l.text[l.at:end])
			l.at = min(end+1, len(l.text))
			if strings.TrimSpace(line) == delimiter {
				break
			}
		}
	}
	l.here = nil
}

func (l *shellLexer) word() (word, bool) {
	var b strings.Builder
	start := l.at
	for l.at < len(l.text) {
		c := l.text[l.at]
		switch {
		case l.has("${{"):
			end := bytes.Index(l.text[l.at:], []byte("}}"))
			if end < 0 {
				end = len(l.text) - l.at - 2
			}
			b.Write(l.text[l.at : l.at+end+2])
			l.at += end + 2
			continue
		case l.has("$("):
			l.substitution(&b)
			continue
		case c == '\\' && l.at+1 < len(l.text):
			if l.text[l.at+1] != '\n' {
				b.WriteByte(l.text[l.at+1])
			}
			l.at += 2
			continue
		case c == '\'' || c == '"':
			l.at++
			for l.at < len(l.text) && l.text[l.at] != c {
				if c == '"' && l.has("$(") { // quotes within are its own
					l.substitution(&b)
					continue
				}
				if c == '"' && l.text[l.at] == '\\' && l.at+1 < len(l.text) {
					l.at++
				}
				b.WriteByte(l.text[l.at])
				l.at++
			}
			l.at = min(l.at+1, len(l.text))
			continue
		case strings.IndexByte(" \t\r\n;&|()<>", c) >= 0:
			return l.done(start, b.String())
		}
		b.WriteByte(c)
		l.at++
	}
	return l.done(start, b.String())
}

// substitution copies a command substitution whole.
func (l *shellLexer) substitution(b *strings.Builder) {
	depth, from := 0, l.at
	for l.at < len(l.text) {
		c := l.text[l.at]
		l.at++
		if c == '(' {
			depth++
		} else if c == ')' {
			if depth--; depth == 0 {
				break
			}
		}
	}
	b.Write(l.text[from:l.at])
}

func (l *shellLexer) done(start int, text string) (word, bool) {
	if l.at <= start {
		return word{}, false
	}
	return word{text, l.pos[start], l.pos[l.at-1] + 1}, true
}

package logs

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// sniffLen is how much of the input decides its encoding.
const sniffLen = 1024

// decode returns a reader of UTF-8 (or of bytes that claim to be) for a log in
// UTF-8 or UTF-16 with or without a byte order mark, and without the line numbers
// of a page or an editor from which it was copied. Else nothing is changed:
// invalid bytes of a UTF-8 log pass through.
func decode(r io.Reader) (io.Reader, error) {
	text, err := toUTF8(r)
	if err != nil {
		return nil, err
	}
	head, text, err := peek(text)
	if err != nil {
		return nil, err
	}
	if numbered(head) {
		return &unnumbered{in: bufio.NewReader(text), next: 1}, nil
	}
	return text, nil
}

func toUTF8(r io.Reader) (io.Reader, error) {
	head, whole, err := peek(r)
	if err != nil {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}):
		return fromUTF16(whole, unicode.LittleEndian, unicode.ExpectBOM), nil
	case bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return fromUTF16(whole, unicode.BigEndian, unicode.ExpectBOM), nil
	}
	// Without a mark, text in UTF-16 shows as a NUL in every other byte, since
	// logs are mostly ASCII.
	var nul [2]int
	for i, b := range head {
		if b == 0 {
			nul[i&1]++
		}
	}
	half := len(head) / 2
	switch {
	case half >= 4 && nul[1] > half*3/4 && nul[0] < half/8+1:
		return fromUTF16(whole, unicode.LittleEndian, unicode.IgnoreBOM), nil
	case half >= 4 && nul[0] > half*3/4 && nul[1] < half/8+1:
		return fromUTF16(whole, unicode.BigEndian, unicode.IgnoreBOM), nil
	}
	return whole, nil
}

// peek returns the beginning of r, and a reader of all of it.
func peek(r io.Reader) (head []byte, whole io.Reader, err error) {
	head = make([]byte, sniffLen)
	n, err := io.ReadFull(r, head)
	head = head[:n]
	switch {
	case err == nil:
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return head, bytes.NewReader(head), nil
	case n == 0:
		return nil, nil, err
	default:
		// What was read is worth something; the error comes behind it.
		return head, io.MultiReader(bytes.NewReader(head), failing{err}), nil
	}
	return head, io.MultiReader(bytes.NewReader(head), r), nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func fromUTF16(r io.Reader, e unicode.Endianness, b unicode.BOMPolicy) io.Reader {
	return transform.NewReader(r, unicode.UTF16(e, b).NewDecoder())
}

// marks are the byte order mark, and what is left of it after consoles took it
// for text of another code page (1252, 437, 850): PowerShell does that to the
// output of gh, in which each step's first line has one.
var marks = [][]byte{[]byte("\ufeff"), []byte("ï»¿"), []byte("∩╗┐"), []byte("´╗┐")}

// trimMark takes a byte order mark, or what became of it, off the start of b.
func trimMark(b []byte) []byte {
	if len(b) == 0 || b[0] < 0x80 {
		return b
	}
	for _, m := range marks {
		if rest, ok := bytes.CutPrefix(b, m); ok {
			return rest
		}
	}
	return b
}

// minNumbered is how many lines must be numbered from 1 to be taken for it: a
// program may count to three by itself.
const minNumbered = 5

// numbered tells whether a log's lines begin with their numbers.
func numbered(head []byte) bool {
	head = trimMark(head)
	for want := 1; want <= minNumbered; want++ {
		line, rest, ok := bytes.Cut(head, []byte{'\n'})
		if !ok || lineNumber(line, want) == 0 {
			return false
		}
		head = rest
	}
	return true
}

// lineNumber is the length of a line's number and what parts it from the text, 0
// where the line doesn't begin with that number.
func lineNumber(line []byte, number int) int {
	blank := len(line) - len(bytes.TrimLeft(line, " "))
	digits := strconv.Itoa(number)
	if !bytes.HasPrefix(line[blank:], []byte(digits)) {
		return 0
	}
	n := blank + len(digits)
	rest := bytes.TrimRight(line[n:], "\r")
	switch {
	case len(rest) == 0:
		return n
	case rest[0] == '\t', rest[0] == ' ', rest[0] == ':':
		return n + 1
	}
	return 0
}

// unnumbered drops the numbers in front of lines, as long as they are right.
type unnumbered struct {
	in   *bufio.Reader
	next int // the number of the next line, 0 within a line
	line int
	out  []byte
	err  error
}

func (u *unnumbered) Read(p []byte) (int, error) {
	for len(u.out) == 0 {
		if u.err != nil {
			return 0, u.err
		}
		var piece []byte
		piece, u.err = u.in.ReadSlice('\n')
		full := errors.Is(u.err, bufio.ErrBufferFull)
		if full {
			u.err = nil
		}
		if u.next > 0 {
			if u.next == 1 {
				piece = trimMark(piece)
			}
			u.line = u.next
			piece = piece[lineNumber(bytes.TrimSuffix(piece, []byte{'\n'}), u.line):]
			u.next = 0
		}
		if !full {
			u.next = u.line + 1
		}
		u.out = piece
	}
	n := copy(p, u.out)
	u.out = u.out[n:]
	return n, nil
}

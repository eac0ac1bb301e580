package detect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math/bits"

	"github.com/mlops-bot/mlops-bot/functions/detect/logs"
)

const (
	// greenLogs is how many logs of green runs make a baseline.
	greenLogs = 3
	// maxGreenBytes is where reading one of them stops.
	maxGreenBytes = 64 << 20
	// maxGreenLines bounds the different lines that are kept of all of them: about
	// 1.5 MB. Lines behind that count as not seen, which never makes a failure look
	// familiar.
	maxGreenLines = 1 << 16
	// maxGreenLine is how many bytes of a line are compared.
	maxGreenLine = 400
)

// greenLines knows the lines of a job's last green logs: a failure that is said
// in them too is one that the job survives. It keeps hashes of the lines without
// what differs between runs. It is not safe for concurrent use.
type greenLines struct {
	seed  maphash.Seed
	logs  int
	lines map[uint64]uint8 // a bit for each log
	buf   []byte
}

var _ Baseline = (*greenLines)(nil)

func newGreenLines() *greenLines {
	return &greenLines{seed: maphash.MakeSeed(), lines: map[uint64]uint8{}}
}

// Seen tells in how many of the logs a line occurs.
func (g *greenLines) Seen(text string) int {
	h, ok := g.hash([]byte(text[:min(len(text), maxGreenLine)]))
	if !ok {
		return 0
	}
	return bits.OnesCount8(g.lines[h])
}

// add reads one more log. What was read before an error counts: the line was
// there.
func (g *greenLines) add(ctx context.Context, log io.Reader) error {
	if g.logs == greenLogs {
		return nil
	}
	reader, err := logs.NewReader(log, logs.Options{MaxBytes: maxGreenBytes})
	if err != nil {
		return err
	}
	bit := uint8(1) << g.logs
	g.logs++
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return fmt.Errorf("read the log: %w", context.Cause(ctx))
		}
		line, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if line.Echo {
			continue // a script that is only repeated was not executed
		}
		h, ok := g.hash(line.Text[:min(len(line.Text), maxGreenLine)])
		if !ok {
			continue
		}
		if _, known := g.lines[h]; known || len(g.lines) < maxGreenLines {
			g.lines[h] |= bit
		}
	}
}

// hash is of the normalised line; false for one that says nothing.
func (g *greenLines) hash(text []byte) (uint64, bool) {
	g.buf = normalise(g.buf[:0], text)
	if len(g.buf) < 4 {
		return 0, false
	}
	return maphash.Bytes(g.seed, g.buf), true
}

// normalise appends a line without what differs between runs that go alike:
// clock times, durations, sizes, long numbers, hex, the folders of absolute paths
// and names of temporary files. Short numbers stay: "0 failed" is not "3 failed",
// "HTTP 200" is not "HTTP 500", and version 1.2.3 is not 1.2.4.
func normalise(out, text []byte) []byte {
	text = bytes.TrimSpace(text)
	for i := 0; i < len(text); {
		c := text[i]
		fresh := i == 0 || !wordByte(text[i-1])
		switch {
		case c == ' ' || c == '\t':
			if len(out) == 0 || out[len(out)-1] != ' ' {
				out = append(out, ' ')
			}
			i++
		case fresh && rooted(text[i:]) && (i == 0 || text[i-1] != '.' && text[i-1] != '/' && text[i-1] != ':'):
			n := pathLen(text[i:])
			base := text[i : i+n]
			base = base[bytes.LastIndexAny(base, `/\`)+1:]
			out = append(out, "<path>/"...)
			out = words(out, base)
			i += n
		case fresh && isUUID(text[i:]):
			out = append(out, "<id>"...)
			i += uuidLen
		case fresh && c >= '0' && c <= '9':
			n, masked := number(text[i:])
			if masked != "" {
				out = append(out, masked...)
			} else {
				out = append(out, text[i:i+n]...)
			}
			i += n
		case fresh && wordByte(c):
			n := wordLen(text[i:])
			out = word(out, text[i:i+n])
			i += n
		default:
			out = append(out, c)
			i++
		}
	}
	return out
}

const uuidLen = 36

func isUUID(b []byte) bool {
	if len(b) < uuidLen || b[8] != '-' || b[13] != '-' || b[18] != '-' || b[23] != '-' {
		return false
	}
	for i, c := range b[:uuidLen] {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return len(b) == uuidLen || !wordByte(b[uuidLen])
}

// words appends a name with its parts masked.
func words(out, name []byte) []byte {
	for i := 0; i < len(name); {
		if !wordByte(name[i]) {
			out = append(out, name[i])
			i++
			continue
		}
		n := wordLen(name[i:])
		out = word(out, name[i:i+n])
		i += n
	}
	return out
}

func wordLen(b []byte) int {
	for i, c := range b {
		if !wordByte(c) {
			return i
		}
	}
	return len(b)
}

// word appends a word, masked if it is hex, a long number, or a temporary name.
func word(out, w []byte) []byte {
	digits, hex, letters := 0, 0, 0
	for _, c := range w {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F':
			hex++
		default:
			letters++
		}
	}
	switch {
	case letters == 0 && digits > 0 && digits+hex >= 7, letters == 0 && hex == 0 && digits >= 4:
		return append(out, '#')
	case len(w) == 11 && bytes.HasPrefix(w, []byte("tmp")):
		return append(out, "tmp#"...)
	case len(w) > 8 && w[0] == '0' && (w[1] == 'x' || w[1] == 'X') && letters == 1:
		return append(out, "0x#"...)
	}
	return append(out, w...)
}

// number measures what begins with a digit and says what it is masked as; ""
// keeps it. It takes a whole word, so that hex isn't cut in two.
func number(b []byte) (n int, masked string) {
	if n := dateLen(b); n > 0 {
		return n, "<time>"
	}
	digits, dots, colons := 0, 0, 0
	zero := true
	last := 0 // digits behind the last dot
scan:
	for n < len(b) {
		switch c := b[n]; {
		case c >= '0' && c <= '9':
			digits++
			last++
			zero = zero && c == '0'
		case (c == '.' || c == ',') && n+1 < len(b) && b[n+1] >= '0' && b[n+1] <= '9':
			dots++
			last = 0
		case c == ':' && n+2 < len(b) && digitsAt(b[n+1:]) == 2:
			colons++
		default:
			break scan
		}
		n++
	}
	rest := b[n:]
	suffix := wordLen(rest)
	if suffix > 0 && !isUnit(rest[:suffix]) {
		// "3f2a91c", "0x7fff…", "2nd", "1e-05"
		if dots == 0 && colons == 0 {
			w := b[:n+suffix]
			if m := word(nil, w); !bytes.Equal(m, w) {
				return len(w), string(m)
			}
		}
		return n + suffix, ""
	}
	switch {
	case colons > 0:
		return n + suffix, "<time>"
	case zero: // nothing is not something
		return n + suffix, ""
	case suffix > 0:
		return n + suffix, "<amount>"
	}
	if len(rest) > 1 && rest[0] == ' ' {
		if u := wordLen(rest[1:]); u > 0 && isUnit(rest[1:1+u]) {
			return n + 1 + u, "<amount>"
		}
	}
	if dots == 0 && digits >= 4 || dots == 1 && last >= 3 && digits-last < 4 {
		return n, "#"
	}
	return n, ""
}

// dateLen measures "2026-11-05", also with the time behind a T, 0 for none.
func dateLen(b []byte) int {
	if len(b) < 10 || digitsAt(b) != 4 || b[4] != b[7] || b[4] != '-' && b[4] != '/' || digitsAt(b[5:]) != 2 || digitsAt(b[8:]) < 2 {
		return 0
	}
	n := 10
	if len(b) > n && b[n] == 'T' {
		for n++; n < len(b) && (b[n] >= '0' && b[n] <= '9' || b[n] == ':' || b[n] == '.' || b[n] == 'Z'); n++ {
		}
	}
	return n
}

func digitsAt(b []byte) int {
	for i, c := range b {
		if c < '0' || c > '9' {
			return i
		}
	}
	return len(b)
}

// isUnit recognises units of durations and sizes, of which a run rarely needs the
// same twice.
func isUnit(w []byte) bool {
	switch string(w) {
	case "s", "ms", "us", "ns", "min", "mins", "h", "sec", "secs", "second", "seconds", "minute", "minutes", "hour", "hours",
		"B", "kB", "KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB", "k", "K", "M", "G", "bytes", "it", "kB_s", "MB_s":
		return true
	}
	return false
}

// rooted tells whether an absolute path begins: "/a/b", `C:\a`, "D:/a".
func rooted(b []byte) bool {
	if len(b) > 2 && b[0] == '/' {
		return wordByte(b[1]) || b[1] == '.'
	}
	return len(b) > 3 && b[1] == ':' && (b[2] == '\\' || b[2] == '/' && b[3] != '/') && (b[0] >= 'A' && b[0] <= 'Z' || b[0] >= 'a' && b[0] <= 'z')
}

// pathLen measures a path up to a blank or what can't be part of one.
func pathLen(b []byte) int {
	for i, c := range b {
		switch c {
		case ' ', '\t', '"', '\'', '`', '<', '>', '|', '*', ';', ',', '(', ')', '[', ']', '=', '?':
			return i
		case ':':
			if i != 1 {
				return i
			}
		}
	}
	return len(b)
}

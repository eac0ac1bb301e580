package logs

import (
	"bytes"
	"encoding/binary"
	"time"
)

// Level is the weight that the runner gave a line.
type Level uint8

// The levels, from lines without a marker to errors.
const (
	Plain Level = iota
	Debug
	Notice
	Warning
	Error
)

// Line is one line of a log. Text and the bytes behind it are valid until the
// next call of Reader.Next.
type Line struct {
	// Number counts from 1 in the decoded log. The parts of a line that was
	// overwritten with carriage returns (progress bars) share its number.
	Number int
	// Text is the line without timestamp, marker, terminal escapes and control
	// characters. It may hold invalid UTF-8.
	Text []byte
	// Marker is the runner's marker as it stood before Text ("##[error]") or "".
	Marker string
	Level  Level
	// Time is the runner's timestamp, the last one seen where the line has none.
	Time time.Time
	// Segment is the index of the line's segment in Reader.Segments, Job the name
	// of its job.
	Segment int
	Job     string
	// Echo tells that the runner only repeats the script, the inputs or the
	// environment of a step ("##[group]Run …"): nothing of it has happened.
	Echo bool
	// Cut counts the bytes that were dropped from the end of the line.
	Cut int
}

// markers are what the runner (or a program, for the runner) writes in front of
// a line.
var markers = []struct {
	text  string
	level Level
}{
	{"##[error]", Error},
	{"##[warning]", Warning},
	{"##[notice]", Notice},
	{"##[debug]", Debug},
	{"##[group]", Plain},
	{"##[endgroup]", Plain},
	{"##[section]", Plain},
	{"##[command]", Plain},
	{"[command]", Plain},
}

// splitMarker cuts a runner's marker or workflow command off the text.
func splitMarker(text []byte) (marker string, level Level, rest []byte) {
	if len(text) < 3 {
		return "", Plain, text
	}
	switch text[0] {
	case '#', '[':
		for _, m := range markers {
			if len(text) >= len(m.text) && string(text[:len(m.text)]) == m.text {
				return m.text, m.level, text[len(m.text):]
			}
		}
	case ':':
		// ::error file=a.py,line=1::message
		if text[1] != ':' {
			break
		}
		name := text[2:]
		end := bytes.Index(name, []byte("::"))
		if end < 0 {
			break
		}
		word := name[:end]
		if sp := bytes.IndexByte(word, ' '); sp >= 0 {
			word = word[:sp]
		}
		rest := name[end+2:]
		switch string(word) {
		case "error":
			return "##[error]", Error, rest
		case "warning":
			return "##[warning]", Warning, rest
		case "notice":
			return "##[notice]", Notice, rest
		case "debug":
			return "##[debug]", Debug, rest
		case "group":
			return "##[group]", Plain, rest
		case "endgroup":
			return "##[endgroup]", Plain, rest
		}
	}
	return "", Plain, text
}

// clean removes terminal escapes and control characters in place.
func clean(b []byte) []byte {
	i := firstControl(b)
	if i < 0 {
		return b
	}
	out := b[:i]
	for i < len(b) {
		if b[i] == 0x1b {
			i += escapeLen(b[i:])
		} else {
			i++
		}
		n := firstControl(b[i:])
		if n < 0 {
			n = len(b) - i
		}
		out = append(out, b[i:i+n]...)
		i += n
	}
	return out
}

// firstControl returns where the first control character other than a tab
// stands, -1 where there is none.
func firstControl(b []byte) int {
	const (
		each = 0x0101010101010101
		high = 0x80 * each
	)
	i := 0
	for ; i+8 <= len(b); i += 8 {
		// The high bits of the bytes that are below 0x20 or 0x7f, and perhaps of
		// those behind the first such byte.
		v := binary.LittleEndian.Uint64(b[i:])
		if ((v-0x20*each)|((v^0x7f*each)-each))&^v&high == 0 {
			continue
		}
		for j, c := range b[i : i+8] {
			if control(c) {
				return i + j
			}
		}
	}
	for ; i < len(b); i++ {
		if control(b[i]) {
			return i
		}
	}
	return -1
}

func control(c byte) bool { return c < 0x20 && c != '\t' || c == 0x7f }

// escapeLen is the length of the escape sequence that b begins with: CSI, OSC
// and the other string sequences up to their terminator, else two bytes.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return len(b)
	}
	switch b[1] {
	case '[':
		for i := 2; i < len(b); i++ {
			if b[i] >= 0x40 && b[i] <= 0x7e {
				return i + 1
			}
			if b[i] < 0x20 || b[i] > 0x7e {
				return i // malformed: only what was consumed is dropped
			}
		}
		return len(b)
	case ']', 'P', 'X', '^', '_':
		for i := 2; i < len(b); i++ {
			if b[i] == 0x07 {
				return i + 1
			}
			if b[i] == 0x1b && i+1 < len(b) && b[i+1] == '\\' {
				return i + 2
			}
		}
		// Without a terminator nothing but the introducer is dropped, so that
		// an escape can't hide the rest of its line.
		return 2
	default:
		return 2
	}
}

// minuteLen is the length of a timestamp up to its seconds.
const minuteLen = len("2026-01-02T03:04:")

// stampLen is the length of the runner's timestamp and the blank behind it at
// the start of b ("2026-01-02T03:04:05.1234567Z "), or 0.
func stampLen(b []byte) int {
	if !minuteAt(b) {
		return 0
	}
	n, _ := secondsAt(b[minuteLen:])
	if n == 0 {
		return 0
	}
	return minuteLen + n
}

func minuteAt(b []byte) bool {
	if len(b) < minuteLen || b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' {
		return false
	}
	for _, i := range [...]int{0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15} {
		if b[i]-'0' > 9 {
			return false
		}
	}
	return true
}

// parseMinute reads what minuteAt found.
func parseMinute(b []byte) time.Time {
	num := func(from, to int) int {
		n := 0
		for _, c := range b[from:to] {
			n = n*10 + int(c-'0')
		}
		return n
	}
	return time.Date(num(0, 4), time.Month(num(5, 7)), num(8, 10), num(11, 13), num(14, 16), 0, 0, time.UTC)
}

// secondsAt reads the rest of a timestamp ("05.1234567Z ") and tells its length
// with the blank behind it, 0 where b doesn't begin with one.
func secondsAt(b []byte) (n int, since time.Duration) {
	if len(b) < 3 || b[0]-'0' > 9 || b[1]-'0' > 9 {
		return 0, 0
	}
	since = time.Duration(int(b[0]-'0')*10+int(b[1]-'0')) * time.Second
	i := 2
	if b[i] == '.' {
		i++
		for scale := 100 * time.Millisecond; i < len(b) && i < 15 && b[i]-'0' <= 9; i++ {
			since += time.Duration(b[i]-'0') * scale
			scale /= 10
		}
	}
	if i >= len(b) || b[i] != 'Z' {
		return 0, 0
	}
	i++
	if i < len(b) && b[i] == ' ' {
		i++
	}
	return i, since
}

package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Defaults of Options.
const (
	DefaultMaxLine  = 16 << 10
	DefaultMaxBytes = 512 << 20
)

// bufferSize is the reader's window on the input. It is larger than any line
// that is kept, so that a line is always contiguous in memory.
const bufferSize = 64 << 10

// Options bound a Reader and tell it what is known besides the log.
type Options struct {
	// MaxLine is how many bytes of a line are kept (at most 32 KiB); 0 means
	// DefaultMaxLine.
	MaxLine int
	// MaxBytes is after how many decoded bytes reading stops; 0 means
	// DefaultMaxBytes.
	MaxBytes int64
	// Job is the name of the job that the log belongs to, where the log doesn't
	// say it.
	Job string
	// Steps are the job's steps as the jobs API lists them. With them, lines
	// belong to steps by time and the API's conclusions decide what failed.
	Steps []domain.Step
}

// Reader yields the lines of one log.
type Reader struct {
	opts Options
	src  io.Reader
	buf  []byte
	pos  int
	end  int
	eof  bool
	err  error
	read int64

	number    int  // of the line that is being read
	inside    bool // a part of line number was yielded already
	truncated bool
	cutLines  int

	minute [minuteLen]byte // the last timestamp's, as it stood there
	start  time.Time       // of that minute
	time   time.Time

	track tracker
}

// NewReader returns a Reader of r. It fails only where r fails.
func NewReader(r io.Reader, opts Options) (*Reader, error) {
	if opts.MaxLine <= 0 || opts.MaxLine > bufferSize/2 {
		opts.MaxLine = DefaultMaxLine
	}
	if opts.MaxBytes <= 0 {
		opts.MaxBytes = DefaultMaxBytes
	}
	src, err := decode(r)
	if err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	return &Reader{
		opts:   opts,
		src:    src,
		buf:    make([]byte, bufferSize),
		number: 1,
		track:  newTracker(opts.Job, opts.Steps),
	}, nil
}

// Next returns the next line, io.EOF behind the last one, or the input's error.
func (r *Reader) Next() (Line, error) {
	for {
		raw, newline, cut, err := r.part()
		if err != nil {
			return Line{}, err
		}
		number, first := r.number, !r.inside
		if newline {
			r.number++
			r.inside = false
		} else {
			r.inside = true
		}
		if len(raw) == 0 && cut == 0 && !first {
			continue // "\r\r\n", or a progress bar's last stroke
		}
		if cut > 0 {
			r.cutLines++
		}
		return r.line(raw, number, first, cut), nil
	}
}

// part returns the bytes up to the next '\n' or '\r', whether a '\n' ended
// them, and how many bytes were dropped from their end.
func (r *Reader) part() (raw []byte, newline bool, cut int, err error) {
	for scanned := 0; ; {
		window := r.buf[r.pos:r.end]
		if i := indexEnd(window[scanned:]); i >= 0 {
			i += scanned
			newline := window[i] == '\n'
			if !newline && i+1 == len(window) && !r.eof && len(window) < len(r.buf) {
				// "\r" at the window's end may be half of "\r\n".
				if err := r.fill(); err != nil {
					return nil, false, 0, err
				}
				scanned = i
				continue
			}
			skip := 1
			if !newline && i+1 < len(window) && window[i+1] == '\n' {
				newline, skip = true, 2
			}
			r.pos += i + skip
			raw, cut := r.limit(window[:i])
			return raw, newline, cut, nil
		}
		scanned = len(window)
		if r.eof {
			r.pos = r.end
			if len(window) == 0 {
				if r.err != nil {
					return nil, false, 0, r.err
				}
				return nil, false, 0, io.EOF
			}
			raw, cut := r.limit(window)
			return raw, true, cut, nil
		}
		if len(window) == len(r.buf) {
			return r.long()
		}
		if err := r.fill(); err != nil {
			return nil, false, 0, err
		}
	}
}

func indexEnd(b []byte) int {
	i := bytes.IndexByte(b, '\n')
	if i >= 0 {
		b = b[:i]
	}
	if j := bytes.IndexByte(b, '\r'); j >= 0 {
		return j
	}
	return i
}

// limit cuts a line to its maximum.
func (r *Reader) limit(raw []byte) ([]byte, int) {
	if len(raw) <= r.opts.MaxLine {
		return raw, 0
	}
	return raw[:r.opts.MaxLine], len(raw) - r.opts.MaxLine
}

// long handles a line that fills the whole window: its beginning is kept, the
// rest is counted and dropped.
func (r *Reader) long() (raw []byte, newline bool, cut int, err error) {
	raw, cut = r.limit(r.buf[r.pos:r.end])
	keep := copy(r.buf, raw)
	for {
		// The window behind what is kept is filled over and over again.
		r.pos, r.end = keep, keep
		if err := r.fillAt(); err != nil {
			return nil, false, 0, err
		}
		window := r.buf[r.pos:r.end]
		i := indexEnd(window)
		if i < 0 {
			cut += len(window)
			if r.eof {
				r.pos = r.end
				return r.buf[:keep], true, cut, nil
			}
			continue
		}
		cut += i
		newline = window[i] == '\n'
		r.pos += i + 1
		return r.buf[:keep], newline, cut, nil
	}
}

// fill reads more input behind the window, moving the window to the front
// first where there is no room.
func (r *Reader) fill() error {
	if r.pos > 0 {
		copy(r.buf, r.buf[r.pos:r.end])
		r.end -= r.pos
		r.pos = 0
	}
	return r.fillAt()
}

func (r *Reader) fillAt() error {
	room := r.buf[r.end:]
	if left := r.opts.MaxBytes - r.read; int64(len(room)) > left {
		room = room[:left]
	}
	if len(room) == 0 {
		if r.read >= r.opts.MaxBytes {
			// One byte more tells a log that ends here from one that was cut.
			var one [1]byte
			if n, _ := io.ReadFull(r.src, one[:]); n > 0 {
				r.truncated = true
			}
			r.eof = true
		}
		return nil
	}
	n, err := readSome(r.src, room)
	r.end += n
	r.read += int64(n)
	if err != nil {
		r.eof = true
		if !errors.Is(err, io.EOF) {
			// What was read before the error is yielded first.
			r.err = fmt.Errorf("read the log: %w", err)
		}
	}
	return nil
}

// readSome is Read that doesn't come back empty-handed: a reader that yields
// nothing a hundred times is taken for broken.
func readSome(src io.Reader, p []byte) (int, error) {
	for range 100 {
		n, err := src.Read(p)
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// line makes a Line of a part of the log.
func (r *Reader) line(raw []byte, number int, first bool, cut int) Line {
	text := raw
	var job, step []byte
	if first {
		text = trimMark(text)
		n := r.stamp(text)
		if n == 0 {
			job, step, text = splitColumns(text)
			text = trimMark(text)
			n = r.stamp(text)
		}
		text = text[n:]
		if n > 0 {
			text = text[stampLen(text):] // logs of containers bring their own
		}
	}
	text = clean(text)
	marker, level, text := splitMarker(text)
	line := Line{Number: number, Text: text, Marker: marker, Level: level, Time: r.time, Cut: cut}
	line.Segment, line.Echo = r.track.add(&line, job, step)
	line.Job = r.track.segments[line.Segment].Job
	return line
}

// stamp reads the timestamp at the start of b and returns its length, 0 where
// there is none. Most lines are of the same minute as the one before.
func (r *Reader) stamp(b []byte) int {
	known := !r.start.IsZero() && len(b) > minuteLen && string(b[:minuteLen]) == string(r.minute[:])
	if !known && !minuteAt(b) {
		return 0
	}
	n, since := secondsAt(b[minuteLen:])
	if n == 0 {
		return 0
	}
	if !known {
		copy(r.minute[:], b)
		r.start = parseMinute(b)
	}
	r.time = r.start.Add(since)
	return minuteLen + n
}

// splitColumns cuts the job and step columns of `gh run view --log` off a line
// that doesn't begin with a timestamp: they are recognised by the one behind the
// second tab.
func splitColumns(b []byte) (job, step, text []byte) {
	head := b
	if len(head) > 1024 {
		head = head[:1024]
	}
	i := bytes.IndexByte(head, '\t')
	if i <= 0 {
		return nil, nil, b
	}
	j := bytes.IndexByte(head[i+1:], '\t')
	if j < 0 {
		return nil, nil, b
	}
	rest := b[i+1+j+1:]
	if stampLen(trimMark(rest)) == 0 {
		return nil, nil, b
	}
	return b[:i], b[i+1 : i+1+j], rest
}

// Truncated reports whether the log was longer than Options.MaxBytes, and how
// many lines were cut at Options.MaxLine.
func (r *Reader) Truncated() (log bool, lines int) { return r.truncated, r.cutLines }

// Lines is the number of the last line that was read.
func (r *Reader) Lines() int {
	if r.inside {
		return r.number
	}
	return r.number - 1
}

// Segments returns what is known about the parts of the log: complete after
// Next returned io.EOF. See Segment.
func (r *Reader) Segments() []Segment { return r.track.finish() }

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mlops-bot/mlops-bot/functions/detect"
)

// The measurements that run in a process of their own.
const (
	childFile    = "file"    // diagnose a file, read again and again up to a size
	childLine    = "line"    // diagnose one line of a size
	childLatency = "latency" // diagnose each log of a folder, several times
)

// said is what a child reports on its standard output.
type said struct {
	Lines   int     `json:"lines"`
	Peak    int64   `json:"peak"`
	Latency Latency `json:"latency"`
}

// runChild measures in this process; path and size are the input's.
func runChild(ctx context.Context, w io.Writer, kind, path string, size int64) error {
	var out said
	var err error
	switch kind {
	case childFile:
		out.Lines, err = diagnoseFile(ctx, path, size)
	case childLine:
		out.Lines, err = diagnose(ctx, &repeated{text: []byte("loss=0.125 Error: no such file or directory: "), left: size}, size)
	case childLatency:
		out.Latency, err = latencies(ctx, path)
	default:
		err = fmt.Errorf("unknown measurement %q", kind)
	}
	if err != nil {
		return err
	}
	out.Peak = peak("self")
	return json.NewEncoder(w).Encode(out)
}

func diagnoseFile(ctx context.Context, path string, size int64) (lines int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return diagnose(ctx, io.LimitReader(&endless{f}, size), size)
}

func diagnose(ctx context.Context, log io.Reader, size int64) (lines int, err error) {
	_, ex, err := detect.Diagnose(ctx, detect.Input{Log: log, MaxBytes: size})
	if err == nil && ex.Truncated {
		err = fmt.Errorf("not all of %d bytes were read", size)
	}
	return ex.Lines, err
}

// endless reads a file again when it is through.
type endless struct{ f *os.File }

func (e *endless) Read(p []byte) (int, error) {
	n, err := e.f.Read(p)
	if err == io.EOF {
		if _, err := e.f.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
		return e.f.Read(p)
	}
	return n, err
}

// repeated yields a text again and again, up to a number of bytes.
type repeated struct {
	text []byte
	at   int
	left int64
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	total := 0
	for len(p) > 0 && r.left > 0 {
		n := copy(p[:min(int64(len(p)), r.left)], r.text[r.at:])
		r.at = (r.at + n) % len(r.text)
		r.left -= int64(n)
		total += n
		p = p[n:]
	}
	return total, nil
}

// repeats is how often each log is diagnosed.
const repeats = 5

func latencies(ctx context.Context, dir string) (Latency, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return Latency{}, err
	}
	var l Latency
	var times []float64
	for _, f := range files {
		log, err := os.ReadFile(f)
		if err != nil {
			return Latency{}, err
		}
		var runs []float64
		for range repeats {
			start := time.Now()
			_, _, err := detect.Diagnose(ctx, detect.Input{Log: bytes.NewReader(log), Name: filepath.Base(f)})
			if err != nil {
				return Latency{}, err
			}
			runs = append(runs, time.Since(start).Seconds()*1000)
		}
		if l.Cold == 0 {
			l.Cold = runs[0]
		}
		times = append(times, quantile(runs, 0.5))
	}
	l.Median, l.P95, l.Max = quantile(times, 0.5), quantile(times, 0.95), quantile(times, 1)
	return l, nil
}

// quantile is the smallest of the values that at least a share q of them don't
// exceed.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

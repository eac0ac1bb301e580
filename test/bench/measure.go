package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"github.com/mlops-bot/mlops-bot/functions/detect/rules"
)

// inputs are the files that all programs read.
type inputs struct {
	logs                  string // the folder of the real logs
	log, sample           string // their concatenation, and its beginning for grep
	rust, gnu, words      string // lists of patterns
	patterns, keywords    int
	bytes, lines, sampled int64
}

// prepare writes the concatenation of the logs and the lists of patterns.
func prepare(dir string, files []string, o options) (inputs, error) {
	in := inputs{
		logs: filepath.Dir(files[0]),
		log:  filepath.Join(dir, "logs.txt"), sample: filepath.Join(dir, "sample.txt"),
		rust: filepath.Join(dir, "patterns.txt"), gnu: filepath.Join(dir, "patterns-grep.txt"), words: filepath.Join(dir, "keywords.txt"),
	}
	if err := in.concatenate(files, int64(o.megabytes)*1_000_000, o.grepBytes); err != nil {
		return inputs{}, fmt.Errorf("concatenate the logs: %w", err)
	}
	var ripgrep, grep, words []string
	var refused []error
	for _, r := range rules.All() {
		for _, p := range r.Patterns {
			in.patterns++
			for _, to := range []struct {
				dialect
				list *[]string
			}{{rust, &ripgrep}, {gnu, &grep}} {
				s, err := to.export(p)
				if err != nil {
					refused = append(refused, fmt.Errorf("%s: pattern %s: %w", r.ID, p, err))
				}
				*to.list = append(*to.list, s)
			}
		}
		words = append(words, r.Keywords()...)
	}
	if len(refused) > 0 {
		return inputs{}, fmt.Errorf("export the patterns: %w", errors.Join(refused...))
	}
	slices.Sort(words)
	words = slices.DeleteFunc(slices.Compact(words), func(w string) bool { return strings.Contains(w, "\n") }) // no line holds it
	in.keywords = len(words)
	for file, list := range map[string][]string{in.rust: ripgrep, in.gnu: grep, in.words: words} {
		if err := os.WriteFile(file, []byte(strings.Join(list, "\n")+"\n"), 0o600); err != nil {
			return inputs{}, err
		}
	}
	return in, nil
}

// concatenate writes the logs in UTF-8, all of them as often as it takes. NULs
// and invalid bytes are left out: with them ripgrep and grep would stop early,
// for a binary file.
func (in *inputs) concatenate(files []string, least, sample int64) (err error) {
	out, err := os.OpenFile(in.log, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := bufio.NewWriter(out)
	for in.bytes < least {
		before := in.bytes
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				return err
			}
			if b, err = text(b); err != nil {
				return fmt.Errorf("decode %s: %w", filepath.Base(f), err)
			}
			if in.sampled < sample {
				if err := appendTo(in.sample, b[:min(int64(len(b)), sample-in.sampled)]); err != nil {
					return err
				}
				in.sampled += min(int64(len(b)), sample-in.sampled)
			}
			if _, err := w.Write(b); err != nil {
				return err
			}
			in.bytes += int64(len(b))
			in.lines += int64(bytes.Count(b, []byte("\n")))
		}
		if in.bytes == before {
			return errors.New("the logs are empty")
		}
	}
	return w.Flush()
}

// text decodes a log to UTF-8 that ends with a newline.
func text(b []byte) ([]byte, error) {
	b, _, err := transform.Bytes(unicode.BOMOverride(transform.Nop), b)
	if err != nil {
		return nil, err
	}
	b = bytes.ReplaceAll(b, []byte{0}, nil)
	if !utf8.Valid(b) {
		b = bytes.ToValidUTF8(b, nil)
	}
	if len(b) > 0 && b[len(b)-1] != '\n' {
		b = append(b, '\n')
	}
	return b, nil
}

func appendTo(file string, b []byte) (err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.Write(b)
	return err
}

// run is one program over one input, and what its rounds took.
type run struct {
	Name    string
	bytes   int64
	command []string
	env     []string
	own     bool // the bot, which reports about itself on its output

	seconds []float64
	cpu     []float64
	peak    int64
	matches int64
	givenUp bool
	said    said
}

// The names of the runs that others look up.
const (
	nameBot     = "mlops-bot, whole catalogue"
	nameLatency = "mlops-bot, log by log"
)

// runs lists what is measured, in the order of each round.
func (in *inputs) runs() ([]run, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	own := func(name, kind, path string, size int64) run {
		return run{Name: name, bytes: size, own: true, command: []string{self, "-child", kind, "-size", strconv.FormatInt(size, 10), path}}
	}
	ripgrep := []string{"rg", "--no-config", "-j1", "--no-mmap", "-n"}
	return []run{
		own(nameBot, childFile, in.log, in.bytes),
		{Name: "ripgrep, whole catalogue", bytes: in.bytes, command: append(slices.Clip(ripgrep), "-f", in.rust, in.log)},
		{Name: "ripgrep, only the keywords (-F)", bytes: in.bytes, command: append(slices.Clip(ripgrep), "-F", "-f", in.words, in.log)},
		{Name: "grep -E, whole catalogue, UTF-8", bytes: in.sampled, env: []string{"LC_ALL=C.UTF-8"}, command: []string{"grep", "-n", "-E", "-f", in.gnu, in.sample}},
		{Name: "grep -E, whole catalogue, C", bytes: in.sampled, env: []string{"LC_ALL=C"}, command: []string{"grep", "-n", "-a", "-E", "-f", in.gnu, in.sample}},
		own("mlops-bot, 1 GB stream", childFile, in.log, 1_000_000_000),
		own("mlops-bot, one line of 100 MB", childLine, "", 100_000_000),
		own(nameLatency, childLatency, in.logs, 0),
	}, nil
}

// measure runs the program once, on one processor.
func (r *run) measure(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	command := r.command
	if taskset, err := exec.LookPath("taskset"); err == nil {
		command = append([]string{taskset, "-c", lastCPU()}, command...)
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // the programs that runs lists
	cmd.Env = append(append(os.Environ(), "GOMAXPROCS=1"), r.env...)
	// Not the null device: grep would stop at the first match.
	var out counter
	if r.own {
		out.keep = 1 << 20
	}
	var problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	watched := make(chan int64)
	go func() { watched <- watch(cmd.Process.Pid, done) }()
	err := cmd.Wait()
	took := time.Since(start)
	close(done)
	r.peak = max(r.peak, <-watched)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		r.givenUp = true
	} else if code := cmd.ProcessState.ExitCode(); err != nil && (r.own || code != 1) { // 1: no match
		return fmt.Errorf("%w: %s", err, problem.Bytes()[:min(problem.Len(), 2000)])
	}
	r.seconds = append(r.seconds, took.Seconds())
	r.cpu = append(r.cpu, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
	r.matches = max(r.matches, out.lines)
	if r.own && !r.givenUp {
		r.matches = 0
		var s said
		if err := json.Unmarshal(out.kept, &s); err != nil {
			return fmt.Errorf("read the child's report: %w", err)
		}
		r.peak = max(r.peak, s.Peak)
		if r.said.Latency.Median == 0 || s.Latency.Median < r.said.Latency.Median {
			r.said = s
		}
	}
	return nil
}

// counter counts the lines that are written to it and keeps the first bytes.
type counter struct {
	lines int64
	keep  int
	kept  []byte
}

func (c *counter) Write(p []byte) (int, error) {
	c.lines += int64(bytes.Count(p, []byte("\n")))
	c.kept = append(c.kept, p[:min(len(p), c.keep-len(c.kept))]...)
	return len(p), nil
}

// watch returns the most memory that a process had resident. What the system
// reports at a process's end is no use: it counts the memory of the process that
// started it as well.
func watch(pid int, done <-chan struct{}) int64 {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var most int64
	for {
		most = max(most, peak(strconv.Itoa(pid)))
		select {
		case <-done:
			return most
		case <-tick.C:
		}
	}
}

// peak reads the most memory that a process had resident, in bytes: 0 where the
// system does not tell.
func peak(pid string) int64 {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil {
		return 0
	}
	fields := strings.Fields(field(string(b), "VmHWM:"))
	if len(fields) == 0 {
		return 0
	}
	kilobytes, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0
	}
	return kilobytes << 10
}

// field is the rest of the line that begins with a name.
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// lastCPU is the number of the last processor that this process may use: the
// first one serves most interrupts.
func lastCPU() string {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "0"
	}
	list := field(string(b), "Cpus_allowed_list:")
	return cmp.Or(list[strings.LastIndexAny(list, ",-")+1:], "0")
}

func (r *run) result() Result {
	cpu := quantile(r.cpu, 0.5)
	return Result{
		Name: r.Name, Bytes: r.bytes, Seconds: quantile(r.seconds, 0.5), CPU: cpu, BytesPerSecond: float64(r.bytes) / cpu,
		GivenUp: r.givenUp, Peak: r.peak, Matches: r.matches,
	}
}

// latency picks the time to diagnosis out of the runs.
func latency(runs []run) (Latency, error) {
	for _, r := range runs {
		if r.Name == nameLatency && !r.givenUp {
			return r.said.Latency, nil
		}
	}
	return Latency{}, errors.New("the logs were not diagnosed one by one within the limit")
}

func processor() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		if _, model, ok := strings.Cut(field(string(b), "model name"), ":"); ok {
			return strings.TrimSpace(model)
		}
	}
	return runtime.GOARCH
}

func versions(ctx context.Context) map[string]string {
	out := map[string]string{"go": runtime.Version()}
	for _, program := range []string{"rg", "grep"} {
		b, err := exec.CommandContext(ctx, program, "--version").Output() //nolint:gosec // the two above
		if err == nil {
			out[program], _, _ = strings.Cut(string(b), "\n")
		}
	}
	return out
}

func (r Report) table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintf(out, "%d patterns (%d keywords), all of them exported, over %.0f MB in %d lines: %d real logs, again and again.\n",
		r.Patterns, r.Keywords, float64(r.Bytes)/1e6, r.Lines, r.Logs)
	_, _ = fmt.Fprintf(out, "One processor, %s; the median of %d rounds, in turns. %s, %s, %s.\n\n", r.CPU, r.Rounds, r.Versions["go"], r.Versions["rg"], r.Versions["grep"])
	_, _ = fmt.Fprintln(w, "input MB\tseconds\tCPU seconds\tMB per CPU second\tpeak MiB\tlines found\t ")
	for _, x := range r.Runs {
		if x.Name == nameLatency {
			continue
		}
		bound := ""
		if x.GivenUp {
			bound = " (given up: at most)"
		}
		_, _ = fmt.Fprintf(w, "%.1f\t%.2f\t%.2f\t%.1f\t%.1f\t%s\t %s%s\n",
			float64(x.Bytes)/1e6, x.Seconds, x.CPU, x.BytesPerSecond/1e6, float64(x.Peak)/(1<<20), found(x.Matches), x.Name, bound)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nTime to diagnosis, log by log: median %.2f ms, 95th percentile %.2f ms, longest %.2f ms; the first one of a process %.1f ms.\n",
		r.Latency.Median, r.Latency.P95, r.Latency.Max, r.Latency.Cold)
	return err
}

func found(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// Command bench measures how fast logs are diagnosed, beside ripgrep and grep
// with the same patterns over the same bytes, on the same processor, in turns.
// It prints a table, or JSON, and exits with 2 where a program that it needs is
// not installed.
//
// Each measured run is a process of its own; for the bot's own runs the command
// starts itself with -child.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"
)

type options struct {
	data      string
	rounds    int
	megabytes int
	limit     time.Duration // of one run
	grepBytes int64         // what grep is given
}

// errMissing reports a program that isn't installed.
var errMissing = errors.New("is not installed")

func main() {
	var o options
	flag.StringVar(&o.data, "data", "", "folder with the folder logs of real logs")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each run is repeated; the median counts")
	flag.IntVar(&o.megabytes, "megabytes", 100, "least size of the concatenation of the logs")
	flag.DurationVar(&o.limit, "limit", 10*time.Minute, "after which a run is given up")
	flag.Int64Var(&o.grepBytes, "grep-bytes", 2_000_000, "how much of the concatenation grep is given")
	output := flag.String("output", "table", "table or json")
	child := flag.String("child", "", "run one measurement in this process (used by the command itself)")
	size := flag.Int64("size", 0, "bytes that the child reads")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *child != "" {
		exit(runChild(ctx, os.Stdout, *child, flag.Arg(0), *size))
	}
	if o.data == "" || o.rounds < 1 || o.megabytes < 1 || *output != "table" && *output != "json" {
		fmt.Fprintln(os.Stderr, "bench: -data is required; -rounds and -megabytes are positive; -output is table or json")
		os.Exit(2)
	}
	report, err := bench(ctx, o, os.Stderr)
	if err == nil {
		err = report.print(os.Stdout, *output)
	}
	exit(err)
}

func exit(err error) {
	switch {
	case errors.Is(err, errMissing):
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// bench prepares the inputs in a temporary folder and runs everything in turns.
func bench(ctx context.Context, o options, progress io.Writer) (Report, error) {
	for program, pkg := range map[string]string{"rg": "ripgrep", "grep": "grep"} {
		if _, err := exec.LookPath(program); err != nil {
			return Report{}, fmt.Errorf("%s %w: install the package %s (apt-get install %s)", program, errMissing, pkg, pkg)
		}
	}
	files, err := filepath.Glob(filepath.Join(o.data, "logs", "*"))
	if err != nil || len(files) == 0 {
		return Report{}, fmt.Errorf("find logs in %s: there are none", filepath.Join(o.data, "logs"))
	}
	dir, err := os.MkdirTemp("", "bench-diagnose-")
	if err != nil {
		return Report{}, err
	}
	defer os.RemoveAll(dir)
	in, err := prepare(dir, files, o)
	if err != nil {
		return Report{}, err
	}
	report := Report{
		CPU: processor(), Patterns: in.patterns, Keywords: in.keywords, Logs: len(files),
		Bytes: in.bytes, Lines: in.lines, Rounds: o.rounds,
	}
	runs, err := in.runs()
	if err != nil {
		return Report{}, err
	}
	for round := range o.rounds {
		for i := range runs {
			_, _ = fmt.Fprintf(progress, "round %d of %d: %s\n", round+1, o.rounds, runs[i].Name)
			if err := runs[i].measure(ctx, o.limit); err != nil {
				return Report{}, fmt.Errorf("measure %s: %w", runs[i].Name, err)
			}
		}
	}
	for i := range runs {
		report.Runs = append(report.Runs, runs[i].result())
	}
	report.Versions = versions(ctx)
	report.Latency, err = latency(runs)
	return report, err
}

// Report is what was measured.
type Report struct {
	CPU      string            `json:"cpu"`
	Versions map[string]string `json:"versions"`
	// Patterns of the catalogue, all of which ripgrep and grep were given, and
	// the literals that they require.
	Patterns int `json:"patterns"`
	Keywords int `json:"keywords"`
	// Logs is how many logs the concatenation repeats, Bytes and Lines its size.
	Logs   int      `json:"logs"`
	Bytes  int64    `json:"bytes"`
	Lines  int64    `json:"lines"`
	Rounds int      `json:"rounds"`
	Runs   []Result `json:"runs"`
	// Latency is the time from the log's bytes in memory to the diagnosis.
	Latency Latency `json:"latency"`
}

// Result is the median of a run's rounds.
type Result struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
	// Seconds is how long the whole process took, CPU the time for which it had
	// the processor, from which BytesPerSecond follows: on a machine with nothing
	// else to do they are the same. GivenUp tells that the run was ended before it
	// was through, so that all of them are bounds.
	Seconds        float64 `json:"seconds"`
	CPU            float64 `json:"cpu_seconds"`
	BytesPerSecond float64 `json:"bytes_per_second"`
	GivenUp        bool    `json:"given_up,omitempty"`
	// Peak is the most memory that the process had resident in any round.
	Peak int64 `json:"peak_bytes"`
	// Matches is how many lines a grep printed.
	Matches int64 `json:"matches,omitempty"`
}

// Latency is over the logs one by one, each as the median of several runs.
type Latency struct {
	Median float64 `json:"median_ms"`
	P95    float64 `json:"p95_ms"`
	Max    float64 `json:"max_ms"`
	// Cold is the first diagnosis of a process, which prepares the catalogue.
	Cold float64 `json:"cold_ms"`
}

func (r Report) print(w io.Writer, format string) error {
	if format == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	return r.table(w)
}

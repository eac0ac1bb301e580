// Command accuracy measures the bot against labelled real data: diagnoses
// against the causes that people named, and planned repairs against the fixes
// that they made. It prints tables and exits with 1 where it could not measure.
// With -calibrate it fits the confidence of findings on the same logs.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
)

func main() {
	data := flag.String("data", "", "folder with logs.tsv, issues.tsv and repairs.tsv (see its README.md)")
	corpus := flag.String("corpus", "test/accuracy/corpus", "folder with the written logs (see its README.md)")
	write := flag.String("calibrate", "", "fit the confidence and write it to this `file`, instead of measuring")
	verbose := flag.Bool("v", false, "print every log that was not diagnosed right")
	flag.Parse()
	if *data == "" {
		fmt.Fprintln(os.Stderr, "accuracy: -data is required")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	steps := []func(context.Context, string, io.Writer) error{diagnoses(*corpus, *verbose), repairs}
	if *write != "" {
		steps = []func(context.Context, string, io.Writer) error{calibrate(*corpus, *write)}
	}
	for _, measure := range steps {
		if err := measure(ctx, *data, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "accuracy:", err)
			os.Exit(1)
		}
	}
}

// Package logs reads what GitHub Actions logs look like in the wild as a stream
// of clean lines: job logs, files of a run's archive, `gh run view --log`
// output, files that people saved from the page or through PowerShell. It keeps
// the original line numbers, tells jobs and steps apart and knows which step
// failed. It does not know why; that is package rules.
//
// Memory is bounded whatever the input is: a line is cut at Options.MaxLine, a
// log at Options.MaxBytes, the list of segments at a few thousand.
package logs

// Package logs reads what GitHub Actions logs look like in the wild as a stream
// of clean lines: job logs, archives of runs and folders of them (Run), `gh run
// view --log` output, files that people saved from the page or through
// PowerShell. It keeps the original line numbers, tells jobs and steps apart and
// knows which step failed. It does not know why; that is package rules.
//
// Memory is bounded whatever the input is: a line is cut at Options.MaxLine, a
// log at Options.MaxBytes, the list of segments at a few thousand, a Run at some
// thousand jobs and some gigabytes of unpacked text.
//
// # Which step failed
//
// Where the jobs API tells, its conclusions decide: a step with
// continue-on-error is a success there. A log alone doesn't say that, so what it
// shows is weighed:
//
//   - A script's exit code is certain, an action's error counts where the action
//     ends with it. The first such step failed, and what runs behind it is a
//     cascade: the runner skips other steps without a word, so these are clean-up
//     and steps with if: always() or failure().
//   - A checkout, a set-up, an installation or a build behind a failure is
//     evidence that the failure was allowed, since nobody runs those in a job that
//     has failed. The next failure is the cause then. Without one the first stays
//     the cause, unless tests passed behind that.
//   - Tests that fail behind a failed check (a linter) are the cause, and the check
//     stands beside them; tests that pass there are no evidence, as such checks are
//     often made to run all of them.
//   - A step that only exits, or looks at an outcome first, reports an earlier
//     failure.
//   - In a cancelled job without a failed step, whatever the steps before the
//     cancelled one reported was survived.
//   - Each runner that a file tells of ("Current runner version") is a job of its
//     own: files hold several jobs, or reruns, one after the other.
package logs

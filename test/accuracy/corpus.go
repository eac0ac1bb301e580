package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// corpusCase is one written log; its format is explained in corpus/README.md.
type corpusCase struct {
	name       string
	categories []string // the label, then other accepted readings
	form       string
	command    string
	exit       string
	options    []string
	body       []string
}

var caseName = regexp.MustCompile(`^[a-z0-9_]+$`)

// parseCases reads one writer's file.
func parseCases(text string) ([]corpusCase, error) {
	var out []corpusCase
	seen := map[string]bool{}
	for n, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		head, ok := strings.CutPrefix(line, "=== ")
		if !ok || !strings.Contains(head, " | ") {
			if len(out) == 0 {
				return nil, fmt.Errorf("line %d: a heading (=== name | categories …) is missing", n+1)
			}
			out[len(out)-1].body = append(out[len(out)-1].body, line)
			continue
		}
		field := strings.Split(head, " | ")
		for i := range field {
			field[i] = strings.TrimSpace(strings.Trim(field[i], "|"))
		}
		field = append(field, "", "", "", "", "", "")
		c := corpusCase{
			name: field[0], categories: strings.Split(field[1], ","), form: orElse(field[2], "full"),
			command: orElse(field[3], "pytest -q"), exit: orElse(field[4], "1"), options: strings.Fields(field[5]),
		}
		switch {
		case !caseName.MatchString(c.name) || seen[c.name]:
			return nil, fmt.Errorf("line %d: the name %q is no name or is there twice", n+1, c.name)
		case c.categories[0] == "":
			return nil, fmt.Errorf("line %d: %s has no category", n+1, c.name)
		case !slices.Contains([]string{"full", "tab", "step", "bare"}, c.form):
			return nil, fmt.Errorf("line %d: %s: there is no form %q", n+1, c.name, c.form)
		}
		for i := range c.categories {
			c.categories[i] = strings.TrimSpace(c.categories[i])
		}
		seen[c.name] = true
		out = append(out, c)
	}
	return out, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// preamble is what the runner prints before the first step of a case.
const preamble = `Current runner version: '2.330.0'
##[group]Runner Image Provisioner
Hosted Compute Agent
##[endgroup]
##[group]Operating System
Ubuntu
24.04.3
LTS
##[endgroup]
##[group]Runner Image
Image: ubuntu-24.04
Version: 20251112.124.1
##[endgroup]
##[group]GITHUB_TOKEN Permissions
Contents: read
Metadata: read
##[endgroup]
Secret source: Actions
Prepare workflow directory
Prepare all required actions
Getting action download info
Download action repository 'actions/checkout@v4' (SHA:08eba0b27e820071cde6df949e0beb9ba4906955)
Download action repository 'actions/setup-python@v5' (SHA:a26af69be951a213d495a4c3e4e4022e16d87065)
Complete job name: test (3.10)
##[group]Run actions/checkout@v4
with:
  repository: acme/pipeline
  token: ***
  fetch-depth: 1
##[endgroup]
Syncing repository: acme/pipeline
##[group]Getting Git version info
Working directory is '/home/runner/work/pipeline/pipeline'
[command]/usr/bin/git version
git version 2.51.2
##[endgroup]
Deleting the contents of '/home/runner/work/pipeline/pipeline'
##[group]Fetching the repository
[command]/usr/bin/git -c protocol.version=2 fetch --no-tags --prune --no-recurse-submodules --depth=1 origin +5f3e0c1a:refs/remotes/origin/main
From https://github.com/acme/pipeline
 * [new ref]         5f3e0c1a -> origin/main
##[endgroup]
[command]/usr/bin/git log -1 --format=%H
5f3e0c1a
##[group]Run actions/setup-python@v5
with:
  python-version: 3.10
  check-latest: false
##[endgroup]
##[group]Installed versions
Successfully set up CPython (3.10.14)
##[endgroup]`

// installation is the step that installs requirements.
const installation = `##[group]Run pip install -r requirements.txt
pip install -r requirements.txt
shell: /usr/bin/bash -e {0}
env:
  pythonLocation: /opt/hostedtoolcache/Python/3.10.14/x64
##[endgroup]
Collecting wheel
  Downloading wheel-0.45.1-py3-none-any.whl (1.8 MB)
     ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 1.8/1.8 MB 23.6 MB/s eta 0:00:00
Collecting numpy==1.26.4 (from -r requirements.txt (line 1))
  Downloading numpy-1.26.4-cp310-cp310-manylinux_2_17_x86_64.manylinux2014_x86_64.whl (18.2 MB)
Building wheels for collected packages: antlr4-python3-runtime
  Building wheel for antlr4-python3-runtime (setup.py): started
  Building wheel for antlr4-python3-runtime (setup.py): finished with status 'done'
Installing collected packages: numpy, pandas
Successfully installed numpy-1.26.4 pandas-2.1.4`

// cleanUp is what the runner prints behind the last step.
const cleanUp = `Post job cleanup.
[command]/usr/bin/git version
git version 2.51.2
Temporarily overriding HOME='/home/runner/work/_temp/0c1a' before making global git config changes
Adding repository directory to the temporary git global config as a safe directory
[command]/usr/bin/git config --local --name-only --get-regexp core\.sshCommand
Cleaning up orphan processes`

// noise is what programs print when all is well, by directive.
var noise = map[string]func(i int) string{
	"PIP": func(i int) string {
		return fmt.Sprintf("  Downloading package_%d-1.%d.0-cp310-cp310-manylinux_2_17_x86_64.whl.metadata (%d.1 kB)", i, i%7, i%60)
	},
	"NPM": func(i int) string { return fmt.Sprintf("npm http fetch GET 200 package-%d %dms (cache hit)", i, i%90) },
	"APT": func(i int) string {
		return fmt.Sprintf("Unpacking libpackage%d:amd64 (2.%d-1ubuntu3) ...", i, i%9)
	},
	"DOCKER": func(i int) string {
		return fmt.Sprintf("#%d %d.%03d Setting up library-%d", 5+i/20, i/10, i*37%1000, i)
	},
	"TRAIN": func(i int) string {
		return fmt.Sprintf("epoch %d/10 step %d loss=%.4f val_error=%.4f lr=3e-4 %d img/s", 1+i/40, i, 2.3/float64(i+1), 2.9/float64(i+1), 800+i%50)
	},
	"TESTS": func(i int) string {
		return fmt.Sprintf("tests/test_part_%d.py::TestErrors::test_failure_is_reported[case-%d] PASSED [ %2d%%]", i%12, i, min(i, 99))
	},
}

var directive = regexp.MustCompile(`^!!([A-Z]+)(?: (.*))?$`)

var actionRef = regexp.MustCompile(`^[\w.-]+/[\w./-]+@`)

// expand renders a case as the log that a person would have, and the numbers of
// the lines that are accepted as evidence.
func (c corpusCase) expand() (log []byte, evidence []int, err error) {
	type row struct{ job, step, text string }
	var rows []row
	job, step := "test (3.10)", "Set up job"
	put := func(text string) {
		for line := range strings.SplitSeq(text, "\n") {
			if s, ok := strings.CutPrefix(line, "##[group]Run "); ok {
				step = "Run " + s
			} else if strings.HasPrefix(line, "Post job") {
				step = "Post Run actions/checkout@v4"
			}
			rows = append(rows, row{job, step, line})
		}
	}
	begin := func(command string) {
		if actionRef.MatchString(command) {
			put("##[group]Run " + command + "\nwith:\n  token: ***\n##[endgroup]")
			return
		}
		lines := strings.Split(command, " && ")
		put("##[group]Run " + lines[0])
		for _, l := range lines {
			put("\x1b[36;1m" + l + "\x1b[0m")
		}
		put("shell: /usr/bin/bash -e {0}\nenv:\n  pythonLocation: /opt/hostedtoolcache/Python/3.10.14/x64\n##[endgroup]")
	}
	whole := c.form == "full" || c.form == "tab"
	if whole {
		put(preamble)
		if !slices.Contains(c.options, "noinst") {
			put(installation)
		}
	}
	if c.form != "bare" {
		begin(c.command)
	}
	for _, line := range c.body {
		name, arg := "", ""
		if m := directive.FindStringSubmatch(line); m != nil {
			name, arg = m[1], m[2]
		}
		switch {
		case name == "":
			text, accepted := strings.CutPrefix(line, "@@")
			if accepted {
				evidence = append(evidence, len(rows)+1)
			}
			put(text)
		case name == "RUN":
			begin(arg)
		case name == "EXIT":
			put("##[error]Process completed with exit code " + arg + ".")
		case name == "JOB":
			job, step = arg, "Set up job"
		case noise[name] != nil:
			n, err := strconv.Atoi(strings.TrimSpace(arg))
			if err != nil || n < 1 || n > 10_000 {
				return nil, nil, fmt.Errorf("%s: %q needs a number of lines", c.name, line)
			}
			for i := range n {
				put(noise[name](i))
			}
		default:
			return nil, nil, fmt.Errorf("%s: there is no directive %q", c.name, line)
		}
	}
	if c.form != "bare" && c.exit != "0" && c.exit != "-" {
		put("##[error]Process completed with exit code " + c.exit + ".")
	}
	if whole && !slices.Contains(c.options, "nopost") {
		put(cleanUp)
	}
	at := time.Date(2026, 3, 4, 5, 6, 7, 1234567, time.UTC)
	var b bytes.Buffer
	for _, r := range rows {
		at = at.Add(137 * time.Millisecond)
		if c.form == "tab" {
			b.WriteString(r.job + "\t" + r.step + "\t")
		}
		if c.form != "bare" {
			b.WriteString(at.Format("2006-01-02T15:04:05.0000000Z "))
		}
		b.WriteString(r.text + "\n")
	}
	return b.Bytes(), evidence, nil
}

// readCorpus reads the written logs of a folder: the files of tuned/ and held/.
func readCorpus(dir string) ([]labelled, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("read the written logs of %s: %w", dir, errors.Join(err, fs.ErrNotExist))
	}
	var out []labelled
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the written logs: %w", err)
		}
		cases, err := parseCases(string(text))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		writer := strings.TrimSuffix(filepath.Base(file), ".txt")
		for _, c := range cases {
			log, evidence, err := c.expand()
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", file, err)
			}
			l := labelled{name: writer + "/" + c.name, group: writer, category: c.categories[0], log: log, readings: map[string][]int{}}
			for _, name := range c.categories {
				l.readings[name] = evidence
			}
			out = append(out, l)
		}
	}
	return out, nil
}

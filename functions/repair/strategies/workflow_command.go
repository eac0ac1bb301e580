package strategies

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// replaceWorkflowCommand writes outputs, state, variables and paths to GitHub's
// environment files, where a step prints a workflow command that GitHub no longer
// takes.
type replaceWorkflowCommand struct{}

var _ Strategy = replaceWorkflowCommand{}

// environmentFiles are the files that took the place of the commands.
var environmentFiles = map[string]string{
	"set-output": "GITHUB_OUTPUT",
	"save-state": "GITHUB_STATE",
	"set-env":    "GITHUB_ENV",
	"add-path":   "GITHUB_PATH",
}

func (replaceWorkflowCommand) ID() string { return "replace-workflow-command" }

func (replaceWorkflowCommand) Applies(f domain.Finding) bool {
	return f.Category == "deprecated-action" && environmentFiles[f.Fact("action")] != ""
}

func (s replaceWorkflowCommand) Plan(ctx context.Context, tree Tree, f domain.Finding) (domain.Plan, error) {
	command := f.Fact("action")
	file := environmentFiles[command]
	w, err := readWorkflow(ctx, tree, f.Workflow)
	if err != nil {
		return domain.Plan{}, err
	}
	c := changes{}
	n, err := s.replace(w, command, file, c)
	if err != nil {
		return domain.Plan{}, err
	}
	if n == 0 {
		return domain.Plan{}, refuse("no step of %q prints ::%s itself: an action or a script that it runs does", w.path, command)
	}
	others, err := workflows(ctx, tree)
	if err != nil {
		return domain.Plan{}, err
	}
	for _, o := range others {
		extra := changes{}
		if o.path == w.path {
			continue
		}
		more, err := s.replace(o, command, file, extra)
		if _, refused := errors.AsType[*domain.Refusal](err); refused {
			continue
		} else if err != nil {
			return domain.Plan{}, err
		}
		n += more
		for p, splices := range extra {
			c.add(p, splices...)
		}
	}
	return domain.Plan{
		Strategy: s.ID(), Action: domain.ActionEdit,
		Title: fmt.Sprintf("Write to %s instead of printing ::%s", file, command),
		Rationale: fmt.Sprintf("GitHub no longer takes the workflow command %s. %d %s %s instead, with the same %s.",
			code(command), n, plural(n, "line writes to", "lines write to"), code("$"+file), map[bool]string{true: "path", false: "names and values"}[command == "add-path"]),
		Risk: domain.RiskLow, Edits: c.edits(),
		Verify: "The step runs without the command's deprecation, and later steps see its values.",
	}, nil
}

var commandPrefix = map[string]*regexp.Regexp{
	"set-output": regexp.MustCompile(`\A::set-output\s+name=([A-Za-z0-9_-]+)::`),
	"save-state": regexp.MustCompile(`\A::save-state\s+name=([A-Za-z0-9_-]+)::`),
	"set-env":    regexp.MustCompile(`\A::set-env\s+name=([A-Za-z0-9_]+)::`),
	"add-path":   regexp.MustCompile(`\A::add-path::()`),
}

// replace adds the changes of one workflow and returns the number of lines.
func (replaceWorkflowCommand) replace(w *workflow, command, file string, c changes) (int, error) {
	n := 0
	for i := range w.jobs {
		for _, s := range w.jobs[i].steps {
			if s.run == nil || !strings.Contains(s.run.Value, "::"+command) {
				continue
			}
			at := fmt.Sprintf("line %d of %s", s.run.Line, w.path)
			target, err := w.environmentFile(&w.jobs[i], s, file)
			if err != nil {
				return 0, err
			}
			lines, err := w.y.TextLines(s.run)
			if err != nil {
				return 0, refuse("the script in %s can't be edited: %s", at, why(err))
			}
			if regexp.MustCompile(`%0A|%0D|%25`).MatchString(s.run.Value) {
				return 0, refuse("the script in %s escapes line breaks for the command, which environment files write in another way", at)
			}
			done := 0
			for _, words := range commands(lines) {
				if len(words) < 2 || words[0].text != "echo" || !strings.HasPrefix(words[1].text, "::"+command) {
					continue
				}
				splices, ok := rewrite(w.raw, words, command, target)
				if !ok {
					return 0, refuse("a command in the script of %s has a form that can't be rewritten with certainty", at)
				}
				c.add(w.path, splices...)
				done++
			}
			if done != strings.Count(s.run.Value, "::"+command) {
				return 0, refuse("the script in %s prints ::%s in a form that can't be rewritten with certainty", at, command)
			}
			n += done
		}
	}
	return n, nil
}

// environmentFile is how the step's shell names the file.
func (w *workflow) environmentFile(j *job, s step, file string) (string, error) {
	shell := ""
	for _, n := range []string{
		edit.Value(edit.Get(w.y.Root, "defaults", "run", "shell")),
		edit.Value(edit.Get(j.node, "defaults", "run", "shell")),
		edit.Value(edit.Get(s.node, "shell")),
	} {
		if n != "" {
			shell = n
		}
	}
	runners, _ := w.values(j, edit.Value(edit.Get(j.node, "runs-on")))
	switch windows := strings.Contains(strings.Join(runners, " "), "windows"); {
	case shell == "" && !windows, strings.HasPrefix(shell, "bash"), strings.HasPrefix(shell, "sh"):
		return "$" + file, nil
	case shell == "pwsh", shell == "" && windows && len(runners) == 1:
		return "$env:" + file, nil
	}
	return "", refuse("the step in line %d of %s runs in the shell %q, or in different ones, where the bot doesn't know the command's successor", s.node.Line, w.path, shell)
}

// rewrite turns `echo "::set-output name=a::b"` into `echo "a=b" >> $FILE`, with
// the quotes that are there.
func rewrite(raw []byte, words []word, command, target string) ([]domain.Splice, bool) {
	first, last := words[1], words[len(words)-1]
	for _, w := range words[1:] {
		if w.text == ">" || w.text == "<" {
			return nil, false
		}
	}
	text, start := string(raw[first.start:last.end]), first.start
	if strings.ContainsAny(text, "\n\r") {
		return nil, false
	}
	if quoted := text[0] == '"' || text[0] == '\''; quoted {
		// One string from the first to the last byte.
		if len(words) != 2 || text[len(text)-1] != text[0] || len(text) < 2 {
			return nil, false
		}
		text, start = text[1:], start+1
	}
	prefix := commandPrefix[command].FindStringSubmatch(text)
	if prefix == nil {
		return nil, false
	}
	rest := strings.TrimLeft(string(raw[last.end:]), " \t")
	if strings.HasPrefix(rest, "|") && !strings.HasPrefix(rest, "||") || strings.HasPrefix(rest, ">") {
		return nil, false
	}
	name := prefix[1]
	if name != "" {
		name += "="
	}
	return []domain.Splice{
		{Start: start, Old: prefix[0], New: name},
		{Start: last.end, New: " >> " + target},
	}, true
}

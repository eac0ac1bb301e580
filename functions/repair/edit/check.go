package edit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"

	"github.com/rhysd/actionlint"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Check parses an edited file again, by its name: YAML, TOML, JSON and INI whole,
// Python by its tokens and indentation, requirements line by line, workflows with
// actionlint too, which must not find anything that it didn't find before. The
// error wraps ErrSyntax and says what is wrong.
func Check(name string, before, after []byte) error {
	base := strings.ToLower(path.Base(name))
	switch ext := path.Ext(base); {
	case domain.IsWorkflowPath(name) && (ext == ".yml" || ext == ".yaml"):
		if _, err := ParseYAML(after); err != nil {
			return err
		}
		return checkWorkflow(before, after)
	case ext == ".yml" || ext == ".yaml":
		_, err := ParseYAML(after)
		return err
	case ext == ".toml":
		_, err := ParseTOML(after)
		return err
	case ext == ".json":
		if !json.Valid(bytes.TrimPrefix(after, []byte(bom))) {
			return domain.Errorf(domain.Invalid, "parse the JSON file", "%w", ErrSyntax)
		}
	case ext == ".ini" || ext == ".cfg" || ext == ".conf":
		_, err := ParseINI(after)
		return err
	case ext == ".py":
		return CheckPython(after)
	case ext == ".txt" || ext == ".in":
		_, err := ParseRequirements(after)
		return err
	default:
		return domain.Errorf(domain.Invalid, "check the edited file", "there is no parser for %q: %w", base, ErrSyntax)
	}
	return nil
}

func checkWorkflow(before, after []byte) error {
	was, err := lint(before)
	if err != nil {
		return err
	}
	is, err := lint(after)
	if err != nil {
		return err
	}
	for message, n := range is {
		if n > was[message] {
			return domain.Errorf(domain.Invalid, "lint the workflow", "actionlint finds a new problem: %.200s: %w", message, ErrSyntax)
		}
	}
	return nil
}

// positions are within some messages ("previously defined at line:3,col:5").
var positions = regexp.MustCompile(`(?:line|col(?:umn)?)[: ]*\d+,?`)

// lint counts actionlint's messages, without their positions, which edits move.
// A stranger's file must not end the program, whatever the linter does with it.
func lint(b []byte) (count map[string]int, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = domain.Errorf(domain.Bug, "lint the workflow", "actionlint gave up: %.200s", fmt.Sprint(r))
		}
	}()
	l, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{Shellcheck: "", Pyflakes: "", WorkingDir: "/"})
	if err != nil {
		return nil, fmt.Errorf("start actionlint: %w", err)
	}
	// "<stdin>" keeps it from looking for a project on the disk.
	errs, err := l.Lint("<stdin>", b, nil)
	if err != nil {
		return nil, fmt.Errorf("lint the workflow: %w", err)
	}
	count = map[string]int{}
	for _, e := range errs {
		count[e.Kind+": "+positions.ReplaceAllString(e.Message, "")]++
	}
	return count, nil
}

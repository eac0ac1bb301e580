package standin

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// action is an action that the stand-in accepts in `uses:`. It does nothing but
// log: the tools are the host's.
type action struct {
	latest int  // its latest major version
	post   bool // has a step after the job
}

func knownActions() map[string]action {
	return map[string]action{
		"actions/checkout": {6, true}, "actions/setup-python": {6, true}, "actions/setup-node": {6, true}, "actions/setup-java": {5, true},
		"actions/setup-go": {6, true}, "actions/cache": {5, true}, "actions/cache/restore": {5, false}, "actions/cache/save": {5, false},
		"actions/upload-artifact": {6, false}, "actions/download-artifact": {7, false}, "actions/github-script": {8, false},
		"astral-sh/setup-uv": {7, true}, "conda-incubator/setup-miniconda": {3, true}, "codecov/codecov-action": {5, false},
		"iterative/setup-cml": {2, false}, "iterative/setup-dvc": {1, false}, "snok/install-poetry": {1, false},
	}
}

// deprecated are the actions whose versions up to a major one GitHub refuses, with
// what it says of them.
func deprecated(name string) (upTo int, more string) {
	switch name {
	case "actions/upload-artifact", "actions/download-artifact":
		return 3, "Learn more: https://github.blog/changelog/2024-04-16-deprecation-notice-v3-of-the-artifact-actions/"
	case "actions/cache":
		return 2, "Please update your workflow to use v3/v4 of actions/cache to avoid interruptions. Learn more: https://github.blog/changelog/2024-12-05-notice-of-upcoming-releases-and-breaking-changes-for-github-actions/#actions-cache-v1-v2-and-actions-toolkit-cache-package-closing-down"
	}
	return 0, ""
}

var (
	usesPattern    = regexp.MustCompile(`^([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_./-]+)?)@([A-Za-z0-9_./-]+)$`)
	versionPattern = regexp.MustCompile(`^v?(\d+)(\.\d+)*$`)
)

// resolveAction says why GitHub doesn't run an action; "" where it does.
func resolveAction(uses string) (problem string) {
	if strings.HasPrefix(uses, "./") || strings.HasPrefix(uses, "docker://") {
		return fmt.Sprintf("The stand-in doesn't run `%s`", uses)
	}
	m := usesPattern.FindStringSubmatch(uses)
	if m == nil {
		return fmt.Sprintf("Expected format {org}/{repo}[/path]@ref. Actual '%s'", uses)
	}
	name, ref := m[1], m[2]
	a, known := knownActions()[name]
	if !known {
		return fmt.Sprintf("Unable to resolve action %s, repository not found", name)
	}
	if fullSHA.MatchString(ref) || ref == "main" || ref == "master" {
		return ""
	}
	v := versionPattern.FindStringSubmatch(ref)
	if v == nil {
		return fmt.Sprintf("Unable to resolve action `%s`, unable to find version `%s`", uses, ref)
	}
	major, err := strconv.Atoi(v[1])
	if err != nil || major < 1 || major > a.latest {
		return fmt.Sprintf("Unable to resolve action `%s`, unable to find version `%s`", uses, ref)
	}
	if upTo, more := deprecated(name); major <= upTo {
		return fmt.Sprintf("This request has been automatically failed because it uses a deprecated version of `%s: %s`. %s", name, ref, more)
	}
	return ""
}

func hasPost(uses string) bool {
	name, _, _ := strings.Cut(uses, "@")
	return knownActions()[name].post
}

// title is a step's name as GitHub shows it.
func (s stepSpec) title(v scope) string {
	if s.Name != "" {
		if name, err := v.expand(s.Name, status{}); err == nil {
			return name
		}
		return s.Name
	}
	if s.Uses != "" {
		return "Run " + s.Uses
	}
	first, _, _ := strings.Cut(strings.TrimSpace(s.Run), "\n")
	return "Run " + first
}

// expandAll expands the values of a map.
func (v scope) expandAll(m map[string]string, st status) (map[string]string, error) {
	out := make(map[string]string, len(m))
	for k, x := range m {
		var err error
		if out[k], err = v.expand(x, st); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// header is what the log shows before a step's output.
func header(title string, body []string, shell string, env map[string]string) []string {
	out := append([]string{"##[group]" + title}, body...)
	if shell != "" {
		out = append(out, "shell: "+shell)
	}
	if len(env) > 0 {
		out = append(out, "env:")
		for _, k := range slices.Sorted(maps.Keys(env)) {
			out = append(out, "  "+k+": "+env[k])
		}
	}
	return append(out, "##[endgroup]")
}

// assignments reads what a step wrote to GITHUB_ENV or GITHUB_OUTPUT.
func assignments(text string) map[string]string {
	out := map[string]string{}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		if key, mark, heredoc := strings.Cut(lines[i], "<<"); heredoc && !strings.Contains(key, "=") {
			var value []string
			for i++; i < len(lines) && lines[i] != mark; i++ {
				value = append(value, lines[i])
			}
			out[key] = strings.Join(value, "\n")
			continue
		}
		if key, value, ok := strings.Cut(lines[i], "="); ok {
			out[key] = value
		}
	}
	return out
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// operations is the page whose commands are run here: what it says is what is
// tested.
const operations = "docs/operations.md"

// cliFunction is the shell function that the page's blocks share.
var cliFunction = regexp.MustCompile(`(?ms)^bot\(\) \{.*?^\}$`)

// A block of the page is named by a comment before it.
var namedBlock = regexp.MustCompile("(?s)<!-- run: ([a-z0-9-]+) -->\n+```sh\n(.*?)```")

// blocks are the page's commands by name.
func blocks(page string) (map[string]string, error) {
	out := map[string]string{}
	for _, m := range namedBlock.FindAllStringSubmatch(page, -1) {
		if _, twice := out[m[1]]; twice {
			return nil, fmt.Errorf("%s: two blocks are named %s", operations, m[1])
		}
		out[m[1]] = m[2]
	}
	return out, nil
}

// follow runs a block of the operations page as an operator would type it, and
// returns what it printed. env is what the page asks to be set.
func (w *world) follow(ctx context.Context, name string, env ...string) (string, error) {
	page, err := os.ReadFile(operations)
	if err != nil {
		return "", err
	}
	all, err := blocks(string(page))
	if err != nil {
		return "", err
	}
	script, ok := all[name]
	if !ok {
		return "", fmt.Errorf("%s has no block %s", operations, name)
	}
	w.followed[name] = true
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", cliFunction.FindString(string(page))+"\n"+script) //nolint:gosec // the project's own page
	path := os.Getenv("PATH")
	if w.tools != "" {
		path = w.tools + ":" + path
	}
	cmd.Env = append(os.Environ(), append([]string{
		"PATH=" + path, "KUBECONFIG=" + w.kubeconfig, "NS=" + w.namespace, "RELEASE=" + release, "CHART=charts/mlops-bot", "VALUES=" + w.valuesFile,
	}, env...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("block %s of %s: %w:\n%s", name, operations, err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// unfollowed lists the page's blocks that no scenario has run.
func (w *world) unfollowed() ([]string, error) {
	page, err := os.ReadFile(operations)
	if err != nil {
		return nil, err
	}
	all, err := blocks(string(page))
	if err != nil {
		return nil, err
	}
	var left []string
	for name := range all {
		if !w.followed[name] {
			left = append(left, name)
		}
	}
	slices.Sort(left)
	return left, nil
}

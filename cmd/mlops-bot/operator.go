package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/mlops-bot/mlops-bot/functions/detect/rules"
	"github.com/mlops-bot/mlops-bot/functions/repair/strategies"
	"github.com/mlops-bot/mlops-bot/shared/app"
	"github.com/mlops-bot/mlops-bot/shared/config"
	"github.com/mlops-bot/mlops-bot/shared/github"
	"github.com/mlops-bot/mlops-bot/shared/policy"
)

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

type manifestCommand struct {
	URL       string `help:"Where the bot can be reached from GitHub, e.g. https://bot.example.com." required:"" placeholder:"URL"`
	Workflows bool   `help:"Also ask for the permission to edit workflow files." default:"true" negatable:""`
}

// Run prints the manifest.
func (m manifestCommand) Run(c console) error {
	b, err := github.Manifest(github.ManifestOptions{BaseURL: m.URL, Workflows: m.Workflows})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%s\n", b)
	return err
}

type validateCommand struct {
	Program string `enum:"serve,webhook,detect,repair,notify,console,migrate" default:"serve" help:"Which program's settings to check (serve, webhook, detect, repair, notify, console, migrate)."`
	Policy  string `help:"Check this policy file (.github/mlops-bot.yml) instead." placeholder:"FILE" type:"existingfile"`
}

// Run reports every problem at once.
func (v validateCommand) Run(c console) error {
	if v.Policy != "" {
		b, err := os.ReadFile(v.Policy)
		if err != nil {
			return err
		}
		p, err := policy.Parse(b, strategies.IDs()...)
		if err != nil {
			return fmt.Errorf("%s is invalid:\n%w", v.Policy, err)
		}
		if _, err := rules.Own(p.Rules, nil); err != nil {
			return fmt.Errorf("%s is invalid:\n%w", v.Policy, err)
		}
		_, err = fmt.Fprintf(c.out, "%s is valid: mode %s\n", v.Policy, p.Mode)
		return err
	}
	if _, err := config.Load(c.environ, config.Program(v.Program)); err != nil {
		return fmt.Errorf("the settings of %s are not complete:\n%w", v.Program, err)
	}
	_, err := fmt.Fprintf(c.out, "the settings of %s are complete\n", v.Program)
	return err
}

type doctorCommand struct{}

// Run prints one line for each check and what to do about those that fail; the
// exit code is 1 when one failed.
func (doctorCommand) Run(ctx context.Context, c console) error {
	failed := false
	for check := range app.Doctor(ctx, c.environ) {
		mark := "ok  "
		if check.Problem != nil {
			mark, failed = "FAIL", true
		}
		fmt.Fprintf(c.out, "%s  %s\n", mark, check.Name)
		if check.Found != "" {
			fmt.Fprintf(c.out, "      %s\n", check.Found)
		}
		if check.Problem != nil {
			fmt.Fprintf(c.out, "      %v\n      → %s\n", check.Problem, check.Do)
		}
	}
	if failed {
		return exitCode(exitError)
	}
	return errors.Join(ctx.Err())
}

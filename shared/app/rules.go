package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/mlops-bot/mlops-bot/functions/detect"
	"github.com/mlops-bot/mlops-bot/shared/config"
)

// checkRules reads the rules of RULES_DIR as detect does.
func checkRules(_ context.Context, cfg config.Config) []Check {
	in := detect.ReadInstalled(cfg.RulesDir)
	c := Check{
		Name: "rules", Found: fmt.Sprintf("%d of one's own for all repositories", len(in.Rules)), Problem: errors.Join(in.Problems...),
		Do: "mend the named file (docs/own-rules.md; `mlops-bot rules test --rules FILE` tries it); until then detect goes on without its rules",
	}
	if cfg.RulesDir == "" {
		c.Found = "none of one's own for all repositories: RULES_DIR is not set"
	}
	return []Check{c}
}

package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/mlops-bot/mlops-bot/functions/detect"
	"github.com/mlops-bot/mlops-bot/shared/config"
	"github.com/mlops-bot/mlops-bot/shared/observe"
)

// tellRules logs which rules of one's own detect has, and logs and counts what is
// wrong with them: that keeps nothing else from being diagnosed.
func (a *App) tellRules(r *Runner, in detect.Installed) {
	if len(in.Rules) > 0 {
		r.log.Info("rules of one's own are in use", "rules", len(in.Rules))
	}
	for _, err := range in.Problems {
		r.log.Error("rules of one's own are left out", observe.KeyError, err)
		// The database may not be there yet, and the program need not wait for it.
		a.background.Go(func() { r.countError(a.ctx, "rules", err) })
	}
}

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

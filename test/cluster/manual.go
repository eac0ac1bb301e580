package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
)

// manual follows what is left of the operations page: what an operator does from
// time to time, each time looking whether a signed delivery is still answered.
func manual(ctx context.Context, w *world, r *result) error {
	key, err := w.file("key.pem", w.forge.PrivateKeyPEM())
	if err != nil {
		return err
	}
	steps := []struct {
		block string
		env   []string
		says  string
	}{
		{"doctor", nil, "GitHub App"},
		{"page", nil, `bot_dependency_up{dependency="database"} 1`},
		{"scale", nil, release + "-webhook"},
		// GitHub goes on with the old secret, which stays valid as the previous one.
		{"rotate-webhook-secret", []string{"NEW_WEBHOOK_SECRET=" + rand.Text()}, release + "-webhook"},
		{"rotate-app-key", []string{"PRIVATE_KEY_FILE=" + key}, ""},
		{"rotate-database-password", nil, ""},
		{"rotate-encryption-key", nil, "not needed any more"},
		{"replay", nil, ""},
	}
	for _, s := range steps {
		out, err := w.follow(ctx, s.block, s.env...)
		if err != nil {
			return err
		}
		if !strings.Contains(out, s.says) {
			return fmt.Errorf("block %s doesn't say %q:\n%s", s.block, s.says, out)
		}
		status, took, err := w.ping(ctx, release+"-webhook")
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("after block %s webhook answers %d: %w", s.block, status, err)
		}
		w.logf("   %s, and a delivery is answered after %s", s.block, took)
		r.Counts["blocks"]++
	}
	return nil
}

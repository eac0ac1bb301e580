package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/app"
	"github.com/mlops-bot/mlops-bot/shared/config"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/store"
)

// withStore runs a command on the database of DATABASE_URL.
func withStore(ctx context.Context, c console, do func(*store.Store) error) (err error) {
	cfg, err := config.Load(c.environ, config.Migrate)
	if err != nil {
		return fmt.Errorf("the settings are not complete:\n%w", err)
	}
	st, err := app.OpenStore(ctx, cfg, store.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	return do(st)
}

type replayCommand struct {
	IDs      []string `arg:"" optional:"" name:"id" help:"Dead letters to replay, as the list shows them; none lists."`
	All      bool     `help:"Replay all of them."`
	Function string   `enum:",webhook,detect,repair,notify" default:"" help:"With --all, only those that this function gave up."`
	Discard  bool     `help:"Discard the named ones instead: nothing will handle them."`
	Limit    int      `default:"100" help:"How many to list at most, the latest first."`
}

// Run lists, replays or discards what was given up. A replayed event is delivered
// by the next tick.
func (r replayCommand) Run(ctx context.Context, c console) error {
	switch {
	case r.All && (len(r.IDs) > 0 || r.Discard):
		return errors.New("--all goes with neither ids nor --discard")
	case r.Discard && len(r.IDs) == 0:
		return errors.New("--discard needs the ids of what to discard")
	case r.Limit < 1:
		return errors.New("--limit must be at least 1")
	}
	return withStore(ctx, c, func(st *store.Store) error {
		if r.All {
			done, err := st.ReplayAll(ctx, r.Function)
			fmt.Fprintf(c.out, "replayed %d", done.Replayed)
			if done.Kept > 0 {
				fmt.Fprintf(c.out, ", kept %d that were not stored whole (mlops-bot replay --discard ID)", done.Kept)
			}
			fmt.Fprintln(c.out)
			return err
		}
		if len(r.IDs) == 0 {
			return r.list(ctx, c, st)
		}
		var errs []error
		for _, id := range r.IDs {
			do, done := st.Replay, "replayed"
			if r.Discard {
				do, done = st.Discard, "discarded"
			}
			switch err := do(ctx, id); {
			case errors.Is(err, domain.ErrNotFound):
				errs = append(errs, fmt.Errorf("%s: there is no such dead letter ('mlops-bot replay' lists them)", id))
			case err != nil:
				errs = append(errs, err)
			default:
				fmt.Fprintf(c.out, "%s %s\n", done, id)
			}
		}
		return errors.Join(errs...)
	})
}

func (r replayCommand) list(ctx context.Context, c console, st *store.Store) error {
	letters, err := st.DeadLetters(ctx, r.Limit)
	if err != nil {
		return err
	}
	if len(letters) == 0 {
		_, err = fmt.Fprintln(c.out, "there are no dead letters")
		return err
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tDIED\tFUNCTION\tWHAT\tREASON")
	for _, d := range letters {
		var what string
		if d.Event != nil {
			what = d.Event.Type + " " + d.Event.ID
		} else {
			what = d.Work.Kind + " " + d.Work.Key
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", d.ID, d.At.UTC().Format(time.RFC3339), d.Consumer, printable(what), printable(d.Reason))
	}
	return w.Flush()
}

// printable makes a stranger's text safe and short for a terminal.
func printable(s string) string {
	const most = 120
	out := make([]rune, 0, most)
	for _, r := range s {
		if len(out) == most {
			return string(out) + "…"
		}
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == 0x202e {
			r = ' '
		}
		out = append(out, r)
	}
	return string(out)
}

type integrityCommand struct {
	Output string `enum:"text,json" default:"text" help:"text or json."`
}

// Run checks the database; the exit code is 1 when something is wrong with it.
func (i integrityCommand) Run(ctx context.Context, c console) error {
	return withStore(ctx, c, func(st *store.Store) error {
		found, err := st.Integrity(ctx)
		if err != nil {
			return err
		}
		if i.Output == "json" {
			enc := json.NewEncoder(c.out)
			enc.SetIndent("", "  ")
			err = enc.Encode(found)
		} else {
			err = i.text(c, found)
		}
		if err == nil && len(found.Problems) > 0 {
			err = exitCode(exitError)
		}
		return err
	})
}

func (integrityCommand) text(c console, found store.Integrity) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "schema\t%d\n", found.Schema)
	for _, table := range slices.Sorted(maps.Keys(found.Rows)) {
		fmt.Fprintf(w, "%s\t%d rows\t%s\n", table, found.Rows[table], found.Digests[table])
	}
	for _, p := range found.Problems {
		fmt.Fprintf(w, "PROBLEM\t%d rows\t%s: %s (%s)\n", p.Rows, p.Check, p.Means, printable(fmt.Sprint(p.Examples)))
	}
	if len(found.Problems) == 0 {
		fmt.Fprintln(w, "no problems")
	}
	return w.Flush()
}

type resealCommand struct{}

// Run ends a rotation of ENCRYPTION_KEY.
func (resealCommand) Run(ctx context.Context, c console) error {
	return withStore(ctx, c, func(st *store.Store) error {
		done, err := st.Reseal(ctx, 0)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "sealed %d rows with the current key\n", done.Rows)
		if done.Unreadable > 0 {
			return fmt.Errorf("%d rows are sealed with a key that isn't set: keep ENCRYPTION_KEY_PREVIOUS and run this again with it", done.Unreadable)
		}
		_, err = fmt.Fprintln(c.out, "ENCRYPTION_KEY_PREVIOUS is not needed any more")
		return err
	})
}

type tokensCommand struct{}

// Run prints the tokens of the page and of /health/detailed, for who holds
// SECRET_KEY anyway.
func (tokensCommand) Run(c console) error {
	cfg, err := config.Parse(c.environ)
	if err != nil {
		return err
	}
	for name, token := range map[string]config.Secret{"CONSOLE_TOKEN": cfg.ConsoleToken, "HEALTH_TOKEN": cfg.HealthToken} {
		if token == "" {
			return fmt.Errorf("%s is not set, nor is SECRET_KEY", name)
		}
	}
	_, err = fmt.Fprintf(c.out, "CONSOLE_TOKEN=%s\nHEALTH_TOKEN=%s\n", cfg.ConsoleToken.Reveal(), cfg.HealthToken.Reveal())
	return err
}

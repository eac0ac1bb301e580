package app

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	// The images hold nothing but the binary, so it carries the CA roots; the
	// system's are used where there are any.
	_ "golang.org/x/crypto/x509roots/fallback"

	"github.com/mlops-bot/mlops-bot/shared/config"
)

// settle is how long Slack and the JSON webhook wait with the news of a failure,
// so that they tell it together with what is done about it.
const settle = 20 * time.Second

// Main runs one program until it is told to stop and returns its exit code: 0
// after a clean stop, 1 for an error, which is on standard error.
func Main(program config.Program) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := Run(ctx, os.Environ(), program); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// Run loads the settings, wires the program and serves until ctx ends.
func Run(ctx context.Context, environ []string, program config.Program) error {
	cfg, err := config.Load(environ, program)
	if err != nil {
		return fmt.Errorf("the settings are not complete:\n%w", err)
	}
	a, err := New(ctx, Options{Config: cfg, Program: program, Version: Version(), Settle: settle})
	if err != nil {
		return err
	}
	return a.Serve(ctx, func(addr net.Addr) { a.log.Info("serving", "address", addr.String(), "version", Version()) })
}

// Version is the module's version and commit, from the build.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version, revision, dirty := info.Main.Version, "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "-dirty"
			}
		}
	}
	if version == "" || version == "(devel)" {
		version = "devel"
	}
	if revision == "" {
		return version
	}
	return version + "+" + revision[:min(len(revision), 12)] + dirty
}

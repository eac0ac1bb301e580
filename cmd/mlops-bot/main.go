// Command mlops-bot is the bot on one machine and the tool of who runs it: it
// serves everything in one process, shows the whole loop without an account, and
// diagnoses and plans on files.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/mlops-bot/mlops-bot/shared/app"
	"github.com/mlops-bot/mlops-bot/shared/config"
)

// Exit codes.
const (
	exitOK     = 0
	exitError  = 1 // something failed; standard error says what
	exitUsage  = 2 // the command line can't be understood
	exitNoPlan = 3 // plan: there is no plan; standard error says why
)

const description = `Notices when an ML pipeline on GitHub breaks, finds out why, repairs it with a pull request, and proves that the repair worked.

Settings come from the environment (see 'mlops-bot config validate' and docs/configuration.md).

Exit codes: 0 success; 1 failure, told on standard error; 2 wrong usage; 3 'plan' found nothing that it is sure of.`

// commandLine is every command; kong makes the parser and the help from it.
type commandLine struct {
	Serve    serveCommand    `cmd:"" help:"Serve the webhook, the functions and the status page in one process."`
	Demo     demoCommand     `cmd:"" help:"Show the whole loop on this machine: a training that runs out of memory, its diagnosis, the pull request, the proof. Needs no account."`
	Diagnose diagnoseCommand `cmd:"" help:"Say why a CI log failed."`
	Plan     planCommand     `cmd:"" help:"Print the change that a pull request would carry."`
	Rules    rulesCommand    `cmd:"" help:"About rules: the built-in ones and one's own. Try them on a log before committing them."`
	App      struct {
		Manifest manifestCommand `cmd:"" help:"Print the GitHub App's manifest: permissions, events, webhook URL."`
	} `cmd:"" help:"About the GitHub App."`
	Migrate migrateCommand `cmd:"" help:"Bring the database of DATABASE_URL to this version's schema."`
	Config  struct {
		Validate validateCommand `cmd:"" help:"Check the settings in the environment, or a repository's policy file."`
		Tokens   tokensCommand   `cmd:"" help:"Print the tokens of the status page and of /health/detailed, which SECRET_KEY makes."`
	} `cmd:"" help:"About settings."`
	Replay    replayCommand    `cmd:"" help:"List what was given up (dead letters), or have it handled again."`
	Integrity integrityCommand `cmd:"" help:"Check the database: what must hold between its rows, and digests to compare a restored one with."`
	Backup    backupCommand    `cmd:"" help:"Back up Secrets, encrypted, and open such a backup."`
	Reseal    resealCommand    `cmd:"" help:"Encrypt stored webhook bodies with the current ENCRYPTION_KEY, after it was changed."`
	Doctor    doctorCommand    `cmd:"" help:"Check settings, stores, the App's key and permissions, and whether webhooks arrive; say what to do."`
	Version   versionCommand   `cmd:"" help:"Print the version."`
}

// console is where a command reads and writes.
type console struct {
	in       io.Reader
	out, err io.Writer
	environ  []string
}

// exitCode is an error that only sets the exit code: what there is to say was
// said.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], console{os.Stdin, os.Stdout, os.Stderr, os.Environ()})
	stop()
	os.Exit(code)
}

// run parses and runs one command and returns the exit code.
func run(ctx context.Context, args []string, c console) int {
	var cmd commandLine
	exited := -1
	parser, err := kong.New(&cmd, kong.Name("mlops-bot"), kong.Description(description),
		kong.Writers(c.out, c.err), kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: false}))
	if err != nil {
		fmt.Fprintln(c.err, "mlops-bot:", err)
		return exitError
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 {
		return exited
	}
	if err != nil {
		fmt.Fprintf(c.err, "mlops-bot: %v\nTry 'mlops-bot --help'.\n", err)
		return exitUsage
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run(c)
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	if err != nil {
		fmt.Fprintln(c.err, "mlops-bot:", err)
		return exitError
	}
	return exitOK
}

type serveCommand struct{}

// Run serves until the process is told to stop.
func (serveCommand) Run(ctx context.Context, c console) error {
	return app.Run(ctx, c.environ, config.Serve)
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(c console) error {
	_, err := fmt.Fprintln(c.out, "mlops-bot", app.Version())
	return err
}

type migrateCommand struct{}

// Run migrates the database and says at which version it is.
func (migrateCommand) Run(ctx context.Context, c console) error {
	cfg, err := config.Load(c.environ, config.Migrate)
	if err != nil {
		return fmt.Errorf("the settings are not complete:\n%w", err)
	}
	version, err := app.Migrate(ctx, cfg)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "the database is at schema version %d\n", version)
	return err
}

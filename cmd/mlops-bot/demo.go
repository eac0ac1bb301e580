package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mlops-bot/mlops-bot/functions/repair"
	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
	"github.com/mlops-bot/mlops-bot/shared/app"
	"github.com/mlops-bot/mlops-bot/shared/config"
	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/observe"
	"github.com/mlops-bot/mlops-bot/shared/standin"
)

// sample is the demo's repository: a training that runs out of memory.
//
//go:embed all:sample
var sample embed.FS

const (
	demoRepo = "octo-labs/train"
	// demoPatience bounds the whole loop; it takes some twenty seconds.
	demoPatience = 4 * time.Minute
	demoPoll     = 50 * time.Millisecond
)

type demoCommand struct {
	Once   bool   `help:"End when the loop has closed, with exit code 0, or 1 if it didn't."`
	Output string `enum:"text,json" default:"text" help:"text, or json: one object per stage, one a line."`
	Port   int    `default:"8080" help:"Where the status page is served while the demo runs; another free port is taken where this one is in use."`
	Logs   bool   `help:"Also show the bot's own logs, on standard error."`
}

// Run shows the loop: nothing in it is scripted but the first push.
func (d demoCommand) Run(ctx context.Context, c console) (err error) {
	dir, err := os.MkdirTemp("", "mlops-bot-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	forge, err := standin.New(standin.Options{Execute: true})
	if err != nil {
		return err
	}
	if err := forge.Start(); err != nil { //nolint:contextcheck // Close ends it
		return err
	}
	defer func() { err = errors.Join(err, forge.Close()) }()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	bot, err := d.start(ctx, dir, forge, c.err)
	if err != nil {
		return err
	}
	defer func() {
		cancel()
		err = errors.Join(err, <-bot.done)
	}()
	s := &story{forge: forge, page: bot.page, json: d.Output == "json", out: c.out, begun: time.Now()}
	tctx, stop := context.WithTimeout(ctx, demoPatience)
	defer stop()
	if err := s.tell(tctx); err != nil {
		return fmt.Errorf("the loop did not close: %w", err)
	}
	if d.Once {
		return nil
	}
	fmt.Fprintf(c.err, "\nThe status page stays at %s until Ctrl-C.\n", bot.page)
	<-ctx.Done()
	return nil
}

// bot is the running bot: its page, and its end.
type bot struct {
	page string
	done chan error
}

// start runs the whole bot in this process, with production's code and a
// shorter patience, against the stand-in.
func (d demoCommand) start(ctx context.Context, dir string, forge *standin.Server, stderr io.Writer) (bot, error) {
	key := filepath.Join(dir, "app.pem")
	if err := os.WriteFile(key, forge.PrivateKeyPEM(), 0o600); err != nil {
		return bot{}, err
	}
	cfg, err := config.Load([]string{
		"HOST=127.0.0.1", fmt.Sprintf("PORT=%d", freePort(ctx, d.Port)), "TICK_INTERVAL=1s",
		"DATABASE_URL=sqlite:" + filepath.Join(dir, "bot.db"),
		fmt.Sprintf("GITHUB_APP_ID=%d", forge.AppID()), "GITHUB_PRIVATE_KEY_PATH=" + key, "GITHUB_WEBHOOK_SECRET=" + forge.WebhookSecret(),
		"GITHUB_API_URL=" + forge.URL(), "GITHUB_GRAPHQL_URL=" + forge.GraphQLURL(),
	}, config.Serve)
	if err != nil {
		return bot{}, err
	}
	logger := slog.New(slog.DiscardHandler)
	if d.Logs {
		logger = observe.NewLogger(stderr, "demo", slog.LevelInfo)
	}
	timing := repair.DefaultTiming
	timing.Soon = 200 * time.Millisecond
	a, err := app.New(ctx, app.Options{
		Config: cfg, Program: config.Serve, Version: app.Version(), Logger: logger, Timing: timing,
		LogLag: 15 * time.Minute, LogRetry: 500 * time.Millisecond,
	})
	if err != nil {
		return bot{}, err
	}
	b := bot{done: make(chan error, 1)}
	ready := make(chan net.Addr, 1)
	go func() { b.done <- a.Serve(ctx, func(addr net.Addr) { ready <- addr }) }()
	select {
	case addr := <-ready:
		b.page = "http://" + addr.String()
		forge.SetWebhookURL(b.page + "/webhooks/github")
		return b, nil
	case err := <-b.done:
		return bot{}, err
	}
}

// freePort is the wanted port, or 0 (any) where it is in use.
func freePort(ctx context.Context, wanted int) int {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", wanted))
	if err != nil {
		return 0
	}
	if l.Close() != nil {
		return 0
	}
	return wanted
}

// stage is one line of the story.
type stage struct {
	Stage   string  `json:"stage"`
	Seconds float64 `json:"seconds"` // since the push

	Run      string          `json:"run,omitempty"`
	Commit   string          `json:"commit,omitempty"`
	Incident string          `json:"incident,omitempty"`
	Finding  *domain.Finding `json:"finding,omitempty"`
	Repair   string          `json:"repair,omitempty"`
	Strategy string          `json:"strategy,omitempty"`
	Pull     string          `json:"pull_request,omitempty"`
	Title    string          `json:"title,omitempty"`
	Diff     string          `json:"diff,omitempty"`
	Proofs   []domain.Proof  `json:"proofs,omitempty"`
	Message  string          `json:"message,omitempty"`
	Closed   bool            `json:"closed,omitempty"`
}

// story follows the incident on the bot's own API and tells each stage once.
type story struct {
	forge *standin.Server
	page  string
	json  bool
	out   io.Writer
	begun time.Time
}

func (s *story) tell(ctx context.Context) error {
	files, err := sampleFiles()
	if err != nil {
		return err
	}
	commit, err := s.push(files) //nolint:contextcheck // the stand-in acts as GitHub does, on its own time
	if err != nil {
		return err
	}
	if err := s.say(stage{Stage: "pushed", Commit: commit, Message: "a commit to main of " + demoRepo + "; its workflow trains on this machine, under a memory limit"}); err != nil {
		return err
	}
	inc, err := s.incident(ctx)
	if err != nil {
		return err
	}
	if err := s.say(stage{Stage: "failed", Run: inc.Run.HTMLURL, Commit: inc.Run.HeadSHA, Message: fmt.Sprintf("the run of %s is red in job %s", inc.WorkflowPath, inc.Job.Name)}); err != nil {
		return err
	}
	if err := s.say(stage{Stage: "diagnosed", Incident: inc.ID, Finding: &inc.Finding}); err != nil {
		return err
	}
	r, err := s.repair(ctx, inc.ID, func(r domain.Repair) bool { return !r.ProposedAt.IsZero() })
	if err != nil {
		return err
	}
	diff, err := diffOf(files, r.Plan)
	if err != nil {
		return err
	}
	if err := s.say(stage{Stage: "proposed", Repair: r.ID, Strategy: r.Plan.Strategy, Pull: r.PullURL, Title: r.Plan.Title, Diff: diff}); err != nil {
		return err
	}
	if r, err = s.repair(ctx, inc.ID, func(r domain.Repair) bool { return !r.JudgedAt.IsZero() }); err != nil {
		return err
	}
	if r.State != domain.RepairVerified {
		return fmt.Errorf("the repair is %s: %s", r.State, r.PullURL)
	}
	if err := s.say(stage{Stage: "verified", Repair: r.ID, Commit: r.HeadSHA, Proofs: r.Proofs}); err != nil {
		return err
	}
	comment, err := s.comment(ctx, r.PullNumber)
	if err != nil {
		return err
	}
	return s.say(stage{Stage: "told", Pull: r.PullURL, Message: comment, Closed: true})
}

func sampleFiles() (map[string]standin.File, error) {
	files := map[string]standin.File{}
	err := fs.WalkDir(sample, "sample", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		b, err := sample.ReadFile(path)
		files[strings.TrimPrefix(path, "sample/")] = standin.File{Content: string(b)}
		return err
	})
	return files, err
}

// push makes the repository and pushes a commit to it, which is the one thing
// that the demo does by itself.
func (s *story) push(files map[string]standin.File) (string, error) {
	readme := map[string]standin.File{"README.md": files["README.md"]}
	if _, err := s.forge.CreateRepo(standin.NewRepo{FullName: demoRepo, Organization: true, Files: readme}); err != nil {
		return "", err
	}
	if _, err := s.forge.AddInstallation(standin.NewInstallation{Account: "octo-labs"}); err != nil {
		return "", err
	}
	return s.forge.Push(demoRepo, "main", "mona", "Train on larger batches", files)
}

func diffOf(files map[string]standin.File, plan domain.Plan) (string, error) {
	var b strings.Builder
	for _, e := range plan.Edits {
		before := files[e.Path].Content
		after, err := e.Apply([]byte(before))
		if err != nil {
			return "", err
		}
		b.WriteString(edit.Diff(e.Path, []byte(before), after))
	}
	return b.String(), nil
}

// poll asks until there is an answer, an error or no time left.
func poll[T any](ctx context.Context, what string, ask func() (T, bool, error)) (T, error) {
	ticker := time.NewTicker(demoPoll)
	defer ticker.Stop()
	for {
		v, found, err := ask()
		if err != nil || found {
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, fmt.Errorf("%s did not come: %w", what, ctx.Err())
		case <-ticker.C:
		}
	}
}

func (s *story) incident(ctx context.Context) (domain.Incident, error) {
	return poll(ctx, "the incident", func() (domain.Incident, bool, error) {
		var list struct {
			Incidents []domain.Incident `json:"incidents"`
		}
		if err := s.get(ctx, "/api/v1/incidents", &list); err != nil || len(list.Incidents) == 0 {
			return domain.Incident{}, false, err
		}
		return list.Incidents[0], true, nil
	})
}

// repair waits for a repair of the incident that satisfies until.
func (s *story) repair(ctx context.Context, incidentID string, until func(domain.Repair) bool) (domain.Repair, error) {
	return poll(ctx, "the repair", func() (domain.Repair, bool, error) {
		var answer struct {
			Repairs []domain.Repair `json:"repairs"`
		}
		if err := s.get(ctx, "/api/v1/incidents/"+incidentID, &answer); err != nil {
			return domain.Repair{}, false, err
		}
		for _, r := range slices.Backward(answer.Repairs) {
			if r.State == domain.RepairRefused && r.Refusal != nil {
				return r, false, fmt.Errorf("the bot refused: %w", r.Refusal)
			}
			if until(r) {
				return r, true, nil
			}
		}
		return domain.Repair{}, false, nil
	})
}

// comment waits until the bot's comment on the pull request says that the repair
// is verified.
func (s *story) comment(ctx context.Context, number int) (string, error) {
	return poll(ctx, "the bot's comment", func() (string, bool, error) {
		for _, p := range s.forge.PullRequests(demoRepo) {
			for _, c := range p.Comments {
				if p.Number == number && c.Author == s.forge.BotLogin() && strings.Contains(strings.ToLower(c.Body), "verified") {
					return c.Body, true, nil
				}
			}
		}
		return "", false, nil
	})
}

func (s *story) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.page+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, 4<<20)).Decode(into)
}

// say tells a stage, as JSON or as text.
func (s *story) say(st stage) error {
	st.Seconds = float64(time.Since(s.begun).Milliseconds()) / 1000
	if s.json {
		return json.NewEncoder(s.out).Encode(st)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%6.1fs  %-9s  ", st.Seconds, st.Stage)
	const indent = "                    "
	block := func(text string) {
		for line := range strings.Lines(text) {
			b.WriteString(indent + "  " + strings.TrimRight(line, "\n") + "\n")
		}
	}
	switch st.Stage {
	case "diagnosed":
		f := st.Finding
		fmt.Fprintf(&b, "%s (%s, confidence %.0f %%)\n", f.Title, f.Category, f.Confidence*100)
		block(fmt.Sprintf("line %d, step %s: %s", f.Line, f.Step, f.Text))
	case "proposed":
		fmt.Fprintf(&b, "%s\n", st.Title)
		block(st.Pull + "\n" + st.Diff)
	case "verified":
		b.WriteString("what failed is green on the bot's commit\n")
		for _, p := range st.Proofs {
			block(fmt.Sprintf("job %s: %s in run %d (%s)", p.Job, p.Conclusion, p.RunID, p.Event))
		}
	case "told":
		b.WriteString("in a comment on the pull request\n")
		block(st.Message)
	default:
		fmt.Fprintf(&b, "%s\n", st.Message)
	}
	_, err := io.WriteString(s.out, b.String())
	return err
}

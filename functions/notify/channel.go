package notify

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Channel is a way to people. To add one: a file with a type, its line in
// providers, and its line in the contract test.
type Channel interface {
	// Name is unique among the configured channels.
	Name() string
	// Sticky reports whether the channel edits what it said before: it is told
	// every time, while others are told each state once.
	Sticky() bool
	// Notify tells the message. It may be called again with the same idempotency
	// key when it is not known whether the first call arrived. The returned
	// reference is a URL of what was sent, "" where there is none; told is false
	// when the channel has nothing to say about this message. The kind of the error
	// (a *domain.Error) decides whether it is tried again. No error holds a secret.
	Notify(ctx context.Context, m Message, key string) (ref string, told bool, err error)
}

// Commenter writes on issues and pull requests.
type Commenter interface {
	// UpsertComment creates the bot's comment that holds the hidden marker, or edits
	// it where it differs, and returns the comment's URL.
	UpsertComment(ctx context.Context, repo domain.Repo, number int, marker, body string) (url string, err error)
}

// Settings describe one channel as the operator configured it.
type Settings struct {
	Provider string // comment, slack, webhook, log
	Name     string // the provider's when empty; lower case, digits and dashes
	// URL is Slack's incoming webhook or the receiver of the JSON webhook. It is a
	// secret.
	URL string
	// Secret signs the JSON webhook's bodies, at least 16 bytes.
	Secret string
}

// LogValue keeps the secrets out of logs.
func (s Settings) LogValue() slog.Value {
	return slog.GroupValue(slog.String("provider", s.Provider), slog.String("name", s.Name))
}

// String keeps the secrets out of formatted text.
func (s Settings) String() string { return s.Provider + "/" + s.Name }

// GoString keeps the secrets out of %#v.
func (s Settings) GoString() string { return s.String() }

// Tools are what channels send with.
type Tools struct {
	Commenter Commenter // for comment
	Client    *Client   // for slack and webhook
	Log       *slog.Logger
	Now       func() time.Time
}

// providers maps a provider's name to its constructor.
var providers = map[string]func(Settings, Tools) (Channel, error){
	"comment": newComment,
	"log":     newLog,
	"slack":   newSlack,
	"webhook": newWebhook,
}

// Providers lists the names that Settings.Provider may have, sorted.
func Providers() []string { return slices.Sorted(maps.Keys(providers)) }

var channelName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// NewChannels makes the configured channels. The error is Invalid and says which
// setting is wrong without showing it.
func NewChannels(settings []Settings, tools Tools) ([]Channel, error) {
	const op = "set up the notification channels"
	if tools.Now == nil {
		tools.Now = time.Now
	}
	var channels []Channel
	taken := map[string]bool{}
	for _, s := range settings {
		if s.Name == "" {
			s.Name = s.Provider
		}
		construct, ok := providers[s.Provider]
		if !ok {
			return nil, domain.Errorf(domain.Invalid, op, "provider %q is none of %s", s.Provider, strings.Join(Providers(), ", "))
		}
		if !channelName.MatchString(s.Name) {
			return nil, domain.Errorf(domain.Invalid, op, "channel name %q: use lower-case letters, digits and dashes, at most 32", s.Name)
		}
		if taken[s.Name] {
			return nil, domain.Errorf(domain.Invalid, op, "two channels are called %s: give them names", s.Name)
		}
		c, err := construct(s, tools)
		if err != nil {
			return nil, fmt.Errorf("set up channel %s: %w", s.Name, err)
		}
		taken[s.Name] = true
		channels = append(channels, c)
	}
	return channels, nil
}

package webhook

import (
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mlops-bot/mlops-bot/shared/domain"
	"github.com/mlops-bot/mlops-bot/shared/events"
)

// maxDepth is how deep a payload may nest; GitHub's go to about ten.
const maxDepth = 64

// maxCommand is how many bytes of a comment's first line are passed on.
const maxCommand = 200

// CommandPrefix begins a comment that is meant for the bot.
const CommandPrefix = "/mlops-bot"

// subscribed are the events that are stored, and whether they are about a
// repository. All of them need an installation, unless the bot acts with a token:
// without one nothing can be done.
var subscribed = map[string]struct{ repo bool }{
	"check_run":                 {repo: true},
	"installation":              {},
	"installation_repositories": {},
	"issue_comment":             {repo: true},
	"issues":                    {repo: true},
	"pull_request":              {repo: true},
	"push":                      {repo: true},
	"workflow_run":              {repo: true},
}

// Subscribed lists the events that are stored, sorted; a ping is answered besides.
func Subscribed() []string { return slices.Sorted(maps.Keys(subscribed)) }

// notForUs is why a delivery is right and yet ignored.
type notForUs string

func (n notForUs) Error() string { return string(n) }

// payload is what the projection needs of GitHub's payloads.
type payload struct {
	Action       string `json:"action"`
	Installation *struct {
		ID int64 `json:"id"`
	} `json:"installation"`
	Repository *struct {
		ID       int64  `json:"id"`
		FullName string `json:"full_name"`
		HTMLURL  string `json:"html_url"`
	} `json:"repository"`
	Sender *struct {
		Login string `json:"login"`
	} `json:"sender"`

	// push
	Ref   string `json:"ref"`
	After string `json:"after"`

	WorkflowRun *struct {
		ID         int64  `json:"id"`
		RunAttempt int    `json:"run_attempt"`
		Conclusion string `json:"conclusion"`
		HeadSHA    string `json:"head_sha"`
		HeadBranch string `json:"head_branch"`
	} `json:"workflow_run"`
	PullRequest *struct {
		Number int  `json:"number"`
		Merged bool `json:"merged"`
		Head   struct {
			SHA string `json:"sha"`
			Ref string `json:"ref"`
		} `json:"head"`
	} `json:"pull_request"`
	Issue *struct {
		Number int `json:"number"`
	} `json:"issue"`
	Comment *struct {
		Body string `json:"body"`
	} `json:"comment"`
	CheckRun *struct {
		HeadSHA string `json:"head_sha"`
	} `json:"check_run"`
}

var (
	actionName = regexp.MustCompile(`^[a-z_]{0,50}$`)
	repoName   = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}$`)
	loginName  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}(\[bot\])?$`)
	objectID   = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	conclusion = regexp.MustCompile(`^[a-z_]{0,30}$`)
)

// decode reads a subscribed event's payload into its projection, without the
// delivery's id, and the repository's URL. The error is notForUs where the
// payload is right and the bot has no business with it. withoutApp says that the
// bot acts with a token, so that no installation is asked for. Whatever is no name of
// its kind is left empty: an event's ids are what counts.
func decode(event string, body []byte, withoutApp bool) (p events.GitHub, source string, err error) {
	if err := checkDepth(body); err != nil {
		return p, "", err
	}
	var in *payload
	if err := json.Unmarshal(body, &in); err != nil {
		return p, "", describe(err)
	}
	if in == nil {
		return p, "", errors.New("it is null")
	}
	if !actionName.MatchString(in.Action) {
		return p, "", errors.New("its action is no word")
	}
	p = events.GitHub{Event: event, Action: in.Action}
	switch {
	case withoutApp && !subscribed[event].repo:
		return p, "", notForUs("the bot acts with a token and has no installations")
	case withoutApp: // a repository's own webhook names no installation: 0 is the token's
	case in.Installation == nil || in.Installation.ID <= 0:
		return p, "", notForUs("the payload names no installation of the App")
	default:
		p.InstallationID = in.Installation.ID
	}
	if in.Sender != nil {
		p.Sender = matching(loginName, in.Sender.Login)
	}
	if subscribed[event].repo {
		if in.Repository == nil || in.Repository.ID <= 0 {
			return p, "", notForUs("the payload names no repository")
		}
		p.RepoID = in.Repository.ID
		if name := matching(repoName, in.Repository.FullName); path.Clean("/"+name) == "/"+name {
			p.RepoName = name // neither part is "." or ".."
		}
		source = webURL(in.Repository.HTMLURL)
	}
	return p, source, in.details(event, &p)
}

// details fills in what the events have each for itself.
func (in *payload) details(event string, p *events.GitHub) error {
	switch event {
	case "workflow_run":
		w := in.WorkflowRun
		if w == nil || w.ID <= 0 || w.RunAttempt < 0 {
			return errors.New("it holds no workflow run")
		}
		p.RunID, p.RunAttempt = w.ID, max(w.RunAttempt, 1)
		p.Conclusion = domain.Conclusion(matching(conclusion, w.Conclusion))
		p.HeadSHA, p.HeadBranch = matching(objectID, w.HeadSHA), branch(w.HeadBranch)
	case "push":
		p.HeadSHA = matching(objectID, in.After)
		if name, ok := strings.CutPrefix(in.Ref, "refs/heads/"); ok {
			p.HeadBranch = branch(name)
		}
	case "pull_request":
		r := in.PullRequest
		if r == nil || r.Number <= 0 {
			return errors.New("it holds no pull request")
		}
		p.Number, p.Merged = r.Number, r.Merged
		p.HeadSHA, p.HeadBranch = matching(objectID, r.Head.SHA), branch(r.Head.Ref)
	case "issues", "issue_comment":
		if in.Issue == nil || in.Issue.Number <= 0 {
			return errors.New("it holds no issue")
		}
		p.Number = in.Issue.Number
		if event == "issue_comment" && in.Comment != nil {
			p.Command = command(in.Comment.Body)
		}
	case "check_run":
		if in.CheckRun != nil {
			p.HeadSHA = matching(objectID, in.CheckRun.HeadSHA)
		}
	}
	return nil
}

// describe says what is wrong with JSON without repeating it.
func describe(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return errors.New("its field " + clip(printable(e.Field), 100) + " is a " + clip(e.Value, 20))
	}
	return errors.New("it is no JSON, or cut off")
}

// checkDepth bounds the nesting before anything recurses into it. Whether the
// brackets match is the decoder's business.
func checkDepth(body []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return errors.New("it nests too deep")
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// command is the first line of a comment that begins with the bot's name as a
// word; "" for any other comment.
func command(comment string) string {
	line, _, _ := strings.Cut(strings.TrimLeftFunc(comment, unicode.IsSpace), "\n")
	line = strings.TrimSpace(printable(line))
	rest, ok := strings.CutPrefix(line, CommandPrefix)
	if !ok || rest != "" && !strings.HasPrefix(rest, " ") {
		return ""
	}
	return clip(line, maxCommand)
}

// printable turns control characters into spaces.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// clip cuts s to n bytes without cutting a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func matching(re *regexp.Regexp, s string) string {
	if re.MatchString(s) {
		return s
	}
	return ""
}

// branch is a branch name as far as git allows one, and "" for anything else.
func branch(s string) string {
	if len(s) > 255 || printable(s) != s || strings.Contains(s, " ") {
		return ""
	}
	return s
}

// webURL is a repository's address, and "" for what is none.
func webURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || len(s) > 500 || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return ""
	}
	return u.String()
}

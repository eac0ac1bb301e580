// Package policy reads a stranger's YAML, .github/mlops-bot.yml, into a
// validated Policy: what the bot may do in that repository. It decides nothing
// about GitHub, does no I/O, and knows the file only as bytes.
package policy

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Policy is what the people of one repository allow. The zero value allows
// nothing; Default and Parse make policies.
type Policy struct {
	// Enabled is false where the file says so: then nothing is done at all.
	Enabled bool
	Mode    domain.Mode
	// Branches are the failing branches that repairs may target.
	Branches Branches
	// Paths are the files that repairs may change.
	Paths Paths
	// Strategies are the repairs that may be tried.
	Strategies Strategies
	// MaxOpenPulls bounds the bot's open pull requests in the repository, 0 to 20.
	MaxOpenPulls int
	// MaxRepairsPerDay bounds the repairs begun within 24 hours, 0 to 100.
	MaxRepairsPerDay int
	// Reruns is how often the failed jobs of one incident may be run again, 0 to 2.
	Reruns int
	// Labels are put on the bot's pull requests and issues, at most 10.
	Labels []string
	Notify Notify
	// Rules are the repository's own rules for failures that the bot doesn't know.
	Rules []Rule
}

// Branches selects failing branches by glob. A branch must match one of Include
// and none of Exclude.
type Branches struct{ Include, Exclude []Glob }

// Paths selects files by glob. A path must match one of Allow and none of Deny;
// what Protected names is never allowed.
type Paths struct{ Allow, Deny []Glob }

// Strategies selects repairs by id.
type Strategies struct {
	// Enable, when not empty, is the whole list of what may be tried.
	Enable []string
	// Disable wins over Enable.
	Disable []string
	// Approval lists the strategies whose pull requests stay drafts until a
	// maintainer approves, whatever the mode.
	Approval []string
}

// Notify says how the bot may speak in the repository.
type Notify struct {
	// Comment allows the sticky comment on pull requests.
	Comment bool
	// Issue allows the issue that asks a person once the bot gives up.
	Issue bool
}

// Default is the policy of a repository without a file: draft pull requests and
// reruns of transient failures, on every branch.
func Default() Policy {
	return Policy{
		Enabled:          true,
		Mode:             domain.ModeSuggest,
		Branches:         Branches{Include: []Glob{everything}},
		Paths:            Paths{Allow: []Glob{everything}},
		MaxOpenPulls:     3,
		MaxRepairsPerDay: 10,
		Reruns:           2,
		Labels:           []string{"mlops-bot"},
		Notify:           Notify{Comment: true, Issue: true},
	}
}

// Protected reports whether a path is one that no policy can open to the bot: its
// own policy, the files that say who reviews and under which licence, and git's.
func Protected(p string) bool {
	switch p {
	case ".github/mlops-bot.yml", "CODEOWNERS", ".github/CODEOWNERS", "docs/CODEOWNERS", ".gitmodules":
		return true
	}
	if p == ".git" || strings.HasPrefix(p, ".git/") {
		return true
	}
	base := strings.ToUpper(path.Base(p))
	for _, name := range []string{"LICENSE", "LICENCE", "COPYING", "NOTICE"} {
		if base == name || strings.HasPrefix(base, name+".") || strings.HasPrefix(base, name+"-") {
			return true
		}
	}
	return false
}

// AllowsStrategy returns why a strategy may not be tried, or nil.
func (p Policy) AllowsStrategy(id string) *domain.Refusal {
	switch {
	case slices.Contains(p.Strategies.Disable, id):
		return domain.Refuse(domain.RefusedPolicy, "the policy disables the strategy %s (strategies.disable)", id)
	case len(p.Strategies.Enable) > 0 && !slices.Contains(p.Strategies.Enable, id):
		return domain.Refuse(domain.RefusedPolicy, "the policy does not list the strategy %s in strategies.enable", id)
	}
	return nil
}

// NeedsApproval reports whether a strategy's pull requests stay drafts until a
// maintainer approves.
func (p Policy) NeedsApproval(strategy string) bool {
	return slices.Contains(p.Strategies.Approval, strategy)
}

// AllowsPath returns why a file may not be changed, or nil.
func (p Policy) AllowsPath(file string) *domain.Refusal {
	if Protected(file) {
		return domain.Refuse(domain.RefusedPolicy, "%q is protected: the bot never changes its own policy, ownership, licence or git files", file)
	}
	if g, ok := match(p.Paths.Deny, file); ok {
		return domain.Refuse(domain.RefusedPolicy, "the policy denies changes to %q (paths.deny: %q)", file, g)
	}
	if _, ok := match(p.Paths.Allow, file); !ok {
		return domain.Refuse(domain.RefusedPolicy, "the policy does not allow changes to %q (paths.allow)", file)
	}
	return nil
}

// AllowsBranch returns why failures of a branch are not repaired, or nil.
func (p Policy) AllowsBranch(branch string) *domain.Refusal {
	if g, ok := match(p.Branches.Exclude, branch); ok {
		return domain.Refuse(domain.RefusedPolicy, "the policy excludes the branch %q (branches.exclude: %q)", branch, g)
	}
	if _, ok := match(p.Branches.Include, branch); !ok {
		return domain.Refuse(domain.RefusedPolicy, "the policy does not include the branch %q (branches.include)", branch)
	}
	return nil
}

// Glob matches slash-separated names whole: "*" and "?" stay within one element,
// "**" crosses elements, and "dir/**" also matches nothing but what is below dir.
type Glob struct {
	pattern string
	re      *regexp.Regexp
}

// everything is the glob "**".
var everything = Glob{pattern: "**", re: regexp.MustCompile(`\A(?s:.*)\z`)}

const maxGlob = 200 // bytes of one pattern

// ParseGlob compiles a pattern. Matching takes time linear in the name, whatever
// the pattern. The error is Invalid.
func ParseGlob(pattern string) (Glob, error) {
	const op = "parse the glob"
	switch {
	case pattern == "":
		return Glob{}, domain.Errorf(domain.Invalid, op, "a pattern is empty; \"**\" matches everything")
	case len(pattern) > maxGlob:
		return Glob{}, domain.Errorf(domain.Invalid, op, "a pattern is longer than %d bytes", maxGlob)
	case strings.ContainsAny(pattern, "[]{}!\\\x00\n\r"):
		return Glob{}, domain.Errorf(domain.Invalid, op, "%q: only *, ** and ? are special; brackets, braces, \"!\" and backslashes are not supported", pattern)
	case strings.HasPrefix(pattern, "/"):
		return Glob{}, domain.Errorf(domain.Invalid, op, "%q: patterns are relative, without a leading slash", pattern)
	}
	var b strings.Builder
	b.WriteString(`\A(?s:`)
	for i := 0; i < len(pattern); {
		switch rest := pattern[i:]; {
		case strings.HasPrefix(rest, "**/") && (i == 0 || pattern[i-1] == '/'):
			b.WriteString(`(?:.*/)?`)
			i += 3
		case strings.HasPrefix(rest, "**"):
			b.WriteString(`.*`)
			i += 2
		case rest[0] == '*':
			b.WriteString(`[^/]*`)
			i++
		case rest[0] == '?':
			b.WriteString(`[^/]`)
			i++
		default:
			n := strings.IndexAny(rest, "*?")
			if n < 0 {
				n = len(rest)
			}
			b.WriteString(regexp.QuoteMeta(rest[:n]))
			i += n
		}
	}
	b.WriteString(`)\z`)
	re, err := regexp.Compile(b.String())
	if err != nil {
		return Glob{}, domain.Errorf(domain.Invalid, op, "%q: %w", pattern, err)
	}
	return Glob{pattern: pattern, re: re}, nil
}

// Match reports whether the glob matches the whole name.
func (g Glob) Match(name string) bool { return g.re != nil && g.re.MatchString(name) }

// String is the pattern as it was written.
func (g Glob) String() string { return g.pattern }

// Equal reports whether two globs have the same pattern.
func (g Glob) Equal(o Glob) bool { return g.pattern == o.pattern }

func match(globs []Glob, name string) (Glob, bool) {
	for _, g := range globs {
		if g.Match(name) {
			return g, true
		}
	}
	return Glob{}, false
}

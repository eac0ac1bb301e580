package rules

import (
	"slices"
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func dependencyConflict() *Rule {
	return &Rule{
		ID: "dependency-conflict", Category: "dependency-conflict",
		Title:    "No set of versions satisfies the requirements",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankSetup,
		FactNames: []string{"packages", "constraints", "resolver"},
		Patterns: patterns(
			`ERROR: Cannot install (?P<constraints>.+)`,
			`ERROR: ResolutionImpossible: for help visit`,
			`(?:^|\s)(?:error: )?resolution-too-deep\b`,
			`ResolutionTooDeep: \d+`,
			`No solution found when resolving (?:dependencies|tool dependencies|script dependencies|build dependencies|dependency)`,
			`(?:LibMamba|PackagesNotFound|)UnsatisfiableError: `,
			`version solving failed`,
			`npm (?:ERR!|error) .*(?:[Cc]ould not resolve dependency|ERESOLVE could not resolve$|unable to resolve dependency tree)`,
			`Could not solve for environment specs`,
			`nothing provides requested (?P<packages>\S+)`,
			`^(?P<packages>[\w.-]+) \S+ has requirement (?P<constraints>\S.*), but you have \S+ \S+\.$`,
			`(?:ContextualVersionConflict|VersionConflict): \((?P<packages>[\w.-]+) `,
			exc+`ImportError: (?P<constraints>(?P<packages>[\w-]+)[<>=!~]\S*) is required for a normal functioning of this module, but found`,
			"^error: failed to select a version for (?:the requirement )?`(?P<packages>[\\w-]+)",
			`^Could not find compatible versions$`,
			`: error NU1107: Version conflict detected for (?P<packages>[\w.-]*\w)`,
		),
		Keys: []string{"packages", "resolver"},
		Refine: func(w *Window, m *Match) bool {
			lower := strings.ToLower(m.textOf(w))
			switch {
			case strings.Contains(lower, "cannot install"), strings.Contains(lower, "resolutionimpossible"), strings.Contains(lower, "resolution-too-deep"), strings.Contains(lower, "resolutiontoodeep"):
				m.Facts["resolver"] = "pip"
			case strings.Contains(lower, "no solution found"):
				m.Facts["resolver"] = "uv"
			case strings.Contains(lower, "version solving"):
				m.Facts["resolver"] = "poetry"
			case strings.Contains(lower, "npm"):
				m.Facts["resolver"] = "npm"
			case strings.Contains(lower, "failed to select a version"):
				m.Facts["resolver"] = "cargo"
			case strings.Contains(lower, "compatible versions"):
				m.Facts["resolver"] = "bundler"
			case strings.Contains(lower, "nu1107"):
				m.Facts["resolver"] = "nuget"
			case strings.Contains(lower, "has requirement"), strings.Contains(lower, "versionconflict"), strings.Contains(lower, "normal functioning"):
				m.Facts["resolver"] = "pip"
				return true // two installed versions, without a report
			default:
				m.Facts["resolver"] = "conda"
			}
			if strings.HasPrefix(strings.TrimSpace(lower), "> ") {
				return false // quoted
			}
			if strings.Contains(lower, "cannot install") && !conflictFollows(w) {
				return false // uninstallable for another reason, named elsewhere
			}
			conflictFacts(w, m)
			return true
		},
	}
}

func conflictFollows(w *Window) bool {
	if t, _ := w.Text(0); strings.Contains(t, "conflicting dependencies") {
		return true
	}
	for i := 1; i <= 6; i++ {
		if t, ok := w.Text(i); ok && strings.Contains(t, "The conflict is caused by") {
			return true
		}
	}
	return false
}

var (
	dependsOn     = re(`^\s*\S+ \S+ depends on ([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?([^;(]*)`)
	userRequested = re(`^\s*The user requested (?:\(constraint\) )?([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?(\S*)`)
	poetryDepends = re(`depends on ([A-Za-z0-9][\w.-]*) (?:\(([^)]*)\))?`)
	uvRequire     = re(`you require ([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?((?:[<>=!~]=?[^\s,]+,?)*)(?:\s+and\s+([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?((?:[<>=!~]=?[^\s,]+,?)*))?`)
)

// conflictFacts reads which packages are in conflict and what is asked of them.
func conflictFacts(w *Window, m *Match) {
	if m.Facts["packages"] != "" {
		return
	}
	from, to := 1, after
	if m.Facts["resolver"] == "pip" && !strings.Contains(m.textOf(w), "Cannot install") {
		from, to = -40, -1
	}
	count := map[string]int{}
	specs := map[string][]string{}
	note := func(name, spec string) {
		name = strings.ToLower(name)
		spec = strings.TrimRight(strings.TrimSpace(spec), ",.")
		count[name]++
		if spec != "" && !slices.Contains(specs[name], name+spec) && len(specs[name]) < 8 {
			specs[name] = append(specs[name], name+spec)
		}
	}
	var joined []string
	for i := from; i <= to; i++ {
		t, ok := w.Text(i)
		if !ok {
			break
		}
		if m.Facts["resolver"] == "uv" {
			joined = append(joined, strings.TrimSpace(t))
			continue
		}
		if s := dependsOn.FindStringSubmatch(t); s != nil {
			note(s[1], s[2])
		} else if s := userRequested.FindStringSubmatch(t); s != nil {
			note(s[1], s[2])
		}
	}
	if m.Facts["resolver"] == "poetry" {
		for i := -12; i <= 0; i++ {
			t, _ := w.Text(i)
			for _, s := range poetryDepends.FindAllStringSubmatch(t, 8) {
				note(s[1], s[2])
			}
		}
	}
	if m.Facts["resolver"] == "uv" {
		if s := uvRequire.FindStringSubmatch(strings.Join(joined, " ")); s != nil {
			note(s[1], s[2])
			if s[3] != "" {
				note(s[3], s[4])
			}
		}
	}
	// What is asked for differently is what conflicts.
	var names, asked []string
	for name := range count {
		if len(specs[name]) > 1 || m.Facts["resolver"] == "uv" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) > 6 {
		names = names[:6]
	}
	for _, n := range names {
		asked = append(asked, specs[n]...)
	}
	if len(names) > 0 {
		m.Facts["packages"] = strings.Join(names, ",")
	}
	if len(asked) > 0 {
		m.Facts["constraints"] = strings.Join(asked, "; ")
	}
}

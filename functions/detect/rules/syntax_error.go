package rules

import (
	"strconv"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func syntaxError() *Rule {
	return &Rule{
		ID: "syntax-error", Category: "syntax-error",
		Title:    "A file does not parse",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankCode + 6,
		FactNames: []string{"file", "line"},
		Patterns: patterns(
			exc+`(?:SyntaxError|IndentationError|TabError): .+`,
			`^error: cannot format (?P<file>[^:]+): Cannot parse(?: for target version [\w. ]+)?: (?P<line>\d+):`,
			`^(?:yaml\.scanner\.ScannerError: )?mapping values are not allowed (?:in this context|here)`,
			`yaml\.(?:scanner\.ScannerError|parser\.ParserError): while (?:scanning|parsing) a`,
			`^(?P<file>\S+): line (?P<line>\d+): syntax error`,
		),
		Keys: []string{"file"},
		Refine: func(w *Window, m *Match) bool {
			sec, _ := w.Section()
			if sec == jest {
				return false // module systems, mostly: code-error looks at those
			}
			if jsSyntax.MatchString(m.textOf(w)) {
				return false
			}
			if m.Facts["file"] != "" {
				if o, _ := whose(m.Facts["file"]); o != own {
					return false
				}
				m.Facts["file"] = relative(m.Facts["file"])
				return !runnerScript.MatchString(m.Facts["file"])
			}
			for i := -1; i >= -8; i-- {
				t, ok := w.Text(i)
				if !ok {
					break
				}
				if f := syntaxFrame.FindStringSubmatch(t); f != nil {
					o, _ := whose(f[1])
					if o != own {
						return false // a dependency that needs another Python
					}
					m.Facts["file"], m.Facts["line"] = relative(f[1]), f[2]
					return true
				}
			}
			for i := 1; i <= 2; i++ {
				if t, ok := w.Text(i); ok {
					if f := yamlPlace.FindStringSubmatch(t); f != nil {
						m.Facts["file"], m.Facts["line"] = relative(f[1]), strconv.Itoa(atoi(f[2]))
						return true
					}
				}
			}
			// Without a file it was not the repository's code that failed to parse.
			return sec == collect || sec == plain && !w.InTest()
		},
	}
}

var (
	syntaxFrame  = re(`File "([^"]+)", line (\d+)$`)
	yamlPlace    = re(`in "([^"]+)", line (\d+)`)
	runnerScript = re(`_temp/[0-9a-f-]{36}\.sh$`)
	jsSyntax     = re(`SyntaxError: (?:Cannot use '?import|Unexpected (?:token|identifier|end of (?:JSON )?input|strict)|The requested module|Unexpected reserved word|Named export|missing \) after)|import\.meta`)
)

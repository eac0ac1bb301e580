package rules

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxText is the length of evidence in bytes.
const MaxText = 1000

// secrets are the shapes of credentials that must not leave the bot. The group
// "keep" stays, the rest of the match is replaced.
var secrets = []*regexp.Regexp{
	regexp.MustCompile(`(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[\w-]{16,})`),
	regexp.MustCompile(`(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}`),
	regexp.MustCompile(`hf_[A-Za-z0-9]{16,}`),
	regexp.MustCompile(`\b(?:sk|pk|rk)[-_](?:live_|test_|proj-|ant-)?[A-Za-z0-9_-]{16,}`),
	regexp.MustCompile(`\b(?:xox[abposr]|xapp)-[A-Za-z0-9-]{8,}`),
	regexp.MustCompile(`(?i)(?P<keep>https://hooks\.slack\.com/)(?:services|workflows|triggers)/[^\s'"<>]+`),
	regexp.MustCompile(`AIza[A-Za-z0-9_-]{30,}`),
	regexp.MustCompile(`\b(?:pypi|npm|dckr_pat|nvapi|dop_v1)[-_][A-Za-z0-9_-]{20,}`),
	regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?`),
	regexp.MustCompile(`(?P<keep>[A-Za-z][A-Za-z0-9+.-]*://)[^\s/@'"]+@`),
	regexp.MustCompile(`(?i)(?P<keep>\bauthorization['"]?\s*[:=]\s*['"]?)(?:(?:bearer|basic|token|negotiate)\s+)?[^\s'",;]+`),
	regexp.MustCompile(`(?i)(?P<keep>\b(?:bearer|basic)\s+)[A-Za-z0-9+/_.=~-]{12,}`),
	regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*`),
	regexp.MustCompile(`(?i)(?P<keep>[?&](?:sig|signature|x-amz-signature|x-amz-credential|x-amz-security-token|access_token|token|key|password)=)[^\s&'"]+`),
	regexp.MustCompile(`(?i)(?P<keep>\b[\w.-]*(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|account[_-]?key|connection[_-]?string)['"]?\s*=\s*['"]?)[^\s'",;&)]{6,}`),
	regexp.MustCompile(`(?i)(?P<keep>\b[\w.-]*(?:password|passwd|client_secret|api[_-]?key|secret[_-]?(?:access[_-]?)?key)['"]?\s*:\s*['"]?)[^\s'",;&){}]{8,}`),
}

// Mask replaces credentials in text, removes what a terminal or a page could
// take for a command, and makes it valid UTF-8 of at most MaxText bytes.
func Mask(text string) string {
	if len(text) > 4*MaxText {
		text = text[:4*MaxText]
	}
	text = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '\ufffd'
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == '\u2028', r == '\u2029':
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
	for _, s := range secrets {
		if s.MatchString(text) {
			keep := "***"
			if s.SubexpIndex("keep") > 0 {
				keep = "${keep}***"
				if strings.HasSuffix(s.String(), "@") {
					keep += "@"
				}
			}
			text = s.ReplaceAllString(text, keep)
		}
	}
	return cutText(strings.TrimSpace(text), MaxText)
}

// cutText shortens text to so many bytes, at a character's border.
func cutText(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	end := limit - len("…")
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

package rules

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxText is the length of evidence in bytes.
const MaxText = 1000

// masked stands where a credential stood.
const masked = "***"

// secret is one shape of credential that must not leave the bot.
type secret struct {
	// words are in lower case; a text without any of them isn't looked at. Without
	// words, it is a text in which something is assigned to a credential's name.
	words []string
	// shape matches the credential, or more than it: then the first of its groups
	// that took part is what is replaced.
	shape *regexp.Regexp
	// loose tells that only the context speaks for a credential, so what is plainly
	// none (harmless) stays.
	loose bool
}

// What assignments, headers and flags of credentials are called.
const (
	passwordName = `(?:password|passwd|pass[_-]?phrase)`
	secretName   = `(?:secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|signing[_-]?key|encryption[_-]?key|kaggle_key|credentials?|account[_-]?key|shared[_-]?access[_-]?key|connection[_-]?string|_auth)`
	// closing is what may stand between a name and its colon or equals sign.
	closing = `\\?['"]?\s*`
)

// secrets are in order: what is surely a credential comes before what is one by
// its context. The regular expressions are RE2's, so their time is linear.
var secrets = []secret{
	// What vendors gave a prefix.
	{words: []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"},
		shape: re(`gh[pour]_[A-Za-z0-9]{16,}|ghs_[A-Za-z0-9_-]{16,}(?:\.[A-Za-z0-9_-]{16,}){0,2}|github_pat_[A-Za-z0-9_]{20,}`)},
	{words: []string{"glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glsoat-", "gloas-", "glft-"},
		shape: re(`gl(?:pat|dt|rt|cbt|ptt|soat|oas|ft)-[\w.-]{16,}`)},
	{words: []string{"akia", "asia", "abia", "aroa", "aida"},
		shape: re(`(?:AKIA|ASIA|ABIA|AROA|AIDA)[A-Z0-9]{12,}(?:['"\s,;:|/]{1,4}[A-Za-z0-9/+]{40})?`)},
	{words: []string{"aiza", "ya29.", "gocspx-", "1//0"}, shape: re(`AIza[\w-]{30,}|\bya29\.[\w.-]{16,}|GOCSPX-[\w-]{16,}|\b1//0[\w-]{20,}`)},
	{words: []string{"q~"}, shape: re(`[A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{28,}`)},
	{words: []string{"hf_", "api_org_"}, shape: re(`\b(?:hf|api_org)_[A-Za-z0-9]{20,}`)},
	{words: []string{"sk-"}, shape: re(`\bsk-(?:(?:proj|svcacct|admin|ant|or|lf)-[A-Za-z0-9_-]{16,}|[A-Za-z0-9]{20,})`)},
	{words: []string{"_live_", "_test_", "whsec_"}, shape: re(`\b(?:[rsp]k_(?:live|test)|whsec)_[A-Za-z0-9+/=]{16,}`)},
	{words: []string{"xox", "xapp-"}, shape: re(`\b(?:xox[a-z](?:\.xox[a-z])?|xapp)-[A-Za-z0-9-]{8,}`)},
	{words: []string{"npm_"}, shape: re(`\bnpm_[A-Za-z0-9]{30,}`)},
	{words: []string{"pypi-"}, shape: re(`\bpypi-(?:AgE[\w-]{16,}|[A-Za-z0-9_-]{40,})`)},
	{words: []string{"dckr_", "nvapi-", "dop_v1_", "gsk_", "r8_", "pplx-", "lin_api_", "sntrys_", "glsa_", "glc_", "nrak-", "kgat_", "wandb_v", "age-secret-key-"},
		shape: re(`\b(?:dckr_[po]at_|nvapi-|dop_v1_|gsk_|r8_|pplx-|lin_api_|sntrys_|glsa_|glc_|NRAK-|KGAT_|wandb_v\d_|AGE-SECRET-KEY-)[\w=+/-]{20,}`)},
	{words: []string{"dapi"}, shape: re(`\bdapi[0-9a-f]{32}(?:-\d+)?`)},
	{words: []string{"sg."}, shape: re(`\bSG\.[\w-]{16,}\.[\w-]{16,}`)},
	{words: []string{"sk"}, shape: re(`\bSK[0-9a-f]{32}\b`)},
	{words: []string{"hvs.", "hvb.", "hvr."}, shape: re(`\bhv[sbr]\.[\w-]{20,}`)},
	{words: []string{":aa"}, shape: re(`\b\d{8,10}:AA[\w-]{30,}`)},
	// JWTs, and every other JSON in base64: Docker's and Neptune's credentials.
	{words: []string{"eyj"}, shape: re(`\beyJ[A-Za-z0-9+/_-]{16,}={0,2}(?:\.[A-Za-z0-9_-]{8,}){0,3}(?:\.\B)?`)},
	// Keys: their head and what stands behind it, or a line of their body.
	{words: []string{"private key"}, shape: re(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----[^"']*`)},
	{words: []string{"mii", "b3blbnnzac1rzxktdj"}, shape: re(`\b(?:MII[A-Za-z0-9+/]{37,}|b3BlbnNzaC1rZXktdj[A-Za-z0-9+/]{20,})={0,2}`)},
	// Addresses that are credentials, or hold some.
	{words: []string{"hooks.slack.com"}, shape: re(`(?i)hooks\.slack\.com/((?:services|workflows|triggers)/[^\s'"<>]+)`)},
	{words: []string{"/api/webhooks/"}, shape: re(`(?i)/api/webhooks/([^\s'"<>]+)`)},
	{words: []string{"webhook.office.com"}, shape: re(`(?i)webhook\.office\.com/([^\s'"<>]+)`)},
	{words: []string{"api.telegram.org/bot"}, shape: re(`(?i)api\.telegram\.org/bot([^\s/'"<>]+)`)},
	{words: []string{"://"}, shape: re(`[A-Za-z][A-Za-z0-9+.-]*://([^\s/?#'"<>]+)@`), loose: true},
	{words: []string{"@tcp(", "@unix("}, shape: re(`\b\w+:([^\s@'"]+)@(?:tcp|unix)\(`)},
	{words: []string{"sig=", "signature=", "credential=", "token=", "key=", "keyid=", "password=", "secret=", "auth=", "code="},
		shape: re(`(?i)[?&](?:sig|signature|x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|access_token|refresh_token|id_token|token|key|api_?key|password|client_secret|secret|auth|code)=([^\s&'"<>]+)`)},
	// Headers.
	{words: []string{"authorization"}, shape: re(`(?i)\bauthorization['"]?\s*[:=]\s*['"]?((?:(?:bearer|basic|token|negotiate|bot|digest|apikey)\s+)?[^\s'",;]+)`)},
	{words: []string{"bearer", "basic"}, shape: re(`(?i)\b(?:bearer|basic)\s+([A-Za-z0-9+/_.=~-]{12,})`), loose: true},
	{shape: re(`(?i)\b(?:x-[\w-]*token|x-[\w-]*key|(?:private|job|deploy)-token|ocp-apim-subscription-key|(?:set-)?cookie)['"]?\s*:\s*['"]?([^\s'",]{6,})`), loose: true},
	// The runner's own command that names a secret.
	{words: []string{"::add-mask::"}, shape: re(`::add-mask::(.+)`)},
	// Command lines.
	{words: []string{"--"}, shape: re(`(?i)(?:^|[\s'"])--[\w-]*(?:` + passwordName + `|token|secret|api-?key|access-?key|secret-?key|auth-?key)(?:=|\s+)['"]?([^\s'"-][^\s'"]{3,})`), loose: true},
	{words: []string{" -p"}, shape: re(`\b(?:(?:docker|podman|buildah|skopeo|oras|crane auth|helm registry|az acr) login|sshpass|twine upload|mysql\w*|mongo\w*)\b[^\n|;&]*?\s-p\s?['"]?([^\s'"-][^\s'"]{2,})`), loose: true},
	{words: []string{"curl"}, shape: re(`\bcurl\b[^\n|;]*?\s(?:-u|--user)[ =]?['"]?[^\s:'"]*:([^\s'"]+)`), loose: true},
	{words: []string{"redis-cli"}, shape: re(`\bredis-cli\b[^\n|;]*?\s-a\s+['"]?([^\s'"-][^\s'"]+)`), loose: true},
	{words: []string{"password"}, shape: re(`(?i)\b(?:login|account|user)\s+\S+\s+password\s+(\S+)`), loose: true},
	// Assignments in code, shells, YAML and JSON.
	{shape: re(`(?i)` + passwordName + closing + `(?:={1,3}|:=?|=>)\s*\\?(?:"([^"]+)|'([^']+)|([^\s'",;&){}]{3,}))`), loose: true},
	{words: []string{"pwd="}, shape: re(`(?i);\s*pwd=([^\s;'"]+)`)},
	{shape: re(`(?i)` + secretName + closing + `=\s*\\?(?:"([^"]{6,})|'([^']{6,})|([^\s'",;&)]{6,}))`), loose: true},
	{shape: re(`(?i)(?:secret|api[_-]?key|access[_-]?key|private[_-]?key|[_-]token)` + closing + `={2,3}\s*(?:"([^"]{6,})|'([^']{6,}))`), loose: true},
	{shape: re(`(?:_PASS|TOKEN|SECRET|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS)=['"]?([^\s'",;&)=][^\s'",;&)]{2,})`), loose: true},
	{shape: re(`(?i)(?:client[_-]?secret|api[_-]?key|access[_-]?key|secret[_-]?(?:access[_-]?)?key|private[_-]?key(?:[_-]id)?|account[_-]?key)` + closing + `:\s*\\?(?:"([^"]{8,})|'([^']{8,})|([^\s'",;&){}]{8,}))`), loose: true},
	{words: []string{"secret access key"}, shape: re(`(?i)secret access key[^:=]{0,20}[:=]\s*(\S{16,})`)},
	{shape: re(`(?i)(?:token|secret|credentials?|\bauth)` + closing + `:\s*\\?['"]?([A-Za-z0-9_.+/=~-]{16,})`), loose: true},
	{words: []string{`"auth"`}, shape: re(`"auth"\s*:\s*"([^"]+)`)},
	{words: []string{`"key"`}, shape: re(`"key"\s*:\s*"([0-9a-f]{32})"`)},
	// A key of 40 hexadecimal digits looks like a commit; what stands before tells.
	{words: []string{"api", "wandb login"}, shape: re(`(?i)(?:\bapi[ _-]?key|\bwandb login)\b.{0,60}?\b([0-9a-f]{40})\b`)},
}

// harmlessWords follow a credential's name where something is said about it.
var harmlessWords = map[string]bool{
	"none": true, "null": true, "nil": true, "true": true, "false": true, "undefined": true,
	"is": true, "was": true, "are": true, "not": true, "must": true, "should": true, "cannot": true, "could": true, "has": true, "with": true, "from": true, "this": true, "that": true, "when": true,
	"required": true, "requires": true, "missing": true, "invalid": true, "incorrect": true, "wrong": true, "empty": true, "expired": true, "field": true, "value": true, "option": true, "argument": true, "flag": true, "input": true,
	"authentication": true, "authorization": true, "credentials": true, "configuration": true,
	"str": true, "str,": true, "string": true, "bytes": true, "secretstr": true, "optional[str]": true, "object": true,
}

// reference is a value that only names where the credential is kept, or what
// tokenizers call a token.
var reference = re(`^(?:\$\{?[A-Z_][A-Z0-9_]*\}?$|\$\{\{|%[A-Z_]+%$|(?:os|process|self|settings|config|secrets|env|args)\.[a-z]|getenv\(|<[^>]*>|<\||\[[A-Z]+\]|\*+$)`)

// ports is what -p means to programs that have no password.
var ports = re(`^[\d.:/-]+$`)

// harmless tells that a value, found by its context only, is no credential.
func harmless(context, value string) bool {
	word := strings.ToLower(strings.TrimRight(value, ".,:;)"))
	switch {
	case harmlessWords[word], reference.MatchString(value):
		return true
	case strings.HasSuffix(context, "://"):
		return value == "git" // the user of every SSH address
	case strings.HasSuffix(strings.TrimRight(context, ` '"`), "-p"):
		return ports.MatchString(value) && strings.Contains(value, ":")
	}
	head := strings.ToLower(context)
	if strings.HasSuffix(strings.TrimSpace(head), "bearer") || strings.HasSuffix(strings.TrimSpace(head), "basic") || looseColon.MatchString(head) {
		// A word, and nothing that a machine made.
		return value[1:] == strings.ToLower(value[1:]) && !strings.ContainsAny(value, "0123456789+/=")
	}
	return false
}

// looseColon ends the context of names that also stand before words.
var looseColon = re(`(?:token|secret|credentials?|auth)\\?['"]?\s*:\s*\\?['"]?$`)

// names end the names of credentials.
var names = []string{"password", "passwd", "passphrase", "pass-phrase", "pass_phrase", "_pass", "secret", "token", "key", "key_id", "key-id", "keyid", "credential", "credentials", "auth", "string", "cookie"}

// assigns tells whether a text in lower case has a name of a credential before a
// colon or equals sign: the regular expressions for that are slow, and most texts
// don't need them.
func assigns(lower string) bool {
	for i := range len(lower) {
		if c := lower[i]; c != '=' && c != ':' {
			continue
		}
		before := strings.TrimRight(lower[:i], " '\"\\")
		for _, n := range names {
			if strings.HasSuffix(before, n) {
				return true
			}
		}
	}
	return false
}

// mask replaces the credentials of one shape; lower is text in lower case, and
// assigned what assigns says of it.
func (s *secret) mask(text, lower string, assigned bool) string {
	found := len(s.words) == 0 && assigned
	for _, w := range s.words {
		if found = strings.Contains(lower, w); found {
			break
		}
	}
	if !found {
		return text
	}
	var b strings.Builder
	last := 0
	for _, at := range s.shape.FindAllStringSubmatchIndex(text, -1) {
		from, to := at[0], at[1]
		for g := 2; g < len(at); g += 2 {
			if at[g] >= 0 {
				from, to = at[g], at[g+1]
				break
			}
		}
		if s.loose && harmless(text[at[0]:from], text[from:to]) {
			continue
		}
		b.WriteString(text[last:from])
		b.WriteString(masked)
		last = to
	}
	if last == 0 {
		return text
	}
	b.WriteString(text[last:])
	return b.String()
}

// maxRounds bounds how often a text is masked. One round is enough nearly
// always: a second one finds what replacing or cutting put together.
const maxRounds = 4

// Mask replaces credentials in text, removes what a terminal or a page could
// take for a command or what hides in it (escapes, direction marks, characters
// without width), and makes it one line of valid UTF-8 of at most MaxText bytes.
// Masking twice gives the same as masking once.
func Mask(text string) string {
	if len(text) > 2*MaxText {
		text = text[:2*MaxText]
	}
	text = visible(text)
	for range maxRounds {
		before, lower := text, strings.ToLower(text)
		assigned := assigns(lower)
		for i := range secrets {
			text = secrets[i].mask(text, lower, assigned)
		}
		text = cutText(strings.TrimSpace(text), MaxText)
		if text == before {
			break
		}
	}
	return text
}

// visible drops what has no width or isn't text.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r),
			unicode.Is(unicode.Variation_Selector, r), r == '\u2028', r == '\u2029':
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
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

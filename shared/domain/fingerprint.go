package domain

import (
	"regexp"
	"slices"
	"strings"
)

// Keys that are no facts, for failures whose log names nothing that tells one
// from another of its category.
const (
	// KeyPlace is the job and the step of the finding without what tells matrix
	// legs apart: where memory runs out, another job's is another failure.
	KeyPlace = "@place"
	// KeyText is the evidence with its numbers masked: an exception that no file of
	// the repository raised is told by its message.
	KeyText = "@text"
)

// Fingerprint names the failure: the category and the key facts. It is equal
// over runs, branches and matrix legs of one cause, and differs where the causes
// do. What differs between runs of one failure is masked in the facts: where
// runners check out, install and keep temporary files, random names, addresses,
// hashes, times. Identities stay: names, codes, versions, parameters of tests.
//
// Where a finding has keys and the log showed none of the facts, KeyPlace and
// KeyText stand in; not for what a rerun answers, since of an outage the same
// symptom is rarely seen twice. A failure of no known cause is told by its place
// alone.
//
// It is 16 hex digits of a SHA-256. Stored fingerprints bear no version: an
// incident that was stored under another version's is opened once more when it is
// seen again, and the old one is resolved by the next green run, which looks for
// jobs and not for fingerprints. History under old fingerprints counts for nothing
// and is out of Flakiness' window within days.
func (f Finding) Fingerprint() string {
	parts := []string{f.Category}
	place, text, keyed, named := f.Category == Unknown, false, false, false
	keys := slices.Clone(f.Keys)
	slices.Sort(keys)
	for _, k := range slices.Compact(keys) {
		switch k {
		case KeyPlace:
			place = true
		case KeyText:
			text = true
		default:
			v := maskFact(f.Facts[k])
			keyed, named = true, named || v != ""
			parts = append(parts, k+"="+v)
		}
	}
	if keyed && !named && !place && !text && f.Remedy != RemedyRetry {
		place, text = true, true
	}
	if text {
		parts = append(parts, KeyText, maskText(f.Text))
	}
	if place {
		parts = append(parts, maskJob(f.Job), maskName(f.Step))
	}
	return Hash(parts...)[:16]
}

// maxMasked is how many bytes of a text enter a fingerprint.
const maxMasked = 1000

// substitution replaces what differs between runs.
type substitution struct {
	pattern *regexp.Regexp
	with    string
	// mixed asks that the match has a letter and a digit: hex digits alone also
	// spell words and numbers.
	mixed bool
	// hints are literals of which a text must hold one to match: looking for them
	// is cheap, and most texts hold none.
	hints []string
}

func substitute(s string, list []substitution) string {
	for _, m := range list {
		if m.hints != nil && !slices.ContainsFunc(m.hints, func(h string) bool { return strings.Contains(s, h) }) {
			continue
		}
		if !m.mixed {
			s = m.pattern.ReplaceAllString(s, m.with)
			continue
		}
		s = m.pattern.ReplaceAllStringFunc(s, func(found string) string {
			if !strings.ContainsAny(found, "0123456789") || !strings.ContainsAny(strings.ToLower(found), "abcdefghijklmnopqrstuvwxyz") {
				return found
			}
			return m.pattern.ReplaceAllString(found, m.with)
		})
	}
	return s
}

// begin is before the first character of an absolute path.
const begin = `(^|[^\w./~-])`

// places are where runners keep things, in the order in which they are looked
// for: the temporary directory of a runner lies beside the checkouts.
var places = []substitution{
	{pattern: regexp.MustCompile(begin + `(?:[A-Za-z]:)?(?:/[^/\s:'"]+)*/_temp/`), with: "$1<tmp>/", hints: []string{"/_temp/"}},
	{pattern: regexp.MustCompile(begin + `(?:/private)?/var/folders/[^/\s]+/[^/\s]+/[A-Z]/`), with: "$1<tmp>/", hints: []string{"/var/folders/"}},
	{pattern: regexp.MustCompile(begin + `[A-Za-z]:/(?i:users/[^/\s]+/appdata/local|windows)/(?i:temp)/`), with: "$1<tmp>/", hints: []string{":/"}},
	{pattern: regexp.MustCompile(begin + `(?:(?:/private)?(?:/var)?/tmp|/dev/shm)/`), with: "$1<tmp>/", hints: []string{"/tmp/", "/dev/shm/"}},
	{pattern: regexp.MustCompile(begin + `(?:[A-Za-z]:)?[^\s'":,;()<>]*/(?i:(?:site|dist)-packages)/`), with: "$1<packages>/", hints: []string{"-packages/", "-Packages/", "-PACKAGES/"}},
	{pattern: regexp.MustCompile(begin + `(?:[A-Za-z]:)?[^\s'":,;()<>]*/(?:lib/python3(?:\.\d+)?t?|(?i:hostedtoolcache/windows/python/[^/\s]+/x\d+/lib))/`), with: "$1<python>/", hints: []string{"lib/python3", "/x"}},
	{pattern: regexp.MustCompile(begin + `(?:[A-Za-z]:)?(?:/[^/\s:'"]+)*/(?i:hostedtoolcache)(?i:/windows)?/([^/\s]+)/[^/\s]+/[^/\s]+/`), with: "$1<tools>/$2/", hints: []string{"ostedtoolcache", "OSTEDTOOLCACHE", "ostedToolCache"}},
	{pattern: regexp.MustCompile(begin + `(?:(?:[A-Za-z]:)?(?:/[^/\s:'"]+)*?/(?:_?work|__w)/[^/\s]+/[^/\s]+/|[A-Za-z]:/a/[^/\s]+/[^/\s]+/|/github/workspace/|/workspaces?/[^/\s]+/)`), with: "$1", hints: []string{"work/", "__w/", "/a/", "/workspace"}},
	{pattern: regexp.MustCompile(begin + `(?:/home/[^/\s]+|/root|(?:[A-Za-z]:)?/Users/[^/\s]+)/`), with: "$1~/", hints: []string{"/home/", "/root/", "/Users/"}},
}

// randoms are names and numbers that are drawn anew in each run.
var randoms = []substitution{
	{pattern: regexp.MustCompile(`\b[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\b`), with: "<id>", hints: []string{"-"}},
	{pattern: regexp.MustCompile(`\bpytest-of-[^/\s]+/pytest-\d+\b`), with: "pytest-of-#/pytest-#", hints: []string{"pytest-of-"}},
	{pattern: regexp.MustCompile(`<tmp>/tmp\.?[A-Za-z0-9_]{6,12}(\b|$)`), with: "<tmp>/tmp#", hints: []string{"<tmp>/tmp"}},
	{pattern: regexp.MustCompile(`\btmp[a-z0-9_]{8}\b`), with: "tmp#", mixed: true, hints: []string{"tmp"}},
	{pattern: regexp.MustCompile(`\b(pip-[a-z-]+-|torchelastic_)[a-z0-9_]{8}\b`), with: "$1#", hints: []string{"pip-", "torchelastic_"}},
	{pattern: regexp.MustCompile(`\b(ipykernel_)\d+(?:/\d+)?`), with: "$1#", hints: []string{"ipykernel_"}},
	{pattern: regexp.MustCompile(`\b(ipython-input-)\d+(?:-[0-9a-f]+)?`), with: "$1#", hints: []string{"ipython-input-"}},
	{pattern: regexp.MustCompile(`\b\d{4}-\d\d-\d\d[T _/]\d\d[:.-]?\d\d(?:[:.-]?\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?`), with: "<time>", hints: []string{"-"}},
	{pattern: regexp.MustCompile(`\b\d{8}[T_-]\d{4,6}Z?(?:-[a-z0-9]{8})?\b`), with: "<time>", hints: []string{"T", "_", "-"}},
	{pattern: regexp.MustCompile(`\b1[5-9]\d{8}(?:\d{3}|\.\d+)?\b`), with: "<time>", hints: []string{"15", "16", "17", "18", "19"}},
	{pattern: regexp.MustCompile(`\b0x[0-9A-Fa-f]{6,16}\b`), with: "0x#", hints: []string{"0x"}},
	{pattern: regexp.MustCompile(`\b[0-9A-Fa-f]{12,128}\b`), with: "<hash>", mixed: true},
	{pattern: regexp.MustCompile(`(\bsha-|[:@]|-g)[0-9a-f]{7,11}\b`), with: "$1<hash>", mixed: true, hints: []string{"sha-", ":", "@", "-g"}},
	// Signatures and expiries of links to storage.
	{pattern: regexp.MustCompile(`(?i)([?&](?:x-(?:amz|goog)-[\w-]+|expires?|signature|sig|policy|key-pair-id|se|st)=)[^&\s'"]*`), with: "$1#", hints: []string{"?", "&"}},
	// Ephemeral ports, and hosts that a cloud numbers.
	{pattern: regexp.MustCompile(`([\w\]]:)(?:3[3-9]\d{3}|[45]\d{4}|6[0-5]\d{3})\b`), with: "$1#", hints: []string{":3", ":4", ":5", ":6"}},
	{pattern: regexp.MustCompile(`\b(fv-az|productionresultssa)\d+(?:-\d+)?\b`), with: "$1#", hints: []string{"fv-az", "productionresultssa"}},
	{pattern: regexp.MustCompile(`\b(ip)-\d{1,3}-\d{1,3}-\d{1,3}-\d{1,3}\b`), with: "$1-#", hints: []string{"ip-"}},
	{pattern: regexp.MustCompile(`\b(pull/)\d+(/(?:merge|head)\b)`), with: "$1#$2", hints: []string{"pull/"}},
}

// maskFact returns a fact's value without what differs between runs. The
// parameters of a test ("test_a[2024-01-01-0.5]") are part of its name.
func maskFact(v string) string {
	v = bounded(v)
	if name, parameters, found := strings.Cut(v, "["); found && strings.HasSuffix(parameters, "]") {
		return volatile(name) + "[" + addresses.ReplaceAllString(parameters, "0x#")
	}
	return volatile(v)
}

// addresses are the one thing in parameters that nobody wrote.
var addresses = regexp.MustCompile(`\b0x[0-9A-Fa-f]{8,16}\b`)

func volatile(s string) string {
	s = strings.ReplaceAll(s, `\`, "/")
	if strings.Contains(s, "/") {
		s = substitute(s, places)
	}
	if strings.ContainsAny(s, "0123456789") || strings.Contains(s, "<tmp>") {
		s = substitute(s, randoms)
	}
	return strings.TrimPrefix(s, "./")
}

// tokens are the parts of a sentence that matter to numbers: names with
// parameters, constraints on versions, names with digits in them, hex, and
// numbers with their units. Only hex and numbers are masked.
var tokens = regexp.MustCompile(`[A-Za-z_][\w.-]*\[[^\]\s]*\]` +
	`|[A-Za-z_][\w.-]*(?:[<>=!~]=|[<>])\d[\w.*]*(?:,(?:[<>=!~]=|[<>])\d[\w.*]*)*` +
	`|(?i:\b(?P<one>rank|worker|gw|thread|process|pid)[-_]?\d+\b)` +
	`|[A-Za-z_]\w*(?:-\w+)*` +
	`|(?P<measure>0x[0-9A-Fa-f]+|[-+]?\d+(?:[.,:/]\d+)*(?:[eE][-+]?\d+)?(?: ?(?:ns|us|µs|ms|s|secs?|seconds?|mins?|minutes?|h|hours?|[KMGTkmgt]i?B|bytes|B)\b|%)?)(?:\b|$|[^\w])` +
	`|\d+[A-Za-z_]\w*`)

// maskText returns a line of evidence without what differs between runs: as
// maskFact does, and without measures.
func maskText(s string) string {
	s = volatile(bounded(s))
	var b strings.Builder
	at := 0
	for _, m := range tokens.FindAllStringSubmatchIndex(s, -1) {
		switch one, measure := m[2:4], m[4:6]; {
		case one[0] >= 0:
			b.WriteString(s[at:m[0]] + strings.ToLower(s[one[0]:one[1]]) + "#")
			at = m[1]
		case measure[0] >= 0:
			b.WriteString(s[at:measure[0]] + "#")
			at = measure[1]
		}
	}
	b.WriteString(s[at:])
	out := strings.Join(strings.Fields(b.String()), " ")
	if len(out) > maxMasked/3 {
		out = out[:maxMasked/3]
	}
	return out
}

var (
	// legSuffix is what GitHub appends to the name of a matrix leg, also before
	// the " / " that parts a reusable workflow's jobs from their caller.
	legSuffix = regexp.MustCompile(`(?:\s*\((?:[^()]|\([^()]*\))*\))+\s*(/|$)`)
	// legNames are what people put of a matrix into a name of their own.
	legNames = []substitution{
		{pattern: regexp.MustCompile(`(?i)\b(?:ubuntu|windows|macos)-(?:latest|\d[\w.]*)(?:-[\w.]+)*`), with: "<os>"},
		{pattern: regexp.MustCompile(`(?i)\b(?:py(?:thon)?[- ]?|v)?\d+(?:\.(?:\d+|x|\*))+(?:t|-dev)?\b`), with: "#"},
		{pattern: regexp.MustCompile(`(?i)\b(?:py|cp|cu)\d{2,3}\b`), with: "#"},
		{pattern: regexp.MustCompile(`\b\d+ ?(?:/|of) ?\d+\b`), with: "#"},
	}
)

// maskName returns the name of a step without what differs between legs.
func maskName(name string) string {
	return substitute(strings.Join(strings.Fields(bounded(name)), " "), append(slices.Clone(places), legNames...))
}

// maskJob returns the name of a job without what differs between legs.
func maskJob(name string) string {
	bare := strings.Join(strings.Fields(bounded(name)), " ")
	if cut := strings.TrimSpace(legSuffix.ReplaceAllString(bare, " $1")); cut != "" {
		bare = cut
	}
	return maskName(bare)
}

// bounded keeps so much of a stranger's text that masking stays cheap.
func bounded(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxMasked)], "\uFFFD")
}

package notify

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Everything that a log, a branch name or a finding holds is a stranger's text.
// It goes through plain before it enters a Message, and through the escape of
// its channel before it leaves.

// ansi matches terminal control sequences: CSI, OSC, and two-byte escapes.
var ansi = regexp.MustCompile(`\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)|[@-Z\\^_])`)

// plain returns s in one line of at most limit runes: colours are gone, and
// characters that can't be seen or that turn the reading direction are spelled
// out, so that nothing hides in a message.
func plain(s string, limit int) string {
	s = clean(s, limit)
	return strings.Join(strings.Fields(s), " ")
}

// clean is plain for text of several lines.
func clean(s string, limit int) string {
	// A rune has at most four bytes; what is cut off here is never looked at.
	if most := 8 * limit; len(s) > most {
		s = s[:most]
	}
	s = ansi.ReplaceAllString(strings.ToValidUTF8(s, "\uFFFD"), "")
	s = strings.ReplaceAll(s, "\r\n", "\n")
	var b strings.Builder
	n := 0
	for _, r := range s {
		piece := string(r)
		switch {
		case r == '\n':
		case r == '\t':
			piece = "    "
		case unicode.In(r, unicode.Zs, unicode.Zl, unicode.Zp):
			piece = " "
		case unicode.IsControl(r) && r < 0x100:
			piece = fmt.Sprintf(`\x%02x`, r)
		case unicode.In(r, unicode.Cf, unicode.Cs, unicode.Co):
			piece = fmt.Sprintf(`\u%04x`, r)
		}
		if n += utf8.RuneCountInString(piece); n > limit {
			return strings.Trim(b.String(), " \n") + "…"
		}
		b.WriteString(piece)
	}
	return strings.Trim(b.String(), "\n")
}

// excerpt is clean, bounded in lines too.
func excerpt(s string, lines, limit int) string {
	all := strings.Split(clean(s, limit), "\n")
	if len(all) > lines {
		all = append(all[:lines], "…")
	}
	return strings.Join(all, "\n")
}

// link returns u if it is a web address that can be shown, else "".
func link(u string) string {
	p, err := url.Parse(u)
	if err != nil || (p.Scheme != "https" && p.Scheme != "http") || p.Host == "" || p.User != nil || len(u) > 1000 || !utf8.ValidString(u) {
		return ""
	}
	return p.String()
}

// backticks is the length of the longest run of backticks in s.
func backticks(s string) int {
	longest, run := 0, 0
	for i := range len(s) {
		if s[i] != '`' {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// zeroWidth after an @ or a # keeps services from seeing a mention or a
// reference; it is what Renovate does.
const zeroWidth = "\u200b"

// mdText escapes one line of text for the inside of a line of GitHub's Markdown.
// Punctuation that means nothing there stays, since mails show the source.
func mdText(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case strings.ContainsRune("\\`*_~[]<>&$|", r),
			r == ':' && strings.HasPrefix(s[i:], "://"),
			r == '.' && i >= 3 && strings.EqualFold(s[i-3:i], "www"):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
		if r == '@' || r == '#' {
			b.WriteString(zeroWidth)
		}
	}
	return b.String()
}

// mdCode makes a code span, in which Markdown, HTML and mentions mean nothing.
func mdCode(s string) string {
	if s == "" {
		return ""
	}
	fence := strings.Repeat("`", backticks(s)+1)
	if len(fence) > 1 {
		return fence + " " + s + " " + fence
	}
	return fence + s + fence
}

// mdBlock makes a code block.
func mdBlock(s string) string {
	fence := strings.Repeat("`", max(3, backticks(s)+1))
	return fence + "text\n" + s + "\n" + fence
}

// mdLink links a label that is ours to a URL; without one it is the label.
func mdLink(label, u string) string {
	if u = link(u); u == "" {
		return label
	}
	// url.String leaves parentheses alone, which would end the link.
	return "[" + label + "](" + strings.NewReplacer("(", "%28", ")", "%29", "<", "%3C", ">", "%3E").Replace(u) + ")"
}

var slackEntities = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "@"+zeroWidth)

// slackText escapes one line of text for Slack's mrkdwn: control sequences
// (<!channel>, <@U1>) by entities as Slack documents it, formatting by look-alikes,
// since mrkdwn has no escape for that.
func slackText(s string) string {
	return strings.NewReplacer("*", "∗", "_", "_"+zeroWidth, "~", "∼", "`", "ˋ").Replace(slackEntities.Replace(s))
}

// slackCode makes a code span.
func slackCode(s string) string {
	if s == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(slackEntities.Replace(s), "`", "ˋ") + "`"
}

// slackBlock makes a code block.
func slackBlock(s string) string {
	return "```\n" + strings.ReplaceAll(slackEntities.Replace(s), "`", "ˋ") + "\n```"
}

// slackLink links a label that is escaped already to a URL.
func slackLink(label, u string) string {
	if u = link(u); u == "" {
		return label
	}
	return "<" + strings.NewReplacer("&", "&amp;", "|", "%7C", "<", "%3C", ">", "%3E").Replace(u) + "|" + label + ">"
}

// size says a number of bytes as people do.
func size(bytes int64) string {
	const unit = 1024
	v, units := float64(bytes), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for v >= unit && i < len(units)-1 {
		v, i = v/unit, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.2f %s", v, units[i])
}

// span says a duration as people do.
func span(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d < time.Second:
		return "under 1 s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return strings.TrimSuffix(fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60), " 0 s")
	case d < 48*time.Hour:
		return strings.TrimSuffix(fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60), " 0 min")
	default:
		return fmt.Sprintf("%d days", int(d.Hours())/24)
	}
}

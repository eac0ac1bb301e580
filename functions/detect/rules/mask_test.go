package rules

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// TestMask holds one line per shape of credential. The values are put together
// here so that no scanner takes this file for a leak.
func TestMask(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("aB3", 14)
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":           {"assert 1 == 2", "assert 1 == 2"},
		"GitHub token":      {"using ghp_" + long, "using ***"},
		"GitHub app token":  {"ghs_" + long + " done", "*** done"},
		"fine-grained":      {"github_pat_" + long, "***"},
		"AWS key id":        {"key AKIA" + "IOSFODNN7EXAMPLE!", "key ***!"},
		"Hugging Face":      {"login hf_" + long, "login ***"},
		"OpenAI":            {"sk-proj-" + long, "***"},
		"Slack token":       {"xoxb-" + "12345678-abcdef", "***"},
		"Slack hook":        {"POST https://hooks.slack.com/services/T0/B0/" + long, "POST https://hooks.slack.com/***"},
		"Google":            {"AIza" + long, "***"},
		"PyPI":              {"pypi-" + long, "***"},
		"JWT":               {"eyJhbGciOi" + long + ".eyJzdWIi" + long + "." + long, "***"},
		"password in a URL": {"pip install git+https://bob:hunter22@git.acme.io/x", "pip install git+https://***@git.acme.io/x"},
		"token in a URL":    {"https://" + long + "@github.com/acme/x", "https://***@github.com/acme/x"},
		"bearer":            {"Authorization: Bearer " + long, "Authorization: ***"},
		"basic":             {"curl -H 'authorization: basic dXNlcjpwYXNzd29yZA=='", "curl -H 'authorization: ***'"},
		"bare bearer":       {"sent bearer " + long, "sent bearer ***"},
		"private key":       {"-----BEGIN RSA PRIVATE KEY-----MIIE" + long, "***"},
		"assignment":        {"DB_PASSWORD=hunter2222 ok", "DB_PASSWORD=*** ok"},
		"JSON":              {`{"client_secret": "` + long + `"}`, `{"client_secret": "***"}`},
		"signed URL":        {"GET https://x.s3.amazonaws.com/k?X-Amz-Signature=" + long + "&a=1", "GET https://x.s3.amazonaws.com/k?X-Amz-Signature=***&a=1"},
		"escapes":           {"a\x1b[31mb\x00c\rd\te", "a[31mbcd e"},
		"direction marks":   {"a\u202eb\u200bc\u2028d", "abcd"},
		"invalid UTF-8":     {"a\xffb", "a\ufffdb"},
		"not a secret":      {"KeyError: 'token' and max_tokens=16", "KeyError: 'token' and max_tokens=16"},
	} {
		if got := Mask(tc.text); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	if got := Mask(strings.Repeat("ü", 5000)); len(got) > MaxText || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
		t.Errorf("a long text became %d bytes", len(got))
	}
}

func FuzzMask(f *testing.F) {
	f.Add("Authorization: Bearer abcdefghijklmnop https://a:b@c")
	f.Add("\x1b]0;x\x07 password=\xff\xfe")
	f.Fuzz(func(t *testing.T, text string) {
		got := Mask(text)
		if len(got) > MaxText || !utf8.ValidString(got) {
			t.Fatalf("%d bytes, valid %v", len(got), utf8.ValidString(got))
		}
		for _, r := range got {
			if unicode.IsControl(r) {
				t.Fatalf("control character %U", r)
			}
		}
	})
}

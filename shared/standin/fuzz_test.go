package standin

import (
	"strings"
	"testing"
)

// FuzzExpression holds that any text of a stranger's is either understood or
// refused, and that text without an expression stays as it is.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{"a ${{ matrix.x }} b", "${{ !(always() && 'it''s' == github.ref) || 1 < 2 }}", "${{ contains(env.A, 'b') }}", "${{", "${{ ((((", "${{ a[b['c']] }}", "plain"} {
		f.Add(s)
	}
	v := scope{"matrix.x": "1", "env.A": "abc", "github.ref": "refs/heads/main"}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := v.expand(text, status{})
		if err != nil {
			return
		}
		if !strings.Contains(text, "${{") && got != text {
			t.Errorf("%q became %q", text, got)
		}
		if _, err := v.condition(text, status{failed: true}); err != nil && !strings.Contains(err.Error(), "understood") {
			t.Error(err)
		}
	})
}

// FuzzAssignments holds that what a step writes for the next one is read back.
func FuzzAssignments(f *testing.F) {
	f.Add("A", "1")
	f.Add("LONG", "a\nb=c\n<<EOF")
	f.Fuzz(func(t *testing.T, key, value string) {
		if key == "" || strings.ContainsAny(key, "=<\n") || strings.Contains("\n"+value+"\n", "\nEND-OF-VALUE\n") {
			t.Skip()
		}
		if got := assignments(key + "<<END-OF-VALUE\n" + value + "\nEND-OF-VALUE\n")[key]; got != value {
			t.Errorf("%q became %q", value, got)
		}
		if strings.Contains(value, "\n") {
			return
		}
		if got := assignments(key + "=" + value + "\n")[key]; got != value {
			t.Errorf("%q became %q", value, got)
		}
	})
}

// FuzzJWT holds that nothing but the App's own key makes a JWT.
func FuzzJWT(f *testing.F) {
	s, err := New(Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.eyJpc3MiOjEwMDF9.")
	f.Add("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOjEwMDEsImlhdCI6MSwiZXhwIjoyfQ.AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if s.verifyJWT(text) == "" {
			t.Errorf("%q passed", text)
		}
	})
}

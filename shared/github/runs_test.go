package github

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestRunNamesTheCommitsAuthor: the name is bounded, and the address is not kept.
func TestRunNamesTheCommitsAuthor(t *testing.T) {
	t.Parallel()
	authored := func(author string) string {
		a := newAPI(t, map[string]http.HandlerFunc{
			"GET /repos/octo/train/actions/runs/3/attempts/1": answer(200, fmt.Sprintf(`{"id":3,"run_attempt":1,"path":"ci.yml","head_sha":%q,"head_commit":{"id":%q,"author":%s}}`, shaA, shaA, author)),
		})
		run, err := a.client(t).Run(t.Context(), testRepo, 3, 1)
		if err != nil {
			t.Fatal(err)
		}
		return run.Author + "/" + run.AuthorMark
	}
	mona := authored(`{"name":"Mona","email":"mona@example.test"}`)
	if name, mark, _ := strings.Cut(mona, "/"); name != "Mona" || len(mark) != 16 {
		t.Errorf("author %q", mona)
	}
	if other := authored(`{"name":"Mona","email":" MONA@example.test"}`); other != mona {
		t.Errorf("%q and %q", mona, other)
	}
	if other := authored(`{"name":"Mona","email":"mona@example.com"}`); other == mona {
		t.Error("another address has the same mark")
	}
	with, without := authored(`{"name":"M","email":"583231+mona@users.noreply.github.com"}`), authored(`{"name":"M","email":"mona@users.noreply.github.com"}`)
	if with != without || with == "M/" {
		t.Errorf("%q and %q", with, without)
	}
	if plus := authored(`{"name":"Mona","email":"a+mona@example.test"}`); plus == mona {
		t.Error("a plus in somebody's address was cut")
	}
	if none := authored(`null`); none != "/" {
		t.Errorf("nobody is %q", none)
	}
	if long := authored(`{"name":"` + strings.Repeat("x", 5000) + `"}`); len(long) != maxAuthor+1 {
		t.Errorf("%d bytes", len(long))
	}
}

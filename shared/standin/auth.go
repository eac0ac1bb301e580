package standin

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	tokenLife = time.Hour
	jwtLife   = 10 * time.Minute
	clockSkew = time.Minute
)

// token is an installation token.
type token struct {
	Installation *installation
	Repos        map[int64]bool // nil for all of the installation's
	Permissions  map[string]string
	Expires      time.Time
}

// allows reports whether the token may do one of wants, each "name:access".
func (t *token) allows(wants string) bool {
	for want := range strings.SplitSeq(wants, "|") {
		name, access, _ := strings.Cut(want, ":")
		if enough(t.Permissions[name], access) {
			return true
		}
	}
	return false
}

func enough(have, want string) bool {
	rank := map[string]int{"read": 1, "write": 2, "admin": 3}
	return rank[have] >= rank[want] && have != ""
}

func unauthorized(message string) answer { return refuse(http.StatusUnauthorized, message) }

// verifyJWT checks that text is a JWT of the App's. The problem is GitHub's
// message; "" for none.
func (s *Server) verifyJWT(text string) (problem string) {
	const undecoded = "A JSON web token could not be decoded"
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return undecoded
	}
	var header struct {
		Alg string `json:"alg"`
	}
	var claims struct {
		Iss any          `json:"iss"`
		Iat *json.Number `json:"iat"`
		Exp *json.Number `json:"exp"`
	}
	for i, v := range []any{&header, &claims} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return undecoded
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		if d.Decode(v) != nil {
			return undecoded
		}
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err != nil || header.Alg != "RS256" || rsa.VerifyPKCS1v15(&s.key.PublicKey, crypto.SHA256, sum[:], signature) != nil {
		return undecoded
	}
	if fmt.Sprint(claims.Iss) != strconv.FormatInt(s.opts.AppID, 10) {
		return "Integration must generate a public key"
	}
	now := s.opts.JWTNow()
	iat, ok := claimTime(claims.Iat)
	if !ok || iat.After(now.Add(clockSkew)) {
		return "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
	}
	exp, ok := claimTime(claims.Exp)
	switch {
	case !ok || !exp.After(now):
		return "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires"
	case exp.After(now.Add(jwtLife+clockSkew)) || exp.Sub(iat) > jwtLife+clockSkew:
		return "'Expiration time' claim ('exp') is too far in the future"
	}
	return ""
}

func claimTime(n *json.Number) (time.Time, bool) {
	if n == nil {
		return time.Time{}, false
	}
	f, err := n.Float64()
	return time.Unix(int64(f), 0), err == nil
}

// authenticate finds out who calls; c.app or c.token is set, or refused answers.
func (c *call) authenticate() (refused answer, done bool) {
	scheme, credential, _ := strings.Cut(c.r.Header.Get("Authorization"), " ")
	if user, password, basic := c.r.BasicAuth(); basic {
		credential, scheme = password, "token"
		if strings.HasPrefix(user, "ghs_") {
			credential = user
		}
	}
	switch {
	case credential == "":
		return answer{}, false // anonymous
	case !strings.EqualFold(scheme, "bearer") && !strings.EqualFold(scheme, "token"):
		return unauthorized("Bad credentials"), true
	case strings.Count(credential, ".") == 2:
		if problem := c.s.verifyJWT(credential); problem != "" {
			return unauthorized(problem), true
		}
		c.app = true
		return answer{}, false
	}
	t := c.s.tokens[credential]
	if t == nil || !t.Expires.After(c.s.now()) || c.s.installations[t.Installation.ID] == nil {
		return unauthorized("Bad credentials"), true
	}
	if !t.Installation.SuspendedAt.IsZero() {
		return refuse(http.StatusForbidden, "This installation has been suspended"), true
	}
	// A permission that the installation lost meanwhile is lost to its tokens.
	narrowed := *t
	narrowed.Permissions = map[string]string{}
	for name, access := range t.Permissions {
		if have := t.Installation.Permissions[name]; !enough(have, access) {
			access = have
		}
		narrowed.Permissions[name] = access
	}
	c.token = &narrowed
	return answer{}, false
}

// sees reports whether the token was made for a repository.
func (c *call) sees(r *repository) bool {
	return c.token != nil && (c.token.Repos == nil || c.token.Repos[r.ID]) && c.s.covers(c.token.Installation, r)
}

func getApp(c *call) answer { return ok(c.s.appJSON()) }

func listInstallations(c *call) answer {
	all := slices.Collect(maps.Values(c.s.installations))
	slices.SortFunc(all, func(a, b *installation) int { return int(a.ID - b.ID) })
	return list(c, all, c.s.installationJSON)
}

func (c *call) installation() *installation { return c.s.installations[c.int("id")] }

func getInstallation(c *call) answer {
	i := c.installation()
	if i == nil {
		return notFound()
	}
	return ok(c.s.installationJSON(i))
}

func repoInstallation(c *call) answer {
	r := c.s.find(c.r.PathValue("owner") + "/" + c.r.PathValue("repo"))
	for _, id := range slices.Sorted(maps.Keys(c.s.installations)) {
		if i := c.s.installations[id]; r != nil && c.s.covers(i, r) {
			return ok(c.s.installationJSON(i))
		}
	}
	return notFound()
}

func createToken(c *call) answer {
	i := c.installation()
	if i == nil {
		return notFound()
	}
	if !i.SuspendedAt.IsZero() {
		return refuse(http.StatusForbidden, "This installation has been suspended")
	}
	var in struct {
		Repositories  []string          `json:"repositories"`
		RepositoryIDs []int64           `json:"repository_ids"`
		Permissions   map[string]string `json:"permissions"`
	}
	if a, bad := c.decode(&in); bad {
		return a
	}
	t := &token{Installation: i, Permissions: maps.Clone(i.Permissions), Expires: c.s.now().Add(tokenLife).Truncate(time.Second)}
	if len(in.Permissions) > 0 {
		for name, access := range in.Permissions {
			if !enough(i.Permissions[name], access) {
				return refuse(http.StatusUnprocessableEntity, "The permissions requested are not granted to this installation.")
			}
		}
		t.Permissions = maps.Clone(in.Permissions)
		t.Permissions["metadata"] = "read"
	}
	if len(in.Repositories)+len(in.RepositoryIDs) > 0 {
		t.Repos = map[int64]bool{}
		for _, name := range in.Repositories {
			r := c.s.find(i.Account.Login + "/" + name)
			if r == nil {
				in.RepositoryIDs = append(in.RepositoryIDs, 0)
				continue
			}
			in.RepositoryIDs = append(in.RepositoryIDs, r.ID)
		}
		for _, id := range in.RepositoryIDs {
			r := c.s.repos[id]
			if r == nil || !c.s.covers(i, r) {
				return refuse(http.StatusUnprocessableEntity, "There is at least one repository that does not exist or is not accessible to the parent installation.")
			}
			t.Repos[id] = true
		}
	}
	maps.DeleteFunc(c.s.tokens, func(_ string, old *token) bool { return !old.Expires.After(c.s.now()) })
	value := "ghs_" + rand.Text() + rand.Text()[:10]
	c.s.tokens[value] = t
	body := obj{"token": value, "expires_at": stamp(t.Expires), "permissions": t.Permissions, "repository_selection": "all"}
	if t.Repos != nil || !i.All {
		body["repository_selection"] = "selected"
	}
	if t.Repos != nil {
		var in []*repository
		for _, id := range slices.Sorted(maps.Keys(t.Repos)) {
			in = append(in, c.s.repos[id])
		}
		body["repositories"] = rendered(in, c.s.repoJSON)
	}
	return created(body)
}

func installationRepos(c *call) answer {
	var in []*repository
	for _, r := range c.s.covered(c.token.Installation) {
		if c.sees(r) {
			in = append(in, r)
		}
	}
	return counted(c, "repositories", in, c.s.repoJSON)
}

package standin

import (
	"archive/zip"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const signedFor = time.Minute // how long the address of a log is good

// signed is the address of what is kept under name at the host of logs.
func (s *Server) signed(name string) string {
	until := strconv.FormatInt(s.now().Add(signedFor).Unix(), 10)
	return fmt.Sprintf("%s/%s?se=%s&sig=%s", s.blobURL, name, until, s.signature(name, until))
}

func (s *Server) signature(name, until string) string {
	mac := hmac.New(sha256.New, s.secret)
	fmt.Fprintf(mac, "%s\n%s", name, until)
	return hex.EncodeToString(mac.Sum(nil))
}

// ready says whether a job's log can be had: 0, or the status that says why not.
func (s *Server) ready(j *job) int {
	age := s.now().Sub(j.CompletedAt)
	lag := s.opts.Lag
	switch {
	case j.Status != statusCompleted || j.Log == nil:
		return http.StatusNotFound
	case j.Expired || lag.LogRetention > 0 && age > lag.LogRetention:
		return http.StatusGone
	case age < lag.LogDelay:
		return http.StatusNotFound
	}
	if j.Asked++; j.Asked <= lag.LogRequests {
		return http.StatusNotFound
	}
	return 0
}

func jobLogs(c *call) answer {
	_, j := c.job()
	if j == nil {
		return notFound()
	}
	switch status := c.s.ready(j); status {
	case 0:
		return redirectTo(c.s.signed("logs/job/" + itoa(j.ID)))
	case http.StatusGone:
		return refuse(status, "Server Error")
	default:
		return notFound()
	}
}

func redirectTo(u string) answer {
	return answer{status: http.StatusFound, header: http.Header{"Location": {u}}}
}

func runLogs(c *call) answer {
	n := c.run()
	if n == nil || n.Status != statusCompleted || len(n.Jobs) == 0 {
		return notFound()
	}
	for _, j := range n.Jobs {
		if j.Log == nil {
			continue
		}
		if status := c.s.ready(j); status != 0 {
			return refuse(status, http.StatusText(status))
		}
	}
	return redirectTo(c.s.signed(fmt.Sprintf("logs/run/%d/%d", n.ID, n.Attempt)))
}

// serveBlob is the host that logs are downloaded from. It knows no tokens: a
// request that carries one is refused, as the real one does.
func (s *Server) serveBlob(w http.ResponseWriter, r *http.Request) {
	name, q := strings.TrimPrefix(r.URL.Path, "/"), r.URL.Query()
	until, err := strconv.ParseInt(q.Get("se"), 10, 64)
	refused := ""
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		refused = "UnsupportedHttpVerb"
	case r.Header.Get("Authorization") != "":
		refused = "InvalidAuthenticationInfo"
	case err != nil, !hmac.Equal([]byte(q.Get("sig")), []byte(s.signature(name, q.Get("se")))), s.now().Unix() > until:
		refused = "AuthenticationFailed"
	}
	w.Header().Set("Content-Type", "application/xml")
	if refused != "" {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", refused)
		return
	}
	body, kind := s.blobOf(name)
	if body == nil {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "<Error><Code>BlobNotFound</Code></Error>")
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // the client may leave
}

func (s *Server) blobOf(name string) (body []byte, kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.repos {
		for _, latest := range r.Runs {
			for _, n := range append([]*run{latest}, latest.Past...) {
				if name == fmt.Sprintf("logs/run/%d/%d", n.ID, n.Attempt) {
					return zipped(n), "application/zip"
				}
				for _, j := range n.Jobs {
					if name == "logs/job/"+itoa(j.ID) {
						return j.Log, "text/plain; charset=utf-8"
					}
				}
			}
		}
	}
	return nil, ""
}

func zipped(n *run) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i, j := range n.Jobs {
		f, err := z.Create(fmt.Sprintf("%d_%s.txt", i, strings.ReplaceAll(j.Name, "/", "")))
		if err != nil {
			return nil
		}
		_, _ = f.Write(j.Log) // into memory
	}
	if z.Close() != nil {
		return nil
	}
	return b.Bytes()
}

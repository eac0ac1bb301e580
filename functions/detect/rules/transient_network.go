package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func transientNetwork() *Rule {
	return &Rule{
		ID: "transient-network", Category: "transient-network",
		Title:    "The network or a service outside failed",
		Severity: Medium, Remedy: domain.RemedyRetry, Rank: RankSetup - 4,
		FactNames: []string{"host"},
		Patterns: patterns(
			exc+`(?:[\w.]+\.)?(?:ReadTimeoutError|ConnectTimeoutError|NewConnectionError|MaxRetryError|ConnectTimeout|ReadTimeout|ConnectionError|ProtocolError|SSLError|ProxyError|ChunkedEncodingError|IncompleteRead|RemoteDisconnected|NameResolutionError|URLError|gaierror|ConnectionResetError|SSLEOFError|ClientConnectorError|ConnectError|RemoteProtocolError)\b.*(?:timed out|[Mm]ax retries|name resolution|Name or service not known|[Cc]onnection (?:reset|aborted|broken|refused)|ailed to establish|IncompleteRead|Remote end closed|EOF occurred|UNEXPECTED_EOF|peer closed)`,
			`^(?:WARNING: |\s)*Retrying \(Retry\(total=\d.*after connection broken by '(?P<error>\w+)`,
			`^(?:curl|fatal|wget|ssh|error|npm (?:ERR!|error)|Error|E|W|ERROR|Err:\d+|rsync|git)\b.*(?:[Cc]ould not resolve host|[Tt]emporary failure (?:in name resolution|resolving)|Connection (?:reset by peer|timed out)|ETIMEDOUT|ECONNRESET|EAI_AGAIN|TLS handshake timeout|i/o timeout|early EOF|RPC failed|unexpected EOF|socket hang up|The requested URL returned error: 5\d\d|Could not connect to)`,
			`^E: Failed to fetch \S+ +(?:5\d\d|Connection|Could not|Unable to connect|Hash Sum mismatch|File has unexpected size|Temporary|404)`,
			`(?:dial tcp|net/http|failed to do request|proxyconnect|lookup \S+).*(?:i/o timeout|TLS handshake timeout|connection reset by peer|no such host|server misbehaving|EOF)`,
			`(?:HTTPError|HTTP Error|urllib\.error\.\w+|requests\.exceptions\.\w+|HfHubHTTPError|httpx\.\w+).{0,40}\b(?:50[0234]) (?:Server Error|Service|Bad Gateway|Gateway|Internal|Proxy)`,
			exc+`OSError: We couldn't connect to 'https?://`,
			`Failed to download (?:archive|action) '[^']+' after \d+ attempts`,
			`HTTP Error 50[0234]: `,
			`CondaHTTPError: HTTP (?:000|50\d)`,
			`(?:received unexpected HTTP status|unexpected status(?: code)?.*|Unexpected HTTP response): 50[0234]`,
			`(?:failed to solve|failed to copy|failed to pull|Error response from daemon).*(?:50[0234] |connection reset|EOF$|timeout|timed out)`,
			`(?:Error response from daemon|failed to solve|failed to do request|ERROR|error)\b.*(?:request canceled while waiting for connection|Client\.Timeout exceeded while awaiting headers)`,
			"error: Failed to (?:fetch|download)[: `].*",
		),
		Keys: []string{"host"},
		Last: true,
		Refine: func(w *Window, m *Match) bool {
			delete(m.Facts, "error")
			t := m.textOf(w)
			m.Facts["host"] = hostIn(t)
			if m.Facts["host"] == "" {
				for _, i := range [...]int{1, -1, 2, -2, -3} {
					if near, ok := w.Text(i); ok {
						if m.Facts["host"] = hostIn(near); m.Facts["host"] != "" {
							break
						}
					}
				}
			}
			if m.Facts["host"] == "" {
				delete(m.Facts, "host")
			} else if localHost.MatchString(m.Facts["host"]) {
				return false // a service of the job itself
			}
			if strings.HasPrefix(t, "error: Failed to ") && !uvNetwork(w) {
				return false
			}
			sec, _ := w.Section()
			if m.Facts["host"] == "" && (sec != plain && sec != summary || strings.Contains(t, "refused")) {
				return false // a test's mock may raise anything, a local service may be down
			}
			// A retry is announced before anybody knows how it ends.
			m.Weak = strings.Contains(t, "Retrying (Retry(") || w.answered()
			return !strings.Contains(t, "Retrying (Retry(") || !recovered(w)
		},
	}
}

// uvNetwork tells a download that uv could not make from one that it refused.
func uvNetwork(w *Window) bool {
	for i := 0; i <= 6; i++ {
		t, ok := w.Text(i)
		if !ok {
			return false
		}
		if uvCause.MatchString(t) {
			return true
		}
	}
	return false
}

// recovered tells whether pip went on after a retry.
func recovered(w *Window) bool {
	for i := 1; i <= after; i++ {
		t, ok := w.Text(i)
		if !ok {
			return false
		}
		if strings.Contains(t, "after connection broken by") {
			continue
		}
		t = strings.TrimSpace(t)
		for _, p := range [...]string{"Downloading ", "Collecting ", "Successfully installed", "Installing collected packages", "Obtaining ", "Using cached "} {
			if strings.HasPrefix(t, p) {
				return true
			}
		}
	}
	return false
}

var (
	uvCause   = re(`(?i)timed out|timeout|connection|dns error|error sending request|error decoding|request failed after|50[0234]`)
	localHost = re(`^(?:localhost|127\.|0\.0\.0\.0|::1|10\.|172\.(?:1[6-9]|2\d|3[01])\.|192\.168\.)|^[\w-]+$|\.(?:local|internal|example|test|invalid)$|(?:^|\.)example\.(?:com|org|net)$`)
	hostName  = re(`(?:host='([\w.-]+)'|https?://(?:[^\s/@'"]+@)?([\w.-]+)|[Cc]ould not resolve host: ([\w.-]+)|lookup ([\w.-]+)|(?:resolving|connect to) '?([\w-]+(?:\.[\w-]+)+)|getaddrinfo \w+ ([\w.-]+)|ENOTFOUND ([\w.-]+)|Cannot connect to host ([\w.-]+))`)
)

func hostIn(text string) string {
	for _, g := range hostName.FindStringSubmatch(text) {
		if g != "" && !strings.ContainsAny(g, "='/ ") {
			return strings.TrimRight(strings.ToLower(g), ".")
		}
	}
	return ""
}

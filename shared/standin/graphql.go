package standin

import (
	"fmt"
	"net/http"
	"regexp"
)

var (
	readyMutation = regexp.MustCompile(`(?s)^\s*mutation\b.*\bmarkPullRequestReadyForReview\s*\(\s*input\s*:\s*\{\s*pullRequestId\s*:\s*(?:"([^"]+)"|\$(\w+))`)
	inputVariable = regexp.MustCompile(`markPullRequestReadyForReview\s*\(\s*input\s*:\s*\$(\w+)`)
)

// graphql knows the one mutation that REST lacks.
func graphql(c *call) answer {
	var in struct {
		Query     string
		Variables map[string]any
	}
	if a, bad := c.decode(&in); bad {
		return a
	}
	fail := func(kind, message string) answer {
		return ok(obj{"data": nil, "errors": []obj{{"type": kind, "message": message, "path": []string{"markPullRequestReadyForReview"}}}})
	}
	var id string
	if m := readyMutation.FindStringSubmatch(in.Query); m != nil {
		id = m[1]
		if m[2] != "" {
			id = fmt.Sprint(in.Variables[m[2]])
		}
	} else if m := inputVariable.FindStringSubmatch(in.Query); m != nil {
		input, _ := in.Variables[m[1]].(map[string]any)
		id = fmt.Sprint(input["pullRequestId"])
	} else {
		return refuse(http.StatusBadRequest, "A query attribute must be specified and must be a string.")
	}
	for _, r := range c.s.repos {
		for _, p := range r.Pulls {
			if nodeID("PR", p.ID) != id || !c.sees(r) {
				continue
			}
			if !c.token.allows("pull_requests:write") || !c.token.allows("contents:write") {
				return fail("FORBIDDEN", "Resource not accessible by integration")
			}
			if p.State != stateOpen {
				return fail("UNPROCESSABLE", "Pull request is closed.")
			}
			if p.Draft {
				p.Draft = false
				p.UpdatedAt = c.s.now()
				c.s.emitPull(r, p, "ready_for_review", c.actor(), nil)
			}
			return ok(obj{"data": obj{"markPullRequestReadyForReview": obj{"pullRequest": obj{
				"id": id, "number": p.Number, "isDraft": p.Draft, "url": c.s.web("/%s/pull/%d", r.full(), p.Number),
			}}}})
		}
	}
	return fail("NOT_FOUND", fmt.Sprintf("Could not resolve to a node with the global id of '%s'.", id))
}

package standin

type access int

const (
	asAnyone access = iota
	asApp
	asInstallation
)

// route is one endpoint. needs are the permissions of which a token must have
// one, "name:access" separated by "|".
type route struct {
	pattern string
	access  access
	needs   string
	free    bool // doesn't count towards the rate limit
	handle  func(*call) answer
}

// routes are all endpoints, with the permissions that GitHub's documentation
// gives for them.
func routes() []route {
	app := func(pattern string, h func(*call) answer) route {
		return route{pattern: pattern, access: asApp, handle: h}
	}
	in := func(method, path, needs string, h func(*call) answer) route {
		return route{pattern: method + " /repos/{owner}/{repo}" + path, access: asInstallation, needs: needs, handle: h}
	}
	const (
		metadata  = "metadata:read"
		contents  = "contents:read"
		contentsW = "contents:write"
		pulls     = "pull_requests:read"
		pullsW    = "pull_requests:write"
		issues    = "issues:read"
		issuesW   = "issues:write"
		either    = "issues:read|pull_requests:read"
		eitherW   = "issues:write|pull_requests:write"
		actions   = "actions:read"
		actionsW  = "actions:write"
	)
	return []route{
		app("GET /app", getApp),
		app("GET /app/installations", listInstallations),
		app("GET /app/installations/{id}", getInstallation),
		app("POST /app/installations/{id}/access_tokens", createToken),
		app("GET /repos/{owner}/{repo}/installation", repoInstallation),
		app("GET /app/hook/deliveries", listDeliveries),
		app("GET /app/hook/deliveries/{id}", getDelivery),
		app("POST /app/hook/deliveries/{id}/attempts", redeliver),
		{pattern: "GET /installation/repositories", access: asInstallation, handle: installationRepos},
		{pattern: "GET /rate_limit", free: true, handle: rateLimit},
		{pattern: "GET /repositories/{id}", access: asInstallation, handle: getRepoByID},
		{pattern: "POST /graphql", access: asInstallation, handle: graphql},

		in("GET", "", metadata, getRepo),
		in("GET", "/collaborators", metadata, listCollaborators),
		in("GET", "/collaborators/{login}/permission", metadata, getPermission),
		in("GET", "/branches", contents, listBranches),
		in("GET", "/branches/{branch...}", contents, getBranch),
		in("GET", "/contents/{path...}", contents, getContents),
		in("GET", "/git/ref/{ref...}", contents, getRef),
		in("GET", "/git/matching-refs/{ref...}", contents, matchingRefs),
		in("POST", "/git/refs", contentsW, createRef),
		in("PATCH", "/git/refs/{ref...}", contentsW, updateRef),
		in("DELETE", "/git/refs/{ref...}", contentsW, deleteRef),
		in("GET", "/git/blobs/{sha}", contents, getBlob),
		in("POST", "/git/blobs", contentsW, createBlob),
		in("GET", "/git/trees/{sha}", contents, getTree),
		in("POST", "/git/trees", contentsW, createTree),
		in("GET", "/git/commits/{sha}", contents, getGitCommit),
		in("POST", "/git/commits", contentsW, createCommit),
		in("GET", "/commits", contents, listCommits),
		in("GET", "/commits/{sha}/pulls", pulls, commitPulls),
		in("GET", "/commits/{ref...}", contents, getCommit),
		in("GET", "/compare/{basehead...}", contents, compare),

		in("GET", "/pulls", pulls, listPulls),
		in("POST", "/pulls", pullsW, createPull),
		in("GET", "/pulls/{number}", pulls, getPull),
		in("PATCH", "/pulls/{number}", pullsW, updatePull),
		in("GET", "/pulls/{number}/files", pulls, pullFiles),
		in("GET", "/pulls/{number}/commits", pulls, pullCommits),
		in("PUT", "/pulls/{number}/merge", contentsW, mergePull),

		in("GET", "/issues", either, listIssues),
		in("POST", "/issues", issuesW, createIssue),
		in("GET", "/issues/{number}", either, getIssue),
		in("PATCH", "/issues/{number}", eitherW, updateIssue),
		in("GET", "/issues/{number}/comments", either, listComments),
		in("POST", "/issues/{number}/comments", eitherW, createComment),
		in("GET", "/issues/comments/{id}", either, getComment),
		in("PATCH", "/issues/comments/{id}", eitherW, updateComment),
		in("DELETE", "/issues/comments/{id}", eitherW, deleteComment),
		in("GET", "/issues/{number}/labels", either, listIssueLabels),
		in("POST", "/issues/{number}/labels", eitherW, addLabels),
		in("DELETE", "/issues/{number}/labels/{name}", eitherW, removeLabel),
		in("GET", "/labels", issues+"|"+pulls, listRepoLabels),
		in("GET", "/labels/{name}", issues+"|"+pulls, getLabel),
		in("POST", "/labels", issuesW+"|"+pullsW, createLabel),

		in("GET", "/actions/workflows", actions, listWorkflows),
		in("GET", "/actions/workflows/{workflow}", actions, getWorkflow),
		in("GET", "/actions/workflows/{workflow}/runs", actions, listRuns),
		in("POST", "/actions/workflows/{workflow}/dispatches", actionsW, dispatch),
		in("GET", "/actions/runs", actions, listRuns),
		in("GET", "/actions/runs/{id}", actions, getRun),
		in("GET", "/actions/runs/{id}/attempts/{attempt}", actions, getRun),
		in("GET", "/actions/runs/{id}/attempts/{attempt}/jobs", actions, listJobs),
		in("GET", "/actions/runs/{id}/attempts/{attempt}/logs", actions, runLogs),
		in("GET", "/actions/runs/{id}/jobs", actions, listJobs),
		in("GET", "/actions/runs/{id}/logs", actions, runLogs),
		in("POST", "/actions/runs/{id}/rerun", actionsW, rerun),
		in("POST", "/actions/runs/{id}/rerun-failed-jobs", actionsW, rerunFailed),
		in("GET", "/actions/jobs/{id}", actions, getJob),
		in("GET", "/actions/jobs/{id}/logs", actions, jobLogs),
		in("POST", "/actions/jobs/{id}/rerun", actionsW, rerunJob),
	}
}

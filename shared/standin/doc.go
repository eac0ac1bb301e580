// Package standin is a stateful stand-in for GitHub, as strict as GitHub where
// the bot could go wrong: App authentication with real JWTs, installation tokens
// that are held to their permissions, git objects with their real ids, pull
// requests, issues, workflow runs, logs behind a redirect, signed webhooks, and
// limits. It can also execute the workflows of its repositories on the host.
//
// It serves tests and the demo, on loopback. It is no GitHub: there are no people
// who log in, no web pages to speak of, and nothing outlives the process.
package standin

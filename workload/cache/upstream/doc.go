// Package upstream asks the registry that is cached, and finds out fast when it does not answer.
//
//	client, err := upstream.New(upstream.Options{URL: remote, CAFile: "/etc/cache/ca.crt"})
//	go client.Run(ctx)
//	response, err := client.Do(ctx, http.MethodGet, "/v2/library/app/manifests/1.0", header)
//
// Do returns an answer with content, or an *Error whose Kind says what went wrong; a body that breaks off fails with
// an *Error, too. Available says what Do would answer without asking.
//
// Waiting is bounded in every step (dial, TLS, headers, a body without a byte) but never in total, because a layer may
// take as long as it makes progress. A breaker keeps the next request from waiting for an upstream that just did not
// answer: it opens at once after a time-out or when there is no way there, and after three failures in a row that were
// told at once (refused, reset, TLS, 5xx). A time-out during which another request was answered does not open it: the
// upstream lives. Run probes /v2/ and closes the breaker; no client waits for that. A probe that is answered while
// requests still fail, as with a dead token server, is repeated at growing intervals.
//
// Credentials and tokens: challenges are parsed and tokens fetched by containerd's package, with tokens kept for each
// repository and fetched before they are asked for once the upstream's challenge is known. Credentials go to the
// upstream's own origin and to token realms that distribution accepts (the same host, or the same registrable domain;
// https://github.com/distribution/distribution/blob/v3.1.2/registry/proxy/proxyauth.go), and never from https down to
// http; other realms are asked anonymously. A token goes to the origin that it was issued for and no further. The
// round trippers enforce that, whatever headers a redirect would carry. What is refused with credentials is tried once
// without: a wrong password must not break public images.
//
// Files are read again by content, at most once a second and only on use: Kubernetes swaps them through symlinks,
// which a watch on the file misses. What cannot be used leaves the last good content in force.
//
// No error and no log line holds a credential, a token or a query string: errors of other packages are reduced to
// text before anything that they quote.
package upstream

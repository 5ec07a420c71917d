// Package client pulls from a registry as a node does, and tells what came of it: status, bytes, times, and whether the
// content is what its digest says.
//
// Client is one node with its own connections; Get and Head make one request, Pull takes an image as containerd does:
// HEAD for the tag, GET of the manifest by digest, then the configuration and three layers at a time. Nothing is retried
// and nothing is hidden: an Answer keeps what happened, also half an answer.
package client

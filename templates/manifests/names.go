package manifests

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

const (
	namePrefix = "registry-"

	// maxNameLength leaves room for what the StatefulSet controller appends in the label controller-revision-hash
	// (https://github.com/kubernetes/kubernetes/issues/64023): 63 characters less a dash and ten of the hash.
	maxNameLength = 52

	nameHashLength = 8

	dockerHub    = "docker.io"
	dockerHubURL = "https://registry-1.docker.io"
)

var (
	// plainUpstream are the upstreams whose dots can become dashes without loss.
	plainUpstream = regexp.MustCompile(`^[a-z0-9]+(\.[a-z0-9]+)*$`)
	notInName     = regexp.MustCompile(`[^a-z0-9]+`)
)

// ServiceName returns the name of a cache's Service, StatefulSet and Secret: a DNS-1035 label of at most 52
// characters. Upstreams of letters, digits and dots keep their form: docker.io is registry-docker-io. Others, and
// long ones, get two dashes and a hash of the whole upstream, which the first form never holds, so two upstreams do
// not meet in one name. The name of node-sync is nobody else's: labels that select Pods are made of these names.
func ServiceName(upstream string) string {
	plain := namePrefix + strings.ReplaceAll(upstream, ".", "-")
	if plainUpstream.MatchString(upstream) && len(plain) <= maxNameLength && plain != NodeSyncName {
		return plain
	}
	sum := sha256.Sum256([]byte(upstream))
	suffix := "--" + hex.EncodeToString(sum[:])[:nameHashLength]
	base := namePrefix + notInName.ReplaceAllString(upstream, "-")
	base = base[:min(len(base), maxNameLength-len(suffix))]
	return strings.TrimRight(base, "-") + suffix
}

// RemoteURL returns where a cache pulls from: what the spec says, else https and the upstream. Docker Hub answers
// under another name than its images have.
func RemoteURL(cache addonsv1.Cache) string {
	switch {
	case cache.RemoteURL != "":
		return cache.RemoteURL
	case cache.Upstream == dockerHub:
		return dockerHubURL
	default:
		return "https://" + cache.Upstream
	}
}

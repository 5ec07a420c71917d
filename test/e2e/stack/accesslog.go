package stack

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Request is one line of the access log of an upstream.
type Request struct {
	Time   time.Time
	Method string
	Path   string
	Status int
	// Bytes is the size of the body that was sent. For HEAD it is what a GET would have sent.
	Bytes int64
}

// Blob tells whether the request was for a blob, and not for a manifest or the API version.
func (r Request) Blob() bool { return strings.Contains(r.Path, "/blobs/") }

// accessLine is what Docker puts before a line, and the combined log format after it.
var accessLine = regexp.MustCompile(`^(\S+) \S+ \S+ \S+ \[[^]]*\] "(\S+) (\S+)[^"]*" (\d{3}) (\d+|-)`)

// Requests are the requests since a point in time for anything in a repository; "" means all repositories.
func (u *Upstream) Requests(ctx context.Context, since time.Time, repository string) ([]Request, error) {
	var requests []Request
	for _, server := range u.servers() {
		log, err := docker(ctx, "logs", "--timestamps", "--since", since.UTC().Format(time.RFC3339Nano), server)
		if err != nil {
			return nil, err
		}
		parsed, err := parseAccessLog(log)
		if err != nil {
			return nil, fmt.Errorf("access log of %s: %w", server, err)
		}
		for _, r := range parsed {
			if strings.HasPrefix(r.Path, "/v2/"+repository) {
				requests = append(requests, r)
			}
		}
	}
	return requests, nil
}

// parseAccessLog reads the lines of requests and skips all others.
func parseAccessLog(log string) ([]Request, error) {
	var requests []Request
	for _, line := range strings.Split(log, "\n") {
		m := accessLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, m[1])
		if err != nil {
			return nil, fmt.Errorf("time of %q: %w", line, err)
		}
		status, err := strconv.Atoi(m[4])
		if err != nil {
			return nil, fmt.Errorf("status of %q: %w", line, err)
		}
		sent, _ := strconv.ParseInt(m[5], 10, 64) // a dash is nothing
		requests = append(requests, Request{Time: at, Method: m[2], Path: m[3], Status: status, Bytes: sent})
	}
	return requests, nil
}

package monitoring

import (
	"fmt"
	"strings"
	"time"
)

// What expressions are summed by. A cache may have several replicas, and each node goes to any of them: what clients and the upstream
// see is summed over Pods. Volumes belong to one Pod.
const (
	perCache   = "cluster, namespace, upstream"
	perPod     = "cluster, namespace, pod, upstream"
	perProcess = "cluster, namespace, pod, job"
	perSet     = "cluster, namespace, name"           // a RegistryCache, in the management cluster
	perSetItem = "cluster, namespace, name, upstream" // one of its caches
)

// oneOf are conditions of which each alone is enough, a line each.
func oneOf(conditions ...string) string { return strings.Join(conditions, "\nor\n") }

// unless is expression without the series that have the same labels by as one of others.
func unless(expression, by, others string) string {
	return fmt.Sprintf("%s\nunless on (%s)\n%s", expression, by, others)
}

// sum is over everything if by is empty.
func sum(by, expression string) string {
	if by == "" {
		return "sum(" + expression + ")"
	}
	return fmt.Sprintf("sum by (%s) (%s)", by, expression)
}

func largest(by, expression string) string { return fmt.Sprintf("max by (%s) (%s)", by, expression) }

func rate(series, window string) string { return fmt.Sprintf("rate(%s[%s])", series, window) }

func increase(series, window string) string { return fmt.Sprintf("increase(%s[%s])", series, window) }

// orZero is zero where expression has no series and like has: counters with labels begin when something is first counted, and a stock
// registry has none of registry_cache_*.
func orZero(expression, like string) string { return fmt.Sprintf("(%s or 0 * %s)", expression, like) }

// happened is true for each series that has counted within the window. A counter does not increase by what it counted before it was first
// seen, so all that a process has counted which began within the window is taken too. That a series was not there before says nothing: it
// is so after each scrape that fails, and for a new Prometheus.
func happened(series string, window time.Duration) string {
	return fmt.Sprintf("(%s > 0 or %s > 0 and on (%s) time() - process_start_time_seconds < %.0f)",
		increase(series, prometheusDuration(window)), series, perProcess, window.Seconds())
}

// throughout is true for each series of zeros and ones that has had a value for a whole window. One that began within it does not count, nor
// does one that ended five minutes ago: Pods are replaced, and nodes go. A scrape that fails in between is no end.
func throughout(series string, value int, window string) string {
	farthest := [2]string{"max", "min"}[value]
	return fmt.Sprintf("(%s_over_time(%s[%s]) == %d and present_over_time(%s[5m]) and present_over_time(%s[5m] offset %s))",
		farthest, series, window, value, series, series, window)
}

// hitRatio is the share of requests that cost the upstream no transfer of their own, from 0 to 1. It has no value without requests.
// selector is what is between the braces of each series; window is a range, with its offset if it has one.
func hitRatio(by, selector, window string) string {
	of := func(name string) string { return sum(by, "rate("+name+"{"+selector+"}"+window+")") }
	hits := of("registry_proxy_hits_total")
	return fmt.Sprintf("(%s\n  + %s)\n/ (%s > 0)",
		hits, orZero(of("registry_cache_coalesced_requests_total"), hits), of("registry_proxy_requests_total"))
}

package monitoring_test

import (
	"fmt"
	"testing"
)

// told is a series of the manager of a management cluster about the RegistryCache my-cluster, which each of them has.
func told(cluster, name, labels, values string) testSeries {
	return testSeries{
		Series: fmt.Sprintf(`capi_registry_cache_%s{cluster=%q,namespace="default",name="my-cluster",%s}`, name, cluster, labels),
		Values: values,
	}
}

// TestDashboardTellsManagementClustersApart: RegistryCaches of one name in several of them are counted each for itself.
func TestDashboardTellsManagementClustersApart(t *testing.T) {
	var series []testSeries
	for cluster, of := range map[string]struct{ ready, notReady, nodes, configured, inUse, ends string }{
		"one": {"3x90", "0x90", "10x90", "10x90", "1x90", "90000x90"},
		"two": {"1x90", "4x90", "2x90", "0x90", "0x90", "10000x90"},
	} {
		series = append(series,
			told(cluster, "caches", `state="ready"`, of.ready), told(cluster, "caches", `state="not_ready"`, of.notReady),
			told(cluster, "nodes", "", of.nodes), told(cluster, "nodes_configured", "", of.configured),
			told(cluster, "in_use", `upstream="docker.io"`, of.inUse),
			told(cluster, "certificate_expiry_timestamp_seconds", `upstream="docker.io"`, of.ends),
			told(cluster, "condition", `type="CachesAvailable",status="False",reason="NotAvailable"`, "1x90"))
	}
	set := func(cluster string, value float64) sample {
		return sample{Labels: fmt.Sprintf(`{cluster=%q, namespace="default", name="my-cluster"}`, cluster), Value: value}
	}
	cache := func(cluster string, value float64) sample {
		return sample{Labels: fmt.Sprintf(`{cluster=%q, namespace="default", name="my-cluster", upstream="docker.io"}`, cluster), Value: value}
	}
	whole := func(value float64) []sample { return []sample{{Labels: "{}", Value: value}} }
	showsAfter80Minutes(t, series, map[string][][]sample{
		"Caches ready":                {whole(0.5)},
		"Nodes configured":            {whole(10. / 12)},
		"Caches in use":               {whole(0.5)},
		"Conditions that are False":   {{{Labels: `{type="CachesAvailable"}`, Value: 2}, {Labels: `{type="none"}`}}},
		"Nodes of Clusters":           {{set("one", 10), set("two", 2)}, {set("one", 10), set("two", 0)}},
		"Time until certificates end": {{cache("one", 90000-80*60), cache("two", 10000-80*60)}},
	})
}

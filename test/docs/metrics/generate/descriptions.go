package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/capi-registry-cache/capi-registry-cache/controllers/metrics"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/webhooks"
	cachemetrics "github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
	nodesync "github.com/capi-registry-cache/capi-registry-cache/workload/nodesync/metrics"
)

// description is a metric as it is registered.
type description struct {
	name, help, kind string
	labels           []string
	// values are those of labels that have series from the start.
	values map[string][]string
	// samples is how many lines Prometheus reads for a set of labels: one, more of a histogram.
	samples int
}

// parts are those of a prometheus.Desc, which shows them in no other way.
var parts = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*"), constLabels: \{\}, variableLabels: \{([a-z_,]*)\}\}$`)

func cacheDescriptions() ([]description, error) {
	return describe(prometheus.DefaultGatherer, cachemetrics.All...)
}

func managerDescriptions() ([]description, error) {
	return describe(ctrlmetrics.Registry, append([]prometheus.Collector{&metrics.Collector{}, webhooks.Injections}, metrics.Phases...)...)
}

func nodeSyncDescriptions() []description {
	var all []description
	for _, m := range nodesync.All {
		all = append(all, description{name: m.Name, help: m.Help, kind: string(m.Type), labels: m.Labels, samples: 1})
	}
	return all
}

// describe are the metrics of some collectors, in their order, with the values that a registry has of them from the start.
func describe(registry prometheus.Gatherer, collectors ...prometheus.Collector) ([]description, error) {
	families, err := registry.Gather()
	if err != nil {
		return nil, fmt.Errorf("reading the metrics that are registered: %w", err)
	}
	var all []description
	for _, c := range collectors {
		kind, samples, err := kindOf(c)
		if err != nil {
			return nil, err
		}
		for _, d := range descs(c) {
			match := parts.FindStringSubmatch(d.String())
			if match == nil {
				return nil, fmt.Errorf("%s is not understood", d)
			}
			found := description{kind: kind, samples: samples}
			found.name, _ = strconv.Unquote(match[1])
			found.help, _ = strconv.Unquote(match[2])
			if match[3] != "" {
				found.labels = strings.Split(match[3], ",")
			}
			found.values = valuesIn(families, found.name)
			all = append(all, found)
		}
	}
	return all, nil
}

func descs(c prometheus.Collector) []*prometheus.Desc {
	channel := make(chan *prometheus.Desc)
	go func() { c.Describe(channel); close(channel) }()
	var all []*prometheus.Desc
	for d := range channel {
		all = append(all, d)
	}
	return all
}

// kindOf is the type of the metrics of a collector.
func kindOf(c prometheus.Collector) (kind string, samples int, err error) {
	switch c := c.(type) {
	case *prometheus.CounterVec:
		return "counter", 1, nil
	case prometheus.Gauge, *metrics.Collector:
		return "gauge", 1, nil
	case *prometheus.HistogramVec:
		samples, err := samplesOf(c)
		return "histogram", samples, err
	default:
		return "", 0, fmt.Errorf("the type of the metrics of a %T is not known", c)
	}
}

// samplesOf are the buckets of a histogram, the last of which has no end, its sum and its count.
func samplesOf(vec *prometheus.HistogramVec) (int, error) {
	names := strings.Split(parts.FindStringSubmatch(descs(vec)[0].String())[3], ",")
	observer, err := vec.GetMetricWithLabelValues(make([]string, len(names))...)
	if err != nil {
		return 0, err
	}
	defer vec.DeleteLabelValues(make([]string, len(names))...)
	metric, ok := observer.(prometheus.Metric)
	if !ok {
		return 0, fmt.Errorf("a %T is no metric", observer)
	}
	written := &dto.Metric{}
	if err := metric.Write(written); err != nil {
		return 0, err
	}
	return len(written.GetHistogram().GetBucket()) + 3, nil
}

func valuesIn(families []*dto.MetricFamily, name string) map[string][]string {
	values := map[string][]string{}
	for _, f := range families {
		for _, m := range f.Metric {
			for _, pair := range m.Label {
				if f.GetName() == name && !slices.Contains(values[pair.GetName()], pair.GetValue()) {
					values[pair.GetName()] = append(values[pair.GetName()], pair.GetValue())
				}
			}
		}
	}
	return values
}

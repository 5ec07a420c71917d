package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/counters"
	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/reach"
)

// savingsOptions are the flags of savings.
type savingsOptions struct {
	since, watch         string
	prometheus, matchers string
	output               string
	// sinceTime and watchTime are what the first two mean.
	sinceTime, watchTime time.Duration
}

func (p *plugin) savings(called string) *cobra.Command {
	o := &savingsOptions{}
	c := &cobra.Command{
		Use:   "savings CLUSTER",
		Short: "Show what the caches of a Cluster save",
		Long: `Show what the caches of a Cluster save: what nodes were given, what the caches fetched for it, and the difference.

Caches count since their processes started, and the counters of a Pod that is gone are gone. So there are three answers:
  without flags  since the start of each cache
  --watch 1m     what is counted from now on, for that time
  --since 24h    what a Prometheus that scrapes the caches has seen of the time before now, with --prometheus URL

Bytes are those of blobs and manifests, without headers and TLS.`,
		Example: examples(called, "PLUGIN savings my-cluster", "PLUGIN savings my-cluster --watch 1m",
			"PLUGIN savings my-cluster --since 7d --prometheus http://localhost:9090"),
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return p.showSavings(c.Context(), args[0], o)
		},
	}
	c.Flags().StringVar(&o.since, "since", "", "How far to look back, such as 24h or 7d. It needs --prometheus.")
	c.Flags().StringVar(&o.watch, "watch", "", "Count for this long, such as 1m, and show what was counted.")
	c.Flags().StringVar(&o.prometheus, "prometheus", "", "URL of a Prometheus that scrapes the caches, with the target labels namespace and upstream.")
	c.Flags().StringVar(&o.matchers, "matchers", "", `Matchers that select the Cluster in Prometheus. The default is cluster=~"CLUSTER|", which also takes what has no label cluster.`)
	c.Flags().StringVarP(&o.output, "output", "o", outputTable, "Format: json or yaml.")
	p.addWorkloadKubeconfig(c)
	return c
}

func (o *savingsOptions) validate() error {
	if err := checkOutput(o.output, outputTable, outputJSON, outputYAML); err != nil {
		return err
	}
	for flag, f := range map[string]struct {
		value string
		into  *time.Duration
	}{"since": {o.since, &o.sinceTime}, "watch": {o.watch, &o.watchTime}} {
		if f.value == "" {
			continue
		}
		parsed, err := model.ParseDuration(f.value)
		if err != nil || parsed <= 0 {
			return fmt.Errorf("--%s: %q is not a time; accepted are values such as 30s, 24h or 7d", flag, f.value)
		}
		*f.into = time.Duration(parsed)
	}
	switch {
	case o.since != "" && o.watch != "":
		return errors.New("--since and --watch: accepted is one of both")
	case o.since != "" && o.prometheus == "":
		return errors.New("--since: caches know nothing but what they counted since they started; accepted is --since with --prometheus URL")
	case o.since == "" && o.prometheus != "":
		return errors.New("--prometheus: accepted is with --since, such as --since 24h")
	}
	return nil
}

func (p *plugin) showSavings(ctx context.Context, name string, o *savingsOptions) error {
	management, namespace, err := p.management()
	if err != nil {
		return err
	}
	rc := &v1alpha1.RegistryCache{}
	if err := management.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, rc); err != nil {
		return fmt.Errorf("reading RegistryCache %s/%s: %w", namespace, name, err)
	}
	if len(rc.Spec.Caches) == 0 {
		return fmt.Errorf("RegistryCache %s/%s has mirrors only, which count nothing; accepted is one with caches", namespace, name)
	}
	savings, err := p.find(ctx, management, rc, o)
	if err != nil {
		return err
	}
	if o.output != outputTable {
		return printObject(p.Out, o.output, viewOf(rc, savings))
	}
	return p.printSavings(savings, time.Now())
}

// find gets the numbers from where the flags say.
func (p *plugin) find(ctx context.Context, management client.Client, rc *v1alpha1.RegistryCache, o *savingsOptions) (counters.Savings, error) {
	if o.sinceTime > 0 {
		matchers := o.matchers
		if matchers == "" {
			matchers = fmt.Sprintf("cluster=~%q", rc.Name+"|")
		}
		return counters.Prometheus{URL: o.prometheus, Matchers: matchers}.Increase(ctx, rc, o.sinceTime, time.Now())
	}
	workload, err := reach.Connect(ctx, management, client.ObjectKeyFromObject(rc), p.workloadKubeconfig)
	if err != nil {
		return counters.Savings{}, err
	}
	earlier, err := p.readCounters(ctx, workload, rc)
	if err != nil || o.watchTime == 0 {
		return earlier, err
	}
	began := time.Now()
	if terminal(p.ErrOut) {
		p.warn("counting until %s", began.Add(o.watchTime).Format(time.TimeOnly))
	}
	select {
	case <-ctx.Done():
	case <-time.After(o.watchTime):
	}
	later, err := p.readCounters(context.WithoutCancel(ctx), workload, rc)
	return counters.Between(earlier, later, began), err
}

// readCounters goes on without Pods that do not answer, if any does.
func (p *plugin) readCounters(ctx context.Context, workload *reach.Workload, rc *v1alpha1.RegistryCache) (counters.Savings, error) {
	if err := workload.Answers(ctx); err != nil { // else each Pod would be waited for
		return counters.Savings{}, fmt.Errorf("asking the workload cluster of Cluster %s: %w", client.ObjectKeyFromObject(rc), err)
	}
	savings, err := counters.Read(ctx, workload.Pods, rc)
	for _, cache := range savings.Caches {
		if cache.Answered > 0 {
			if err != nil {
				p.warn("Warning: some Pods are missing in the numbers: %v", err)
			}
			return savings, nil
		}
	}
	return savings, err
}

// view is Savings with what follows from them.
type view struct {
	Namespace string    `json:"namespace"`
	Cluster   string    `json:"cluster"`
	Caches    []viewRow `json:"caches"`
	Total     viewSums  `json:"total"`
}

type viewRow struct {
	counters.Cache
	viewSaved
}

type viewSums struct {
	counters.Counts
	viewSaved
}

type viewSaved struct {
	SavedBytes    int64    `json:"savedBytes"`
	SavedRequests *int64   `json:"savedRequests,omitempty"`
	HitRatio      *float64 `json:"hitRatio,omitempty"`
}

func viewOf(rc *v1alpha1.RegistryCache, savings counters.Savings) view {
	v := view{Namespace: rc.Namespace, Cluster: rc.Name, Caches: []viewRow{}, Total: viewSums{savings.Total, savedOf(savings.Total)}}
	for _, cache := range savings.Caches {
		v.Caches = append(v.Caches, viewRow{cache, savedOf(cache.Counts)})
	}
	return v
}

func savedOf(c counters.Counts) viewSaved {
	return viewSaved{c.SavedBytes(), c.SavedRequests(), c.HitRatio()}
}

func (p *plugin) printSavings(savings counters.Savings, now time.Time) error {
	columns := []column{{name: "Upstream"}, {name: "Served"}, {name: "Fetched"}, {name: "Saved"}, {name: "Saved %"}, {name: "Requests"}, {name: "To upstream"}, {name: "Hit ratio"}, {name: "Since"}}
	var rows [][]string
	for _, cache := range savings.Caches {
		if cache.Silent() {
			rows = append(rows, []string{cache.Upstream, "-", "-", "-", "-", "-", "-", "-", "-"})
			continue
		}
		since := "-"
		if cache.Since != nil {
			since = duration.HumanDuration(now.Sub(cache.Since.Time))
		}
		rows = append(rows, savingsCells(cache.Upstream, cache.Counts, since))
	}
	if len(rows) > 1 {
		rows = append(rows, savingsCells("all", savings.Total, ""))
	}
	return printTable(p.Out, false, columns, rows, nil)
}

func savingsCells(name string, c counters.Counts, since string) []string {
	var share *float64
	if c.ServedBytes > 0 {
		share = new(float64(c.SavedBytes()) / float64(c.ServedBytes))
	}
	sent := "-"
	if c.UpstreamRequests != nil {
		sent = fmt.Sprint(*c.UpstreamRequests)
	}
	return []string{
		name, byteSize(c.ServedBytes), byteSize(c.FetchedBytes), byteSize(c.SavedBytes()), percent(share), fmt.Sprint(c.Requests), sent, percent(c.HitRatio()), since,
	}
}

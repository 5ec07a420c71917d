package stack

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"

	"sigs.k8s.io/yaml"
)

const (
	tokenFile  = "manager.token"
	managerJob = "registry-cache-manager"

	// scrapeInterval is shorter than anybody's, for specs that wait.
	scrapeInterval = "5s"
)

// scraped is a cluster whose Pods are scraped. Pods of the management cluster, which has no name here, are reached as they are, those of
// others by way of their API server at host, https://address:port; the directory of Prometheus has CA, certificate and key for it.
type scraped struct{ name, host string }

// object is a mapping of YAML.
type object = map[string]any

// discovery is what the configuration of this project asks of Kubernetes' service discovery.
type discovery struct {
	Role      string     `json:"role"`
	Selectors []selector `json:"selectors"`
}

type selector struct {
	Role  string `json:"role"`
	Label string `json:"label"`
}

// prometheusConfig makes of the configuration of this project one for Debian's Prometheus, which is built without Kubernetes' service
// discovery: it asks for the same at a URL (serveTargets). The job of the manager is for the management cluster, each other one is there for each of the
// workload clusters. What jobs say of targets, their relabelling, stays as it is.
func prometheusConfig(base []byte, dir, targets string, workloads []scraped) ([]byte, error) {
	config := struct {
		Global  object   `json:"global"`
		Scrapes []object `json:"scrape_configs"`
	}{}
	if err := yaml.UnmarshalStrict(base, &config); err != nil {
		return nil, fmt.Errorf("reading the configuration of Prometheus: %w", err)
	}
	config.Global["scrape_interval"], config.Global["scrape_timeout"] = scrapeInterval, scrapeInterval
	var jobs []object
	for _, job := range config.Scrapes {
		if job["job_name"] == managerJob {
			made, err := discovering(job, targets, scraped{})
			if err != nil {
				return nil, err
			}
			made["authorization"] = object{"credentials_file": path.Join(dir, tokenFile)}
			jobs = append(jobs, made)
			continue
		}
		for _, c := range workloads {
			made, err := c.job(job, dir, targets)
			if err != nil {
				return nil, err
			}
			jobs = append(jobs, made)
		}
	}
	config.Scrapes = jobs
	return yaml.Marshal(config)
}

// discovering is a job that asks for its targets at a URL.
func discovering(job object, targets string, c scraped) (object, error) {
	asked := struct {
		Discoveries []discovery `json:"kubernetes_sd_configs"`
	}{}
	if err := convert(object{"kubernetes_sd_configs": job["kubernetes_sd_configs"]}, &asked); err != nil {
		return nil, err
	}
	d := asked.Discoveries
	if len(d) != 1 || d[0].Role != "pod" || len(d[0].Selectors) != 1 || d[0].Selectors[0].Role != "pod" || d[0].Selectors[0].Label == "" {
		return nil, fmt.Errorf("job %v: kubernetes_sd_configs are %+v; accepted is one, of role pod, with a selector of labels", job["job_name"], d)
	}
	made := maps.Clone(job)
	delete(made, "kubernetes_sd_configs")
	query := url.Values{"cluster": {c.name}, "label": {d[0].Selectors[0].Label}}
	made["http_sd_configs"] = []any{object{"url": targets + "?" + query.Encode(), "refresh_interval": scrapeInterval}}
	return made, nil
}

// job is a job for a workload cluster. Where a target is, the job says; then the same is asked of the API server.
func (c scraped) job(job object, dir, targets string) (object, error) {
	host, err := url.Parse(c.host)
	if err != nil {
		return nil, fmt.Errorf("address of the API server of %s: %w", c.name, err)
	}
	rules, ok := job["relabel_configs"].([]any)
	if !ok {
		return nil, errors.New("a job without relabel_configs")
	}
	made, err := discovering(job, targets, c)
	if err != nil {
		return nil, err
	}
	made["job_name"] = fmt.Sprintf("%s/%s", job["job_name"], c.name)
	made["tls_config"] = object{
		"ca_file": path.Join(dir, c.name+".ca"), "cert_file": path.Join(dir, c.name+".crt"), "key_file": path.Join(dir, c.name+".key"),
	}
	made["relabel_configs"] = append(append([]any{}, rules...),
		object{"source_labels": []string{"__address__"}, "target_label": "instance"},
		object{
			"source_labels": []string{"__meta_kubernetes_namespace", "__scheme__", "__meta_kubernetes_pod_name", "__address__", "__metrics_path__"},
			"regex":         `(.+);(.+);(.+);.*:(\d+);(.+)`, "replacement": "/api/v1/namespaces/$1/pods/$2:$3:$4/proxy$5", "target_label": "__metrics_path__",
		},
		object{"replacement": "https", "target_label": "__scheme__"},
		object{"replacement": host.Host, "target_label": "__address__"},
		object{"replacement": job["job_name"], "target_label": "job"},
		object{"replacement": c.name, "target_label": "cluster"},
	)
	return made, nil
}

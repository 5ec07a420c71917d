package doctor

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// State is what is known of a link.
type State string

const (
	// OK links are as they should be.
	OK State = "ok"
	// Broken is the first link that is not.
	Broken State = "broken"
	// NotChecked links could not be looked at, need not be, or come after one that is broken.
	NotChecked State = "not checked"
)

// Finding is what was found at a link.
type Finding struct {
	Link  string `json:"link"`
	State State  `json:"state"`
	// Message says what was seen, Remedy what to do; several lines each, perhaps.
	Message string `json:"message,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
}

// Report is a whole walk.
type Report struct {
	Namespace string `json:"namespace"`
	Cluster   string `json:"cluster"`
	// Healthy says that no link is broken, and that all were looked at, but for those that need no look or a right that is missing.
	Healthy bool      `json:"healthy"`
	Links   []Finding `json:"links"`
}

// finding is a Finding without the name of its link.
type finding struct {
	state           State
	message, remedy string
}

// link looks at one thing. An error is a request that failed; what is wrong with the Cluster is a finding.
type link func(ctx context.Context, s *subject) (finding, error)

// chain is the order of the links. Each may rely on what those before it put into the subject, unless they were not checked.
var chain = []struct {
	name  string
	check link
}{
	{"RegistryCache", registryCache},
	{"manager", manager},
	{"spec", specification},
	{"addresses", addresses},
	{"webhook", webhook},
	{"injection", injection},
	{"workload cluster", workloadCluster},
	{"objects", objects},
	{"endpoints", endpoints},
	{"volumes", volumes},
	{"certificates", certificates},
	{"credentials", credentials},
	{"node-sync", nodeSync},
	{"containerd", containerd},
	{"hosts.toml", hostsFiles},
	{"reach", reached},
	{"pull", pulled},
	{"counters", counted},
	{"use", used},
}

// Run walks the chain. Told hears of each link when it is known. The error is that of a request that failed for another reason than a
// missing right: the links from there on are not checked. Or it says that the workload cluster was not reached, or that a pull was not made.
func Run(ctx context.Context, o Options, told func(Finding)) (Report, error) {
	s := &subject{Options: o.withDefaults()}
	report := Report{Namespace: o.Cluster.Namespace, Cluster: o.Cluster.Name, Healthy: true}
	tell := func(f Finding) {
		report.Links = append(report.Links, f)
		told(f)
	}
	var failed error
	for _, l := range chain {
		if !report.Healthy || failed != nil {
			tell(Finding{Link: l.name, State: NotChecked})
			continue
		}
		found, err := l.check(ctx, s)
		if err != nil {
			found, failed = failure(l.name, err)
		}
		if s.cluster == nil && found.state == NotChecked {
			failed = fmt.Errorf("%s: %w", l.name, err) // there is nothing to go on with
		}
		if found.state == Broken && s.paused != "" && found.remedy != "" {
			found.remedy += "\n" + s.paused
		}
		report.Healthy = found.state != Broken
		tell(Finding{Link: l.name, State: found.state, Message: found.message, Remedy: found.remedy})
	}
	if report.Healthy && failed == nil {
		failed = s.unknown
	}
	report.Healthy = report.Healthy && failed == nil
	return report, failed
}

// failure tells a missing right, which ends nothing, from other errors.
func failure(name string, err error) (finding, error) {
	if apierrors.IsForbidden(err) {
		return unchecked("a right is missing: %v", err), nil
	}
	return unchecked("%v", err), fmt.Errorf("%s: %w", name, err)
}

func ok(format string, args ...any) finding {
	return finding{state: OK, message: fmt.Sprintf(format, args...)}
}

func unchecked(format string, args ...any) finding {
	return finding{state: NotChecked, message: fmt.Sprintf(format, args...)}
}

func broken(message, remedy string) finding {
	return finding{state: Broken, message: message, remedy: remedy}
}

// there tells whether an object exists.
func there(ctx context.Context, c client.Reader, obj client.Object) (bool, error) {
	err := c.Get(ctx, client.ObjectKeyFromObject(obj), obj)
	return err == nil, client.IgnoreNotFound(err)
}

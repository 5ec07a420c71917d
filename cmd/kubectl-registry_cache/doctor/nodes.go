package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

const (
	// nodesAtATime is how many nodes are asked at the same time.
	nodesAtATime = 10
	reportPath   = "/report"
)

// Reasons and states in the report of a node, as workload/nodesync and the node script have them.
const (
	reasonConflict    = "Conflict"
	reasonUnsupported = "Unsupported"
	reasonNoSystemd   = "NoSystemd"
	reasonWriteFailed = "WriteFailed"
	stateWaiting      = "waiting"
	stateActive       = "active"

	nodeUnit = "configure-containerd-registries"
)

// node is what is known of one.
type node struct {
	name string
	// absent says why nothing reports from there, if nothing does; notReady says that the node itself is not ready then.
	absent   string
	notReady bool
	report   nodeReport
}

// nodeReport is what node-sync tells of a node.
type nodeReport struct {
	TakenOver bool              `json:"takenOver"`
	Upstreams map[string]string `json:"upstreams"`
	Problems  []problem         `json:"problems"`
}

type problem struct{ Reason, Upstream, Message string }

// nodeSync makes sure that somebody looks after the nodes, and that their unit does as it is told.
func nodeSync(ctx context.Context, s *subject) (finding, error) {
	if f, not := s.notReached(); not {
		return f, nil
	}
	if s.rc.Spec.Nodes.Existing == v1alpha1.ExistingNodesIgnore {
		return unchecked("spec.nodes.existing is Ignore, so nothing reports from nodes; on a node: cat /run/capi-registry-cache/state"), nil
	}
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: s.rc.Spec.Namespace, Name: manifests.NodeSyncName}}
	found, err := there(ctx, s.workload.Client, set)
	if err != nil {
		return finding{}, err
	}
	if !found {
		return broken(fmt.Sprintf("there is no DaemonSet %s/%s, so nodes are told nothing new", set.Namespace, set.Name), s.madeAnew()), nil
	}
	if err := s.lookAtNodes(ctx, set.Spec.Template.Annotations[manifests.GenerationAnnotation]); err != nil {
		return finding{}, err
	}
	if troubles := s.troubles(unitTrouble); len(troubles) > 0 {
		return broken(list(troubles), s.nodeRemedy(troubles)), nil
	}
	switch {
	case len(s.notReady) == 0:
		return ok("%d node(s) report that their unit does as it is told", len(s.nodes)), nil
	case len(s.nodes) == 0:
		return broken("no node is ready, such as "+s.notReady[0], s.there("describe node "+s.notReady[0])), nil
	}
	return ok("%d node(s) report that their unit does as it is told; %d are not ready, such as %s, and were left out", len(s.nodes), len(s.notReady), s.notReady[0]), nil
}

// lookAtNodes asks node-sync on every Linux node, or on the one that was named.
func (s *subject) lookAtNodes(ctx context.Context, generation string) error {
	nodes, pods := &metav1.PartialObjectMetadataList{}, &corev1.PodList{} // whole nodes are large, with their lists of images
	nodes.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NodeList"))
	if err := s.workload.Client.List(ctx, nodes, client.MatchingLabels{corev1.LabelOSStable: string(corev1.Linux)}); err != nil {
		return err
	}
	if err := s.workload.Client.List(ctx, pods, client.InNamespace(s.rc.Spec.Namespace), client.MatchingLabels(manifests.NodeSyncSelector())); err != nil {
		return err
	}
	looked := []node{}
	for _, n := range nodes.Items {
		if s.Node == "" || n.Name == s.Node {
			looked = append(looked, node{name: n.Name})
		}
	}
	if s.Node != "" && len(looked) == 0 {
		return fmt.Errorf("there is no Linux node %s among %d", s.Node, len(nodes.Items))
	}
	asking, ctx := errgroup.WithContext(ctx)
	asking.SetLimit(nodesAtATime)
	for i := range looked {
		asking.Go(func() error { return s.ask(ctx, &looked[i], pods.Items, generation) })
	}
	if err := asking.Wait(); err != nil {
		return err
	}
	slices.SortFunc(looked, func(a, b node) int { return strings.Compare(a.name, b.name) })
	s.nodes = looked[:0]
	for _, n := range looked {
		if n.notReady {
			s.notReady = append(s.notReady, n.name)
		} else {
			s.nodes = append(s.nodes, n)
		}
	}
	return nil
}

// ask takes the report of a node, or says why there is none: because of node-sync, or of the node itself.
func (s *subject) ask(ctx context.Context, n *node, pods []corev1.Pod, generation string) error {
	if err := s.report(ctx, n, pods, generation); err != nil || n.absent == "" {
		return err
	}
	status := &corev1.Node{}
	if err := s.workload.Client.Get(ctx, client.ObjectKey{Name: n.name}, status); err != nil {
		return client.IgnoreNotFound(err)
	}
	n.notReady = slices.ContainsFunc(status.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue
	})
	return nil
}

func (s *subject) report(ctx context.Context, n *node, pods []corev1.Pod, generation string) error {
	i := slices.IndexFunc(pods, func(p corev1.Pod) bool {
		return p.Spec.NodeName == n.name && p.Annotations[manifests.GenerationAnnotation] == generation && p.DeletionTimestamp.IsZero()
	})
	if i < 0 {
		n.absent = "node-sync does not run there with the desired state that it should have"
		return nil
	}
	document, err := s.workload.Pods.Get(ctx, client.ObjectKeyFromObject(&pods[i]), manifests.NodeSyncPort, reportPath)
	if apierrors.IsForbidden(err) {
		return err
	}
	if err == nil {
		err = json.Unmarshal(document, &n.report)
	}
	if err == nil {
		return nil
	}
	n.absent = fmt.Sprintf("node-sync does not answer: %v", err)
	if message, _, podErr := podTrouble(ctx, s.workload.Client, &pods[i]); podErr == nil && !ready(&pods[i]) {
		n.absent = "the Pod of node-sync " + message
	}
	return nil
}

// troubles are what a look finds at nodes, of the first few.
func (s *subject) troubles(look func(node) []string) []string {
	var all []string
	more := 0
	for _, n := range s.nodes {
		found := list(look(n))
		switch {
		case found == "":
		case len(all) == named:
			more++
		default:
			all = append(all, "node "+n.name+": "+strings.ReplaceAll(found, "\n", "; "))
		}
	}
	if more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return all
}

// unitTrouble is all that neither a hosts.toml of somebody else nor containerd is to blame for.
func unitTrouble(n node) []string {
	if n.absent != "" {
		return []string{n.absent}
	}
	return problems(n, func(p problem) bool { return p.Reason != reasonConflict && p.Reason != reasonUnsupported })
}

func problems(n node, which func(problem) bool) []string {
	var all []string
	for _, p := range n.report.Problems {
		if !which(p) {
			continue
		}
		message := p.Message
		if p.Reason == reasonConflict {
			message = p.Upstream + ": " + message
		}
		if p.Reason == reasonNoSystemd || p.Reason == reasonWriteFailed {
			message = p.Reason + ": " + message
		}
		all = append(all, message)
	}
	return all
}

func (s *subject) nodeRemedy(troubles []string) string {
	text := strings.Join(troubles, "\n")
	switch {
	case strings.Contains(text, reasonNoSystemd):
		return "node-sync starts the unit over the node's system bus: is systemd there, and its socket /run/dbus/system_bus_socket?"
	case strings.Contains(text, reasonWriteFailed):
		return "Look on the node at what stands in the way of that file, such as a directory of its name or a file system that is read-only or full, and remove it; node-sync tries again every ten seconds"
	case strings.Contains(text, "node-sync"):
		return "Its Events say why: " + s.there("describe pods -l "+v1alpha1.InstanceLabel+"="+manifests.NodeSyncName)
	}
	return fmt.Sprintf("On the node: systemctl status %s; journalctl -u %s", nodeUnit, nodeUnit)
}

func (s *subject) noReports() (finding, bool) {
	return unchecked("nothing reports from nodes"), s.nodes == nil
}

// containerd makes sure that its effective configuration has it read the directory, as the unit on each node finds it.
func containerd(_ context.Context, s *subject) (finding, error) {
	if f, not := s.noReports(); not {
		return f, nil
	}
	troubles := s.troubles(func(n node) []string {
		return problems(n, func(p problem) bool { return p.Reason == reasonUnsupported })
	})
	if len(troubles) == 0 {
		return ok("reads %s, and nothing else", s.rc.Spec.Nodes.CertsDir), nil
	}
	var remedies []string
	for _, trouble := range troubles {
		remedies = append(remedies, s.containerdRemedy(trouble))
	}
	return broken(list(troubles), list(remedies)), nil
}

// containerdRemedy goes by what the unit says.
func (s *subject) containerdRemedy(trouble string) string {
	dir := s.rc.Spec.Nodes.CertsDir
	for _, r := range []struct{ said, remedy string }{
		{"drain and reboot", "The unit sets it when a node boots: drain and reboot the node, or replace its Machine. Images of image-builder have it set"},
		{"exclude config_path", "Let hosts.toml files below " + dir + ", or spec.mirrors, say what registry.mirrors and registry.configs.*.tls in containerd's configuration say; take those out; then drain and reboot the node, " +
			"or replace its Machine. Do not set config_path beside them: containerd's CRI plugin would not start"},
		{"would no longer read", "Move those files to the same place below " + dir + ", then drain and reboot the node, or replace its Machine"},
		{"containerd was not found", "The unit looks for containerd on the PATH, and at the program that runs as containerd.service: what runs the containers there? See docs/nodes.md"},
		{"containerd does not read", "That configuration is broken, without the caches, too: on the node, journalctl -u containerd says where"},
		{"could not be set", "The configuration cannot be written and imports nothing, or containerd does not start with it: set config_path to \"" + dir + "\" in the node image"},
		{"curl was not found", "Install curl on the node, and into its image; the unit takes over within seconds"},
	} {
		if strings.Contains(trouble, r.said) {
			return r.remedy
		}
	}
	return fmt.Sprintf("Set config_path of containerd to %q alone, in its configuration on the node, and restart containerd; or let spec.nodes.certsDir be the one directory that it has (docs/nodes.md). "+
		"From containerd 2.1 on, mirrors are ignored without a word while it is a list", dir)
}

// hostsFiles makes sure that nobody else rules an upstream.
func hostsFiles(_ context.Context, s *subject) (finding, error) {
	if f, not := s.noReports(); not {
		return f, nil
	}
	troubles := s.troubles(func(n node) []string {
		return problems(n, func(p problem) bool { return p.Reason == reasonConflict })
	})
	if len(troubles) > 0 {
		return broken(list(troubles), "Remove that file, link or certificate from the node, and from whatever puts it there; the unit takes over within seconds. Or leave it: then it wins, and the cache is not used there"), nil
	}
	return ok("no hosts.toml of somebody else is in the way"), nil
}

// reached makes sure that nodes get an answer of the caches: what was found so far was seen from elsewhere.
func reached(_ context.Context, s *subject) (finding, error) {
	if f, not := s.noReports(); not {
		return f, nil
	}
	troubles := s.troubles(func(n node) []string {
		var waiting []string
		for upstream, state := range n.report.Upstreams {
			if state == stateWaiting {
				endpoint := ""
				if status := s.status(upstream); status != nil {
					endpoint = " at " + status.Endpoint
				}
				waiting = append(waiting, "the cache of "+upstream+endpoint+" does not answer it")
			}
		}
		slices.Sort(waiting)
		return waiting
	})
	if len(troubles) > 0 {
		return broken(list(troubles), "Ready Pods that a node does not reach: does it reach Service addresses (kube-proxy, network plugin, NetworkPolicy, docs/access.md)? On the node: cat /run/capi-registry-cache/state, and ask the address with curl (docs/troubleshooting.md)"), nil
	}
	return ok("every node gets an answer of every cache"), nil
}

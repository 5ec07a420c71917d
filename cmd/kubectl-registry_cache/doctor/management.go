package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// What an installation of this project looks like (config/default, main.go).
const (
	providerName     = "addon-registry-cache"
	defaultNamespace = "capi-registry-cache-system"
	leaseName        = "capi-registry-cache-manager-leader-election"
)

// registryCache makes sure that there is something to look at, and that nobody is taking it away.
func registryCache(ctx context.Context, s *subject) (finding, error) {
	meta := metav1.ObjectMeta{Namespace: s.Cluster.Namespace, Name: s.Cluster.Name}
	cluster, rc := &clusterv1.Cluster{ObjectMeta: meta}, &v1alpha1.RegistryCache{ObjectMeta: meta}
	found, err := there(ctx, s.Management, cluster)
	if err != nil {
		return finding{}, err
	}
	if !found {
		return broken(fmt.Sprintf("there is no Cluster %s", s.Cluster), "See what there is, perhaps in another namespace: "+s.Kubectl+" get clusters -A"), nil
	}
	found, err = there(ctx, s.Management, rc)
	if apimeta.IsNoMatchError(err) {
		return broken("the API server does not know the kind RegistryCache", "Install the provider: clusterctl init --addon registry-cache"), nil
	}
	if err != nil {
		return finding{}, err
	}
	if !found {
		return broken(fmt.Sprintf("Cluster %s has no RegistryCache", s.Cluster), "Create one of the same name and namespace, or let the variable "+
			v1alpha1.ClusterVariable+" of its topology or a RegistryCacheSet make one; the status of those says what keeps them"), nil
	}
	for kind, object := range map[string]client.Object{"Cluster": cluster, "RegistryCache": rc} {
		if !object.GetDeletionTimestamp().IsZero() {
			return broken(fmt.Sprintf("%s %s is being deleted; its finalizers are %v", kind, s.Cluster, object.GetFinalizers()),
				"If it does not go away, its conditions say what is waited for: "+s.here("describe registrycache "+s.Cluster.Name)), nil
		}
	}
	s.cluster, s.rc = cluster, rc
	return s.describe(), nil
}

func (s *subject) describe() finding {
	var parts []string
	for _, cache := range s.rc.Spec.Caches {
		parts = append(parts, cache.Upstream)
	}
	message := "caches of " + strings.Join(parts, ", ")
	if len(parts) == 0 {
		message = "no caches, mirrors only"
	}
	switch {
	case ptr.Deref(s.cluster.Spec.Paused, false):
		s.paused = "The Cluster is paused (spec.paused): nothing is mended until that ends."
		message += "; the Cluster is paused"
	case metav1.HasAnnotation(s.rc.ObjectMeta, clusterv1.PausedAnnotation):
		s.paused = "The RegistryCache is paused (annotation " + clusterv1.PausedAnnotation + "): nothing is mended until that ends."
		message += "; the RegistryCache is paused"
	}
	return ok("%s", message)
}

// manager makes sure that somebody works on it.
func manager(ctx context.Context, s *subject) (finding, error) {
	deployments, err := s.managers(ctx)
	if err != nil {
		return finding{}, err
	}
	if len(deployments) == 0 {
		return broken(fmt.Sprintf("there is no Deployment with the label %s: %s", clusterv1.ProviderNameLabel, providerName),
			"Install the provider: clusterctl init --addon registry-cache"), nil
	}
	var troubles []finding
	for i := range deployments {
		found, err := s.managerRuns(ctx, &deployments[i])
		if err != nil || found.state == OK {
			return found, err
		}
		troubles = append(troubles, found)
	}
	return troubles[0], nil
}

// managers looks everywhere, or where they usually are if that is not allowed.
func (s *subject) managers(ctx context.Context) ([]appsv1.Deployment, error) {
	deployments := &appsv1.DeploymentList{}
	labels := client.MatchingLabels{clusterv1.ProviderNameLabel: providerName}
	err := s.Management.List(ctx, deployments, labels)
	if apierrors.IsForbidden(err) && s.Management.List(ctx, deployments, labels, client.InNamespace(defaultNamespace)) == nil && len(deployments.Items) > 0 {
		err = nil
	}
	return deployments.Items, err
}

func (s *subject) managerRuns(ctx context.Context, d *appsv1.Deployment) (finding, error) {
	name := fmt.Sprintf("Deployment %s/%s", d.Namespace, d.Name)
	if ptr.Deref(d.Spec.Replicas, 1) == 0 {
		return broken(name+" is scaled to 0: no manager runs", s.in(d.Namespace, "scale deployment "+d.Name+" --replicas=1")), nil
	}
	if d.Status.ReadyReplicas == 0 {
		trouble, remedy, err := podsTrouble(ctx, s.Management, d.Namespace, d.Spec.Selector.MatchLabels, s.in(d.Namespace, "get events"))
		return broken(fmt.Sprintf("%s has no Pod that is ready: %s", name, trouble), remedy+"\n"+s.in(d.Namespace, "logs deployment/"+d.Name)), err
	}
	if !elects(d) {
		return ok("%s is ready", name), nil
	}
	fresh, held, err := s.leased(ctx, d.Namespace)
	if err != nil {
		return finding{}, err
	}
	if !fresh {
		return broken(fmt.Sprintf("%s is ready, but Lease %s is not renewed: no manager leads. It was last held by %s", name, leaseName, held),
			"If a manager has just gone, wait a minute. Else: "+s.in(d.Namespace, "logs deployment/"+d.Name)), nil
	}
	return ok("%s is ready", name), nil
}

// elects tells whether its managers renew a lease. One that was left from before tells nothing.
func elects(d *appsv1.Deployment) bool {
	return slices.ContainsFunc(d.Spec.Template.Spec.Containers, func(c corev1.Container) bool {
		return slices.ContainsFunc(append(slices.Clone(c.Command), c.Args...), func(arg string) bool {
			return arg == "--leader-elect" || arg == "--leader-elect=true"
		})
	})
}

// leased tells whether a manager leads. Without leader election there is no lease.
func (s *subject) leased(ctx context.Context, namespace string) (fresh bool, holder string, err error) {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: leaseName}}
	found, err := there(ctx, s.Management, lease)
	if err != nil || !found {
		return !found, "", err
	}
	holder = ptr.Deref(lease.Spec.HolderIdentity, "nobody")
	renewed := ptr.Deref(lease.Spec.RenewTime, metav1.MicroTime{})
	if age := s.Now().Sub(renewed.Time); age >= 0 && age < time.Duration(ptr.Deref(lease.Spec.LeaseDurationSeconds, 0))*time.Second {
		return true, holder, nil
	}
	err = wait.PollUntilContextTimeout(ctx, time.Second, s.LeasePatience, false, func(context.Context) (bool, error) {
		if _, err := there(ctx, s.Management, lease); err != nil {
			return false, err
		}
		now := ptr.Deref(lease.Spec.RenewTime, metav1.MicroTime{})
		fresh = !now.Equal(&renewed)
		return fresh, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = nil
	}
	return fresh, holder, err
}

// specification makes sure that what is wanted is what the manager works on.
func specification(_ context.Context, s *subject) (finding, error) {
	conditions := s.rc.Status.Conditions
	if len(conditions) == 0 || (s.rc.Status.ObservedGeneration < s.rc.Generation && s.paused == "") {
		return broken(fmt.Sprintf("no manager has looked at generation %d of the RegistryCache", s.rc.Generation),
			"If it is new, wait a moment. Else the manager leaves it out (its flags --namespace and --watch-filter), or its log says what keeps it"), nil
	}
	if c := apimeta.FindStatusCondition(conditions, v1alpha1.VariableAppliedCondition); c != nil && c.Status == metav1.ConditionFalse && c.Reason != v1alpha1.HandWrittenReason {
		return broken("the variable "+v1alpha1.ClusterVariable+" of the topology is not applied: "+c.Message, "Mend the variable in spec.topology.variables of the Cluster"), nil
	}
	if c := apimeta.FindStatusCondition(conditions, v1alpha1.MirrorsValidCondition); c != nil && c.Status == metav1.ConditionFalse {
		return broken(c.Message, "Mend the Secret that spec.mirrors[].hosts[].caBundleSecretRef names; nodes go on with what it held last"), nil
	}
	return ok("generation %d is what the manager works on", s.rc.Status.ObservedGeneration), nil
}

// addresses makes sure that nodes can be told where the caches are.
func addresses(_ context.Context, s *subject) (finding, error) {
	c := apimeta.FindStatusCondition(s.rc.Status.Conditions, v1alpha1.AddressesAllocatedCondition)
	var missing, known []string
	for _, cache := range s.rc.Spec.Caches {
		if status := s.status(cache.Upstream); status != nil && status.Endpoint != "" {
			known = append(known, cache.Upstream+" "+status.Endpoint)
		} else {
			missing = append(missing, cache.Upstream)
		}
	}
	if len(missing) > 0 {
		message := "no address for the cache of " + strings.Join(missing, ", ")
		if c != nil && c.Message != "" {
			message += ": " + c.Message
		}
		return broken(message, "Set spec.clusterNetwork.services.cidrBlocks of the Cluster, if it is not set or wrong. If the range is exhausted, remove caches or "+
			"Services with fixed addresses at its beginning"), nil
	}
	if len(known) == 0 {
		return ok("mirrors need none"), nil
	}
	return ok("%s", strings.Join(known, ", ")), nil
}

// warning is the last Warning Event about an object; "" if there is none, or if Events may not be read.
func warning(ctx context.Context, c client.Client, namespace, kind, name string) string {
	events := &corev1.EventList{}
	fields := client.MatchingFields{"involvedObject.kind": kind, "involvedObject.name": name, "type": corev1.EventTypeWarning}
	if err := c.List(ctx, events, client.InNamespace(namespace), fields); err != nil {
		return ""
	}
	last, message := time.Time{}, ""
	for _, e := range events.Items {
		at := e.LastTimestamp.Time
		if at.IsZero() {
			at = e.EventTime.Time
		}
		if message == "" || at.After(last) {
			last, message = at, e.Reason+": "+e.Message
		}
	}
	return message
}

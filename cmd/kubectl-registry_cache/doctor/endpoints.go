package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

// endpoints makes sure that somebody answers at each address.
func endpoints(ctx context.Context, s *subject) (finding, error) {
	if f, not := s.notReached(); not {
		return f, nil
	}
	pods := map[string][]corev1.Pod{}
	var notes []string
	for _, cache := range s.rc.Spec.Caches {
		serving, found, err := s.cacheEndpoints(ctx, cache)
		if err != nil || found.state == Broken {
			return found, err
		}
		pods[cache.Upstream], notes = serving, append(notes, found.message)
	}
	s.pods = pods
	if len(notes) == 0 {
		return ok("mirrors need none"), nil
	}
	return ok("%s", strings.Join(notes, "; ")), nil
}

// cacheEndpoints returns the Pods of a cache that are ready, too.
func (s *subject) cacheEndpoints(ctx context.Context, cache v1alpha1.Cache) ([]corev1.Pod, finding, error) {
	name := manifests.ServiceName(cache.Upstream)
	labels := map[string]string{v1alpha1.NameLabel: v1alpha1.NameValue, v1alpha1.InstanceLabel: name}
	pods := &corev1.PodList{}
	if err := s.workload.Client.List(ctx, pods, client.InNamespace(s.rc.Spec.Namespace), client.MatchingLabels(labels)); err != nil {
		return nil, finding{}, err
	}
	wanted := len(manifests.PodNames(cache))
	serving := slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return !ready(&p) })
	note := fmt.Sprintf("%s: %d of %d ready", cache.Upstream, len(serving), wanted)
	if len(serving) < wanted {
		trouble, remedy, err := podsTrouble(ctx, s.workload.Client, s.rc.Spec.Namespace, labels, s.there("get events"))
		if err != nil || len(serving) == 0 {
			return nil, broken(fmt.Sprintf("the cache of %s has no Pod that is ready: %s", cache.Upstream, trouble), s.endpointsRemedy(remedy)), err
		}
		note += " (" + trouble + ")"
	}
	count, err := readyEndpoints(ctx, s.workload.Client, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.rc.Spec.Namespace, Name: name}})
	if err == nil && count == 0 {
		return nil, broken(fmt.Sprintf("the Pods of the cache of %s are ready, and Service %s has no endpoint", cache.Upstream, name),
			"Does kube-controller-manager of the workload cluster work? "+s.there("get endpointslices -l kubernetes.io/service-name="+name)), nil
	}
	return serving, ok("%s", note), err
}

func (s *subject) endpointsRemedy(remedy string) string {
	return remedy + "\n" + s.there("describe pods -l "+v1alpha1.NameLabel+"="+v1alpha1.NameValue)
}

func ready(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp.IsZero() && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// podsTrouble says why Pods are not ready, and what to do: of the first that is not, or that there are none. A right that is missing for
// that hides no trouble. Events is the command that shows them.
func podsTrouble(ctx context.Context, c client.Client, namespace string, labels map[string]string, events string) (message, remedy string, err error) {
	pods := &corev1.PodList{}
	err = c.List(ctx, pods, client.InNamespace(namespace), client.MatchingLabels(labels))
	if apierrors.IsForbidden(err) {
		return fmt.Sprintf("why is not known: %v", err), "The Events say why: " + events, nil
	}
	if err != nil {
		return "", "", err
	}
	for i := range pods.Items {
		if !ready(&pods.Items[i]) {
			message, remedy, err = podTrouble(ctx, c, &pods.Items[i])
			return "Pod " + pods.Items[i].Name + " " + message, remedy, err
		}
	}
	return "there is no Pod", "Events say what keeps its controller from making it, such as a quota or Pod Security: " + events, nil
}

func podTrouble(ctx context.Context, c client.Client, pod *corev1.Pod) (message, remedy string, err error) {
	if !pod.DeletionTimestamp.IsZero() {
		return "is going", "Wait for the next one; if it stays, its node may be gone", nil
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return pendingTrouble(ctx, c, pod, condition.Message)
		}
	}
	for _, status := range pod.Status.ContainerStatuses {
		if message, remedy = containerTrouble(status); message != "" {
			return message, remedy, nil
		}
	}
	message = fmt.Sprintf("is %s and not ready", pod.Status.Phase)
	if event := warning(ctx, c, pod.Namespace, "Pod", pod.Name); event != "" {
		message += ": " + event
	}
	return message, "Look at its log and at its node", nil
}

// pendingTrouble tells of claims if the scheduler does.
func pendingTrouble(ctx context.Context, c client.Client, pod *corev1.Pod, scheduler string) (message, remedy string, err error) {
	message = "is pending: " + scheduler
	claim, err := pendingClaim(ctx, c, pod)
	if err != nil || claim == nil || !strings.Contains(strings.ToLower(strings.ReplaceAll(scheduler, " ", "")), "persistentvolume") {
		return message, "No node fits: spec.caches[].nodeSelector, tolerations (empty by default) and resources have to match a node, and a volume that belongs to a node needs that node", err
	}
	class := "there is no StorageClass, as none is the default"
	if claim.Spec.StorageClassName != nil {
		class = "its StorageClass is " + *claim.Spec.StorageClassName
	}
	message += fmt.Sprintf("; claim %s is pending, %s", claim.Name, class)
	if event := warning(ctx, c, claim.Namespace, "PersistentVolumeClaim", claim.Name); event != "" {
		message += ": " + event
	}
	return message, "The StorageClass has to bind the claim. If none can, take the cache of this upstream out and add it again with volume: {type: EmptyDir} or another storageClassName: these fields cannot change", nil
}

// pendingClaim is the first claim of a Pod that has no volume yet.
func pendingClaim(ctx context.Context, c client.Client, pod *corev1.Pod) (*corev1.PersistentVolumeClaim, error) {
	for _, volume := range pod.Spec.Volumes {
		if volume.PersistentVolumeClaim == nil {
			continue
		}
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: volume.PersistentVolumeClaim.ClaimName}}
		found, err := there(ctx, c, claim)
		if apierrors.IsForbidden(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if found && claim.Status.Phase == corev1.ClaimPending {
			return claim, nil
		}
	}
	return nil, nil
}

func containerTrouble(status corev1.ContainerStatus) (message, remedy string) {
	waiting := status.State.Waiting
	switch {
	case waiting == nil:
		return "", ""
	case strings.Contains(waiting.Reason, "Image"):
		return fmt.Sprintf("cannot pull %s: %s: %s", status.Image, waiting.Reason, waiting.Message),
			"The manager's flag --workload-image, or spec.caches[].image, has to be an image that the nodes of the workload cluster reach"
	case status.LastTerminationState.Terminated != nil:
		last := status.LastTerminationState.Terminated
		return fmt.Sprintf("starts again and again (%s, exit code %d): %s", waiting.Reason, last.ExitCode, strings.TrimSpace(last.Message)),
			"Its log says why. A stock registry in spec.caches[].image panics while its upstream cannot be reached (docs/distribution-faults.md)"
	}
	return fmt.Sprintf("waits: %s: %s", waiting.Reason, waiting.Message), "The Events of the Pod say more"
}

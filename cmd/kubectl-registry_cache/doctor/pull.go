package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/cmd/kubectl-registry_cache/counters"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
)

const removalPatience = 30 * time.Second

// pulled lets a node pull an image once, as for any Pod.
func pulled(ctx context.Context, s *subject) (finding, error) {
	if s.Pull == "" {
		return unchecked("no pull was asked for (--pull IMAGE)"), nil
	}
	if f, not := s.notReached(); not {
		if s.unknown == nil { // a right is missing
			s.unknown = errors.New("the pull that was asked for was not made, as the workload cluster was not reached")
		}
		return f, nil
	}
	p, err := s.preparePull(ctx)
	if err != nil {
		return s.notPulled(err)
	}
	began := s.Now()
	trouble, err := s.pullOnce(ctx, pullPod(s.rc.Spec.Namespace, p.node, s.Pull))
	if err != nil {
		return s.notPulled(err)
	}
	if trouble != "" {
		return broken(fmt.Sprintf("node %s did not pull %s: %s", p.node, s.Pull, trouble),
			"If the image is there and public, look at containerd on the node: journalctl -u containerd. A pull that neither the cache nor the upstream serves fails without the caches, too"), nil
	}
	s.pull = p
	return ok("node %s pulled %s in %s", p.node, s.Pull, s.Now().Sub(began).Round(100*time.Millisecond)), nil
}

// notPulled ends the walk with an error also where a right is missing: a pull was asked for.
func (s *subject) notPulled(err error) (finding, error) {
	if apierrors.IsForbidden(err) {
		s.unknown = fmt.Errorf("the pull that was asked for: %w", err)
	}
	return finding{}, err
}

// pullOnce makes the Pod, waits for the pull, and removes the Pod whatever comes: also if the user ends the walk while the API server is
// at work on it.
func (s *subject) pullOnce(ctx context.Context, pod *corev1.Pod) (trouble string, err error) {
	key := client.ObjectKeyFromObject(pod)
	if err := s.workload.Client.Create(ctx, pod); err != nil {
		if !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) {
			err = errors.Join(err, s.remove(ctx, key))
		}
		return "", err
	}
	defer func() { err = errors.Join(err, s.remove(ctx, key)) }()
	return s.waitPulled(ctx, pod)
}

// preparePull finds the cache of the image, a node that uses it, and what the cache has counted so far.
func (s *subject) preparePull(ctx context.Context) (*pull, error) {
	cache, err := CacheOf(s.rc, s.Pull)
	if err != nil {
		return nil, err
	}
	p := &pull{cache: cache, node: s.Node}
	for _, n := range s.nodes {
		if p.node == "" && n.report.Upstreams[cache.Upstream] == stateActive {
			p.node = n.name
		}
	}
	if p.node == "" {
		return nil, fmt.Errorf("no node is known to use the cache of %s; name one with --node", cache.Upstream)
	}
	before, err := counters.ReadCache(ctx, s.workload.Pods, s.rc.Spec.Namespace, cache)
	p.before, p.asked, p.at = before, s.asked(ctx, cache), s.Now()
	if before.Answered > 0 {
		err = nil
	}
	return p, err
}

// CacheOf returns the cache that serves an image. The error says which upstreams have one.
func CacheOf(rc *v1alpha1.RegistryCache, image string) (v1alpha1.Cache, error) {
	name, err := reference.ParseDockerRef(image)
	if err != nil {
		return v1alpha1.Cache{}, fmt.Errorf("image %q: %w; accepted is a reference such as docker.io/library/alpine:3.22", image, err)
	}
	var upstreams []string
	for _, cache := range rc.Spec.Caches {
		if cache.Upstream == reference.Domain(name) {
			return cache, nil
		}
		upstreams = append(upstreams, cache.Upstream)
	}
	return v1alpha1.Cache{}, fmt.Errorf("image %q is of %s, which has no cache here; accepted are images of %v", image, reference.Domain(name), upstreams)
}

// pullPod pulls and runs nothing: the program that it names is in no image.
func pullPod(namespace, node, image string) *corev1.Pod {
	return &corev1.Pod{
		// The name is known here, so that the Pod can be removed though its creation was not answered.
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "registry-cache-doctor-" + rand.String(5)},
		Spec: corev1.PodSpec{
			NodeName:                      node,
			RestartPolicy:                 corev1.RestartPolicyNever,
			AutomountServiceAccountToken:  new(false),
			EnableServiceLinks:            new(false),
			TerminationGracePeriodSeconds: new(int64),
			ActiveDeadlineSeconds:         new(int64(2 * pullPatience / time.Second)), // should nobody remove it
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(65532)), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "pull", Image: image, ImagePullPolicy: corev1.PullAlways, Command: []string{"/nothing-that-registry-cache-doctor-would-run"},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

// waitPulled says why the image was not pulled, if it was not. The last look may end after the time is over: it is no error then.
func (s *subject) waitPulled(ctx context.Context, pod *corev1.Pod) (trouble string, err error) {
	err = wait.PollUntilContextTimeout(ctx, 500*time.Millisecond, s.PullPatience, true, func(context.Context) (done bool, err error) {
		if err := s.workload.Client.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
			return false, err
		}
		done, trouble = pullEnded(pod)
		return done, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return fmt.Sprintf("not within %s; %s", s.PullPatience, trouble), nil
	}
	return trouble, err
}

// pullEnded tells whether the kubelet has done with the pull, and what is wrong if it failed or is not done. Whatever comes after the
// pull is no matter: the program is not there.
func pullEnded(pod *corev1.Pod) (done bool, trouble string) {
	for _, status := range pod.Status.ContainerStatuses {
		waiting := status.State.Waiting
		switch {
		case status.ImageID != "" || status.State.Terminated != nil:
			return true, ""
		case waiting == nil:
		case slices.Contains([]string{"CreateContainerError", "RunContainerError"}, waiting.Reason):
			return true, ""
		case slices.Contains([]string{"ErrImagePull", "ImagePullBackOff", "InvalidImageName"}, waiting.Reason):
			return true, waiting.Reason + ": " + waiting.Message
		}
	}
	if pod.Status.Phase == corev1.PodFailed {
		return true, "the kubelet refuses the Pod: " + pod.Status.Reason + ": " + pod.Status.Message
	}
	return false, "the kubelet has not told of the end of the pull"
}

// remove goes on after the walk was ended. The error names the Pod, for the user to remove it.
func (s *subject) remove(ctx context.Context, key client.ObjectKey) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removalPatience)
	defer cancel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	var last error
	err := wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		last = client.IgnoreNotFound(s.workload.Client.Delete(ctx, pod, client.GracePeriodSeconds(0)))
		return last == nil || apierrors.IsForbidden(last), nil
	})
	if last == nil {
		last = err
	}
	if last != nil {
		return fmt.Errorf("Pod %s of the pull is still there, remove it: %s: %w", key, s.there("delete pod "+key.Name), last) //nolint:staticcheck // a kind
	}
	return nil
}

// counted makes sure that the pull went through the cache and not around it, which no node tells.
func counted(ctx context.Context, s *subject) (finding, error) {
	if s.pull == nil {
		return unchecked("nothing was pulled"), nil
	}
	after, err := counters.ReadCache(ctx, s.workload.Pods, s.rc.Spec.Namespace, s.pull.cache)
	if err != nil && after.Answered == 0 {
		return finding{}, err
	}
	grown := counters.Since(s.pull.before, after, s.pull.at)
	if grown.Requests <= 0 && s.asked(ctx, s.pull.cache) > s.pull.asked {
		return broken(fmt.Sprintf("the cache of %s was asked while node %s pulled, and could not answer, so the node went on to the upstream", s.pull.cache.Upstream, s.pull.node),
			"The cache has no way to its upstream, while the node has: is there a proxy that it needs (spec.caches[].proxy), a NetworkPolicy, or another DNS? Its log says more: "+
				s.there("logs "+manifests.ServiceName(s.pull.cache.Upstream)+"-0")), nil
	}
	if grown.Requests <= 0 {
		return broken(fmt.Sprintf("the cache of %s counted no request while node %s pulled: the pull went around it", s.pull.cache.Upstream, s.pull.node),
			"On the node: is hosts.toml of the upstream below "+s.rc.Spec.Nodes.CertsDir+", and does `containerd config dump` show that directory alone as config_path? "+
				"Does anything else set mirrors? See docs/troubleshooting.md, `A node pulls past the cache`"), nil
	}
	s.through = true
	return ok("the cache of %s counted %d request(s), %d byte(s) served", s.pull.cache.Upstream, grown.Requests, grown.ServedBytes), nil
}

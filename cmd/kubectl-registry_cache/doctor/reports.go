package doctor

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

// podReport is what a Pod of a cache says of itself.
type podReport struct {
	pod string
	report.Report
}

// volumes makes sure that what is pulled can be kept.
func volumes(ctx context.Context, s *subject) (finding, error) {
	if f, not := s.notReached(); not {
		return f, nil
	}
	if s.pods == nil {
		return unchecked("the Pods of the caches are not known"), nil
	}
	silent, err := s.askCaches(ctx)
	if err != nil {
		return finding{}, err
	}
	for _, cache := range s.rc.Spec.Caches {
		for _, told := range s.reports[cache.Upstream] {
			in := fmt.Sprintf("the volume of Pod %s, of the cache of %s, ", told.pod, cache.Upstream)
			switch told.Volume.State {
			case report.VolumeFull:
				return broken(fmt.Sprintf("%sis full: it has %d MiB left and %d MiB are stored, so pulls pass the store", in, told.Volume.FreeBytes>>20, told.Volume.StoredBytes>>20),
					"Raise spec.caches[].volume.size, or look for what else is on the volume; a lower garbageCollection.highWatermarkPercent leaves more room. It is told for ten minutes after there is room again"), nil
			case report.VolumeFailing:
				return broken(in+"refuses writes, so pulls pass the store", "Its log says why: "+s.there("logs "+told.pod)), nil
			}
		}
	}
	if c := apimeta.FindStatusCondition(s.rc.Status.Conditions, v1alpha1.VolumesHealthyCondition); c != nil && c.Reason == v1alpha1.VolumeNotGrownReason {
		return broken(c.Message, "The size of the spec takes a StorageClass with allowVolumeExpansion whose driver grows volumes; otherwise put volume.size back"), nil
	}
	if len(silent) > 0 {
		return unchecked("%s", strings.Join(silent, "; ")), nil
	}
	return ok("take what is pulled"), nil
}

// askCaches asks every ready Pod, and returns what became of those that did not answer. One with an image of the user has nothing to say.
// The error is a right that is missing.
func (s *subject) askCaches(ctx context.Context) (silent []string, err error) {
	reports := map[string][]podReport{}
	for _, cache := range s.rc.Spec.Caches {
		for _, pod := range s.pods[cache.Upstream] {
			told, err := s.askPod(ctx, &pod)
			if cache.Image != "" && apierrors.IsNotFound(err) {
				continue
			}
			if apierrors.IsForbidden(err) {
				return nil, err
			}
			if err != nil {
				silent = append(silent, fmt.Sprintf("Pod %s does not tell how it is: %v", pod.Name, err))
				continue
			}
			reports[cache.Upstream] = append(reports[cache.Upstream], podReport{pod.Name, told})
		}
	}
	s.reports, s.silent = reports, len(silent) > 0
	return silent, nil
}

func (s *subject) askPod(ctx context.Context, pod *corev1.Pod) (report.Report, error) {
	document, err := s.workload.Pods.Get(ctx, client.ObjectKeyFromObject(pod), manifests.DebugPort, report.Path)
	if err != nil {
		return report.Report{}, err
	}
	return report.Decode(document)
}

// credentials makes sure that the upstreams take what the caches have. The Secrets come first: without them caches go on with old ones.
func credentials(_ context.Context, s *subject) (finding, error) {
	c := apimeta.FindStatusCondition(s.rc.Status.Conditions, v1alpha1.CredentialsValidCondition)
	if c != nil && c.Status == metav1.ConditionFalse && (c.Reason == v1alpha1.SecretNotFoundReason || c.Reason == v1alpha1.SecretInvalidReason) {
		return broken(c.Message, "Mend the Secret in namespace "+s.Cluster.Namespace+" of the management cluster (docs/credentials.md)"), nil
	}
	if s.reports == nil {
		return unchecked("the caches could not be asked"), nil
	}
	for _, cache := range s.rc.Spec.Caches {
		for _, told := range s.reports[cache.Upstream] {
			if found := s.accessTrouble(cache, told); found.state == Broken {
				return found, nil
			}
		}
	}
	if s.silent {
		return unchecked("not every Pod of the caches tells"), nil
	}
	return ok("no upstream refuses what the caches ask it with"), nil
}

func (s *subject) accessTrouble(cache v1alpha1.Cache, told podReport) finding {
	in := fmt.Sprintf("the cache of %s (Pod %s): ", cache.Upstream, told.pod)
	credentials := "its credentials"
	if cache.CredentialsSecretRef != nil {
		credentials = fmt.Sprintf("username and password in Secret %s/%s", s.Cluster.Namespace, cache.CredentialsSecretRef.Name)
	}
	switch told.Access.State {
	case report.AccessRejected:
		return broken(in+"the upstream refuses the credentials: "+told.Access.Message,
			"Mend "+credentials+"; the cache takes them over within two minutes, without a restart. Images that the upstream gives to everyone are served meanwhile")
	case report.AccessWithheld:
		return broken(in+told.Access.Message, "The token server is not under the upstream's domain and is not sent the credentials (docs/credentials.md); remoteURL may have to be another")
	case report.AccessUntrusted:
		return broken(in+"the certificate of the upstream is not trusted: "+told.Access.Message, "Put the CA of the upstream into a Secret, key ca.crt, and name it in spec.caches[].caBundleSecretRef")
	case report.AccessUnreadable:
		return broken(in+"the files with its credentials or CA cannot be used: "+told.Access.Message, "Wait two minutes for kubelet to bring them into the Pod; then look at "+credentials)
	}
	return finding{state: OK}
}

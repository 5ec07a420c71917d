package doctor

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	controlplanev1 "sigs.k8s.io/cluster-api/api/controlplane/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

// webhookName is that of the webhook for bootstrap data (config/webhook/manifests.yaml).
const webhookName = "bootstrap-data.registrycache.addons.cluster.x-k8s.io"

// trial is bootstrap data of which nothing is ever made.
const trial = "#cloud-config\nruncmd:\n- 'true'\n"

// webhook makes sure that the API server is told to call, and whom.
func webhook(ctx context.Context, s *subject) (finding, error) {
	configuration, hook, err := findWebhook(ctx, s.Management)
	if err != nil {
		return finding{}, err
	}
	if hook == nil {
		return s.withoutWebhook(ctx)
	}
	in := "MutatingWebhookConfiguration " + configuration
	if hook.ClientConfig.Service == nil { // without a caBundle it is trusted as any server is
		return ok("%s calls %s", in, ptr.Deref(hook.ClientConfig.URL, "")), nil
	}
	if len(hook.ClientConfig.CABundle) == 0 {
		return broken(in+" has no caBundle, so the API server trusts no answer", "cert-manager puts it there: is it running, and what does its Certificate in the manager's namespace say? "+
			s.Kubectl+" get certificates -A"), nil
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: hook.ClientConfig.Service.Namespace, Name: hook.ClientConfig.Service.Name}}
	name := service.Namespace + "/" + service.Name
	found, err := there(ctx, s.Management, service)
	if err != nil {
		return finding{}, err
	}
	if !found {
		return broken(fmt.Sprintf("%s calls Service %s, which is not there", in, name), "Install the same release again: clusterctl upgrade apply, or kubectl apply of its components"), nil
	}
	addresses, err := readyEndpoints(ctx, s.Management, service)
	if err != nil {
		return finding{}, err
	}
	if addresses == 0 {
		return broken(fmt.Sprintf("%s calls Service %s, which has no endpoint that is ready", in, name),
			"Does its selector match the Pods of the manager, and are they ready? "+s.in(service.Namespace, "get service,endpointslices,pods --show-labels")), nil
	}
	return ok("%s calls Service %s, which has %d endpoint(s)", in, name, addresses), nil
}

func findWebhook(ctx context.Context, c client.Client) (string, *admissionregistrationv1.MutatingWebhook, error) {
	configurations := &admissionregistrationv1.MutatingWebhookConfigurationList{}
	if err := c.List(ctx, configurations); err != nil {
		return "", nil, err
	}
	for i := range configurations.Items {
		for j := range configurations.Items[i].Webhooks {
			if configurations.Items[i].Webhooks[j].Name == webhookName {
				return configurations.Items[i].Name, &configurations.Items[i].Webhooks[j], nil
			}
		}
	}
	return "", nil, nil
}

// withoutWebhook is fine where templates take the caches by reference.
func (s *subject) withoutWebhook(ctx context.Context) (finding, error) {
	var err error
	if s.byReference, err = s.referenced(ctx); err != nil {
		return finding{}, err
	}
	if s.byReference {
		return s.published("there is none")
	}
	return broken("no MutatingWebhookConfiguration has the webhook "+webhookName+": new Machines boot without the caches",
		"Install the same release again: clusterctl upgrade apply, or kubectl apply of its components. If it was left out on purpose, let bootstrap templates name Secret "+
			v1alpha1.NodePayloadName(s.Cluster.Name)+" (docs/by-reference.md)"), nil
}

// published makes sure that the Secret which templates name is ours.
func (s *subject) published(webhook string) (finding, error) {
	c := apimeta.FindStatusCondition(s.rc.Status.Conditions, v1alpha1.NodePayloadPublishedCondition)
	if c != nil && c.Status == metav1.ConditionFalse && c.Reason == v1alpha1.NodePayloadRejectedReason {
		return broken(c.Message, "Remove or rename that Secret (docs/by-reference.md)"), nil
	}
	return ok("%s, and bootstrap templates name Secret %s", webhook, v1alpha1.NodePayloadName(s.Cluster.Name)), nil
}

// referenced tells whether a template of the namespace names the Secret of the node payload. A MachinePool may have a KubeadmConfig of its own.
func (s *subject) referenced(ctx context.Context) (bool, error) {
	templates, controlPlanes, configs := &bootstrapv1.KubeadmConfigTemplateList{}, &controlplanev1.KubeadmControlPlaneList{}, &bootstrapv1.KubeadmConfigList{}
	for _, l := range []client.ObjectList{templates, controlPlanes, configs} {
		if err := s.Management.List(ctx, l, client.InNamespace(s.Cluster.Namespace)); err != nil && !apimeta.IsNoMatchError(err) {
			return false, err
		}
	}
	var files []bootstrapv1.File
	for _, t := range templates.Items {
		files = append(files, t.Spec.Template.Spec.Files...)
	}
	for _, c := range controlPlanes.Items {
		files = append(files, c.Spec.KubeadmConfigSpec.Files...)
	}
	for _, c := range configs.Items {
		files = append(files, c.Spec.Files...)
	}
	return slices.ContainsFunc(files, func(f bootstrapv1.File) bool {
		return f.ContentFrom.Secret.Name == v1alpha1.NodePayloadName(s.Cluster.Name)
	}), nil
}

// readyEndpoints counts those of a Service.
func readyEndpoints(ctx context.Context, c client.Client, service *corev1.Service) (int, error) {
	slicesOf := &discoveryv1.EndpointSliceList{}
	err := c.List(ctx, slicesOf, client.InNamespace(service.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service.Name})
	count := 0
	for _, slice := range slicesOf.Items {
		for _, endpoint := range slice.Endpoints {
			if ptr.Deref(endpoint.Conditions.Ready, true) {
				count += len(endpoint.Addresses)
			}
		}
	}
	return count, err
}

// injection lets the API server do with a Secret of bootstrap data what it does with a real one, in a dry run. It is the only way to see
// whether it reaches the webhook, trusts it, and gets the caches: if not, it goes on without a word.
func injection(ctx context.Context, s *subject) (finding, error) {
	switch {
	case s.byReference:
		return unchecked("there is no webhook"), nil
	case ptr.Deref(s.cluster.Spec.Paused, false):
		return unchecked("the Cluster is paused, so bootstrap data stays as it is"), nil
	}
	if found := s.withheld(); found.state == Broken {
		return found, nil
	}
	secret := trialSecret(s.Cluster)
	if err := s.Management.Create(ctx, secret, client.DryRunAll); err != nil {
		return unchecked("a Secret could not be tried in a dry run: %v", err), nil
	}
	if bytes.Equal(secret.Data["value"], []byte(trial)) {
		if byReference, err := s.referenced(ctx); err != nil || byReference { // the webhook may not be for this namespace, or not be known
			found, _ := s.published("bootstrap data comes back without the caches")
			return found, err
		}
		return broken("bootstrap data comes back from the API server without the caches (tried in a dry run): it does not reach the webhook, does not trust it, or gets an error from it",
			strings.Join([]string{
				"The log of the API server says `failed calling webhook \"" + webhookName + "\"` if it got no answer: is port 9443 of the manager's Pods open for it",
				"(firewall, NetworkPolicy), and is caBundle the authority of the certificate that the manager serves? Else the manager's log says more",
			}, "\n")), nil
	}
	return ok("bootstrap data gets the caches (tried in a dry run)"), nil
}

// withheld tells whether nodes are told of no cache, because they could not check its certificate.
func (s *subject) withheld() finding {
	for _, status := range s.rc.Status.Caches {
		if len(s.rc.Status.CABundle) > 0 || !strings.HasPrefix(status.Endpoint, "https:") {
			continue
		}
		message := "new Machines are not told of the cache of " + status.Upstream + ": there is no authority that its certificate could be checked against (status.caBundle)"
		if c := apimeta.FindStatusCondition(s.rc.Status.Conditions, v1alpha1.CertificatesValidCondition); c != nil && c.Message != "" {
			message += ": " + c.Message
		}
		return broken(message, s.certificatesRemedy())
	}
	return finding{state: OK}
}

func trialSecret(cluster client.ObjectKey) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cluster.Namespace, GenerateName: "registry-cache-doctor-", Labels: map[string]string{clusterv1.ClusterNameLabel: cluster.Name},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: bootstrapv1.GroupVersion.String(), Kind: "KubeadmConfig", Name: "registry-cache-doctor", UID: "registry-cache-doctor",
			}},
		},
		Type: clusterv1.ClusterSecretType,
		Data: map[string][]byte{"value": []byte(trial), "format": []byte(bootstrapv1.CloudConfig)},
	}
}

package doctor

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
	"github.com/capi-registry-cache/capi-registry-cache/workload/nodesync/desired"
)

// trust is what somebody takes for the authority of a cache.
type trust struct {
	who string
	pem []byte
}

// certificates makes sure that nodes trust what the caches serve, not what they should.
func certificates(ctx context.Context, s *subject) (finding, error) {
	if f, not := s.notReached(); not {
		return f, nil
	}
	c := apimeta.FindStatusCondition(s.rc.Status.Conditions, v1alpha1.CertificatesValidCondition)
	if c != nil && c.Status == metav1.ConditionFalse {
		return broken(c.Message, s.certificatesRemedy()), nil
	}
	if s.pods == nil {
		return unchecked("the Pods of the caches are not known"), nil
	}
	state, err := s.desiredState(ctx)
	if err != nil {
		return finding{}, err
	}
	checked := 0
	for _, cache := range s.rc.Spec.Caches {
		if cache.TLS.Mode == v1alpha1.TLSDisabled {
			continue
		}
		for _, pod := range s.pods[cache.Upstream] {
			found, err := s.trusted(ctx, cache, &pod, s.trusts(cache, state))
			if err != nil || found.state == Broken {
				return found, err
			}
			checked++
		}
	}
	return ok("nodes trust what %d Pod(s) serve", checked), nil
}

func (s *subject) certificatesRemedy() string {
	return "See docs/tls.md; the Events and the manager's log say what keeps it: " + s.here("describe registrycache "+s.Cluster.Name)
}

// trusts are those of new Machines and of nodes that are looked after.
func (s *subject) trusts(cache v1alpha1.Cache, state *desired.State) []trust {
	all := []trust{{"new Machines trust (status.caBundle)", s.rc.Status.CABundle}}
	if state == nil {
		return all
	}
	for _, file := range state.Files {
		if strings.HasSuffix(file.Path, "/upstreams/"+cache.Upstream+"/ca.pem") {
			all = append(all, trust{"nodes trust (" + file.Path + ")", file.Content})
		}
	}
	return all
}

// desiredState is what node-sync brings to nodes; nil if there is no such thing.
func (s *subject) desiredState(ctx context.Context) (*desired.State, error) {
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: s.rc.Spec.Namespace, Name: manifests.NodeSyncName}}
	found, err := there(ctx, s.workload.Client, set)
	if err != nil || !found {
		return nil, err
	}
	name := manifests.NodeSyncName + "-" + set.Spec.Template.Annotations[manifests.GenerationAnnotation]
	document := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.rc.Spec.Namespace, Name: name}}
	found, err = there(ctx, s.workload.Client, document)
	if err != nil || !found {
		return nil, err
	}
	for _, content := range document.Data {
		state, err := desired.Decode([]byte(content))
		return &state, err
	}
	return nil, nil
}

// trusted verifies the certificate of a Pod as curl and containerd do: by the address in the endpoint.
func (s *subject) trusted(ctx context.Context, cache v1alpha1.Cache, pod *corev1.Pod, trusts []trust) (finding, error) {
	chain, from, err := s.served(ctx, cache, pod)
	if err != nil {
		return finding{}, err
	}
	if len(chain) == 0 {
		return broken(fmt.Sprintf("the cache of %s has no certificate (%s)", cache.Upstream, from), s.newCertificate(cache)), nil
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	for _, t := range trusts {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(t.pem)
		options := x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: s.Now()}
		if status := s.status(cache.Upstream); status != nil {
			options.DNSName = addressOf(status.Endpoint)
		}
		if _, err := chain[0].Verify(options); err != nil {
			return broken(fmt.Sprintf("the certificate of the cache of %s (%s) is not of the authority that %s, or does not fit: %v", cache.Upstream, from, t.who, err), s.newCertificate(cache)), nil
		}
	}
	return ok("%s", cache.Upstream), nil
}

func (s *subject) newCertificate(cache v1alpha1.Cache) string {
	return "Let the manager issue another, which the Pod takes over within two minutes: " + s.there("delete secret "+manifests.CertificateName(manifests.ServiceName(cache.Upstream))) +
		"\nIf the authority has just been replaced (docs/tls.md), wait for it first"
}

// served asks the Pod itself, and looks into its Secret where that is not possible.
func (s *subject) served(ctx context.Context, cache v1alpha1.Cache, pod *corev1.Pod) (chain []*x509.Certificate, from string, err error) {
	chain, asking := s.workload.Pods.Certificates(ctx, client.ObjectKeyFromObject(pod), manifests.RegistryPort)
	if asking == nil {
		return chain, "as Pod " + pod.Name + " serves it", nil
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: manifests.CertificateName(manifests.ServiceName(cache.Upstream))}}
	found, err := there(ctx, s.workload.Client, secret)
	if err != nil {
		if apierrors.IsForbidden(err) && !apierrors.IsForbidden(asking) {
			err = errors.Join(err, asking)
		}
		return nil, "", err
	}
	from = "in Secret " + secret.Name
	if !found {
		return nil, from, nil
	}
	return parseChain(secret.Data[corev1.TLSCertKey]), from, nil
}

func parseChain(content []byte) []*x509.Certificate {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil
		}
		chain = append(chain, certificate)
	}
	return chain
}

package stack

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// certManagerVersion is that which clusterctl installs.
	certManagerVersion = "v1.21.2"

	injectAnnotation = "cert-manager.io/inject-ca-from"
)

var certificateKind = schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"}

// injected are the kinds whose caBundle cert-manager fills in, with the fields that lead to clientConfig.
var injected = []schema.GroupVersionKind{
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingWebhookConfiguration"},
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingWebhookConfiguration"},
	{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"},
}

// StandInForCertManager does what the providers of Cluster API need of cert-manager, until the context ends: it issues the Secret of every
// Certificate, from the authority of the stack whatever its Issuer is, and injects the authority of the Certificate that a webhook names. It is not cert-manager:
// the programs of that are not served as Go modules. The definitions of Certificate and Issuer are its own, so that what we
// ship is at least held against them. Nothing is renewed, and no condition is set.
func (m *Management) StandInForCertManager(ctx context.Context) error {
	out, err := output(ctx, "go", "mod", "download", "-json", "github.com/cert-manager/cert-manager@"+certManagerVersion)
	if err != nil {
		return err
	}
	module := struct{ Dir string }{}
	if err := json.Unmarshal([]byte(out), &module); err != nil {
		return fmt.Errorf("finding the module of cert-manager: %w", err)
	}
	for _, kind := range []string{"certificates", "issuers"} {
		if err := m.view.applyFile(ctx, m.Client, filepath.Join(module.Dir, "deploy", "crds", "cert-manager.io_"+kind+".yaml")); err != nil {
			return err
		}
	}
	go m.certify(ctx)
	return nil
}

// certify tells once of what goes wrong; namespaces come and go while it works.
func (m *Management) certify(ctx context.Context) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	told := ""
	for {
		if err := errors.Join(m.issueCertificates(ctx), m.injectAuthority(ctx)); err != nil && ctx.Err() == nil && err.Error() != told {
			told = err.Error()
			m.view.Progress.Say("%s: in place of cert-manager: %s", m.Name, shorten(told, 300))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (m *Management) issueCertificates(ctx context.Context) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(certificateKind.GroupVersion().WithKind(certificateKind.Kind + "List"))
	if err := m.Client.List(ctx, list); err != nil {
		return fmt.Errorf("listing Certificates: %w", err)
	}
	var errs []error
	for _, certificate := range list.Items {
		errs = append(errs, m.issue(ctx, certificate))
	}
	return errors.Join(errs...)
}

func (m *Management) issue(ctx context.Context, certificate unstructured.Unstructured) error {
	name, _, _ := unstructured.NestedString(certificate.Object, "spec", "secretName")
	hosts, _, _ := unstructured.NestedStringSlice(certificate.Object, "spec", "dnsNames")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: certificate.GetNamespace(), Name: name}, Type: corev1.SecretTypeTLS}
	err := m.Client.Get(ctx, client.ObjectKeyFromObject(secret), secret)
	if err == nil || !apierrors.IsNotFound(err) || len(hosts) == 0 {
		return err
	}
	pair, err := m.view.authority.serve(hosts...)
	if err != nil {
		return err
	}
	secret.Data = map[string][]byte{corev1.TLSCertKey: pair.certificate, corev1.TLSPrivateKeyKey: pair.key, "ca.crt": m.view.authority.PEM}
	if err := m.Client.Create(ctx, secret); err != nil {
		return fmt.Errorf("creating Secret %s of a Certificate: %w", name, err)
	}
	return nil
}

func (m *Management) injectAuthority(ctx context.Context) error {
	var errs []error
	for _, kind := range injected {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := m.Client.List(ctx, list); err != nil {
			errs = append(errs, fmt.Errorf("listing %s: %w", kind.Kind, err))
		}
		for i := range list.Items {
			errs = append(errs, m.inject(ctx, &list.Items[i]))
		}
	}
	return errors.Join(errs...)
}

// inject brings the authority of the Certificate that the annotation names into a webhook, or into the webhook that converts a CRD. While
// there is no such Certificate nothing is injected, and the error tells it: cert-manager does no more.
func (m *Management) inject(ctx context.Context, u *unstructured.Unstructured) error {
	from := u.GetAnnotations()[injectAnnotation]
	if from == "" {
		return nil
	}
	authority, err := m.authorityOf(ctx, from)
	if err != nil {
		return fmt.Errorf("injecting nothing into %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	before := u.DeepCopy()
	if strings.HasSuffix(u.GetKind(), "WebhookConfiguration") {
		trust(u, authority)
	} else if _, found, _ := unstructured.NestedMap(u.Object, "spec", "conversion", "webhook", "clientConfig"); found {
		bundle := base64.StdEncoding.EncodeToString(authority)
		_ = unstructured.SetNestedField(u.Object, bundle, "spec", "conversion", "webhook", "clientConfig", "caBundle")
	}
	patch := client.MergeFrom(before)
	if data, err := patch.Data(u); err != nil || string(data) == "{}" {
		return err
	}
	if err := m.Client.Patch(ctx, u, patch); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("injecting into %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return nil
}

// authorityOf reads the ca.crt that was issued for a Certificate, which is given as namespace/name.
func (m *Management) authorityOf(ctx context.Context, from string) ([]byte, error) {
	namespace, name, _ := strings.Cut(from, "/")
	certificate := &unstructured.Unstructured{}
	certificate.SetGroupVersionKind(certificateKind)
	if err := m.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, certificate); err != nil {
		return nil, fmt.Errorf("reading Certificate %s, which %s names: %w", from, injectAnnotation, err)
	}
	secretName, _, _ := unstructured.NestedString(certificate.Object, "spec", "secretName")
	secret := &corev1.Secret{}
	if err := m.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: secretName}, secret); err != nil {
		return nil, fmt.Errorf("reading Secret %s of Certificate %s: %w", secretName, from, err)
	}
	if len(secret.Data["ca.crt"]) == 0 {
		return nil, fmt.Errorf("reading Secret %s of Certificate %s: it has no ca.crt", secretName, from)
	}
	return secret.Data["ca.crt"], nil
}

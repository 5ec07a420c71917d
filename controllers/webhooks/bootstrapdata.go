package webhooks

import (
	"context"
	"encoding/base64"
	"fmt"

	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// BootstrapDataPath is where the webhook server answers for bootstrap data Secrets; config/webhook names it too.
const BootstrapDataPath = "/mutate-bootstrap-data"

// Keys of a bootstrap data Secret. `value` is the contract of bootstrap providers, `format` an extension of the
// kubeadm provider: https://cluster-api.sigs.k8s.io/developer/providers/contracts/bootstrap-config
const (
	valueKey  = "value"
	formatKey = "format"
)

// NotUnderstoodEventReason is the reason of the Event that tells of bootstrap data that was passed through unchanged.
const NotUnderstoodEventReason = "BootstrapDataNotUnderstood"

// +kubebuilder:rbac:groups=addons.cluster.x-k8s.io,resources=registrycaches,verbs=get;list;watch
// +kubebuilder:rbac:groups="";events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager registers the handler of bootstrap data Secrets with the webhook server of the manager, whose
// scheme must know corev1 and this project's API.
func SetupWithManager(mgr ctrl.Manager) error {
	mgr.GetWebhookServer().Register(BootstrapDataPath, &admission.Webhook{Handler: &bootstrapData{
		cached:   mgr.GetClient(),
		live:     mgr.GetAPIReader(),
		decoder:  admission.NewDecoder(mgr.GetScheme()),
		recorder: mgr.GetEventRecorder("registrycache-bootstrapdata"),
	}})
	return nil
}

// bootstrapData handles the admission of bootstrap data Secrets.
type bootstrapData struct {
	cached, live client.Reader
	decoder      admission.Decoder
	recorder     events.EventRecorder
}

// Handle adds the node payload to the bootstrap data in the request. It always allows, see the package comment.
func (h *bootstrapData) Handle(ctx context.Context, req admission.Request) admission.Response {
	log := ctrl.LoggerFrom(ctx)
	secret := &corev1.Secret{}
	if err := h.decoder.Decode(req, secret); err != nil {
		return failed(ctx, fmt.Errorf("decoding the bootstrap data Secret: %w", err))
	}
	key := client.ObjectKey{Namespace: req.Namespace, Name: secret.Labels[clusterv1.ClusterNameLabel]}
	rc, err := h.registryCache(ctx, key)
	if err != nil {
		return failed(ctx, fmt.Errorf("reading RegistryCache %s: %w", key, err))
	}
	if len(nodeValues(rc).Caches) == 0 {
		log.V(4).Info("The Cluster has no cache with an address, bootstrap data stays as it is", "Cluster", klog.KRef(key.Namespace, key.Name))
		return admission.Allowed("")
	}
	return h.respond(ctx, req, rc, Inject(rc, secret.Data[valueKey], string(secret.Data[formatKey])))
}

// Inject returns what becomes of bootstrap data of the Cluster of rc. Format is the provider's word for it, "" if it has none.
func Inject(rc *v1alpha1.RegistryCache, data []byte, format string) bootstrap.Result {
	return bootstrap.Inject(data, format, nodeValues(rc))
}

// registryCache reads from the cache of the manager, and from the API server while that is not filled. It returns nil
// when there is no such RegistryCache or it is being deleted.
func (h *bootstrapData) registryCache(ctx context.Context, key client.ObjectKey) (*v1alpha1.RegistryCache, error) {
	rc := &v1alpha1.RegistryCache{}
	err := h.cached.Get(ctx, key, rc)
	if err != nil && !apierrors.IsNotFound(err) {
		err = h.live.Get(ctx, key, rc)
	}
	if apierrors.IsNotFound(err) || (err == nil && !rc.DeletionTimestamp.IsZero()) {
		return nil, nil
	}
	return rc, err
}

// nodeValues is what nodes are told: the caches that have an address, whether or not they already run.
func nodeValues(rc *v1alpha1.RegistryCache) payload.Values {
	if rc == nil {
		return payload.Values{}
	}
	values := payload.Values{CertsDir: rc.Spec.Nodes.CertsDir}
	for _, c := range rc.Status.Caches {
		if c.Endpoint != "" {
			values.Caches = append(values.Caches, payload.Cache{Upstream: c.Upstream, Endpoint: c.Endpoint})
		}
	}
	return values
}

func (h *bootstrapData) respond(ctx context.Context, req admission.Request, rc *v1alpha1.RegistryCache, result bootstrap.Result) admission.Response {
	log := ctrl.LoggerFrom(ctx).WithValues("Cluster", klog.KObj(rc), "format", result.Format)
	if !result.Injected {
		log.Info("Bootstrap data passed through unchanged, its Machine will not use the caches", "reason", result.Reason)
		count(result.Format, resultPassedThrough)
		h.tell(req, rc, result.Reason)
		return admission.Allowed("")
	}
	log.Info("Registry caches injected into bootstrap data")
	count(result.Format, resultInjected)
	return admission.Patched("", jsonpatch.NewOperation("replace", "/data/"+valueKey, base64.StdEncoding.EncodeToString(result.Data)))
}

// tell records an Event of the RegistryCache, unless the request is a dry run, which must leave no trace.
func (h *bootstrapData) tell(req admission.Request, rc *v1alpha1.RegistryCache, reason string) {
	if req.DryRun != nil && *req.DryRun {
		return
	}
	h.recorder.Eventf(rc, nil, corev1.EventTypeWarning, NotUnderstoodEventReason, "PassThrough",
		"bootstrap data Secret %s was passed through unchanged, its Machine will not use the caches: %s", req.Name, reason)
}

func failed(ctx context.Context, err error) admission.Response {
	ctrl.LoggerFrom(ctx).Error(err, "Bootstrap data passed through unchanged because of an error")
	count("", resultError)
	return admission.Allowed("")
}

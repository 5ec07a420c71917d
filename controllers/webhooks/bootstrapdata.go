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
	"sigs.k8s.io/cluster-api/util/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/nodepayload"
)

// BootstrapDataPath is where the webhook server answers for bootstrap data Secrets; config/webhook names it too.
const BootstrapDataPath = "/mutate-bootstrap-data"

// Keys of a bootstrap data Secret. `value` is the contract of bootstrap providers, `format` an extension of the
// kubeadm provider: https://cluster-api.sigs.k8s.io/developer/providers/contracts/bootstrap-config
const (
	valueKey  = "value"
	formatKey = "format"
)

// +kubebuilder:rbac:groups=addons.cluster.x-k8s.io,resources=registrycaches,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager registers the handler of bootstrap data Secrets with the webhook server of the manager, whose
// scheme must know corev1 and this project's API. It remembers until ctx ends what it told in Events.
func SetupWithManager(ctx context.Context, mgr ctrl.Manager, limits Limits) error {
	mgr.GetWebhookServer().Register(BootstrapDataPath, &admission.Webhook{Handler: &bootstrapData{
		limits:   limits,
		cached:   mgr.GetClient(),
		live:     mgr.GetAPIReader(),
		decoder:  admission.NewDecoder(mgr.GetScheme()),
		recorder: mgr.GetEventRecorder("registrycache-bootstrapdata"),
		told:     cache.New[notice](ctx, eventLife),
	}})
	return nil
}

// bootstrapData handles the admission of bootstrap data Secrets.
type bootstrapData struct {
	limits       Limits
	cached, live client.Reader
	decoder      admission.Decoder
	recorder     events.EventRecorder
	told         cache.Cache[notice]
}

// injection is one request about the data of a Cluster that has caches.
type injection struct {
	req    admission.Request
	secret *corev1.Secret
	rc     *v1alpha1.RegistryCache
}

// Handle adds the node payload to the bootstrap data in the request. It always allows, see the package comment.
func (h *bootstrapData) Handle(ctx context.Context, req admission.Request) admission.Response {
	log := ctrl.LoggerFrom(ctx)
	secret := &corev1.Secret{}
	if err := h.decoder.Decode(req, secret); err != nil {
		return failed(ctx, req, fmt.Errorf("decoding the bootstrap data Secret: %w", err))
	}
	key := client.ObjectKey{Namespace: req.Namespace, Name: secret.Labels[clusterv1.ClusterNameLabel]}
	rc, err := h.registryCache(ctx, key)
	if err != nil {
		return failed(ctx, req, fmt.Errorf("reading RegistryCache %s: %w", key, err))
	}
	if nodepayload.Values(rc).Empty() {
		log.V(4).Info("The Cluster has no cache with an address and no mirror, bootstrap data stays as it is", "Cluster", klog.KRef(key.Namespace, key.Name))
		return admission.Allowed("")
	}
	isPaused, err := h.clusterPaused(ctx, key)
	if err != nil {
		return failed(ctx, req, err)
	}
	if isPaused {
		log.V(2).Info("The Cluster is paused, bootstrap data stays as it is", "Cluster", klog.KRef(key.Namespace, key.Name))
		return admission.Allowed("")
	}
	return h.inject(ctx, injection{req: req, secret: secret, rc: rc})
}

func (h *bootstrapData) inject(ctx context.Context, in injection) admission.Response {
	format := string(in.secret.Data[formatKey])
	skip, err := h.optedOut(ctx, in)
	if err != nil {
		return failed(ctx, in.req, err)
	}
	if skip {
		ctrl.LoggerFrom(ctx).V(2).Info("Bootstrap data stays as it is, its bootstrap config opted out", "Cluster", klog.KObj(in.rc))
		count(in.req, format, resultSkipped)
		return admission.Allowed("")
	}
	limits := h.limits.within(in.secret)
	return h.respond(ctx, in, Inject(in.rc, in.secret.Data[valueKey], format, limits))
}

// Inject returns what becomes of bootstrap data of the Cluster of rc. Format is the provider's word for it, "" if it has none.
func Inject(rc *v1alpha1.RegistryCache, data []byte, format string, limits Limits) bootstrap.Result {
	result := bootstrap.Inject(data, format, nodepayload.Values(rc))
	if result.Injected && limits.refuse(len(data), len(result.Data)) {
		reason := fmt.Sprintf("it would have %d bytes with them, at most %d are accepted", len(result.Data), limits.MaxBytes)
		return bootstrap.Result{Data: data, Format: result.Format, Reason: reason}
	}
	return result
}

// registryCache reads from the cache of the manager, and from the API server while that is not filled. It returns nil
// when there is no such RegistryCache.
func (h *bootstrapData) registryCache(ctx context.Context, key client.ObjectKey) (*v1alpha1.RegistryCache, error) {
	rc := &v1alpha1.RegistryCache{}
	err := h.cached.Get(ctx, key, rc)
	if err != nil && !apierrors.IsNotFound(err) {
		err = h.live.Get(ctx, key, rc)
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return rc, err
}

func (h *bootstrapData) respond(ctx context.Context, in injection, result bootstrap.Result) admission.Response {
	log := ctrl.LoggerFrom(ctx).WithValues("Cluster", klog.KObj(in.rc), "format", result.Format)
	if !result.Injected {
		log.Info("Bootstrap data passed through unchanged, its Machine will not use the caches", "reason", result.Reason)
		count(in.req, result.Format, resultPassedThrough)
		h.tell(in, PassedThroughEventReason, actionPassThrough, "was passed through unchanged, its Machine will not use the caches: "+result.Reason)
		return admission.Allowed("")
	}
	log.Info("Registry caches injected into bootstrap data")
	count(in.req, result.Format, resultInjected)
	if before, after := len(in.secret.Data[valueKey]), len(result.Data); h.limits.Warn(before, after) {
		h.tell(in, LargeEventReason, actionInject, fmt.Sprintf("grew from %d to %d bytes by the caches, over %d: some clouds take no more", before, after, h.limits.WarnBytes))
	}
	return admission.Patched("", jsonpatch.NewOperation("replace", "/data/"+valueKey, base64.StdEncoding.EncodeToString(result.Data)))
}

func failed(ctx context.Context, req admission.Request, err error) admission.Response {
	ctrl.LoggerFrom(ctx).Error(err, "Bootstrap data passed through unchanged because of an error")
	count(req, "", resultError)
	return admission.Allowed("")
}

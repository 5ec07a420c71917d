package nodepayload

import (
	"k8s.io/utils/ptr"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// mirrors are those of the spec, in its order. One that names certificates which nobody has found yet is left out: nodes would fail
// at its TLS handshake in every pull.
func mirrors(rc *v1alpha1.RegistryCache) []payload.Mirror {
	var list []payload.Mirror
	for _, m := range rc.Spec.Mirrors {
		mirror := payload.Mirror{Upstream: m.Upstream}
		for _, h := range m.Hosts {
			if h.CABundleSecretRef == nil {
				mirror.Hosts = append(mirror.Hosts, mirrorHost(h, ""))
			} else if bundle := CABundle(rc, m.Upstream, h.Host); bundle != "" {
				mirror.Hosts = append(mirror.Hosts, mirrorHost(h, bundle))
			}
		}
		if len(mirror.Hosts) > 0 {
			list = append(list, mirror)
		}
	}
	return list
}

func mirrorHost(h v1alpha1.MirrorHost, bundle string) payload.MirrorHost {
	host := payload.MirrorHost{URL: h.Host, CA: []byte(bundle), OverridePath: ptr.Deref(h.OverridePath, false)}
	for _, c := range h.Capabilities {
		host.Capabilities = append(host.Capabilities, string(c))
	}
	if len(host.Capabilities) == 0 { // as the schema's default, which manifests in a file have not
		host.Capabilities = []string{string(v1alpha1.MirrorPull)}
	}
	return host
}

// CABundle is what the status holds of a mirror, "" if it holds nothing.
func CABundle(rc *v1alpha1.RegistryCache, upstream, host string) string {
	for _, b := range rc.Status.MirrorCABundles {
		if b.Upstream == upstream && b.Host == host {
			return b.CABundle
		}
	}
	return ""
}

package manifests

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// localNames are reached without a proxy in every cluster. .svc stands for all names that end in it.
var localNames = []string{"localhost", "127.0.0.1", "::1", ".svc"}

// proxyEnv are the variables that both our image and a stock registry take the egress proxy from
// (https://pkg.go.dev/golang.org/x/net/http/httpproxy#FromEnvironment); none without a proxy.
func proxyEnv(v Values) []corev1.EnvVar {
	if v.Proxy == nil {
		return nil
	}
	var env []corev1.EnvVar
	for _, variable := range []corev1.EnvVar{
		{Name: "HTTP_PROXY", Value: v.Proxy.HTTPProxy},
		{Name: "HTTPS_PROXY", Value: v.Proxy.HTTPSProxy},
		{Name: "NO_PROXY", Value: noProxy(v)},
	} {
		if variable.Value != "" {
			env = append(env, variable)
		}
	}
	return env
}

// noProxy is what is local to the cluster, and then what the spec adds, each once.
func noProxy(v Values) string {
	var all []string
	for _, entry := range slices.Concat(localNames, v.ClusterNetworks, strings.Split(v.Proxy.NoProxy, ",")) {
		if entry != "" && !slices.Contains(all, entry) {
			all = append(all, entry)
		}
	}
	return strings.Join(all, ",")
}

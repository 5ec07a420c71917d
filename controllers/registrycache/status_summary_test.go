package registrycache

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

func TestSummary(t *testing.T) {
	caches := func(upstreams ...string) (list []addonsv1.Cache) {
		for _, upstream := range upstreams {
			list = append(list, addonsv1.Cache{Upstream: upstream})
		}
		return list
	}
	ready := func(upstream string, replicas int32) addonsv1.CacheStatus {
		return addonsv1.CacheStatus{Upstream: upstream, ReadyReplicas: ptr.To(replicas)}
	}
	mirrors := func(upstreams ...string) (list []addonsv1.Mirror) {
		for _, upstream := range upstreams {
			list = append(list, addonsv1.Mirror{Upstream: upstream})
		}
		return list
	}
	for name, tc := range map[string]struct {
		spec   addonsv1.RegistryCacheSpec
		status addonsv1.RegistryCacheStatus
		want   addonsv1.Summary
	}{
		"nothing is known yet": {
			spec: addonsv1.RegistryCacheSpec{Caches: caches("docker.io", "quay.io")},
			want: addonsv1.Summary{Upstreams: "docker.io,quay.io", Caches: "0/2"},
		},
		"one of two serves, nodes report": {
			spec: addonsv1.RegistryCacheSpec{Caches: caches("docker.io", "quay.io")},
			status: addonsv1.RegistryCacheStatus{
				Caches: []addonsv1.CacheStatus{ready("docker.io", 2), ready("quay.io", 0)},
				Nodes:  &addonsv1.NodesStatus{Total: ptr.To[int32](5), Configured: ptr.To[int32](4)},
			},
			want: addonsv1.Summary{Upstreams: "docker.io,quay.io", Caches: "1/2", Nodes: "4/5"},
		},
		"no node is there": {
			spec:   addonsv1.RegistryCacheSpec{Caches: caches("docker.io")},
			status: addonsv1.RegistryCacheStatus{Nodes: &addonsv1.NodesStatus{Total: ptr.To[int32](0), Configured: ptr.To[int32](0)}},
			want:   addonsv1.Summary{Upstreams: "docker.io", Caches: "0/1", Nodes: "0/0"},
		},
		"three upstreams have room": {
			spec: addonsv1.RegistryCacheSpec{Caches: caches("a", "b", "c")},
			want: addonsv1.Summary{Upstreams: "a,b,c", Caches: "0/3"},
		},
		"of more, the rest is a number": {
			spec: addonsv1.RegistryCacheSpec{Caches: caches("a", "b"), Mirrors: mirrors("c", "d", "e")},
			want: addonsv1.Summary{Upstreams: "a,b,c,+2", Caches: "0/2"},
		},
		"an upstream with both counts once": {
			spec: addonsv1.RegistryCacheSpec{Caches: caches("a"), Mirrors: mirrors("a", "b")},
			want: addonsv1.Summary{Upstreams: "a,b", Caches: "0/1"},
		},
		"there are only mirrors": {
			spec: addonsv1.RegistryCacheSpec{Mirrors: mirrors("a")},
			want: addonsv1.Summary{Upstreams: "a"},
		},
		"a cache that is on its way out is not counted": {
			spec:   addonsv1.RegistryCacheSpec{Caches: caches("a")},
			status: addonsv1.RegistryCacheStatus{Caches: []addonsv1.CacheStatus{ready("a", 1), ready("gone", 1)}},
			want:   addonsv1.Summary{Upstreams: "a", Caches: "1/1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			rc := &addonsv1.RegistryCache{Spec: tc.spec, Status: tc.status}
			before := rc.DeepCopy()
			g.Expect(summary(rc)).To(Equal(tc.want))
			g.Expect(rc).To(Equal(before), "nothing is changed by looking")
		})
	}
}

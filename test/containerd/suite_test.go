//go:build e2e

package containerd

import (
	"context"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

const (
	// name is that of the network, and begins that of all containers.
	name    = "crc-containerd"
	subnet6 = "fd63:7263:a::/64"

	repository = "library/fixture"
)

var (
	registry *stack.Registry
	fixture  stack.Image
)

func TestContainerd(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyPollingInterval(200 * time.Millisecond)
	EnforceDefaultTimeoutsWhenUsingContexts()
	RunSpecs(t, "the node script on containerd")
}

var _ = BeforeSuite(func(ctx context.Context) {
	_, err := stack.CutOff(ctx)
	Expect(err).NotTo(HaveOccurred(), "nothing but the mirror may answer")
	registry, err = stack.NewRegistry(GinkgoWriter, name, name)
	Expect(err).NotTo(HaveOccurred())
	remove(ctx)
	docker(ctx, "network", "create", "--ipv6", "--subnet", subnet6, name)
	Expect(registry.Start(ctx)).To(Succeed())
	fixture, err = registry.Push(ctx, repository)
	Expect(err).NotTo(HaveOccurred())
	buildNodeImage(ctx)
}, NodeTimeout(5*time.Minute))

var _ = AfterSuite(func(ctx context.Context) {
	if registry != nil {
		remove(ctx)
	}
}, NodeTimeout(time.Minute))

// remove removes what this process or an earlier one has left.
func remove(ctx context.Context) {
	GinkgoHelper()
	nodes := docker(ctx, "ps", "-aq", "--filter", "network="+name, "--filter", "label="+nodeLabel)
	for _, id := range strings.Fields(nodes) {
		docker(ctx, "rm", "-f", "-v", id)
	}
	Expect(registry.Remove(ctx)).To(Succeed())
	if docker(ctx, "network", "ls", "-q", "--filter", "name=^"+name+"$") != "" {
		docker(ctx, "network", "rm", name)
	}
}

func docker(ctx context.Context, args ...string) string {
	GinkgoHelper()
	printed, err := stack.Docker(ctx, nil, args...)
	Expect(err).NotTo(HaveOccurred())
	return printed
}

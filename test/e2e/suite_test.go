//go:build e2e

package e2e

import (
	"context"
	"os"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

const (
	startTimeout   = 15 * time.Minute
	removeTimeout  = 10 * time.Minute
	collectTimeout = 3 * time.Minute
)

var (
	env *stack.Stack
	// clusters are those whose logs are worth keeping.
	clusters []*stack.Cluster
)

func TestE2E(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyPollingInterval(500 * time.Millisecond)
	EnforceDefaultTimeoutsWhenUsingContexts()
	RunSpecs(t, "registry caches on real clusters")
}

var _ = BeforeSuite(func(ctx context.Context) {
	if os.Getenv("KEEP") == "" {
		removeLeftovers(ctx)
	}
	var err error
	env, err = stack.New(GinkgoWriter)
	Expect(err).NotTo(HaveOccurred())
	if err := env.Start(ctx); err != nil {
		collect("start")
		Fail(err.Error())
	}
}, NodeTimeout(startTimeout))

// removeLeftovers removes what a run that was killed has left, so that no spec meets it.
func removeLeftovers(ctx context.Context) {
	GinkgoHelper()
	earlier, err := stack.New(GinkgoWriter)
	Expect(err).NotTo(HaveOccurred())
	Expect(earlier.Remove(ctx)).To(Succeed())
}

var _ = AfterSuite(func(ctx context.Context) {
	if env == nil || os.Getenv("KEEP") != "" {
		return
	}
	Expect(env.Remove(ctx)).To(Succeed())
}, NodeTimeout(removeTimeout))

var _ = JustAfterEach(func() {
	if CurrentSpecReport().Failed() {
		collect(CurrentSpecReport().LeafNodeText)
	}
})

// collect has a time of its own: that of the spec may be over.
func collect(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	if err := env.CollectLogs(ctx, name, clusters...); err != nil {
		GinkgoLogr.Info("some logs could not be collected", "reason", err.Error())
	}
}

//go:build e2e

package e2e

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/test/e2e/stack"
)

var _ = Describe("The test networks", func() {
	It("are cut off from the outside by the first rules that Docker's traffic meets", func(ctx context.Context) {
		interfaces, err := stack.CutOff(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(interfaces).NotTo(BeEmpty())
	}, NodeTimeout(30*time.Second))

	DescribeTable("are a black hole for", func(ctx context.Context, address string) {
		node := stack.Node{Name: stack.ManagementCluster + "-control-plane"}
		out, err := node.Exec(ctx, "curl", "--silent", "--show-error", "--connect-timeout", "3", "http://"+address)
		const timedOut = "exit status 28" // of curl, whose words for it differ
		Expect(err).To(MatchError(ContainSubstring(timedOut)), "curl %s printed %q", address, out)
	},
		Entry("an address outside of this machine", NodeTimeout(30*time.Second), "198.51.100.1"),
		Entry("a Service address that no Service has", NodeTimeout(30*time.Second), "10.128.0.249:5000"),
	)
})

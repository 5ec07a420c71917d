//go:build e2e

package boot

import (
	"context"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func TestBoot(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyPollingInterval(300 * time.Millisecond)
	EnforceDefaultTimeoutsWhenUsingContexts()
	RunSpecs(t, "bootstrap data at the first boot")
}

var _ = SynchronizedBeforeSuite(func(ctx context.Context) {
	_, err := docker(ctx, "image", "inspect", image)
	Expect(err).NotTo(HaveOccurred(), "`make e2e-boot` builds the image")
	left, err := docker(ctx, "ps", "-aq", "--filter", "label="+label)
	Expect(err).NotTo(HaveOccurred())
	for _, id := range strings.Fields(left) {
		_, err := docker(ctx, "rm", "-f", "-v", id)
		Expect(err).NotTo(HaveOccurred())
	}
}, func() {}, NodeTimeout(time.Minute))

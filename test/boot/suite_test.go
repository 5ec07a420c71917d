//go:build e2e

package boot

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"syscall"
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

var _ = BeforeSuite(func(ctx context.Context) {
	_, err := docker(ctx, "image", "inspect", image)
	Expect(err).NotTo(HaveOccurred(), "`make e2e-boot` builds the image")
	removeLeftovers(ctx)
}, NodeTimeout(time.Minute))

// removeLeftovers removes the machines of processes that were killed.
func removeLeftovers(ctx context.Context) {
	GinkgoHelper()
	machines, err := docker(ctx, "ps", "-a", "--filter", "label="+label, "--format", `{{.ID}} {{.Label "`+label+`"}}`)
	Expect(err).NotTo(HaveOccurred())
	for line := range strings.Lines(machines) {
		id, owner, _ := strings.Cut(strings.TrimSpace(line), " ")
		pid, err := strconv.Atoi(owner)
		Expect(err).NotTo(HaveOccurred())
		if !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			continue
		}
		_, err = docker(ctx, "rm", "-f", "-v", id)
		Expect(err).NotTo(HaveOccurred())
	}
}

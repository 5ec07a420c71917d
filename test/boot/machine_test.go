//go:build e2e

package boot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

const (
	image = "capi-registry-cache/boot"
	// label has the process that a machine belongs to.
	label       = "capi-registry-cache.boot"
	bootTimeout = 3 * time.Minute
)

// machine is a container in which systemd is process 1.
type machine struct{ id string }

// boot makes a machine with some files, starts it, and waits until systemd has nothing left to do.
func boot(ctx context.Context, files map[string][]byte) machine {
	GinkgoHelper()
	id, err := docker(ctx, "create", "--label", fmt.Sprintf("%s=%d", label, os.Getpid()), "--network", "none", "--hostname", "machine", "--cgroupns", "private",
		"--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined", image)
	Expect(err).NotTo(HaveOccurred())
	m := machine{strings.TrimSpace(id)}
	DeferCleanup(func(ctx context.Context) error {
		_, err := docker(ctx, "rm", "-f", "-v", m.id)
		return err
	})
	m.copy(ctx, files)
	_, err = docker(ctx, "start", m.id)
	Expect(err).NotTo(HaveOccurred())
	m.settle(ctx)
	return m
}

// copy puts files below the root of a machine.
func (m machine) copy(ctx context.Context, files map[string][]byte) {
	GinkgoHelper()
	dir := GinkgoT().TempDir()
	for path, content := range files {
		path = filepath.Join(dir, path)
		Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
		Expect(os.WriteFile(path, content, 0o644)).To(Succeed())
	}
	_, err := docker(ctx, "cp", dir+"/.", m.id+":/")
	Expect(err).NotTo(HaveOccurred())
}

// restart boots a machine once more.
func (m machine) restart(ctx context.Context) {
	GinkgoHelper()
	_, err := docker(ctx, "restart", m.id)
	Expect(err).NotTo(HaveOccurred())
	m.settle(ctx)
}

// settle waits until the jobs of the boot are done. The state is not looked at: units that fail are among the effects.
func (m machine) settle(ctx context.Context) {
	GinkgoHelper()
	Eventually(ctx, func() (string, error) {
		out, err := docker(ctx, "exec", m.id, "sh", "-c", "systemctl is-system-running --wait || :")
		if err != nil && strings.Contains(err.Error(), "is not running") {
			return out, StopTrying("the machine did not get as far as systemd").Wrap(err)
		}
		return out, err
	}).WithTimeout(bootTimeout).Should(BeElementOf("running\n", "degraded\n"), m.log)
}

// probed waits until our unit has asked both caches, of which one answers.
func (m machine) probed(ctx context.Context) {
	GinkgoHelper()
	Eventually(ctx, func() (string, error) {
		return docker(ctx, "exec", m.id, "cat", "/run/capi-registry-cache/state")
	}).WithTimeout(bootTimeout).Should(Equal(
		"docker.io active\nregistry.example:5443 waiting cache "+silent+"/v2/?ns=registry.example%3A5443 does not answer\n"), m.log)
	Expect(m.run(ctx, "systemctl", "is-active", payload.UnitName)).To(Equal("active\n"))
}

// run runs a program and returns what it printed.
func (m machine) run(ctx context.Context, args ...string) string {
	GinkgoHelper()
	out, err := docker(ctx, append([]string{"exec", m.id}, args...)...)
	Expect(err).NotTo(HaveOccurred())
	return out
}

// log is what the machine printed before systemd started, and the end of its journal.
func (m machine) log() string {
	ctx, cancel := context.WithTimeout(context.Background(), bootTimeout)
	defer cancel()
	console, err := docker(ctx, "logs", m.id)
	if err != nil {
		return err.Error()
	}
	journal, err := docker(ctx, "exec", m.id, "journalctl", "--no-pager", "-o", "short-monotonic", "-n", "300")
	if err != nil {
		journal = err.Error()
	}
	return console + "\n" + journal
}

// both boots two machines side by side.
func both(ctx context.Context, one, other map[string][]byte) (first, second machine) {
	GinkgoHelper()
	var group sync.WaitGroup
	group.Go(func() {
		defer GinkgoRecover()
		first = boot(ctx, one)
	})
	group.Go(func() {
		defer GinkgoRecover()
		second = boot(ctx, other)
	})
	group.Wait()
	return first, second
}

//go:build e2e

package boot

import (
	"context"
	"path"
	"regexp"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// preset is where Ignition says which units are enabled.
const preset = "/etc/systemd/system-preset/20-ignition.preset"

// users is a config of a user.
const users = `{"ignition":{"version":"3.1.0"},"storage":{"files":[{"path":"/etc/user","contents":{"source":"data:,user"}}]}}`

var _ = Describe("an Ignition config", func() {
	DescribeTable("has the effects of the original, and ours before kubeadm", func(ctx context.Context, name string) {
		original, with := read("ignition", name), injected(read("ignition", name))
		if !regexp.MustCompile(`"version": *"3\.`).Match(original) {
			Expect(reports(with)).To(Equal(reports(original)))
			Expect(refusal(with)).To(Equal(refusal(original)))
			original, with = converted(original), converted(with)
		}
		expectSameEffects(ctx, name, original, with)
	}, entries(samples("ignition", "*.ign")...))
})

// expectSameEffects boots a machine with each of two configs, and the second a second time.
func expectSameEffects(ctx context.Context, name string, config, injected []byte) {
	GinkgoHelper()
	original, with := both(ctx, initramfs(name, config), initramfs(name, injected))
	with.probed(ctx)

	before, after := original.effects(ctx), with.effects(ctx)
	Expect(presets(&after)).To(ConsistOf(append(presets(&before), "enable "+payload.UnitName+"\n")))
	Expect(after.Files).To(BeComparableTo(withOurs(before.Files)))
	Expect(after.commands()).To(Equal(before.commands()))
	Expect(after.Failed).To(Equal(before.Failed))
	Expect(with.warnings(ctx)).To(Equal(original.warnings(ctx)))

	with.restart(ctx)
	with.probed(ctx)
	again := with.effects(ctx)
	presets(&again)
	for _, c := range again.Calls { // of both boots
		Expect(c).To(And(HaveField("Unit", "active"), HaveField("Containerd", "active")))
	}
	Expect(onDisk(again.Files)).To(BeComparableTo(onDisk(after.Files)))
}

// elsewhere are the files on other machines that a sample names.
func elsewhere(name string) map[string][]byte {
	GinkgoHelper()
	return map[string]map[string][]byte{
		"v3.1.ign": {"user": zipped([]byte(users))},
		"v2.3.ign": {"user": []byte(users), "remote": zipped([]byte("remote\n"))},
		"v2.4.ign": {"a": []byte("a\n")},
	}[name]
}

// initramfs is a config where the machine applies it before systemd starts, and what it names elsewhere.
func initramfs(name string, config []byte) map[string][]byte {
	files := map[string][]byte{"/config.ign": config}
	for path, content := range elsewhere(name) {
		files["/srv/remote/"+path] = content
	}
	return files
}

// presets takes the units that Ignition enables out of the effects.
func presets(e *effects) []string {
	_, lines, _ := strings.Cut(e.Files[preset], "\n")
	delete(e.Files, preset)
	delete(e.Files, path.Dir(preset))
	return slices.Collect(strings.Lines(lines))
}

// warnings are what Ignition and its validator complain of.
func (m machine) warnings(ctx context.Context) []string {
	GinkgoHelper()
	console, err := docker(ctx, "logs", m.id)
	Expect(err).NotTo(HaveOccurred())
	return regexp.MustCompile(`(?mi)^.*(warning|error|deprecated).*$`).FindAllString(console, -1)
}

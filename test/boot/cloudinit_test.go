//go:build e2e

package boot

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap"
)

const metadata = `{"instance-id": "i-1", "instance_id": "i-1", "hostname": "node-1", "local-hostname": "node-1"}`

var _ = Describe("user data of cloud-init", func() {
	DescribeTable("has the effects of the original, and ours before those of its commands", func(ctx context.Context, name string) {
		data := userData(name)
		original, with := both(ctx, seed(data), seed(injected(data)))
		with.probed(ctx)

		before, after := original.effects(ctx), with.effects(ctx)
		Expect(slices.Contains(quiet, name)).To(Equal(len(before.Calls) == 0), "cloud-init ran the original")
		Expect(after.Files).To(BeComparableTo(withOurs(before.Files)))
		Expect(after.commands()).To(Equal(before.commands()))
		Expect(after.Failed).To(Equal(before.Failed))
		Expect(with.complaints(ctx)).To(Equal(original.complaints(ctx)))
		for _, c := range after.Calls {
			if c.fromCommands() {
				Expect(c).To(And(HaveField("Unit", "active"), HaveField("Containerd", "active")))
			}
		}

		with.restart(ctx)
		with.probed(ctx)
		again := with.effects(ctx)
		Expect(onDisk(again.Files)).To(BeComparableTo(onDisk(after.Files)))
		Expect(slices.DeleteFunc(again.Calls, call.everyBoot)).To(Equal(slices.DeleteFunc(after.Calls, call.everyBoot)))
	}, userDataEntries())

	It("is left alone where cloud-init ignores it", func() {
		data := read("cloudinit", ignored)
		Expect(bootstrap.Inject(data, "", values).Data).To(Equal(data))
	})
})

// ignored is a sample that cloud-init ignores, so that nothing can be injected.
const ignored = "k0smotron-repeated.yaml"

// quiet are the samples that call nothing for which there is a stand-in.
var quiet = []string{"boothook.txt", "jinja-conditional.txt", "jinja-quoted.yaml", "jinja-unquoted.txt", "part-handler.txt"}

func userDataEntries() []TableEntry {
	names := slices.Concat(samples("cloudinit", "*.yaml"), samples("cloudinit", "*.txt"))
	names = slices.DeleteFunc(names, func(name string) bool { return name == ignored })
	return entries(append(names, "rke2-server.yaml.gz", "k0smotron-vars.txt.gz", "mime-nested.txt.gz")...)
}

// userData is a sample, compressed if its name asks for that.
func userData(name string) []byte {
	GinkgoHelper()
	if name, ok := strings.CutSuffix(name, ".gz"); ok {
		return zipped(read("cloudinit", name))
	}
	return read("cloudinit", name)
}

// seed is user data where the data source NoCloud looks for it.
func seed(data []byte) map[string][]byte {
	return map[string][]byte{
		"/var/lib/cloud/seed/nocloud/user-data": data,
		"/var/lib/cloud/seed/nocloud/meta-data": []byte(metadata),
	}
}

// complaint is a line of cloud-init's log, without the time.
var complaint = regexp.MustCompile(`(?m) - (\S+\[(?:WARNING|ERROR|CRITICAL)\]: .*)$`)

// complaints are cloud-init's errors and warnings.
func (m machine) complaints(ctx context.Context) string {
	GinkgoHelper()
	all := []string{
		m.run(ctx, "cat", "/run/cloud-init/result.json"),
		m.run(ctx, "sh", "-c", "cloud-init schema --system 2>&1 || :"),
	}
	for _, match := range complaint.FindAllStringSubmatch(m.run(ctx, "cat", "/var/log/cloud-init.log"), -1) {
		all = append(all, match[1])
	}
	return strings.Join(all, "\n")
}

// fromCommands tells a call of runcmd and scripts from those of cloud-init itself and of earlier stages.
func (c call) fromCommands() bool {
	return c.Service == "cloud-final.service" && !strings.HasPrefix(c.Command, "apt-get ")
}

// everyBoot tells a call that belongs to every boot, not to the first.
func (c call) everyBoot() bool { return c.Service != "cloud-final.service" }

// onDisk leaves out what no boot keeps.
func onDisk(files map[string]string) map[string]string {
	maps.DeleteFunc(files, func(path, _ string) bool { return strings.HasPrefix(path, "/run/") || strings.HasPrefix(path, "/tmp/") })
	return files
}

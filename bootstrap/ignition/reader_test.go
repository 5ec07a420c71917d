package ignition

import (
	"encoding/json"
	"net/url"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/flatcar/ignition/config/v2_3/types"
	"github.com/flatcar/ignition/config/v2_4"
	v24types "github.com/flatcar/ignition/config/v2_4/types"
	"github.com/flatcar/ignition/config/validate"
	. "github.com/onsi/gomega"
	"github.com/vincent-petithory/dataurl"
	"sigs.k8s.io/yaml"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// The Docker provider of Cluster API wants YAML, reads it as 2.3 whatever it says, follows the pointer of a mode, takes a
// source as it is unless it is a data URL, decompresses nothing, and enables units one by one, waiting for each.
func TestInject_result_is_read_by_the_docker_provider(t *testing.T) {
	files := realFiles(t, "docker.io", "registry.example:5443")
	for _, name := range twos {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			out := injected(t, read(t, name), files)
			g.Expect(yaml.Unmarshal(out, &map[string]any{})).To(Succeed())
			var config types.Config
			g.Expect(json.Unmarshal(out, &config)).To(Succeed())

			var got []payload.File
			for _, f := range config.Storage.Files {
				if !payload.Owned(f.Path) {
					continue
				}
				g.Expect(f.Mode).NotTo(BeNil())
				g.Expect(f.Contents.Compression).To(BeEmpty())
				u, err := url.Parse(strings.TrimSpace(f.Contents.Source))
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(u.Scheme).To(Equal("data"))
				content, err := dataurl.DecodeString(f.Contents.Source)
				g.Expect(err).NotTo(HaveOccurred())
				got = append(got, payload.File{Path: f.Path, Mode: os.FileMode(*f.Mode), Content: content.Data})
			}
			isUnit := func(f payload.File) bool { return f.Path == unitDir+unitName }
			g.Expect(got).To(Equal(slices.DeleteFunc(slices.Clone(files), isUnit)))

			first := config.Systemd.Units[0]
			g.Expect(first.Name).To(Equal(unitName), "before the one that runs kubeadm")
			g.Expect(first.Enable || *first.Enabled).To(BeTrue())
			g.Expect(first.Contents).To(Equal(string(files[slices.IndexFunc(files, isUnit)].Content)))
		})
	}
}

func TestInject_result_is_taken_by_Flatcar_if_the_original_is(t *testing.T) {
	for _, name := range twos {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(flatcarRefuses(t, read(t, name))).To(BeEmpty())
			g.Expect(flatcarRefuses(t, injected(t, read(t, name), realFiles(t, "docker.io", "quay.io")))).To(BeEmpty())
		})
	}
}

// flatcarRefuses tells what of a config of 2.x keeps Flatcar 3185 and later from booting. Those convert it to 3.1.0 with a
// converter of their own, which unlike coreos/ign-converter merges units of one name: config-add-ignition-translation.patch
// below sys-apps/ignition in https://github.com/flatcar/scripts.
func flatcarRefuses(t *testing.T, config []byte) (reasons []string) {
	t.Helper()
	c, _, err := v2_4.Parse(config)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	if rpt := validate.ValidateWithoutSource(reflect.ValueOf(c)); rpt.IsFatal() || rpt.IsDeprecated() {
		reasons = append(reasons, "fields that are deprecated")
	}
	taken := map[string]bool{}
	for _, u := range c.Systemd.Units {
		taken[unitDir+u.Name] = taken[unitDir+u.Name] || u.Contents != ""
		seen := map[string]bool{}
		for _, d := range u.Dropins {
			if seen[d.Name] {
				reasons = append(reasons, "two drop-ins of one name")
			}
			seen[d.Name] = true
			taken[path.Join(unitDir, u.Name+".d", d.Name)] = true
		}
	}
	for _, node := range nodes(c) {
		if node.Filesystem != "root" {
			continue // named filesystems are mounted elsewhere
		}
		p := path.Clean(node.Path)
		if taken[p] {
			reasons = append(reasons, "two entries for "+p+", or a unit of this path")
		}
		taken[p] = true
		for _, l := range c.Storage.Links {
			if strings.HasPrefix(p, path.Clean(l.Path)+"/") {
				reasons = append(reasons, p+" below a link")
			}
		}
	}
	return reasons
}

func nodes(c v24types.Config) (all []v24types.Node) {
	for _, f := range c.Storage.Files {
		all = append(all, f.Node)
	}
	for _, d := range c.Storage.Directories {
		all = append(all, d.Node)
	}
	for _, l := range c.Storage.Links {
		all = append(all, l.Node)
	}
	return all
}

func TestInject_unit_of_an_earlier_part_is_no_file_beside_the_unit(t *testing.T) {
	g := NewWithT(t)
	in := []byte(`{"ignition":{"version":"2.3.0"},"storage":{"files":[{"filesystem":"root","path":"` + unitDir + unitName +
		`","contents":{"source":"data:,%23%20managed%20by%20capi-registry-cache%0A%5BInstall%5D%0AWantedBy%3Da.target%0A"},"mode":420}]},"systemd":{"units":[{"name":"` +
		unitName + `","enabled":true,"contents":"` + payload.Marker + `\n[Install]\nWantedBy=a.target\n"}]}}`)
	g.Expect(flatcarRefuses(t, in)).NotTo(BeEmpty(), "Flatcar wants one or the other")
	g.Expect(flatcarRefuses(t, injected(t, in, oneFile()))).To(BeEmpty())
}

//go:build e2e

package boot

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/coreos/ign-converter/translate/v24tov31"
	coreos "github.com/coreos/ignition/config/v2_4"
	"github.com/coreos/ignition/config/v2_4/types"
	flatcar "github.com/flatcar/ignition/config/v2_4"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// parse reads a config of 2.x as Flatcar does on a node.
func parse(config []byte) types.Config {
	GinkgoHelper()
	c, _, err := coreos.Parse(config)
	Expect(err).NotTo(HaveOccurred())
	return c
}

// refusal is why ign-converter takes no config, if so. It is stricter than Flatcar, which has a converter of its own.
func refusal(config []byte) string {
	GinkgoHelper()
	return fmt.Sprint(v24tov31.Check2_4(parse(config), nil))
}

// converted is a config of 2.x as 3.1.
func converted(config []byte) []byte {
	GinkgoHelper()
	c := parse(config)
	c.Systemd.Units = merged(c.Systemd.Units)
	translated, err := v24tov31.Translate(c, nil)
	Expect(err).NotTo(HaveOccurred())
	out, err := json.Marshal(translated)
	Expect(err).NotTo(HaveOccurred())
	return out
}

// merged makes one unit of several of one name, as the converter of Flatcar does: config-add-ignition-translation.patch below
// sys-apps/ignition in https://github.com/flatcar/scripts.
func merged(units []types.Unit) []types.Unit {
	var all []types.Unit
	for _, u := range units {
		i := slices.IndexFunc(all, func(earlier types.Unit) bool { return earlier.Name == u.Name })
		if i < 0 {
			all = append(all, u)
			continue
		}
		all[i].Dropins = append(all[i].Dropins, u.Dropins...)
		all[i].Mask = all[i].Mask || u.Mask
		if u.Contents != "" {
			all[i].Contents = u.Contents
		}
		if u.Enabled != nil {
			all[i].Enabled = u.Enabled
		}
	}
	return all
}

// reports are what the parser of older Flatcar, which runs 2.x itself, says of a config.
func reports(config []byte) []string {
	GinkgoHelper()
	_, rpt, err := flatcar.Parse(config)
	Expect(err).NotTo(HaveOccurred())
	var all []string
	for _, entry := range rpt.Entries {
		all = append(all, entry.Kind.String()+": "+entry.Message)
	}
	return all
}

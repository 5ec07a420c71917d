package ignition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_0"
	"github.com/coreos/ignition/v2/config/v3_1"
	"github.com/coreos/ignition/v2/config/v3_2"
	"github.com/coreos/ignition/v2/config/v3_3"
	"github.com/coreos/ignition/v2/config/v3_4"
	"github.com/coreos/ignition/v2/config/v3_5"
	"github.com/coreos/ignition/v2/config/v3_6"
	"github.com/flatcar/ignition/config/v2_0"
	"github.com/flatcar/ignition/config/v2_1"
	"github.com/flatcar/ignition/config/v2_2"
	"github.com/flatcar/ignition/config/v2_3"
	"github.com/flatcar/ignition/config/v2_4"
	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// official are the parsers that nodes have, each called as it is: unlike here, with everything around it.
var official = map[string]func([]byte) (any, fmt.Stringer, error){
	"2.0.0": parser(v2_0.Parse), "2.1.0": parser(v2_1.Parse), "2.2.0": parser(v2_2.Parse), "2.3.0": parser(v2_3.Parse), "2.4.0": parser(v2_4.Parse),
	"3.0.0": parser(v3_0.Parse), "3.1.0": parser(v3_1.Parse), "3.2.0": parser(v3_2.Parse), "3.3.0": parser(v3_3.Parse), "3.4.0": parser(v3_4.Parse),
	"3.5.0": parser(v3_5.Parse), "3.6.0": parser(v3_6.Parse),
}

func parser[C any, R fmt.Stringer](parse func([]byte) (C, R, error)) func([]byte) (any, fmt.Stringer, error) {
	return func(config []byte) (any, fmt.Stringer, error) { return parse(config) }
}

// generic is any JSON, with numbers as they are written.
func generic(g *WithT, text []byte) map[string]any {
	var v map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	g.Expect(decoder.Decode(&v)).To(Succeed())
	return v
}

// apart takes our entries out of a config, and leaves empty lists and sections out; it knows them by their paths alone.
func apart(config map[string]any) (foreign map[string]any, files, units []any) {
	take := func(section, list, key string, own func(string) bool) (ours []any) {
		s, _ := config[section].(map[string]any)
		all, _ := s[list].([]any)
		var rest []any
		for _, e := range all {
			if name, _ := e.(map[string]any)[key].(string); own(name) {
				ours = append(ours, e)
			} else {
				rest = append(rest, e)
			}
		}
		delete(s, list)
		if len(rest) > 0 {
			s[list] = rest
		}
		if len(s) == 0 {
			delete(config, section)
		}
		return ours
	}
	files = take("storage", "files", "path", payload.Owned)
	units = take("systemd", "units", "name", func(name string) bool { return name == unitName })
	return config, files, units
}

// inForce is the config that a node uses: what replaces the outer one.
func inForce(g *WithT, config []byte) []byte {
	ignition := generic(g, config)["ignition"].(map[string]any)
	c, _ := ignition["config"].(map[string]any)
	replace, _ := c["replace"].(map[string]any)
	source, ok := replace["source"].(string)
	if !ok {
		return config
	}
	compression, _ := replace["compression"].(string)
	inner, err := decode(source, compression, maxSize)
	g.Expect(err).NotTo(HaveOccurred())
	return inner
}

func versionOf(g *WithT, config []byte) string {
	return generic(g, config)["ignition"].(map[string]any)["version"].(string)
}

func TestInject_keeps_version_and_value_of_everything_foreign_as_JSON(t *testing.T) {
	for _, name := range slices.Concat(twos, threes) {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := read(t, name)
			out := injected(t, in, realFiles(t, "docker.io", "quay.io"))
			before, files, units := apart(generic(g, inForce(g, in)))
			g.Expect(slices.Concat(files, units)).To(BeEmpty())
			after, files, units := apart(generic(g, inForce(g, out)))
			g.Expect(after).To(Equal(before))
			g.Expect(files).To(HaveLen(8))
			g.Expect(units).To(HaveLen(1))
		})
	}
}

func TestInject_result_is_read_by_the_official_parser_of_its_version(t *testing.T) {
	for _, name := range slices.Concat(twos, threes) {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := inForce(g, read(t, name))
			out := inForce(g, injected(t, read(t, name), realFiles(t, "docker.io", "quay.io")))
			parse := official[versionOf(g, in)]
			seen := func(config []byte) (map[string]any, []any, []any) {
				c, rpt, err := parse(config)
				g.Expect(err).NotTo(HaveOccurred(), rpt.String())
				text, err := json.Marshal(c)
				g.Expect(err).NotTo(HaveOccurred())
				ours, err := specs[versionOf(g, in)].check(config)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(string(ours)).To(Equal(string(text)), "what we read is what the parser reads")
				return apart(generic(g, text))
			}
			before, _, _ := seen(in)
			after, files, units := seen(out)
			g.Expect(after).To(Equal(before))
			g.Expect(files).To(HaveLen(8))
			for _, f := range files {
				g.Expect(f).To(HaveKeyWithValue("mode", Or(Equal(json.Number("420")), Equal(json.Number("493")))))
			}
			g.Expect(units).To(ConsistOf(Or(HaveKeyWithValue("enabled", true), HaveKeyWithValue("enable", true))))
		})
	}
}

func TestInject_part_raises_no_warning(t *testing.T) {
	for version, parse := range official {
		t.Run(version, func(t *testing.T) {
			g := NewWithT(t)
			out := injected(t, fmt.Appendf(nil, `{"ignition":{"version":%q}}`, version), realFiles(t, "docker.io"))
			_, rpt, err := parse(out)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(reflect.ValueOf(rpt).FieldByName("Entries").Len()).To(BeZero(), rpt.String())
		})
	}
}

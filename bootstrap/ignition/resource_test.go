package ignition

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vincent-petithory/dataurl"
)

func base64URL(content string) string {
	return "data:;base64," + base64.StdEncoding.EncodeToString([]byte(content))
}

// around is a config of a version that names another one.
func around(version, what, source, rest string) string {
	return fmt.Sprintf(`{"ignition":{"version":%q,"config":{%q:{"source":%q%s}}}}`, version, what, source, rest)
}

// merging is a config of a version with others to be merged.
func merging(version, list string, sources ...string) string {
	var children []string
	for _, s := range sources {
		children = append(children, fmt.Sprintf(`{"source":%q}`, s))
	}
	return fmt.Sprintf(`{"ignition":{"version":%q,"config":{%q:[%s]}}}`, version, list, strings.Join(children, ","))
}

// bare is a config of 3.2.0, full the same with our part.
var (
	bare = spelt("")
	full = spelt(`,"storage":{"files":[<F>]},"systemd":{"units":[<U>]}`)
)

func TestInject_goes_into_the_config_that_replaces_the_outer_one(t *testing.T) {
	v2, v2full := `{"ignition":{"version":"2.3.0"}}`, ""
	v2full = string(injected(t, []byte(v2), oneFile()))
	hash := func(function, content string) string {
		return fmt.Sprintf(`,"verification":{"hash":%q}`, sum(function, []byte(content)))
	}
	for name, tc := range map[string]struct{ in, out string }{
		"base64":                  {around("3.3.0", "replace", base64URL(bare), ""), around("3.3.0", "replace", base64URL(full), "")},
		"base64 and a media type": {around("3.3.0", "replace", "data:text/plain;charset=utf-8;base64,"+base64URL(bare)[13:], ""), around("3.3.0", "replace", "data:text/plain;charset=utf-8;base64,"+base64URL(full)[13:], "")},
		"percent-encoded":         {around("3.0.0", "replace", "data:,"+dataurl.EscapeString(bare), ""), around("3.0.0", "replace", "data:,"+dataurl.EscapeString(full), "")},
		"gzip":                    {around("3.1.0", "replace", gzipURL(t, bare), `,"compression":"gzip"`), around("3.1.0", "replace", gzipURL(t, full), `,"compression":"gzip"`)},
		"gzip and a hash":         {around("3.4.0", "replace", gzipURL(t, bare), `,"compression":"gzip"`+hash("sha512", bare)), around("3.4.0", "replace", gzipURL(t, full), `,"compression":"gzip"`+hash("sha512", full))},
		"a short hash":            {around("3.4.0", "replace", base64URL(bare), hash("sha256", bare)), around("3.4.0", "replace", base64URL(full), hash("sha256", full))},
		"2.x":                     {around("2.3.0", "replace", base64URL(v2), hash("sha512", v2)), around("2.3.0", "replace", base64URL(v2full), hash("sha512", v2full))},
		"another version inside":  {around("3.6.0", "replace", base64URL(bare), ""), around("3.6.0", "replace", base64URL(full), "")},
		"one in the other": {
			around("3.3.0", "replace", base64URL(around("3.3.0", "replace", gzipURL(t, bare), `,"compression":"gzip"`)), ""),
			around("3.3.0", "replace", base64URL(around("3.3.0", "replace", gzipURL(t, full), `,"compression":"gzip"`)), ""),
		},
		"what is void stays": {
			strings.TrimSuffix(around("3.3.0", "replace", base64URL(bare), ""), "}") + `,"storage":{"files":[{"path":"/a"},{"path":"/opt/bin"}]}}`,
			strings.TrimSuffix(around("3.3.0", "replace", base64URL(full), ""), "}") + `,"storage":{"files":[{"path":"/a"},{"path":"/opt/bin"}]}}`,
		},
		"no source is no replacement": {`{"ignition":{"version":"3.2.0","config":{"replace":{"verification":{}}}}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			out := injected(t, []byte(tc.in), oneFile())
			if tc.out != "" {
				g.Expect(string(out)).To(Equal(tc.out))
			}
			_, files, units := apart(generic(g, inForce(g, inForce(g, out))))
			g.Expect(files).To(HaveLen(1))
			g.Expect(units).To(HaveLen(1))
			g.Expect(string(injected(t, out, oneFile()))).To(Equal(string(out)), "I4")
			g.Expect(official[versionOf(g, out)](out)).Error().NotTo(HaveOccurred())
		})
	}
}

func TestInject_goes_beside_the_configs_that_are_merged_and_takes_an_earlier_part_out_of_those(t *testing.T) {
	const foreign = `,"storage":{"files":[{"path":"/b"}]}`
	child := func(rest string) string { return base64URL(spelt(rest)) }
	for name, tc := range map[string]struct {
		in    string
		child string // what the first child is to become
	}{
		"nothing of ours":        {merging("3.4.0", "merge", child(foreign)), child(foreign)},
		"ours":                   {merging("3.4.0", "merge", base64URL(full), child(foreign)), child(`,"storage":{"files":[]},"systemd":{"units":[]}`)},
		"ours and others":        {merging("3.4.0", "merge", child(`,"storage":{"files":[<F>,{"path":"/b"}]}`)), child(foreign)},
		"remote":                 {merging("3.4.0", "merge", "https://config.example/a", child(foreign)), "https://config.example/a"},
		"a child of a child":     {merging("3.4.0", "merge", base64URL(merging("3.2.0", "merge", base64URL(full)))), base64URL(merging("3.2.0", "merge", child(`,"storage":{"files":[]},"systemd":{"units":[]}`)))},
		"a child that is void":   {merging("3.4.0", "merge", base64URL(around("3.2.0", "replace", base64URL(full), ""))), base64URL(around("3.2.0", "replace", child(`,"storage":{"files":[]},"systemd":{"units":[]}`), ""))},
		"2.x, what is appended":  {merging("2.3.0", "append", base64URL(`{"ignition":{"version":"2.2.0"}}`)), base64URL(`{"ignition":{"version":"2.2.0"}}`)},
		"2.x, the newer's words": {merging("2.3.0", "merge", "data:;base64,no"), "data:;base64,no"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			out := injected(t, []byte(tc.in), oneFile())
			var got struct {
				Ignition struct {
					Config struct{ Merge, Append []struct{ Source string } }
				}
			}
			g.Expect(json.Unmarshal(out, &got)).To(Succeed())
			children := slices.Concat(got.Ignition.Config.Merge, got.Ignition.Config.Append)
			g.Expect(children[0].Source).To(Equal(tc.child))
			_, files, units := apart(generic(g, out))
			g.Expect(files).To(HaveLen(1))
			g.Expect(units).To(HaveLen(1))
			g.Expect(string(injected(t, out, oneFile()))).To(Equal(string(out)), "I4")
		})
	}
}

func TestInject_bounds_what_it_decompresses(t *testing.T) {
	bomb := spelt(`,"x":"` + strings.Repeat(" ", maxSize) + `"`)
	half := gzipURL(t, spelt(`,"x":"`+strings.Repeat(" ", maxSize/2)+`"`))
	gzipChild := fmt.Sprintf(`{"source":%q,"compression":"gzip"}`, half)
	for name, in := range map[string]string{
		"one":       around("3.3.0", "replace", gzipURL(t, bomb), `,"compression":"gzip"`),
		"many":      `{"ignition":{"version":"3.3.0","config":{"merge":[` + gzipChild + `,` + gzipChild + `]}}}`,
		"in itself": string(bytes.Repeat([]byte(" "), maxSize)) + bare,
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, in, "more than 16 MiB")
		})
	}
}

package ignition

import (
	"slices"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

func refused(t *testing.T, in, reason string) {
	t.Helper()
	g := NewWithT(t)
	data := []byte(in)
	out, err := Inject(data, oneFile(), unitName)
	g.Expect(err).To(MatchError(ContainSubstring(reason)))
	g.Expect(err.Error()).NotTo(ContainSubstring("s3cret"), "I7")
	g.Expect(out).To(BeNil())
	g.Expect(string(data)).To(Equal(in))
}

func TestParse_wants_an_object_with_a_version(t *testing.T) {
	for in, want := range map[string]bool{
		`{"ignition":{"version":"3.3.0"}}`:                   true,
		" \r\n{\"ignition\":{\"version\":\"2.3.0\"}}\t":      true,
		`{"ignition":{"version":"3.7.0-experimental"}}`:      true,
		`{"storage":{},"ignition":{"x":1,"version":"9"}}`:    true,
		`{"ignition":{"version":3}}`:                         false,
		`{"ignition":{"version":null}}`:                      false,
		`{"ignition":{}}`:                                    false,
		`{"ignition":"version"}`:                             false,
		`{"ignition":null}`:                                  false,
		`{"Ignition":{"version":"3.3.0"}}`:                   false,
		`{"ignitionVersion":1}`:                              false,
		`[{"ignition":{"version":"3.3.0"}}]`:                 false,
		`{"ignition":{"version":"3.3.0"}`:                    false,
		`{"ignition":{"version":"3.3.0"}} x`:                 false,
		"\ufeff" + `{"ignition":{"version":"3.3.0"}}`:        false,
		"#cloud-config\n":                                    false,
		`null`:                                               false,
		`"ignition"`:                                         false,
		``:                                                   false,
		" ":                                                  false,
		"\x1f\x8b\x08\x00":                                   false,
		`{"ignition":{"version":"3.3.0","version":"2.3.0"}}`: false,
	} {
		t.Run(in, func(t *testing.T) {
			if !want {
				refused(t, in, "not Ignition")
				return
			}
			_, err := parse([]byte(in))
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
		})
	}
}

func TestInject_refuses_a_config_that_it_cannot_change_safely(t *testing.T) {
	const (
		certsDir = "/etc/capi-registry-cache/certs-dir"
		remote   = `{"path":"` + certsDir + `","contents":{"source":"https://s3cret.example"}}`
	)
	files := func(text string) string { return spelt(`,"storage":{"files":[` + text + `]}`) }
	units := func(text string) string { return spelt(`,"systemd":{"units":[` + text + `]}`) }
	two := func(storage string) string { return `{"ignition":{"version":"2.3.0"},"storage":{` + storage + `}}` }
	for name, tc := range map[string]struct{ in, reason string }{
		"a version to come":             {`{"ignition":{"version":"3.7.0-experimental"}}`, "ignition.version 3.7.0-experimental: 2.0.0 to 2.4.0 and 3.0.0 to 3.6.0 are accepted"},
		"a version of old":              {`{"ignition":{"version":"1.0.0"}}`, "ignition.version 1.0.0: "},
		"an experiment of 2.x":          {`{"ignition":{"version":"2.5.0-experimental"}}`, "ignition.version 2.5.0-experimental: "},
		"a version that is none":        {`{"ignition":{"version":"s3cret"}}`, "ignition.version of unknown form: "},
		"a section that is no object":   {spelt(`,"storage":["s3cret"]`), "storage: not an object"},
		"a list that is none":           {spelt(`,"storage":{"files":{"a":"s3cret"}}`), "storage.files: not an array"},
		"a file that is no object":      {files(`"s3cret"`), "storage.files[0]: not an object"},
		"a section twice":               {spelt(`,"storage":{},"storage":{"files":[]}`), `the field "storage" stands twice`},
		"a section in capitals":         {spelt(`,"Storage":{"files":[]}`), `the field "storage" stands twice or in other letters`},
		"a path twice":                  {files(`{"path":"/a","path":"/b"}`), `storage.files[0]: the field "path" stands twice`},
		"an invalid config":             {spelt(`,"storage":{"files":[{"path":"s3cret"}]}`), "it is not valid Ignition 3.2.0 at $.storage.files.0.path"},
		"an invalid type":               {spelt(`,"passwd":{"users":"s3cret"}`), "it is not valid Ignition 3.2.0"},
		"an invalid config of 2.x":      {two(`"files":[{"filesystem":"root","path":"s3cret"}]`), "it is not valid Ignition 2.3.0"},
		"two files for one path":        {files(`{"path":"/s3cret"},{"path":"/b"},{"path":"/s3cret"}`), "storage.files[0] and storage.files[2] are for one path or unit"},
		"a file and a directory":        {spelt(`,"storage":{"files":[{"path":"/a"}],"directories":[{"path":"/a"}]}`), "storage.files[0] and storage.directories[0] are for one path"},
		"two files in 2.x":              {two(`"files":[{"filesystem":"root","path":"/a/b"},{"filesystem":"root","path":"/a//b"}]`), "storage.files[0] and storage.files[1] are for one path"},
		"two units":                     {units(`{"name":"a.service"},{"name":"a.service"}`), "systemd.units[0] and systemd.units[1] are for one path or unit"},
		"a remote file at our path":     {files(remote), "storage.files[0] (" + certsDir + "): something else"},
		"a file at an older path":       {files(`{"path":"/etc/capi-registry-cache/s3cret"}`), "storage.files[0]: something else"},
		"appending to our file":         {files(`{"path":"` + certsDir + `","append":[{"source":"data:,s3cret"}]}`), "storage.files[0] (" + certsDir + ")"},
		"a damaged file at our path":    {files(`{"path":"` + certsDir + `","contents":{"source":"data:;base64,s3cret"}}`), "storage.files[0]"},
		"a foreign file for our unit":   {files(`{"path":"` + unitDir + unitName + `","contents":{"source":"data:,s3cret"}}`), "storage.files[0] (" + unitDir + unitName + ")"},
		"a link at our path":            {spelt(`,"storage":{"links":[{"path":"` + certsDir + `","target":"/s3cret"}]}`), "storage.links[0] (" + certsDir + ")"},
		"a link above our path":         {spelt(`,"storage":{"links":[{"path":"/etc/capi-registry-cache","target":"/s3cret"}]}`), "storage.links[0]: something else is at or above"},
		"a link above our path, in 2.x": {two(`"links":[{"filesystem":"root","path":"/etc/","target":"/s3cret"}]`), "storage.links[0]: something else is at or above"},
		"a directory at our path":       {spelt(`,"storage":{"directories":[{"path":"` + certsDir + `"}]}`), "storage.directories[0] (" + certsDir + ")"},
		"a foreign unit of our name":    {units(`{"name":"` + unitName + `","contents":"s3cret"}`), "systemd.units[0] (" + unitName + "): something else has the name of our unit"},
		"our unit, masked":              {units(`{"name":"` + unitName + `","mask":true}`), "systemd.units[0]"},
		"our unit, disabled":            {units(`{"name":"` + unitName + `","enabled":false}`), "systemd.units[0]"},
		"our unit with a drop-in":       {units(`{"name":"` + unitName + `","dropins":[{"name":"s3cret.conf"}]}`), "systemd.units[0]"},
		"replaced from elsewhere":       {around("3.3.0", "replace", "https://s3cret.example", ""), "ignition.config.replace: the source is not a data URL, which alone can be read here"},
		"replaced by nothing, in 2.x":   {`{"ignition":{"version":"2.3.0","config":{"replace":{}}}}`, "ignition.config.replace: the source is not a data URL"},
		"replaced by what is no URL":    {around("3.3.0", "replace", ":s3cret", ""), "ignition.config.replace: the source is not a data URL of RFC 2397"},
		"replaced by damaged base64":    {around("3.3.0", "replace", "data:;base64,s3cret", ""), "ignition.config.replace: the source is not a data URL of RFC 2397"},
		"replaced by no gzip":           {around("3.3.0", "replace", base64URL(bare), `,"compression":"gzip"`), "ignition.config.replace: the source is not gzip"},
		"replaced by damaged gzip":      {around("3.3.0", "replace", gzipURL(t, bare)[:71], `,"compression":"gzip"`), "ignition.config.replace: the source is not gzip"},
		"compression of another kind":   {around("3.3.0", "replace", base64URL(bare), `,"compression":"s3cret"`), "ignition.config.replace: the compression is neither"},
		"compression before its time":   {around("3.0.0", "replace", gzipURL(t, bare), `,"compression":"gzip"`), "ignition.config.replace: the user data is not Ignition"},
		"replaced by cloud-config":      {around("3.3.0", "replace", "data:,%23cloud-config%20s3cret", ""), "ignition.config.replace: the user data is not Ignition"},
		"a hash that does not fit":      {around("3.3.0", "replace", base64URL(bare), `,"verification":{"hash":"sha512-s3cret"}`), "ignition.config.replace: the verification.hash is not"},
		"a hash of another kind":        {around("3.3.0", "replace", base64URL(bare), `,"verification":{"hash":"s3cret"}`), "ignition.config.replace: the verification.hash is not"},
		"replace is no object":          {`{"ignition":{"version":"3.3.0","config":{"replace":"s3cret"}}}`, "ignition.config.replace: not an object"},
		"merge is no list":              {`{"ignition":{"version":"3.3.0","config":{"merge":{"source":"s3cret"}}}}`, "ignition.config.merge: not an array"},
		"a foreign file in a child":     {merging("3.4.0", "merge", "https://s3cret.example", base64URL(files(remote))), "ignition.config.merge[1]: storage.files[0]"},
		"a foreign unit in a child":     {merging("2.3.0", "append", base64URL(units(`{"name":"`+unitName+`"}`))), "ignition.config.append[0]: systemd.units[0]"},
		"a child of unknown version":    {merging("3.4.0", "merge", base64URL(`{"ignition":{"version":"3.7.0-experimental"}}`)), "ignition.config.merge[0]: ignition.version 3.7.0-experimental"},
		"a damaged child":               {merging("3.4.0", "merge", "data:;base64,s3cret"), "ignition.config.merge[0]: the source is not a data URL of RFC 2397"},
		"too deep":                      {deep(5), "configs are nested more than 4 deep"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, tc.in, tc.reason) })
	}
	injected(t, []byte(deep(4)), oneFile())
}

// deep is a config within a config, and so on.
func deep(n int) string {
	config := bare
	for range n {
		config = around("3.3.0", "replace", base64URL(config), "")
	}
	return config
}

func TestInject_takes_what_is_only_near_to_ours(t *testing.T) {
	for name, in := range map[string]string{
		"our path on another filesystem":   `{"ignition":{"version":"2.3.0"},"storage":{"filesystems":[{"name":"oem","path":"/usr/share/oem"}],"files":[{"filesystem":"oem","path":"/etc/capi-registry-cache/certs-dir"}]}}`,
		"directories above our paths":      spelt(`,"storage":{"directories":[{"path":"/opt/bin"},{"path":"/etc/capi-registry-cache"},{"path":"/etc/capi-registry-cache/upstreams"}]}`),
		"a link with the start of ours":    spelt(`,"storage":{"links":[{"path":"/etc/capi","target":"/x"}]}`),
		"a drop-in for our unit as a file": spelt(`,"storage":{"files":[{"path":"` + unitDir + unitName + `.d/10.conf"}]}`),
		"two entries for a unit in 2.x":    `{"ignition":{"version":"2.3.0"},"systemd":{"units":[{"name":"a.service"},{"name":"a.service","dropins":[]}]}}`,
		"unknown fields in capitals":       spelt(`,"Storages":{"Files":1},"storage":{"Raid":[]}`),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			before, _, _ := apart(generic(g, []byte(in)))
			after, _, _ := apart(generic(g, injected(t, []byte(in), oneFile())))
			g.Expect(after).To(Equal(before))
		})
	}
}

func TestInject_refuses_what_is_not_to_be_written(t *testing.T) {
	for name, tc := range map[string]struct {
		files  []payload.File
		reason string
	}{
		"no unit":              {oneFile()[1:], "its file " + unitDir + unitName + " is not among the files"},
		"the unit twice":       {append(oneFile(), oneFile()[0]), "stands twice"},
		"no file":              {nil, "is not among the files"},
		"a relative path":      {slices.Insert(oneFile(), 0, payload.File{Path: "a"}), `file "a": an absolute path`},
		"a path with a detour": {slices.Insert(oneFile(), 0, payload.File{Path: "/a/../b"}), `file "/a/../b": an absolute path`},
		"a path twice":         {append(oneFile(), oneFile()[1]), "stands twice"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := Inject([]byte(bare), tc.files, unitName)
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(tc.reason)))
			NewWithT(t).Expect(out).To(BeNil())
		})
	}
}

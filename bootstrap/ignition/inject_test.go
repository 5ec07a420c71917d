package ignition

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_3"
	"github.com/coreos/ignition/v2/config/v3_3/types"
	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

var gzipSource = regexp.MustCompile(`data:text/plain;base64,H4sI[^"]+`)

// shown is a config with compressed data in plain, as its bytes are those of a compressor.
func shown(t testing.TB, config []byte) string {
	t.Helper()
	return gzipSource.ReplaceAllStringFunc(string(config), func(source string) string {
		plain, err := decode(source, "gzip", maxSize)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		return "<gzip>" + string(plain) + "</gzip>"
	})
}

// injected is data with files; the input must stay as it was.
func injected(t testing.TB, data []byte, files []payload.File) []byte {
	t.Helper()
	given := slices.Clone(data)
	out, err := Inject(data, files, unitName)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(data).To(Equal(given))
	return out
}

func TestInject_samples(t *testing.T) {
	for _, name := range slices.Concat(twos, threes) {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := read(t, name)
			out := injected(t, in, someFiles())
			golden := strings.TrimSuffix(name, ".ign") + ".golden.ign"
			if *update {
				g.Expect(os.WriteFile(filepath.Join("testdata", golden), []byte(shown(t, out)), 0o644)).To(Succeed())
			}
			g.Expect(shown(t, out)).To(Equal(string(read(t, golden))))
			g.Expect(string(injected(t, out, someFiles()))).To(Equal(string(out)), "I4")
		})
	}
}

func TestInject_brings_an_earlier_payload_up_to_date(t *testing.T) {
	one, two := realFiles(t, "docker.io"), realFiles(t, "quay.io", "registry.example:5443")
	for _, name := range slices.Concat(twos, threes) {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := read(t, name)
			out := injected(t, injected(t, in, two), one)
			g.Expect(shown(t, out)).To(Equal(shown(t, injected(t, in, one))))
			g.Expect(shown(t, out)).NotTo(ContainSubstring("quay.io"))
		})
	}
}

func TestInject_does_what_the_official_merge_does(t *testing.T) {
	g := NewWithT(t)
	in, alone := read(t, "rke2.ign"), injected(t, []byte(`{"ignition":{"version":"3.3.0"}}`), someFiles())
	got := parsed(g, injected(t, in, someFiles()))
	want := v3_3.Merge(parsed(g, in), parsed(g, alone))
	g.Expect(got.Storage.Files).To(ConsistOf(want.Storage.Files))
	g.Expect(got.Systemd.Units).To(ConsistOf(want.Systemd.Units))
	got.Storage.Files, got.Systemd.Units, want.Storage.Files, want.Systemd.Units = nil, nil, nil, nil
	g.Expect(got).To(Equal(want))
}

func parsed(g *WithT, config []byte) types.Config {
	c, rpt, err := v3_3.Parse(config)
	g.Expect(err).NotTo(HaveOccurred(), rpt.String())
	g.Expect(rpt.Entries).To(BeEmpty())
	return c
}

// What stands for our part in the tables: F is a file, U the unit.
const (
	fileText = `{"path":"/etc/capi-registry-cache/certs-dir","contents":{"source":"data:;base64,eAo="},"mode":420,"overwrite":true}`
	unitText = `{"name":"` + unitName + `","enabled":true,"contents":"` + payload.Marker + `\n[Install]\nWantedBy=multi-user.target\n"}`
)

func oneFile() []payload.File {
	return []payload.File{
		{Path: unitDir + unitName, Mode: 0o644, Content: []byte(payload.Marker + "\n[Install]\nWantedBy=multi-user.target\n")},
		{Path: "/etc/capi-registry-cache/certs-dir", Mode: 0o644, Content: []byte("x\n")},
	}
}

// spelt is a config of 3.2.0 with F and U for our entries.
func spelt(rest string) string {
	return strings.NewReplacer("<F>", fileText, "<U>", unitText).Replace(`{"ignition":{"version":"3.2.0"}` + rest + "}")
}

func TestInject_adds_what_is_missing_and_replaces_what_is_old(t *testing.T) {
	const (
		all     = `,"storage":{"files":[<F>]},"systemd":{"units":[<U>]}`
		foreign = `{"path":"/b"}`
		old     = `{"path":"/etc/capi-registry-cache/upstreams/quay.io/probe","contents":{"source":"data:,a"}}`
		percent = `{"path":"/etc/systemd/system/` + unitName + `","contents":{"source":"data:,%23%20managed%20by%20capi-registry-cache%0A%5BUnit%5D"}}`
		wish    = `{"enabled":true,"name":"` + unitName + `"}`
		oldUnit = `{"name":"` + unitName + `","contents":"` + payload.Marker + `\n[Unit]\n","dropins":[],"mask":false}`
	)
	gzipped := `{"path":"/etc/capi-registry-cache/certs-dir","contents":{"compression":"gzip","source":"` + gzipURL(t, "old") + `"}}`
	for name, tc := range map[string]struct{ in, out string }{
		"nothing":                             {``, all},
		"empty sections":                      {`,"storage":{},"systemd":{ }`, `,"storage":{"files":[<F>]},"systemd":{"units":[<U>] }`},
		"no sections: null":                   {`,"storage":null,"systemd": null`, `,"storage":{"files":[<F>]},"systemd": {"units":[<U>]}`},
		"empty lists":                         {`,"storage":{"files":[]},"systemd":{"units":[ ]}`, `,"storage":{"files":[<F>]},"systemd":{"units":[<U> ]}`},
		"no lists: null":                      {`,"storage":{"files":null},"systemd":{"units":null }`, `,"storage":{"files":[<F>]},"systemd":{"units":[<U>] }`},
		"other members":                       {`,"storage":{"raid":[]},"systemd":{"x":1}`, `,"storage":{"raid":[],"files":[<F>]},"systemd":{"x":1,"units":[<U>]}`},
		"foreign entries, blanks":             {`,"storage":{"files":[ ` + foreign + ` ]}`, `,"storage":{"files":[<F>, ` + foreign + ` ]},"systemd":{"units":[<U>]}`},
		"ours, moved up":                      {`,"storage":{"files":[` + foreign + ` , <F>]},"systemd":{"units":[{"name":"a.service"},<U>]}`, `,"storage":{"files":[<F>,` + foreign + `]},"systemd":{"units":[<U>,{"name":"a.service"}]}`},
		"ours between others":                 {`,"storage":{"files":[` + foreign + `, ` + old + ` ,{"path":"/c"}]}`, `,"storage":{"files":[<F>,` + foreign + `, {"path":"/c"}]},"systemd":{"units":[<U>]}`},
		"ours, all old, doubled":              {`,"storage":{"files":[` + old + `, ` + old + `,<F>]},"systemd":{"units":[` + oldUnit + `,<U>]}`, all},
		"ours, compressed by Butane":          {`,"storage":{"files":[` + gzipped + `]}`, all},
		"ours by reference, the unit a file":  {`,"storage":{"files":[` + percent + `,` + old + `]}`, all},
		"ours by reference, a wish to enable": {`,"storage":{"files":[` + percent + `]},"systemd":{"units":[` + wish + `]}`, all},
		"escaped names":                       {`,"\u0073torage":{"files":[` + foreign + `]},"systemd":{"units":[]}`, ``},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			out := string(injected(t, []byte(spelt(tc.in)), oneFile()))
			if tc.out != "" {
				g.Expect(out).To(Equal(spelt(tc.out)))
			}
			g.Expect(string(injected(t, []byte(out), oneFile()))).To(Equal(out), "I4")
		})
	}
}

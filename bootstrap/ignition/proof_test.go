package ignition

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestProve_refuses_a_result_with_anything_but_our_part_changed(t *testing.T) {
	const before = `{"ignition":{"version":"3.2.0"},"passwd":{"users":[{"name":"core","uid":9007199254740993}]},"x":1.0,` +
		`"storage":{"files":[{"path":"/a"},{"path":"/b"}],"raid":[]},"systemd":{"units":[{"name":"a.service"}]}}`
	after := string(injected(t, []byte(before), oneFile()))
	entry := strings.NewReplacer("F", fileText, "U", unitText)
	for name, tc := range map[string]struct{ from, to string }{
		"a number in another form": {`"x":1.0`, `"x":1`},
		"a number less precise":    {"9007199254740993", "9007199254740992"},
		"a foreign member lost":    {`"x":1.0,`, ``},
		"a foreign member added":   {`"x":1.0,`, `"x":1.0,"y":0,`},
		"another version":          {`"3.2.0"`, `"3.3.0"`},
		"a foreign file lost":      {`,{"path":"/b"}`, ``},
		"foreign files exchanged":  {`{"path":"/a"},{"path":"/b"}`, `{"path":"/b"},{"path":"/a"}`},
		"a foreign file changed":   {`{"path":"/a"}`, `{"path":"/a","mode":420}`},
		"a foreign unit doubled":   {`{"name":"a.service"}`, `{"name":"a.service"},{"name":"a.service"}`},
		"a neighbour of ours lost": {`,"raid":[]`, ``},
		"our file lost":            {entry.Replace("F,"), ``},
		"our file in another mode": {`"mode":420`, `"mode":384`},
		"our file doubled":         {entry.Replace("F,"), entry.Replace("F,F,")},
		"our file not first":       {entry.Replace(`F,{"path":"/a"}`), entry.Replace(`{"path":"/a"},F`)},
		"our unit lost":            {entry.Replace("U,"), ``},
		"our unit not enabled":     {`"enabled":true`, `"enabled":false`},
		"no JSON":                  {`}}`, `}`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p, err := newPart(oneFile(), unitName)
			g.Expect(err).NotTo(HaveOccurred())
			in := &injector{part: p, left: maxSize}
			d, err := in.read(whole([]byte(before)))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(in.prove(&change{document: d}, []byte(after), true)).To(Succeed())

			g.Expect(strings.Count(after, tc.from)).To(BeNumerically(">", 0))
			wrong := strings.Replace(after, tc.from, tc.to, 1)
			g.Expect(in.prove(&change{document: d}, []byte(wrong), true)).NotTo(Succeed())
		})
	}
}

func TestProve_wants_what_was_to_be_written_within_a_config(t *testing.T) {
	g := NewWithT(t)
	p, err := newPart(oneFile(), unitName)
	g.Expect(err).NotTo(HaveOccurred())
	in := &injector{part: p, left: maxSize}
	before := around("3.3.0", "replace", base64URL(bare), `,"httpHeaders":[]`)
	d, err := in.read(whole([]byte(before)))
	g.Expect(err).NotTo(HaveOccurred())
	c := &change{document: d, written: map[string]string{"ignition.config.replace.source": base64URL(full)}}
	g.Expect(in.prove(c, []byte(around("3.3.0", "replace", base64URL(full), `,"httpHeaders":[]`)), true)).To(Succeed())
	for name, wrong := range map[string]string{
		"not written":          before,
		"written in part":      around("3.3.0", "replace", base64URL(full[1:]), `,"httpHeaders":[]`),
		"the neighbour lost":   around("3.3.0", "replace", base64URL(full), ``),
		"no source any longer": `{"ignition":{"version":"3.3.0","config":{"replace":{"httpHeaders":[]}}}}`,
	} {
		g.Expect(in.prove(c, []byte(wrong), true)).NotTo(Succeed(), name)
	}
}

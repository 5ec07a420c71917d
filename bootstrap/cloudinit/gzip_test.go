package cloudinit

import (
	"bytes"
	"compress/gzip"
	"testing"

	. "github.com/onsi/gomega"
)

func TestInject_opens_gzip_and_closes_it_again(t *testing.T) {
	for _, name := range []string{"rke2-server.yaml", "k0smotron-vars.txt", "script.txt", "mime-nested.txt"} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			inner, err := Inject(read(t, name), someFiles(), unit)
			g.Expect(err).NotTo(HaveOccurred())

			given := []byte(zipText(t, string(read(t, name))))
			out, err := Inject(given, someFiles(), unit)
			g.Expect(err).NotTo(HaveOccurred())
			unzipped, err := gunzip(out)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(unzipped)).To(Equal(string(inner)))

			again, err := Inject(out, someFiles(), unit)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(again).To(Equal(out), "I4")
			same, err := Inject(given, someFiles(), unit)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(same).To(Equal(out), "the same bytes every time")
		})
	}
}

func TestInject_keeps_the_bytes_of_gzip_that_holds_our_part_already(t *testing.T) {
	g := NewWithT(t)
	inner, err := Inject(read(t, "rke2-server.yaml"), someFiles(), unit)
	g.Expect(err).NotTo(HaveOccurred())
	var given bytes.Buffer
	w := gzip.NewWriter(&given)
	w.Name = "user-data"
	_, err = w.Write(inner)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.Close()).To(Succeed())
	out, err := Inject(given.Bytes(), someFiles(), unit)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(out).To(Equal(given.Bytes()))
}

func TestInject_refuses_gzip_that_it_cannot_read(t *testing.T) {
	good := zipText(t, "#cloud-config\nruncmd:\n- secret\n")
	for name, tc := range map[string]struct{ in, reason string }{
		"cut short":           {good[:len(good)-9], "damaged"},
		"damaged":             {good[:len(good)-8] + "12345678", "damaged"},
		"with something more": {good + "secret", "damaged"},
		"of gzip":             {zipText(t, good), "no form that is handled"},
		"of Ignition":         {zipText(t, "{}"), "no form that is handled"},
		"of broken YAML":      {zipText(t, "#cloud-config\n- [secret\n"), "inside gzip: the document is not YAML"},
		"of too much":         {zipText(t, "#!"+string(make([]byte, maxUnzipped))), "more than 16 MiB"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, []byte(tc.in), tc.reason) })
	}
}

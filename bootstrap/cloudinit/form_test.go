package cloudinit

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

func TestFormOf_reads_data_as_cloud_init_does(t *testing.T) {
	const mime = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a\n\n"
	for name, tc := range map[string]struct {
		data string
		form Form
	}{
		"cloud-config":                            {"#cloud-config\n", CloudConfig},
		"cloud-config, nothing more":              {"#cloud-config", CloudConfig},
		"cloud-config of another system":          {"#cloud-config\r\na: b\r\n", CloudConfig},
		"cloud-config behind blanks, in capitals": {" \n\t#CLOUD-CONFIG\n", CloudConfig},
		"cloud-config of Jinja":                   {"## template: jinja\n#cloud-config\n", CloudConfig},
		"cloud-config of Jinja, blanks":           {"## template: jinja \r\n\n#cloud-config\r\n", CloudConfig},
		"cloud-config below statements":           {"## template: jinja\n{% set a = 1 %}\n#cloud-config\na: b\n", CloudConfig},
		"cloud-config that speaks of MIME":        {"#cloud-config\nwrite_files:\n- content: |\n    MIME-Version: 1.0\n", CloudConfig},
		"a script":                                {"#!/bin/sh\n", Script},
		"a script of Jinja":                       {"## template: jinja\n#!/bin/sh\n", Script},
		"includes":                                {"#include\nhttps://a\n", Directive},
		"includes, once":                          {"#include-once\n", Directive},
		"a boothook":                              {"#cloud-boothook\n", Directive},
		"a part handler":                          {"#part-handler\n", Directive},
		"an archive":                              {"#cloud-config-archive\n- a\n", Directive},
		"a JSON patch":                            {"#cloud-config-jsonp\n[]\n", Directive},
		"a template of who knows what":            {"## template: jinja\n{% if a %}", Directive},
		"MIME":                                    {mime, MIME},
		"MIME, headers in another order":          {"X-A: b\nContent-Type: text/plain\nmime-version: 1.0\n\na", MIME},
		"MIME that says so too late":              {"A: " + strings.Repeat("b", headSize) + "\n" + mime, None},
		"MIME below a blank line":                 {"\n" + mime, None},
		"gzip of a script":                        {zipText(t, "#!/bin/sh\n"), Gzip},
		"gzip of MIME":                            {zipText(t, mime), Gzip},
		"gzip of gzip":                            {zipText(t, zipText(t, "#!/bin/sh\n")), None},
		"gzip of Ignition":                        {zipText(t, `{"ignition":{}}`), None},
		"gzip of nothing":                         {zipText(t, ""), None},
		"gzip, its beginning":                     {"\x1f\x8b\x08\x00", None},
		"another template":                        {"## template: basic\n#cloud-config\n", None},
		"YAML":                                    {"runcmd: []", None},
		"nothing":                                 {"", None},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(FormOf([]byte(tc.data))).To(Equal(tc.form))
		})
	}
}

func zipText(t testing.TB, text string) string {
	t.Helper()
	out, err := payload.Gzip([]byte(text))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return string(out)
}

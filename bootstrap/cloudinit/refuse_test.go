package cloudinit

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

func TestInject_refuses_a_document_that_it_cannot_change_safely(t *testing.T) {
	const h = "#cloud-config\n"
	for name, tc := range map[string]struct{ in, reason string }{
		"nothing":                        {"", "no form that is handled"},
		"blanks":                         {" \n\t\n", "no form that is handled"},
		"no header":                      {"runcmd:\n- secret\n", "no form that is handled"},
		"a byte order mark":              {"\ufeff#cloud-config\n", "no form that is handled"},
		"UTF-16":                         {"\xff\xfe#\x00c\x00", "no form that is handled"},
		"zero bytes":                     {"\x00\x00\x00\x00", "no form that is handled"},
		"binary junk":                    {"\x7fELF\x02\x01secret", "no form that is handled"},
		"Ignition":                       {`{"ignition":{"version":"3.0.0"}}`, "no form that is handled"},
		"powershell":                     {"#ps1_sysnative\nsecret", "no form that is handled"},
		"an upstart job":                 {"#upstart-job\n", "no form that is handled"},
		"another template":               {"## template: jinja2\n#cloud-config\n", "no form that is handled"},
		"Jinja without Jinja":            {"## template: jinja\n#cloud-config\n- [secret\n", "not YAML"},
		"statements without Jinja":       {h + "{% if secret %}\nruncmd:\n- a\n{% endif %}\n", "not YAML: line"},
		"truncated":                      {h + "write_files:\n- path: \"/secret", "not YAML"},
		"tabs":                           {h + "runcmd:\n\t- secret\n", "not YAML"},
		"a zero byte":                    {h + "runcmd:\n- a\x00\n", "not YAML"},
		"bytes that are not UTF-8":       {h + "runcmd:\n- \xe9\n", "not YAML"},
		"an unknown anchor":              {h + "password: *secret\n", "not YAML"},
		"a list at the top":              {h + "- a\n", "not a mapping"},
		"a text at the top":              {h + "secret\n", "not a mapping"},
		"a flow mapping at the top":      {h + "{runcmd: [a]}\n", "not a mapping"},
		"two documents":                  {h + "a: b\n---\nc: d\n", "single YAML document"},
		"a document end":                 {h + "a: b\n...\n", "checking the result"},
		"write_files is a mapping":       {h + "write_files: {a: b}\n", "write_files is not a list"},
		"write_files is a text":          {h + "write_files: |\n  secret\n", "write_files is not a list"},
		"write_files is an alias":        {h + "a: &a\n- b\nwrite_files: *a\n", "write_files is not a list"},
		"runcmd in flow style":           {h + "runcmd: [a]\n", "runcmd is not a list"},
		"runcmd is a string":             {h + "runcmd: a\n", "runcmd is not a list"},
		"an anchor at the list":          {h + "runcmd: &x\n- a\nbootcmd: *x\n", "runcmd is not a list"},
		"an indented mapping":            {h + "  runcmd:\n  - a\n", "first column"},
		"a key twice":                    {h + "runcmd:\n- a\nruncmd:\n- b\n", "repeats a key"},
		"k0smotron's and the user's key": {string(read(t, "k0smotron-repeated.yaml")), "line 25 repeats a key"},
		"a merge key":                    {h + "a: &a\n  b: c\n<<: *a\n", "plain key"},
		"a text that ends open":          {h + "a: |\n  b", "foreign part"},
		"lone carriage returns":          {h + "a: b\rruncmd:\r- a\r", "line breaks of another kind"},
		"line separators":                {h + "a: b\u2028\nruncmd:\n- a\n", "line breaks of another kind"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, []byte(tc.in), tc.reason) })
	}
}

func refused(t *testing.T, in []byte, reason string) {
	t.Helper()
	g := NewWithT(t)
	out, err := Inject(in, someFiles(), unit)
	g.Expect(err).To(MatchError(ContainSubstring(reason)))
	g.Expect(err.Error()).NotTo(ContainSubstring("secret"), "I7")
	g.Expect(out).To(BeNil())
}

func TestInject_keeps_anchors_of_other_values(t *testing.T) {
	g := NewWithT(t)
	in := "#cloud-config\nx: &x [b]\nruncmd:\n- *x\n- &y c\nbootcmd:\n- *y\n"
	out, err := Inject([]byte(in), someFiles(), unit)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(foreignBytes(out)).To(Equal("#cloud-config\nwrite_files:\n" + in[len("#cloud-config\n"):]))
}

func TestInject_refuses_what_is_not_to_be_written(t *testing.T) {
	for name, tc := range map[string]struct {
		files  []payload.File
		reason string
	}{
		"no file":              {nil, "no file to write"},
		"a relative path":      {[]payload.File{{Path: "a"}}, `file "a": an absolute path`},
		"a path with a detour": {[]payload.File{{Path: "/a/../b"}}, `file "/a/../b": an absolute path`},
		"a path of two lines":  {[]payload.File{{Path: "/a\nb"}}, "an absolute path"},
		"a line that is too long for a line-wise reader": {[]payload.File{{Path: "/a", Content: noise(60 << 10)}}, "a line would have 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := Inject([]byte("#cloud-config\n"), tc.files, unit)
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(tc.reason)))
			NewWithT(t).Expect(out).To(BeNil())
		})
	}
}

// noise does not compress.
func noise(n int) []byte {
	out := make([]byte, n)
	state := uint32(1)
	for i := range out {
		state = state*1664525 + 1013904223
		out[i] = byte(state >> 24)
	}
	return out
}

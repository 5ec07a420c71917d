package bootstrap_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/authority"
)

var values = payload.Values{Caches: []payload.Cache{{Upstream: "docker.io", Endpoint: "http://10.128.0.250:5000"}}}

func TestInject_recognises_the_format_from_the_data(t *testing.T) {
	for name, tc := range map[string]struct {
		data, hint, format string
		injected           bool
	}{
		"cloud-config":                     {"#cloud-config\nruncmd:\n- a\n", "cloud-config", bootstrap.FormatCloudConfig, true},
		"cloud-config of Jinja, no hint":   {"## template: jinja\n#cloud-config\nruncmd:\n- a\n", "", bootstrap.FormatCloudConfig, true},
		"cloud-config under a wrong hint":  {"#cloud-config\n", "ignition", bootstrap.FormatCloudConfig, true},
		"cloud-config that is not YAML":    {"#cloud-config\n{% if x %}\n", "cloud-config", bootstrap.FormatCloudConfig, false},
		"Ignition":                         {`{"ignition":{"version":"2.3.0"}}`, "ignition", bootstrap.FormatIgnition, true},
		"Ignition under a wrong hint":      {` {"ignition":{"version":"3.4.0"}}`, "cloud-config", bootstrap.FormatIgnition, true},
		"Ignition of a later version":      {`{"ignition":{"version":"4.0.0"}}`, "ignition", bootstrap.FormatIgnition, false},
		"Ignition, its beginning":          {`{"ignition":{"version":"2.3.0"}`, "ignition", bootstrap.FormatIgnition, false},
		"gzip":                             {"\x1f\x8b\x08\x00", "cloud-config", bootstrap.FormatGzip, false},
		"MIME":                             {"Content-Type: multipart/mixed; boundary=x\nMIME-Version: 1.0\n\n", "", bootstrap.FormatMIME, false},
		"a script":                         {"#!/bin/sh\n", "", bootstrap.FormatScript, true},
		"gzip of a script":                 {zipped("#!/bin/sh\n"), "", bootstrap.FormatGzip, true},
		"a boothook":                       {"#cloud-boothook\necho\n", "", bootstrap.FormatDirective, true},
		"nothing":                          {"", "cloud-config", bootstrap.FormatEmpty, false},
		"blank":                            {"\n \n", "", bootstrap.FormatEmpty, false},
		"something with a provider's hint": {"<powershell>", "powershell", "powershell", false},
		"something else":                   {"runcmd: []", "cloud-config", bootstrap.FormatUnknown, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := bootstrap.Inject([]byte(tc.data), tc.hint, values)
			g.Expect(r.Format).To(Equal(tc.format))
			g.Expect(r.Injected).To(Equal(tc.injected))
			if tc.injected {
				g.Expect(r.Reason).To(BeEmpty())
			} else {
				g.Expect(r.Reason).NotTo(BeEmpty())
			}
			if !tc.injected {
				g.Expect(string(r.Data)).To(Equal(tc.data))
				return
			}
			again := bootstrap.Inject(r.Data, tc.hint, values)
			g.Expect(string(again.Data)).To(Equal(string(r.Data)), "I4")
		})
	}
}

func zipped(s string) string {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return out.String()
}

func TestInject_mirrors_without_a_cache(t *testing.T) {
	g := NewWithT(t)
	mirrors := payload.Values{Mirrors: []payload.Mirror{{Upstream: "docker.io", Hosts: []payload.MirrorHost{{URL: "https://mirror.example", Capabilities: []string{"pull"}}}}}}
	r := bootstrap.Inject([]byte("#cloud-config\nruncmd:\n- a\n"), "", mirrors)
	g.Expect(r.Injected).To(BeTrue(), r.Reason)
	g.Expect(r.Files).To(ContainElement("/etc/capi-registry-cache/upstreams/docker.io/hosts.toml"))
	g.Expect(bootstrap.Inject(r.Data, "", mirrors).Data).To(Equal(r.Data), "I4")
}

func TestInject_brings_an_earlier_payload_up_to_date(t *testing.T) {
	g := NewWithT(t)
	data := []byte("#cloud-config\nruncmd:\n- a\n")
	two := payload.Values{CertsDir: "/etc/certs.d", Caches: append(values.Caches, payload.Cache{Upstream: "quay.io", Endpoint: "http://10.128.0.249:5000"})}
	g.Expect(bootstrap.Inject(bootstrap.Inject(data, "", two).Data, "", values)).To(Equal(bootstrap.Inject(data, "", values)))
}

func TestInject_passes_data_through_when_the_values_do_not_serve(t *testing.T) {
	for name, tc := range map[string]struct {
		values payload.Values
		reason string
	}{
		"no cache":       {payload.Values{}, "no cache and no mirror"},
		"no endpoint":    {payload.Values{Caches: []payload.Cache{{Upstream: "docker.io"}}}, `endpoint ""`},
		"a bad upstream": {payload.Values{Caches: []payload.Cache{{Upstream: "../x", Endpoint: "http://a"}}}, `upstream "../x"`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := bootstrap.Inject([]byte("#cloud-config\n"), "", tc.values)
			g.Expect(string(r.Data)).To(Equal("#cloud-config\n"))
			g.Expect(r.Injected).To(BeFalse())
			g.Expect(r.Reason).To(ContainSubstring(tc.reason))
		})
	}
}

// fourCaches are more than most clusters have, with a certificate authority as the controller makes it.
func fourCaches(g *WithT) payload.Values {
	made, err := authority.New(time.Now())
	g.Expect(err).NotTo(HaveOccurred())
	ca := authority.Bundle{made.Certificate}.PEM()
	var v payload.Values
	for i, upstream := range []string{"docker.io", "quay.io", "registry.k8s.io", "ghcr.io"} {
		v.Caches = append(v.Caches, payload.Cache{Upstream: upstream, Endpoint: fmt.Sprintf("https://10.128.0.%d:5000", 250-i), CA: ca})
	}
	return v
}

func TestInject_user_data_of_four_caches_with_TLS_grows_by_less_than_6_KiB(t *testing.T) {
	for name, path := range map[string]string{
		"cloud-config": "cloudinit/testdata/join-worker.yaml",
		"a script":     "cloudinit/testdata/script.txt",
		"Ignition 2.3": "ignition/testdata/kubeadm-join-worker.ign",
		"Ignition 3.4": "ignition/testdata/v3.4.ign",
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			data, err := os.ReadFile(path)
			g.Expect(err).NotTo(HaveOccurred())
			r := bootstrap.Inject(data, "", fourCaches(g))
			g.Expect(r.Injected).To(BeTrue(), r.Reason)
			t.Logf("%d bytes before, %d after, %d more", len(data), len(r.Data), len(r.Data)-len(data))
			g.Expect(len(r.Data)-len(data)).To(BeNumerically("<=", 6<<10), "C6")
		})
	}
}

// badInput is what a provider, an operator or a disk may make of bootstrap data.
func badInput() map[string][]byte {
	const h = "#cloud-config\n"
	junk := make([]byte, 2<<20)
	for i := range junk {
		junk[i] = byte(i*i>>7 ^ i)
	}
	return map[string][]byte{
		"binary junk":                      junk[:4096],
		"2 MiB of junk":                    junk,
		"2 MiB of junk in a cloud-config":  append([]byte(h), junk...),
		"2 MiB of junk in Ignition":        append([]byte(`{"ignition":{"version":"3.0.0"},"x":"`), junk...),
		"2 MiB in one line":                []byte(h + "a: " + strings.Repeat("x", 2<<20) + "\n"),
		"2 MiB of commands":                []byte(h + "runcmd:\n" + strings.Repeat("- echo 0123456789\n", 2<<20/18)),
		"2 MiB of brackets":                []byte(h + "a: " + strings.Repeat("[", 2<<20)),
		"2 MiB of braces":                  []byte(strings.Repeat(`{"ignition":`, 2<<20/12)),
		"zero bytes":                       make([]byte, 64),
		"zero bytes in a cloud-config":     []byte(h + "runcmd:\n- a\x00b\n"),
		"CRLF":                             []byte(strings.ReplaceAll(h+"runcmd:\n- a\n", "\n", "\r\n")),
		"CRLF in parts":                    []byte(h + "runcmd:\r\n- a\n"),
		"a byte order mark":                []byte("\ufeff" + h + "runcmd:\n- a\n"),
		"tabs":                             []byte(h + "runcmd:\n\t- a\n"),
		"anchors and aliases":              []byte(h + "x: &x [a]\nruncmd:\n- *x\n- &y b\n- *y\n"),
		"an alias for the list":            []byte(h + "x: &x\n- a\nruncmd: *x\n"),
		"a billion laughs":                 []byte(h + "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nruncmd: [*c,*c]\n"),
		"duplicate keys":                   []byte(h + "runcmd:\n- a\nruncmd:\n- b\n"),
		"write_files that is not a list":   []byte(h + "write_files: {path: /a}\n"),
		"storage.files that is not a list": []byte(`{"ignition":{"version":"3.0.0"},"storage":{"files":{}}}`),
	}
}

func TestInject_bad_input_is_kept_to_the_byte_or_shown_to_survive(t *testing.T) {
	for name, data := range badInput() {
		t.Run(name, func(t *testing.T) {
			r := bootstrap.Inject(slices.Clone(data), "cloud-config", values)
			t.Logf("%s, injected %v: %s", r.Format, r.Injected, r.Reason)
			survives(t, data, r)
		})
	}
}

func TestInject_damaged_samples_are_kept_to_the_byte_or_shown_to_survive(t *testing.T) {
	samples, err := filepath.Glob("*/testdata/*.*")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for _, path := range samples {
		t.Run(path, func(t *testing.T) {
			whole, err := os.ReadFile(path)
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
			for i := 0; i < len(whole); i += 1 + len(whole)/50 {
				survives(t, whole[:i], bootstrap.Inject(slices.Clone(whole[:i]), "", values))
				flipped := slices.Clone(whole)
				flipped[i] ^= 0x20
				survives(t, flipped, bootstrap.Inject(slices.Clone(flipped), "", values))
			}
		})
	}
}

// survives wants data back as it was, or changed in a way that is stable and undone by nothing but a change of ours.
func survives(t *testing.T, data []byte, r bootstrap.Result) {
	t.Helper()
	if !r.Injected {
		if !bytes.Equal(r.Data, data) || r.Reason == "" {
			t.Fatalf("passed through changed, or without a reason: %q", r.Reason)
		}
		return
	}
	if again := bootstrap.Inject(r.Data, "", values); !bytes.Equal(again.Data, r.Data) {
		t.Fatalf("I4: %q\n%q", r.Data, again.Data)
	}
}

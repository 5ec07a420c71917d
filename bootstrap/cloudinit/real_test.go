//go:build cloudinit

package cloudinit

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// effect is what testdata/cloud-init.py shows.
type effect struct {
	Parts     [][3]string // type, name, base64 of the content
	Config    map[string]any
	Files     [][3]string // path, mode, base64 of the content
	Scripts   map[string]string
	Boothooks map[string]string
	Warnings  []string
	Error     string
}

// realCloudInit runs cloud-init's own code over some user data. testdata/get-cloud-init.sh fetches it.
func realCloudInit(t *testing.T, data map[string][]byte) map[string]effect {
	t.Helper()
	g := NewWithT(t)
	path := os.Getenv("CLOUD_INIT_PATH")
	g.Expect(path).NotTo(BeEmpty(), "it has to name the modules of cloud-init: `make test` fetches them")
	dir := t.TempDir()
	args := []string{filepath.Join("testdata", "cloud-init.py")}
	for name, content := range data {
		file := filepath.Join(dir, name)
		g.Expect(os.WriteFile(file, content, 0o600)).To(Succeed())
		args = append(args, file)
	}
	cmd := exec.Command("/usr/bin/python3", args...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+path, "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	g.Expect(err).NotTo(HaveOccurred())
	byPath, effects := map[string]effect{}, map[string]effect{}
	g.Expect(json.Unmarshal(out, &byPath)).To(Succeed())
	for file, e := range byPath {
		effects[filepath.Base(file)] = e
	}
	return effects
}

// realSamples are all samples, some of them compressed, and one that includes a file.
func realSamples(t *testing.T) map[string][]byte {
	samples := map[string][]byte{}
	for _, name := range slices.Concat(plain, others) {
		samples[name] = read(t, name)
	}
	for _, name := range []string{"rke2-server.yaml", "k0smotron-vars.txt", "script.txt", "mime-nested.txt"} {
		samples[name+".gz"] = []byte(zipText(t, string(read(t, name))))
	}
	samples["mime-in-script"] = []byte("#!/bin/sh\ncat <<E\nMIME-Version: 1.0 \\u00e9 \\\\ \\x41\nE\n")
	samples["mime-in-document"] = []byte("#cloud-config\nwrite_files:\n- path: /a\n  content: |\n    MIME-Version: 1.0\nruncmd:\n- a\n")
	included := filepath.Join(t.TempDir(), "included")
	NewWithT(t).Expect(os.WriteFile(included, read(t, "mime-nested.txt"), 0o600)).To(Succeed())
	samples["include"] = []byte("#include\nfile://" + included + "\n")
	return samples
}

func TestInject_result_has_every_effect_of_the_original_in_the_real_cloud_init(t *testing.T) {
	samples, files := realSamples(t), realFiles(t)
	data := map[string][]byte{}
	for name, in := range samples {
		out, err := Inject(in, files, unit)
		NewWithT(t).Expect(err).NotTo(HaveOccurred(), name)
		data[name], data[name+".injected"] = in, out
	}
	effects := realCloudInit(t, data)
	for name := range samples {
		t.Run(name, func(t *testing.T) {
			n, before, after := newNode(t), effects[name], effects[name+".injected"]
			n.Expect(before.Error).To(BeEmpty())
			if name != "mime-eks.txt" { // one part of it is not for cloud-init, which says so
				n.Expect(before.Warnings).To(BeEmpty())
			}
			n.Expect(before.Parts).NotTo(BeEmpty())
			n.takeOurs(&before, &after)
			n.Expect(after).To(Equal(before))
			n.expect(files)
		})
	}
}

// What documents at random are made of: comments, pairs of comments, and items of lists that Jinja may make something of.
var (
	comments = []string{"# f", "", "# {% set h = 1 %} i", "# {{ v1.cloud_name }} k", "m: '{{ v1.cloud_name }}'", "n: {{ v1.cloud_name }}", "# {% if 1 %}{% endif +%}",
		"# {% set h = 1 %}", "# {{- v1.cloud_name -}}", "# {#", "# {% raw %}"}
	pairs = [][2]string{{"# {% if v1.cloud_name == 'gce' %} a", "# {% endif %} b"}, {"# {% if v1.cloud_name == 'aws' %} a", "# {% endif %} b"}, {"# {# a", "# #} b"},
		{"# {% raw %} a", "# {% endraw %} b"}, {"# {% for x in [1, 2] %}", "# {% endfor %}"}, {"# {% set a %}", "# {% endset +%}"}, {"# {% if 0 %}", "{% endif -%}"}}
	items = []string{"c", "echo {{ v1.cloud_name }}", "'{{ v1.cloud_name }} d'", "e {{ v1.cloud_name -}}", "{{ v1.cloud_name }}", "[a, '{{ v1.cloud_name }}']",
		"|\n  d\n  {% for k in [1, 2] %}\n  {{ k }} e\n  {% endfor %}\n  f", "|\n  {% if 0 %}\n  d\n  {% endif %}", "|\n  d {% if 1 %} e {%- endif %}\n", ">-\n  a\n  {{- v1.cloud_name }}"}
)

// randomDocument puts a pair of comments somewhere between lines that are good, mostly.
func randomDocument(random *rand.Rand) string {
	var lines []string
	some := func(prefix string, from []string, most int) {
		for range random.IntN(most + 1) {
			lines = append(lines, prefix+from[min(random.IntN(len(from)), random.IntN(len(from)))])
		}
	}
	some("", comments, 1)
	for _, key := range []string{"write_files:", "bootcmd:", "runcmd:"} {
		if random.IntN(4) > 0 {
			lines = append(lines, key)
			some("", comments[:4], 1)
			some(map[bool]string{true: "- path: /a\n  content: ", false: "- "}[key == "write_files:"], items, 2)
			some("", comments, 1)
		}
	}
	if pair := pairs[random.IntN(len(pairs))]; random.IntN(2) == 0 {
		from := random.IntN(len(lines) + 1)
		to := from + random.IntN(len(lines)-from+1)
		lines = slices.Concat(lines[:from], []string{pair[0]}, lines[from:to], []string{pair[1]}, lines[to:])
	}
	return "## template: jinja\n#cloud-config\n" + strings.Join(lines, "\n") + "\n"
}

func TestInject_result_has_every_effect_of_documents_made_at_random_in_the_real_cloud_init(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 2))
	data := map[string][]byte{}
	for i := range 150 {
		in := randomDocument(random)
		if out, err := Inject([]byte(in), someFiles(), unit); err == nil {
			data[fmt.Sprint(i)], data[fmt.Sprint(i)+".injected"] = []byte(in), out
		}
	}
	effects := realCloudInit(t, data)
	forms := map[Form]int{}
	for name, in := range data {
		if strings.HasSuffix(name, ".injected") || len(effects[name].Config) == 0 {
			continue // cloud-init ignores the document
		}
		forms[FormOf(data[name+".injected"])]++
		n, before, after := newNode(t), effects[name], effects[name+".injected"]
		n.takeOurs(&before, &after)
		n.Expect(after).To(Equal(before), string(in))
	}
	t.Log(forms)
	NewWithT(t).Expect(forms).To(And(HaveKey(CloudConfig), HaveKey(MIME)))
}

// takeOurs takes our part out of an effect, and does what it says.
func (n *node) takeOurs(before, after *effect) {
	if len(after.Parts) > len(before.Parts) {
		n.takePart(after)
		return
	}
	for _, key := range []string{writeFiles, runcmd} {
		if before.Config[key] == nil { // a key without a value got one
			delete(before.Config, key)
		}
	}
	n.takeEntries(after)
	before.Parts[0][2], after.Parts[0][2] = "", ""
}

// takePart takes the last part and the first script, and runs it.
func (n *node) takePart(e *effect) {
	last := len(e.Parts) - 1
	script := e.Scripts[scriptName]
	n.Expect(e.Parts[last]).To(Equal([3]string{"text/x-shellscript", scriptName, script}))
	n.Expect(slices.Min(slices.Collect(maps.Keys(e.Scripts)))).To(Equal(scriptName), "before runcmd and part-001")
	delete(e.Scripts, scriptName)
	e.Parts = e.Parts[:last]
	path := filepath.Join(n.dir(), scriptName)
	n.Expect(os.WriteFile(path, n.text(script), 0o700)).To(Succeed())
	n.run(path)
}

// takeEntries takes the first file and the first command, and does what they say.
func (n *node) takeEntries(e *effect) {
	n.Expect(e.Files).NotTo(BeEmpty(), fmt.Sprint(e.Warnings))
	n.Expect(e.Files[0][:2]).To(Equal([]string{payload.ArchivePath, "0644"}))
	n.write(payload.File{Path: payload.ArchivePath, Mode: 0o644, Content: n.text(e.Files[0][2])})
	e.Files = e.Files[1:]
	if e.Config[writeFiles] = e.Config[writeFiles].([]any)[1:]; len(e.Files) == 0 {
		delete(e.Config, writeFiles)
	}

	list := e.Config[runcmd].([]any)
	n.Expect(list[0]).To(Equal(payload.InstallCommand(unit)))
	script, ours := string(n.text(e.Scripts[runcmd])), "#!/bin/sh\n"+payload.InstallCommand(unit)+"\n"
	n.Expect(script).To(HavePrefix(ours))
	if e.Config[runcmd] = list[1:]; len(list) == 1 {
		delete(e.Config, runcmd)
		delete(e.Scripts, runcmd)
	} else {
		e.Scripts[runcmd] = base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\n" + strings.TrimPrefix(script, ours)))
	}
	n.run("/bin/sh", "-c", payload.InstallCommand(unit))
}

func (n *node) text(encoded string) []byte {
	out, err := base64.StdEncoding.DecodeString(encoded)
	n.Expect(err).NotTo(HaveOccurred())
	return out
}

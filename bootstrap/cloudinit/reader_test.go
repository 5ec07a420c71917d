package cloudinit

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// topLevel is how Cluster API's Docker provider finds sections.
var topLevel = regexp.MustCompile(`^[a-zA-Z_]*:`)

type section struct{ name, text string }

// sections reads user data as that provider does: line by line, in document order, 64 KiB a line.
func sections(g *WithT, data []byte) []section {
	var found []section
	scanner := bufio.NewScanner(bytes.NewReader(data))
	for scanner.Scan() {
		line := scanner.Text()
		if topLevel.MatchString(line) {
			found = append(found, section{name: strings.TrimSuffix(line, ":")})
		}
		if len(found) > 0 {
			found[len(found)-1].text += line + "\n"
		}
	}
	g.Expect(scanner.Err()).NotTo(HaveOccurred())
	return found
}

func TestInject_result_is_read_by_the_docker_provider(t *testing.T) {
	for _, name := range plain {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in, files := read(t, name), realFiles(t)
			out, err := Inject(in, files, unit)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(yaml.Unmarshal(out, &map[string]any{})).To(Succeed())

			found := sections(g, out)
			n := newNode(t)
			for _, s := range found {
				if s.name != writeFiles {
					continue
				}
				first := written(g, s.text)[0]
				g.Expect(first.Path).To(Equal(payload.ArchivePath))
				n.write(first)
				break
			}
			command := commands(g, found)[0]
			g.Expect(command).To(Equal([]string{"/bin/sh", "-c", payload.InstallCommand(unit)}))
			n.run(command...)
			n.expect(files)
			for _, opener := range []string{"{{", "{%", "{#"} {
				g.Expect(strings.Count(string(out), opener)).To(Equal(strings.Count(string(in), opener)))
			}
		})
	}
}

func written(g *WithT, text string) []payload.File {
	var s struct {
		Files []struct{ Path, Encoding, Permissions, Content string } `json:"write_files"`
	}
	g.Expect(yaml.Unmarshal([]byte(text), &s)).To(Succeed())
	var files []payload.File
	for _, f := range s.Files {
		content := []byte(f.Content)
		if f.Encoding == "base64" {
			var err error
			content, err = base64.StdEncoding.DecodeString(f.Content)
			g.Expect(err).NotTo(HaveOccurred())
		}
		mode := map[string]payload.File{"0755": {Mode: 0o755}, "0644": {Mode: 0o644}}[f.Permissions].Mode
		files = append(files, payload.File{Path: f.Path, Mode: mode, Content: content})
	}
	return files
}

func commands(g *WithT, found []section) [][]string {
	var all [][]string
	for _, s := range found {
		if s.name != runcmd {
			continue
		}
		var r struct {
			Commands []json.RawMessage `json:"runcmd"`
		}
		g.Expect(yaml.Unmarshal([]byte(s.text), &r)).To(Succeed())
		for _, raw := range r.Commands {
			var list []string
			if json.Unmarshal(raw, &list) != nil {
				var line string
				g.Expect(json.Unmarshal(raw, &line)).To(Succeed())
				list = []string{"/bin/sh", "-c", line}
			}
			all = append(all, list)
		}
	}
	return all
}

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/yaml"

	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
)

// tiltProvider is what is read here of tilt-provider.yaml.
type tiltProvider struct {
	Name   string
	Config struct {
		Label          string   `json:"label"`
		Image          string   `json:"image"`
		GoMain         string   `json:"go_main"`
		LiveReloadDeps []string `json:"live_reload_deps"`
	}
}

func readTilt(t *testing.T, file string, into any) {
	t.Helper()
	content, err := os.ReadFile(filepath.Clean(file))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(yaml.Unmarshal(content, into)).To(Succeed(), file)
}

func ourTiltProvider(t *testing.T) tiltProvider {
	t.Helper()
	var providers []tiltProvider
	readTilt(t, "tilt-provider.yaml", &providers)
	NewWithT(t).Expect(providers).To(HaveLen(1))
	return providers[0]
}

// TestTiltKnowsEveryKey holds our files against the pages and the Tiltfile of the version of Cluster API in go.mod.
func TestTiltKnowsEveryKey(t *testing.T) {
	g := NewWithT(t)
	module := goOutput(t, "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/cluster-api")
	page, err := os.ReadFile(filepath.Join(module, "docs", "book", "src", "developer", "core", "tilt.md"))
	g.Expect(err).NotTo(HaveOccurred())
	settingsPage, providerPage, found := strings.Cut(string(page), "### tilt-provider configuration")
	g.Expect(found).To(BeTrue())
	key := regexp.MustCompile(`(?m)^\*\*([a-z_]+)\*\*`)
	documented := func(page string) map[string]bool {
		keys := map[string]bool{}
		for _, match := range key.FindAllStringSubmatch(page, -1) {
			keys[match[1]] = true
		}
		return keys
	}

	var settings map[string]any
	readTilt(t, "tilt-settings.yaml", &settings)
	for name := range settings {
		g.Expect(documented(settingsPage)).To(HaveKey(name))
	}
	g.Expect(settings["enable_providers"]).To(ContainElement(ourTiltProvider(t).Name))
	g.Expect(settings["extra_args"]).To(HaveKey(ourTiltProvider(t).Name))

	var providers []struct {
		Config map[string]any `json:"config"`
	}
	readTilt(t, "tilt-provider.yaml", &providers)
	tiltfile, err := os.ReadFile(filepath.Join(module, "Tiltfile"))
	g.Expect(err).NotTo(HaveOccurred())
	for name := range providers[0].Config {
		g.Expect(documented(providerPage)).To(HaveKey(name))
		g.Expect(string(tiltfile)).To(ContainSubstring(`p.get("` + name + `"`))
	}
	g.Expect(ourTiltProvider(t).Config.Label).NotTo(BeEmpty(), "the Tiltfile takes it for granted")
}

// TestTiltRebuildsWhenAnythingOfTheManagerChanges looks for a live reload path above each file that the manager is built of.
func TestTiltRebuildsWhenAnythingOfTheManagerChanges(t *testing.T) {
	g := NewWithT(t)
	watched := ourTiltProvider(t).Config.LiveReloadDeps
	for _, path := range watched {
		g.Expect(path).To(BeAnExistingFile())
	}
	const files = `{{if not .Standard}}{{with .Module}}{{if .Main}}{{$d := $.Dir}}{{range $.GoFiles}}{{$d}}/{{.}}
{{end}}{{range $.EmbedFiles}}{{$d}}/{{.}}
{{end}}{{end}}{{end}}{{end}}`
	root, err := os.Getwd()
	g.Expect(err).NotTo(HaveOccurred())
	built := strings.Fields(goOutput(t, "list", "-deps", "-f", files, ourTiltProvider(t).Config.GoMain))
	g.Expect(len(built)).To(BeNumerically(">", 50))
	for _, file := range built {
		name, err := filepath.Rel(root, file)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(watched).To(ContainElement(Satisfy(func(path string) bool { return name == path || strings.HasPrefix(name, path+"/") })), name)
	}
}

// TestTiltBuildsAndDeploysTheManager does what the Tiltfile does: it builds go_main, and looks in config/default for the Deployment of the
// provider, and in that for the image and the container that it replaces.
func TestTiltBuildsAndDeploysTheManager(t *testing.T) {
	g := NewWithT(t)
	provider := ourTiltProvider(t)
	binary := filepath.Join(t.TempDir(), "manager")
	goOutput(t, "build", "-ldflags", `-extldflags "-static"`, "-o", binary, provider.Config.GoMain)
	out, err := exec.Command(binary, "inject", "--help").CombinedOutput() //nolint:gosec // it was just built
	g.Expect(err).NotTo(HaveOccurred(), string(out))
	g.Expect(string(out)).To(ContainSubstring("MANIFESTS"))

	var images []string
	for _, object := range envtest.Kustomize(t, "config/default") {
		g.Expect(object.GetLabels()).NotTo(BeNil(), "the Tiltfile takes labels for granted: %s %s", object.GetKind(), object.GetName())
		if _, ours := object.GetLabels()[clusterv1.ProviderNameLabel]; !ours || object.GetKind() != "Deployment" {
			continue
		}
		containers, _, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
		for _, c := range containers {
			container, _ := c.(map[string]any)
			g.Expect(container["name"]).To(Equal("manager"), "to which Tilt gives its command and extra_args")
			image, _ := container["image"].(string)
			images = append(images, image)
		}
	}
	g.Expect(images).To(Equal([]string{provider.Config.Image + ":dev"}))
}

func goOutput(t *testing.T, args ...string) string {
	t.Helper()
	var messages strings.Builder
	command := exec.Command("go", args...) //nolint:gosec // of the test
	command.Stderr = &messages
	out, err := command.Output()
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), messages.String())
	return strings.TrimSpace(string(out))
}

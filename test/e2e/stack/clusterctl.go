package stack

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

const (
	// capiRegistry is the registry of images that exist in this machine's Docker daemon alone. clusterctl wants one in every name.
	capiRegistry = "registry.test/capi/"

	addon = "addon-registry-cache"

	// deploymentTimeout is how long clusterctl may take to see each provider run.
	deploymentTimeout = 5 * time.Minute
)

// Repository is a local repository of clusterctl with the providers of Cluster API and releases of this project, and the configuration that
// names them. Nothing else is ever asked for.
type Repository struct {
	stack *Stack
}

// published is how clusterctl calls a provider of the stack, and its components.
var published = map[string]struct{ name, kind, label, file string }{
	"capi-core":          {"cluster-api", "CoreProvider", "cluster-api", "core-components.yaml"},
	"capi-bootstrap":     {"kubeadm", "BootstrapProvider", "bootstrap-kubeadm", "bootstrap-components.yaml"},
	"capi-control-plane": {"kubeadm", "ControlPlaneProvider", "control-plane-kubeadm", "control-plane-components.yaml"},
	"capi-docker":        {"docker", "InfrastructureProvider", "infrastructure-docker", "infrastructure-components.yaml"},
}

// imageFields are what components say of their image.
var imageFields = regexp.MustCompile(`(?m)^( *(?:- )?)(image|imagePullPolicy): .*$`)

// Repository makes images of the providers of Cluster API and components that name them.
func (s *Stack) Repository(ctx context.Context) (*Repository, error) {
	r := &Repository{stack: s}
	if err := os.RemoveAll(r.path()); err != nil {
		return nil, fmt.Errorf("removing an earlier repository: %w", err)
	}
	version, err := s.capiVersion(ctx)
	if err != nil {
		return nil, err
	}
	configuration := map[string]any{
		"cert-manager":                          map[string]any{"externallyProvisioned": "true"},
		"CLUSTER_TOPOLOGY":                      "true",
		"EXP_RUNTIME_SDK":                       "true",
		"EXP_KUBEADM_BOOTSTRAP_FORMAT_IGNITION": "true",
	}
	list := []map[string]string{{"name": "registry-cache", "type": "AddonProvider", "url": "file://" + r.path(addon, "latest", "addon-components.yaml")}}
	for _, p := range providers() {
		if err := r.publish(ctx, p, version); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		to := published[p.name]
		list = append(list, map[string]string{"name": to.name, "type": to.kind, "url": "file://" + r.path(to.label, version, to.file)})
	}
	configuration["providers"] = list
	content, err := yaml.Marshal(configuration)
	if err != nil {
		return nil, fmt.Errorf("writing the configuration of clusterctl: %w", err)
	}
	return r, os.WriteFile(r.path("clusterctl.yaml"), content, 0o600)
}

func (r *Repository) path(elements ...string) string {
	return r.stack.paths.state(append([]string{"clusterctl"}, elements...)...)
}

// capiVersion is that of the core provider. The Docker provider is published under it as well, though its module is an earlier one.
func (s *Stack) capiVersion(ctx context.Context) (string, error) {
	return output(ctx, "go", "-C", s.paths.in("test", "kubernetes", "capi"), "list", "-m", "-f", "{{with .Replace}}{{.Version}}{{end}}", coreModule)
}

// Images are those of the providers of Cluster API.
func (r *Repository) Images() []string {
	var images []string
	for _, p := range providers() {
		images = append(images, capiRegistry+p.program+":e2e")
	}
	return images
}

// publish writes the components as text: their variables would not survive being parsed.
func (r *Repository) publish(ctx context.Context, p provider, version string) error {
	image := capiRegistry + p.program + ":e2e"
	if err := r.stack.importProgram(ctx, r.stack.paths.program(p.program), image); err != nil {
		return err
	}
	module, err := r.stack.moduleDir(ctx, p.module)
	if err != nil {
		return err
	}
	components, err := output(ctx, r.stack.paths.program("kubectl"), "kustomize", filepath.Join(module, p.dir, "config", "default"))
	if err != nil {
		return err
	}
	components = imageFields.ReplaceAllStringFunc(components, func(line string) string {
		found := imageFields.FindStringSubmatch(line)
		if found[2] == "image" {
			return found[1] + "image: " + image
		}
		return found[1] + "imagePullPolicy: IfNotPresent"
	})
	core, err := r.stack.moduleDir(ctx, coreModule)
	if err != nil {
		return err
	}
	metadata, err := os.ReadFile(filepath.Join(core, "metadata.yaml"))
	if err != nil {
		return fmt.Errorf("reading the metadata of Cluster API: %w", err)
	}
	folder := r.path(published[p.name].label, version)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("making the repository: %w", err)
	}
	for name, content := range map[string][]byte{published[p.name].file: []byte(components + "\n"), "metadata.yaml": metadata} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			return fmt.Errorf("writing the repository: %w", err)
		}
	}
	return nil
}

// importProgram makes an image of a static program and a directory for temporary files, which the Docker provider needs.
func (s *Stack) importProgram(ctx context.Context, program, image string) error {
	content, err := os.ReadFile(program)
	if err != nil {
		return fmt.Errorf("reading %s: %w", program, err)
	}
	var root bytes.Buffer
	w := tar.NewWriter(&root)
	for _, header := range []*tar.Header{
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		{Name: "manager", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content))},
	} {
		if err := w.WriteHeader(header); err != nil {
			return fmt.Errorf("packing %s: %w", program, err)
		}
	}
	if _, err := w.Write(content); err != nil {
		return fmt.Errorf("packing %s: %w", program, err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("packing %s: %w", program, err)
	}
	_, err = Docker(ctx, &root, "import", "--change", `ENTRYPOINT ["/manager"]`, "-", image)
	return err
}

// Release adds this checkout to the repository, as a version, and returns the archives of its two images.
func (r *Repository) Release(ctx context.Context, version string) (manager, workload string, err error) {
	_, err = output(ctx, "make", "-C", r.stack.paths.in(), "release", "VERSION="+version, "OUT="+r.path(), "PLATFORMS=linux-amd64", "PLUGIN_PLATFORMS=")
	return r.path(addon, version, "manager-linux-amd64.tar"), r.path(addon, version, "workload-linux-amd64.tar"), err
}

// Clusterctl runs the real clusterctl with the repository's configuration and more variables of the environment.
func (r *Repository) Clusterctl(ctx context.Context, variables []string, args ...string) error {
	var printed bytes.Buffer
	cmd := exec.CommandContext(ctx, r.stack.paths.program("clusterctl"), append(args, "--config", r.path("clusterctl.yaml"), "-v", "2")...)
	cmd.Env = append(os.Environ(), append(variables, "HOME="+r.path(), "XDG_CONFIG_HOME="+r.path(), "CLUSTERCTL_DISABLE_VERSIONCHECK=true")...)
	cmd.Stdout, cmd.Stderr = &printed, &printed
	err := cmd.Run()
	for line := range strings.Lines(printed.String()) {
		r.stack.Progress.Say("clusterctl: %s", strings.TrimSpace(line))
	}
	if err != nil {
		return fmt.Errorf("running clusterctl %s: %w: %s", strings.Join(args, " "), err, tail(printed.String(), 2000))
	}
	return nil
}

// Init installs all providers of the repository, this project in a version.
func (r *Repository) Init(ctx context.Context, m *Management, version string, variables ...string) error {
	for _, image := range r.Images() {
		if err := m.LoadImage(ctx, image); err != nil {
			return err
		}
	}
	return r.Clusterctl(ctx, variables, "init", "--kubeconfig", m.Kubeconfig(), "--core", "cluster-api", "--bootstrap", "kubeadm",
		"--control-plane", "kubeadm", "--infrastructure", "docker", "--addon", "registry-cache:"+version,
		"--wait-providers", "--wait-provider-timeout", fmt.Sprint(int(deploymentTimeout.Seconds())))
}

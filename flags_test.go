package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/component-base/logs"

	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
)

// notOurs are flags of all managers of Cluster API that ours has no use for.
var notOurs = map[string]string{
	"skip-crd-migration-phases": "our API has one version, so nothing is migrated",
}

// parsed are the flags of the manager after it was given these arguments.
func parsed(t *testing.T, arguments ...string) *pflag.FlagSet {
	t.Helper()
	before := os.Args
	defer func() { os.Args = before }()
	os.Args = append([]string{"manager"}, arguments...)
	flags := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	o := &options{logs: logs.NewOptions()}
	NewWithT(t).Expect(o.parse(flags)).To(Succeed(), "%v", arguments)
	return flags
}

// TestTheManagerHasTheFlagsOfClusterAPIsManagers reads in their sources which flags all of them have, but for those of one kind of object.
func TestTheManagerHasTheFlagsOfClusterAPIsManagers(t *testing.T) {
	g := NewWithT(t)
	module := goOutput(t, "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/cluster-api")
	definition := regexp.MustCompile(`fs\.\w+Var\(&?\w+, "([a-z-]+)"`)
	count := map[string]int{}
	mains := []string{"core", "bootstrap/kubeadm", "controlplane/kubeadm"}
	for _, folder := range mains {
		source, err := os.ReadFile(filepath.Join(module, folder, "main.go"))
		g.Expect(err).NotTo(HaveOccurred())
		for _, match := range definition.FindAllStringSubmatch(string(source), -1) {
			count[match[1]]++
		}
	}
	ours, common := parsed(t), 0
	for name, managers := range count {
		if managers < len(mains) || notOurs[name] != "" {
			continue
		}
		common++
		g.Expect(ours.Lookup(name)).NotTo(BeNil(), name)
	}
	g.Expect(common).To(BeNumerically(">", 15))
}

// TestTheManagerAcceptsItsArguments also makes sure that a release gives every argument that config/default gives, with the same value if
// the user sets no variable.
func TestTheManagerAcceptsItsArguments(t *testing.T) {
	g := NewWithT(t)
	variable := regexp.MustCompile(`\$\{[A-Z_]+:=([^}]*)\}`)
	plain := arguments(t, "config/default")
	released := arguments(t, "config/release")
	g.Expect(strings.Join(released, " ")).To(MatchRegexp(variable.String()))
	for i := range released {
		released[i] = variable.ReplaceAllString(released[i], "$1")
	}
	withDefaults, ofRelease := parsed(t, plain...), parsed(t, released...)
	withDefaults.Visit(func(f *pflag.Flag) {
		g.Expect(ofRelease.Lookup(f.Name).Value.String()).To(Equal(f.Value.String()), f.Name)
	})
	ofRelease.Visit(func(f *pflag.Flag) {
		g.Expect(withDefaults.Lookup(f.Name).Value.String()).To(Equal(f.Value.String()), "the default of the variable for "+f.Name)
	})
}

func arguments(t *testing.T, folder string) []string {
	t.Helper()
	objects := envtest.Kustomize(t, folder)
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" })
	containers, _, _ := unstructured.NestedSlice(objects[i].Object, "spec", "template", "spec", "containers")
	container, _ := containers[0].(map[string]any)
	arguments, _, _ := unstructured.NestedStringSlice(container, "args")
	NewWithT(t).Expect(arguments).NotTo(BeEmpty())
	return arguments
}

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap"
	"github.com/capi-registry-cache/capi-registry-cache/controllers"
	"github.com/capi-registry-cache/capi-registry-cache/controllers/webhooks"
)

const injectCommand = "inject"

// Exit codes of inject.
const (
	exitInjected      = 0
	exitBadUsage      = 1
	exitPassedThrough = 3
)

// errPassedThrough ends the command with its own exit code.
var errPassedThrough = errors.New("passed through")

// inject shows what the webhook would make of the bootstrap data on in, and returns the exit code.
func inject(args []string, in io.Reader, out, messages io.Writer) int {
	command := newInjectCommand()
	command.SetArgs(args)
	command.SetIn(in)
	command.SetOut(out)
	command.SetErr(messages)
	err := command.Execute()
	switch {
	case err == nil:
		return exitInjected
	case errors.Is(err, errPassedThrough):
		return exitPassedThrough
	}
	_, _ = fmt.Fprintln(messages, "Error:", err)
	return exitBadUsage
}

func newInjectCommand() *cobra.Command {
	var (
		manifests, format string
		limits            webhooks.Limits
	)
	command := &cobra.Command{
		Use:   injectCommand + " -f MANIFESTS < USER-DATA > RESULT",
		Short: "Show what a new Machine's bootstrap data would become",
		Long: `Show what a new Machine's bootstrap data would become.

MANIFESTS is a YAML file with a RegistryCache and its Cluster; other objects in it are ignored. Caches without an address in the
status get those that the controller would choose. The data comes from standard input and goes to standard output, with a line
about it on standard error. No cluster is asked.

The exit code is 0 if the caches were injected, 3 if the data was passed through unchanged, and 1 for everything else.`,
		Example: `  kubectl get registrycache,cluster my-cluster -o yaml > manifests.yaml
  kubectl get secret my-machine-bootstrap -o go-template='{{.data.value | base64decode}}' |
    manager inject -f manifests.yaml > user-data`,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(command *cobra.Command, _ []string) error {
			return preview(command, manifests, format, limits)
		},
	}
	command.Flags().StringVarP(&manifests, "filename", "f", "", "The file with the RegistryCache and its Cluster.")
	command.Flags().StringVar(&format, "format", "", "What the bootstrap provider calls the data, such as cloud-config or ignition. It is recognised without.")
	limits.AddFlags(command.Flags())
	if err := command.MarkFlagRequired("filename"); err != nil {
		panic(err) //nolint:forbidigo // the flag is defined above
	}
	return command
}

func preview(command *cobra.Command, path, format string, limits webhooks.Limits) error {
	cluster, rc, err := readManifests(path)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(command.InOrStdin())
	if err != nil {
		return fmt.Errorf("reading the bootstrap data: %w", err)
	}
	result, err := controllers.Preview(cluster, rc, data, format, limits)
	if err != nil {
		return err
	}
	if _, err := command.OutOrStdout().Write(result.Data); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	_, _ = fmt.Fprintln(command.ErrOrStderr(), summary(result, len(data), limits))
	if !result.Injected {
		return errPassedThrough
	}
	return nil
}

func summary(result bootstrap.Result, before int, limits webhooks.Limits) string {
	if !result.Injected {
		return fmt.Sprintf("%s: passed through unchanged, %d bytes: %s", result.Format, before, result.Reason)
	}
	large := ""
	if limits.Warn(before, len(result.Data)) {
		large = fmt.Sprintf(" (over %d: some clouds take no more)", limits.WarnBytes)
	}
	return fmt.Sprintf("%s: injected, %d bytes before, %d after%s, files: %s", result.Format, before, len(result.Data), large, strings.Join(result.Files, " "))
}

// readManifests finds the one RegistryCache in a file, and its Cluster.
func readManifests(path string) (*clusterv1.Cluster, *v1alpha1.RegistryCache, error) {
	content, err := os.ReadFile(path) //nolint:gosec // the user names it
	if err != nil {
		return nil, nil, fmt.Errorf("reading the manifests: %w", err)
	}
	objects, err := decode(content)
	if err != nil {
		return nil, nil, fmt.Errorf("parsing %s: %w", path, err)
	}
	caches := ofKind(objects, v1alpha1.GroupVersion.WithKind("RegistryCache"))
	if len(caches) != 1 {
		return nil, nil, fmt.Errorf("%s holds %d RegistryCaches of %s; accepted is one", path, len(caches), v1alpha1.GroupVersion)
	}
	rc := &v1alpha1.RegistryCache{}
	if err := convert(caches[0], rc); err != nil {
		return nil, nil, fmt.Errorf("parsing the RegistryCache in %s: %w", path, err)
	}
	for _, object := range ofKind(objects, clusterv1.GroupVersion.WithKind("Cluster")) {
		cluster := &clusterv1.Cluster{}
		if err := convert(object, cluster); err != nil {
			return nil, nil, fmt.Errorf("parsing the Cluster in %s: %w", path, err)
		}
		if client.ObjectKeyFromObject(cluster) == client.ObjectKeyFromObject(rc) {
			return cluster, rc, nil
		}
	}
	return nil, nil, fmt.Errorf("%s holds no Cluster of %s with the name and namespace of its RegistryCache, %s", path, clusterv1.GroupVersion, client.ObjectKeyFromObject(rc))
}

// decode returns the objects of a YAML file, those of lists too.
func decode(content []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		if !object.IsList() {
			objects = append(objects, object)
			continue
		}
		list, err := object.ToList()
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			objects = append(objects, &list.Items[i])
		}
	}
}

func ofKind(objects []*unstructured.Unstructured, kind schema.GroupVersionKind) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(objects), func(o *unstructured.Unstructured) bool { return o.GroupVersionKind() != kind })
}

func convert(object *unstructured.Unstructured, into any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, into, true)
}

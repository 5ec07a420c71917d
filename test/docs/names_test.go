package docs_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	capiaddonsv1 "sigs.k8s.io/cluster-api/api/addons/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	clusterctlv1 "sigs.k8s.io/cluster-api/cmd/clusterctl/api/v1alpha3"
	"sigs.k8s.io/cluster-api/feature"

	"github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/test/docs"
)

// conditionsPage has every condition, reason and Event of ours, and no other.
const conditionsPage = "docs/conditions.md"

// foreign are names of others that the documentation uses.
var foreign = []string{
	"CiliumClusterwideNetworkPolicy", "GlobalNetworkPolicy", "Exists", // of network plugins, and an operator of selectors
	"KubeletEnsureSecretPulledImages", "Request", // of Kubernetes: a feature gate, a level of auditing
	"DataSecretAvailable",                              // a condition of Cluster API's KubeadmConfig
	"RegistryConfig", "RegistryStatus", "MirrorConfig", // of Gardener
	"CreateCertificate", "NewSelfSignedCACert", // of Go libraries
	"ExecStartPre", // of systemd
}

// name is what conditions, reasons, Events, kinds and values of the API look like.
var name = regexp.MustCompile(`^[A-Z][a-z]+([A-Z]+[A-Za-z]*)*$`)

func source(t *testing.T, folders ...string) *docs.Source {
	t.Helper()
	s, err := docs.ReadSource(root, folders...)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return s
}

// alsoKnown is what else may be named: what objects of Kubernetes and Cluster API have in conditions, feature gates, and clusterctl's types.
var alsoKnown = []string{
	string(metav1.ConditionTrue), string(metav1.ConditionFalse), string(metav1.ConditionUnknown),
	clusterv1.ClusterTopologyReconciledCondition, string(feature.RuntimeSDK), string(feature.ClusterTopology), string(clusterctlv1.AddonProviderType),
}

// capi are conditions and reasons that are Cluster API's, and that our kinds have.
var capi = []string{
	clusterv1.ReadyCondition, clusterv1.ReadyReason, clusterv1.NotReadyReason, clusterv1.ReadyUnknownReason,
	clusterv1.PausedCondition, clusterv1.PausedReason, clusterv1.NotPausedReason,
}

func conditionsAndReasons(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for name, value := range source(t, "api/v1alpha1").Constants() {
		if strings.HasSuffix(name, "Condition") || strings.HasSuffix(name, "Reason") {
			all[value] = true
		}
	}
	for _, value := range capi {
		all[value] = true
	}
	return all
}

func eventReasons(t *testing.T) map[string]bool {
	t.Helper()
	reasons, err := source(t, "api", "controllers").EventReasons()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return reasons
}

func TestDocumentationTellsOfEachConditionReasonAndEvent(t *testing.T) {
	g := NewWithT(t)
	told := map[string]bool{}
	for _, p := range pages(t) {
		for _, s := range p.Spans {
			told[s.Text] = true
		}
	}
	conditions, events := conditionsAndReasons(t), eventReasons(t)
	g.Expect(len(conditions)).To(BeNumerically(">", 50))
	g.Expect(len(events)).To(BeNumerically(">", 15))
	for _, all := range []map[string]bool{conditions, events} {
		for value := range all {
			if !told[value] {
				t.Errorf("no page tells of the condition, reason or Event %s; %s is the place", value, conditionsPage)
			}
		}
	}
}

// TestDocumentationTellsOfNoOtherConditionReasonOrEvent looks at the first cells of the tables.
func TestDocumentationTellsOfNoOtherConditionReasonOrEvent(t *testing.T) {
	known := conditionsAndReasons(t)
	maps.Copy(known, eventReasons(t))
	looked := 0
	for _, p := range pages(t) {
		if p.Path != conditionsPage {
			continue
		}
		for i, l := range strings.Split(p.Text, "\n") {
			cell, isRow := strings.CutPrefix(l, "| ")
			cell, _, _ = strings.Cut(cell, " |")
			for _, match := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
				looked++
				if isRow && !known[match[1]] {
					t.Errorf("%s: there is no condition, reason or Event %s", p.Where(i+1), match[1])
				}
			}
		}
	}
	NewWithT(t).Expect(looked).To(BeNumerically(">", 70))
}

// TestDocumentationNamesThingsThatExist looks at all that is written as conditions, reasons, Events, kinds and values are.
func TestDocumentationNamesThingsThatExist(t *testing.T) {
	g := NewWithT(t)
	known := source(t, "api", "bootstrap", "controllers", "templates", "workload").Literals()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, clusterv1.AddToScheme, capiaddonsv1.AddToScheme, v1alpha1.AddToScheme} {
		g.Expect(add(scheme)).To(Succeed())
	}
	for kind := range scheme.AllKnownTypes() {
		known[kind.Kind] = true
	}
	for _, value := range slices.Concat(foreign, capi, alsoKnown) {
		known[value] = true
	}
	maps.Copy(known, eventReasons(t))
	used := map[string]bool{}
	for _, p := range pages(t) {
		for _, s := range p.Spans {
			used[s.Text] = true
			if name.MatchString(s.Text) && !strings.HasPrefix(s.Text, "Test") && !known[s.Text] {
				t.Errorf("%s: there is no %s in the code, the API of Kubernetes or that of Cluster API", p.Where(s.Line), s.Text)
			}
		}
	}
	for _, value := range foreign {
		g.Expect(used).To(HaveKey(value), "a name of others that no page uses")
	}
}

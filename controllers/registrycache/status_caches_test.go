package registrycache

import (
	"errors"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cluster-api/util/conditions"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
	"github.com/capi-registry-cache/capi-registry-cache/templates/manifests"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

// withSecrets lets the cache of docker.io name credentials and a CA bundle.
func withSecrets(s *scope) *secretsFact {
	fact := &secretsFact{access: manifests.Access{Credentials: true, CABundle: true}}
	s.secrets["docker.io"] = fact
	s.facts["docker.io"].reports.told[0].Access.State = report.AccessAccepted
	return fact
}

// telling lets the replicas of the cache of docker.io have this access.
func telling(s *scope, access ...report.Access) {
	withSecrets(s)
	fact := s.facts["docker.io"]
	fact.reports.told = nil
	for _, a := range access {
		fact.reports.told = append(fact.reports.told, report.Report{Access: a, Volume: report.Volume{State: report.VolumeUsable}})
	}
}

func TestWhatIsKnownOfCredentialsBecomesACondition(t *testing.T) {
	rejected := report.Access{State: report.AccessRejected, Message: "upstream: unauthorized: GET /v2/: 401 Unauthorized"}
	for name, tc := range map[string]struct {
		change                  func(*scope)
		status, reason, message string
		ready                   string
	}{
		"nobody needs any": {func(*scope) {}, "True", "NotNeeded", "", "True"},
		"accepted":         {func(s *scope) { withSecrets(s) }, "True", "Accepted", "", "True"},
		"the first pull will tell": {
			func(s *scope) { telling(s, report.Access{State: report.AccessUnasked}) }, "True", "Accepted", "", "True",
		},
		"a Secret is missing": {
			func(s *scope) {
				withSecrets(s).missing = []string{"cache of docker.io: credentialsSecretRef: there is no Secret hub in namespace ns"}
			},
			"False", "SecretNotFound", "there is no Secret hub in namespace ns; what was copied before stays in use", "False",
		},
		"a Secret is wrong while the cluster is not connected": {
			func(s *scope) {
				withSecrets(s).invalid = []string{"cache of docker.io: caBundleSecretRef: Secret ca: key ca.crt is missing"}
				s.target, s.facts = nil, nil
			},
			"False", "SecretInvalid", "Secret ca: key ca.crt is missing", "False",
		},
		"a Secret could not be read": {
			func(s *scope) { withSecrets(s).err = errors.New("12:34:56 timed out") },
			"Unknown", "InternalError", "log of the manager", "Unknown",
		},
		"the cluster is not connected": {
			func(s *scope) { withSecrets(s); s.target, s.facts = nil, nil },
			"Unknown", "ClusterNotConnected", "go on with what they have", "Unknown",
		},
		"the upstream refuses": {
			func(s *scope) { telling(s, rejected) },
			"False", "UpstreamRejected", "cache of docker.io: the upstream refuses the credentials: upstream: unauthorized: GET /v2/: 401 Unauthorized; images that it gives to everyone", "False",
		},
		"one of two replicas is refused": {
			func(s *scope) { telling(s, report.Access{State: report.AccessAccepted}, rejected, rejected) },
			"False", "UpstreamRejected", "cache of docker.io", "False",
		},
		"the token server is somebody else's": {
			func(s *scope) {
				telling(s, report.Access{State: report.AccessWithheld, Message: "the token server https://t.test is not under the domain of r.test"})
			},
			"False", "Withheld", "the token server https://t.test is not under the domain of r.test, so it is asked without", "False",
		},
		"the CA is not the right one": {
			func(s *scope) { telling(s, report.Access{State: report.AccessUntrusted, Message: "x509: unknown"}) },
			"False", "UpstreamNotTrusted", "is not trusted: x509: unknown", "False",
		},
		"kubelet has not written the files": {
			func(s *scope) { telling(s, report.Access{State: report.AccessUnreadable, Message: "no such file"}) },
			"Unknown", "NotChecked", "does not have them yet: no such file", "True",
		},
		"the upstream does not answer": {
			func(s *scope) { telling(s, report.Access{State: report.AccessUnchecked}) },
			"Unknown", "NotChecked", "has not answered yet", "True",
		},
		"the cache does not answer": {
			func(s *scope) { telling(s); s.facts["docker.io"].reports.missing = true },
			"Unknown", "NotChecked", "has not told yet", "Unknown",
		},
		"an image that does not report": {
			func(s *scope) { telling(s); s.facts["docker.io"].reports.silent = true },
			"True", "Accepted", "does not report", "True",
		},
		"the RegistryCache goes": {
			func(s *scope) { withSecrets(s); s.cache.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} },
			"False", "Deleting", "", "False",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := serving()
			tc.change(s)
			setStatus(s)
			got := conditions.Get(s.cache, addonsv1.CredentialsValidCondition)
			g.Expect([]string{string(got.Status), got.Reason}).To(Equal([]string{tc.status, tc.reason}), got.Message)
			g.Expect(got.Message).To(ContainSubstring(tc.message))
			g.Expect(got.Message).NotTo(ContainSubstring("12:34:56"), "no variable text")
			g.Expect(strings.Count(got.Message, "refuses")).To(BeNumerically("<=", 1), "replicas say the same once")
			if name != "the cache does not answer" { // whose volume is not known either
				g.Expect(string(conditions.Get(s.cache, addonsv1.ReadyCondition).Status)).To(Equal(tc.ready))
			}
		})
	}
}

func TestWhatIsKnownOfVolumesBecomesACondition(t *testing.T) {
	state := func(state report.VolumeState) func(*scope) {
		return func(s *scope) { s.facts["quay.io"].reports.told[0].Volume.State = state }
	}
	for name, tc := range map[string]struct {
		change                         func(*scope)
		status, reason, message, ready string
	}{
		"all take what is pulled": {func(*scope) {}, "True", "Healthy", "", "True"},
		"one is full":             {state(report.VolumeFull), "False", "Full", "cache of quay.io: its volume has no room", "False"},
		"one refuses writes":      {state(report.VolumeFailing), "False", "Failing", "cache of quay.io: its volume refuses writes", "False"},
		"one says what is not known here": {
			state("Melting"), "True", "Healthy", "", "True",
		},
		"one is growing": {
			func(s *scope) { s.facts["quay.io"].volume.growing = []string{"PersistentVolumeClaim x has 1Gi of 2Gi"} },
			"False", "Growing", "cache of quay.io: PersistentVolumeClaim x has 1Gi of 2Gi", "False",
		},
		"one cannot grow while another does": {
			func(s *scope) {
				s.facts["quay.io"].volume.notGrown = []string{"volume.size: no"}
				s.facts["docker.io"].volume.growing = []string{"yes"}
			},
			"False", "NotGrown", "cache of quay.io: volume.size: no\ncache of docker.io: yes", "False",
		},
		"one has not told": {
			func(s *scope) { s.facts["quay.io"].reports = reportsFact{missing: true} },
			"Unknown", "NotReported", "cache of quay.io", "True",
		},
		"the cluster is not connected": {
			func(s *scope) { s.target, s.facts = nil, nil }, "Unknown", "ClusterNotConnected", "as it is", "Unknown",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := serving()
			tc.change(s)
			setStatus(s)
			got := conditions.Get(s.cache, addonsv1.VolumesHealthyCondition)
			g.Expect([]string{string(got.Status), got.Reason}).To(Equal([]string{tc.status, tc.reason}), got.Message)
			g.Expect(got.Message).To(ContainSubstring(tc.message))
			g.Expect(string(conditions.Get(s.cache, addonsv1.ReadyCondition).Status)).To(Equal(tc.ready))
		})
	}
}

func TestWhatAWorkloadClusterSaysIsBounded(t *testing.T) {
	g := NewWithT(t)
	s := serving()
	telling(s, report.Access{State: report.AccessRejected, Message: "a\nb\t" + strings.Repeat("ü", 10_000)})
	setStatus(s)
	message := conditions.Get(s.cache, addonsv1.CredentialsValidCondition).Message
	g.Expect(len(message)).To(BeNumerically("<", 500))
	g.Expect(message).To(ContainSubstring("a b ü"))
}

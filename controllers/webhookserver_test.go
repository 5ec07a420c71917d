package controllers_test

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
	"sigs.k8s.io/cluster-api/feature"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/capi-registry-cache/capi-registry-cache/controllers"
)

func TestTheRuntimeExtensionIsServedWithItsFeatureGateOnly(t *testing.T) {
	for enabled, want := range map[bool]string{false: "*webhook.DefaultServer", true: "*server.Server"} {
		t.Run(fmt.Sprintf("RuntimeSDK=%t", enabled), func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(feature.Gates.Enabled(feature.RuntimeSDK)).To(BeFalse(), "it is off unless asked for")
			featuregatetesting.SetFeatureGateDuringTest(t, feature.Gates, feature.RuntimeSDK, enabled)
			server, err := controllers.NewWebhookServer(webhook.Options{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(fmt.Sprintf("%T", server)).To(Equal(want))
		})
	}
}

# A real Kubernetes from the Go module proxy and Debian, without a container registry. Included by the root Makefile,
# which sets BIN. Everything is a file below $(KUBERNETES), so make builds once and again only after a change here.

KUBERNETES := $(BIN)/kubernetes
PROGRAMS := $(KUBERNETES)/bin
KUBERNETES_SRC := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))

# The modules under kube/ and capi/ pin these two.
KUBERNETES_VERSION := $(shell awk '$$1 == "k8s.io/kubernetes" { print $$2 }' $(KUBERNETES_SRC)/kube/go.mod)
CAPI_VERSION := $(shell awk '$$1 == "sigs.k8s.io/cluster-api" && $$2 == "=>" { print $$4 }' $(KUBERNETES_SRC)/capi/go.mod)
CONTAINERD_VERSION := v2.4.2
DISTRIBUTION_VERSION := v3.1.2
KIND_VERSION := v0.33.0

KUBE_NAMES := kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubeadm kubectl
CONTAINERD_NAMES := containerd containerd-shim-runc-v2 ctr

# version_flags <package> <version>: stamps v1.2.3 into the package's git variables.
version_flags = -X $(1).gitVersion=$(2) -X $(1).gitMajor=$(word 1,$(subst ., ,$(2:v%=%))) -X $(1).gitMinor=$(word 2,$(subst ., ,$(2:v%=%)))
# Without -trimpath: the compiled packages are then shared with the other builds and tests of this repository.
KUBERNETES_BUILD := CGO_ENABLED=0 go build -ldflags "-s -w"
KUBERNETES_INSTALL := CGO_ENABLED=0 GOBIN=$(PROGRAMS) go install

# ---- Kubernetes itself: one binary, many names

.PHONY: kube-binaries
kube-binaries: $(KUBE_NAMES:%=$(PROGRAMS)/%) $(PROGRAMS)/etcd

$(PROGRAMS)/kube: $(wildcard $(KUBERNETES_SRC)/kube/*)
	cd $(KUBERNETES_SRC)/kube && CGO_ENABLED=0 go build \
		-ldflags "-s -w $(call version_flags,k8s.io/component-base/version,$(KUBERNETES_VERSION))" -o $@ .

$(KUBE_NAMES:%=$(PROGRAMS)/%): $(PROGRAMS)/kube
	ln -sf kube $@

$(PROGRAMS)/etcd $(PROGRAMS)/coredns: $(PROGRAMS)/%: $(wildcard $(KUBERNETES_SRC)/etcd/* $(KUBERNETES_SRC)/coredns/*)
	cd $(KUBERNETES_SRC)/$* && $(KUBERNETES_BUILD) -o $@ .

$(PROGRAMS)/pause: $(wildcard $(KUBERNETES_SRC)/pause/*)
	$(KUBERNETES_BUILD) -o $@ ./$(KUBERNETES_SRC)/pause

# ---- envtest: KUBEBUILDER_ASSETS that is set already is used as it is

.PHONY: envtest-assets
ifdef KUBEBUILDER_ASSETS
ENVTEST_ASSETS := $(KUBEBUILDER_ASSETS)
envtest-assets:
else
ENVTEST_ASSETS := $(KUBERNETES)/envtest
envtest-assets: $(addprefix $(KUBERNETES)/envtest/,kube-apiserver kubectl etcd)
endif

$(KUBERNETES)/envtest/%: $(PROGRAMS)/%
	mkdir -p $(@D)
	ln -sf ../bin/$* $@

# ---- container runtime, registry, DNS, kind

.PHONY: runtime-binaries
runtime-binaries: $(addprefix $(PROGRAMS)/,$(CONTAINERD_NAMES) registry coredns kind pause)

$(CONTAINERD_NAMES:%=$(PROGRAMS)/%): $(PROGRAMS)/%: $(KUBERNETES_SRC)/kubernetes.mk
	$(KUBERNETES_INSTALL) -tags "no_btrfs no_devmapper no_zfs no_aufs" \
		-ldflags "-s -w -X github.com/containerd/containerd/v2/version.Version=$(CONTAINERD_VERSION)" \
		github.com/containerd/containerd/v2/cmd/$*@$(CONTAINERD_VERSION)
	touch $@

$(PROGRAMS)/registry: $(KUBERNETES_SRC)/kubernetes.mk
	$(KUBERNETES_INSTALL) -ldflags "-s -w" github.com/distribution/distribution/v3/cmd/registry@$(DISTRIBUTION_VERSION)
	touch $@

$(PROGRAMS)/kind: $(KUBERNETES_SRC)/kubernetes.mk
	$(KUBERNETES_INSTALL) -ldflags "-s -w" sigs.k8s.io/kind@$(KIND_VERSION)
	touch $@

# ---- Cluster API

CAPI_PROGRAMS := $(addprefix $(PROGRAMS)/,capi-core-manager capi-kubeadm-bootstrap-manager capi-kubeadm-control-plane-manager capd-manager clusterctl)

.PHONY: capi-binaries
capi-binaries: $(CAPI_PROGRAMS)

$(PROGRAMS)/capi-core-manager: CAPI_PACKAGE := core
$(PROGRAMS)/capi-kubeadm-bootstrap-manager: CAPI_PACKAGE := bootstrap/kubeadm
$(PROGRAMS)/capi-kubeadm-control-plane-manager: CAPI_PACKAGE := controlplane/kubeadm
$(PROGRAMS)/capd-manager: CAPI_PACKAGE := test/infrastructure/docker
$(PROGRAMS)/clusterctl: CAPI_PACKAGE := cmd/clusterctl

$(CAPI_PROGRAMS): $(wildcard $(KUBERNETES_SRC)/capi/*)
	cd $(KUBERNETES_SRC)/capi && CGO_ENABLED=0 go build \
		-ldflags "-s -w $(call version_flags,sigs.k8s.io/cluster-api/version,$(CAPI_VERSION))" -o $@ sigs.k8s.io/cluster-api/$(CAPI_PACKAGE)

# ---- Docker and the images in it (root)

.PHONY: dockerd dockerd-stop
dockerd:
	$(KUBERNETES_SRC)/dockerd.sh start

dockerd-stop:
	$(KUBERNETES_SRC)/dockerd.sh stop

# The daemon may have lost an image that the stamp still tells of.
NODE_IMAGE := capi-registry-cache/node:$(KUBERNETES_VERSION)
NODE_IMAGE_STAMP := $(KUBERNETES)/node-image.stamp

.PHONY: node-image
node-image: dockerd
	@docker image inspect $(NODE_IMAGE) >/dev/null 2>&1 || rm -f $(NODE_IMAGE_STAMP)
	@$(MAKE) --no-print-directory $(NODE_IMAGE_STAMP)

$(NODE_IMAGE_STAMP): $(KUBERNETES)/rootfs.tar $(addprefix $(PROGRAMS)/,kube $(KUBE_NAMES) etcd $(CONTAINERD_NAMES) coredns kind pause) \
		$(shell find $(KUBERNETES_SRC)/node $(KUBERNETES_SRC)/images -type f) $(KUBERNETES_SRC)/images.sh
	$(KUBERNETES_SRC)/images.sh $(KUBERNETES) $(KUBERNETES_VERSION) $(KIND_VERSION)
	touch $@

$(KUBERNETES)/rootfs.tar: $(KUBERNETES_SRC)/rootfs.sh
	mkdir -p $(@D)
	$(KUBERNETES_SRC)/rootfs.sh $@

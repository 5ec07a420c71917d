# What a release consists of, below out/, which is then a local repository of clusterctl, too. Included by the root Makefile, which sets
# STATIC; PROGRAMS is that of test/kubernetes.

VERSION ?= $(shell git describe --tags --match 'v*' 2>/dev/null || echo v0.1.0-dev)
REGISTRY ?= ghcr.io/capi-registry-cache
PLATFORMS ?= linux-amd64 linux-arm64
PLUGIN_PLATFORMS ?= linux-amd64 linux-arm64 darwin-amd64 darwin-arm64
OUT ?= $(CURDIR)/out
# Any kustomize will do, such as KUSTOMIZE="kustomize build". That of the tests is built if there is none, and never built again for this.
KUSTOMIZE ?= $(PROGRAMS)/kubectl kustomize
RELEASE_BINARIES := $(PLATFORMS:%=$(OUT)/binaries/%)
RELEASE_PLUGINS := $(PLUGIN_PLATFORMS:%=$(OUT)/plugins/%)

.PHONY: release-files
release-files: $(if $(wildcard $(firstword $(KUSTOMIZE))),,$(filter $(PROGRAMS)/%,$(KUSTOMIZE))) release-binaries
	$(KUSTOMIZE) config/release >$(OUT)/components.yaml
	go run ./cmd/release -version $(VERSION) -components $(OUT)/components.yaml -binaries $(OUT)/binaries -plugins $(OUT)/plugins -out $(OUT) \
		-manager-image $(REGISTRY)/manager:$(VERSION) -workload-image $(REGISTRY)/workload:$(VERSION)
	rm $(OUT)/components.yaml

.PHONY: release-binaries $(RELEASE_BINARIES) $(RELEASE_PLUGINS)
release-binaries:
	rm -rf $(OUT)/binaries $(OUT)/plugins
	@mkdir -p $(OUT)/plugins
	@$(MAKE) --no-print-directory $(RELEASE_BINARIES) $(RELEASE_PLUGINS)

$(RELEASE_BINARIES): $(OUT)/binaries/%:
	GOOS=$(word 1,$(subst -, ,$*)) GOARCH=$(word 2,$(subst -, ,$*)) $(STATIC) -o $@/manager .
	GOOS=$(word 1,$(subst -, ,$*)) GOARCH=$(word 2,$(subst -, ,$*)) $(STATIC) -o $@/workload ./workload
	GOOS=$(word 1,$(subst -, ,$*)) GOARCH=$(word 2,$(subst -, ,$*)) $(STATIC) -o $@/node-sync ./workload/nodesync

$(RELEASE_PLUGINS): $(OUT)/plugins/%:
	GOOS=$(word 1,$(subst -, ,$*)) GOARCH=$(word 2,$(subst -, ,$*)) $(STATIC) -o $@/kubectl-registry_cache ./cmd/kubectl-registry_cache

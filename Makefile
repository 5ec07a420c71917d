# Every target is told by `make help`. Tools and test binaries are built from Go modules into bin/, once.
SHELL := /usr/bin/env bash -o pipefail
.DEFAULT_GOAL := help

BIN := $(CURDIR)/bin
TAG ?= dev
MANAGER_IMAGE ?= capi-registry-cache/manager:$(TAG)
WORKLOAD_IMAGE ?= capi-registry-cache/workload:$(TAG)
LABELS ?= !slow
# Runs, not seconds: a time limit makes go test fail now and then when it passes (golang/go#75804), and is spent on minimizing.
FUZZTIME ?= 500000x
# Static binaries, and one set of compiled packages for everything that is built and tested here.
export CGO_ENABLED := 0

CONTROLLER_GEN := go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.21.0
CRD_REF_DOCS := go run github.com/elastic/crd-ref-docs@v0.3.0 --log-level=ERROR
GOLANGCI_LINT := $(BIN)/golangci-lint-v2.15.0
STATIC := go build -ldflags "-s -w"

include test/kubernetes/kubernetes.mk
include test/containerd/containerd.mk
include test/boot/boot.mk
include cmd/release/release.mk

##@ General

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-zA-Z0-9_-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' Makefile

.PHONY: clean
clean: dockerd-stop ## Remove everything that was built.
	rm -rf $(BIN) out

##@ Code

.PHONY: generate
generate: ## Generate deepcopy code, CRDs, RBAC, the ClusterClass variable, docs/reference.md and docs/metrics.md.
	$(CONTROLLER_GEN) object paths=./api/v1alpha1/...
	$(CONTROLLER_GEN) crd paths=./api/v1alpha1/... output:crd:dir=config/crd/bases
	$(CONTROLLER_GEN) rbac:roleName=system-manager-role paths=. paths=./controllers/... output:rbac:dir=config/rbac
	go run ./templates/cluster/generate templates/cluster
	go run ./templates/monitoring/generate config/monitoring
	$(CRD_REF_DOCS) --source-path=api/v1alpha1 --config=api/reference/config.yaml --templates-dir=api/reference --renderer=markdown --output-path=docs/reference.md
	go run ./test/docs/metrics/generate docs/metrics.md

.PHONY: verify
verify: generate ## Fail when generated files or go.mod are not up to date.
	go mod tidy -diff
	git diff --exit-code -- api config templates docs/reference.md docs/metrics.md
	@test -z "$$(git status --porcelain -- api config templates docs/reference.md docs/metrics.md)" || { git status --short -- api config templates docs/reference.md docs/metrics.md; exit 1; }

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Lint Go and shell.
	$(GOLANGCI_LINT) run
	shellcheck $$(git ls-files '*.sh') .ci/run

$(GOLANGCI_LINT):
	GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(patsubst $(BIN)/golangci-lint-%,%,$@)
	mv $(BIN)/golangci-lint $@

##@ Tests

.PHONY: test
test: envtest-assets $(BIN)/cloud-init ## Run unit, golden and envtest tests, and each fuzz test for a moment. Needs no container.
	KUBEBUILDER_ASSETS="$(ENVTEST_ASSETS)" CLOUD_INIT_PATH="$(BIN)/cloud-init/usr/lib/python3/dist-packages" go test -timeout 20m -tags cloudinit ./...
	$(MAKE) fuzz FUZZTIME=3000x

$(BIN)/cloud-init: bootstrap/cloudinit/testdata/get-cloud-init.sh
	rm -rf $@ $@.part
	$< $@.part
	mv $@.part $@

.PHONY: fuzz
fuzz: ## Run each fuzz test for FUZZTIME.
	@go test -list '^Fuzz' ./... | awk '/^Fuzz/ {names[n++] = $$1} /^ok/ {for (i = 0; i < n; i++) print names[i], $$2; n = 0}' | \
	while read -r name package; do echo "fuzz $$name $(FUZZTIME)"; go test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x "$$package" || exit 1; done

.PHONY: e2e
e2e: e2e-boot e2e-containerd e2e-clusters ## Run all specs on real machines and clusters. LABELS=slow runs the long ones. Needs root and Docker's packages.

.PHONY: e2e-clusters
e2e-clusters: stack ## Run the specs on real kind and CAPD clusters.
	go test -tags e2e -count 1 -timeout 3h ./test/e2e -v -ginkgo.v -ginkgo.timeout 3h -ginkgo.label-filter='$(LABELS)'

.PHONY: e2e-containerd
e2e-containerd: dockerd node-image runtime-binaries $(CONTAINERD_PROGRAMS) ## Run the node script on real containerd. LABELS=slow runs the versions in between.
	go test -tags e2e -count 1 -timeout 60m ./test/containerd -v -ginkgo.v -ginkgo.label-filter='$(LABELS)'

.PHONY: e2e-boot
e2e-boot: boot-image ## Boot machines with bootstrap data of every kind, several at a time. LABELS=slow boots the rest.
	go run github.com/onsi/ginkgo/v2/ginkgo -p -tags e2e -timeout 30m -v -label-filter='$(LABELS)' ./test/boot

.PHONY: demo
demo: stack ## Show a cluster that pulls through its caches, on the stack of the e2e specs; it is left running.
	go run ./test/e2e/demo

.PHONY: clean-e2e
clean-e2e: ## Remove what the demo or the e2e specs left running.
	go run ./test/e2e/demo -remove

.PHONY: bench
bench: build runtime-binaries ## Measure the cache beside a stock registry and write docs/benchmarks.md. Needs root; takes BENCHFLAGS.
	go run ./test/bench -out docs/benchmarks.md $(BENCHFLAGS)

##@ Build

.PHONY: build
build: ## Build the binaries into bin/.
	$(STATIC) -o $(BIN)/manager .
	$(STATIC) -o $(BIN)/workload ./workload
	$(STATIC) -o $(BIN)/node-sync ./workload/nodesync
	$(STATIC) -o $(BIN)/kubectl-registry_cache ./cmd/kubectl-registry_cache

.PHONY: run
run: generate ## Run the manager against the cluster of the current kubeconfig.
	go run .

.PHONY: docker-build
docker-build: build ## Build both images from the binaries; no base image is pulled.
	tar -c Dockerfile -C $(BIN) manager | docker build -q -t $(MANAGER_IMAGE) -
	tar -C workload -c Dockerfile -C $(BIN) workload node-sync | docker build -q -t $(WORKLOAD_IMAGE) -

.PHONY: release
release: release-files ## Put components, metadata, templates, image archives and checksums of VERSION under out/.

.PHONY: stack
stack: dockerd node-image runtime-binaries capi-binaries docker-build

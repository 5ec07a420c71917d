# The versions of containerd that the specs run: 1.6 from Debian, the others from the Go module proxy. Included by the
# root Makefile, which sets BIN; the current version comes from test/kubernetes.

CONTAINERD := $(BIN)/containerd
# The last patch of each minor version, and 2.3.4: it refuses a drop-in of a higher version than the root's.
CONTAINERD_V1 := v1.7.35
CONTAINERD_V2 := v2.0.14 v2.1.9 v2.2.9 v2.3.4 v2.3.7

CONTAINERD_PROGRAMS := $(CONTAINERD)/debian/containerd
ifneq ($(LABELS),!slow)
CONTAINERD_PROGRAMS += $(foreach v,$(CONTAINERD_V1) $(CONTAINERD_V2),$(CONTAINERD)/$(v)/containerd)
endif

# Built as the main module: go install refuses the go.mod of 1.7, which excludes versions. Modules are published with an
# incomplete vendor folder.
containerd_build = cd "$$(go mod download -json $(1)@$(notdir $(@D)) | jq -r .Dir)" && CGO_ENABLED=0 \
	go build -mod=mod -tags "no_btrfs no_devmapper no_zfs no_aufs" -ldflags "-s -w -X $(1)/version.Version=$(notdir $(@D))" -o $@ ./cmd/containerd

$(CONTAINERD_V1:%=$(CONTAINERD)/%/containerd):
	$(call containerd_build,github.com/containerd/containerd)

$(CONTAINERD_V2:%=$(CONTAINERD)/%/containerd):
	$(call containerd_build,github.com/containerd/containerd/v2)

$(CONTAINERD)/debian/containerd:
	mkdir -p $(@D)
	apt-cache show containerd >/dev/null 2>&1 || apt-get update -qq
	cd $(@D) && apt-get download -qq -o APT::Sandbox::User=root containerd && dpkg-deb --fsys-tarfile containerd_*.deb | tar -x --strip-components 3 ./usr/bin/containerd
	rm -f $(@D)/*.deb
	touch $@

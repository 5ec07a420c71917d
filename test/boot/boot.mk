# The image of the machines that boot with bootstrap data, from Debian and the Go module proxy. Included by the root Makefile,
# which sets BIN.

BOOT := $(BIN)/boot
BOOT_SRC := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
BOOT_IMAGE := capi-registry-cache/boot
IGNITION := $(BOOT)/ignition-$(shell awk '$$1 == "github.com/coreos/ignition/v2" { print $$2 }' go.mod)

# The daemon may have lost an image that the stamp still tells of.
.PHONY: boot-image
boot-image: dockerd
	@docker image inspect $(BOOT_IMAGE) >/dev/null 2>&1 || rm -f $(BOOT)/image.stamp
	@$(MAKE) --no-print-directory $(BOOT)/image.stamp

$(BOOT)/image.stamp: $(KUBERNETES)/rootfs.tar $(BOOT)/packages $(IGNITION) $(PROGRAMS)/containerd $(shell find $(BOOT_SRC)/image -type f)
	docker import $(KUBERNETES)/rootfs.tar capi-registry-cache/debian >/dev/null
	tar -c --transform 's,^\(containerd\|ignition.*\)$$,bin/\1,' -C $(BOOT_SRC)/image Dockerfile files -C $(BOOT) packages \
		-C $(PROGRAMS) containerd -C $(IGNITION) ignition ignition-validate | docker build -q --network none -t $(BOOT_IMAGE) -
	touch $@

$(BOOT)/packages: $(BOOT_SRC)/packages.sh $(KUBERNETES)/rootfs.tar
	rm -rf $@ $@.part
	$< $@.part $(KUBERNETES)/rootfs.tar cloud-init gettext-base
	mv $@.part $@

$(IGNITION): $(BOOT_SRC)/ignition.sh
	rm -rf $@ $@.part
	$< $@.part $(@:$(BOOT)/ignition-%=%)
	mv $@.part $@

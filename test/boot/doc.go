// Package boot holds the specs that boot machines with bootstrap data as providers emit it, and with what bootstrap.Inject makes of
// it: containers in which systemd is process 1, and Debian's cloud-init or the real Ignition reads the data. Both must have the
// same effects but for our files and our unit.
//
//	make e2e-boot                 the specs, without those labelled slow
//	LABELS=slow make e2e-boot     the others
//
// The specs carry the build tag e2e, so `go test ./...` needs none of this. Each has machines of its own, so that several run at
// a time.
//
// A machine is a whole Debian. It has no network and none of the capabilities and devices that would let bootstrap data reach
// the disks of the host. What the data calls or downloads is a stand-in that notes the call, how our unit was at that moment, and
// how containerd was; our own script, curl and containerd are real, and one of two caches answers. Ignition is applied to the
// machine's own root just before systemd starts, as an initramfs does, so that presets work as at a first boot.
package boot

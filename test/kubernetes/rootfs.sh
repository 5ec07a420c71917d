#!/bin/bash
# Makes a Debian root file system for the node image and writes it as a tarball (root needed).
#
#   rootfs.sh <tarball>
#
# The packages come from where apt on this machine takes them: its mirror, its proxy, its release.
set -euo pipefail

tarball=$1
packages=(
	systemd systemd-sysv dbus kmod util-linux mount procps # an init and what it needs
	iptables nftables conntrack iproute2 ethtool socat     # kubelet and kube-proxy
	runc containernetworking-plugins libseccomp2           # containers
	ca-certificates curl jq                                # tools on a node: ours and kind's
	haproxy                                                # for the load balancer image only
)

# shellcheck source=/dev/null
. /etc/os-release
release=${VERSION_CODENAME:?"apt's release is unknown: /etc/os-release names no VERSION_CODENAME"}

# The mirror that serves Debian's main component of this release to apt.
# shellcheck disable=SC2016 # apt expands these
mirror=$(apt-get indextargets --format '$(ORIGIN) $(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
	awk -v release="$release" '$1 == "Debian" && $2 == release && $3 == "main" { print $4; exit }')
[[ -n $mirror ]] || { echo "rootfs: apt lists no Debian mirror for $release main, run apt-get update" >&2; exit 1; }

# apt's proxies, unless the environment already names some.
eval "$(apt-config shell apt_http Acquire::http::Proxy apt_https Acquire::https::Proxy)"
[[ -z ${apt_http:-} || $apt_http == DIRECT ]] || export http_proxy=${http_proxy:-$apt_http}
[[ -z ${apt_https:-} || $apt_https == DIRECT ]] || export https_proxy=${https_proxy:-$apt_https}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
include=$(IFS=,; echo "${packages[*]}")
debootstrap --variant=minbase --include="$include" "$release" "$work" "$mirror"
rm -rf "$work"/var/cache/apt/* "$work"/var/lib/apt/lists/* "$work"/var/log/* "$work"/usr/share/{doc,man,locale,info}/*
rm -f "$work"/etc/machine-id "$work"/var/lib/dbus/machine-id # each node has its own
# The mirror is this machine's own business.
rm -f "$work"/etc/apt/sources.list
tar -C "$work" --numeric-owner -cf "$tarball.new" .
mv "$tarball.new" "$tarball"

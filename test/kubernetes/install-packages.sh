#!/bin/bash
# Installs the Debian packages that the test clusters need and that are missing here (root needed).
set -euo pipefail

# command -> package
declare -A packages=(
	[dockerd]=docker.io
	[docker]=docker-cli
	[runc]=runc
	[iptables]=iptables
	[ip]=iproute2
	[sysctl]=procps
	[debootstrap]=debootstrap
	[jq]=jq
	[shellcheck]=shellcheck
	[/usr/bin/python3]=python3
	[curl]=curl
	[busybox]=busybox
	[gcc]=build-essential
	[promtool]=prometheus
)

missing() {
	local command
	for command in "${!packages[@]}"; do
		command -v "$command" >/dev/null || echo "${packages[$command]}"
	done
}

mapfile -t wanted < <(missing)
((${#wanted[@]})) || exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# Up to Debian 12 the client is part of docker.io.
apt-cache show docker-cli >/dev/null 2>&1 || mapfile -t wanted < <(printf '%s\n' "${wanted[@]}" | sed s/^docker-cli$/docker.io/ | sort -u)
# No daemon is started on installation: dockerd.sh does that, with what this machine needs.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
fi
apt-get install -qy --no-install-recommends "${wanted[@]}"
# Nor at the next boot: the tests run Prometheus themselves, or only its promtool.
[[ " ${wanted[*]} " != *" prometheus "* ]] || ! command -v systemctl >/dev/null || systemctl disable -q prometheus.service || true

#!/bin/bash
# The Docker daemon of the test clusters (root needed).
#
#   dockerd.sh start   start one when none answers; cut container networks off from the outside
#   dockerd.sh stop    undo what start did: its rules, and the daemon if start started it
#
# State (pid, log, rules) is kept in $DOCKERD_STATE.
#
# Why cut off: an address that is dead on purpose (a deleted Service, a stopped upstream) is routed out of the
# machine otherwise, and something out there may answer for it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
state=${DOCKERD_STATE:-$here/../../bin/kubernetes/dockerd}
readonly here state
readonly start_timeout=60 # seconds
readonly inotify_instances=8192

main() {
	case ${1:-} in
	start)
		mkdir -p "$state"
		docker info >/dev/null 2>&1 || start_daemon
		cut_off
		;;
	stop)
		reconnect
		stop_daemon
		;;
	*)
		echo "dockerd.sh: unknown command \"${1:-}\", accepted: start, stop" >&2
		exit 2
		;;
	esac
}

start_daemon() {
	[[ $EUID == 0 ]] || { echo "dockerd.sh: no Docker daemon answers, and only root can start one" >&2; exit 1; }
	raise_inotify_instances
	local runtime=()
	if ! may_grant_sys_resource; then
		runtime=(--add-runtime "capless=$here/runc-capless.sh" --default-runtime capless)
	fi
	setsid dockerd "${runtime[@]}" >"$state/log" 2>&1 </dev/null &
	echo $! >"$state/pid"
	local deadline=$((SECONDS + start_timeout))
	until docker info >/dev/null 2>&1; do
		if ((SECONDS > deadline)) || ! kill -0 "$(<"$state/pid")" 2>/dev/null; then
			echo "dockerd.sh: the daemon did not come up within ${start_timeout}s:" >&2
			tail -n 20 "$state/log" >&2
			exit 1
		fi
		sleep 0.2
	done
}

# A systemd and a kubelet in each of several nodes need more inotify instances than a kernel's usual 128.
raise_inotify_instances() {
	local current
	current=$(sysctl -n fs.inotify.max_user_instances)
	((current >= inotify_instances)) || sysctl -qw "fs.inotify.max_user_instances=$inotify_instances"
}

# Is CAP_SYS_RESOURCE (24) in the bounding set?
may_grant_sys_resource() {
	local bounding
	bounding=$(awk '$1 == "CapBnd:" { print $2 }' /proc/self/status)
	(((16#$bounding >> 24) & 1))
}

# Drops what containers send out through the interfaces of the default routes. Rules that are already there stay
# the property of whoever made them.
cut_off() {
	local interface
	for interface in $(default_interfaces -4); do
		install_rule iptables DOCKER-USER -o "$interface" -j DROP
	done
	# Docker's networks are unique local addresses; an older daemon keeps no chain of its own for IPv6.
	for interface in $(default_interfaces -6); do
		install_rule ip6tables FORWARD -s fc00::/7 -o "$interface" -j DROP
	done
}

default_interfaces() {
	ip "$1" route show default | awk '{ for (i = 1; i < NF; i++) if ($i == "dev") print $(i + 1) }' | sort -u
}

# install_rule <iptables|ip6tables> <chain> <rule…>
install_rule() {
	local table=$1 chain=$2
	shift 2
	"$table" -C "$chain" "$@" 2>/dev/null && return
	"$table" -I "$chain" "$@"
	echo "$table -D $chain $*" >>"$state/rules"
}

reconnect() {
	[[ -f $state/rules ]] || return 0
	local rule
	while read -r -a rule; do
		"${rule[@]}" || true # the daemon may have taken its chain away
	done <"$state/rules"
	rm -f "$state/rules"
}

stop_daemon() {
	[[ -f $state/pid ]] || return 0
	local pid
	pid=$(<"$state/pid")
	# A number may have been given to another process since.
	if [[ $(cat "/proc/$pid/comm" 2>/dev/null) == dockerd ]]; then
		kill "$pid"
		while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
	fi
	rm -f "$state/pid"
}

main "$@"

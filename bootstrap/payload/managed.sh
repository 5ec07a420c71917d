# managed by capi-registry-cache
#
# What the node script does more where node-sync looks after the node: it clears the node of everything of ours, when it is asked to,
# or when nobody has looked after it for an hour, nor has any cache answered. The script reads this file in every round;
# node-sync touches it.
# shellcheck shell=sh disable=SC2154 # the variables and functions are the script's

minutes=60
unit=configure-containerd-registries.service

# older FILE: it was touched before that time.
older() { [ -n "$(find "$1" -mmin +$minutes 2>/dev/null)" ]; }

# abandoned: also by the caches, and for as long as this process runs.
abandoned() {
	case $old in *' active'*) : >"$run/answered" ;; esac
	[ -e "$run/answered" ] || : >"$run/answered"
	older "$etc/managed.sh" && older "$run/answered"
}

# unset_path: leave the choice of config_path to containerd again; it takes effect when that starts again. Earlier versions marked
# less of a file that was theirs alone.
unset_path() {
	locate
	alone=''
	! ours "$cfg" || alone=$(grep -vF "$mark" "$cfg")
	retract
	[ "$alone" != "version = 2${nl}[plugins.\"io.containerd.grpc.v1.cri\".registry]" ] || rm -f "$cfg"
}

leave() {
	trap '' TERM INT HUP
	log 'clearing the node of the registry caches'
	rm -f "$hook" "$run/guard"
	rmdir "${hook%/*}" 2>/dev/null
	withdraw_but ''
	unset_path
	timeout 10 systemctl disable "$unit"
	rm -rf "$root/etc/systemd/system/$unit" "$root/opt/bin/configure-containerd-registries.sh" "$etc" "$run"
	timeout 10 systemctl daemon-reload
	timeout 10 systemctl stop --no-block "$unit"
	exit 0
}

if [ -e "$etc/remove" ] || abandoned; then leave; fi

#!/bin/sh
# managed by capi-registry-cache
#
# Keeps containerd's hosts.toml files in step with the registry caches that answer.
#   prepare  forget what we wrote, make containerd read the directory (before kubelet starts, bounded in time)
#   run      probe, write, watch, withdraw; until SIGTERM
#
# Desired state, read again in every round:
#   /etc/capi-registry-cache/certs-dir                    the directory that containerd reads, one line
#   /etc/capi-registry-cache/upstreams/<upstream>/probe          URL that tells whether the cache answers, one line
#   /etc/capi-registry-cache/upstreams/<upstream>/hosts.toml     installed while it does
#   /etc/capi-registry-cache/upstreams/<upstream>/fallback.toml  installed while it does not; absent: nothing is
# Observed state: /run/capi-registry-cache/state, a line "<upstream> active|waiting|conflict|unsupported <why>" each.
#
# A file is ours when its first line is the marker. Nothing else is ever changed or removed.
set -u
umask 022
mark='# managed by capi-registry-cache'
root=${ROOT:-}
etc=$root/etc/capi-registry-cache
run=$root/run/capi-registry-cache
drop=$root/etc/containerd/conf.d/99-capi-registry-cache.toml
nl='
'

log() { printf '%s\n' "$*"; }

# line FILE: its first line, nothing when there is none.
line() {
	l=
	[ ! -r "$1" ] || IFS= read -r l <"$1" || :
	printf '%s' "$l"
}

ours() { [ -f "$1" ] && [ "$(line "$1")" = "$mark" ]; }

# put SRC DST: by temporary file and rename, only when the content differs.
put() {
	[ "$(cat "$1")" != "$(cat "$2" 2>/dev/null)" ] || return 0
	mkdir -p "${2%/*}" && cp "$1" "$2.tmp~" && mv -f "$2.tmp~" "$2" && log "$u: wrote $2" && return 0
	rm -f "$2.tmp~"
	return 1
}

# withdraw FILE: remove it and its directory, if nothing else is in there.
withdraw() {
	rm -f "$1" "$1.tmp~"
	rmdir "${1%/*}" 2>/dev/null || :
}

# withdraw_but "DIR DIR …": withdraw all of ours, except those of the named directories.
withdraw_but() {
	for f in "$certs"/*/hosts.toml "$certs"/*/hosts.toml.tmp~; do
		d=${f%/*}
		case " $1 " in *" ${d##*/} "*) continue ;; esac
		f=$d/hosts.toml
		if ours "$f"; then withdraw "$f" && log "withdrew $f"; elif [ -f "$f.tmp~" ]; then rm -f "$f.tmp~"; fi
	done
}

# ---- prepare ----

unsupported() {
	log "unsupported: $*"
	printf '%s\n' "$*" >"$run/unsupported"
}

# effective: containerd would read exactly the wanted directory, with the files as they are; sets dump and now.
effective() {
	now=''
	dump=$(timeout 3 containerd --config "$cfg" config dump 2>/dev/null) || return 1
	now=$(printf '%s\n' "$dump" | awk '/^ *\[/ { t = /cri(\.v1\.images)?.\.registry\]/ }
		t && $1 == "config_path" { gsub(/["\047]/, "", $3); print $3; exit }')
	[ "$now" = "$want" ]
}

restart() { timeout 10 systemctl restart containerd; }

table() {
	printf '%s\nversion = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "%s"\n' "$mark" "$want"
}

# import: name our drop-in in the root configuration, keeping all the rest of it.
import() {
	cp -p "$cfg" "$cfg.tmp~" || return 1
	if grep -q '^ *imports *= *\[' "$cfg"; then
		sed "s|^\( *imports *= *\[\)|\1\"$drop\", |" "$cfg" >"$cfg.tmp~"
	else
		{ printf 'imports = ["%s"] %s\n' "$drop" "$mark" && cat "$cfg"; } >"$cfg.tmp~"
	fi && mv -f "$cfg.tmp~" "$cfg"
}

undo() {
	rm -f "$drop" "$cfg.tmp~"
	if [ -f "$run/config.toml" ]; then cp "$run/config.toml" "$cfg"; elif ours "$cfg"; then rm -f "$cfg"; fi
}

# mend: a table of its own if there is no configuration, else a drop-in, imported if it is not yet.
mend() {
	rm -f "$run/config.toml"
	if [ ! -e "$cfg" ] || ours "$cfg"; then
		mkdir -p "${cfg%/*}" && table >"$cfg" && effective
		return
	fi
	cp "$cfg" "$run/config.toml" && mkdir -p "${drop%/*}" && table >"$drop" || return 1
	effective || { [ -w "$cfg" ] && import && effective; }
}

# hindrance: why config_path must not be set here, if so.
hindrance() {
	set -- "$root"/run/containerd/io.containerd.runtime.v2.task/k8s.io/*
	if [ -e "$1" ]; then
		echo "config_path is '$now' and containers run: drain, set it to '$want' and restart containerd, or replace the node"
	elif printf '%s' "$dump" | grep -q 'registry\.mirrors\.'; then
		echo "containerd has registry.mirrors, which config_path excludes: move them to $want"
	else
		for d in $(printf '%s' "$now:/etc/docker/certs.d" | tr : ' '); do
			[ "$d" = "$want" ] || [ -z "$(ls -A "$root$d" 2>/dev/null)" ] ||
				echo "$d holds files that containerd would no longer read: move them to $want"
		done
	fi
}

prepare() {
	mkdir -p "$run"
	rm -f "$run/unsupported"
	withdraw_but ''
	# shellcheck disable=SC2046 # the third word is wanted
	set -- $(timeout 3 containerd --version 2>/dev/null)
	version=${3:-}
	[ -n "$version" ] || { unsupported 'containerd was not found'; return; }
	cfg=/etc/containerd/config.toml
	pid=$(timeout 3 systemctl show --property MainPID --value containerd 2>/dev/null)
	arg=$(tr '\0' '\n' 2>/dev/null <"$root/proc/${pid:-0}/cmdline" |
		sed -n -e 's/^--*c\(onfig\)\{0,1\}=//p' -e '/^--*c\(onfig\)\{0,1\}$/{n;p;}')
	cfg=$root${arg:-$cfg}
	[ ! -L "$cfg" ] || cfg=$(readlink -f "$cfg")
	if effective && [ ! -e "$run/restart" ]; then return; fi
	case ${version#v} in
	2.*) ;;
	*) unsupported "config_path of containerd $version is '$now', not '$want'"; return ;;
	esac
	case $now in
	'' | "$want" | "$want":* | *:"$want" | *:"$want":*) ;;
	*) unsupported "config_path of containerd is '$now', not '$want'"; return ;;
	esac
	why=$(hindrance)
	[ -z "$why" ] || { unsupported "$why"; return; }
	[ -n "$dump" ] || { unsupported "containerd does not read its own configuration $cfg"; return; }
	: >"$run/restart" # outlives a kill between the change and the restart
	if ! effective && ! mend; then
		undo
		rm -f "$run/restart"
		unsupported "config_path of containerd $version could not be set to '$want', it is '$now'"
		return
	fi
	if restart; then
		log "config_path set to $want, containerd restarted"
	else
		undo
		restart
		unsupported "containerd did not restart with config_path '$want', took it back"
	fi
	rm -f "$run/restart" "$run/config.toml"
}

# ---- run ----

# probe DIR: leaves $run/up/<upstream> when the cache answers; one that did until now is asked twice.
probe() {
	for i in 1 2; do
		curl --silent --fail --noproxy '*' --connect-timeout 1 --max-time 2 --output /dev/null "$(line "$1/probe")" &&
			: >"$run/up/${1##*/}" && return
		was active "${1##*/}" && [ "$i" = 1 ] || return
		sleep 1
	done
}

# was STATUS UPSTREAM: in the round before.
was() { case $nl$old in *"$nl$2 $1"*) ;; *) return 1 ;; esac; }

record() { new="$new$u $*$nl"; }

# foreign FILE: something that is not ours rules this upstream already, hosts.toml or certificates.
foreign() {
	for g in "$1" "$certs/$u/hosts.toml" "${1%/*}"/*.crt "${1%/*}"/*.cert "${1%/*}"/*.key; do
		if [ -e "$g" ] && ! ours "$g"; then
			conflict=$g
			return 0
		fi
	done
	return 1
}

# apply DIR: bring hosts.toml of one upstream in line with what the probe said.
apply() {
	u=${1##*/} dir=${1##*/}
	case $u in *:*) dir=${u%:*}_${u##*:}_ ;; esac
	f=$certs/$dir/hosts.toml url=$(line "$1/probe")
	if [ -n "$why" ] || foreign "$f"; then
		! ours "$f" || withdraw "$f"
		if [ -n "$why" ]; then record unsupported "$why"; else record conflict "$conflict is not ours"; fi
		return
	fi
	keep="$keep $dir"
	if [ -f "$run/up/$u" ] && [ -f "$1/hosts.toml" ]; then
		was active "$u" || log "$u: cache $url answered"
		if put "$1/hosts.toml" "$f"; then record active; else record waiting "cannot write $f"; fi
		return
	fi
	record waiting "cache $url does not answer"
	if [ -f "$1/fallback.toml" ]; then
		put "$1/fallback.toml" "$f"
	elif ours "$f"; then
		withdraw "$f"
		log "$u: cache $url does not answer, withdrew $f"
	fi
}

round() {
	new='' keep='' pids=''
	why=$(line "$run/unsupported")
	command -v curl >/dev/null || why='curl was not found'
	rm -f "$run"/up/*
	for p in "$etc"/upstreams/*; do
		[ -d "$p" ] || continue
		probe "$p" &
		pids="$pids $!"
	done
	wait
	for p in "$etc"/upstreams/*; do [ ! -d "$p" ] || apply "$p"; done
	withdraw_but "$keep"
}

publish() {
	printf '%s' "$new" | while read -r u status; do
		case $status in conflict* | unsupported*) was "$status" "$u" || log "$u: $status" ;; esac
	done
	printf '%s' "$new" >"$run/state.tmp~" && mv -f "$run/state.tmp~" "$run/state"
}

# stop: nobody watches from here on, so nothing stays.
stop() {
	trap '' TERM INT
	# shellcheck disable=SC2086 # a list
	kill $pids 2>/dev/null
	withdraw_but ''
	rm -f "$run"/up/* "$run"/state*
	exit 0
}

run() {
	old='' delay=2 pids=''
	mkdir -p "$run/up"
	rm -f "$run"/state*
	trap stop TERM INT
	withdraw_but ''
	while :; do
		round
		if [ "$new" != "$old" ]; then
			publish
			old=$new delay=2
		elif [ "$delay" -lt 5 ]; then
			delay=$((delay + 1))
		fi
		sleep "$delay" &
		pids=$!
		wait "$pids"
	done
}

want=$(line "$etc/certs-dir")
want=${want:-/etc/containerd/certs.d}
certs=$root$want
case ${1:-run} in
prepare) prepare ;;
run) run ;;
*)
	log "usage: ${0##*/} [run|prepare]"
	exit 2
	;;
esac

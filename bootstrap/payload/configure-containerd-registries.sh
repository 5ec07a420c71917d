#!/bin/sh
# managed by capi-registry-cache
#
# Keeps containerd's hosts.toml files in step with the registry caches that answer.
#   prepare  forget what we wrote, make containerd read the directory, install what waits for no cache (before kubelet starts,
#            bounded in time)
#   guard    the same for containerd's configuration alone, whenever containerd is about to start: others may have changed it
#   run      probe, write, watch, withdraw; until SIGTERM, or until certs-dir changes (then prepare has to come first)
#
# Desired state, read again in every round:
#   /etc/capi-registry-cache/certs-dir                    the directory that containerd reads, one line
#   /etc/capi-registry-cache/upstreams/<upstream>/probe          URL that tells whether the cache answers, one line; absent: no cache
#   /etc/capi-registry-cache/upstreams/<upstream>/ca.pem         what its certificate is checked against, if not the system's
#   /etc/capi-registry-cache/upstreams/<upstream>/*.pem          installed with what names it
#   /etc/capi-registry-cache/upstreams/<upstream>/hosts.toml     installed while it does, or always if there is no cache
#   /etc/capi-registry-cache/upstreams/<upstream>/fallback.toml  installed while it does not; absent: nothing is
#   /etc/capi-registry-cache/upstreams/<upstream>/v1-….toml      instead of those, if present and containerd is 1.x
#   /etc/capi-registry-cache/generation                   repeated in the observed state, if there is one
#   /etc/capi-registry-cache/managed.sh                   more to do in every round, if there is any
# Observed state: /run/capi-registry-cache/state, a line "<upstream> active|static|waiting|conflict|unsupported <why>" each.
# SIGHUP starts a round at once.
#
# A file is ours when its first line is the marker and it is no link. Nothing else there is ever changed or removed.
set -u
umask 022
mark='# managed by capi-registry-cache'
root=${ROOT:-}
etc=$root/etc/capi-registry-cache
run=$root/run/capi-registry-cache
drop=$root/etc/containerd/conf.d/99-capi-registry-cache.toml
hook=$root/run/systemd/system/containerd.service.d/zz-capi-registry-cache.conf
old='' new='' pids=''
nl='
'

log() { printf '%s\n' "$*"; }

# line FILE: sets l to its first line, to nothing when there is none.
line() {
	l=
	[ ! -r "$1" ] || IFS= read -r l <"$1" || :
}

ours() { [ -f "$1" ] && [ ! -L "$1" ] && line "$1" && [ "$l" = "$mark" ]; }

# withdraw_but "FILE FILE …": remove all of ours from the directory but these; hosts.toml goes before what it names.
withdraw_but() {
	for f in "$certs"/*/hosts.toml "$certs"/*/*.pem "$certs"/*/hosts.toml.tmp~ "$certs"/*/*.pem.tmp~; do
		case " $1 " in *" $f "*) continue ;; esac
		[ ! -L "${f%/*}" ] || continue
		case $f in *~) [ -f "$f" ] ;; *) ours "$f" ;; esac || continue
		rm -f "$f" && log "withdrew $f"
		rmdir "${f%/*}" 2>/dev/null
	done
}

# ---- prepare, guard ----

unsupported() { log "$*" >"$run/unsupported"; }

# locate: program and root configuration of the containerd that runs, else of that which ran before, else the usual ones.
locate() {
	containerd=containerd cfg=/etc/containerd/config.toml
	pid=$(timeout 3 systemctl show -p MainPID --value containerd 2>/dev/null)
	cp "$root/proc/${pid:-0}/cmdline" "$run/cmdline" 2>/dev/null
	# shellcheck disable=SC2046 # words are wanted
	set -- $(tr '\0' ' ' 2>/dev/null <"$run/cmdline")
	case ${1:-} in */containerd) containerd=$1 ;; esac
	while [ $# -gt 0 ]; do
		case $1 in
		-c=* | -*config=*) cfg=${1#*=} ;;
		-c | -*config) cfg=${2:-$cfg} ;;
		esac
		shift
	done
	cfg=$root$cfg
	[ ! -L "$cfg" ] || cfg=$(readlink -f "$cfg")
}

# effective FILE: with it, containerd would read exactly the wanted directory; sets now, v1 for containerd 1.x, and dump, to nothing where
# it would not start.
effective() {
	# 1.x prints no defaults without a file
	[ -e "$1" ] || set -- /dev/null
	dump=$(timeout 5 "$containerd" --config "$1" config dump 2>/dev/null) || dump=''
	case $dump in *cri.v1.images*) v1='' ;; *) v1=v1- ;; esac
	now=$(log "$dump" | awk '/^ *\[/ { t = /cri(\.v1\.images)?["\047]?\.registry *\]/ }
		t && $1 == "config_path" { gsub(/["\047]/, "", $3); print $3; exit }')
	# with both, containerd starts, but its CRI plugin does not
	[ "$now" != "$want" ] || ! excluding || now='' dump=''
	[ "$now" = "$want" ]
}

# excluding: what excludes config_path is in the last dump.
excluding() { log "$dump" | grep -q 'registry\.\(mirrors\.\|configs\..*\.tls\]\)'; }

# others: all of the last dump that must stay as it is.
others() { log "$dump" | sed '/^ *imports = /d; /^ *config_path = /d'; }

proven() { effective "$1" && [ "$(others)" = "$before" ]; }

# with_path: adds config_path to a configuration, in the table where its version wants it. Each line of ours has the mark.
with_path() {
	awk -v m="$mark" -v key="config_path = \"$want\" $mark" '
		/^[ \t]*version *=/ && !v { v = $0; gsub(/[^0-9]/, "", v) }
		/^[ \t]*\[/ { t = /cri(\.v1\.images)?["\047]?\.registry *\]/ }
		t && /^[ \t]*config_path *=/ { next }
		{ print }
		t && /^[ \t]*\[/ { print key; key = "" }
		END {
			name = v > 2 ? "io.containerd.cri.v1.images" : v == 2 ? "io.containerd.grpc.v1.cri" : "cri"
			if (key) printf "[plugins.\"%s\".registry] %s\n%s\n", name, m, key
		}'
}

# section: containerd 1.x replaces the CRI section of the root configuration by that of a file which this imports, so it
# has to be complete there; 2.x merges them.
section() {
	[ -z "$v1" ] || log "$current" | awk '/^ *\[/ { t = /"io\.containerd\.grpc\.v1\.cri"/ } t'
}

empty() { log "$mark${nl}version = 2 $mark"; }

# drop_in: only where there is none, which retract saw to.
drop_in() {
	[ ! -e "$drop" ] && mkdir -p "${drop%/*}" && { empty && section; } | (umask 077 && with_path >"$drop.tmp~") &&
		unproven=$drop && mv -f "$drop.tmp~" "$drop" && { proven "$cfg" || ! rm -f "$drop"; }
}

# edit: the root configuration, replaced only by what is proven.
edit() {
	mkdir -p "${cfg%/*}" && { [ ! -e "$cfg" ] || cp -p "$cfg" "$cfg.tmp~"; } &&
		{ cat "$cfg" || empty; } | with_path >"$cfg.tmp~" && proven "$cfg.tmp~" && mv -f "$cfg.tmp~" "$cfg" || ! rm -f "$cfg.tmp~"
} 2>/dev/null

# mend: by a drop-in rather than in the root configuration, but for 1.x, where it holds what could go stale.
mend() {
	current=$dump before=$(others)
	# this is there until containerd has come up, and outlives a kill
	: >"$run/restart"
	if [ -z "$v1" ]; then drop_in || edit; else edit || drop_in; fi || ! rm -f "$run/restart"
}

# retract: takes all of ours out of what containerd reads, unless it would not read the rest. What was ours alone is removed.
retract() {
	f=$cfg
	! ours "$drop" || mv -f "$drop" "$drop.tmp~"
	if grep -qF "$mark" "$f"; then
		f=$cfg.tmp~
		cp -p "$cfg" "$f"
		grep -vF "$mark" "$cfg" >"$f"
		case $? in 0) ;; 1) rm -f "$f" ;; *) f=$cfg ;; esac
	fi
	effective "$f"
	if [ -z "$dump" ]; then
		mv -f "$drop.tmp~" "$drop"
	elif [ -e "$f" ]; then
		mv -f "$f" "$cfg"
	else
		rm -f "$cfg"
	fi
	rm -f "$drop.tmp~" "$cfg.tmp~"
} 2>/dev/null

# hindrance: why config_path must not be set here, if so.
hindrance() {
	if ! command -v "$containerd" >/dev/null; then
		log 'containerd was not found'
	elif [ -z "$dump" ]; then
		log "containerd does not read $cfg"
	elif ! chosen; then
		log "config_path of containerd is '$now', not '$want'"
	elif excluding; then
		log "registry.mirrors or registry.configs.*.tls exclude config_path: move them to $want"
	else
		shadowed
		! running || log "config_path is '$now' and containers run: drain and reboot, or replace the node"
	fi
}

# running: there are containers of the kubelet.
running() {
	set -- "$root"/run/*/io.containerd.runtime.v2.task/k8s.io/*
	[ -e "$1" ]
}

# chosen: config_path is unset, a list with the wanted directory, or what we set earlier: nobody chose another one.
chosen() {
	case $now in '' | "$want" | "$want":* | *:"$want" | *:"$want":*) return 0 ;; esac
	grep -qsF "$mark" "$cfg" "$drop"
}

# shadowed: what containerd reads now and would not read any more; 1.x has no default.
shadowed() {
	set -- /etc/containerd/certs.d /etc/docker/certs.d
	[ -z "$v1" ] || set --
	for d in $(log "$now" | tr : ' ') "$@"; do
		[ "$d" = "$want" ] || [ -z "$(ls -A "$root$d" 2>/dev/null)" ] ||
			log "containerd would no longer read $d: move its files to $want"
	done
}

# adjust: decides anew, by what containerd would read without us, and sets why to what hinders. While containers run, what it can start
# with stays.
adjust() {
	{ [ -n "$dump" ] && running; } || retract
	why=''
	[ "$now" != "$want" ] || return
	why=$(hindrance)
	[ -n "$why" ] || mend || why="config_path of containerd could not be set to '$want'"
	[ -z "$why" ] || unsupported "$why"
}

# give_up: containerd did not come up with what was set.
give_up() {
	retract
	rm -f "$run/restart"
	unsupported "config_path of containerd could not be set to '$want': it did not start"
}

prepare() {
	withdraw_but ''
	rm -f "$run"/up/* "$run/unsupported" "$run/guard"
	locate
	if ! effective "$cfg" || [ -e "$run/restart" ]; then
		was=$dump
		adjust
		# it is started again for what is set, or for what it starts with without us
		running || { [ -n "$why" ] && [ "${was:-$dump}" = "$was" ]; } || timeout 10 systemctl restart containerd || {
			give_up
			timeout 10 systemctl restart containerd
			return
		}
		rm -f "$run/restart"
	fi
	: >"$run/guard"
	# systemd calls guard when it starts containerd, until the next boot, after all that others have it do before. That systemd reads it
	# may take devices from containers that run
	if [ ! -e "$hook" ] && ! running; then
		mkdir -p "${hook%/*}"
		log "[Service]${nl}ExecStartPre=-$0 guard${nl}ExecStartPost=-/bin/rm -f $run/restart" >"$hook"
		timeout 10 systemctl daemon-reload
	fi
}

# guard: others may have changed the configuration, or not have known what is in it. It does nothing while prepare is at work, nor where
# containerd did not come up once; systemd may call it still.
guard() {
	[ -e "$run/guard" ] || return
	locate
	effective "$cfg"
	if [ -e "$run/restart" ]; then
		rm -f "$run/guard"
		give_up
	else
		adjust
	fi
}

# look, at first and when containerd was started again, perhaps with another configuration: what guard could not mend is told.
look() {
	# shellcheck disable=SC3013 # dash and busybox know -nt
	[ ! -e "$run/looked" ] || [ "$root/run/containerd/containerd.sock" -nt "$run/looked" ] || return
	: >"$run/looked"
	locate
	if effective "$cfg"; then
		rm -f "$run/unsupported"
	elif [ ! -e "$run/unsupported" ]; then
		# the first line counts
		{ hindrance; log "config_path of containerd is '$now', not '$want'"; } >"$run/unsupported"
	fi
}

# ---- run ----

# probe DIR: leaves $run/up/<upstream> when the cache answers; one that did until now is asked twice.
probe() {
	u=${1##*/}
	line "$1/probe"
	set -- --cacert "$1/ca.pem"
	[ -f "$2" ] || set --
	for i in 1 2; do
		curl -sfg --noproxy '*' --connect-timeout 1 -m 2 -o /dev/null "$@" "$l" &&
			: >"$run/up/$u" && return
		was "$u active" && [ "$i" = 1 ] || return
		sleep 1
	done
}

# was LINE: in the state of the round before.
was() { case $nl$old in *"$nl$1$nl"*) ;; *) return 1 ;; esac; }

record() {
	new="$new$u $*$nl"
	was "$u $*" || log "$u: $*"
}

# put SRC NAME: into the upstream's directory, by temporary file and rename, only when the content differs.
put() {
	f=$certs/$dir/$2
	if [ "$(cat "$1")" != "$(cat "$f" 2>/dev/null)" ]; then
		mkdir -p "${f%/*}" && cp "$1" "$f.tmp~" && mv -f "$f.tmp~" "$f" && log "$u: wrote $f" || return
	fi
	keep="$keep $f"
}

# install DIR FILE: as hosts.toml, if there is one. Each CA goes with it, because containerd fails every pull while one is named and gone;
# in a file *.crt it would be trusted for the upstream itself.
install() {
	[ -f "$1/$2" ] || return
	for p in "$1"/*.pem; do
		[ ! -f "$p" ] || put "$p" "${p##*/}" || return
	done
	[ ! -f "$1/$v1$2" ] || set -- "$1" "$v1$2"
	put "$1/$2" hosts.toml
}

# foreign: something that is not ours rules this upstream already.
foreign() {
	for d in "$certs/$dir" "$certs/$u"; do
		conflict=$d
		[ ! -L "$d" ] || return 0
		for conflict in "$d"/hosts.toml "$d"/*.pem "$d"/*.crt "$d"/*.cert "$d"/*.key; do
			{ [ ! -e "$conflict" ] && [ ! -L "$conflict" ]; } || ours "$conflict" || return 0
		done
	done
	return 1
}

# apply DIR: bring hosts.toml of one upstream in line with what the probe said.
apply() {
	u=${1##*/} dir=${1##*/}
	case $u in *:*) dir=${u%:*}_${u##*:}_ ;; esac
	if [ -n "$why" ]; then
		record unsupported "$why"
	elif foreign; then
		record conflict "$conflict is not ours"
	elif line "$1/probe" && [ -n "$l" ] && [ ! -f "$run/up/$u" ]; then
		record waiting "cache $l does not answer"
		install "$1" fallback.toml
	elif ! install "$1" hosts.toml; then
		record waiting "cannot write to $certs/$dir"
	elif [ -n "$l" ]; then
		record active
	else
		record static
	fi
}

# settle: all upstreams, by what the probes said.
settle() {
	keep=''
	line "$run/unsupported"
	why=$l
	command -v curl >/dev/null || why='curl was not found'
	for p in "$etc"/upstreams/*; do [ ! -d "$p" ] || apply "$p"; done
}

round() {
	line "$etc/generation"
	new=${l:+generation $l$nl}
	# shellcheck source=/dev/null
	[ ! -f "$etc/managed.sh" ] || . "$etc/managed.sh"
	line "$etc/certs-dir"
	case $l in '' | "$want") ;; *) stop ;; esac
	look
	rm -f "$run"/up/*
	for p in "$etc"/upstreams/*/probe; do
		[ -f "$p" ] || continue
		probe "${p%/*}" &
		pids="$pids $!"
	done
	wait
	pids=''
	settle
	withdraw_but "$keep"
}

# stop: nobody watches from here on, so nothing stays.
stop() {
	trap '' TERM INT
	# shellcheck disable=SC2086 # a list
	[ -z "$pids" ] || kill $pids 2>/dev/null
	withdraw_but ''
	# shellcheck disable=SC2086 # perhaps nothing
	rm -f "$run"/up/* "$run"/state* ${unproven-}
	exit 0
}

run() {
	delay=2
	mkdir -p "$run/up"
	rm -f "$run"/state* "$run/looked"
	while :; do
		round
		if [ "$new" != "$old" ]; then
			printf '%s' "$new" >"$run/state.tmp~" && mv -f "$run/state.tmp~" "$run/state"
			old=$new delay=2
		elif [ "$delay" -lt 5 ]; then
			delay=$((delay + 1))
		fi
		sleep "$delay" &
		pids=$!
		wait "$pids"
		pids=''
	done
}

line "$etc/certs-dir"
want=${l:-/etc/containerd/certs.d}
certs=$root$want
trap stop TERM INT
trap : HUP
mkdir -p "$run"
case ${1-} in
prepare) prepare; settle >/dev/null || : ;;
guard) trap - TERM; guard ;;
*) run ;;
esac

#!/bin/bash
# runc for a machine that may not grant CAP_SYS_RESOURCE (it is missing from the bounding set): privileged
# containers would fail there with "unable to apply caps". Takes runc's arguments; before a container or a
# process in it is started, the capability and a negative OOM score go out of its description.
set -euo pipefail

readonly mend='
	def mend:
		(.capabilities // {}) |= with_entries(.value |= map(select(. != "CAP_SYS_RESOURCE")))
		| if (.oomScoreAdj // 0) < 0 then .oomScoreAdj = 0 else . end;'

# rewrite <file> <jq filter>: in place, keeping the file's owner and mode.
rewrite() {
	local mended
	mended=$(jq "$mend $2" "$1")
	printf '%s' "$mended" >"$1"
}

# value_of <long flag> <short flag> <arguments…>: the value that follows either flag.
value_of() {
	local long=$1 short=$2
	shift 2
	while (($#)); do
		case $1 in
		"$long" | "$short") echo "$2" && return ;;
		"$long"=*) echo "${1#*=}" && return ;;
		esac
		shift
	done
}

for word in "$@"; do
	case $word in
	create | run)
		bundle=$(value_of --bundle -b "$@")
		rewrite "${bundle:-.}/config.json" '.process |= mend'
		break
		;;
	exec)
		process=$(value_of --process -p "$@")
		[[ -z $process ]] || rewrite "$process" mend
		break
		;;
	esac
done
exec runc "$@"

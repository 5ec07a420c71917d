#!/bin/sh
# usage: packages.sh DIRECTORY ROOTFS PACKAGE…
# Fetches Debian packages, and what they need beyond a root file system, as files; nothing is installed.
set -eu
mkdir -p "$1/partial"
tar -xOf "$2" ./var/lib/dpkg/status >"$1/status"
directory=$(cd "$1" && pwd)
shift 2
apt-cache show "$1" >/dev/null 2>&1 || apt-get update -qq
apt-get install -qq --download-only --no-install-recommends -o APT::Sandbox::User=root -o Debug::NoLocking=true \
	-o Dir::State::status="$directory/status" -o Dir::Cache::archives="$directory" "$@"
rm -r "$directory/partial" "$directory/status"

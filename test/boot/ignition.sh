#!/bin/sh
# usage: ignition.sh DIRECTORY VERSION
# Builds ignition and ignition-validate into a directory. Of libblkid, which ignition links, only the archive and the header are
# fetched from Debian; nothing is installed.
set -eu
mkdir -p "$1"
cd "$1"
module=github.com/coreos/ignition/v2

apt-cache show libblkid-dev >/dev/null 2>&1 || apt-get update -qq
apt-get download -qq -o APT::Sandbox::User=root libblkid-dev
dpkg-deb -x libblkid-dev_*.deb libblkid
rm libblkid-dev_*.deb
find libblkid -name 'libblkid.so*' -delete

export GOBIN="$PWD" CGO_CFLAGS="-I$PWD/libblkid/usr/include"
CGO_LDFLAGS=$(find "$PWD/libblkid" -name libblkid.a -printf '-L%h')
export CGO_LDFLAGS
CGO_ENABLED=1 go install -ldflags "-s -w -X $module/internal/version.Raw=$2 -X $module/internal/distro.selinuxRelabel=false" "$module/internal@$2"
mv internal ignition # the name is its command as well
CGO_ENABLED=0 go install -ldflags "-s -w -X $module/internal/version.Raw=$2" "$module/validate@$2"
mv validate ignition-validate
rm -r libblkid

#!/bin/sh
# usage: get-cloud-init.sh DIRECTORY
# Unpacks Debian's cloud-init, and the Python packages that it needs, below a directory; nothing is installed. The tests of
# this package find it by CLOUD_INIT_PATH=DIRECTORY/usr/lib/python3/dist-packages.
set -eu
mkdir -p "$1"
cd "$1"
apt-cache show cloud-init >/dev/null 2>&1 || apt-get update -qq
apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances cloud-init |
	grep -xE 'cloud-init|python3-[a-z0-9.+-]+' | grep -vxE 'python3-(minimal|distutils|lib2to3|pkg-resources)' | sort -u |
	xargs apt-get download -qq -o APT::Sandbox::User=root
for deb in ./*.deb; do
	dpkg-deb -x "$deb" .
done
rm ./*.deb

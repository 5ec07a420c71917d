#!/bin/bash
# Builds the Docker images of the test clusters without any registry.
#
#   images.sh <build folder> <kubernetes version> <kind version>
#
# Takes programs from <build folder>/bin and the Debian root file system from <build folder>/rootfs.tar. Makes
#   capi-registry-cache/node:<kubernetes version>   for kind and CAPD, with the images below inside
#   kindest/haproxy:v20230606-42a2262b              CAPD's load balancer
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(cd "$1" && pwd)
version=$2
kind_version=$3
readonly here build version kind_version
# This is the name that CAPD v1.14 asks for.
readonly haproxy_image=kindest/haproxy:v20230606-42a2262b
export DOCKER_BUILDKIT=0 # buildx is no Debian package

main() {
	docker import "$build/rootfs.tar" capi-registry-cache/debian >/dev/null
	image haproxy "$haproxy_image" "$here/images" haproxy.cfg

	local images pause=""
	mapfile -t images < <("$build/bin/kubeadm" config images list --kubernetes-version "$version")
	image kube capi-registry-cache/kube "$build/bin" kube kube-apiserver kube-controller-manager kube-scheduler kube-proxy
	local name
	for name in "${images[@]}"; do
		case $name in
		*/kube-proxy:*) image kube-proxy "$name" "$here/images" ;;
		*/kube-*) docker tag capi-registry-cache/kube "$name" ;;
		*/etcd:*) image etcd "$name" "$build/bin" etcd ;;
		*/coredns:*) image coredns "$name" "$build/bin" coredns ;;
		*/pause:*) image pause "$name" "$build/bin" pause && pause=$name ;;
		*) echo "images.sh: kubeadm wants an image that is not built here: $name" >&2 && exit 1 ;;
		esac
	done
	node_image "$pause" "${images[@]}"
}

# image <recipe> <name> <folder> <files…>: builds images/<recipe>.Dockerfile with these files of the folder.
image() {
	local recipe=$1 name=$2 folder=$3 context=$build/image file
	shift 3
	rm -rf "$context"
	mkdir -p "$context/files"
	cp "$here/images/$recipe.Dockerfile" "$context/Dockerfile"
	for file in "$@"; do cp -al "$folder/$file" "$context/files/$file"; done
	build "$name" "$context"
}

# build <name> <context> <options…>: the context is removed afterwards.
build() {
	local name=$1 context=$2
	shift 2
	echo "building $name"
	if ! docker build --network none --tag "$name" "$@" "$context" >"$build/image.log" 2>&1; then
		cat "$build/image.log" >&2
		exit 1
	fi
	rm -rf "$context"
}

# node_image <pause image> <images to put inside…>
node_image() {
	local pause=$1 context=$build/node kind_files
	shift
	kind_files=$(go mod download -json "sigs.k8s.io/kind@$kind_version" | jq -r .Dir)/images/base/files
	rm -rf "$context"
	mkdir -p "$context/kind" "$context/bin"
	tar -C "$kind_files" --exclude LICENSES --mode u+w -c . | tar -C "$context/kind" -x
	chmod -R u=rwX,go=rX "$context/kind"
	chmod 755 "$context"/kind/usr/local/bin/* "$context"/kind/kind/bin/*
	cp -a "$here/node/files" "$here/node/Dockerfile" "$context"
	cp -l "$build"/bin/{kube,containerd,containerd-shim-runc-v2,ctr} "$context/bin"
	docker save --output "$context/images.tar" "$@"

	build "capi-registry-cache/node:$version" "$context" \
		--build-arg "SANDBOX_IMAGE=$pause" --build-arg "KUBERNETES_VERSION=$version"
}

main

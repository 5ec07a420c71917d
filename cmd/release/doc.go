// Command release fills a folder with what a release consists of, which is also a local repository of clusterctl:
//
//	addon-registry-cache/<version>/
//	  addon-components.yaml   what `clusterctl init` applies
//	  metadata.yaml           which contract of Cluster API the version implements
//	  *.yaml                  cluster templates for users
//	  <image>-<os>-<arch>.tar image archives, for `docker load`, `skopeo copy docker-archive:` and `ctr images import`
//	  kubectl-registry_cache-<os>-<arch>.tar.gz  the plugin of kubectl and clusterctl
//	  SHA256SUMS              of all of these
//
// `make release` compiles the binaries and renders config/release for it. Both images are made of a Dockerfile that begins FROM scratch and
// copies binaries, so no container daemon is needed: the Dockerfile stays what rules, and an instruction that is not understood is an error.
//
// The same binaries make the same archives, to the byte: no time and no name of a builder is in them.
package main

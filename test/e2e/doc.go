// Package e2e holds the specs that run on real clusters: kind as management cluster, workload clusters of Cluster
// API's Docker provider, and registries that the specs can watch and stop. Everything around the workload clusters
// is package stack.
//
//	make e2e                    the specs, without those labelled slow
//	KEEP=1 make e2e             leaves everything up; the next run takes it over
//	make clean-e2e              removes what was left up
//
// The specs of one workload cluster build on each other and run in their order, because a cluster takes minutes to
// make. They carry the build tag e2e, so `go test ./...` needs none of this.
package e2e

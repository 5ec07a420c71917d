// Package stack runs what the e2e specs and the demo need, on one machine and without a container registry in
// reach: a kind management cluster, the managers of Cluster API (core, kubeadm bootstrap, kubeadm control plane,
// Docker) as processes of the host, upstream registries as containers, this project's manager as a Deployment, and
// workload clusters made by the Docker provider.
//
//	s := stack.New(os.Stderr)
//	err := s.Start(ctx)              // management cluster, providers, upstreams, manager
//	c := s.Cluster("rc-demo", 2)     // a workload cluster: values only
//	err = c.Create(ctx)
//	err = c.WaitReady(ctx)
//	err = s.Remove(ctx)              // everything that Start and Create made
//
// Programs and images come from `make stack`. State is kept under bin/e2e, so that another process can remove what
// this one left running (`make clean-e2e`).
//
// Trade-offs: Docker and kind are used through their command lines, so that neither client is a dependency of this
// module. The managers of Cluster API run on the host, because images of them would be built for nothing else.
// Nothing here is safe for use by two processes at once: names of containers and clusters are fixed.
package stack

// Command bench runs this project's cache and a stock distribution registry in proxy mode against each other, in one run
// and against the same upstream, and writes what it measured as Markdown. Its parts b1 to b7 are described in the files
// of these names. It ends with an error if this project's cache breaks a bound; the stock registry has none.
//
//	go run ./test/bench [-only b1,b3] [-quick] [-out docs/benchmarks.md]
//
// It needs root, and the binaries that the flags -workload, -stock, -containerd and -ctr name. It puts itself into network,
// mount and process namespaces of its own, where nothing can leave the machine and where everything that was started
// ends with it, however it ends. The upstream is a stock registry behind package front, in a second network namespace, so
// that the way to it can be shaped (tc) and cut (iptables) without anything else noticing.
//
// Trade-offs: upstream, caches and clients share one machine, so throughput is that of all three together; only
// comparisons count. Nothing is tuned for a cache: both get the configuration that this project renders, on other ports.
package main

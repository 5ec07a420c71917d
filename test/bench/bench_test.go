package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/opencontainers/go-digest"

	"github.com/capi-registry-cache/capi-registry-cache/test/bench/client"
)

func TestAnIdealCacheKeepsWhatWasPulledLast(t *testing.T) {
	sizes := []int64{4, 4, 4, 100}
	tests := map[string]struct {
		trace []int
		hits  int
	}{
		"nothing twice":                    {[]int{0, 1, 2}, 0},
		"what fits stays":                  {[]int{0, 1, 0, 1}, 2},
		"the least recent goes":            {[]int{0, 1, 0, 2, 0, 1}, 2},
		"what is too large is never held":  {[]int{3, 3}, 0},
		"what is too large empties nobody": {[]int{0, 3, 0}, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(idealHits(test.trace, sizes, 8)).To(Equal(test.hits))
		})
	}
}

func TestATraceIsAlwaysTheSameAndSkewed(t *testing.T) {
	g := NewWithT(t)
	trace := newTrace(400, 10_000)
	g.Expect(newTrace(400, 10_000)).To(Equal(trace))
	counts := map[int]int{}
	most := 0
	for _, blob := range trace {
		counts[blob]++
		most = max(most, counts[blob])
	}
	g.Expect(most).To(BeNumerically(">", 1000))
	g.Expect(len(counts)).To(BeNumerically(">", 200))
}

func TestFollowersAreAllButTheFirstOfEachLayer(t *testing.T) {
	g := NewWithT(t)
	i, err := smallImage("followers", oci, 1, 1000)
	g.Expect(err).NotTo(HaveOccurred())
	var pulls []client.Pulled
	for n := range 3 {
		answer := client.Answer{Bytes: 1, Asked: time.Unix(0, 0), FirstByte: time.Duration(n+1) * time.Second}
		pulls = append(pulls, client.Pulled{Blobs: map[digest.Digest]client.Answer{i.layer().Digest: answer}})
	}
	median, slowest := followers(pulls, i)
	g.Expect(median).To(Equal(3 * time.Second))
	g.Expect(slowest).To(Equal(3 * time.Second))
	median, slowest = followers(nil, i)
	g.Expect(median + slowest).To(BeZero())
}

func TestTheTableOfStraceIsRead(t *testing.T) {
	const table = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000600          10        60         2 sendfile
 40.00    0.000400          10        40           write
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000          10       100         2 total
`
	found := readCalls(strings.NewReader(table))
	g := NewWithT(t)
	g.Expect(found.String()).To(Equal("sendfile 60, write 40"))
	g.Expect(found.moving()).To(BeEquivalentTo(100))
}

func TestOnlyContentAndLinksBelongIntoAStore(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	for _, path := range []string{
		"docker/registry/v2/blobs/sha256/ab/ab12/data",
		"docker/registry/v2/repositories/a/b/_layers/sha256/ab12/link",
		"scheduler-state.json",
		"docker/registry/v2/repositories/a/b/_uploads/1/data",
		"docker/registry/v2/blobs/sha256/ab/ab12/data.1.tmp",
	} {
		path = filepath.Join(root, path)
		g.Expect(os.MkdirAll(filepath.Dir(path), 0o700)).To(Succeed())
		g.Expect(os.WriteFile(path, []byte("12345"), 0o600)).To(Succeed())
	}
	held, err := measureStore(root)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(held.bytes).To(BeEquivalentTo(25))
	g.Expect(held.foreign).To(ConsistOf(
		"docker/registry/v2/repositories/a/b/_uploads/1/data", "docker/registry/v2/blobs/sha256/ab/ab12/data.1.tmp",
	))
}

func TestABrokenBoundIsInTheReportAndEndsTheRunWithAnError(t *testing.T) {
	g := NewWithT(t)
	l := &lab{options: options{out: filepath.Join(t.TempDir(), "report.md")}, report: &report{}}
	l.report.section("B0", "100 % of it")
	l.report.bound(true, "one bound: %d", 1)
	l.report.bound(false, "another bound: %d", 2)
	g.Expect(l.finish()).To(MatchError(ContainSubstring("another bound: 2")))
	content, err := os.ReadFile(l.out)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(content)).To(Equal(`
## B0

100 % of it

Bounds of this project's cache:

- kept: one bound: 1
- **broken**: another bound: 2
`))
}

func TestContainerdReadsTheFramesOfZstdLayers(t *testing.T) {
	g := NewWithT(t)
	content := bytes.Repeat([]byte("layer"), 50_000)
	stream, err := compression.DecompressStream(bytes.NewReader(zstdFrame(content)))
	g.Expect(err).NotTo(HaveOccurred())
	var plain bytes.Buffer
	_, err = plain.ReadFrom(stream)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(plain.Bytes()).To(Equal(content))
}

package front_test

import (
	"context"
	"net"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/test/bench/client"
	"github.com/capi-registry-cache/capi-registry-cache/test/bench/front"
)

const blobSize = 2048

// world is a front on loopback with one blob behind it.
func world(t *testing.T) (*front.Front, *client.Client, front.Content) {
	t.Helper()
	g := NewWithT(t)
	blob, err := front.Random(t.Name(), blobSize)
	g.Expect(err).NotTo(HaveOccurred())
	library := &front.Library{}
	library.AddBlob(blob)

	first, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	address := first.Addr().String()
	g.Expect(first.Close()).To(Succeed())
	f, err := front.New(front.Options{
		Listen:  func() (net.Listener, error) { return net.Listen("tcp", address) },
		Handler: library,
	})
	g.Expect(err).NotTo(HaveOccurred())
	asker := client.New("http://" + address)
	t.Cleanup(func() {
		asker.Close()
		_ = f.Close()
	})
	return f, asker, blob
}

func get(c *client.Client, blob front.Content, byteRange string) client.Answer {
	expect := client.Expect{Range: byteRange}
	if byteRange == "" {
		expect.Digest, expect.Size = blob.Digest, blob.Size
	}
	return c.Get(context.Background(), "/v2/r/blobs/"+blob.Digest.String(), expect)
}

func TestAFaultLastsUntilTheNextOneIsSet(t *testing.T) {
	f, c, blob := world(t)
	for _, test := range []struct {
		fault   front.Fault
		outcome string
		content int64 // bytes of the blob
	}{
		{front.Refused, "connection failed", 0},
		{front.ServerError, "500", 0},
		{front.RateLimited, "429", 0},
		{front.Unauthorized, "401", 0},
		{front.Reset, "200, cut off", blobSize / 2},
		{front.WrongDigest, "200, WRONG CONTENT", blobSize},
		{front.None, "200", blobSize},
	} {
		g := NewWithT(t)
		g.Expect(f.Set(test.fault)).To(Succeed())
		f.Forget()
		answer := get(c, blob, "")
		g.Expect(answer.String()).To(Equal(test.outcome), "%s: %v", test.fault, answer.Failure())
		g.Expect(f.Counts().Sum(front.Blob).Bytes).To(Equal(test.content), string(test.fault))
	}
}

func TestASlowUpstreamKeepsItsPace(t *testing.T) {
	g := NewWithT(t)
	f, c, blob := world(t)
	g.Expect(f.Set(front.Slow)).To(Succeed())
	answer := get(c, blob, "")
	g.Expect(answer.Failure()).To(Succeed())
	g.Expect(answer.Took).To(BeNumerically(">", time.Second))
	g.Expect(answer.FirstByte).To(BeNumerically("<", answer.Took/2))
}

func TestARangeIsNoWayAroundTheMiddle(t *testing.T) {
	g := NewWithT(t)
	f, c, blob := world(t)
	g.Expect(f.Set(front.Reset)).To(Succeed())
	answer := get(c, blob, "bytes=1000-")
	g.Expect(answer.Bytes).To(BeEquivalentTo(blobSize/2 - 1000))
	answer = get(c, blob, "bytes=1500-")
	g.Expect(answer.OK()).To(BeFalse())
	g.Expect(answer.Bytes).To(BeZero())
}

func TestContentIsCountedForEachDigest(t *testing.T) {
	g := NewWithT(t)
	f, c, blob := world(t)
	path := "/v2/r/blobs/" + blob.Digest.String()
	g.Expect(c.Head(context.Background(), path).OK()).To(BeTrue())
	g.Expect(get(c, blob, "").OK()).To(BeTrue())
	g.Expect(get(c, blob, "bytes=0-99").OK()).To(BeTrue())
	g.Expect(f.Counts()).To(Equal(front.Counts{
		front.Key{Kind: front.Blob, Name: blob.Digest.String()}: {Gets: 2, Heads: 1, Bytes: blobSize + 100},
	}))
	f.Forget()
	g.Expect(f.Counts()).To(BeEmpty())
}

func TestLatencyIsAddedToConnectionsAndAnswers(t *testing.T) {
	g := NewWithT(t)
	f, c, blob := world(t)
	f.SetLatency(100 * time.Millisecond)
	first, second := get(c, blob, ""), get(c, blob, "")
	g.Expect(first.Failure()).To(Succeed())
	g.Expect(first.Took).To(BeNumerically(">=", 200*time.Millisecond))
	g.Expect(second.Took).To(BeNumerically(">=", 100*time.Millisecond))
}

func TestRandomContentFollowsFromItsSeed(t *testing.T) {
	g := NewWithT(t)
	one, err := front.Random("a", 40<<20)
	g.Expect(err).NotTo(HaveOccurred())
	same, err := front.Random("a", 40<<20)
	g.Expect(err).NotTo(HaveOccurred())
	other, err := front.Random("b", 40<<20)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(same.Digest).To(Equal(one.Digest))
	g.Expect(other.Digest).NotTo(Equal(one.Digest))
}

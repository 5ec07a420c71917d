package store_test

import (
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/proxy/scheduler"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/distribution/reference"
	. "github.com/onsi/gomega"
	"github.com/opencontainers/go-digest"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/store"
)

const manifestJSON = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
	`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`

func TestAStockSchedulerExpiresWhatWeStored(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	s := open(t, options(root))
	layer, manifest := put(t, s, "layer", 100), put(t, s, "manifest", 100)
	g.Expect(s.LinkLayer(repository, layer)).To(Succeed())
	g.Expect(s.LinkManifest("other/app", manifest)).To(Succeed())
	for _, d := range []digest.Digest{layer, manifest} {
		age(t, root, d, 2*time.Hour)
	}
	s = open(t, options(root))
	maintain(s, true) // the store does not expire them itself

	expired := make(chan string, 2)
	told := func(kind string) func(reference.Reference) error {
		return func(r reference.Reference) error {
			expired <- kind + " " + r.String()
			return nil
		}
	}
	stock := scheduler.New(t.Context(), filesystem.New(filesystem.DriverParameters{RootDirectory: root, MaxThreads: 25}), "/scheduler-state.json")
	stock.OnBlobExpire(told("blob"))
	stock.OnManifestExpire(told("manifest"))
	g.Expect(stock.Start()).To(Succeed())
	defer func() { _ = stock.Stop() }()
	var got []string
	for range 2 {
		var one string
		g.Eventually(expired, "20s").Should(Receive(&one))
		got = append(got, one)
	}
	g.Expect(got).To(ConsistOf("blob "+repository+"@"+layer.String(), "manifest other/app@"+manifest.String()))
}

func TestDistributionReadsOurLayout(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	s := open(t, options(root))
	d := digest.FromString(manifestJSON)
	g.Expect(s.Put(d, []byte(manifestJSON))).To(Succeed())
	g.Expect(s.LinkManifest(repository, d)).To(Succeed())
	g.Expect(s.Tag(repository, "v1", d)).To(Succeed())
	layer := put(t, s, "layer", 1000)
	g.Expect(s.LinkLayer(repository, layer)).To(Succeed())

	registry, err := storage.NewRegistry(t.Context(), filesystem.New(filesystem.DriverParameters{RootDirectory: root, MaxThreads: 25}))
	g.Expect(err).NotTo(HaveOccurred())
	name, err := reference.WithName(repository)
	g.Expect(err).NotTo(HaveOccurred())
	repo, err := registry.Repository(t.Context(), name)
	g.Expect(err).NotTo(HaveOccurred())
	tag, err := repo.Tags(t.Context()).Get(t.Context(), "v1")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(tag.Digest).To(Equal(d))
	digests, err := repo.Tags(t.Context()).All(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(digests).To(ConsistOf("v1"))
	manifests, err := repo.Manifests(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	manifest, err := manifests.Get(t.Context(), d)
	g.Expect(err).NotTo(HaveOccurred())
	_, payload, err := manifest.Payload()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(payload)).To(Equal(manifestJSON))
	content, err := repo.Blobs(t.Context()).Get(t.Context(), layer)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(digest.FromBytes(content)).To(Equal(layer))
}

// BenchmarkOpen reads a store of 5,000 blobs in 100 repositories.
func BenchmarkOpen(b *testing.B) {
	root := b.TempDir()
	fill, err := store.Open(options(root))
	if err != nil {
		b.Fatal(err)
	}
	for i := range 5000 {
		content := []byte{byte(i), byte(i >> 8)}
		d := digest.FromBytes(content)
		repository := "r" + string(rune('a'+i%10)) + "/" + string(rune('a'+i/10%10))
		if err := fill.Put(d, content); err != nil {
			b.Fatal(err)
		}
		if err := fill.LinkLayer(repository, d); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := store.Open(options(root)); err != nil {
			b.Fatal(err)
		}
	}
}

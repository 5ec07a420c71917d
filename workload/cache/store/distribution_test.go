package store_test

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/manifest/ocischema"
	"github.com/distribution/distribution/v3/registry/proxy/scheduler"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/distribution/reference"
	. "github.com/onsi/gomega"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// driver is what a stock registry stores with.
func (f *fixture) driver() *filesystem.Driver {
	return filesystem.New(filesystem.DriverParameters{RootDirectory: f.root, MaxThreads: 100})
}

// stock is distribution's own view of a repository in the store.
func (f *fixture) stock(name string) (distribution.Namespace, distribution.Repository) {
	f.t.Helper()
	registry, err := storage.NewRegistry(f.t.Context(), f.driver(), storage.EnableDelete)
	f.g.Expect(err).NotTo(HaveOccurred())
	named, err := reference.WithName(name)
	f.g.Expect(err).NotTo(HaveOccurred())
	repository, err := registry.Repository(f.t.Context(), named)
	f.g.Expect(err).NotTo(HaveOccurred())
	return registry, repository
}

// image is a manifest, and the blobs that it names.
func image(t *testing.T, seed string) (manifest []byte, blobs [][]byte) {
	t.Helper()
	blobs = [][]byte{[]byte(`{"architecture":"amd64","os":"linux","seed":"` + seed + `"}`), content("layer "+seed, 20*kib), content("shared", 5*kib)}
	of := func(mediaType string, b []byte) v1.Descriptor {
		return v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	}
	manifest, err := json.Marshal(v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Config: of(v1.MediaTypeImageConfig, blobs[0]),
		Layers: []v1.Descriptor{of(v1.MediaTypeImageLayerGzip, blobs[1]), of(v1.MediaTypeImageLayerGzip, blobs[2])},
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return manifest, blobs
}

// pull stores an image as the cache does, and returns the digest of its manifest.
func (f *fixture) pull(repository, tag, seed string) digest.Digest {
	f.t.Helper()
	manifest, blobs := image(f.t, seed)
	for _, b := range blobs {
		f.g.Expect(f.Put(digest.FromBytes(b), b)).To(Succeed())
		f.g.Expect(f.LinkLayer(repository, digest.FromBytes(b))).To(Succeed())
	}
	d := digest.FromBytes(manifest)
	f.g.Expect(f.Put(d, manifest)).To(Succeed())
	f.g.Expect(f.LinkManifest(repository, d)).To(Succeed())
	f.g.Expect(f.Tag(repository, tag, d)).To(Succeed())
	return d
}

func TestDistributionReadsWhatIsStored(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	f.pull("library/app", "latest", "before")
	d := f.pull("library/app", "latest", "now")
	f.pull("other", "v1", "other")
	manifest, blobs := image(t, "now")
	registry, repository := f.stock("library/app")

	names := make([]string, 10)
	n, err := registry.Repositories(t.Context(), names, "")
	g.Expect(err).To(MatchError(io.EOF))
	g.Expect(names[:n]).To(Equal([]string{"library/app", "other"}))
	tags := repository.Tags(t.Context())
	g.Expect(tags.All(t.Context())).To(Equal([]string{"latest"}))
	g.Expect(tags.Get(t.Context(), "latest")).To(HaveField("Digest", d))
	manifests, err := repository.Manifests(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	for _, options := range [][]distribution.ManifestServiceOption{nil, {distribution.WithTag("latest")}} {
		got, err := manifests.Get(t.Context(), d, options...)
		g.Expect(err).NotTo(HaveOccurred())
		_, payload, err := got.Payload()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(payload).To(Equal(manifest))
	}
	for _, b := range blobs {
		g.Expect(repository.Blobs(t.Context()).Get(t.Context(), digest.FromBytes(b))).To(Equal(b))
	}
}

func TestWhatDistributionStoredIsHeld(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	_, repository := f.stock("library/app")
	manifest, blobs := image(t, "a")
	for _, b := range blobs {
		_, err := repository.Blobs(t.Context()).Put(t.Context(), "application/octet-stream", b)
		g.Expect(err).NotTo(HaveOccurred())
	}
	manifests, err := repository.Manifests(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	parsed := &ocischema.DeserializedManifest{}
	g.Expect(parsed.UnmarshalJSON(manifest)).To(Succeed())
	d, err := manifests.Put(t.Context(), parsed)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(repository.Tags(t.Context()).Tag(t.Context(), "latest", v1.Descriptor{Digest: d})).To(Succeed())
	upload, err := repository.Blobs(t.Context()).Create(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	_, err = upload.Write([]byte("interrupted"))
	g.Expect(err).NotTo(HaveOccurred())
	before := time.Now()

	f.reopen()
	got, checked, ok := f.Resolve("library/app", "latest")
	g.Expect(ok).To(BeTrue())
	g.Expect(got).To(Equal(d))
	g.Expect(checked).To(BeTemporally("~", before, time.Minute))
	g.Expect(f.HasManifest("library/app", d)).To(BeTrue())
	g.Expect(f.read(d)).To(Succeed())
	for _, b := range blobs {
		g.Expect(f.read(digest.FromBytes(b))).To(Succeed())
	}
	g.Expect(f.tree()).NotTo(ContainElement(ContainSubstring("_uploads")))

	f.Upkeep(time.Now().Add(2*time.Hour), false)
	g.Expect(f.tree()).To(ConsistOf(skeleton))
}

func TestAStockRegistryExpiresWhatWasStored(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	d := f.pull("library/app", "latest", "a")
	f.pull("other", "latest", "a")
	_, blobs := image(t, "a")
	for _, stored := range append(blobs, nil) {
		of := d
		if stored != nil {
			of = digest.FromBytes(stored)
		}
		f.storedAt(of, time.Now().Add(-2*time.Hour))
	}
	f.reopen()
	f.put("young, and in no repository", kib)
	g.Expect(f.LinkLayer("young", f.put("young", kib))).To(Succeed())
	f.Upkeep(time.Now(), true)

	var mu sync.Mutex
	expired := map[string]string{}
	expire := func(kind string) func(reference.Reference) error {
		return func(r reference.Reference) error {
			mu.Lock()
			defer mu.Unlock()
			expired[r.String()] = kind
			return nil
		}
	}
	s := scheduler.New(t.Context(), f.driver(), "/scheduler-state.json")
	s.OnBlobExpire(expire("blob"))
	s.OnManifestExpire(expire("manifest"))
	g.Expect(s.Start()).To(Succeed())
	want := map[string]string{"library/app@" + string(d): "manifest", "other@" + string(d): "manifest"}
	for _, b := range blobs {
		want["library/app@"+string(digest.FromBytes(b))] = "blob"
		want["other@"+string(digest.FromBytes(b))] = "blob"
	}
	g.Eventually(func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Sorted(maps.Keys(expired))
	}, "20s").Should(Equal(slices.Sorted(maps.Keys(want))))
	g.Expect(expired).To(Equal(want))
	g.Expect(s.Stop()).To(Succeed())
}

func TestWithoutATTLThereIsNoStateOfAScheduler(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	f.options.TTL = 0
	f.reopen()
	f.pull("app", "latest", "a")
	f.Upkeep(time.Now(), false)
	g.Expect(f.tree()).NotTo(ContainElement("scheduler-state.json"))
}

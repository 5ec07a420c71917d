package store_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/opencontainers/go-digest"
)

// skeleton is what is left when all is gone.
var skeleton = []string{"docker/registry/v2/blobs/", "docker/registry/v2/repositories/", "pullthrough-uploads/", "scheduler-state.json"}

func TestLifeCountsFromTheTimeOfStoringWhateverTheTTLWas(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	old, young := f.put("old", kib), f.put("young", kib)
	now := time.Now()
	f.storedAt(old, now.Add(-3*time.Hour))
	f.storedAt(young, now.Add(-90*time.Minute))
	for _, step := range []struct {
		ttl        time.Duration
		old, young bool
	}{{0, true, true}, {4 * time.Hour, true, true}, {2 * time.Hour, false, true}, {0, false, true}, {time.Hour, false, false}} {
		f.options.TTL = step.ttl
		f.reopen()
		_ = f.read(old) // no reason to keep it longer
		f.Upkeep(now, false)
		g.Expect([]bool{f.holds(old), f.holds(young)}).To(Equal([]bool{step.old, step.young}), "ttl %s", step.ttl)
	}
	g.Expect(f.tree()).To(ConsistOf("docker/registry/v2/blobs/", "pullthrough-uploads/", "scheduler-state.json"))
}

func TestWhatHasExpiredStaysWhileTheUpstreamCannotBeReached(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	d := f.put("a", kib)
	later := time.Now().Add(2 * time.Hour)
	f.Upkeep(later, true)
	g.Expect(f.read(d)).To(Succeed())
	f.Upkeep(later, false)
	g.Expect(f.read(d)).To(MatchError(fs.ErrNotExist))
}

// It may not be known yet that the upstream cannot be reached.
func TestNothingExpiresAtTheStart(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	d := f.put("a", kib)
	f.storedAt(d, time.Now().Add(-2*time.Hour))
	f.reopen()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.Run(ctx, func() bool { return false })
	g.Expect(f.read(d)).To(Succeed())
}

// https://github.com/distribution/distribution/issues/2367, and the payload of manifests, which distribution keeps for ever.
func TestABlobGoesWithAllThatRefersToIt(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	layer, first, second := f.put("layer", kib), f.put("first", kib), f.put("second", kib)
	for _, repository := range []string{"app", "library/app", "library/app/nested", "other"} {
		g.Expect(f.LinkLayer(repository, layer)).To(Succeed())
		for _, d := range []digest.Digest{first, second} {
			g.Expect(f.LinkManifest(repository, d)).To(Succeed())
			g.Expect(f.Tag(repository, "latest", d)).To(Succeed())
		}
		g.Expect(f.Tag(repository, "v1", first)).To(Succeed())
	}
	now := time.Now()
	f.storedAt(first, now.Add(-2*time.Hour))
	f.storedAt(layer, now.Add(-2*time.Hour))
	f.reopen()
	f.Upkeep(now, false)

	for _, repository := range []string{"app", "library/app", "library/app/nested", "other"} {
		g.Expect(f.HasManifest(repository, first)).To(BeFalse())
		_, _, ok := f.Resolve(repository, "v1")
		g.Expect(ok).To(BeFalse(), "it meant the first")
		d, _, ok := f.Resolve(repository, "latest")
		g.Expect(ok && f.HasManifest(repository, d)).To(BeTrue())
		g.Expect(d).To(Equal(second), "it has moved on")
		base := filepath.Join(f.root, repositoriesDir, repository)
		g.Expect(filepath.Join(base, "_layers")).NotTo(BeADirectory())
		g.Expect(filepath.Join(base, "_manifests/tags/v1")).NotTo(BeADirectory())
		index, err := os.ReadDir(filepath.Join(base, "_manifests/tags/latest/index/sha256"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(index).To(HaveLen(1))
	}
	g.Expect(f.Inconsistency()).To(Succeed())

	f.Upkeep(now.Add(2*time.Hour), false)
	g.Expect(f.tree()).To(ConsistOf(skeleton))
	g.Expect(f.Inconsistency()).To(Succeed())
}

// A tag goes as a whole, so what it meant before must be linked anew when it returns.
func TestATagThatReturnsIsWholeAgain(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	before, now := f.put("before", kib), f.put("now", kib)
	g.Expect(f.Tag("app", "latest", before)).To(Succeed())
	g.Expect(f.Tag("app", "latest", now)).To(Succeed())
	g.Expect(os.Remove(f.data(now))).To(Succeed())
	g.Expect(f.read(now)).To(MatchError(fs.ErrNotExist))
	_, _, ok := f.Resolve("app", "latest")
	g.Expect(ok).To(BeFalse())
	g.Expect(f.tree()).To(ConsistOf(HaveSuffix("data"), "docker/registry/v2/repositories/", "pullthrough-uploads/"))

	g.Expect(f.Tag("app", "latest", before)).To(Succeed())
	g.Expect(f.tree()).To(ContainElement(HaveSuffix("_manifests/tags/latest/index/" + before.Algorithm().String() + "/" + before.Encoded() + "/link")))
	g.Expect(f.Inconsistency()).To(Succeed())
}

func TestATimeInTheFutureDoesNotKeepABlobForEver(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	d := f.put("a", kib)
	f.storedAt(d, time.Now().AddDate(10, 0, 0))
	f.reopen()
	f.Upkeep(time.Now().Add(2*time.Hour), false)
	g.Expect(f.holds(d)).To(BeFalse())
}

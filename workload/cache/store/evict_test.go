package store_test

import (
	"context"
	"io/fs"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/opencontainers/go-digest"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/store"
)

func TestTheLeastRecentlyUsedBlobGoesFirst(t *testing.T) {
	for name, meanwhile := range map[string]func(*fixture){
		"while it runs": func(*fixture) {},
		"after a kill":  (*fixture).reopen,
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := newStore(t)
			a, b, c := f.put("a", 20*kib), f.put("b", 20*kib), f.put("c", 20*kib)
			g.Expect(f.read(a)).To(Succeed())
			meanwhile(f)

			d := f.put("d", 30*kib)
			g.Expect([]bool{f.holds(a), f.holds(b), f.holds(c), f.holds(d)}).To(Equal([]bool{true, false, true, true}))
			g.Expect(f.read(a)).To(Succeed())
			meanwhile(f)
			f.put("e", 20*kib)
			g.Expect([]bool{f.holds(a), f.holds(c), f.holds(d)}).To(Equal([]bool{true, false, true}))
			g.Expect(f.Used()).To(Equal(f.bytesOnDisk()))
			g.Expect(f.Inconsistency()).To(Succeed())
		})
	}
}

func TestAReservationThatNeedsRoomWakesTheEvictionDownToTheLowWatermark(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx, func() bool { return true }) })
	var blobs []digest.Digest
	for _, seed := range []string{"0", "1", "2", "3", "4", "5", "6", "7", "8"} {
		blobs = append(blobs, f.put(seed, 10*kib))
	}
	g.Eventually(f.Used, "20s").Should(Equal(int64(50 * kib)))
	cancel()
	running.Wait()
	for i, d := range blobs {
		g.Expect(f.holds(d)).To(Equal(i >= 4), "blob %d", i)
	}
}

func TestAStoreThatWasMadeSmallerEvictsAtItsStart(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	for _, seed := range []string{"0", "1", "2", "3", "4", "5", "6"} {
		f.put(seed, 10*kib)
	}
	f.options.MaxSize = 50 * kib
	f.reopen()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.Run(ctx, func() bool { return true })
	g.Expect(f.Used()).To(Equal(int64(20 * kib)))
}

func TestABlobThatIsOpenIsNeitherEvictedNorExpires(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	used, idle := f.put("used", 40*kib), f.put("idle", 20*kib)
	blob, err := f.Open(t.Context(), used)
	g.Expect(err).NotTo(HaveOccurred())

	f.put("new", 40*kib)
	g.Expect(f.holds(used)).To(BeTrue())
	g.Expect(f.holds(idle)).To(BeFalse())
	f.Upkeep(time.Now().Add(2*time.Hour), false)
	g.Expect(f.Used()).To(Equal(int64(40*kib)), "the new one has expired")
	g.Expect(f.Create(digest.FromString("large"), 41*kib)).Error().To(MatchError(store.ErrNotStored))

	g.Expect(blob.Close()).To(Succeed())
	g.Expect(blob.Close()).NotTo(Succeed(), "it counts once")
	f.Upkeep(time.Now().Add(2*time.Hour), false)
	g.Expect(f.Used()).To(BeZero())
	g.Expect(f.Inconsistency()).To(Succeed())
}

func TestClosingABlobThatWasReplacedMeanwhileDoesNotCountForItsSuccessor(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	d := f.put("a", 40*kib)
	first, err := f.Open(t.Context(), d)
	g.Expect(err).NotTo(HaveOccurred())
	damage(t, f.data(d))
	g.Expect(f.read(d)).To(MatchError(fs.ErrNotExist))
	f.put("a", 40*kib)
	second, err := f.Open(t.Context(), d)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(first.Close()).To(Succeed())
	g.Expect(f.Create(digest.FromString("large"), 50*kib)).Error().To(MatchError(store.ErrNotStored))
	g.Expect(f.holds(d)).To(BeTrue())
	g.Expect(second.Close()).To(Succeed())
	g.Expect(f.Inconsistency()).To(Succeed())
}

func TestNothingIsEvictedForWhatCannotFit(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	a, b := f.put("a", 20*kib), f.put("b", 20*kib)
	blob, err := f.Open(t.Context(), a)
	g.Expect(err).NotTo(HaveOccurred())
	defer blob.Close() //nolint:errcheck // it was only read
	for _, size := range []int64{61 * kib, 81 * kib, 1 << 62} {
		_, err = f.Create(digest.FromString("large"), size)
		g.Expect(err).To(MatchError(store.ErrNotStored), "%d", size)
		g.Expect(f.holds(b)).To(BeTrue(), "%d", size)
	}
	w, err := f.Create(digest.FromString("large"), 60*kib)
	g.Expect(err).NotTo(HaveOccurred(), "it fits without b")
	g.Expect(f.holds(b)).To(BeFalse())
	w.Cancel()
}

func TestWhatIsOnItsWayCounts(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	first, err := f.Create(digest.FromString("first"), 50*kib)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = f.Create(digest.FromString("second"), 40*kib)
	g.Expect(err).To(MatchError(store.ErrNotStored))
	first.Cancel()
	first.Cancel()
	second, err := f.Create(digest.FromString("second"), 40*kib)
	g.Expect(err).NotTo(HaveOccurred())
	second.Cancel()
	g.Expect(f.Inconsistency()).To(Succeed())
}

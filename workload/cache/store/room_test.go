package store_test

import (
	"os/signal"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/metrics"
	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/store"
)

func TestTheRoomIsThatOfTheVolume(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	f.put("a", 10*kib)
	var volume unix.Statfs_t
	g.Expect(unix.Statfs(f.root, &volume)).To(Succeed())
	room := f.Room()
	g.Expect(room.Capacity).To(Equal(int64(100 * kib)))
	g.Expect(room.Used).To(Equal(int64(10 * kib)))
	g.Expect(room.Free).To(BeNumerically("~", int64(volume.Bavail)*volume.Frsize, 1<<30), "others write, too")
	g.Expect([]bool{room.Full, room.Failing}).To(Equal([]bool{false, false}))
}

func TestAVolumeIsFullOnceSomethingFoundNoRoom(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	open, err := f.Open(t.Context(), f.put("open", 60*kib))
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = open.Close() }()
	g.Expect(f.Room().Full).To(BeFalse())

	b := content("new", 40*kib)
	g.Expect(f.Put(digest.FromBytes(b), b)).To(MatchError(store.ErrNotStored))
	g.Expect(f.Room().Full).To(BeTrue(), "what is open cannot be evicted")
	g.Expect(testutil.ToFloat64(metrics.VolumeFull)).To(Equal(1.0))
	f.reopen()
	g.Expect(f.Room().Full).To(BeFalse())
}

func TestAFileSystemThatRefusesIsFailing(t *testing.T) {
	if rerun(t, "TestAFileSystemThatRefusesIsFailing") {
		return
	}
	g := NewWithT(t)
	f := newStore(t)
	signal.Ignore(syscall.SIGXFSZ)
	defer limit(t, unix.RLIMIT_FSIZE, 20*kib)()
	b := content("large", 40*kib)
	g.Expect(f.Put(digest.FromBytes(b), b)).To(MatchError(store.ErrNotStored))
	room := f.Room()
	g.Expect([]bool{room.Full, room.Failing}).To(Equal([]bool{false, true}), "EFBIG is not about room")
}

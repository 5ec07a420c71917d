package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/opencontainers/go-digest"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/store"
)

// actor does what caches do, with a few blobs that all others use too, and more of them than fit.
type actor struct {
	t      *testing.T
	f      *fixture
	random *rand.Rand
}

func (a *actor) blob() []byte {
	i := a.random.IntN(40)
	return content(fmt.Sprint("blob ", i), 100+i*200)
}

func (a *actor) step() error {
	b := a.blob()
	d := digest.FromBytes(b)
	repository, tag := fmt.Sprint("repository/", a.random.IntN(4)), fmt.Sprint("v", a.random.IntN(3))
	switch a.random.IntN(10) {
	case 0, 1, 2:
		return a.transfer(d, b)
	case 3, 4, 5:
		return a.open(d, b)
	case 6:
		return a.tolerate(a.f.LinkLayer(repository, d))
	case 7:
		if err := a.tolerate(a.f.LinkManifest(repository, d)); err != nil {
			return err
		}
		return a.tolerate(a.f.Tag(repository, tag, d))
	case 8:
		a.f.Resolve(repository, tag)
		a.f.HasManifest(repository, d)
		if a.random.IntN(20) == 0 {
			a.f.Upkeep(time.Now().Add(time.Duration(a.random.IntN(62))*time.Minute), false)
		}
	case 9:
		if a.random.IntN(5) == 0 {
			_ = os.Truncate(a.f.data(d), 50)
		}
	}
	return nil
}

// tolerate what a full store, and a blob that is gone, lead to.
func (a *actor) tolerate(err error) error {
	if err == nil || errors.Is(err, store.ErrNotStored) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (a *actor) transfer(d digest.Digest, b []byte) error {
	size := int64(len(b))
	if a.random.IntN(3) == 0 {
		size = -1
	}
	w, err := a.f.Create(d, size)
	if err != nil {
		return a.tolerate(err)
	}
	defer w.Cancel()
	half := len(b) / 2
	if _, err := w.Write(b[:half]); err != nil {
		return a.tolerate(err)
	}
	r, err := w.Reader()
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // it was only read
	if a.random.IntN(4) == 0 {
		go w.Cancel()
	}
	if _, err := w.Write(b[half:]); err != nil {
		return a.tolerate(err)
	}
	if err := w.Commit(); err != nil {
		return a.tolerate(err)
	}
	return a.check(r, b)
}

func (a *actor) open(d digest.Digest, b []byte) error {
	blob, err := a.f.Open(a.t.Context(), d)
	if err != nil {
		return a.tolerate(err)
	}
	defer blob.Close() //nolint:errcheck // it was only read
	return a.check(blob, b)
}

// check reads while others truncate files: what was right when it was opened may end early, and is never something else.
func (a *actor) check(r io.Reader, want []byte) error {
	got, err := io.ReadAll(r)
	if err == nil && !bytes.HasPrefix(want, got) {
		return fmt.Errorf("%d bytes of something else than %d", len(got), len(want))
	}
	return err
}

func TestTheBooksAgreeWithTheDiskWhateverHappensAtOnce(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	var background, actors sync.WaitGroup
	background.Go(func() { f.Run(ctx, func() bool { return false }) })
	for i := range 4 {
		actors.Go(func() {
			a := &actor{t, f, rand.New(rand.NewPCG(1, uint64(i)))}
			for range 1000 {
				if err := a.step(); err != nil {
					t.Error(err)
					return
				}
				if taken := f.Taken(); taken > 80*kib {
					t.Errorf("%d bytes are taken", taken)
				}
			}
		})
	}
	actors.Wait()
	cancel()
	background.Wait()

	for i := range 40 { // also those whose file was truncated last
		_ = f.read(digest.FromBytes(content(fmt.Sprint("blob ", i), 100+i*200)))
	}
	g.Eventually(f.Inconsistency, "20s").Should(Succeed())
	g.Expect(f.Used()).To(And(Equal(f.bytesOnDisk()), BeNumerically(">", 0)))
	for _, name := range f.tree() {
		if filepath.Base(name) == "link" {
			value, err := os.ReadFile(filepath.Join(f.root, name))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(f.holds(digest.Digest(value))).To(BeTrue(), name)
		}
	}
	before, used := f.tree(), f.Used()
	f.reopen()
	g.Expect(f.tree()).To(Equal(before), "there was nothing to clean up")
	g.Expect(f.Used()).To(Equal(used))
	g.Expect(f.Inconsistency()).To(Succeed())
}

package store_test

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/store"
)

const (
	repositoriesDir = "docker/registry/v2/repositories"
	kib             = 1 << 10
)

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// fixture is a store whose watermarks are 80 KiB and 50 KiB, and which can be opened again as after a kill.
type fixture struct {
	t       *testing.T
	g       *WithT
	root    string
	options store.Options
	*store.Store
}

func newStore(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, g: NewWithT(t), root: filepath.Join(t.TempDir(), "store")}
	f.options = store.Options{Root: f.root, MaxSize: 100 * kib, HighWatermark: 80, LowWatermark: 50, TTL: time.Hour}
	f.reopen()
	return f
}

// reopen forgets the open store: there is nothing that would have to be closed.
func (f *fixture) reopen() {
	f.t.Helper()
	opened, err := store.Open(f.options)
	f.g.Expect(err).NotTo(HaveOccurred())
	f.Store = opened
}

// content is the same for the same seed and size, and hard to guess.
func content(seed string, size int) []byte {
	source := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32.32s", seed))))
	b := make([]byte, size)
	_, _ = source.Read(b)
	return b
}

// put stores a blob of size bytes.
func (f *fixture) put(seed string, size int) digest.Digest {
	f.t.Helper()
	b := content(seed, size)
	f.g.Expect(f.Put(digest.FromBytes(b), b)).To(Succeed())
	return digest.FromBytes(b)
}

// read opens the blob and checks its content.
func (f *fixture) read(d digest.Digest) error {
	return readBlob(f.t, f.Store, d)
}

func readBlob(t *testing.T, s *store.Store, d digest.Digest) error {
	blob, err := s.Open(t.Context(), d)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(blob)
	if err == nil && (digest.FromBytes(b) != d || int64(len(b)) != blob.Size) {
		err = fmt.Errorf("%s: read %d of %d bytes", d, len(b), blob.Size)
	}
	if closing := blob.Close(); err == nil {
		err = closing
	}
	return err
}

func (f *fixture) holds(d digest.Digest) bool {
	_, held := f.Stat(d)
	return held
}

// data is where distribution has the content of d.
func (f *fixture) data(d digest.Digest) string {
	return filepath.Join(f.root, "docker/registry/v2/blobs", d.Algorithm().String(), d.Encoded()[:2], d.Encoded(), "data")
}

// storedAt changes when a blob was stored, for after the next reopen.
func (f *fixture) storedAt(d digest.Digest, stored time.Time) {
	f.t.Helper()
	f.g.Expect(os.Chtimes(f.data(d), stored, stored)).To(Succeed())
}

// tree lists what is below the root: directories only if they are empty, with a slash.
func (f *fixture) tree() []string {
	f.t.Helper()
	var found []string
	f.g.Expect(filepath.WalkDir(f.root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative := strings.TrimPrefix(strings.TrimPrefix(name, f.root), "/")
		if !d.IsDir() {
			found = append(found, relative)
			return nil
		}
		inside, err := os.ReadDir(name)
		if len(inside) == 0 {
			found = append(found, relative+"/")
		}
		return err
	})).To(Succeed())
	return found
}

// bytesOnDisk is the size of all content that lies where blobs are.
func (f *fixture) bytesOnDisk() int64 {
	f.t.Helper()
	var sum int64
	for _, name := range f.tree() {
		if filepath.Base(name) == "data" {
			info, err := os.Lstat(filepath.Join(f.root, name))
			f.g.Expect(err).NotTo(HaveOccurred())
			sum += info.Size()
		}
	}
	return sum
}

// write makes a file below the root with all that leads to it.
func (f *fixture) write(name, value string) {
	f.t.Helper()
	full := filepath.Join(f.root, name)
	f.g.Expect(os.MkdirAll(filepath.Dir(full), 0o755)).To(Succeed())
	f.g.Expect(os.WriteFile(full, []byte(value), 0o600)).To(Succeed())
}

func TestOptionsOutOfRangeAreRefusedByName(t *testing.T) {
	for field, change := range map[string]func(*store.Options){
		"Root":          func(o *store.Options) { o.Root = "" },
		"MaxSize":       func(o *store.Options) { o.MaxSize = -1 },
		"HighWatermark": func(o *store.Options) { o.HighWatermark = 101 },
		"LowWatermark":  func(o *store.Options) { o.LowWatermark = o.HighWatermark },
		"TTL":           func(o *store.Options) { o.TTL = -1 },
	} {
		t.Run(field, func(t *testing.T) {
			g := NewWithT(t)
			o := store.Options{Root: t.TempDir(), HighWatermark: 85, LowWatermark: 75}
			change(&o)
			_, err := store.Open(o)
			g.Expect(err).To(MatchError(And(ContainSubstring("store.Options."+field), ContainSubstring("accepted"))))
		})
	}
}

func TestTheVolumeIsTheMostThatCanBeUsed(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	g.Expect(f.Capacity()).To(Equal(int64(100 * kib)))
	f.options.MaxSize = 0
	f.reopen()
	volume := f.Capacity()
	g.Expect(volume).To(BeNumerically(">", 100*kib))
	f.options.MaxSize = volume * 2
	f.reopen()
	g.Expect(f.Capacity()).To(Equal(volume))
}

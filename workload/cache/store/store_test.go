package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/opencontainers/go-digest"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/store"
)

const repository = "library/app"

func options(root string) store.Options {
	return store.Options{Root: root, MaxSize: 100_000, HighWatermark: 80, LowWatermark: 50, TTL: time.Hour}
}

func open(t *testing.T, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(o)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return s
}

// blob is content of that size that no other name has.
func blob(name string, size int) (digest.Digest, []byte) {
	content := bytes.Repeat([]byte(name+"\n"), size/(len(name)+1)+1)[:size]
	return digest.FromBytes(content), content
}

func put(t *testing.T, s *store.Store, name string, size int) digest.Digest {
	t.Helper()
	d, content := blob(name, size)
	NewWithT(t).Expect(s.Put(d, content)).To(Succeed())
	return d
}

// read opens the blob, checks its content, and closes it.
func read(s *store.Store, d digest.Digest) error {
	b, err := s.Open(context.Background(), d)
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }()
	content, err := io.ReadAll(b)
	if err != nil {
		return err
	}
	if digest.FromBytes(content) != d || int64(len(content)) != b.Size {
		return fmt.Errorf("%d bytes of something else", len(content))
	}
	return nil
}

// turn lets time pass, as far as the order of access is concerned.
func age(t *testing.T, root string, d digest.Digest, by time.Duration) {
	t.Helper()
	path := data(root, d)
	info, err := os.Stat(path)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(os.Chtimes(path, time.Now().Add(-by), info.ModTime().Add(-by))).To(Succeed())
}

func data(root string, d digest.Digest) string {
	return filepath.Join(root, "docker/registry/v2/blobs", d.Algorithm().String(), d.Encoded()[:2], d.Encoded(), "data")
}

// files are all below root, without directories.
func files(t *testing.T, root string) []string {
	t.Helper()
	var names []string
	NewWithT(t).Expect(filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(name, root+"/"))
		}
		return err
	})).To(Succeed())
	return names
}

// maintain is one round of Run.
func maintain(s *store.Store, keepExpired bool) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Run(ctx, func() bool { return keepExpired })
}

func TestTheBlobUsedLongestAgoIsEvictedFirstAlsoAfterARestart(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	s := open(t, options(root))
	old, used, young := put(t, s, "old", 20_000), put(t, s, "used", 20_000), put(t, s, "young", 20_000)
	for i, d := range []digest.Digest{used, old, young} {
		age(t, root, d, time.Duration(30-i)*time.Minute)
	}
	s = open(t, options(root)) // without a close: as after kill -9
	g.Expect(read(s, used)).To(Succeed())

	s = open(t, options(root))
	put(t, s, "new", 30_000) // 90,000 are above 80,000: down to 50,000
	g.Expect(read(s, old)).To(MatchError(fs.ErrNotExist))
	g.Expect(read(s, young)).To(MatchError(fs.ErrNotExist))
	g.Expect(read(s, used)).To(Succeed())
	g.Expect(s.Used()).To(Equal(int64(50_000)))
}

func TestABlobThatIsReadIsNeitherEvictedNorExpires(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	s := open(t, options(root))
	first := put(t, s, "first", 40_000)
	age(t, root, first, 2*time.Hour)
	s = open(t, options(root))
	b, err := s.Open(t.Context(), first)
	g.Expect(err).NotTo(HaveOccurred())
	_, content := blob("second", 50_000)
	g.Expect(s.Put(digest.FromBytes(content), content)).To(MatchError(store.ErrNotStored))
	maintain(s, false)
	_, held := s.Stat(first)
	g.Expect(held).To(BeTrue())

	g.Expect(b.Close()).To(Succeed())
	maintain(s, false)
	_, held = s.Stat(first)
	g.Expect(held).To(BeFalse())
}

func TestWhatCannotFitEvictsNothing(t *testing.T) {
	g := NewWithT(t)
	s := open(t, options(t.TempDir()))
	d := put(t, s, "a", 30_000)
	_, err := s.Create(digest.FromString("large"), 80_001)
	g.Expect(err).To(MatchError(store.ErrNotStored))
	g.Expect(read(s, d)).To(Succeed())
	w, err := s.Create(digest.FromString("half"), 40_000)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = s.Create(digest.FromString("other"), 50_000)
	g.Expect(err).To(MatchError(store.ErrNotStored), "what is on its way counts")
	w.Cancel()
	w.Cancel()
	w, err = s.Create(digest.FromString("other"), 50_000)
	g.Expect(err).NotTo(HaveOccurred())
	w.Cancel()
}

func TestLifeCountsFromTheTimeStoredWhateverTheTTLWas(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	o := options(root)
	o.TTL = 0
	s := open(t, o)
	d := put(t, s, "a", 100)
	age(t, root, d, 2*time.Hour)
	s = open(t, o)
	maintain(s, false)
	g.Expect(read(s, d)).To(Succeed(), "no TTL")

	o.TTL = 3 * time.Hour
	s = open(t, o)
	maintain(s, false)
	g.Expect(read(s, d)).To(Succeed())

	o.TTL = time.Hour
	s = open(t, o)
	maintain(s, true)
	g.Expect(read(s, d)).To(Succeed(), "an old blob is better than none")
	maintain(s, false)
	g.Expect(read(s, d)).To(MatchError(fs.ErrNotExist))
}

// distribution#2367: a layer that two repositories share; and the payload of a manifest, which distribution keeps for ever.
func TestExpiryLeavesNothingBehind(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	s := open(t, options(root))
	layer, manifest, moved := put(t, s, "layer", 100), put(t, s, "manifest", 100), put(t, s, "moved", 100)
	for _, r := range []string{repository, "other", "library/app/nested"} {
		g.Expect(s.LinkLayer(r, layer)).To(Succeed())
		for _, m := range []digest.Digest{manifest, moved} {
			g.Expect(s.LinkManifest(r, m)).To(Succeed())
			g.Expect(s.Tag(r, "v1", m)).To(Succeed())
		}
	}
	for _, d := range []digest.Digest{layer, manifest, moved} {
		age(t, root, d, 2*time.Hour)
	}
	s = open(t, options(root))
	got, _, ok := s.Resolve("other", "v1")
	g.Expect(ok).To(BeTrue())
	g.Expect(got).To(Equal(moved))
	maintain(s, false)
	g.Expect(files(t, root)).To(ConsistOf("scheduler-state.json"))
	entries, err := os.ReadDir(filepath.Join(root, "docker/registry/v2/repositories"))
	g.Expect(err == nil && len(entries) == 0 || os.IsNotExist(err)).To(BeTrue(), "%v", entries)
	g.Expect(s.Used()).To(BeZero())
}

func TestARemovedManifestTakesItsTagAlong(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	s := open(t, options(root))
	first, second := put(t, s, "first", 100), put(t, s, "second", 100)
	for _, d := range []digest.Digest{first, second} {
		g.Expect(s.LinkManifest(repository, d)).To(Succeed())
		g.Expect(s.Tag(repository, "v1", d)).To(Succeed())
	}
	age(t, root, first, 2*time.Hour)
	s = open(t, options(root))
	maintain(s, false)
	got, _, ok := s.Resolve(repository, "v1")
	g.Expect(ok).To(BeTrue(), "the tag has moved on")
	g.Expect(got).To(Equal(second))
	g.Expect(s.HasManifest(repository, first)).To(BeFalse())

	g.Expect(os.Remove(data(root, second))).To(Succeed())
	g.Expect(read(s, second)).To(MatchError(fs.ErrNotExist))
	_, _, ok = s.Resolve(repository, "v1")
	g.Expect(ok).To(BeFalse())
}

func TestAWrongBlobIsFoundAndRemoved(t *testing.T) {
	for name, spoil := range map[string]func(path string, content []byte) error{
		"cut off":         func(path string, content []byte) error { return os.Truncate(path, int64(len(content)/2)) },
		"empty":           func(path string, _ []byte) error { return os.Truncate(path, 0) },
		"one bit flipped": func(path string, content []byte) error { content[50] ^= 1; return os.WriteFile(path, content, 0o600) },
		"replaced": func(path string, _ []byte) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, []byte("x"), 0o600))
		},
		"a directory": func(path string, _ []byte) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		"gone":        func(path string, _ []byte) error { return os.Remove(path) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, while := range []string{"stopped", "running"} {
				g := NewWithT(t)
				root := t.TempDir()
				s := open(t, options(root))
				d, content := blob("a", 1000)
				g.Expect(s.Put(d, content)).To(Succeed())
				g.Expect(s.LinkLayer(repository, d)).To(Succeed())
				g.Expect(spoil(data(root, d), bytes.Clone(content))).To(Succeed())
				if while == "stopped" {
					s = open(t, options(root))
				}
				g.Expect(read(s, d)).To(MatchError(fs.ErrNotExist), while)
				g.Expect(s.Put(d, content)).To(Succeed(), while)
				g.Expect(read(s, d)).To(Succeed(), while)
			}
		})
	}
}

func TestWhatDoesNotMatchItsDigestIsNotStored(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	s := open(t, options(root))
	w, err := s.Create(digest.FromString("right"), 5)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = w.Write([]byte("wrong"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.Commit()).To(MatchError(store.ErrDigest))
	g.Expect(files(t, root)).To(BeEmpty())
	g.Expect(s.Used()).To(BeZero())
}

func TestAReaderSeesWhatIsWrittenAndStaysValid(t *testing.T) {
	g := NewWithT(t)
	s := open(t, options(t.TempDir()))
	d, content := blob("a", 1000)
	w, err := s.Create(d, 1000)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = w.Write(content[:400])
	g.Expect(err).NotTo(HaveOccurred())
	r, err := w.Reader()
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = r.Close() }()
	part := make([]byte, 400)
	_, err = io.ReadFull(r, part)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = w.Write(content[400:])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.Commit()).To(Succeed())
	rest, err := io.ReadAll(r)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(append(part, rest...)).To(Equal(content))
}

func TestForeignAndBrokenFilesStopNothing(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	s := open(t, options(root))
	d := put(t, s, "a", 1000)
	g.Expect(s.LinkManifest(repository, d)).To(Succeed())
	g.Expect(s.Tag(repository, "v1", d)).To(Succeed())
	base := filepath.Join(root, "docker/registry/v2")
	for name, content := range map[string]string{
		"scheduler-state.json": "", "lost+found/x": "x", "pullthrough-uploads/x": "x",
		"docker/registry/v2/blobs/sha256/zz/nothing/data":                                                        "x",
		"docker/registry/v2/blobs/sha256/aa/stray":                                                               "x",
		"docker/registry/v2/blobs/md5/aa/aa/data":                                                                "x",
		"docker/registry/v2/repositories/" + repository + "/_uploads/1/data":                                     "x",
		"docker/registry/v2/repositories/" + repository + "/_manifests/tags/v2/current/link":                     "sha256:nonsense",
		"docker/registry/v2/repositories/" + repository + "/_manifests/tags/v3/current/link":                     "",
		"docker/registry/v2/repositories/" + repository + "/_layers/sha256/" + strings.Repeat("0", 64) + "/link": "sha256:" + strings.Repeat("0", 64),
		"docker/registry/v2/repositories/stray":                                                                  "x",
	} {
		path := filepath.Join(root, name)
		g.Expect(os.MkdirAll(filepath.Dir(path), 0o700)).To(Succeed())
		g.Expect(os.WriteFile(path, []byte(content), 0o600)).To(Succeed())
	}
	s = open(t, options(root))
	g.Expect(read(s, d)).To(Succeed())
	_, _, ok := s.Resolve(repository, "v1")
	g.Expect(ok).To(BeTrue())
	_, _, ok = s.Resolve(repository, "v2")
	g.Expect(ok).To(BeFalse())
	g.Expect(filepath.Join(root, "lost+found/x")).To(BeAnExistingFile())
	g.Expect(filepath.Join(base, "repositories", repository, "_uploads")).NotTo(BeADirectory())
	g.Expect(filepath.Join(root, "pullthrough-uploads/x")).NotTo(BeAnExistingFile())
	g.Expect(filepath.Join(base, "repositories", repository, "_layers")).NotTo(BeADirectory(), "a link to nothing")
	g.Expect(s.Used()).To(Equal(int64(1000)))
}

func TestNamesThatLeaveTheStoreAreRefused(t *testing.T) {
	g := NewWithT(t)
	s := open(t, options(t.TempDir()))
	d := put(t, s, "a", 10)
	for _, name := range []string{"", "..", "../a", "/a", "a/../../b", "a//b", "_layers", "a/_layers"} {
		g.Expect(s.LinkLayer(name, d)).To(MatchError(store.ErrNotStored), name)
		g.Expect(s.Tag(repository, name, d)).To(MatchError(store.ErrNotStored), name)
	}
	_, err := s.Create("md5:d41d8cd98f00b204e9800998ecf8427e", 1)
	g.Expect(err).To(MatchError(store.ErrNotStored))
}

// TestTheIndexAgreesWithTheDisk does everything at once, and compares.
func TestTheIndexAgreesWithTheDisk(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	s := open(t, options(root))
	var workers sync.WaitGroup
	for worker := range 8 {
		workers.Go(func() {
			for i := range 200 {
				name := fmt.Sprint((worker*7 + i*13) % 40)
				d, content := blob(name, 500+len(name)*1000)
				if err := read(s, d); err != nil {
					_ = s.Put(d, content)
				}
				_ = s.LinkLayer("repo"+name, d)
				_ = s.LinkManifest("repo"+name, d)
				_ = s.Tag("repo"+name, "v"+fmt.Sprint(worker), d)
				if i%50 == 0 {
					maintain(s, false)
				}
				if used := s.Used(); used > 80_000 {
					t.Errorf("%d bytes are above the high watermark", used)
				}
			}
		})
	}
	workers.Wait()
	used := s.Used()
	g.Expect(used).To(BeNumerically(">", 0))
	var onDisk int64
	for _, name := range files(t, root) {
		if strings.HasSuffix(name, "/data") {
			info, err := os.Stat(filepath.Join(root, name))
			g.Expect(err).NotTo(HaveOccurred())
			onDisk += info.Size()
		}
	}
	g.Expect(onDisk).To(Equal(used))
	before := files(t, root)
	again := open(t, options(root))
	g.Expect(again.Used()).To(Equal(used))
	g.Expect(files(t, root)).To(Equal(before), "no link was left that refers to nothing")
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("sha256:"+strings.Repeat("0", 64)), []byte("{}"))
	f.Add([]byte("sha256:../../../x"), []byte(""))
	f.Add([]byte(strings.Repeat("a", 1000)), []byte("\x00"))
	f.Fuzz(func(t *testing.T, link, content []byte) {
		root := t.TempDir()
		base := filepath.Join(root, "docker/registry/v2")
		d := digest.FromBytes(content)
		for _, name := range []string{
			"repositories/a/_manifests/tags/v1/current/link", "repositories/a/_layers/sha256/" + d.Encoded() + "/link",
			"repositories/a/_manifests/revisions/sha256/" + d.Encoded() + "/link", "blobs/sha256/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data",
		} {
			value := link
			if strings.HasSuffix(name, "data") {
				value = content
			}
			path := filepath.Join(base, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, value, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		s, err := store.Open(store.Options{Root: root, HighWatermark: 80, LowWatermark: 50, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if err := read(s, d); err != nil {
			t.Fatal("the blob is right, whatever refers to it", err)
		}
		if got, _, ok := s.Resolve("a", "v1"); ok && string(got) != strings.TrimSpace(string(link)) {
			t.Fatalf("%q", got)
		}
	})
}

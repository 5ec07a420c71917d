package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/opencontainers/go-digest"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/store"
)

func TestABrokenStateOfASchedulerIsNobodysConcern(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"empty":       func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"cut off":     func(path string) error { return os.WriteFile(path, []byte(`{"app@sha256:`), 0o600) },
		"a directory": func(path string) error { return os.MkdirAll(path+"/inside", 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := newStore(t)
			d := f.put("a", kib)
			g.Expect(make(filepath.Join(f.root, "scheduler-state.json"))).To(Succeed())
			f.reopen()
			f.Upkeep(time.Now(), false)
			g.Expect(f.read(d)).To(Succeed())
			g.Expect(filepath.Glob(filepath.Join(f.root, "pullthrough-uploads/*"))).To(BeEmpty())
		})
	}
}

func TestWhatAnInterruptedProcessLeftIsRemoved(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	d := f.put("a", kib)
	absent := digest.FromString("absent").Encoded()
	g.Expect(f.LinkLayer("app", d)).To(Succeed())
	g.Expect(f.LinkManifest("app", d)).To(Succeed())
	g.Expect(f.Tag("app", "latest", d)).To(Succeed())
	want := f.tree()
	w, err := f.Create(digest.FromString("interrupted"), 10)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = w.Write([]byte("half"))
	g.Expect(err).NotTo(HaveOccurred())

	const uuid = ".0b0a7a5e-4a52-4a5c-9a63-0a1b2c3d4e5f.tmp"
	app := repositoriesDir + "/app/"
	for _, name := range []string{
		"scheduler-state.json" + uuid,
		"pullthrough-uploads/directory/file",
		strings.TrimPrefix(f.data(d), f.root) + uuid,
		"docker/registry/v2/blobs/sha256/" + absent[:2] + "/" + absent + "/data" + uuid,
		app + "_uploads/1/data", app + "_uploads/1/startedat", app + "_uploads/1/hashstates/sha256/0",
		repositoriesDir + "/other/nested/_uploads/2/data",
		app + "_layers/sha256/" + d.Encoded() + "/link" + uuid,
		app + "_layers/sha256/" + absent + "/link" + uuid,
		app + "_manifests/tags/latest/current/link" + uuid,
		app + "_manifests/tags/new/current/link" + uuid,
		// Links that lead nowhere, or were not written.
		app + "_layers/sha256/" + digest.FromString("b").Encoded() + "/link",
		app + "_manifests/revisions/sha256/" + absent + "/link",
		app + "_manifests/tags/latest/index/sha256/" + absent + "/link",
		app + "_manifests/tags/broken/current/link",
		app + "_manifests/tags/broken/index/sha256/" + d.Encoded() + "/link",
		repositoriesDir + "/other/_layers/sha256/" + d.Encoded() + "/link",
	} {
		f.write(name, "")
	}
	f.write(app+"_manifests/tags/dangling/current/link", "sha256:"+absent)
	f.write(app+"_manifests/tags/dangling/index/sha256/"+absent+"/link", "sha256:"+absent)
	f.reopen()
	g.Expect(f.tree()).To(ConsistOf(want))
	g.Expect(f.read(d)).To(Succeed())
	g.Expect(f.Inconsistency()).To(Succeed())
	g.Expect(f.LinkLayer("other", d)).To(Succeed())
	g.Expect(f.tree()).To(ContainElement(repositoriesDir + "/other/_layers/sha256/" + d.Encoded() + "/link"))
}

func TestForeignFilesDoNoHarmAndStay(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	d := f.put("a", kib)
	g.Expect(f.LinkManifest("app", d)).To(Succeed())
	g.Expect(f.Tag("app", "latest", d)).To(Succeed())
	foreign := []string{
		"lost+found/#1234", "stray", "docker/stray", "docker/registry/v2/stray", "docker/registry/v2/blobs/stray", "docker/registry/v2/blobs/sha256/stray",
		"docker/registry/v2/blobs/md5/d4/d41d8cd98f00b204e9800998ecf8427e/data", "docker/registry/v2/blobs/sha256/zz/zz/data",
		"docker/registry/v2/blobs/sha256/00/" + d.Encoded() + "/data", strings.TrimPrefix(filepath.Dir(f.data(d)), f.root+"/") + "/stray",
		repositoriesDir + "/stray", repositoriesDir + "/_stray/stray", repositoriesDir + "/app/_stray/stray", repositoriesDir + "/app/_layers/stray",
		repositoriesDir + "/app/_layers/sha256/stray/link", repositoriesDir + "/app/_manifests/stray", repositoriesDir + "/app/_manifests/tags/stray",
		repositoriesDir + "/app/_manifests/revisions/md5/d41d8cd98f00b204e9800998ecf8427e/link",
	}
	for _, name := range foreign {
		f.write(name, "foreign")
	}
	g.Expect(os.Symlink("loop", filepath.Join(f.root, repositoriesDir, "loop"))).To(Succeed())
	g.Expect(os.Symlink("/", filepath.Join(f.root, repositoriesDir, "app/outside"))).To(Succeed())
	g.Expect(os.Chmod(filepath.Join(f.root, "lost+found"), 0)).To(Succeed())
	f.reopen()
	g.Expect(os.Chmod(filepath.Join(f.root, "lost+found"), 0o700)).To(Succeed())
	g.Expect(f.Used()).To(Equal(int64(kib)))
	g.Expect(f.read(d)).To(Succeed())
	_, _, ok := f.Resolve("app", "latest")
	g.Expect(ok).To(BeTrue())
	g.Expect(f.tree()).To(ContainElements(foreign))

	f.Upkeep(time.Now().Add(2*time.Hour), false)
	g.Expect(f.tree()).To(ContainElements(foreign))
	g.Expect(f.Used()).To(BeZero())
	_, err := os.Lstat(f.data(d))
	g.Expect(err).To(MatchError(os.ErrNotExist))
}

func TestATagIsKnownWithTheTimeOfItsCheckAfterAKill(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	d := f.put("a", kib)
	g.Expect(f.Tag("app", "latest", d)).To(Succeed())
	link := filepath.Join(f.root, repositoriesDir, "app/_manifests/tags/latest/current/link")
	long := time.Now().Add(-time.Hour).Truncate(time.Second)
	g.Expect(os.Chtimes(link, long, long)).To(Succeed())
	f.reopen()
	_, checked, ok := f.Resolve("app", "latest")
	g.Expect(ok).To(BeTrue())
	g.Expect(checked).To(BeTemporally("==", long))
	before := time.Now()
	g.Expect(f.Tag("app", "latest", d)).To(Succeed())
	_, now, _ := f.Resolve("app", "latest")
	g.Expect(now).To(BeTemporally(">=", before))
	f.reopen()
	_, checked, _ = f.Resolve("app", "latest")
	g.Expect(checked).To(BeTemporally("==", now))
}

// FuzzOpenStore puts anything where a store has links and blobs.
func FuzzOpenStore(f *testing.F) {
	right := []byte("content")
	for _, seed := range []string{string(digest.FromBytes(right)), "sha256:" + strings.Repeat("0", 64), "sha512:../../../x", "", "\x00", strings.Repeat("a", 1000)} {
		f.Add([]byte(seed), right, "latest")
		f.Add([]byte(seed), []byte(seed), "..")
	}
	f.Fuzz(func(t *testing.T, link, data []byte, tag string) {
		root := t.TempDir()
		d := digest.FromBytes(right)
		place := func(content []byte, parts ...string) {
			name := filepath.Join(append([]string{root, "docker/registry/v2"}, parts...)...)
			if strings.HasPrefix(name, root+"/") && os.MkdirAll(filepath.Dir(name), 0o700) == nil {
				_ = os.WriteFile(name, content, 0o600)
			}
		}
		place(data, "blobs/sha256", d.Encoded()[:2], d.Encoded(), "data")
		place(link, "repositories/app/_layers/sha256", d.Encoded(), "link")
		place(link, "repositories/app/_manifests/revisions/sha256", d.Encoded(), "link")
		place(link, "repositories/app/_manifests/tags", tag, "current/link")
		place(link, "repositories", tag, "_manifests/tags/latest/current/link")
		place(link, "repositories/app/_manifests/tags", tag, "index/sha256", d.Encoded(), "link")
		s, err := store.Open(store.Options{Root: root, MaxSize: 1 << 20, HighWatermark: 80, LowWatermark: 50, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if got, _, ok := s.Resolve("app", tag); ok && (string(got) != string(link) || got != d) {
			t.Errorf("tag %q means %q, its link says %q", tag, got, link)
		}
		if err := readBlob(t, s, d); (err == nil) != (string(data) == string(right)) || err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q: %v", data, err)
		}
		s.Upkeep(time.Now().Add(2*time.Hour), false)
		if err := s.Inconsistency(); err != nil || s.Used() != 0 {
			t.Error(s.Used(), err)
		}
	})
}

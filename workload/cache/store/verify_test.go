package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/opencontainers/go-digest"
)

// damage changes one bit, and leaves the size.
func damage(t *testing.T, name string) {
	t.Helper()
	g := NewWithT(t)
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	g.Expect(err).NotTo(HaveOccurred())
	one := make([]byte, 1)
	_, err = file.ReadAt(one, 500)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = file.WriteAt([]byte{one[0] ^ 4}, 500)
	g.Expect(errors.Join(err, file.Close())).To(Succeed())
}

func TestAWrongFileIsFoundRemovedAndCanBeStoredAgain(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, data string){
		"truncated":  func(t *testing.T, data string) { NewWithT(t).Expect(os.Truncate(data, 600)).To(Succeed()) },
		"bitflipped": damage,
		"emptied":    func(t *testing.T, data string) { NewWithT(t).Expect(os.Truncate(data, 0)).To(Succeed()) },
		"missing":    func(t *testing.T, data string) { NewWithT(t).Expect(os.Remove(data)).To(Succeed()) },
		"a directory": func(t *testing.T, data string) {
			NewWithT(t).Expect(errors.Join(os.Remove(data), os.MkdirAll(data+"/inside", 0o700))).To(Succeed())
		},
		"a link to another file": func(t *testing.T, data string) {
			NewWithT(t).Expect(errors.Join(os.Rename(data, data+".other"), os.Symlink(data+".other", data))).To(Succeed())
		},
		"replaced by one of the same size": func(t *testing.T, data string) {
			NewWithT(t).Expect(errors.Join(os.Remove(data), os.WriteFile(data, bytes.Repeat([]byte("x"), kib), 0o600))).To(Succeed())
		},
	} {
		for when, reopen := range map[string]bool{"while it runs": false, "while it was closed": true} {
			t.Run(name+" "+when, func(t *testing.T) {
				g := NewWithT(t)
				f := newStore(t)
				d := f.put("a", kib)
				g.Expect(f.LinkLayer("app", d)).To(Succeed())
				g.Expect(f.LinkManifest("app", d)).To(Succeed())
				g.Expect(f.Tag("app", "latest", d)).To(Succeed())
				g.Expect(f.read(d)).To(Succeed())
				spoil(t, f.data(d))
				if reopen {
					f.reopen()
				}

				g.Expect(f.read(d)).To(MatchError(fs.ErrNotExist))
				g.Expect(f.holds(d)).To(BeFalse())
				g.Expect(f.HasManifest("app", d)).To(BeFalse())
				_, _, ok := f.Resolve("app", "latest")
				g.Expect(ok).To(BeFalse())
				g.Expect(f.tree()).NotTo(ContainElement(Or(HaveSuffix("/link"), HaveSuffix("/data"))))
				g.Expect(f.Used()).To(BeZero())

				f.put("a", kib)
				g.Expect(f.read(d)).To(Succeed())
				g.Expect(f.Inconsistency()).To(Succeed())
			})
		}
	}
}

func TestAWrongFileThatTheStoreFindsInItsWayIsReplaced(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	d := f.put("a", kib)
	damage(t, f.data(d))
	f.reopen()
	f.put("a", kib)
	g.Expect(f.read(d)).To(Succeed())

	b := content("b", kib)
	g.Expect(os.MkdirAll(f.data(digest.FromBytes(b))+"/inside", 0o700)).To(Succeed())
	g.Expect(f.read(f.put("b", kib))).To(Succeed())
}

func TestAnEmptyBlobIsRight(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	d := f.put("empty", 0)
	g.Expect(f.read(d)).To(Succeed())
	f.reopen()
	g.Expect(f.read(d)).To(Succeed())
}

// bytesRead is what this process has read so far.
func bytesRead(t *testing.T) int {
	t.Helper()
	g := NewWithT(t)
	stat, err := os.ReadFile("/proc/self/io")
	g.Expect(err).NotTo(HaveOccurred())
	n, err := strconv.Atoi(string(regexp.MustCompile(`rchar: (\d+)`).FindSubmatch(stat)[1]))
	g.Expect(err).NotTo(HaveOccurred())
	return n
}

func TestManyWhoOpenABlobAtOnceWaitForOneHashing(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	const size = 32 << 20
	f.options.MaxSize = 4 * size
	f.reopen()
	d := f.put("large", size)
	f.reopen()

	openAll := func() int {
		before := bytesRead(t)
		var openers sync.WaitGroup
		results := make(chan error, 20)
		for range 20 {
			openers.Go(func() {
				blob, err := f.Open(t.Context(), d)
				if err == nil {
					err = blob.Close()
				}
				results <- err
			})
		}
		openers.Wait()
		close(results)
		for err := range results {
			g.Expect(err).NotTo(HaveOccurred())
		}
		return bytesRead(t) - before
	}
	g.Expect(openAll()).To(And(BeNumerically(">=", size), BeNumerically("<", size*3/2)))
	g.Expect(openAll()).To(BeNumerically("<", size/2), "it is known to be right")
}

func TestOneWhoDoesNotWaitForTheHashingDoesNotStopIt(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	d := f.put("a", 40*kib)
	f.reopen()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.Open(ctx, d)
	g.Expect(err).To(Or(Succeed(), MatchError(context.Canceled)))
	g.Expect(f.read(d)).To(Succeed())
}

// What cannot be opened now may be right: a process may have too many files open.
func TestABlobThatCannotBeOpenedForNowIsKept(t *testing.T) {
	g := NewWithT(t)
	if rerun(t, "TestABlobThatCannotBeOpenedForNowIsKept") {
		return
	}
	f := newStore(t)
	d := f.put("a", kib)
	restore := exhaustFiles(t)
	_, err := f.Open(t.Context(), d)
	restore()
	g.Expect(err).To(HaveOccurred())
	g.Expect(errors.Is(err, fs.ErrNotExist)).To(BeFalse(), fmt.Sprint(err))
	g.Expect(f.read(d)).To(Succeed())
}

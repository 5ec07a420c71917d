package store_test

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/store"
)

const rerunVariable = "STORE_TEST_IN_ITS_OWN_PROCESS"

// rerun runs a test in a process of its own, whose limits it may change. It returns false in that process.
func rerun(t *testing.T, test string) bool {
	t.Helper()
	if os.Getenv(rerunVariable) == test {
		return false
	}
	command := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.v")
	command.Env = append(os.Environ(), rerunVariable+"="+test)
	output, err := command.CombinedOutput()
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), string(output))
	NewWithT(t).Expect(string(output)).To(ContainSubstring("--- PASS: " + test))
	return true
}

func limit(t *testing.T, resource int, current uint64) (restore func()) {
	t.Helper()
	var before unix.Rlimit
	g := NewWithT(t)
	g.Expect(unix.Getrlimit(resource, &before)).To(Succeed())
	g.Expect(unix.Setrlimit(resource, &unix.Rlimit{Cur: current, Max: before.Max})).To(Succeed())
	return func() { g.Expect(unix.Setrlimit(resource, &before)).To(Succeed()) }
}

// exhaustFiles lets this process open no more files.
func exhaustFiles(t *testing.T) (restore func()) {
	t.Helper()
	return limit(t, unix.RLIMIT_NOFILE, 0)
}

func TestAWriteThatTheFileSystemRefusesIsNotStoredAndWhatWasAcceptedIsReadable(t *testing.T) {
	if rerun(t, "TestAWriteThatTheFileSystemRefusesIsNotStoredAndWhatWasAcceptedIsReadable") {
		return
	}
	g := NewWithT(t)
	f := newStore(t)
	other := f.put("other", 10*kib)
	b := content("large", 60*kib)
	signal.Ignore(syscall.SIGXFSZ)
	restore := limit(t, unix.RLIMIT_FSIZE, 33*kib)
	defer restore()

	w, err := f.Create(digest.FromBytes(b), int64(len(b)))
	g.Expect(err).NotTo(HaveOccurred())
	var accepted int
	for chunk := range slices.Chunk(b, 10*kib) {
		var n int
		n, err = w.Write(chunk)
		accepted += n
		if err != nil {
			break
		}
	}
	g.Expect(err).To(And(MatchError(store.ErrNotStored), MatchError(unix.EFBIG)))
	g.Expect(accepted).To(Equal(33 * kib))
	g.Expect(f.holds(other)).To(BeTrue(), "without it the file could not be larger")

	r, err := w.Reader()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(io.ReadAll(r)).To(Equal(b[:accepted]))
	w.Cancel()
	_, err = r.Seek(0, io.SeekStart)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(io.ReadAll(r)).To(Equal(b[:accepted]))
	g.Expect(r.Close()).To(Succeed())
	g.Expect(f.tree()).To(ConsistOf(HaveSuffix("/data"), "pullthrough-uploads/"))
	g.Expect(f.Inconsistency()).To(Succeed())

	_ = limit(t, unix.RLIMIT_FSIZE, 0)
	g.Expect(f.LinkLayer("app", other)).To(MatchError(store.ErrNotStored))
	g.Expect(f.Tag("app", "latest", other)).To(MatchError(store.ErrNotStored))
	f.Upkeep(time.Now(), true) // scheduler-state.json
	g.Expect(f.read(other)).To(Succeed())
	g.Expect(f.tree()).To(ConsistOf(HaveSuffix("/data"), "pullthrough-uploads/"))
}

func TestAReaderFollowsTheWriterAndStaysValid(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	b := content("a", 30*kib)
	d := digest.FromBytes(b)
	w, err := f.Create(d, int64(len(b)))
	g.Expect(err).NotTo(HaveOccurred())
	early, err := w.Reader()
	g.Expect(err).NotTo(HaveOccurred())
	var read []byte
	for chunk := range slices.Chunk(b, 7*kib) {
		_, err := w.Write(chunk)
		g.Expect(err).NotTo(HaveOccurred())
		more, err := io.ReadAll(early)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(more).To(Equal(chunk))
		read = append(read, more...)
	}
	g.Expect(read).To(Equal(b))
	g.Expect(f.holds(d)).To(BeFalse())
	g.Expect(w.Commit()).To(Succeed())
	w.Cancel()
	g.Expect(f.read(d)).To(Succeed())

	late, err := w.Reader()
	g.Expect(err).NotTo(HaveOccurred())
	f.Upkeep(time.Now().Add(2*time.Hour), false)
	g.Expect(f.holds(d)).To(BeFalse())
	for _, r := range []*os.File{early, late} {
		_, err = r.Seek(0, io.SeekStart)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(io.ReadAll(r)).To(Equal(b))
		g.Expect(r.Close()).To(Succeed())
	}
	_, err = w.Reader()
	g.Expect(err).To(MatchError(fs.ErrNotExist))
}

func TestContentThatIsNotWhatItsDigestSaysIsNotStored(t *testing.T) {
	for name, written := range map[string]string{"other": "othes", "short": "othe", "long": "other.", "empty": ""} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := newStore(t)
			d := digest.SHA512.FromString("expected")
			w, err := f.Create(d, 5)
			g.Expect(err).NotTo(HaveOccurred())
			_, err = w.Write([]byte(written))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(w.Commit()).To(MatchError(store.ErrDigest))
			g.Expect(w.Commit()).To(MatchError(store.ErrNotStored))
			_, err = w.Write([]byte("more"))
			g.Expect(err).To(MatchError(store.ErrNotStored))
			_, err = w.Reader()
			g.Expect(err).To(MatchError(fs.ErrNotExist))
			g.Expect(f.holds(d)).To(BeFalse())
			g.Expect(f.tree()).To(ConsistOf("pullthrough-uploads/"))
			g.Expect(f.Inconsistency()).To(Succeed())
		})
	}
}

// Without a size, or with a wrong one, the limit holds nevertheless.
func TestABlobThatIsLargerThanAnnouncedStaysWithinTheLimit(t *testing.T) {
	for name, size := range map[string]int64{"unknown": -1, "wrong": 1 * kib} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := newStore(t)
			old := f.put("old", 30*kib)
			b := content("large", 90*kib)
			w, err := f.Create(digest.FromBytes(b), size)
			g.Expect(err).NotTo(HaveOccurred())
			n, err := w.Write(b[:50*kib])
			g.Expect(n, err).To(Equal(50 * kib))
			g.Expect(f.holds(old)).To(BeTrue())
			n, err = w.Write(b[50*kib : 60*kib])
			g.Expect(n, err).To(Equal(10 * kib))
			g.Expect(f.holds(old)).To(BeFalse())
			g.Expect(f.Taken()).To(Equal(int64(60 * kib)))
			n, err = w.Write(b[60*kib:])
			g.Expect(err).To(MatchError(store.ErrNotStored))
			g.Expect(n).To(BeZero())
			w.Cancel()
			g.Expect(f.Taken()).To(BeZero())
			g.Expect(f.Inconsistency()).To(Succeed())
		})
	}
}

func TestStoringABlobAgainRenewsItAndKeepsItsLinks(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	d := f.put("a", kib)
	g.Expect(f.LinkManifest("app", d)).To(Succeed())
	f.storedAt(d, time.Now().Add(-2*time.Hour))
	f.reopen()
	blob, err := f.Open(t.Context(), d)
	g.Expect(err).NotTo(HaveOccurred())
	f.put("a", kib)
	g.Expect(blob.Close()).To(Succeed())
	f.Upkeep(time.Now(), false)
	g.Expect(f.HasManifest("app", d)).To(BeTrue())
	g.Expect(f.Used()).To(Equal(int64(kib)))
	g.Expect(f.Inconsistency()).To(Succeed())
}

func TestWhatHasNoPlaceInTheLayoutIsRefused(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	d := f.put("a", kib)
	before := f.tree()
	for _, name := range []string{"", ".", "..", "../a", "/a", "a/", "a//b", "a/../b", "a/./b", "_layers", "a/_layers", "a\x00b"} {
		g.Expect(f.LinkLayer(name, d)).To(MatchError(store.ErrNotStored), "%q", name)
		g.Expect(f.LinkManifest(name, d)).To(MatchError(store.ErrNotStored), "%q", name)
		g.Expect(f.Tag(name, "latest", d)).To(MatchError(store.ErrNotStored), "%q", name)
	}
	for _, name := range []string{"", ".", "..", "a/b", "/", "a\x00"} {
		g.Expect(f.Tag("app", name, d)).To(MatchError(store.ErrNotStored), "%q", name)
	}
	for _, bad := range []digest.Digest{
		"", ":", "sha256:", "sha256:..", "sha256:/../..", "md5:d41d8cd98f00b204e9800998ecf8427e", digest.SHA384.FromString("a"),
		digest.Digest("sha256:" + d.Encoded()[1:]), digest.Digest(d.Algorithm().String() + ":" + string(bytes.ToUpper([]byte(d.Encoded())))),
	} {
		_, err := f.Create(bad, 1)
		g.Expect(err).To(And(MatchError(store.ErrNotStored), MatchError(ContainSubstring("sha256 and sha512"))), "%q", bad)
		_, err = f.Open(t.Context(), bad)
		g.Expect(err).To(MatchError(fs.ErrNotExist), "%q", bad)
		g.Expect(f.LinkLayer("app", bad)).To(MatchError(store.ErrNotStored), "%q", bad)
		g.Expect(f.Tag("app", "latest", bad)).To(MatchError(store.ErrNotStored), "%q", bad)
	}
	absent := digest.FromString("absent")
	g.Expect(f.LinkLayer("app", absent)).To(MatchError(store.ErrNotStored))
	g.Expect(f.Tag("app", "latest", absent)).To(MatchError(store.ErrNotStored))
	g.Expect(f.tree()).To(Equal(before))
}

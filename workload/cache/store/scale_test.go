package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/opencontainers/go-digest"
)

// A large cache: 3,000 blobs, each a layer of three repositories.
func TestALargeStoreOpensAndShrinksInSeconds(t *testing.T) {
	g := NewWithT(t)
	f := newStore(t)
	const blobs, repositories = 3_000, 3
	for i := range blobs {
		value := fmt.Sprintf("%08d", i)
		d := digest.FromString(value)
		lay(t, f.data(d), value)
		for r := range repositories {
			name := fmt.Sprint(repositoriesDir, "/group-", (i+r)%50, "/app/_layers/sha256/", d.Encoded(), "/link")
			lay(t, filepath.Join(f.root, name), string(d))
		}
	}

	f.options.MaxSize = 1 << 20
	started := time.Now()
	f.reopen()
	g.Expect(time.Since(started)).To(BeNumerically("<", 20*time.Second))
	t.Logf("opened in %s", time.Since(started))
	g.Expect(f.Used()).To(Equal(int64(blobs * 8)))

	f.options.MaxSize = blobs * 4
	f.reopen()
	started = time.Now()
	f.Upkeep(time.Now(), true)
	g.Expect(time.Since(started)).To(BeNumerically("<", 60*time.Second))
	t.Logf("evicted %d blobs in %s", blobs-f.Used()/8, time.Since(started))
	g.Expect(f.Used()).To(Equal(int64(blobs * 2)))
	g.Expect(f.Inconsistency()).To(Succeed())
}

// lay makes a file with all that leads to it, without asking what is there.
func lay(t *testing.T, name, value string) {
	err := os.Mkdir(filepath.Dir(name), 0o755)
	if os.IsNotExist(err) {
		err = os.MkdirAll(filepath.Dir(name), 0o755)
	}
	if err == nil {
		err = os.WriteFile(name, []byte(value), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

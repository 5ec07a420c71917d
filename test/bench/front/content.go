package front

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Content is a blob or a manifest: bytes with a digest.
type Content struct {
	Digest digest.Digest
	Size   int64
	bytes  io.ReaderAt
}

// Bytes is the content that consists of these bytes.
func Bytes(content []byte) Content {
	return Content{Digest: digest.FromBytes(content), Size: int64(len(content)), bytes: bytes.NewReader(content)}
}

// Random is incompressible content that follows from its seed and needs no memory. It is hashed once, here.
func Random(seed string, size int64) (Content, error) {
	c := Content{Size: size, bytes: newRule(seed)}
	d, err := digest.FromReader(c.Reader())
	if err != nil {
		return c, fmt.Errorf("hashing the content of %s: %w", seed, err)
	}
	c.Digest = d
	return c, nil
}

// Reader reads the content from its start.
func (c Content) Reader() io.ReadSeeker { return io.NewSectionReader(c.bytes, 0, c.Size) }

// poolSize is the period of generated content, bytes. What differs between two contents are head and offset.
const poolSize = 16 << 20

var pool = sync.OnceValue(func() []byte {
	content := make([]byte, poolSize)
	_, _ = rand.NewChaCha8([sha256.Size]byte{}).Read(content) // never fails
	return content
})

// rule is endless content: the hash of a seed, followed by random bytes from somewhere.
type rule struct {
	head   [sha256.Size]byte
	offset int64
}

func newRule(seed string) rule {
	head := sha256.Sum256([]byte(seed))
	return rule{head: head, offset: int64(binary.LittleEndian.Uint64(head[:8]) % poolSize)}
}

// ReadAt implements io.ReaderAt.
func (r rule) ReadAt(p []byte, at int64) (int, error) {
	n := 0
	if at < int64(len(r.head)) {
		n = copy(p, r.head[at:])
	}
	for n < len(p) {
		n += copy(p[n:], pool()[(r.offset+at+int64(n))%poolSize:])
	}
	return n, nil
}

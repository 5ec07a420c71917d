package cloudinit

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// maxUnzipped bounds what compressed user data may become.
const maxUnzipped = 16 << 20

var errUnzipped = fmt.Errorf("the compressed user data has more than %d MiB", maxUnzipped>>20)

func zipped(data []byte) bool { return bytes.HasPrefix(data, []byte{0x1f, 0x8b}) }

// peek is the head of what was compressed, as far as it can be read.
func peek(data []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	head := make([]byte, headSize)
	n, _ := io.ReadFull(r, head)
	return head[:n]
}

func gunzip(data []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, errors.New("the user data starts like gzip and is not")
	}
	out, err := io.ReadAll(io.LimitReader(r, maxUnzipped+1))
	if err != nil {
		return nil, errors.New("the compressed user data is damaged")
	}
	if len(out) > maxUnzipped {
		return nil, errUnzipped
	}
	return out, nil
}

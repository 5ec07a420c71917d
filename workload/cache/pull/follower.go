package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/store"
)

// ahead is how far a Range request may be ahead of a transfer and still wait for it. Beyond, it is asked from the
// upstream directly: the rest of a large layer may be minutes away.
const ahead = 64 << 20

// follower reads a blob while it is transferred. It is an io.ReadSeeker for http.ServeContent, and has a faster way for the
// whole of a blob in copyTo.
type follower struct {
	ctx       context.Context
	transfers *transfers
	transfer  *transfer
	file      *os.File // nil if the store has nothing
	stored    io.Closer

	offset int64
	body   io.ReadCloser // of an own request, from offset on
}

func follow(ctx context.Context, ts *transfers, t *transfer, s *store.Store) *follower {
	file, stored := t.file(ctx, s)
	return &follower{ctx: ctx, transfers: ts, transfer: t, file: file, stored: stored}
}

// Close implements io.Closer.
func (f *follower) Close() error {
	if f.stored == nil {
		return f.leaveBody()
	}
	return errors.Join(f.stored.Close(), f.leaveBody())
}

func (f *follower) leaveBody() error {
	if f.body == nil {
		return nil
	}
	body := f.body
	f.body = nil
	return body.Close()
}

// Seek implements io.Seeker. The size must be known.
func (f *follower) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.offset
	case io.SeekEnd:
		offset += f.transfer.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seeking to byte %d of %s", offset, f.transfer.digest)
	}
	if offset != f.offset {
		f.offset = offset
		return offset, f.leaveBody()
	}
	return offset, nil
}

// Read implements io.Reader. It waits for bytes that are about to come.
func (f *follower) Read(p []byte) (int, error) {
	available, err := f.available()
	if err != nil {
		return 0, err
	}
	var n int
	if f.body != nil {
		n, err = f.body.Read(p)
	} else {
		n, err = f.file.ReadAt(p[:min(int64(len(p)), available-f.offset)], f.offset)
	}
	f.offset += int64(n)
	return n, err
}

// available returns up to which byte the file may be read, unless it has opened an own body.
func (f *follower) available() (int64, error) {
	if f.body != nil {
		return 0, nil
	}
	if f.offset <= f.transfer.position()+ahead {
		available, err := f.transfer.await(f.ctx, f.offset)
		if err != nil && !errors.Is(err, errUnstored) {
			return 0, err
		}
		if err == nil && f.file != nil {
			return available, nil
		}
	}
	if f.transfer.size >= 0 && f.offset >= f.transfer.size {
		return 0, io.EOF
	}
	return 0, f.openBody()
}

// openBody asks the upstream for what is left, or takes over what the transfer had open.
func (f *follower) openBody() error {
	if f.body = f.transfer.takeRest(f.offset); f.body != nil {
		return nil
	}
	body, _, err := f.transfers.open(f.ctx, f.transfer, f.offset)
	f.body = body
	return err
}

// copyTo writes the whole blob, from the file without copying it through this process where w allows that.
func (f *follower) copyTo(w io.Writer) error {
	for {
		available, err := f.available()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case f.body != nil:
			return f.copyBody(w)
		}
		if _, err := f.file.Seek(f.offset, io.SeekStart); err != nil {
			return err
		}
		n, err := io.CopyN(w, f.file, available-f.offset)
		f.offset += n
		if err != nil {
			return err
		}
	}
}

// copyBody writes what comes straight from the upstream. If that is the whole blob, its last byte is kept back until its
// digest was checked.
func (f *follower) copyBody(w io.Writer) error {
	size := f.transfer.size
	if f.offset > 0 || size <= 0 {
		n, err := io.Copy(w, f.body)
		f.offset += n
		return complete(f.offset, size, err)
	}
	verifier := f.transfer.digest.Verifier()
	n, err := io.CopyN(io.MultiWriter(w, verifier), f.body, size-1)
	f.offset += n
	if err != nil {
		return complete(f.offset, size, err)
	}
	last := make([]byte, 1)
	if _, err := io.ReadFull(f.body, last); err != nil {
		return err
	}
	_, _ = verifier.Write(last)
	if !verifier.Verified() {
		return fmt.Errorf("%s: %w", f.transfer.digest, store.ErrDigest)
	}
	_, err = w.Write(last)
	return err
}

func complete(n, size int64, err error) error {
	if (err == nil || errors.Is(err, io.EOF)) && size >= 0 && n != size {
		return io.ErrUnexpectedEOF
	}
	return err
}

// remembered keeps the error of a read, which http.ServeContent drops.
type remembered struct {
	io.ReadSeeker
	err error
}

// Read implements io.Reader.
func (s *remembered) Read(p []byte) (int, error) {
	n, err := s.ReadSeeker.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

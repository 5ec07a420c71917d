package store

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

func (s *Store) temporaryPath() string { return s.path(temporaryDir, rand.Text()) }

// createTemporary opens a new file for writing, outside of distribution's layout.
func (s *Store) createTemporary() (*os.File, error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	file, err := os.OpenFile(s.temporaryPath(), flags, fileMode)
	if !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	if err := os.MkdirAll(s.path(temporaryDir), dirMode); err != nil {
		return nil, err
	}
	return os.OpenFile(s.temporaryPath(), flags, fileMode)
}

// replaceFile writes a file as a whole: nobody sees a part of it.
func (s *Store) replaceFile(name string, content []byte) (err error) {
	file, err := s.createTemporary()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	_, err = file.Write(content)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), dirMode); err != nil {
		return err
	}
	return os.Rename(file.Name(), name)
}

// omit leaves a time of a file as it is.
var omit = unix.Timespec{Nsec: unix.UTIME_OMIT}

func timespec(t time.Time) unix.Timespec { return unix.NsecToTimespec(t.UnixNano()) }

func setTimes(name string, accessed, modified unix.Timespec) error {
	return unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{accessed, modified}, unix.AT_SYMLINK_NOFOLLOW)
}

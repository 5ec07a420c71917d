package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// volume is a file system in memory that a store lies on, alone or not.
type volume struct {
	path     string
	capacity int64 // bytes
}

// newVolume mounts a volume; close it.
func (l *lab) newVolume(name string, capacity int64) (*volume, error) {
	v := &volume{path: filepath.Join(l.dir, "volume-"+name), capacity: capacity}
	if err := os.Mkdir(v.path, 0o755); err != nil {
		return nil, fmt.Errorf("making a volume: %w", err)
	}
	if err := syscall.Mount("tmpfs", v.path, "tmpfs", 0, fmt.Sprintf("size=%d", capacity)); err != nil {
		return nil, fmt.Errorf("mounting a volume: %w", err)
	}
	return v, nil
}

func (v *volume) close() {
	if err := errors.Join(syscall.Unmount(v.path, syscall.MNT_DETACH), os.Remove(v.path)); err != nil {
		progress("removing a volume: %v", err)
	}
}

func (v *volume) used() int64 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(v.path, &s); err != nil {
		return 0
	}
	return int64(s.Blocks-s.Bfree) * s.Bsize
}

// watch returns the highest usage until ctx ends, bytes.
func (v *volume) watch(ctx context.Context) <-chan int64 {
	result := make(chan int64, 1)
	go func() {
		var highest int64
		repeat(ctx, 5*time.Millisecond, func() { highest = max(highest, v.used()) })
		result <- highest
	}()
	return result
}

// fill is somebody else who takes all space that there is, again and again, until ctx ends.
func (v *volume) fill(ctx context.Context) (<-chan struct{}, error) {
	file, err := os.Create(filepath.Join(v.path, "somebody-else"))
	if err != nil {
		return nil, fmt.Errorf("filling a volume: %w", err)
	}
	chunk := make([]byte, 64<<10)
	writeAll := func() {
		for {
			if _, err := file.Write(chunk); err != nil {
				return
			}
		}
	}
	writeAll()
	ended := make(chan struct{})
	go func() {
		repeat(ctx, 5*time.Millisecond, writeAll)
		_ = file.Close()
		close(ended)
	}()
	return ended, nil
}

// repeat calls do at once and at each interval, until ctx ends.
func repeat(ctx context.Context, interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		do()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

package main

import "time"

// scale is how much is measured. Sizes are in bytes.
type scale struct {
	clients   int // b1
	layers    int
	layerSize int64
	patience  time.Duration

	rounds    int // b2, of each program, taking turns
	parallel  int
	blobSize  int64
	followers int // b3, requests after the first one

	giveUp time.Duration // b3, b4, b6: patience with one request of the stock registry
	kills  int           // b4

	volume      int64 // b5
	blobs       int
	smallest    int64
	largest     int64
	pulls       int
	afterFilled int

	hugeBlob int64 // b7
}

var (
	full = scale{
		clients: 50, layers: 10, layerSize: 20 * megabyte, patience: 10 * time.Minute,
		rounds: 3, parallel: 200, blobSize: 100 * megabyte,
		followers: 3, giveUp: 40 * time.Second, kills: 200,
		volume: 500 * megabyte, blobs: 400, smallest: megabyte, largest: 9 * megabyte, pulls: 10_000, afterFilled: 1000,
		hugeBlob: 5 * gigabyte,
	}
	quick = scale{
		clients: 50, layers: 10, layerSize: 1 * megabyte, patience: 30 * time.Second,
		rounds: 3, parallel: 50, blobSize: 10 * megabyte,
		followers: 1, giveUp: 16 * time.Second, kills: 20,
		volume: 50 * megabyte, blobs: 400, smallest: 100 * kilobyte, largest: 900 * kilobyte, pulls: 1000, afterFilled: 200,
		hugeBlob: 200 * megabyte,
	}
)

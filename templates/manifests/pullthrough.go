package manifests

import (
	"time"

	addonsv1 "github.com/capi-registry-cache/capi-registry-cache/api/v1alpha1"
)

const (
	// defaultHighWatermark is that of the API, for values without one.
	defaultHighWatermark = 85
	// watermarkGap is how much below the high watermark eviction ends, in percent, so that not every blob evicts one.
	watermarkGap = 5
	// lameduck is how long a cache serves on while nodes take their hosts.toml away: they probe every five seconds, twice before they do.
	lameduck = 8 * time.Second
)

// pullthroughConfig is the section of the file that only our image knows (docs/cache.md).
type pullthroughConfig struct {
	HTTP            httpOptions `yaml:"http"`
	RevalidateAfter string      `yaml:"revalidateafter"`
	Storage         storeLimits `yaml:"storage"`
	// Upstream is with what the upstream is asked.
	Upstream accessConfig `yaml:"upstream,omitempty"`
}

// httpOptions: with Cleartext plain HTTP is answered beside TLS.
type httpOptions struct {
	Cleartext bool   `yaml:"cleartext"`
	Lameduck  string `yaml:"lameduck"`
}

type storeLimits struct {
	MaxSize              int64 `yaml:"maxsize,omitempty"`
	HighWatermarkPercent int32 `yaml:"highwatermarkpercent"`
	LowWatermarkPercent  int32 `yaml:"lowwatermarkpercent"`
}

// pullthrough is there for a stock registry too, which reads past it: the image may be ours by another name.
func pullthrough(v Values) pullthroughConfig {
	high := v.HighWatermarkPercent
	if high == 0 {
		high = defaultHighWatermark
	}
	return pullthroughConfig{
		HTTP:            httpOptions{Cleartext: v.Certified(), Lameduck: lameduck.String()},
		RevalidateAfter: v.RevalidateAfter.String(),
		Storage:         storeLimits{MaxSize: maxSize(v), HighWatermarkPercent: high, LowWatermarkPercent: high - watermarkGap},
		Upstream:        access(v),
	}
}

// maxSize is 0 where the file system tells how much may be stored. That of an EmptyDir is the disk of the node: the kubelet
// counts, and evicts a Pod that is above the limit.
func maxSize(v Values) int64 {
	if v.Volume.Type != addonsv1.EmptyDirVolume {
		return 0
	}
	size := volumeSize(v)
	return size.Value()
}

package webhooks

import (
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
)

const (
	// DefaultMaxBytes is what fits into a Secret.
	DefaultMaxBytes = corev1.MaxSecretSize
	// DefaultWarnBytes is the limit of user data on EC2, the smallest that is common:
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html
	DefaultWarnBytes = 16 << 10
)

// Limits are sizes of bootstrap data in bytes.
type Limits struct {
	// MaxBytes is the size that data may have after injection. What would be larger is passed through unchanged.
	MaxBytes int
	// WarnBytes is a size that data may have after injection without being told of; 0 or less: any.
	WarnBytes int
}

// AddFlags adds a flag for each limit.
func (l *Limits) AddFlags(fs *pflag.FlagSet) {
	fs.IntVar(&l.MaxBytes, "bootstrap-data-max-bytes", DefaultMaxBytes,
		"Size that bootstrap data may have with the caches in it. Data that would be larger is passed through unchanged.")
	fs.IntVar(&l.WarnBytes, "bootstrap-data-warn-bytes", DefaultWarnBytes,
		"Size of bootstrap data that is told in an Event when the caches take the data over it, because some clouds, such as EC2, take no more. 0 is never.")
}

// Warn tells whether injection took data from a size within WarnBytes to one over it.
func (l Limits) Warn(before, after int) bool {
	return l.WarnBytes > 0 && before <= l.WarnBytes && after > l.WarnBytes
}

// refuse tells whether data became too large. What is over the limit by itself and did not grow is no fault of ours.
func (l Limits) refuse(before, after int) bool { return after > l.MaxBytes && after > before }

// within leaves room for the other keys of a Secret: the API server refuses one that is too large as a whole, and its
// Machine would never boot (I1).
func (l Limits) within(secret *corev1.Secret) Limits {
	room := corev1.MaxSecretSize
	for key, value := range secret.Data {
		if key != valueKey {
			room -= len(value)
		}
	}
	l.MaxBytes = min(l.MaxBytes, room)
	return l
}

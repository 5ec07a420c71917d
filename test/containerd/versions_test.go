//go:build e2e

package containerd

import (
	"maps"

	. "github.com/onsi/ginkgo/v2"
)

// version of containerd.
type version struct {
	// name is that of the folder of the program, below the folder of all.
	name, program string
	major, minor  int
	labels        []any
	// refuses is a situation in which this version does not start, with or without us.
	refuses string
}

const versionsFolder = "../../bin/containerd/"

// versions are the oldest that is to be supported, the current one, and with the label slow all others.
var versions = []version{
	{name: "1.6 of Debian", program: versionsFolder + "debian/containerd", major: 1, minor: 6},
	{name: "2.4.2", program: "../../bin/kubernetes/bin/containerd", major: 2, minor: 4},
	slow("v1.7.35", 1, 7),
	slow("v2.0.14", 2, 0),
	slow("v2.1.9", 2, 1),
	slow("v2.2.9", 2, 2),
	refusing(slow("v2.3.4", 2, 3), "a drop-in of version 3, a root of 2"),
	slow("v2.3.7", 2, 3),
}

func slow(name string, major, minor int) version {
	return version{name: name, program: versionsFolder + name + "/containerd", major: major, minor: minor, labels: []any{Label("slow")}}
}

func refusing(v version, situation string) version {
	v.refuses = situation
	return v
}

// situations that this version may be in.
func (v version) situations() map[string]situation {
	all := maps.Clone(situations)
	if v.major == 1 {
		maps.Copy(all, situationsOf1)
		return all
	}
	maps.Copy(all, situationsOf2)
	if v.minor >= 2 {
		maps.Copy(all, situationsSince22)
	}
	if v.minor >= 3 {
		maps.Copy(all, situationsSince23)
	}
	delete(all, v.refuses)
	return all
}

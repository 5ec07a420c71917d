//go:build e2e

package boot

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// effects are what bootstrap data did to a machine.
type effects struct {
	// Files are all but programs and what any boot leaves, with what there is to know of them, by path.
	Files map[string]string
	// Calls of what the data calls, in order.
	Calls []call
	// Failed are the units that failed.
	Failed string
}

// call is one of a stand-in: by which service, how our unit and containerd were, and the command.
type call struct{ Service, Unit, Containerd, Command string }

// archive is everything on the disk that bootstrap data may change, and what it says of itself in /run.
const archive = `set -- .
for d in run/kubeadm run/cluster-api; do [ ! -e "$d" ] || set -- "$@" "$d"; done
exec tar -c --one-file-system --exclude=./usr/lib* --exclude=./usr/share --exclude=./usr/bin --exclude=./usr/sbin --exclude=./run \
	--exclude=./var/cache --exclude=./var/lib/dpkg --exclude=./var/log --exclude=./var/tmp --exclude=./tmp/systemd-private-* "$@"`

// volatile is what two boots of the same data do not have in common.
var volatile = regexp.MustCompile(`^(/etc/machine-id|/etc/\.updated|/etc/\.ignition-result\.json|/var/\.updated|/var/lib/(cloud|containerd|dbus|systemd)/.*)$`)

// written is what cloud-init says of when it wrote a file.
var written = regexp.MustCompile(`(?m)^# (?:Created|Added) by cloud-init .*$`)

// effects reads what became of a machine.
func (m machine) effects(ctx context.Context) effects {
	GinkgoHelper()
	return effects{
		Files:  m.files(ctx),
		Calls:  calls(m.run(ctx, "sh", "-c", "cat /var/log/calls 2>/dev/null || :")),
		Failed: m.run(ctx, "systemctl", "list-units", "--state=failed", "--plain", "--no-legend"),
	}
}

func (m machine) files(ctx context.Context) map[string]string {
	GinkgoHelper()
	files := map[string]string{}
	archived := tar.NewReader(strings.NewReader(m.run(ctx, "sh", "-c", "cd /; "+archive)))
	for {
		h, err := archived.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		Expect(err).NotTo(HaveOccurred())
		path := "/" + strings.Trim(strings.TrimPrefix(h.Name, "./"), "/")
		if volatile.MatchString(path) {
			continue
		}
		content, err := io.ReadAll(archived)
		Expect(err).NotTo(HaveOccurred())
		files[path] = describe(h, written.ReplaceAllString(string(content), ""))
	}
}

func describe(h *tar.Header, content string) string {
	return fmt.Sprintf("%s %d:%d %s\n%s", h.FileInfo().Mode(), h.Uid, h.Gid, h.Linkname, content)
}

func calls(log string) []call {
	var all []call
	for line := range strings.Lines(log) {
		words := strings.SplitN(strings.TrimSpace(line), " ", 4)
		all = append(all, call{words[0], words[1], words[2], words[3]})
	}
	return all
}

// commands are calls without the moment.
func (e effects) commands() []string {
	var all []string
	for _, c := range e.Calls {
		all = append(all, c.Service+" "+c.Command)
	}
	return all
}

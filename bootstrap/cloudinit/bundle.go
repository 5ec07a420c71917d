package cloudinit

import (
	"bytes"
	"fmt"
	"regexp"
	"sync/atomic"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// scriptName is the name of our part in a MIME message, and of the file that cloud-init makes of it. Scripts run in the
// order of their names, runcmd is one of them, and cloud-init calls those without a name part-001 and so on.
const scriptName = "0-capi-registry-cache"

var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.@-]+$`)

// bundle is our part of user data; nothing in it changes.
type bundle struct {
	unit    string
	archive []byte
	script  string // does what entry and command do
	entry   entry
	entries map[string][]string // the lines of our items of write_files and runcmd
}

// latest is the bundle that was made last, as all Machines of a cluster get the same one.
var latest atomic.Pointer[bundle]

func newBundle(files []payload.File, unit string) (*bundle, error) {
	if !unitName.MatchString(unit) {
		return nil, fmt.Errorf("unit %q: letters, digits and :_.@- are accepted", unit)
	}
	archive, err := payload.Archive(files)
	if err != nil {
		return nil, err
	}
	if b := latest.Load(); b != nil && b.unit == unit && bytes.Equal(b.archive, archive) {
		return b, nil
	}
	b := &bundle{unit: unit, archive: archive, script: payload.InstallScript(archive, unit), entry: newEntry(archive)}
	if b.entries, err = newEntries(b.entry, payload.InstallCommand(unit)); err != nil {
		return nil, err
	}
	latest.Store(b)
	return b, nil
}

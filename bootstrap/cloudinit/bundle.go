package cloudinit

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

const (
	// archivePath is where a cloud-config puts all files in one: a shell script that writes them, compressed.
	archivePath = "/etc/capi-registry-cache/install.gz"

	// scriptName is the name of our part in a MIME message, and of the file that cloud-init makes of it. Scripts run in the
	// order of their names, runcmd is one of them, and cloud-init calls those without a name part-001 and so on.
	scriptName = "0-capi-registry-cache"

	// base64Line is the length of lines of base64 in scripts and MIME bodies.
	base64Line = 76
)

// The installer writes each file beside its place and renames it. The braces make a shell read all of it before anything is
// done. New directories get the labels of the SELinux policy, as with write_files.
const (
	installerHead = payload.Marker + `
{
set -e
umask 022
cd "${CRC_ROOT:-/}"
put() {
mkdir -p "${2%/*}"
cat >"$2.tmp~"
chmod "$1" "$2.tmp~"
mv -f "$2.tmp~" "$2"
restorecon "${2%/*}" "$2" 2>/dev/null || :
}
`
	installerTail = "rm -f ." + archivePath + "\n}\n"
	heredocEnd    = "EOF\n"
)

var (
	errPath = errors.New("an absolute path without detours and line breaks is accepted")

	unitName = regexp.MustCompile(`^[A-Za-z0-9:_.@-]+$`)
)

// bundle is our part of user data; nothing in it changes.
type bundle struct {
	unit      string
	installer []byte
	archive   []byte // the installer, compressed
	entry     entry
	entries   map[string][]string // the lines of our items of write_files and runcmd
}

// latest is the bundle that was made last, as all Machines of a cluster get the same one.
var latest atomic.Pointer[bundle]

func newBundle(files []payload.File, unit string) (*bundle, error) {
	if !unitName.MatchString(unit) {
		return nil, fmt.Errorf("unit %q: letters, digits and :_.@- are accepted", unit)
	}
	installer, err := newInstaller(files)
	if err != nil {
		return nil, err
	}
	if b := latest.Load(); b != nil && b.unit == unit && bytes.Equal(b.installer, installer) {
		return b, nil
	}
	b := &bundle{unit: unit, installer: installer}
	if b.archive, err = zip(installer); err != nil {
		return nil, fmt.Errorf("compressing the files: %w", err)
	}
	b.entry = newEntry(b.archive)
	if b.entries, err = newEntries(b.entry, Command(unit)); err != nil {
		return nil, err
	}
	latest.Store(b)
	return b, nil
}

// newInstaller is the shell script that writes the files.
func newInstaller(files []payload.File) ([]byte, error) {
	var out bytes.Buffer
	out.WriteString(installerHead)
	for _, f := range files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || strings.ContainsAny(f.Path, "\r\n\x00") {
			return nil, fmt.Errorf("file %q: %w", f.Path, errPath)
		}
		out.WriteString(put(f))
	}
	out.WriteString(installerTail)
	return out.Bytes(), nil
}

// put is the command that writes a file: its text as it is, anything else as base64.
func put(f payload.File) string {
	command := fmt.Sprintf("put %04o '.%s'", f.Mode.Perm(), strings.ReplaceAll(f.Path, "'", `'\''`))
	if text := string(f.Content); verbatim(text) {
		return command + " <<'EOF'\n" + text + heredocEnd
	}
	return "base64 -d <<'EOF' | " + command + "\n" + wrapped(f.Content) + heredocEnd
}

// verbatim tells whether a here-document gives exactly this text.
func verbatim(text string) bool {
	return strings.HasSuffix(text, "\n") && !strings.Contains(text, "\x00") && !strings.Contains("\n"+text, "\n"+heredocEnd)
}

// wrapped is data in base64, in lines.
func wrapped(data []byte) string {
	var out strings.Builder
	text := base64.StdEncoding.EncodeToString(data)
	for len(text) > 0 {
		n := min(len(text), base64Line)
		out.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	return out.String()
}

// Command is the runcmd entry that puts the files in place and starts a unit. It waits until the unit's ExecStartPre is
// through, which the unit bounds: that may restart containerd, and kubeadm must find it up. It never fails, as a failing
// runcmd fails a Machine.
func Command(unit string) string {
	return "gzip -dc " + archivePath + " | /bin/sh && " + start(unit)
}

// start is what bootstrap templates that name our files themselves run, and what ran before there was an archive.
func start(unit string) string {
	return "systemctl enable --now " + unit + " || true"
}

// script does the same as the entry and the command.
func (b *bundle) script() string {
	return strings.Join([]string{
		"#!/bin/sh",
		payload.Marker,
		"base64 -d <<'EOF' | gzip -dc | /bin/sh && " + start(b.unit),
		wrapped(b.archive) + heredocEnd,
	}, "\n")
}

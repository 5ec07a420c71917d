package payload

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"
	"sync/atomic"
)

// ArchivePath is where user data puts all files in one: a shell script that writes them, compressed. It removes itself.
const ArchivePath = stateDir + "/install.gz"

// Lengths of lines of base64, multiples of 4: of an encoded part of a MIME message (RFC 2045), and of a shell script, which may
// be a part as it is (998 characters, RFC 5322).
const (
	MIMELine  = 76
	ShellLine = 996
)

// The installer writes each file beside its place and renames it. The braces make a shell read all of it before anything is
// done. New directories get the labels of the SELinux policy, as with write_files.
const (
	installerHead = Marker + `
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
	installerTail = "rm -f ." + ArchivePath + "\n}\n"
	heredocEnd    = "EOF\n"
)

var errPath = errors.New("an absolute path without detours and line breaks is accepted")

// archived is an installer and its archive.
type archived struct{ installer, archive []byte }

// latest is the archive that was made last, as all Machines of a cluster get the same one.
var latest atomic.Pointer[archived]

// Archive returns a gzip'd POSIX shell script that writes the files; the same files give the same bytes. Nobody may change
// them. An error names the file, and what is accepted.
func Archive(files []File) ([]byte, error) {
	installer, err := newInstaller(files)
	if err != nil {
		return nil, err
	}
	if a := latest.Load(); a != nil && bytes.Equal(a.installer, installer) {
		return a.archive, nil
	}
	begin := max(bytes.Index(installer, []byte("-----BEGIN ")), 0)
	archive, err := Gzip(installer[:begin], installer[begin:])
	if err != nil {
		return nil, fmt.Errorf("compressing the files: %w", err)
	}
	latest.Store(&archived{installer, archive})
	return archive, nil
}

// Packed returns two files that stand for all of them where units come with user data: the unit, which unpacks when it starts,
// and the archive of the others.
func Packed(files []File) ([]File, error) {
	packed, others := []File{}, []File{}
	for _, f := range files {
		if f.Path == unitPath {
			packed = append(packed, f)
		} else {
			others = append(others, f)
		}
	}
	archive, err := Archive(others)
	if err != nil {
		return nil, err
	}
	return append(packed, File{Path: ArchivePath, Mode: 0o644, Content: archive}), nil
}

// InstallCommand puts the files of the archive in place and starts a unit. It waits until the unit's ExecStartPre is
// through, which the unit bounds: that may restart containerd, and kubeadm must find it up. It never fails, as a failing
// command of a bootstrap fails a Machine.
func InstallCommand(unit string) string {
	return "gzip -dc " + ArchivePath + " | /bin/sh && " + StartCommand(unit)
}

// StartCommand is the InstallCommand where the files are in place.
func StartCommand(unit string) string {
	return "systemctl enable --now " + unit + " || true"
}

// InstallScript is a POSIX shell script that carries an archive and does what InstallCommand does, in fewer bytes: it goes into messages,
// which have more around it.
func InstallScript(archive []byte, unit string) string {
	return strings.Join([]string{
		"#!/bin/sh",
		Marker,
		"base64 -d <<EOF|gzip -d|sh&&systemctl enable --now " + unit + "||:",
		Base64Lines(archive, ShellLine) + heredocEnd,
	}, "\n")
}

// newInstaller is the shell script that writes the files.
func newInstaller(files []File) ([]byte, error) {
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
func put(f File) string {
	command := fmt.Sprintf("put %04o '.%s'", f.Mode.Perm(), strings.ReplaceAll(f.Path, "'", `'\''`))
	if text := string(f.Content); verbatim(text) {
		return command + " <<'EOF'\n" + text + heredocEnd
	}
	return "base64 -d <<'EOF' | " + command + "\n" + Base64Lines(f.Content, ShellLine) + heredocEnd
}

// verbatim tells whether a here-document gives exactly this text.
func verbatim(text string) bool {
	return strings.HasSuffix(text, "\n") && !strings.Contains(text, "\x00") && !strings.Contains("\n"+text, "\n"+heredocEnd)
}

// Base64Lines is data in base64, in lines of a length: MIMELine or ShellLine.
func Base64Lines(data []byte, length int) string {
	var out strings.Builder
	text := base64.StdEncoding.EncodeToString(data)
	for len(text) > 0 {
		n := min(len(text), length)
		out.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	return out.String()
}

// writers are kept, as each of them holds most of a MiB.
var writers = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(io.Discard, gzip.BestCompression) // fails for levels that do not exist
	return w
}}

// Gzip compresses without name and time, so that the same data gives the same bytes. Parts follow each other; each has codes of its
// own, which takes less where they differ much, as a script and certificates do.
func Gzip(parts ...[]byte) ([]byte, error) {
	w := writers.Get().(*gzip.Writer)
	defer writers.Put(w)
	var out bytes.Buffer
	w.Reset(&out)
	for i, part := range parts {
		if i > 0 && len(parts[i-1]) > 0 {
			if err := w.Flush(); err != nil {
				return nil, err
			}
		}
		if _, err := w.Write(part); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

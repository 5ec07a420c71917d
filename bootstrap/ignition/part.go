package ignition

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	base "github.com/coreos/butane/base/v0_1"
	"github.com/coreos/butane/config/common"
	"github.com/coreos/butane/config/fcos/v1_0"
	"github.com/coreos/ignition/v2/config/util"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

const (
	unitDir = "/etc/systemd/system/"
	root    = "root"
)

// file is a file in Ignition, as our part has it; the filesystem is for 2.x, which overwrites without being told.
type file struct {
	Filesystem string   `json:"filesystem,omitempty"`
	Path       string   `json:"path"`
	Contents   contents `json:"contents"`
	Mode       int      `json:"mode"`
	Overwrite  bool     `json:"overwrite,omitempty"`
}

type contents struct {
	Source string `json:"source"`
}

// unit is a unit in Ignition, as our part has it; Enable is for 2.0.0.
type unit struct {
	Name     string `json:"name"`
	Enabled  bool   `json:"enabled,omitempty"`
	Enable   bool   `json:"enable,omitempty"`
	Contents string `json:"contents"`
}

// part is what is ours in a config; nothing in it changes.
type part struct {
	given  []payload.File
	files  []file
	unit   unit
	marked map[string]bool // our paths, and whether what is there carries our marker
}

// latest is the part that was made last, as all Machines of a cluster get the same one.
var latest atomic.Pointer[part]

func partOf(files []payload.File, unitName string) (*part, error) {
	if p := latest.Load(); p != nil && p.unit.Name == unitName && slices.EqualFunc(p.given, files, sameFile) {
		return p, nil
	}
	p, err := newPart(files, unitName)
	if err != nil {
		return nil, err
	}
	latest.Store(p)
	return p, nil
}

func sameFile(a, b payload.File) bool {
	return a.Path == b.Path && a.Mode == b.Mode && bytes.Equal(a.Content, b.Content)
}

// newPart writes our part as Butane, and takes it as the library translates it.
func newPart(files []payload.File, unitName string) (*part, error) {
	var c v1_0.Config
	p := &part{given: slices.Clone(files), marked: map[string]bool{}}
	for _, f := range files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || strings.ContainsAny(f.Path, "\r\n\x00") {
			return nil, fmt.Errorf("file %q: %w", f.Path, errPath)
		}
		if _, twice := p.marked[f.Path]; twice {
			return nil, fmt.Errorf("file %q: stands twice, once is accepted", f.Path)
		}
		p.marked[f.Path] = marked(string(f.Content))
		if f.Path == unitDir+unitName {
			c.Systemd.Units = append(c.Systemd.Units, butaneUnit(unitName, f))
		} else {
			c.Storage.Files = append(c.Storage.Files, butaneFile(f))
		}
	}
	if len(c.Systemd.Units) == 0 {
		return nil, fmt.Errorf("unit %q: its file %s is not among the files", unitName, unitDir+unitName)
	}
	return p, p.translate(c)
}

// butaneFile is a file with its content in base64, uncompressed: Cluster API's Docker provider reads nothing else.
func butaneFile(f payload.File) base.File {
	return base.File{
		Path:      f.Path,
		Mode:      util.IntToPtr(int(f.Mode.Perm())),
		Overwrite: util.BoolToPtr(true),
		Contents:  base.FileContents{Source: util.StrToPtr("data:;base64," + base64.StdEncoding.EncodeToString(f.Content))},
	}
}

func butaneUnit(name string, f payload.File) base.Unit {
	return base.Unit{Name: name, Enabled: util.BoolToPtr(true), Contents: util.StrToPtr(string(f.Content))}
}

// translate leaves the checks to the parser of the version where our part will be.
func (p *part) translate(c v1_0.Config) error {
	out, _, rpt := c.ToIgn3_0Unvalidated(common.TranslateOptions{NoResourceAutoCompression: true})
	if len(rpt.Entries) > 0 {
		return fmt.Errorf("translating Butane: %s", rpt.String())
	}
	for _, f := range out.Storage.Files {
		p.files = append(p.files, file{
			Path: f.Path, Mode: *f.Mode, Overwrite: *f.Overwrite, Contents: contents{Source: *f.Contents.Source},
		})
	}
	u := out.Systemd.Units[0]
	p.unit = unit{Name: u.Name, Enabled: *u.Enabled, Contents: *u.Contents}
	return nil
}

// in is our part in the words of a version.
func (p *part) in(s spec) ([]file, unit) {
	files, u := slices.Clone(p.files), p.unit
	if s.v2 {
		for i := range files {
			files[i].Filesystem, files[i].Overwrite = root, false
		}
	}
	if s.enable == "enable" {
		u.Enabled, u.Enable = false, true
	}
	return files, u
}

// marked tells whether a file carries the marker in its first two lines, where all of ours that can do.
func marked(content string) bool {
	first, rest, _ := strings.Cut(content, "\n")
	second, _, _ := strings.Cut(rest, "\n")
	return first == payload.Marker || second == payload.Marker
}

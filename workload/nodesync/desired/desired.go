// Package desired is what the controller tells node-sync: one JSON document, mounted into its Pods.
package desired

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
)

// State is the desired state of a node.
type State struct {
	// Generation names the state. The unit repeats it once it has taken over.
	Generation string `json:"generation"`
	// Unit is the systemd unit whose file is among Files.
	Unit string `json:"unit"`
	// Remove asks that nothing of ours stays on the node; Files are then what the removal itself needs.
	Remove bool `json:"remove,omitempty"`
	// Files are owned by root:root. Everything else of ours is removed.
	Files []File `json:"files"`
}

// File is one file on the node.
type File struct {
	Path    string      `json:"path"`
	Mode    os.FileMode `json:"mode"`
	Content []byte      `json:"content"`
}

// New returns a state with its generation, the same one for the same content.
func New(unit string, files []File, remove bool) (State, error) {
	s := State{Unit: unit, Remove: remove, Files: files}
	content, err := json.Marshal(s)
	if err != nil {
		return State{}, fmt.Errorf("rendering the desired state: %w", err)
	}
	sum := sha256.Sum256(content)
	s.Generation = hex.EncodeToString(sum[:])[:16]
	return s, nil
}

// Encode returns the document that Load reads.
func (s State) Encode() ([]byte, error) { return json.Marshal(s) }

// Load reads a state from a file. An error names the field and what is accepted.
func Load(name string) (State, error) {
	content, err := os.ReadFile(name) //nolint:gosec // the Pod's own configuration
	if err != nil {
		return State{}, fmt.Errorf("reading the desired state: %w", err)
	}
	return Decode(content)
}

// Decode reads a state from its document.
func Decode(content []byte) (State, error) {
	var s State
	if err := json.Unmarshal(content, &s); err != nil {
		return State{}, fmt.Errorf("parsing the desired state: %w", err)
	}
	return s, s.validate()
}

func (s State) validate() error {
	if s.Generation == "" || s.Unit == "" || path.Base(s.Unit) != s.Unit {
		return fmt.Errorf("generation %q, unit %q: a name is accepted for each", s.Generation, s.Unit)
	}
	if len(s.Files) == 0 {
		return errors.New("files: none given, at least the unit and its script are accepted")
	}
	for _, f := range s.Files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Mode != f.Mode.Perm() {
			return fmt.Errorf("file %q of mode %s: an absolute path without detours and permission bits are accepted", f.Path, f.Mode)
		}
	}
	return nil
}

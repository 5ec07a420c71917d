package ignition

import (
	"errors"
	"fmt"
)

const (
	// maxSize bounds what is read, what is written, and all that is decompressed in between.
	maxSize = 16 << 20

	// maxDepth is how deep configs within configs are followed.
	maxDepth = 4
)

var (
	errForm    = errors.New("the user data is not Ignition: a JSON object with ignition.version is accepted")
	errObject  = errors.New("not an object, which alone is accepted")
	errArray   = errors.New("not an array, which alone is accepted")
	errDepth   = fmt.Errorf("configs are nested more than %d deep", maxDepth)
	errSize    = fmt.Errorf("there are more than %d MiB", maxSize>>20)
	errForeign = errors.New("the foreign part could not be shown to stay as it is")
	errOwn     = errors.New("our part would not be read as it is meant")
	errPath    = errors.New("an absolute path without detours and line breaks is accepted")
)

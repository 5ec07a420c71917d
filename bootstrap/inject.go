package bootstrap

import (
	"bytes"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/cloudinit"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/ignition"
	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// Formats that Result names.
const (
	FormatCloudConfig = "cloud-config"
	FormatIgnition    = "ignition"
	FormatGzip        = "gzip"
	FormatMIME        = "mime"
	FormatScript      = "script"
	FormatDirective   = "directive"
	FormatEmpty       = "empty"
	FormatUnknown     = "unknown"
)

// Result is what became of bootstrap data.
type Result struct {
	// Data carries the payload if Injected, otherwise it is the input.
	Data []byte
	// Injected tells that Data carries the payload, also when it did before.
	Injected bool
	// Format is the recognised one, or the hint where nothing was recognised.
	Format string
	// Reason tells why data was passed through; it quotes nothing of the data.
	Reason string
	// Files are the paths of the payload on the node, if Injected.
	Files []string
}

// Inject adds the payload to bootstrap data, or brings up to date the one that it carries (I4). The hint is the provider's
// format, such as "cloud-config" or "ignition", or empty. Inject never panics: whatever goes wrong in a parser is a
// reason to pass data through.
func Inject(data []byte, formatHint string, v payload.Values) (result Result) {
	format := recognise(data, formatHint)
	pass := func(reason string) Result { return Result{Data: data, Format: format, Reason: reason} }
	defer func() {
		if recover() != nil {
			result = pass("the parser gave up")
		}
	}()
	if v.Empty() {
		return pass("no cache and no mirror is known yet")
	}
	files, err := payload.Files(v)
	if err != nil {
		return pass(err.Error())
	}
	out, err := into(data, format, files)
	if err != nil {
		return pass(err.Error())
	}
	return Result{Data: out, Injected: true, Format: format, Files: paths(files)}
}

// into takes files to the reader of a format.
func into(data []byte, format string, files []payload.File) ([]byte, error) {
	if format != FormatIgnition {
		return cloudinit.Inject(data, files, payload.UnitName)
	}
	packed, err := payload.Packed(files)
	if err != nil {
		return nil, err
	}
	return ignition.Inject(data, packed, payload.UnitName)
}

func paths(files []payload.File) []string {
	paths := make([]string, 0, len(files))
	for _, f := range files {
		paths = append(paths, f.Path)
	}
	return paths
}

// recognise goes by the data; the hint names what nothing here reads.
func recognise(data []byte, hint string) string {
	if form := cloudinit.FormOf(data); form != cloudinit.None {
		return string(form)
	}
	head := bytes.TrimSpace(data[:min(len(data), 4096)])
	switch {
	case len(head) == 0:
		return FormatEmpty
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return FormatGzip
	case bytes.HasPrefix(head, []byte("{")):
		return FormatIgnition
	case hint != "" && hint != FormatCloudConfig && hint != FormatIgnition:
		return hint
	}
	return FormatUnknown
}

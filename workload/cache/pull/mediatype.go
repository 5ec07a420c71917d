package pull

import (
	"encoding/json"
	"net/http"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerSchema1  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// acceptManifests asks for a manifest as it is. The upstream would convert, or refuse, what is not named.
func acceptManifests() http.Header {
	types := []string{v1.MediaTypeImageManifest, v1.MediaTypeImageIndex, dockerManifest, dockerList, dockerSchema1, "*/*"}
	return http.Header{"Accept": {strings.Join(types, ", ")}}
}

// mediaType returns the media type of a manifest from its content, as distribution does: its own word, or what its fields
// tell, because OCI manifests need not have one (https://github.com/opencontainers/image-spec/blob/main/manifest.md).
func mediaType(content []byte) string {
	var m struct {
		MediaType     string          `json:"mediaType"`
		SchemaVersion int             `json:"schemaVersion"`
		Manifests     json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(content, &m); err != nil {
		return "application/octet-stream"
	}
	switch {
	case m.MediaType != "":
		return m.MediaType
	case m.SchemaVersion == 1:
		return dockerSchema1
	case m.Manifests != nil:
		return v1.MediaTypeImageIndex
	default:
		return v1.MediaTypeImageManifest
	}
}

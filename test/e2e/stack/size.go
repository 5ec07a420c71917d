package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	imagev1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Size is what a node that has nothing of the image gets when it pulls it, in bytes: manifest, configuration and layers. It asks the
// upstream for the manifest.
func (i Image) Size(ctx context.Context) (int64, error) {
	base, err := i.upstream.base(ctx)
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v2/"+i.Repository+"/manifests/"+i.Digest.String(), nil)
	if err != nil {
		return 0, fmt.Errorf("asking for the manifest of %s: %w", i.Ref(), err)
	}
	request.Header.Set("Accept", imagev1.MediaTypeImageManifest)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("asking for the manifest of %s: %w", i.Ref(), err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("asking for the manifest of %s: %s: %w", i.Ref(), response.Status, err)
	}
	manifest := imagev1.Manifest{}
	if err := json.Unmarshal(content, &manifest); err != nil {
		return 0, fmt.Errorf("reading the manifest of %s: %w", i.Ref(), err)
	}
	size := int64(len(content)) + manifest.Config.Size
	for _, layer := range manifest.Layers {
		size += layer.Size
	}
	return size, nil
}

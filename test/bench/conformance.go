package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	imagev1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/capi-registry-cache/capi-registry-cache/test/bench/client"
)

// check is one case of the specification, https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pull.
type check struct {
	name string
	run  func(context.Context, *client.Client, fixtures) error
}

var conformance = []check{
	{"GET /v2/ is answered", checkBase},
	{"HEAD of a manifest, by tag", func(ctx context.Context, c *client.Client, f fixtures) error {
		return f.manifestHeader(c.Head(ctx, f.plain.tagPath()))
	}},
	{"HEAD of a manifest, by digest", func(ctx context.Context, c *client.Client, f fixtures) error {
		return f.manifestHeader(c.Head(ctx, f.plain.digestPath()))
	}},
	{"GET of a manifest, by tag", func(ctx context.Context, c *client.Client, f fixtures) error {
		return f.manifestHeader(c.Get(ctx, f.plain.tagPath(), manifestOf(f.plain)))
	}},
	{"GET of a manifest, by digest", func(ctx context.Context, c *client.Client, f fixtures) error {
		return f.manifestHeader(c.Get(ctx, f.plain.digestPath(), manifestOf(f.plain)))
	}},
	{"HEAD of a blob", func(ctx context.Context, c *client.Client, f fixtures) error {
		return f.blobHeader(c.Head(ctx, f.plain.layerPath()))
	}},
	{"GET of a blob", func(ctx context.Context, c *client.Client, f fixtures) error {
		return f.blobHeader(c.Get(ctx, f.plain.layerPath(), layerOf(f.plain)))
	}},
	{"GET of a range of a blob", checkRange},
	{"unknown tag: 404 and an error in OCI's form", notFound(func(f fixtures) string { return "/v2/" + f.plain.repository + "/manifests/none" }, "MANIFEST_UNKNOWN")},
	{"unknown manifest digest: the same", notFound(func(f fixtures) string {
		return "/v2/" + f.plain.repository + "/manifests/" + missing.String()
	}, "MANIFEST_UNKNOWN")},
	{"unknown blob: the same", notFound(func(f fixtures) string { return "/v2/" + f.plain.repository + "/blobs/" + missing.String() }, "BLOB_UNKNOWN")},
	{"unknown repository: the same", notFound(func(fixtures) string { return "/v2/b7/nobody/manifests/v1" }, "MANIFEST_UNKNOWN", "NAME_UNKNOWN")},
	{"a bad name is refused", refused(func(fixtures) string { return "/v2/B7_BAD/manifests/v1" })},
	{"a bad blob digest is refused", refused(func(f fixtures) string { return "/v2/" + f.plain.repository + "/blobs/sha256:123" })},
	{"a bad manifest reference is refused", refused(func(f fixtures) string { return "/v2/" + f.plain.repository + "/manifests/sha256:123" })},
	{"a list of tags", checkTags},
	{"the referrers API is passed through", checkReferrers},
}

func checkBase(ctx context.Context, c *client.Client, _ fixtures) error {
	return c.Get(ctx, "/v2/", client.Expect{}).Failure()
}

// manifestHeader checks status and headers of a manifest.
func (f fixtures) manifestHeader(a client.Answer) error {
	if err := a.Failure(); err != nil {
		return err
	}
	if got := a.Header.Get("Content-Type"); got != f.plain.mediaType {
		return fmt.Errorf("Content-Type is %q instead of %q", got, f.plain.mediaType)
	}
	return header(a, f.plain.manifest.Digest.String(), f.plain.manifest.Size)
}

func (f fixtures) blobHeader(a client.Answer) error {
	if err := a.Failure(); err != nil {
		return err
	}
	return header(a, f.plain.layer().Digest.String(), f.plain.layer().Size)
}

func header(a client.Answer, digest string, size int64) error {
	if got := a.Header.Get("Docker-Content-Digest"); got != digest {
		return fmt.Errorf("Docker-Content-Digest is %q instead of %q", got, digest)
	}
	if got := a.Header.Get("Content-Length"); got != strconv.FormatInt(size, 10) {
		return fmt.Errorf("Content-Length is %q instead of %d", got, size)
	}
	return nil
}

func checkRange(ctx context.Context, c *client.Client, f fixtures) error {
	const first, last = 1000, 1999
	whole := c.Get(ctx, f.plain.layerPath(), client.Expect{Keep: true})
	a := c.Get(ctx, f.plain.layerPath(), client.Expect{Keep: true, Range: fmt.Sprintf("bytes=%d-%d", first, last)})
	if a.Failure() != nil || whole.Failure() != nil || a.Status != http.StatusPartialContent {
		return fmt.Errorf("it was answered with %s instead of 206", a)
	}
	if want := fmt.Sprintf("bytes %d-%d/%d", first, last, f.plain.layer().Size); a.Header.Get("Content-Range") != want {
		return fmt.Errorf("Content-Range is %q instead of %q", a.Header.Get("Content-Range"), want)
	}
	if string(a.Body) != string(whole.Body[first:last+1]) {
		return fmt.Errorf("other bytes came than those of the range")
	}
	return nil
}

// notFound is a case that wants 404 with one of the error codes.
func notFound(path func(fixtures) string, codes ...string) func(context.Context, *client.Client, fixtures) error {
	return func(ctx context.Context, c *client.Client, f fixtures) error {
		if a := c.Head(ctx, path(f)); a.Status != http.StatusNotFound {
			return fmt.Errorf("HEAD was answered with %s instead of 404", a)
		}
		a := c.Get(ctx, path(f), client.Expect{Keep: true})
		if a.Status != http.StatusNotFound {
			return fmt.Errorf("GET was answered with %s instead of 404", a)
		}
		return oneOf(a, codes)
	}
}

func oneOf(a client.Answer, codes []string) error {
	var body struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(a.Body, &body); err != nil {
		return fmt.Errorf("the body %q is not OCI's JSON for errors: %w", a.Body, err)
	}
	if len(body.Errors) == 0 || !slices.Contains(codes, body.Errors[0].Code) {
		return fmt.Errorf("the body %q has no error of the codes %s", a.Body, strings.Join(codes, ", "))
	}
	return nil
}

// refused is a case that wants a client's error.
func refused(path func(fixtures) string) func(context.Context, *client.Client, fixtures) error {
	return func(ctx context.Context, c *client.Client, f fixtures) error {
		if a := c.Get(ctx, path(f), client.Expect{}); a.Status < 400 || a.Status > 499 {
			return fmt.Errorf("it was answered with %s instead of 4xx", a)
		}
		return nil
	}
}

func checkTags(ctx context.Context, c *client.Client, f fixtures) error {
	a := c.Get(ctx, "/v2/"+f.plain.repository+"/tags/list", client.Expect{Keep: true})
	if err := a.Failure(); err != nil {
		return err
	}
	var list struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}
	if err := json.Unmarshal(a.Body, &list); err != nil {
		return fmt.Errorf("parsing %q: %w", a.Body, err)
	}
	if list.Name != f.plain.repository || !slices.Contains(list.Tags, f.plain.tag) {
		return fmt.Errorf("the list is %q", a.Body)
	}
	return nil
}

func checkReferrers(ctx context.Context, c *client.Client, f fixtures) error {
	path := "/v2/" + f.plain.repository + "/referrers/" + f.plain.manifest.Digest.String()
	a := c.Get(ctx, path, client.Expect{Digest: f.referrers.Digest, Size: f.referrers.Size})
	if err := a.Failure(); err != nil {
		return err
	}
	if got := a.Header.Get("Content-Type"); got != imagev1.MediaTypeImageIndex {
		return fmt.Errorf("Content-Type is %q instead of %q", got, imagev1.MediaTypeImageIndex)
	}
	return nil
}

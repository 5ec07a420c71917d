package ignition

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/vincent-petithory/dataurl"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

var (
	errRemote      = errors.New("the source is not a data URL, which alone can be read here")
	errSource      = errors.New("the source is not a data URL of RFC 2397")
	errCompression = errors.New(`the compression is neither "" nor "gzip"`)
	errGzip        = errors.New("the source is not gzip, as the compression says")
	errHash        = errors.New("the verification.hash is not the sha512 or sha256 of the source")
	errEncode      = errors.New("the source could not be encoded again as it was")
)

// resource is something that Ignition fetches: https://coreos.github.io/ignition/configuration-v3_3.
type resource struct {
	place        string // ignition.config.replace
	source, hash value
	compression  string
}

func (s spec) resource(place string, v value) (resource, error) {
	top, err := v.fields("source", "compression", "verification")
	if err != nil {
		return resource{}, fmt.Errorf("%s: %w", place, err)
	}
	verification, err := top[2].fields("hash")
	if err != nil {
		return resource{}, fmt.Errorf("%s.verification: %w", place, err)
	}
	r := resource{place: place, source: top[0], hash: verification[0]}
	if s.compression {
		r.compression = top[1].string()
	}
	return r, nil
}

// remote tells whether the content is elsewhere.
func (r resource) remote() bool {
	u, err := url.Parse(r.source.string())
	return err != nil || u.Scheme != "data"
}

// dataURL reads a source as Ignition does.
func dataURL(source string) (*dataurl.DataURL, error) {
	u, err := url.Parse(source)
	if err != nil {
		return nil, errSource
	}
	if u.Scheme != "data" {
		return nil, errRemote
	}
	d, err := dataurl.DecodeString(u.String())
	if err != nil {
		return nil, errSource
	}
	return d, nil
}

// decode is the content of a source, of which no more than a limit is read.
func decode(source, compression string, limit int) ([]byte, error) {
	d, err := dataURL(source)
	if err != nil {
		return nil, err
	}
	switch compression {
	case "":
		return d.Data[:min(len(d.Data), limit)], nil
	case "gzip":
		return gunzip(d.Data, limit)
	}
	return nil, errCompression
}

func gunzip(data []byte, limit int) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, errGzip
	}
	out, err := io.ReadAll(io.LimitReader(r, int64(limit)))
	if err != nil {
		return nil, errGzip
	}
	return out, nil
}

// encode is a source with another content, in the words of the one that was: media type, encoding, compression.
func encode(source, compression string, content []byte) (string, error) {
	old, err := dataURL(source)
	if err != nil {
		return "", err
	}
	body := content
	if compression == "gzip" {
		if body, err = payload.Gzip(content); err != nil {
			return "", err
		}
	}
	header, _, _ := strings.Cut(source, ",")
	out := header + "," + dataurl.Escape(body)
	if old.Encoding == dataurl.EncodingBase64 {
		out = header + "," + base64.StdEncoding.EncodeToString(body)
	}
	if back, err := decode(out, compression, len(content)+1); err != nil || !bytes.Equal(back, content) {
		return "", errEncode
	}
	return out, nil
}

// rehash is a verification.hash for another content; the one that was must have been right. Ignition takes it of what is
// decompressed.
func rehash(hash string, before, after []byte) (string, error) {
	function, _, _ := strings.Cut(hash, "-")
	if sum(function, before) != hash {
		return "", errHash
	}
	return sum(function, after), nil
}

func sum(function string, data []byte) string {
	switch function {
	case "sha512":
		s := sha512.Sum512(data)
		return function + "-" + hex.EncodeToString(s[:])
	case "sha256":
		s := sha256.Sum256(data)
		return function + "-" + hex.EncodeToString(s[:])
	}
	return ""
}

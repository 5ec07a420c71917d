package ignition

import (
	"errors"
	"fmt"

	"github.com/capi-registry-cache/capi-registry-cache/bootstrap/payload"
)

// injector is one injection: our part, and how much may still be decompressed.
type injector struct {
	*part
	left int
}

// Inject returns a config with the files and the enabled unit, whose file must be among them. What the config carries of ours
// already is replaced, so that injecting again changes nothing. An error says where and why the config cannot be changed
// safely, and holds nothing of its content.
func Inject(data []byte, files []payload.File, unit string) ([]byte, error) {
	if len(data) > maxSize {
		return nil, errSize
	}
	config, err := parse(data)
	if err != nil {
		return nil, err
	}
	p, err := partOf(files, unit)
	if err != nil {
		return nil, err
	}
	in := &injector{part: p, left: maxSize}
	return in.into(config, 0, true)
}

// into brings a config up to date: with our part, or without any of ours if it goes into a config around this one.
func (in *injector) into(config value, depth int, add bool) ([]byte, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	before, err := in.read(config)
	if err != nil {
		return nil, err
	}
	c := &change{document: before, written: map[string]string{}}
	if before.replace != nil {
		err = in.rewrite(c, *before.replace, depth, add)
	} else {
		err = in.update(c, depth, add)
	}
	if err != nil {
		return nil, err
	}
	if len(c.edits) == 0 {
		return config.text, nil
	}
	out := apply(config.text, c.edits)
	if len(out) > maxSize {
		return nil, errSize
	}
	if err := in.prove(c, out, add); err != nil {
		return nil, err
	}
	return out, nil
}

// update changes a config that is in force itself.
func (in *injector) update(c *change, depth int, add bool) error {
	if err := in.collide(c.document); err != nil {
		return err
	}
	for _, child := range c.children {
		if child.remote() {
			continue
		}
		if err := in.rewrite(c, child, depth, false); err != nil {
			return err
		}
	}
	if add {
		files, unit := in.in(c.spec)
		if err := errors.Join(insert(c, c.files, files...), insert(c, c.units, unit)); err != nil {
			return err
		}
	}
	c.remove(c.files)
	c.remove(c.units)
	return nil
}

// rewrite changes a config within the config.
func (in *injector) rewrite(c *change, r resource, depth int, add bool) error {
	fail := func(err error) error { return fmt.Errorf("%s: %w", r.place, err) }
	source := r.source.string()
	content, err := decode(source, r.compression, in.left+1)
	if err != nil {
		return fail(err)
	}
	if in.left -= len(content); in.left < 0 {
		return fail(errSize)
	}
	config, err := parse(content)
	if err != nil {
		return fail(err)
	}
	out, err := in.into(config, depth+1, add)
	if err != nil {
		return fail(err)
	}
	if string(out) == string(content) {
		return nil
	}
	if !r.hash.missing() {
		hash, err := rehash(r.hash.string(), content, out)
		if err != nil {
			return fail(err)
		}
		if err := c.write(r.place+".verification.hash", r.hash, hash); err != nil {
			return fail(err)
		}
	}
	if source, err = encode(source, r.compression, out); err != nil {
		return fail(err)
	}
	return c.write(r.place+".source", r.source, source)
}

package main

import (
	"encoding/json"
	"fmt"
	"strings"

	imagev1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// recipe is what a Dockerfile of ours says.
type recipe struct {
	// files are names of binaries by their path in the image.
	files  map[string]string
	config imagev1.ImageConfig
}

// parseDockerfile reads the few instructions that our Dockerfiles have. Any other is an error: the archive would not be the image that
// `docker build` makes.
func parseDockerfile(content string) (recipe, error) {
	r := recipe{files: map[string]string{}}
	for number, line := range strings.Split(content, "\n") {
		instruction, arguments, _ := strings.Cut(strings.TrimSpace(line), " ")
		if instruction == "" || strings.HasPrefix(instruction, "#") {
			continue
		}
		if err := r.add(instruction, strings.TrimSpace(arguments)); err != nil {
			return r, fmt.Errorf("line %d, %q: %w", number+1, line, err)
		}
	}
	if len(r.files) == 0 || len(r.config.Entrypoint) == 0 {
		return r, fmt.Errorf("it copies nothing or has no ENTRYPOINT")
	}
	return r, nil
}

func (r *recipe) add(instruction, arguments string) error {
	fields := strings.Fields(arguments)
	switch {
	case instruction == "FROM" && arguments == "scratch":
	case instruction == "COPY" && len(fields) == 2 && strings.HasPrefix(fields[1], "/"):
		r.files[strings.TrimPrefix(fields[1], "/")] = fields[0]
	case instruction == "USER" && len(fields) == 1:
		r.config.User = fields[0]
	case instruction == "EXPOSE":
		r.config.ExposedPorts = map[string]struct{}{}
		for _, port := range fields {
			r.config.ExposedPorts[port+"/tcp"] = struct{}{}
		}
	case instruction == "ENTRYPOINT":
		return json.Unmarshal([]byte(arguments), &r.config.Entrypoint)
	case instruction == "CMD":
		return json.Unmarshal([]byte(arguments), &r.config.Cmd)
	default:
		return fmt.Errorf("not understood; accepted are FROM scratch, COPY file /path, USER, EXPOSE, and ENTRYPOINT and CMD as lists")
	}
	return nil
}

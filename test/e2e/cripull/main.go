// Command cripull pulls, removes and lists images through the container runtime interface of the node that it runs
// on, as the kubelet does, and prints the answer as one line of JSON.
//
//	cripull pull|remove <image>
//	cripull list
//	cripull loop <image> <seconds>
//
// loop removes and pulls an image every second, and prints a line for each pull.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	socket = "unix:///run/containerd/containerd.sock"
	// timeout is that of one call.
	timeout = 5 * time.Minute
)

// answer is what is printed.
type answer struct {
	// At is when the call began.
	At time.Time `json:"at"`
	// Image is what the runtime calls the image that was pulled.
	Image string `json:"image,omitempty"`
	// Images are the tags of all images, for list.
	Images []string `json:"images,omitempty"`
	// Seconds is how long the call took.
	Seconds float64 `json:"seconds"`
	// Error is the error of the runtime.
	Error string `json:"error,omitempty"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx := context.Background()
	connection, err := grpc.NewClient(socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", socket, err)
	}
	defer func() { _ = connection.Close() }()
	connection.Connect()
	images := runtimeapi.NewImageServiceClient(connection)
	if len(args) == 3 && args[0] == "loop" {
		return loop(ctx, images, args[1], args[2])
	}
	return tell(ctx, images, args)
}

func tell(ctx context.Context, images runtimeapi.ImageServiceClient, args []string) error {
	a := answer{At: time.Now()}
	if err := a.ask(ctx, images, args); err != nil {
		a.Error = err.Error()
	}
	a.Seconds = time.Since(a.At).Seconds()
	return json.NewEncoder(os.Stdout).Encode(a)
}

func loop(ctx context.Context, images runtimeapi.ImageServiceClient, image, seconds string) error {
	length, err := time.ParseDuration(seconds + "s")
	if err != nil {
		return fmt.Errorf("length of the loop %q: a number of seconds is accepted", seconds)
	}
	ending := time.After(length)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		var removed answer
		if err := removed.ask(ctx, images, []string{"remove", image}); err != nil {
			return err
		}
		if err := tell(ctx, images, []string{"pull", image}); err != nil {
			return err
		}
		select {
		case <-ending:
			return nil
		case <-ticker.C:
		}
	}
}

func (a *answer) ask(ctx context.Context, images runtimeapi.ImageServiceClient, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case len(args) == 2 && args[0] == "pull":
		pulled, err := images.PullImage(ctx, &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: args[1]}})
		a.Image = pulled.GetImageRef()
		return err
	case len(args) == 2 && args[0] == "remove":
		_, err := images.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: args[1]}})
		return err
	case len(args) == 1 && args[0] == "list":
		list, err := images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
		for _, image := range list.GetImages() {
			a.Images = append(a.Images, image.GetRepoTags()...)
		}
		return err
	}
	return fmt.Errorf("arguments %q: pull <image>, remove <image>, list and loop <image> <seconds> are accepted", args)
}

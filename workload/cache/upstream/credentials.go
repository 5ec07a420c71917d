package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker-credential-helpers/client"
)

const helperTimeout = 10 * time.Second

// CredentialSource returns the credentials for the upstream at host (host[:port], as in its URL), both empty for
// none. An error leaves the last ones in force. The error must not hold a secret. It is called on use, at most once a
// second, and never twice at the same time.
type CredentialSource func(host string) (username, password string, err error)

// StaticCredentials are always the same.
func StaticCredentials(username, password string) CredentialSource {
	return func(string) (string, string, error) { return username, password, nil }
}

// CredentialFiles reads the credentials from two files, as a mounted Secret has them; line ends at their ends do not
// count. A file that is missing or empty is an error.
func CredentialFiles(usernameFile, passwordFile string) CredentialSource {
	return func(string) (string, string, error) {
		for range 3 {
			username, err := readCredential("username", usernameFile)
			if err != nil {
				return "", "", err
			}
			password, err := readCredential("password", passwordFile)
			if err != nil {
				return "", "", err
			}
			// Both are of the same Secret only if it was not swapped in between.
			if again, err := readCredential("username", usernameFile); err != nil || again == username {
				return username, password, err
			}
		}
		return "", "", errors.New("username and password file: they change faster than they are read")
	}
}

// fileError is about a file; label is that of the metric.
type fileError struct {
	label string
	err   error
}

func (e *fileError) Error() string { return e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

func readCredential(label, path string) (string, error) {
	if path == "" {
		return "", &fileError{label: label, err: fmt.Errorf("%s file: none is set; accepted is a file with the %s", label, label)}
	}
	content, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return "", &fileError{label: label, err: fmt.Errorf("%s file: %w", label, err)}
	}
	value := strings.TrimRight(string(content), "\r\n")
	if value == "" {
		return "", &fileError{label: label, err: fmt.Errorf("%s file: %q is empty; accepted is a file with the %s", label, path, label)}
	}
	return value, nil
}

// CredentialHelper asks a program that speaks the protocol of docker-credential-helpers: `command get`, with the
// upstream's host on its input. As with proxy.exec of distribution, lifetime is how long an answer is good for: nil
// for ever, 0 not at all. The program has 10 s.
func CredentialHelper(command string, lifetime *time.Duration) CredentialSource {
	var (
		asked    time.Time
		username string
		password string
	)
	return func(host string) (string, string, error) {
		if !asked.IsZero() && (lifetime == nil || time.Since(asked) < *lifetime) {
			return username, password, nil
		}
		program := &helper{command: command}
		answer, err := client.Get(program.run, host)
		switch {
		case program.err != nil:
			return "", "", fmt.Errorf("running %s get: %w", command, program.err)
		case err != nil: // its text may quote the answer
			return "", "", fmt.Errorf("running %s get: the answer is not that of a credential helper", command)
		}
		asked, username, password = time.Now(), answer.Username, answer.Secret
		return username, password, nil
	}
}

// helper is a client.Program that ends in time, and whose error does not quote what it wrote.
type helper struct {
	command string
	args    []string
	input   io.Reader
	err     error
}

func (h *helper) run(args ...string) client.Program {
	h.args = args
	return h
}

// Input implements client.Program.
func (h *helper) Input(in io.Reader) { h.input = in }

// Output implements client.Program.
func (h *helper) Output() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), helperTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, h.command, h.args...)
	command.Stdin = h.input
	command.WaitDelay = time.Second
	out, err := command.Output()
	if ctx.Err() != nil {
		err = errors.New("it did not end within " + helperTimeout.String())
	}
	h.err = err
	return out, err
}

// credentials are who asks; the zero value is anonymous. generation is another one for each change.
type credentials struct {
	username, password string
	generation         uint64
}

func (c credentials) anonymous() bool { return c.password == "" }

// keeper asks a source at most once a second and keeps its last good answer.
type keeper struct {
	source  CredentialSource
	host    string
	changed func(generation uint64)

	first     sync.Once
	due       ticket
	asking    sync.Mutex
	complaint complaint
	last      atomic.Pointer[credentials]
}

func (k *keeper) current() credentials {
	if k.source == nil {
		return credentials{}
	}
	k.first.Do(k.ask)
	if k.due.taken(rereadInterval) {
		k.ask()
	}
	return *k.last.Load()
}

// ask leaves the answer in last. A slow source is not asked twice at once.
func (k *keeper) ask() {
	if !k.asking.TryLock() {
		return
	}
	defer k.asking.Unlock()
	last := k.last.Load()
	if last == nil {
		last = &credentials{}
		defer func() { _ = k.due.taken(rereadInterval) }()
	}
	username, password, err := k.source(k.host)
	k.complaint.about("credentials", err)
	if err == nil && (username != last.username || password != last.password) {
		last = &credentials{username: username, password: password, generation: last.generation + 1}
		k.changed(last.generation)
	}
	k.last.Store(last)
}

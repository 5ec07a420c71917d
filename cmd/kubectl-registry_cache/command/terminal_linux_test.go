package command

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// asProgram is the variable with which this test is the plugin, for what happens to a process.
const asProgram = "KUBECTL_REGISTRY_CACHE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(Run(os.Args, genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}))
	}
	os.Exit(m.Run())
}

// newTerminal is a real terminal: what a program sees of it, and what its user has in hands.
func newTerminal(t *testing.T) (program, user *os.File) {
	t.Helper()
	g := NewWithT(t)
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = user.Close() })
	g.Expect(unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0)).To(Succeed())
	number, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	g.Expect(err).NotTo(HaveOccurred())
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = program.Close() })
	return program, user
}

func TestPreviewWaitsForNobodyToTypeBootstrapData(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "manifests.yaml")
	g.Expect(os.WriteFile(file, []byte(manifests), 0o600)).To(Succeed())
	for _, noColour := range []string{"", "1"} {
		program, user := newTerminal(t)
		t.Setenv("NO_COLOR", noColour)
		_, err := user.WriteString("\x04") // the end of what is typed, for a program that reads
		g.Expect(err).NotTo(HaveOccurred())
		streams, _, out, messages := genericiooptions.NewTestIOStreams()
		streams.In = program
		g.Expect(Run([]string{"kubectl-registry_cache", "preview", "-f", file}, streams)).To(Equal(exitFailed), messages.String())
		g.Expect(out.String()).To(BeEmpty())
		g.Expect(messages.String()).To(Equal("Error: standard input is a terminal; accepted is --data FILE, or the bootstrap data on standard input\n"))
	}
}

// TestASecondInterruptEndsAProgramThatWaits lets it wait for bootstrap data. A hangup may come more than once when a terminal is closed, and
// leaves the time to clean up.
func TestASecondInterruptEndsAProgramThatWaits(t *testing.T) {
	g := NewWithT(t)
	fifo := filepath.Join(t.TempDir(), "manifests.yaml")
	g.Expect(unix.Mkfifo(fifo, 0o600)).To(Succeed())
	heard := make(chan os.Signal, 1) // who runs this in the background may ignore interrupts, which a program would inherit
	signal.Notify(heard, os.Interrupt)
	defer signal.Stop(heard)
	program := exec.CommandContext(t.Context(), os.Args[0], "preview", "-f", fifo) //nolint:gosec // this test
	program.Env = append(os.Environ(), asProgram+"=1")
	input, err := program.StdinPipe()
	g.Expect(err).NotTo(HaveOccurred())
	defer input.Close() //nolint:errcheck // nothing was written
	g.Expect(program.Start()).To(Succeed())
	ended := make(chan *os.ProcessState, 1)
	go func() {
		_ = program.Wait()
		ended <- program.ProcessState
	}()
	g.Expect(os.WriteFile(fifo, []byte(manifests), 0o600)).To(Succeed()) // goes on once the program reads it, and so listens for signals

	for _, sent := range []os.Signal{os.Interrupt, syscall.SIGHUP, syscall.SIGHUP} {
		g.Expect(program.Process.Signal(sent)).To(Succeed())
		g.Consistently(ended, 200*time.Millisecond).ShouldNot(Receive())
	}
	var state *os.ProcessState
	g.Eventually(func() <-chan *os.ProcessState {
		_ = program.Process.Signal(os.Interrupt)
		return ended
	}, 10*time.Second, 100*time.Millisecond).Should(Receive(&state))
	g.Expect(state.String()).To(Equal("signal: interrupt"))
}

func TestAWarningIsNotWrittenBehindProgress(t *testing.T) {
	g := NewWithT(t)
	management, _ := fleet(t)
	workload, _, _ := troubled(t)
	program, user := newTerminal(t)
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	streams.ErrOut = program
	code := Run([]string{"kubectl-registry_cache", "status", "a", "-n", "ns", "--savings", "--kubeconfig", management, "--workload-kubeconfig", workload}, streams)
	g.Expect(code).To(Equal(exitOK))
	g.Expect(program.Close()).To(Succeed())
	shown, _ := io.ReadAll(user) // which ends with an error, as a terminal does that is closed
	g.Expect(string(shown)).To(MatchRegexp(`^\rasking the caches of Clusters: 1 of 1\r\x1b\[KWarning: ns/a: [^\x1b]*\r\n$`))
}

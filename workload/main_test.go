package main

import (
	"io"
	"os"
	"os/exec"
	"testing"

	. "github.com/onsi/gomega"
)

// mainVariable makes the test binary be the command itself.
const mainVariable = "RUN_WORKLOAD_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(mainVariable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestWrongArgumentsAreRefusedWithWhatIsAccepted(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"no sub-command":         {nil, "accepted is: cache CONFIG"},
		"an unknown sub-command": {[]string{"push"}, `"push"`},
		"no configuration":       {[]string{"cache"}, "0 arguments given; accepted is one"},
		"two configurations":     {[]string{"cache", "a", "b"}, "2 arguments given; accepted is one"},
		"a missing file":         {[]string{"cache", "/nowhere/config.yml"}, "/nowhere/config.yml"},
		"the stock arguments":    {[]string{"serve", "/nowhere/config.yml"}, "/nowhere/config.yml"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			command := newCommand()
			command.SetArgs(append([]string{}, test.args...))
			command.SetOut(io.Discard)
			command.SetErr(io.Discard)
			NewWithT(t).Expect(command.Execute()).To(MatchError(ContainSubstring(test.want)))
		})
	}
}

func TestAnErrorIsOneLineAndExitCodeOne(t *testing.T) {
	g := NewWithT(t)
	command := exec.Command(os.Args[0], "cache", "/nowhere/config.yml")
	command.Env = append(os.Environ(), mainVariable+"=1")
	output, err := command.CombinedOutput()
	g.Expect(err).To(HaveOccurred())
	g.Expect(command.ProcessState.ExitCode()).To(Equal(1))
	g.Expect(string(output)).To(Equal("Error: reading the configuration: open /nowhere/config.yml: no such file or directory\n"))
}

package main

import (
	"io"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestWrongArgumentsAreRefusedWithWhatIsAccepted(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"no document":     {nil, "0 arguments given; accepted is one"},
		"two documents":   {[]string{"a", "b"}, "2 arguments given; accepted is one"},
		"an unknown flag": {[]string{"--token=x", "a"}, "-token"},
		"a missing file":  {[]string{"--root=/nowhere", "/nowhere/state.json"}, "/nowhere/state.json"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(command(t.Context(), test.args, io.Discard)).To(MatchError(ContainSubstring(test.want)))
		})
	}
}

func TestHelpNamesArgumentAndFlag(t *testing.T) {
	var help strings.Builder
	NewWithT(t).Expect(command(t.Context(), []string{"--help"}, &help)).NotTo(Succeed())
	NewWithT(t).Expect(help.String()).To(And(ContainSubstring("STATE is the path"), ContainSubstring("-root")))
}

package envtest

import (
	"fmt"
	"os"
	"testing"
)

// Run runs the tests of a package with one API server for all of them, which it puts into env, and returns the exit code.
func Run(m *testing.M, env **Environment) int {
	var err error
	if *env, err = New(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := (*env).Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

package envtest_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
)

// env is shared by the tests of this package, which use a namespace each.
var env *envtest.Environment

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if env, err = envtest.New(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := env.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

package envtest_test

import (
	"os"
	"testing"

	"github.com/capi-registry-cache/capi-registry-cache/test/envtest"
)

// env is shared by the tests of this package, which use a namespace each.
var env *envtest.Environment

func TestMain(m *testing.M) { os.Exit(envtest.Run(m, &env)) }

package registrycache

import (
	"context"
	"reflect"
	"runtime"
	"strings"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/capi-registry-cache/capi-registry-cache/controllers/metrics"
)

// timed is a phase that is measured under its own name. Errors that it records on the scope count as those that it returns.
func timed(p phase) phase {
	return func(ctx context.Context, s *scope) (ctrl.Result, error) {
		before, done := len(s.errors()), metrics.Phase(nameOf(p))
		result, err := p(ctx, s)
		done(err != nil || len(s.errors()) > before)
		return result, err
	}
}

// nameOf is the name of the method that a phase is: of its value Go calls the function "….(*Reconciler).findCluster-fm".
func nameOf(p phase) string {
	name := runtime.FuncForPC(reflect.ValueOf(p).Pointer()).Name()
	return strings.TrimSuffix(name[strings.LastIndex(name, ".")+1:], "-fm")
}

package registrycache

import (
	"context"
	"errors"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// ErrNotConnected says that there is no connection to a workload cluster, yet or any more.
var ErrNotConnected = errors.New("the workload cluster is not connected")

// WorkloadClusters reaches workload clusters. It is what this package needs of CAPI's ClusterCache, which package
// controllers adapts.
type WorkloadClusters interface {
	// GetClient returns a client that reads from a cache; the cache holds only objects with our labels.
	// The error wraps ErrNotConnected when there is no connection.
	GetClient(ctx context.Context, cluster client.ObjectKey) (client.Client, error)
	// GetUncachedClient returns a client that reads from the API server. Errors are those of GetClient.
	GetUncachedClient(ctx context.Context, cluster client.ObjectKey) (client.Client, error)
	// NodeReport returns what a Pod of node-sync answers at /report. Errors are those of GetClient, or of the connection.
	NodeReport(ctx context.Context, cluster, pod client.ObjectKey) ([]byte, error)
	// CacheReport returns what a Pod of a cache answers at report.Path. Errors are those of GetClient, of the connection, or NotFound if
	// there is no such Pod, or if it has no report.
	CacheReport(ctx context.Context, cluster, pod client.ObjectKey) ([]byte, error)
	// Watch starts a watch, once for each name and connection. Errors are those of GetClient.
	Watch(ctx context.Context, cluster client.ObjectKey, watch Watch) error
	// Source wakes a controller when a workload cluster is connected or disconnected.
	Source(controllerName string, toRequests func(context.Context, client.Object) []ctrl.Request) source.Source
}

// Watch is a watch of one kind in a workload cluster.
type Watch struct {
	// Name tells the watches of a cluster apart.
	Name string
	// Watcher is the controller that is woken.
	Watcher interface {
		Watch(source source.TypedSource[ctrl.Request]) error
	}
	// Kind is what is watched.
	Kind client.Object
	// Handler turns events into requests.
	Handler handler.EventHandler
}

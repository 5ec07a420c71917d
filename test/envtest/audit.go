package envtest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"
)

// Audit is what an API server notes of the requests of one user.
type Audit struct {
	folder string
}

// AuditedRequest is one request, when it was answered, or began to be if it is a watch.
type AuditedRequest struct {
	Verb, Group string
	// Resource has the subresource after a slash. It is empty if the request is not about a resource.
	Resource        string
	Namespace, Name string
	URI             string
	// Refused says that the user may not do that, by the authorizer or by an admission plugin.
	Refused bool
}

// NewAudit prepares the audit log of a user in a folder, for New.
func NewAudit(folder, user string) (*Audit, error) {
	a := &Audit{folder: folder}
	policy, err := yaml.Marshal(map[string]any{
		"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": []string{"RequestReceived"},
		"rules": []any{map[string]any{"level": "Metadata", "users": []string{user}}, map[string]any{"level": "None"}},
	})
	if err != nil {
		return nil, fmt.Errorf("writing an audit policy: %w", err)
	}
	return a, os.WriteFile(a.policy(), policy, 0o600)
}

func (a *Audit) policy() string { return filepath.Join(a.folder, "policy.yaml") }
func (a *Audit) log() string    { return filepath.Join(a.folder, "log") }

// Configure lets the API server keep the log.
func (a *Audit) Configure(server *envtest.APIServer) {
	server.Configure().Set("audit-policy-file", a.policy()).Set("audit-log-path", a.log()).Set("audit-log-format", "json")
}

// auditEvent is what is read of an Event of audit.k8s.io/v1.
type auditEvent struct {
	Verb       string `json:"verb"`
	RequestURI string `json:"requestURI"`
	ObjectRef  struct {
		APIGroup    string `json:"apiGroup"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	Annotations map[string]string `json:"annotations"`
}

// Requests returns all that the log has by now.
func (a *Audit) Requests() ([]AuditedRequest, error) {
	file, err := os.Open(a.log())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	var requests []AuditedRequest
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		event := auditEvent{}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return requests, nil // a line that is just being written
		}
		requests = append(requests, event.request())
	}
	return requests, lines.Err()
}

func (e auditEvent) request() AuditedRequest {
	resource := e.ObjectRef.Resource
	if e.ObjectRef.Subresource != "" {
		resource += "/" + e.ObjectRef.Subresource
	}
	return AuditedRequest{
		Verb: e.Verb, Group: e.ObjectRef.APIGroup, Resource: resource, Namespace: e.ObjectRef.Namespace, Name: e.ObjectRef.Name, URI: e.RequestURI,
		Refused: e.Annotations["authorization.k8s.io/decision"] == "forbid" || e.ResponseStatus.Code == http.StatusForbidden,
	}
}
